"""What the parameters of a topic model, its topics and its corpus may be; each check returns the value in the form that
the kernels take."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from fastvbow.errors import UsageError
from fastvbow.topics.stream import TokenStream

__all__ = [
    "all_streams",
    "corpus",
    "doc_groups",
    "not_negative",
    "positive",
    "positive_vector",
    "share",
    "topic_word",
    "whole",
    "word_weights",
]

WEIGHT_STEPS = 64  # word weights are multiples of 1 / WEIGHT_STEPS


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """An int from `least` to `most`."""
    if not isinstance(value, Integral) or int(value) < least or (most is not None and int(value) > most):
        wanted = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {wanted}, got {value!r}")
    return int(value)


def share(name: str, value: Any) -> float:
    """A float from 0 to 1."""
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value!r}")
    return float(value)


def positive(name: str, value: Any) -> float:
    """A finite float above 0."""
    if not isinstance(value, Real) or not 0 < float(value) < np.inf:
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)


def not_negative(name: str, value: Any) -> float:
    """A finite float, 0 or above."""
    if not isinstance(value, Real) or not 0 <= float(value) < np.inf:
        raise ValueError(f"{name} must be 0 or a positive number, got {value!r}")
    return float(value)


def positive_vector(name: str, value: Any, length: int, default: float) -> NDArray[np.float64]:
    """`length` finite floats above 0: `default` for None, one number repeated, or an array."""
    if value is None:
        return np.full(length, default)
    vector = np.array(value, dtype=np.float64)
    if vector.ndim == 0:
        vector = np.full(length, float(vector))
    if vector.shape != (length,):
        raise ValueError(f"{name} must be a number or of shape ({length},), got shape {vector.shape}")
    if not (np.isfinite(vector).all() and (vector > 0).all()):
        raise ValueError(f"{name} must be positive and finite, got {vector[~(np.isfinite(vector) & (vector > 0))][0]}")
    return vector


def word_weights(value: Any, n_words: int) -> NDArray[np.float64]:
    """One weight a word, rounded to multiples of 1/64, so that sums of them are exact in float64."""
    weights = np.round(positive_vector("word_weights", value, n_words, 1.0) * WEIGHT_STEPS) / WEIGHT_STEPS
    if value is not None and np.ndim(value) == 0:
        raise ValueError(f"word_weights must be of shape ({n_words},), got a single number")
    if not (weights > 0).all() or weights.max() > 2**20:
        raise ValueError(f"word_weights must be from 1/{WEIGHT_STEPS} to 2**20, got {np.min(value)} to {np.max(value)}")
    return weights


def doc_groups(value: Any, n_docs: int, n_topics: int) -> NDArray[np.int64] | None:
    """One topic a document, or -1."""
    if value is None:
        return None
    groups = np.asarray(value)
    if groups.shape != (n_docs,) or groups.dtype.kind not in "iu":
        raise ValueError(
            f"doc_groups must be {n_docs} whole numbers, one a document, got {groups.dtype} of shape {groups.shape}"
        )
    if n_docs and (groups.min() < -1 or groups.max() >= n_topics):
        raise ValueError(
            f"doc_groups must be from -1 (unknown) to n_components - 1 = {n_topics - 1}, "
            f"got {groups.min()} to {groups.max()}"
        )
    return np.ascontiguousarray(groups, dtype=np.int64)


def topic_word(value: Any) -> NDArray[np.float64]:
    """p(word | topic), (K, V): finite, not negative, and no row without words; rows need not sum to 1."""
    topics = np.asarray(value, dtype=np.float64)
    if topics.ndim != 2 or 0 in topics.shape:
        raise UsageError(f"topic_word must be of shape (n_topics, n_words), got shape {topics.shape}")
    bad = ~(np.isfinite(topics) & (topics >= 0))
    if bad.any():
        k, word = np.argwhere(bad)[0]
        raise UsageError(f"topic_word must be finite and not negative, got {topics[k, word]} at [{k}, {word}]")
    empty = ~topics.any(axis=1)
    if empty.any():
        raise UsageError(f"topic_word gives topic {np.argmax(empty)} no word: leave such topics out")
    return topics


def all_streams(X: Any) -> bool:
    """Whether this is a list of partitions."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(isinstance(part, TokenStream) for part in X)


def corpus(X: Any, n_words: int) -> Any:
    """A list of streams, a dense array or a CSR matrix: not empty, and of `n_words` words."""
    parts = [X] if isinstance(X, TokenStream) else X
    if isinstance(parts, (list, tuple)) and (not parts or any(isinstance(part, TokenStream) for part in parts)):
        kinds = sorted({type(part).__name__ for part in parts} - {"TokenStream"})
        if kinds:
            raise UsageError(f"a corpus in partitions is a list of TokenStream, got {', '.join(kinds)} among them")
        widths, n_docs = {part.n_words for part in parts}, sum(part.n_docs for part in parts)
    else:
        parts = check_array(X, accept_sparse="csr", ensure_min_samples=0, input_name="X")
        widths, n_docs = {parts.shape[1]}, parts.shape[0]
    if n_docs == 0:
        raise UsageError("the corpus has no documents: give at least one")
    if widths != {n_words}:
        found = " and ".join(str(width) for width in sorted(widths))
        raise UsageError(f"the corpus has {found} words, but topic_word has {n_words}")
    if not isinstance(parts, (list, tuple)) and (least := parts.min()) < 0:
        raise UsageError(f"counts must not be negative, got {least}")
    return list(parts) if isinstance(parts, (list, tuple)) else parts
