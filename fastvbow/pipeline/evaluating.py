"""Command ``evaluate``: a project's groups, mixtures, words and topics held against labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.evaluation.alignment import Independence, independence_of
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.evaluation.compactness import silhouette
from fastvbow.evaluation.distributions import PairScores, pair_scores
from fastvbow.evaluation.tables import GroupTables, group_tables
from fastvbow.executors import effective_jobs
from fastvbow.pipeline.encoding import are_encoded, open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import load_grouping
from fastvbow.pipeline.mixtures import grouped_by, model_of
from fastvbow.pipeline.topic_modelling import token_streams
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.quality import npmi_coherence, topic_diversity, umass_coherence

__all__ = ["SMOOTHING", "Evaluation", "TopicQuality", "above_chance", "evaluate", "word_counts"]

SMOOTHING = 0.5
"""Added to every cell of a word histogram before distances are taken (Krichevsky & Trofimov 1981)."""

_OF_MIXTURES = ("symkl", "l2", "js")
_OF_WORDS = ("l1", "l2", "kl")
_TOP_NPMI, _TOP_DIVERSITY = 10, 25


@dataclass(frozen=True, eq=False)
class TopicQuality:
    """The topics of a project, judged without labels; of clusters, which are no distributions of words, all is NaN.

    Attributes
    ----------
    npmi, umass : ndarray of shape (K,), float64
        Coherence of each topic's ten most probable words, over photographs that hold a word more often than chance
        expects (`above_chance`). NaN where the vocabulary has one word.
    diversity : float
        See `fastvbow.topics.quality.topic_diversity`: of the 25 most probable words.
    perplexity : float
        By document completion: `fastvbow.topics.lda.GibbsLDA.perplexity`. NaN where no photograph has two words.
    held_out : bool
        Whether the model was taken from another project, so that it has not seen these photographs.
    """

    npmi: NDArray[np.float64]
    umass: NDArray[np.float64]
    diversity: float
    perplexity: float
    held_out: bool


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes
    ----------
    n_images, n_unlabelled : int
        Grouped photographs with a label, which are those that all but `topics` is about, and without one.
    scores : dict of str to float
        Every figure that is a single number: ``n_images``; those of `fastvbow.evaluation.clustering.clustering_scores`;
        ``symkl``, ``l2`` and ``js`` of mixtures and ``words_l1``, ``words_l2`` and ``words_kl`` of word histograms,
        each with ``_within``, ``_global`` and ``_ratio``; ``silhouette`` of the groups by the square roots of word
        frequencies; ``npmi``, ``umass`` (means over topics), ``diversity`` and ``perplexity``; ``independence_p`` and
        ``cramers_v``. NaN where a figure is not defined.
    distances : dict of str to PairScores
        The same distances label by label, with their confidence intervals: ``symkl``, ``l2``, ``js``, and where the
        photographs have words, ``words_l1``, ``words_l2``, ``words_kl``.
    tables : GroupTables
        Labels, groups, and the confusion of the two.
    topics : TopicQuality
    alignment : Independence
        The test that labels and groups have nothing to do with one another.
    problems : list of (str, str)
        Photographs whose own files do not tell their label, as a mask is missing or bad: paths, and why.
    names : dict of int to str
        What a person called the groups.
    """

    n_images: int
    n_unlabelled: int
    scores: dict[str, float]
    distances: dict[str, PairScores]
    tables: GroupTables
    topics: TopicQuality
    alignment: Independence
    problems: list[tuple[str, str]]
    names: dict[int, str]


def evaluate(project: Path, *, labels: str = "parent", jobs: int | None = None) -> Evaluation:
    """Score a project's groups. The model has not seen the labels.

    Topics that a person merged count as one group. Word histograms hold the words of all modalities, one a token; 0.5
    is added to every cell before they are made to sum to 1.

    Parameters
    ----------
    project : Path
    labels : str, default="parent"
        See `fastvbow.images.labels.read_labels`.
    jobs : int, optional
        Threads of the perplexity; None or -1: all processors. No figure depends on it.

    Returns
    -------
    Evaluation

    Raises
    ------
    StageMissingError
        There are no topics or clusters yet.
    StoreCorruptError
        The mixtures or words of the project are damaged.
    UsageError
        No image has a label.
    """
    folder, workers = ProjectFolder.open(project), effective_jobs(jobs)
    problems: list[tuple[str, str]] = []
    grouping = load_grouping(folder, labels, lambda path, why: problems.append((path, why)))
    known = np.array([label is not None for label in grouping.labels], bool)
    if not known.any():
        raise UsageError(f"no image of {project} has a label under --labels {labels}: take 'parent' or a CSV file")
    _check_mixtures(folder, grouping.theta)
    given = np.array([label for label in grouping.labels if label is not None])
    topic, theta = grouping.topic[known], grouping.theta[known]
    tables = group_tables(given, topic)
    distances = {name: pair_scores(theta, given, name) for name in _OF_MIXTURES}
    quality, compactness = _no_quality(theta.shape[1]), float("nan")
    if are_encoded(folder):
        counts = word_counts(folder)
        histograms = counts[np.flatnonzero(known)]
        distances |= {f"words_{name}": pair_scores(histograms, given, name, smoothing=SMOOTHING) for name in _OF_WORDS}
        compactness = silhouette(_roots_of_frequencies(histograms), topic)
        if grouped_by(folder) == "topics":
            quality = _topic_quality(folder, counts, workers)
    alignment = independence_of(tables.counts)
    names = load_names(folder).by_group()
    scores: dict[str, float] = {"n_images": len(given), **clustering_scores(given, topic)}
    undefined = float("nan")
    for name in (*_OF_MIXTURES, *(f"words_{name}" for name in _OF_WORDS)):
        found = distances.get(name)
        scores |= {
            f"{name}_within": found.mean_within if found else undefined,
            f"{name}_global": found.overall if found else undefined,
            f"{name}_ratio": found.ratio if found else undefined,
        }
    scores |= {
        "silhouette": compactness,
        "npmi": float(quality.npmi.mean()),
        "umass": float(quality.umass.mean()),
        "diversity": quality.diversity,
        "perplexity": quality.perplexity,
        "independence_p": alignment.p_value,
        "cramers_v": alignment.cramers_v,
    }
    return Evaluation(len(given), int((~known).sum()), scores, distances, tables, quality, alignment, problems, names)


