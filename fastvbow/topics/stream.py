"""The token stream: the words of many documents one after another, three or four bytes a token."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils import check_array

__all__ = ["TokenStream"]

# More tokens than any corpus holds: a count beyond it is a mistake, and must not overflow an offset.
MAX_TOKENS = 2**40


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Word ids of all documents in a row, and where each document begins.

    Parameters
    ----------
    words : ndarray of shape (n_tokens,), uint16 or uint32
        Word ids, C-contiguous; may be a read-only memory map, and is never copied.
    offsets : ndarray of shape (n_docs + 1,), int64
        Document d holds the tokens ``offsets[d]`` up to, not including, ``offsets[d + 1]``. May hold empty documents.
    n_words : int
        Size of the vocabulary; every id is below it.

    Raises
    ------
    ValueError
        An array has another dtype, dimension or layout, the offsets do not cover the words, or a word id is
        `n_words` or more.
    """

    words: NDArray[Any]
    offsets: NDArray[Any]
    n_words: int

    def __post_init__(self) -> None:
        if not isinstance(self.words, np.ndarray) or self.words.dtype not in (np.uint16, np.uint32):
            raise ValueError(f"words must be an array of uint16 or uint32, got {_kind(self.words)}")
        if not isinstance(self.offsets, np.ndarray) or self.offsets.dtype != np.int64:
            raise ValueError(f"offsets must be an array of int64, got {_kind(self.offsets)}")
        for name, array in (("words", self.words), ("offsets", self.offsets)):
            if array.ndim != 1 or not array.flags.c_contiguous:
                raise ValueError(f"{name} must be one-dimensional and contiguous, got shape {array.shape}")
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.words):
            raise ValueError(f"offsets must begin with 0 and end with the number of tokens ({len(self.words)})")
        if np.any(self.offsets[1:] < self.offsets[:-1]):
            raise ValueError(f"offsets must not decrease, but do after document {np.argmax(np.diff(self.offsets) < 0)}")
        if self.n_words < 1:
            raise ValueError(f"n_words must be at least 1, got {self.n_words}")
        if len(self.words) and (largest := int(self.words.max())) >= self.n_words:
            raise ValueError(f"word id {largest} does not fit a vocabulary of n_words={self.n_words}")

    @property
    def n_docs(self) -> int:
        """Number of documents, empty ones included."""
        return len(self.offsets) - 1

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return len(self.words)

    @classmethod
    def from_counts(cls, X: Any) -> TokenStream:
        """Write word counts out as tokens: each document's words in column order, each repeated by its count.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_docs, n_words)
            Whole, non-negative counts of any dtype.

        Raises
        ------
        ValueError
            A count is negative, fractional, NaN or infinite.
        """
        X = check_array(X, accept_sparse="csr", ensure_non_negative=True, ensure_min_samples=0, input_name="X")
        return cls.from_checked_counts(X)

    @classmethod
    def from_checked_counts(cls, X: Any) -> TokenStream:
        """`from_counts` for an array or CSR matrix that ``check_array`` has passed."""
        counts = sp.csr_matrix(X, copy=sp.issparse(X))
        counts.sum_duplicates()
        fractional = counts.data != np.floor(counts.data)
        if fractional.any():
            first = counts.data[np.argmax(fractional)]
            raise ValueError(f"counts must be whole numbers, got {first}: round them, or give word_weights")
        if float(counts.data.sum(dtype=np.float64)) > MAX_TOKENS:
            raise ValueError(f"counts add up to more than {MAX_TOKENS} tokens")
        dtype = np.uint16 if counts.shape[1] <= 2**16 else np.uint32
        repeats = counts.data.astype(np.int64)
        sums = np.concatenate([[0], np.cumsum(repeats)])
        return cls(
            np.repeat(counts.indices.astype(dtype), repeats), sums[counts.indptr].astype(np.int64), counts.shape[1]
        )

    def to_counts(self) -> sp.csr_array:
        """How often each word occurs in each document: (n_docs, n_words), int32."""
        cells = np.ones(self.n_tokens, np.int32), self.words.astype(np.int64), self.offsets
        counts = sp.csr_array(cells, shape=(self.n_docs, self.n_words), copy=True)  # what follows writes to the offsets
        counts.sum_duplicates()
        return counts

    def blocks(self, n_tokens: int) -> list[tuple[int, int]]:
        """Cut the documents into runs of about `n_tokens` tokens: a list of (begin, end)."""
        edges = np.searchsorted(self.offsets, np.arange(0, self.n_tokens, n_tokens)[1:])
        edges = np.unique(np.concatenate([[0], edges, [self.n_docs]]))
        return [(int(begin), int(end)) for begin, end in pairwise(edges)]

    def halves(self) -> tuple[TokenStream, NDArray[Any], NDArray[np.int64]]:
        """Every second token as a stream, and the words and the document numbers of the others.

        The even positions of each document (0, 2, ...) make the stream.
        """
        lengths = np.diff(self.offsets)
        document = np.repeat(np.arange(self.n_docs), lengths)
        even = (np.arange(self.n_tokens) - self.offsets[document]) % 2 == 0
        offsets = np.concatenate([[0], np.cumsum((lengths + 1) // 2)]).astype(np.int64)
        observed = TokenStream(np.ascontiguousarray(self.words[even]), offsets, self.n_words)
        return observed, self.words[~even], document[~even]

    def part(self, begin: int, end: int) -> TokenStream:
        """Documents `begin` up to, not including, `end`, as a view."""
        first, last = self.offsets[begin], self.offsets[end]
        return TokenStream(self.words[first:last], self.offsets[begin : end + 1] - first, self.n_words)


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
