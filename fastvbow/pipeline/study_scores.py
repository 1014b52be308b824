"""All that a study measures of a run, and of runs that differ in their seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.evaluation.alignment import independence_test
from fastvbow.evaluation.clustering import clustering_scores, group_agreement
from fastvbow.evaluation.compactness import inertia, silhouette
from fastvbow.evaluation.distributions import pair_scores
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.shard_scores import SMOOTHING, above_chance
from fastvbow.pipeline.vocabularies import draw_rows
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.quality import npmi_coherence, topic_diversity, umass_coherence
from fastvbow.topics.stability import topic_stability
from fastvbow.topics.stream import TokenStream
from fastvbow.words.vocabulary import Vocabulary

__all__ = [
    "agreement",
    "codebook_scores",
    "label_scores",
    "mixture_scores",
    "topic_scores",
    "word_scores",
]

_TOP_WORDS = 10
_FEATURES = 2000
_Scored = tuple[dict[str, float], list[dict[str, Any]]]


def label_scores(labels: NDArray[np.int32], groups: NDArray[np.int32]) -> dict[str, float]:
    """Groups against labels: `clustering_scores`, and the test that their rows are aligned.

    Parameters
    ----------
    labels, groups : ndarray of shape (n,), int32
        A label of -1 is unknown and left out.

    Returns
    -------
    dict of str to float
        Empty where no label is known. ``independence_p``: how probable so strong an association is by chance.
    """
    known = labels >= 0
    if not known.any():
        return {}
    test = independence_test(labels[known], groups[known])
    found = clustering_scores(labels[known], groups[known])
    return {**found, "independence_p": test.p_value, "cramers_v": test.cramers_v}


def mixture_scores(theta: NDArray[np.float64], labels: NDArray[np.int32], names: Sequence[str]) -> _Scored:
    """Symmetric KL, Jensen-Shannon and squared L2 of mixtures: within labels, over all, and the ratio.

    Parameters
    ----------
    theta : ndarray of shape (n, K), float64
        Positive rows that sum to 1.
    labels : ndarray of shape (n,), int32
        -1: unknown; such photographs count over all photographs only where no label is known.
    names : sequence of str
        Of the labels.

    Returns
    -------
    scores : dict of str to float
        ``symkl_within``, ``symkl_global``, ``symkl_ratio``, and so for ``js`` and ``l2``.
    per_label : list of dict
        ``label``, ``n_images``, ``symkl``, ``js``, ``l2``: means over the pairs of the label.
    """
    return _pairs(theta, labels, names, {"symkl": None, "js": None, "l2": None}, "")


def word_scores(counts: sp.csr_array, labels: NDArray[np.int32], names: Sequence[str]) -> _Scored:
    """L1, squared L2 and KL of word histograms, as frequencies smoothed as by `fastvbow.pipeline.evaluating`.

    Parameters
    ----------
    counts : csr_array of shape (n, n_words)
    labels, names
        See `mixture_scores`.

    Returns
    -------
    scores : dict of str to float
        ``words_l1_within`` and so on; ``words_silhouette`` of labels in the space of the histograms' square roots (of
        5000 photographs at most).
    per_label : list of dict
    """
    scores, per_label = _pairs(counts, labels, names, {"l1": SMOOTHING, "l2": SMOOTHING, "kl": SMOOTHING}, "words_")
    known = np.flatnonzero(labels >= 0)
    if len(known):
        roots = counts[known].astype(np.float64)
        mass = np.asarray(roots.sum(axis=1)).ravel()
        roots = sp.csr_array(sp.diags_array(1 / np.maximum(mass, 1)) @ roots).sqrt()
        scores["words_silhouette"] = silhouette(roots, labels[known])
    return scores, per_label


def _pairs(rows: Any, labels: NDArray[np.int32], names: Sequence[str], how: dict[str, Any], prefix: str) -> _Scored:
    known = labels >= 0
    if known.any():
        rows, labels = rows[known], labels[known]
    scores: dict[str, float] = {}
    per_label: dict[int, dict[str, Any]] = {}
    for measure, smoothing in how.items():
        found = pair_scores(rows, labels, measure, smoothing=smoothing)
        name = f"{prefix}{measure}"
        scores[f"{name}_global"] = found.overall
        if not known.any():
            continue
        scores |= {f"{name}_within": found.mean_within, f"{name}_ratio": found.ratio}
        for label, count, within in zip(found.labels.tolist(), found.counts.tolist(), found.within, strict=True):
            row = per_label.setdefault(label, {"label": names[label], "n_images": count})
            row[name] = float(within)
    return scores, list(per_label.values())


def codebook_scores(vocabulary: Vocabulary, shards: Sequence[FeatureShard]) -> dict[str, float]:
    """How close features are to their words, of 2000 features of each kind, drawn evenly.

    Parameters
    ----------
    vocabulary : Vocabulary
    shards : sequence of FeatureShard

    Returns
    -------
    dict of str to float
        ``sift_inertia``, ``sift_silhouette`` and so for ``conv`` and ``pooled``: the mean squared distance to the word,
        in the space of the words (RootSIFT's of 8 bits; unit vectors), and the mean silhouette of the words. NaN where
        these photographs have no feature of the kind.
    """
    scores: dict[str, float] = {}
    for number, (name, book) in enumerate(vocabulary.codebooks.items()):
        drawn = draw_rows([shard.card.rows[name] for shard in shards], _FEATURES, np.random.default_rng(number))
        rows = np.concatenate([shard.descriptors(name)[which] for shard, which in zip(shards, drawn, strict=True)])
        if not len(rows):  # photographs held out may all be flat
            scores[f"{name}_inertia"] = scores[f"{name}_silhouette"] = float("nan")
            continue
        projected = book.project(rows)
        words = book.nearest(projected, n_jobs=1)
        near = np.asarray(projected, np.float64)
        scores[f"{name}_inertia"] = inertia(near, words, book.centers) / len(near)
        scores[f"{name}_silhouette"] = silhouette(near, words)
    return scores


def topic_scores(model: GibbsLDA, streams: list[TokenStream], *, seen: bool) -> dict[str, float]:
    """Perplexity of some photographs' tokens by document completion; of those learned from also coherence.

    Parameters
    ----------
    model : GibbsLDA
    streams : list of TokenStream
    seen : bool
        Whether the topics were learned from these photographs. Their perplexity is in-sample then.

    Returns
    -------
    dict of str to float
        ``perplexity``; if `seen`, also the means over topics of ``npmi`` and ``umass``, and ``diversity``. A word
        counts as present where it occurs more often than the corpus has it on average: with hundreds of tokens a
        photograph nearly every word occurs in nearly every one.
    """
    if not any((np.diff(stream.offsets) > 1).any() for stream in streams):
        return {}
    scores = {"perplexity": model.perplexity(streams)}
    if seen and model.n_features_in_ >= 2:
        phi, counts = (
            model.topic_word_,
            sp.csr_array(sp.vstack([stream.to_counts() for stream in streams], format="csr")),
        )
        n_top = min(_TOP_WORDS, phi.shape[1])
        corpus = above_chance(counts)
        scores["npmi"] = float(npmi_coherence(phi, corpus, n_top=n_top).mean())
        scores["umass"] = float(umass_coherence(phi, corpus, n_top=n_top).mean())
        scores["diversity"] = topic_diversity(phi, n_top=n_top)
    return scores


def agreement(thetas: Sequence[NDArray[np.floating]], groups: Sequence[NDArray[np.int32]]) -> dict[str, float]:
    """How much runs agree that differ in their seed alone.

    Their words differ too, so that topics cannot be matched by their words; they are by their shares of the same
    photographs.

    Parameters
    ----------
    thetas : sequence of ndarray of shape (n, K)
        Empty where there are none.
    groups : sequence of ndarray of shape (n,), int32

    Returns
    -------
    dict of str to float
        Means over pairs of runs: ``stability_ari``, of the groups; ``stability_topics``, the mean cosine of topics'
        shares over the photographs, matched one to one (`topic_stability`). Empty for one run.
    """
    if len(groups) < 2:
        return {}
    scores = {"stability_ari": float(group_agreement(groups).mean())}
    if len(thetas) > 1:
        scores["stability_topics"] = float(topic_stability([theta.T for theta in thetas]).mean())
    return scores
