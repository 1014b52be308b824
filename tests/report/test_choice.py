from __future__ import annotations

import numpy as np
from report.sample import content

from fastvbow.report.choice import MOST_ON_PAGES, best, choose, fitting, on_a_page


def test_typical_are_the_most_probable_and_uncertain_the_least() -> None:
    made = content(500, 3, labels=None)
    chosen = choose(made, 12, 7)
    for one in chosen.topics:
        p = made.probability
        rest = np.setdiff1d(one.members, one.typical)
        assert len(one.typical) == 12 and p[one.typical].min() >= p[rest].max() - 0.001
        assert len(one.uncertain) == 4 and not set(one.uncertain) & set(one.typical)
        assert p[one.uncertain].max() <= np.partition(p[one.members], 3)[3] + 0.001
        assert (made.topic[one.members] == one.topic).all()
    assert sum(len(one.members) for one in chosen.topics) == 500
    assert np.sort(made.entropy)[-7:].min() <= made.entropy[chosen.uncertain].min() + 0.001


def test_the_choice_does_not_depend_on_the_order_of_the_columns() -> None:
    made = content(300, 3, probability=np.ones(300), entropy=np.full(300, 0.5))
    turn = np.random.default_rng(3).permutation(300)
    ids = [made.ids[i] for i in turn]
    turned = content(300, 3, ids=ids, topic=made.topic[turn], probability=np.ones(300), entropy=np.full(300, 0.5))
    a, b = choose(made, 8, 8), choose(turned, 8, 8)
    assert [[made.ids[i] for i in t.typical + t.uncertain] for t in a.topics] == [
        [ids[i] for i in t.typical + t.uncertain] for t in b.topics
    ]
    assert [made.ids[i] for i in a.uncertain] == [ids[i] for i in b.uncertain]


def test_ties_are_scattered_and_nan_comes_last() -> None:
    ids = [f"burst-{i:03d}" for i in range(100)]
    score = np.ones(100)
    picked = best(score, np.arange(100), ids, 10)
    assert picked != list(range(10)) and len(set(picked)) == 10
    score[:50] = np.nan
    assert min(best(score, np.arange(100), ids, 50)) >= 50
    assert len(best(score, np.arange(100), ids, 1000)) == 100
    assert best(score, np.arange(0), ids, 3) == []


def test_many_topics_show_fewer_photographs_each() -> None:
    assert [fitting(24, n) for n in (0, 1, 20, 200)] == [24] * 4
    assert fitting(24, 201) < 24
    for asked in (1, 8, 24, 100):
        for n in (150, 300, 500, 800):
            found = fitting(asked, n)
            assert 1 <= found <= asked
            assert n * on_a_page(found) <= MOST_ON_PAGES
            assert found == asked or n * on_a_page(found + 1) > MOST_ON_PAGES, "no fewer than needed"
    assert fitting(24, 10**6) == 1
