"""New photographs held against the project's own: p-values that are what they say, and alarms that are few."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from fastvbow.errors import UsageError
from fastvbow.groups.drift import ALARM, LEVEL, RIDGE, DriftReference, DriftReport


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def drawn(n: int, seed: int, width: int = 40, kinds: int = 5, first: int = 0) -> dict[str, np.ndarray]:
    """Photographs of some kinds, in two views of different width."""
    rng, centres = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(20, width))
    kind = rng.integers(first, first + kinds, n)
    rows = centres[kind] + 0.4 * rng.normal(size=(n, width))
    return {"vectors": unit(rows), "maps": unit(rows[:, ::4] + 0.4 * rng.normal(size=(n, (width + 3) // 4)))}


def slow_scores(rows: np.ndarray) -> np.ndarray:
    """Each vector's ridge leverage with respect to all the others, one inverse for each."""
    X = np.column_stack((rows, np.ones(len(rows)))).astype(np.float64)
    ridge = RIDGE * np.trace(X.T @ X) / X.shape[1] * np.eye(X.shape[1])
    found = []
    for i in range(len(X)):
        others = np.delete(X, i, axis=0)
        found.append(X[i] @ np.linalg.inv(others.T @ others + ridge) @ X[i])
    return np.array(found)


def test_leaving_one_out_is_exact():
    views = drawn(60, 0)
    reference = DriftReference.fit(views)
    for name, rows in views.items():
        np.testing.assert_allclose(reference.scores[name], np.sort(slow_scores(rows)), rtol=1e-9)
        assert reference.inverses[name].dtype == np.float32


def test_p_values_are_ranks_over_views():
    """Against the definition, written out: ranks in each view, the least of them, its rank."""
    views, new = drawn(80, 1), drawn(30, 2, kinds=8)
    reference = DriftReference.fit(views)
    own = {name: slow_scores(rows) for name, rows in views.items()}
    least = np.min([[(s >= x).sum() for x in s] for s in own.values()], axis=0)
    for i in range(30):
        ahead = []
        for name, rows in views.items():
            X = np.column_stack((rows, np.ones(len(rows)))).astype(np.float64)
            x = np.append(new[name][i], 1).astype(np.float64)
            gram = X.T @ X
            score = x @ np.linalg.inv(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))) @ x
            ahead.append((own[name] >= score).sum())
        wanted = (1 + (least <= min(ahead)).sum()) / 81
        one = reference.tails({name: rows[i : i + 1] for name, rows in new.items()})
        assert reference.report(one).p_values == pytest.approx([wanted])


def test_a_photograph_does_not_depend_on_the_others():
    reference, new = DriftReference.fit(drawn(100, 0)), drawn(50, 1)
    together = reference.tails(new)
    alone = [reference.tails({name: rows[i : i + 1] for name, rows in new.items()})[0] for i in range(50)]
    np.testing.assert_array_equal(together, alone)


def test_as_many_misfits_as_promised():
    """Of photographs of the same kinds LEVEL are misfits, for references of several sizes; other kinds nearly all."""
    for n_reference in (40, 200, 1000):
        shares = []
        for seed in range(20):
            reference = DriftReference.fit(drawn(n_reference, seed))
            shares.append(reference.report(reference.tails(drawn(200, 1000 + seed))).n_misfits / 200)
            k = int(LEVEL * (n_reference + 1))
        spread = np.sqrt(LEVEL * (1 - LEVEL) * (1 / 200 + 1 / n_reference) / 20)
        assert abs(np.mean(shares) - k / (n_reference + 1)) < 4 * spread
        other = reference.report(reference.tails(drawn(200, 5, first=10)))
        assert other.n_misfits > 150
        assert other.drifted
        assert other.by_view.keys() == {"vectors", "maps"}


@pytest.mark.parametrize("n", [1, 5, 30, 100])
def test_false_alarms_are_rare(n):
    """1200 batches of a size: one alarm may happen (ALARM of them), three would be a chance of 1 in 9."""
    alarms = 0
    for seed in range(6):
        reference = DriftReference.fit(drawn(150, seed))
        for batch in np.split(reference.tails(drawn(200 * n, 100 + seed)), 200):
            report = reference.report(batch)
            alarms += report.drifted
            assert report.drifted <= (report.p_value < ALARM)
    assert alarms <= int(binom.isf(1e-3, 1200, ALARM))


@pytest.mark.parametrize(("share", "n"), [(0.3, 60), (0.1, 300)])
def test_some_foreign_ones_are_noticed(share, n):
    reference = DriftReference.fit(drawn(400, 0))
    tails = np.concatenate(
        [
            reference.tails(drawn(round(n * (1 - share)), 1)),
            reference.tails(drawn(round(n * share), 2, first=10)),
        ]
    )
    report = reference.report(tails)
    assert report.drifted
    assert f"{report.n_misfits} of {n} new photographs" in report.message
    assert "train anew" in report.message


def test_a_large_batch_that_is_slightly_odd_is_no_alarm():
    """Significant is not yet large."""
    reference = DriftReference.fit(drawn(2000, 0))
    tails = np.concatenate([reference.tails(drawn(9750, 1)), reference.tails(drawn(250, 2, first=10))])
    report = reference.report(tails)
    assert report.p_value < ALARM
    assert not report.drifted
    assert "train anew" not in report.message


def test_photographs_without_a_vector():
    views = drawn(100, 0)
    reference = DriftReference.fit(views)
    nothing = {name: np.zeros((1, rows.shape[1]), np.float32) for name, rows in views.items()}
    assert reference.report(reference.tails(nothing)).p_values[0] == 1 / 101, "odder than all"
    views["maps"][:30] = 0  # in a project where that is usual it is not odd
    reference = DriftReference.fit(views)
    assert reference.report(reference.tails({**drawn(1, 5), "maps": nothing["maps"]})).p_values[0] > 0.2


def test_the_opposite_is_not_the_same():
    views = drawn(200, 0)
    views = {name: unit(rows + 1) for name, rows in views.items()}
    opposite = {name: -rows[:20] for name, rows in views.items()}
    reference = DriftReference.fit(views)
    assert reference.report(reference.tails(opposite)).n_misfits == 20


def test_none_at_all():
    reference = DriftReference.fit(drawn(30, 0))
    report = reference.report(np.zeros((0, 2)))
    assert (len(report), report.n_misfits, report.expected, report.p_value, report.drifted) == (0, 0, 0, 1, False)


def test_the_message_has_the_numbers():
    report = DriftReport(np.full(200, 0.5), 38, 10.0, 1e-12, {"vectors": 30, "maps": 36})
    assert report.message.startswith(
        "38 of 200 new photographs are less like the project's own than 95 % of these are like one another "
        "(10.0 expected, p < 1e-09), 36 by their maps"
    )
    assert "(10.0 expected, p = 0.02)" in DriftReport(np.zeros(200), 17, 10.0, 0.02, {"maps": 3}).message


@pytest.mark.parametrize(
    "views",
    [{}, {"vectors": np.eye(19, dtype=np.float32)}, {"a": np.eye(30), "b": np.eye(31)}],
    ids=["none", "few", "uneven"],
)
def test_what_says_nothing_of_what_is_usual(views):
    with pytest.raises(UsageError, match="20 photographs or more"):
        DriftReference.fit(views)


def test_equal_photographs():
    rows = {"vectors": np.repeat(np.eye(4, dtype=np.float32)[:1], 30, axis=0)}
    reference = DriftReference.fit(rows)
    same = reference.report(reference.tails({"vectors": rows["vectors"][:3]}))
    assert same.p_values.tolist() == [1.0, 1.0, 1.0]
