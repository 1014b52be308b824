"""Command ``select``: the photographs of a project that are worth labelling next."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.csv_rows import path_cell, write_rows
from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import one_thread_each
from fastvbow.groups.grouping import Grouping, merged_shares
from fastvbow.groups.selecting import STRATEGIES, select_rows
from fastvbow.pipeline.encoding import are_encoded
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import load_grouping
from fastvbow.pipeline.spaces import own_vectors
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder, replace_file
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["SPACES", "Selection", "scattered", "select"]

SPACES = ("auto", "embeddings", "theta")
"""In what photographs are compared; auto: their pooled vectors where there are such, else their mixtures."""

_COLUMNS = ("path", "image_id", "topic", "probability", "entropy", "label")


@dataclass(frozen=True)
class Selection:
    """Photographs to be labelled, the first to be labelled first.

    Attributes
    ----------
    image_ids, paths : list of str
    topic : ndarray of shape (n,), int32
    probability, entropy : ndarray of shape (n,), float32
        See `fastvbow.groups.grouping.Grouping`.
    by, on : str
        What they were chosen by, and in what they were compared ("embeddings" or "theta").
    n_labelled : int
        Photographs that have a label already.
    n_left : int
        Photographs that have none, and are not chosen either.
    """

    image_ids: list[str]
    paths: list[str]
    topic: NDArray[np.int32]
    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    by: str
    on: str
    n_labelled: int
    n_left: int

    def __len__(self) -> int:
        return len(self.paths)


def select(
    project: Path,
    *,
    number: int = 200,
    by: str = STRATEGIES[0],
    on: str = SPACES[0],
    labels: str = "none",
    per_topic: int | None = None,
    quotas: Mapping[int, int] | Sequence[str] | None = None,
    output: Path | None = None,
    seed: int = 0,
    listener: Listener = log_events,
) -> Selection:
    """Choose the photographs that are worth labelling next.

    The choice depends on the photographs' ids, mixtures and vectors and on the seed, not on their order nor on the
    machine's processors (one thread computes), and a smaller number gives the beginning of a larger one's choice.
    Merged topics count as one, with the sum of their shares.

    Parameters
    ----------
    project : Path
        Its topics or clusters are finished.
    number : int, default=200
        How many. Where fewer are left, all are chosen and a warning says so.
    by : {"balanced", "diverse", "farthest", "typical", "entropy", "margin"}, default="balanced"
        See `fastvbow.groups.selecting.select_rows`.
    on : {"auto", "embeddings", "theta"}, default="auto"
        In what photographs are compared: the principal components of their pooled vectors, as the vocabulary has them,
        or the square roots of their mixtures. ``entropy`` and ``margin`` look at the mixtures alone.
    labels : str, default="none"
        What is known: see `fastvbow.images.labels.read_labels`. Labelled photographs are not chosen, and what lies
        near them counts as covered.
    per_topic : int, optional
        At most so many photographs of each topic, not counting those with a label.
    quotas : mapping of int to int, or sequence of str, optional
        At most so many of single topics, in place of `per_topic`: ``{3: 20, 5: 0}`` or ``["3=20", "5=0"]``. That of a
        merged topic is its group's; the last one counts.
    output : Path, optional
        Gets the photographs as CSV: path, image_id, topic, probability, entropy and an empty label. Once that column is
        filled in, the file serves as `labels`.
    seed : int, default=0
        Of the order among equals, and of which photographs stand for all where there are too many to compare.
    listener : Listener, optional

    Raises
    ------
    UsageError
        An argument is wrong, the project has no pooled vectors to compare, all photographs are labelled, or `output`
        cannot be written.
    StageMissingError
        The topics are not finished.
    """
    if on not in SPACES:
        raise UsageError(f"photographs are compared on one of {', '.join(SPACES)}, not {on!r}")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} to write {output.name} to")
    if output is not None and output.exists() and Path(labels).exists() and output.samefile(labels):
        raise UsageError(f"{output} holds the labels that are given, and would be written over: choose another -o")
    folder = ProjectFolder.open(project)

    def report(path: str, reason: str) -> None:
        listener(Event("select", "warning", f"{path} has no label: {reason}"))

    grouping = load_grouping(folder, labels, report)
    names = load_names(folder)
    most = _quotas(names.group_of(), per_topic, quotas)
    order = scattered(grouping.image_ids, seed)
    known = np.array([label is not None for label in grouping.labels], bool)[order]
    if len(known) and known.all():
        raise UsageError(f"all {len(known)} photographs of {project} have a label (--labels {labels}): none is left")
    with one_thread_each():
        vectors, on = _vectors(folder, grouping.theta, order, on)
        shares = merged_shares(grouping.theta, names)[order]
        rows = order[select_rows(shares, vectors, number, by=by, known=known, quotas=most)]
    if len(rows) < number:
        why = "the quotas allow no more" if most is not None else "no more are without a label"
        listener(Event("select", "warning", f"{len(rows)} photographs instead of {number}: {why}"))
    found = _selection(grouping, rows, by, on, int(known.sum()))
    if output is not None:
        try:
            _write(output, found)
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}") from None
    return found


def scattered(image_ids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Rows in an order that looks random and depends on ids and seed alone: frames of one burst are far apart."""
    key = b"select %d" % seed
    digests = [
        hashlib.blake2b(image_id.encode("utf-8", "surrogateescape"), digest_size=16, key=key).digest()
        for image_id in image_ids
    ]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)


