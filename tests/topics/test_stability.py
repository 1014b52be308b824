"""Topics of two runs matched, against every matching."""

import naive_metrics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvbow.errors import UsageError
from fastvbow.topics import GibbsLDA, match_topics, topic_stability


def phi(n_topics, n_words, seed, concentration=0.1):
    return np.random.default_rng(seed).dirichlet([concentration] * n_words, n_topics)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 8), st.integers(0, 99))
def test_against_every_matching(k, other_k, n_words, seed):
    first, other = phi(k, n_words, seed, 0.5), phi(other_k, n_words, seed + 1, 0.5)
    found = match_topics(first, other)
    assert found.similarity.mean() == pytest.approx(naive_metrics.matched_similarity(first, other))
    assert len(found.first) == len(set(found.first.tolist())) == len(set(found.other.tolist())) == min(k, other_k)
    assert (np.diff(found.first) > 0).all()


def test_the_same_topics_in_another_order():
    first, order = phi(6, 30, 0), np.array([3, 1, 0, 5, 4, 2])
    found = match_topics(first, 7 * first[order])
    assert order[found.other].tolist() == list(range(6))
    assert found.similarity == pytest.approx(1)


def test_the_best_matching_is_not_the_greedy_one():
    # cosines .8 and .6 of the first topic, .6 and 0 of the second: greedily .8 + 0, at best .6 + .6
    first = np.array([[0.8, 0.6, 0.0], [0.6, 0.0, 0.8]])
    found = match_topics(first, np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    assert found.other.tolist() == [1, 0]
    assert found.similarity == pytest.approx([0.6, 0.6])


def test_topics_without_a_word_in_common():
    assert match_topics([[1, 0, 0]], [[0, 0.5, 0.5]]).similarity.tolist() == [0]


def test_tiny_probabilities_do_not_vanish():
    first = np.array([[1e-200, 1e-200], [1, 0]])
    assert match_topics(first, first).similarity == pytest.approx(1)


def test_each_two_runs():
    runs = [phi(4, 20, seed) for seed in range(3)]
    found = topic_stability(runs)
    assert found.tolist() == pytest.approx(
        [match_topics(runs[a], runs[b])[2].mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    )
    assert topic_stability(runs[:1]).tolist() == []
    assert topic_stability([runs[0], runs[0][::-1]]).tolist() == pytest.approx([1])


def test_seeds_agree_where_topics_are_planted_and_less_where_there_are_none():
    rng = np.random.default_rng(0)
    planted = np.kron(np.eye(4), np.full(5, 0.2))
    words = np.array([rng.multinomial(60, rng.dirichlet([0.1] * 4) @ planted) for _ in range(120)])
    noise = rng.multinomial(60, np.full(20, 0.05), 120)
    found = [
        topic_stability([GibbsLDA(4, max_iter=60, random_state=s).fit(X).topic_word_ for s in range(2)])[0]
        for X in (words, noise)
    ]
    assert found[0] > 0.95 > 0.9 > found[1]


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        ([[1, 0]], [[1, 0, 0]], "different words: 2 and 3"),
        ([[1, -1]], [[1, 0]], "not negative"),
        ([[1, 1]], [[0, 0]], "no word"),
        ([1, 1], [[1, 0]], "shape"),
    ],
)
def test_what_cannot_be_matched(first, other, message):
    with pytest.raises(UsageError, match=message):
        match_topics(first, other)
