"""Documents to measure topic models on: planted ones, and visual words of photographs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import descriptors
import numpy as np

from fastvbow import MiniBatchKMeans
from fastvbow.features.sift import SiftExtractor
from fastvbow.topics import TokenStream
from fastvbow.topics.inference import complete_documents

__all__ = ["Corpus", "planted", "visual_words"]

HELD_OUT = 500


@dataclass
class Corpus:
    """Documents to train on and to foretell.

    Attributes
    ----------
    name : str
    train, held_out : TokenStream
    n_topics : int
        To fit.
    alpha, eta : float
        Priors, the same for all.
    truth : ndarray of shape (K, V) or None
        The topics that made it.
    """

    name: str
    train: TokenStream
    held_out: TokenStream
    n_topics: int
    alpha: float = 0.1
    eta: float = 0.05
    truth: np.ndarray | None = None

    def perplexity(self, topic_word: np.ndarray) -> float:
        """Document completion under (K, V) topics: the one function for all models."""
        phi = np.ascontiguousarray(topic_word.T, dtype=np.float64)
        alpha, ones = np.full(phi.shape[1], self.alpha), np.ones(len(phi))
        total, n = complete_documents([self.held_out], phi, alpha, ones, 100, 1)
        return float(np.exp(-total / n))


def stream(documents: np.ndarray, n_words: int) -> TokenStream:
    """Documents of one length."""
    n, length = documents.shape
    return TokenStream(documents.astype(np.uint16).ravel(), np.arange(n + 1, dtype=np.int64) * length, n_words)


def planted(n_topics: int, n_words: int, n_docs: int, *, length: int = 300, seed: int = 0) -> Corpus:
    """Topics from Dirichlet(15 / V), mixtures of them from Dirichlet(2 / K); the same words for the same arguments."""
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.full(n_words, 15 / n_words), n_topics)
    cumulated = np.cumsum(phi, axis=1)
    theta = rng.dirichlet(np.full(n_topics, 2 / n_topics), n_docs + HELD_OUT)
    out = np.empty((n_docs + HELD_OUT, length), np.uint16)
    for document, mixture in zip(out, theta, strict=True):
        topics = rng.choice(n_topics, length, p=mixture)
        for k in np.unique(topics):
            here = np.flatnonzero(topics == k)
            document[here] = np.minimum(np.searchsorted(cumulated[k], rng.random(len(here))), n_words - 1)
    name = f"planted, K = {n_topics}, V = {n_words:,}"
    train, held_out = stream(out[:n_docs], n_words), stream(out[n_docs:], n_words)
    return Corpus(name, train, held_out, n_topics, alpha=2 / n_topics, truth=phi)


@cache
def visual_words(n_topics: int = 20, n_words: int = 300) -> Corpus | None:
    """SIFT words of the photographs of sun8 and corel1k, 300 keypoints a photograph; None where they are absent."""
    root = descriptors.data_folder()
    paths = sorted(p for name in ("sun8", "corel1k") for p in (root / name).rglob("*.jpg"))
    if not paths:
        return None
    names = "\n".join(p.relative_to(root).as_posix() for p in paths)
    file = descriptors.FOLDER / f"words-{n_words}-{hashlib.sha256(names.encode()).hexdigest()[:8]}.npz"
    if not file.exists():
        extractor, parts = SiftExtractor(), []
        for path in paths:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            parts.append(extractor.extract(image)["sift"].descriptors)
        rows = np.concatenate(parts)
        book = MiniBatchKMeans(n_words, random_state=0).fit(rows)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, words=book.predict(rows).astype(np.uint16), lengths=[len(part) for part in parts])
    with np.load(file) as found:
        words, offsets = found["words"], np.concatenate([[0], np.cumsum(found["lengths"])])
    documents = [words[a:b] for a, b in pairwise(offsets)]
    order = np.random.default_rng(0).permutation(len(documents))

    def some(numbers: np.ndarray) -> TokenStream:
        chosen = [documents[i] for i in numbers]
        bounds = np.concatenate([[0], np.cumsum([len(d) for d in chosen])]).astype(np.int64)
        return TokenStream(np.concatenate(chosen), bounds, n_words)

    return Corpus(
        f"SIFT words, K = {n_topics}, V = {n_words}", some(order[HELD_OUT:]), some(order[:HELD_OUT]), n_topics
    )
