"""Commands ``name`` and ``merge``: what a person calls the groups, and which of them are one."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastvbow.csv_rows import text_of
from fastvbow.errors import UsageError
from fastvbow.events import Listener, log_events
from fastvbow.groups.grouping import read_table
from fastvbow.groups.names import TopicNames, write_names
from fastvbow.groups.suggestions import with_proposals
from fastvbow.pipeline.grouping import rename_groups
from fastvbow.pipeline.suggested_names import load_proposals, load_suggestions, require_suggestions
from fastvbow.pipeline.topic_names import load_names, names_path
from fastvbow.project import ProjectFolder

__all__ = ["NamedGroup", "merge", "name"]


@dataclass(frozen=True)
class NamedGroup:
    """A group as a person knows it.

    Attributes
    ----------
    topic : int
        The number it goes by.
    topics : list of int
        All its topics, rising.
    name : str or None
    images : int or None
        How many photographs are in it; None where there are no groups yet.
    suggested : str or None
        What is suggested for it while it has no name (`fastvbow.pipeline.suggest`).
    """

    topic: int
    topics: list[int]
    name: str | None
    images: int | None
    suggested: str | None = None


def name(
    project: Path,
    topic: int | None = None,
    text: str | None = None,
    *,
    from_file: Path | None = None,
    remove: bool = False,
    merging: bool = False,
    suggested: bool = False,
    listener: Listener = log_events,
) -> list[NamedGroup]:
    """Name a group, or several from a file or as was suggested; without any, tell how they are named.

    Names belong to the topic model: they stay while its bytes are the same, whatever is done again. Another model has
    none yet, and the former ones are kept for the case that theirs returns. ``groups.parquet`` gets them at once.

    Parameters
    ----------
    project : Path
        Its topics have to be finished.
    topic : int, optional
        The group, by the number of one of its topics.
    text : str, optional
        Its name from now on; any Unicode but control characters.
    from_file : Path, optional
        A CSV file in UTF-8 with the columns ``topic`` and ``name``; an empty name takes the one there is away. All of
        it is taken, or nothing.
    remove : bool, default=False
        Take the topic's name away.
    merging : bool, default=False
        Groups that get one name become one group; otherwise that is an error.
    suggested : bool, default=False
        Give each group without a name the best one that is suggested for it and for no other group that it fits better
        (`fastvbow.groups.suggestions.TopicSuggestions.proposals`). Names that are there stay.
    listener : Listener, optional

    Returns
    -------
    list of NamedGroup
        All groups, by their numbers.

    Raises
    ------
    UsageError
        There is no such topic, the name cannot be one or is taken, the file cannot be used, nothing is suggested, or
        the arguments do not go together.
    StageMissingError, StoreCorruptError, ProjectError
    """
    given = [from_file is not None, topic is not None, suggested]
    if sum(given) > 1 or (topic is not None) != (remove or text is not None) or (remove and text is not None):
        raise UsageError(
            "name takes a topic and its name ('fastvbow name PROJECT 3 kitchen'), a topic and --remove, --from-file "
            "FILE.csv, --suggested, or nothing, which lists the names"
        )
    folder = ProjectFolder.open(project)

    def change(names: TopicNames) -> TopicNames:
        if from_file is not None:
            return _from_file(names, from_file, merging)
        if suggested:
            return with_proposals(names, require_suggestions(folder, names).proposals(names))
        return names if topic is None else names.with_name(topic, None if remove else text, merge=merging)

    return _changed(project, change, listener)


def merge(
    project: Path, topics: Sequence[int], *, undo: bool = False, listener: Listener = log_events
) -> list[NamedGroup]:
    """Make several groups one, or part them again.

    A photograph's share of merged topics is the sum of its shares, so that some photographs come in that were in
    neither; the model and its mixtures stay as they are.

    Parameters
    ----------
    project : Path
    topics : sequence of int
        Two or more; with `undo` those that shall be groups of their own again.
    undo : bool, default=False
    listener : Listener, optional

    Returns
    -------
    list of NamedGroup
        All groups, by their numbers.

    Raises
    ------
    UsageError
        There is no such topic, there are too few, or one is not merged.
    StageMissingError, StoreCorruptError, ProjectError
    """
    return _changed(
        project, lambda names: names.without_merged(topics) if undo else names.with_merged(topics), listener
    )


def _changed(project: Path, change: Callable[[TopicNames], TopicNames], listener: Listener) -> list[NamedGroup]:
    folder = ProjectFolder.open(project)
    with folder.lock():
        before = load_names(folder, listener)
        after = change(before)
        if after != before:
            write_names(names_path(folder, after.topics), after)
        load_suggestions(folder, after, listener)  # which says where groups have none any more
        rename_groups(folder, listener)  # also what an interrupted call has left
        return _listed(folder, after)


def _listed(project: ProjectFolder, names: TopicNames) -> list[NamedGroup]:
    counts = None
    if project.card("groups") is not None:
        topics = read_table(project.groups)["topic"].to_numpy()
        counts = np.bincount(topics, minlength=names.n_topics).tolist()
    suggested = load_proposals(project, names)
    return [
        NamedGroup(
            group,
            list(names.members(group)),
            names.name(group),
            counts[group] if counts else None,
            suggested.get(group),
        )
        for group in np.unique(names.group_of()).tolist()
    ]


def _from_file(names: TopicNames, path: Path, merging: bool) -> TopicNames:
    """The names with those of a file, in which one that two topics swap is no conflict."""
    rows = _rows(path)
    for _, topic, _ in rows:
        names = names.with_name(topic, None)
    for line, topic, text in rows:
        if text:
            try:
                names = names.with_name(topic, text, merge=merging)
            except UsageError as error:
                raise UsageError(f"{path}, line {line}: {error}") from None
    return names


def _rows(path: Path) -> list[tuple[int, int, str]]:
    """Line, topic and name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            if not {"topic", "name"} <= set(reader.fieldnames or []):
                raise UsageError(f"{path} has the columns {reader.fieldnames or []}; wanted: 'topic' and 'name'")
            rows = [(reader.line_num, row["topic"] or "", text_of((row["name"] or "").strip())) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read names from {path}: {getattr(error, 'strerror', None) or error}") from None
    found: dict[int, tuple[int, int, str]] = {}
    for line, number, text in rows:
        if not (number.strip().isascii() and number.strip().isdigit()):
            raise UsageError(f"{path}, line {line}: {number!r} is no topic number")
        topic = int(number)
        if topic in found:
            raise UsageError(f"{path} names topic {topic} twice, in lines {found[topic][0]} and {line}")
        found[topic] = (line, topic, text)
    return list(found.values())
