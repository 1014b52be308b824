"""The order in which all photographs are browsed, and the sample that has small thumbnails."""

from __future__ import annotations

import numpy as np
import pytest
from report.sample import content

from fastvbow.report.choice import checksums, choose
from fastvbow.report.rows import HEAD, choose_sample, order_rows


def made(n=3000, n_topics=5, **changes):
    topic = np.where(np.arange(n) % 17 == 0, -1, np.random.default_rng(3).integers(0, n_topics - 1, n))
    return content(n, n_topics, **({"topic": topic} | changes))


def test_topics_largest_first_each_by_falling_probability():
    columns = made()
    choice = choose(columns, 6, 5)
    rows = order_rows(columns, choice)
    assert sorted(rows.order.tolist()) == list(range(3000))
    np.testing.assert_array_equal(rows.order[rows.row_of], np.arange(3000))
    assert [topic for topic, _, _ in rows.topics] == [*(t.topic for t in choice.topics), -1]
    begin = 0
    for topic, start, size in rows.topics:
        assert start == begin
        part = rows.order[start : start + size]
        assert set(part.tolist()) == set(np.flatnonzero(columns.topic == topic).tolist())
        if topic >= 0:
            assert (np.diff(np.round(columns.probability[part], 3)) <= 0).all()
        begin += size
    for chosen, (_, start, _) in zip(choice.topics, rows.topics, strict=False):
        assert rows.order[start : start + 6].tolist() == chosen.typical, "as on the topic's page"


def test_ties_are_scattered_and_do_not_depend_on_the_order_of_the_columns():
    columns = made(probability=np.ones(3000))
    rows = order_rows(columns, choose(columns, 6, 5))
    _, start, size = rows.topics[0]
    part = rows.order[start : start + size]
    assert (np.diff(checksums(columns.ids)[part].astype(np.int64)) > 0).all()
    assert abs(np.corrcoef(part, np.arange(size))[0, 1]) < 0.2, "neighbours by name are no neighbours here"


def test_nan_and_nothing():
    columns = made(4, 2, topic=np.array([0, -1, 0, -1]), probability=np.array([np.nan, np.nan, 0.4, 0.9]))
    rows = order_rows(columns, choose(columns, 6, 5))
    assert rows.order[:2].tolist() == [2, 0] and rows.topics == [(0, 0, 2), (-1, 2, 2)]
    empty = content(0, 2)
    rows = order_rows(empty, choose(empty, 6, 5))
    assert rows.topics == [] and choose_sample(rows, [], 10) == []


@pytest.mark.parametrize("n", [0, 7, 400, 1200, 2999, 3000, 9999])
def test_the_sample(n):
    columns = made()
    choice = choose(columns, 6, 5)
    rows, shown = order_rows(columns, choice), list(choice.shown())
    sample = choose_sample(rows, shown, n)
    assert len(sample) == len(set(sample)) == min(n, 3000)
    assert (np.diff(rows.row_of[sample]) > 0).all(), "in the order of the rows"
    assert set(shown[:n]) <= set(sample)
    if n == 1200:
        for _, start, size in rows.topics:
            assert set(rows.order[start : start + min(HEAD, size)].tolist()) <= set(sample)
        for topic, start, size in rows.topics:
            if topic >= 0:  # those without a topic stand by their checksums: the sample has the first of them
                taken = np.isin(rows.order[start + size // 2 : start + size], sample).mean()
                assert 0.1 < taken < 0.6, "some of everywhere"
