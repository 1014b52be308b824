"""Relevance, lift and the parts of the kinds against what their formulas give by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from report.planted import KINDS, evidence

from fastvbow.errors import UsageError
from fastvbow.report.marking_words import RELEVANCE, kind_parts, lifts, ranked_words

COUNTS = np.array([[8.0, 1.0, 1.0, 10.0], [2.0, 1.0, 9.0, 8.0]])


def test_lift_by_hand():
    # p(0 | 0) = 8/20, p(0) = 10/40
    np.testing.assert_allclose(lifts(COUNTS, 0), [1.6, 1.0, 0.2, 10 / 20 / (18 / 40)])


def test_relevance_by_hand():
    def relevance(word: int, weight: float) -> float:
        p, overall = COUNTS[0, word] / 20, COUNTS[:, word].sum() / 40
        return weight * math.log(p) + (1 - weight) * math.log(p / overall)

    for weight in (0.0, RELEVANCE, 1.0):
        wanted = sorted(range(4), key=lambda word: -relevance(word, weight))
        assert ranked_words(COUNTS, 0, (0, 4), weight).tolist() == wanted
    assert ranked_words(COUNTS, 0, (0, 4), 1.0)[0] == 3, "the most frequent"
    assert ranked_words(COUNTS, 0, (0, 4), 0.0)[0] == 0, "the topic's own"
    assert ranked_words(COUNTS, 0, (1, 3)).tolist() == [1, 2], "only the words of the kind"
    assert ranked_words(np.ones((2, 4)), 0, (0, 4)).tolist() == [0, 1, 2, 3], "equal ones by number"


def test_parts_make_up_the_divergence():
    topic = COUNTS[1] / 20
    terms = topic * np.log(topic / (COUNTS.sum(axis=0) / 40))
    parts = kind_parts(COUNTS, 1, {"a": (0, 2), "b": (2, 3), "c": (3, 4)})
    assert terms[:2].sum() < 0 and terms[3] < 0 < terms[2]
    assert parts == {"a": 0.0, "b": 1.0, "c": 0.0}
    both = kind_parts(COUNTS, 0, {"a": (0, 2), "b": (2, 4)})
    first = COUNTS[0] / 20 * np.log(lifts(COUNTS, 0))
    assert first[2:].sum() < 0
    assert both == {"a": 1.0, "b": 0.0}
    assert sum(kind_parts(evidence().counts, 2, KINDS).values()) == pytest.approx(1)
    assert set(kind_parts(np.ones((3, 4)), 0, {"a": (0, 4)}).values()) == {0.0}


def test_kinds_that_do_not_make_up_the_words_are_refused():
    with pytest.raises(UsageError, match="do not make up the words"):
        evidence(kinds={"sift": (0, 8), "conv": (9, 16)})
    with pytest.raises(UsageError, match="do not make up the words"):
        evidence(kinds={"sift": (0, 8)})
    with pytest.raises(UsageError, match="no weights of 16 words"):
        evidence(weights=np.ones(3))
