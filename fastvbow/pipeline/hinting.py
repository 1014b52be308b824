"""Command ``hints``: which groups of a project may be one, and which may be two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastvbow.events import Listener, log_events
from fastvbow.executors import one_thread_each
from fastvbow.groups.grouping import merged_shares
from fastvbow.groups.hints import mergings, partings
from fastvbow.pipeline.encoding import are_encoded, open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import load_grouping
from fastvbow.pipeline.mixtures import grouped_by
from fastvbow.pipeline.selecting import scattered
from fastvbow.pipeline.spaces import own_vectors
from fastvbow.pipeline.topic_modelling import start_embedding
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["GroupHint", "Hints", "MergeHint", "SplitHint", "hints"]


@dataclass(frozen=True)
class GroupHint:
    """A group that a hint is about.

    Attributes
    ----------
    group : int
        The lowest number of its topics.
    name : str or None
    images : int
        Its photographs.
    """

    group: int
    name: str | None
    images: int


@dataclass(frozen=True)
class MergeHint:
    """Two groups that may be one.

    Attributes
    ----------
    first, second : GroupHint
    overlap : float
        Cosine of the shares that photographs hold of them.
    """

    first: GroupHint
    second: GroupHint
    overlap: float


@dataclass(frozen=True)
class SplitHint:
    """A group that may be two.

    Attributes
    ----------
    group : GroupHint
    explained : float
        What its parting explains, as a share of the variance of all photographs.
    images : tuple of (int, int)
        Photographs of the two parts, the larger first.
    examples : tuple of (str, str)
        The path of a typical photograph of each.
    """

    group: GroupHint
    explained: float
    images: tuple[int, int]
    examples: tuple[str, str]


@dataclass(frozen=True)
class Hints:
    """What `hints` found.

    Attributes
    ----------
    n_topics : int
        Of the model; clusters count as such.
    by : {"topics", "cluster"}
        What the groups are.
    mergings : list of MergeHint
        The greatest overlap first.
    partings : list of SplitHint
        What explains most first.
    """

    n_topics: int
    by: str
    mergings: list[MergeHint]
    partings: list[SplitHint]


def hints(project: Path, *, listener: Listener = log_events) -> Hints:
    """Tell which groups look like one, and which look like two.

    Nothing is changed. Groups that are merged count as one. Of a group 2000 photographs at most are looked at, the same
    ones every time. `fastvbow.groups.hints` has the measures, and how often they are right.

    Parameters
    ----------
    project : Path
        Its topics or clusters are finished.
    listener : Listener, optional

    Returns
    -------
    Hints

    Raises
    ------
    ProjectError, StageMissingError, StoreCorruptError
        It is no project, its topics are not finished, or it is damaged.
    """
    folder = ProjectFolder.open(project)
    grouping, names = load_grouping(folder, "none"), load_names(folder)
    shards = open_shards(folder)
    if are_encoded(folder):
        vectors = start_embedding(shards, open_tokens(folder), Vocabulary.load(folder.vocabulary))
    else:
        vectors = own_vectors(folder)
    vectors = vectors[np.concatenate([shard.read for shard in shards])]
    order = scattered(grouping.image_ids, 0)
    with one_thread_each():
        pairs = mergings(merged_shares(grouping.theta, names))
        parted = partings(grouping.topic[order], vectors[order])
    sizes, called = np.bincount(grouping.topic, minlength=names.n_topics).tolist(), names.by_group()

    def hinted(group: int) -> GroupHint:
        return GroupHint(group, called.get(group), sizes[group])

    return Hints(
        names.n_topics,
        grouped_by(folder),
        [MergeHint(hinted(pair.groups[0]), hinted(pair.groups[1]), round(pair.overlap, 4)) for pair in pairs],
        [
            SplitHint(
                hinted(found.group),
                round(found.explained, 4),
                (larger := round(found.share * sizes[found.group]), sizes[found.group] - larger),
                (grouping.paths[order[found.examples[0]]], grouping.paths[order[found.examples[1]]]),
            )
            for found in parted
        ],
    )
