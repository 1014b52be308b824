"""Command ``evaluate``: a project's groups, mixtures, words and topics held against labels."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.evaluation.alignment import Independence, independence_of
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.evaluation.compactness import silhouette
from fastvbow.evaluation.distributions import PairScores, pair_scores
from fastvbow.evaluation.tables import GroupTables, group_tables
from fastvbow.executors import effective_jobs, make_executor
from fastvbow.pipeline.grouping import grouped_columns
from fastvbow.pipeline.mixtures import grouped_by, load_shares
from fastvbow.pipeline.scoring import UNREAD, Found, ShardWork, word_distances
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.quality import npmi_of_counts, top_words, topic_diversity, umass_of_counts

__all__ = ["Evaluation", "TopicQuality", "evaluate"]

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
        expects (`fastvbow.pipeline.shard_scores.above_chance`). NaN where the vocabulary has one word.
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


def evaluate(
    project: Path, *, labels: str = "parent", jobs: int | None = None, executor: Executor | None = None
) -> Evaluation:
    """Score a project's groups. The model has not seen the labels.

    Topics that a person merged count as one group. Word histograms hold the words of all modalities, one a token; 0.5
    is added to every cell before they are made to sum to 1. Of more than 50,000 labelled photographs, so many of all
    and as many evenly of the labels are drawn for ``words_l1``, which then has a confidence interval.

    Parameters
    ----------
    project : Path
    labels : str, default="parent"
        See `fastvbow.images.labels.read_labels`.
    jobs : int, optional
        Threads; None or -1: all processors. No figure depends on it.
    executor : concurrent.futures.Executor, optional
        Where shards are worked on, such as Dask's ``client.get_executor()``; None: `jobs` threads of this process.
        Changes no bit of the result.

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
    ClusterError
        The executor is Dask's, and its scheduler or workers are gone.
    """
    folder, workers = ProjectFolder.open(project), effective_jobs(jobs)
    problems: list[tuple[str, str]] = []
    grouped = grouped_columns(folder, labels, lambda path, why: problems.append((path, why)))
    codes, label_names = _coded(grouped.table["label"])
    if not len(label_names):
        raise UsageError(f"no image of {project} has a label under --labels {labels}: take 'parent' or a CSV file")
    known = codes >= 0
    of_images = np.full(len(grouped.read), UNREAD, np.int32)
    of_images[grouped.read] = codes
    given, topic = codes[known], grouped.table["topic"].to_numpy()[known]
    del grouped, codes
    tables = group_tables(given, topic)
    tables = replace(tables, labels=label_names[tables.labels], group_label=label_names[tables.group_label])
    quality, compactness = _no_quality(load_shares(folder).shape[1]), float("nan")
    with nullcontext(executor) if executor is not None else make_executor(workers) as where:
        work = ShardWork(folder, of_images, where, workers)
        found = work.score(label_names)
        rows = np.flatnonzero(of_images >= 0)
        js = pair_scores(load_shares(folder), given, "js", which=rows)
        distances = {name: found.distances(name) for name in ("symkl", "l2")}
        distances["js"] = replace(js, labels=label_names[js.labels])
        if work.n_words:
            histograms, l1 = word_distances(work, given, label_names)
            distances["words_l1"] = l1
            distances |= {f"words_{name}": found.distances(f"words_{name}") for name in ("l2", "kl")}
            compactness = silhouette(_roots_of_frequencies(histograms.counts), topic[histograms.which])
            if grouped_by(folder) == "topics":
                quality = _topic_quality(folder, work, found)
    alignment = independence_of(tables.counts)
    names = load_names(folder).by_group()
    scores: dict[str, float] = {"n_images": len(given), **clustering_scores(given, topic)}
    undefined = float("nan")
    for name in (*_OF_MIXTURES, *(f"words_{name}" for name in _OF_WORDS)):
        pairs = distances.get(name)
        scores |= {
            f"{name}_within": pairs.mean_within if pairs else undefined,
            f"{name}_global": pairs.overall if pairs else undefined,
            f"{name}_ratio": pairs.ratio if pairs else undefined,
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


def _coded(labels: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Labels as numbers, -1 where there is none, and what these stand for, rising."""
    packed = labels.combine_chunks().dictionary_encode()
    texts = packed.dictionary.to_pylist()
    rank = np.empty(len(texts) + 1, np.int32)
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank[order], rank[-1] = np.arange(len(texts)), -1
    return rank[packed.indices.fill_null(len(texts)).to_numpy()], np.array([texts[i] for i in order], dtype=str)


def _roots_of_frequencies(counts: sp.csr_array) -> sp.csr_array:
    """Histograms whose Euclidean distance is Hellinger's; an empty one stays empty."""
    totals = np.maximum(np.asarray(counts.sum(axis=1), np.float64).ravel(), 1)
    data = np.sqrt(counts.data / np.repeat(totals, np.diff(counts.indptr)))
    return sp.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)


def _topic_quality(project: ProjectFolder, work: ShardWork, found: Found) -> TopicQuality:
    phi = GibbsLDA.load(project.topics / "model").topic_word_
    n_words = phi.shape[1]
    npmi = umass = np.full(len(phi), np.nan)
    if n_words > 1:
        counted = work.count_together(top_words(phi, min(_TOP_NPMI, n_words)), found.scores.totals)
        npmi, umass = npmi_of_counts(*counted), umass_of_counts(*counted)
    n_held_out = found.scores.n_held_out  # 0: there is no word to see and one to foretell
    return TopicQuality(
        npmi=npmi,
        umass=umass,
        diversity=topic_diversity(phi, n_top=min(_TOP_DIVERSITY, n_words)),
        perplexity=float(np.exp(-found.scores.log_likelihood / n_held_out)) if n_held_out else float("nan"),
        held_out="origin" in project.require("topics").parameters,
    )


def _no_quality(n_groups: int) -> TopicQuality:
    unknown = np.full(n_groups, np.nan)
    return TopicQuality(unknown, unknown, float("nan"), float("nan"), held_out=False)
