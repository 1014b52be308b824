"""Groups: for each photograph its topic, how probable that is, and how uncertain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import StoreCorruptError
from fastvbow.groups.drift import DriftReport
from fastvbow.groups.names import TopicNames
from fastvbow.groups.uncertainty import entropies

__all__ = [
    "Grouping",
    "Skipped",
    "TopGroups",
    "group",
    "groups_table",
    "merged_shares",
    "read_table",
    "top_groups",
    "write_table",
]

_BLOCK = 1 << 16  # rows of mixtures looked at together


@dataclass(frozen=True)
class Skipped:
    """Photographs that are in no group, and why; sequences of equal length."""

    image_ids: Sequence[str]
    paths: Sequence[str]
    reasons: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def to_table(self) -> pa.Table:
        """Columns image_id, path, reason (strings)."""
        columns = {"image_id": self.image_ids, "path": self.paths, "reason": self.reasons}
        return pa.table({name: _text(values) for name, values in columns.items()})


@dataclass(frozen=True)
class Grouping:
    """The grouped photographs, in the order in which they came.

    Attributes
    ----------
    image_ids, paths : sequence of str
    topic : ndarray of shape (n,), int32
        The most probable topic, the lowest number where two tie. Merged topics count as one, under the lowest number.
    probability : ndarray of shape (n,), float32
        Its share of the photograph, theta[topic]; of merged topics the sum.
    entropy : ndarray of shape (n,), float32
        Of these shares, in nats: 0 where one topic has all, log(n_topics) where none stands out.
    labels : sequence of str or None
        Known labels.
    theta : ndarray of shape (n, n_topics), float64
        The mixture itself, of the model's topics.
    skipped : Skipped
    names : sequence of str or None
        What a person called the topic of each.
    suggested : sequence of str or None
        What is suggested where it has no name; empty: nothing is for any.
    drift : DriftReport or None
        Of new photographs, where it was asked for: how well they fit the model.
    """

    image_ids: Sequence[str]
    paths: Sequence[str]
    topic: NDArray[np.int32]
    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    labels: Sequence[str | None]
    theta: NDArray[np.float64]
    skipped: Skipped
    names: Sequence[str | None]
    suggested: Sequence[str | None] = ()
    drift: DriftReport | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def to_table(self) -> pa.Table:
        """Columns image_id, path (string), topic (int32), probability, entropy (float32), label, name, suggested
        (string or null)."""
        top = TopGroups(self.topic, self.probability, self.entropy)
        columns = _text(self.image_ids), _text(self.paths), _text(self.labels), _text(self.names)
        return _table(top, *columns, _text(list(self.suggested) or [None] * len(self)))


@dataclass(frozen=True)
class TopGroups:
    """The most probable group of photographs: `topic`, `probability` and `entropy` as `Grouping` has them."""

    topic: NDArray[np.int32]
    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]

    def of(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> TopGroups:
        """Those of some of the photographs."""
        return TopGroups(self.topic[rows], self.probability[rows], self.entropy[rows])


def top_groups(theta: NDArray[np.float64], names: TopicNames | None = None) -> TopGroups:
    """The most probable group of each photograph.

    Parameters
    ----------
    theta : ndarray of shape (n, n_topics), float64
        Rows sum to 1; a memory map is read a block of rows at a time.
    names : TopicNames, optional
        Which topics were merged.

    Returns
    -------
    TopGroups
        12 bytes a photograph.
    """
    topic = np.empty(len(theta), np.int32)
    probability, entropy = np.empty(len(theta), np.float32), np.empty(len(theta), np.float32)
    for start in range(0, len(theta), _BLOCK):
        check_cancelled()
        block = theta[start : start + _BLOCK]
        shares = block if names is None else merged_shares(block, names)
        part = slice(start, start + len(block))
        topic[part] = shares.argmax(axis=1)
        probability[part] = shares[np.arange(len(shares)), topic[part]]
        entropy[part] = np.maximum(entropies(shares), 0.0)
    return TopGroups(topic, probability, entropy)


def groups_table(
    top: TopGroups,
    image_ids: pa.ChunkedArray,
    paths: pa.ChunkedArray,
    labels: pa.ChunkedArray,
    names: TopicNames,
    suggested: Mapping[int, str],
) -> pa.Table:
    """What `Grouping.to_table` gives, of columns: for photographs by the million.

    Parameters
    ----------
    top : TopGroups
    image_ids, paths, labels : pyarrow.ChunkedArray of strings
        One each a photograph; labels may be null.
    names : TopicNames
        What a person called the topics.
    suggested : mapping of int to str
        What is suggested for groups without a name.
    """
    called, n_topics = names.by_group(), names.n_topics
    of_group = (_text([texts.get(group) for group in range(n_topics)]) for texts in (called, suggested))
    topic = pa.array(top.topic)
    return _table(top, image_ids, paths, labels, *(texts.take(topic) for texts in of_group))


def _text(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _table(top: TopGroups, image_ids: Any, paths: Any, labels: Any, names: Any, suggested: Any) -> pa.Table:
    """In one piece each, as far as texts allow, so that the same rows give the same bytes."""
    return pa.table(
        {
            "image_id": image_ids,
            "path": paths,
            "topic": pa.array(top.topic),
            "probability": pa.array(top.probability),
            "entropy": pa.array(top.entropy),
            "label": labels,
            "name": names,
            "suggested": suggested,
        }
    ).combine_chunks()


def group(
    theta: NDArray[np.float64],
    image_ids: Sequence[str],
    paths: Sequence[str],
    labels: Sequence[str | None],
    skipped: Skipped,
    names: TopicNames | None = None,
    suggested: Mapping[int, str] | None = None,
) -> Grouping:
    """Group photographs by their most probable topic.

    Parameters
    ----------
    theta : ndarray of shape (n, n_topics), float64
        Rows sum to 1.
    image_ids, paths, labels : sequence
        One each a row.
    skipped : Skipped
    names : TopicNames, optional
        What a person called the topics, and which ones were merged.
    suggested : mapping of int to str, optional
        What is suggested for groups without a name (`fastvbow.groups.suggestions`).
    """
    top = top_groups(theta, names)
    called = {} if names is None else names.by_group()
    return Grouping(
        image_ids,
        paths,
        top.topic,
        top.probability,
        top.entropy,
        labels,
        theta,
        skipped,
        [called.get(number) for number in top.topic.tolist()],
        [(suggested or {}).get(number) for number in top.topic.tolist()],
    )


def merged_shares(theta: NDArray[np.float64], names: TopicNames) -> NDArray[np.float64]:
    """Mixtures of groups: the shares of merged topics stand under the lowest of them; the others have none.

    Parameters
    ----------
    theta : ndarray of shape (n, n_topics), float64
        Mixtures of topics.
    names : TopicNames
        Says which ones were merged.

    Returns
    -------
    ndarray of shape (n, n_topics), float64
        `theta` itself where none were.
    """
    if not names.merged:
        return theta
    shares = theta.copy()
    for topics in names.merged:
        shares[:, topics[0]] = theta[:, list(topics)].sum(axis=1)
        shares[:, list(topics[1:])] = 0.0
    return shares


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet, the same bytes for the same rows."""
    pq.write_table(table, path, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a table that `write_table` wrote.

    Raises
    ------
    StoreCorruptError
        It is missing or damaged.
    """
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise StoreCorruptError(f"{path} is missing: run 'fastvbow groups' again") from None
    except (OSError, pa.ArrowException) as error:
        raise StoreCorruptError(f"cannot read {path}: {error}: delete it and run 'fastvbow groups' again") from None