def _vectors(
    project: ProjectFolder, theta: NDArray[np.float64], order: NDArray[np.int64], on: str
) -> tuple[NDArray[np.floating], str]:
    """What photographs are compared in, and its name."""
    own = {"cnn", "embeddings"} & project.require("extract").parameters.keys()
    if on != "theta" and own and not are_encoded(project):
        read = np.concatenate([shard.read for shard in open_shards(project)])
        return own_vectors(project)[read][order], "embeddings"
    book = None
    if on != "theta" and are_encoded(project):
        book = Vocabulary.load(project.vocabulary).codebooks.get("pooled")
    if book is None:
        if on == "embeddings":
            raise UsageError(
                f"{project.root} has no pooled vectors to compare photographs by: pass --on theta, or make a project "
                "whose --features hold cnn"
            )
        return np.sqrt(theta[order]), "theta"
    vectors = np.concatenate([book.project(shard.descriptors("pooled")) for shard in open_shards(project)])
    if len(vectors) != len(order):
        raise StoreCorruptError(
            f"{project.features} holds {len(vectors)} pooled vectors of {len(order)} photographs that were read: "
            "run 'fastvbow verify', then 'fastvbow extract' again"
        )
    return vectors[order], "embeddings"


def _quotas(
    groups: NDArray[np.int32], per_topic: int | None, quotas: Mapping[int, int] | Sequence[str] | None
) -> NDArray[np.int64] | None:
    """The quota of each group, which goes by the lowest of its topics; any of them names it."""
    if per_topic is None and not quotas:
        return None
    if per_topic is not None and per_topic < 1:
        raise UsageError(f"at least one photograph of each topic has to be allowed, not --per-topic {per_topic}")
    n_topics = len(groups)
    most = np.full(n_topics, np.iinfo(np.int64).max if per_topic is None else per_topic, np.int64)
    given = quotas.items() if isinstance(quotas, Mapping) else map(_quota, quotas or ())
    for topic, quota in given:
        if not 0 <= topic < n_topics or quota < 0:
            raise UsageError(
                f"the quota {topic}={quota} cannot be: the project's topics are 0 to {n_topics - 1}, and a quota is 0 "
                "or more"
            )
        most[groups[topic]] = quota
    return most


def _quota(text: str) -> tuple[int, int]:
    topic, _, quota = text.partition("=")
    try:
        return int(topic), int(quota)
    except ValueError:
        raise UsageError(f"a quota is TOPIC=NUMBER, as 3=20, not {text!r}") from None


def _selection(grouping: Grouping, rows: NDArray[np.int64], by: str, on: str, n_labelled: int) -> Selection:
    return Selection(
        [grouping.image_ids[row] for row in rows],
        [grouping.paths[row] for row in rows],
        grouping.topic[rows],
        grouping.probability[rows],
        grouping.entropy[rows],
        by,
        on,
        n_labelled,
        len(grouping) - n_labelled - len(rows),
    )


def _write(output: Path, found: Selection) -> None:
    with replace_file(output) as path, path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as handle:
        rows = zip(found.paths, found.image_ids, found.topic, found.probability, found.entropy, strict=True)
        cells = (
            [path_cell(path_), image_id, topic, f"{share:.6f}", f"{entropy:.6f}", ""]
            for path_, image_id, topic, share, entropy in rows
        )
        write_rows(handle, chain([_COLUMNS], cells))
