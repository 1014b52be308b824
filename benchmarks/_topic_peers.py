"""Other libraries' topic models: the same documents, handed over outside the clock, and the same priors."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from topic_corpora import Corpus

__all__ = ["OTHERS", "Tomotopy", "installed"]


def installed(name: str) -> bool:
    """Whether a module is there."""
    return importlib.util.find_spec(name) is not None


class Tomotopy:
    """Its model of a corpus, ready to sweep."""

    def __init__(self, corpus: Corpus, seed: int, workers: int = 1) -> None:
        import tomotopy

        self.corpus, self.workers = corpus, workers
        self.model = tomotopy.LDAModel(k=corpus.n_topics, alpha=corpus.alpha, eta=corpus.eta, seed=seed)
        self.model.optim_interval = 0
        names = [str(w) for w in range(corpus.train.n_words)]
        for a, b in pairwise(corpus.train.offsets):
            self.model.add_doc([names[w] for w in corpus.train.words[a:b]])
        self.model.train(0)

    def sweep(self, n: int = 1) -> None:
        """Sample every token n times."""
        self.model.train(n, workers=self.workers)

    def topic_word(self) -> np.ndarray:
        """p(word | topic), (K, V)."""
        phi = np.full((self.corpus.n_topics, self.corpus.train.n_words), 1e-12)
        order = [int(word) for word in self.model.used_vocabs]
        phi[:, order] = [self.model.get_topic_word_dist(k) for k in range(self.corpus.n_topics)]
        return phi / phi.sum(axis=1, keepdims=True)


def counts_of(corpus: Corpus) -> np.ndarray:
    """Words in documents, (n_docs, n_words)."""
    counts = np.zeros((corpus.train.n_docs, corpus.train.n_words), np.int64)
    np.add.at(counts, (np.repeat(np.arange(len(counts)), np.diff(corpus.train.offsets)), corpus.train.words), 1)
    return counts


def scikit_learn(corpus: Corpus) -> Callable[[int], np.ndarray]:
    """30 iterations of batch learning."""
    from sklearn.decomposition import LatentDirichletAllocation

    counts = counts_of(corpus)
    priors = {"n_components": corpus.n_topics, "doc_topic_prior": corpus.alpha, "topic_word_prior": corpus.eta}
    return lambda seed: LatentDirichletAllocation(**priors, max_iter=30, random_state=seed).fit(counts).components_


def lda(corpus: Corpus) -> Callable[[int], np.ndarray]:
    """200 sweeps."""
    import lda

    counts, options = counts_of(corpus), {"n_iter": 200, "alpha": corpus.alpha, "eta": corpus.eta, "refresh": 200}
    return lambda seed: lda.LDA(corpus.n_topics, **options, random_state=seed).fit(counts).topic_word_


def gensim(corpus: Corpus) -> Callable[[int], np.ndarray]:
    """10 passes."""
    from gensim.models import LdaModel

    counts = counts_of(corpus)
    bags = [[(int(w), int(row[w])) for w in np.flatnonzero(row)] for row in counts]
    names = {w: str(w) for w in range(counts.shape[1])}
    options = {"alpha": [corpus.alpha] * corpus.n_topics, "eta": corpus.eta, "passes": 10}
    return lambda seed: LdaModel(bags, corpus.n_topics, names, **options, random_state=seed).get_topics()


OTHERS = {"sklearn": scikit_learn, "lda": lda, "gensim": gensim}
"""By module: takes a corpus, returns what fits it from a seed and gives the topics, (K, V)."""
