"""What the figures of a topic model's quality take: its topics, and a corpus of the same words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from fastvbow.errors import UsageError
from fastvbow.topics.stream import TokenStream

__all__ = ["checked_corpus", "checked_topics"]


def checked_topics(topic_word: Any) -> NDArray[np.float64]:
    """p(word | topic), (K, V): finite, not negative, and no row without words; rows need not sum to 1."""
    topics = np.asarray(topic_word, dtype=np.float64)
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


def checked_corpus(X: Any, n_words: int) -> Any:
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