def word_counts(project: ProjectFolder) -> sp.csr_array:
    """How often each grouped photograph has each word.

    Parameters
    ----------
    project : ProjectFolder

    Returns
    -------
    csr_array of shape (n_images, n_words), int32
        The photographs in the order of ``groups.parquet``; those that could not be read have no row. The words of all
        modalities, in the numbering of the vocabulary.
    """
    n_words = int(project.require("vocabulary").outputs["words"])
    parts = []
    for shard, tokens in zip(open_shards(project), open_tokens(project), strict=True):
        (stream,) = token_streams(project, [tokens], n_words)
        parts.append(stream.to_counts()[np.flatnonzero(shard.read)])
    return sp.csr_array(sp.vstack(parts, format="csr"))


def above_chance(counts: sp.csr_array) -> sp.csr_array:
    """Where a photograph has a word more often than chance expects: its tokens times the word's share of all tokens.

    Nearly every photograph holds nearly every one of a few hundred words, so that mere presence says little.

    Parameters
    ----------
    counts : csr_array of shape (n_images, n_words), int

    Returns
    -------
    csr_array of shape (n_images, n_words), bool
    """
    tokens = np.asarray(counts.sum(axis=1), np.float64).ravel()
    share = np.asarray(counts.sum(axis=0), np.float64).ravel() / max(tokens.sum(), 1.0)
    expected = np.repeat(tokens, np.diff(counts.indptr)) * share[counts.indices]
    found = sp.csr_array((counts.data > expected, counts.indices, counts.indptr), shape=counts.shape)
    found.eliminate_zeros()
    return found


def _roots_of_frequencies(counts: sp.csr_array) -> sp.csr_array:
    """Histograms whose Euclidean distance is Hellinger's; an empty one stays empty."""
    totals = np.maximum(np.asarray(counts.sum(axis=1), np.float64).ravel(), 1)
    data = np.sqrt(counts.data / np.repeat(totals, np.diff(counts.indptr)))
    return sp.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)


def _topic_quality(project: ProjectFolder, counts: sp.csr_array, jobs: int) -> TopicQuality:
    model = GibbsLDA.load(project.topics / "model")
    model.n_jobs = jobs
    phi, n_words = model.topic_word_, model.topic_word_.shape[1]
    unknown, perplexity = np.full(len(phi), np.nan), float("nan")
    if (counts.sum(axis=1) > 1).any():  # else there is no word to see and one to foretell
        perplexity = model.perplexity(token_streams(project, open_tokens(project), n_words))
    corpus, top = above_chance(counts), min(_TOP_NPMI, n_words)
    return TopicQuality(
        npmi=npmi_coherence(phi, corpus, n_top=top) if top > 1 else unknown,
        umass=umass_coherence(phi, corpus, n_top=top) if top > 1 else unknown,
        diversity=topic_diversity(phi, n_top=min(_TOP_DIVERSITY, n_words)),
        perplexity=perplexity,
        held_out="origin" in project.require("topics").parameters,
    )


def _no_quality(n_groups: int) -> TopicQuality:
    unknown = np.full(n_groups, np.nan)
    return TopicQuality(unknown, unknown, float("nan"), float("nan"), held_out=False)


def _check_mixtures(project: ProjectFolder, theta: NDArray[np.float64]) -> None:
    if not (theta > 0).all() or not np.allclose(theta.sum(axis=1), 1, atol=1e-6):
        stage = grouped_by(project)
        folder = model_of(project, stage).parent
        raise StoreCorruptError(
            f"{folder / 'theta.npy'} holds rows that are no mixtures (positive, with the sum 1): delete {folder} and "
            f"run 'fastvbow {stage}' again"
        )
