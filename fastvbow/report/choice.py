"""Which photographs a report shows.

Everything is ordered by a score rounded to three decimals; ties stand in the order of a checksum of the image id.
Frames of one burst often tie and have neighbouring names: the checksum scatters them over the sheet. It also makes
the choice independent of the order of the columns.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastvbow.report.content import ReportContent

__all__ = [
    "MOST_ON_PAGES",
    "Choice",
    "TopicChoice",
    "best",
    "checksums",
    "choose",
    "fitting",
    "on_a_page",
    "scattered",
]

MOST_ON_PAGES = 8000
"""Photographs that the topics' pages show together, about 80 MB of thumbnails; it takes more than 888 topics to exceed
it, with nine on a page each."""


@dataclass(frozen=True)
class TopicChoice:
    """The photographs of one topic.

    Parameters
    ----------
    topic : int
        Topic id.
    members : ndarray of int
        All photographs of the topic.
    typical : list of int
        Those shown as typical, highest probability first.
    uncertain : list of int
        Those shown as uncertain, lowest probability first; none is also in `typical`.
    random : list of int
        Some of the rest, drawn by a checksum of their ids: what the topic looks like between the two ends.
    """

    topic: int
    members: NDArray[np.intp]
    typical: list[int]
    uncertain: list[int]
    random: list[int]


@dataclass(frozen=True)
class Choice:
    """All photographs that the overview and the topics' pages show.

    Parameters
    ----------
    topics : list of TopicChoice
        Topics in use, largest first, equal sizes by id.
    empty : list of int
        Topics without a photograph, but for those that are merged into another.
    uncertain : list of int
        Photographs of highest entropy, from all topics.
    without_topic : list of int
        Some of the photographs that have no topic.
    n_without_topic : int
        How many have none.
    """

    topics: list[TopicChoice]
    empty: list[int]
    uncertain: list[int]
    without_topic: list[int]
    n_without_topic: int

    def shown(self) -> Iterator[int]:
        """Yield every shown photograph once, in the order of the pages."""
        parts = [part for t in self.topics for part in (t.typical, t.uncertain, t.random)]
        lists = [self.uncertain, self.without_topic, *parts]
        return iter(dict.fromkeys(index for indices in lists for index in indices))


def best(score: NDArray[np.floating], members: NDArray[np.intp], ids: Sequence[str], n: int) -> list[int]:
    """Return the `n` members of highest score.

    Parameters
    ----------
    score : ndarray of shape (n_images,), float
        Score of all photographs; NaN counts as the lowest.
    members : ndarray of int
        The photographs to choose from.
    ids : sequence of str, length n_images
        Image ids, which break ties.
    n : int
        How many, at most.

    Returns
    -------
    list of int
        Highest score first.
    """
    n = min(n, len(members))
    if n <= 0:
        return []
    value = np.round(np.nan_to_num(score[members].astype(np.float64), nan=-np.inf), 3)
    if n < len(members):
        keep = value >= np.partition(value, len(value) - n)[len(value) - n]
        members, value = members[keep], value[keep]
    keyed = [
        (-v, zlib.crc32(ids[i].encode("utf-8", "surrogatepass")), ids[i], i)
        for v, i in zip(value.tolist(), members.tolist(), strict=True)
    ]
    return [key[-1] for key in sorted(keyed)[:n]]


def checksums(ids: Sequence[str]) -> NDArray[np.uint32]:
    """CRC-32 of every id: an order that has nothing to do with names, and is the same each time.

    Parameters
    ----------
    ids : sequence of str, length n_images
        Image ids.

    Returns
    -------
    ndarray of shape (n_images,), uint32
    """
    return np.fromiter((zlib.crc32(i.encode("utf-8", "surrogatepass")) for i in ids), np.uint32, len(ids))


def scattered(keys: NDArray[np.uint32], members: NDArray[np.intp], n: int) -> list[int]:
    """Return `n` of the members as good as at random: those of the lowest checksums, which come first.

    Parameters
    ----------
    keys : ndarray of shape (n_images,), uint32
        See `checksums`.
    members : ndarray of int
        The photographs to choose from; of equal checksums the earlier one comes first.
    n : int
        How many, at most.

    Returns
    -------
    list of int
    """
    order = np.argsort(keys[members], kind="stable")[: max(0, n)]
    return [int(i) for i in members[order]]


def on_a_page(per_topic: int) -> int:
    """How many photographs a topic's page shows at most."""
    return per_topic + 2 * max(4, per_topic // 3)


def fitting(per_topic: int, n_topics: int) -> int:
    """Return how many typical photographs a topic's page may have where there are many topics.

    Parameters
    ----------
    per_topic : int
        What is asked for.
    n_topics : int
        Topics that have photographs.

    Returns
    -------
    int
        `per_topic`, or as many fewer, but at least one, as leave all pages together at most `MOST_ON_PAGES`
        photographs.
    """
    while per_topic > 1 and n_topics * on_a_page(per_topic) > MOST_ON_PAGES:
        per_topic -= 1
    return per_topic


def choose(content: ReportContent, per_topic: int, n_uncertain: int) -> Choice:
    """Choose the photographs of the overview and of the topics' pages.

    Parameters
    ----------
    content : ReportContent
        The photographs.
    per_topic : int
        Typical photographs per topic; a third as many, but at least four, uncertain ones and as many random ones come
        on top.
    n_uncertain : int
        Photographs in the list of the most uncertain of all, and in the one of those without a topic.

    Returns
    -------
    Choice
        Positions in the columns of `content`.
    """
    topic, probability = np.asarray(content.topic), np.asarray(content.probability)
    keys = checksums(content.ids)
    by_topic = np.argsort(topic, kind="stable")
    edges = np.searchsorted(topic[by_topic], np.arange(content.n_topics + 1))
    topics: list[TopicChoice] = []
    empty: list[int] = []
    absorbed = {topic for group, members in content.merged.items() for topic in members if topic != group}
    for t in range(content.n_topics):
        members = by_topic[edges[t] : edges[t + 1]]
        if not len(members):
            empty += [] if t in absorbed else [t]
            continue
        typical = best(probability, members, content.ids, per_topic)
        rest = np.setdiff1d(members, typical, assume_unique=True)
        uncertain = best(-probability, rest, content.ids, max(4, per_topic // 3))
        rest = np.setdiff1d(rest, uncertain, assume_unique=True)
        random = scattered(keys, rest, max(4, per_topic // 3))
        topics.append(TopicChoice(t, members, typical, uncertain, random))
    topics.sort(key=lambda chosen: (-len(chosen.members), chosen.topic))

    entropy = np.where(topic >= 0, np.asarray(content.entropy, dtype=np.float64), np.nan)
    undecided = np.flatnonzero(np.nan_to_num(entropy) >= 0.0005)  # below, it is 0.000 nats: there is no doubt to show
    without = by_topic[: edges[0]]
    return Choice(
        topics=topics,
        empty=empty,
        uncertain=best(entropy, undecided, content.ids, n_uncertain),
        without_topic=scattered(keys, without, n_uncertain),
        n_without_topic=len(without),
    )
