"""The commands ``fastvbow name``, ``merge`` and ``hints``: calls of `fastvbow.pipeline`, and the groups as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Json, ProjectArgument, Quiet
from fastvbow.cli_tables import ROWS, cut, rest, table

if TYPE_CHECKING:
    from fastvbow.pipeline.hinting import GroupHint, Hints
    from fastvbow.pipeline.naming import NamedGroup

__all__ = ["hints", "merge", "name"]


def name(
    project: ProjectArgument,
    topic: Annotated[int | None, typer.Argument(help="Number of the topic; without one, all names are shown.")] = None,
    text: Annotated[str | None, typer.Argument(help="Its name from now on.")] = None,
    from_file: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Take the names from the columns topic and name.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the topic's name away.")] = False,
    merging: Annotated[bool, typer.Option("--merge", help="Topics that get the same name become one group.")] = False,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="Give groups without a name what 'fastvbow suggest' found for them.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Name a group, or several from a file; without a topic show the names."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.name(
            project,
            topic,
            text,
            from_file=from_file,
            remove=remove,
            merging=merging,
            suggested=suggested,
            listener=display,
        )
    finish(as_json, {"groups": [asdict(group) for group in found]}, list(_lines(found)))


def merge(
    project: ProjectArgument,
    topics: Annotated[list[int], typer.Argument(help="Numbers of two or more topics.")],
    undo: Annotated[bool, typer.Option("--undo", help="Make these topics groups of their own again.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make several topics one group."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.merge(project, topics, undo=undo, listener=display)
    finish(as_json, {"groups": [asdict(group) for group in found]}, list(_lines(found)))


def hints(project: ProjectArgument, as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell which groups may be one, and which may be two."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.hints(project, listener=display)
    finish(as_json, asdict(found), list(_hint_lines(found, project)))


def _hint_lines(found: Hints, project: Path) -> Iterator[str]:
    if found.mergings:
        yield "THESE MAY BE ONE  (photographs hold both)"
        rows = [
            [
                f"{m.first.group}, {m.second.group}",
                f"{m.overlap:.2f}",
                _sizes(m.first, m.second),
                _called(m.first, m.second),
            ]
            for m in found.mergings[:ROWS]
        ]
        yield from table(["groups", "overlap", "images", "names"], rows, (0, 3))
        yield from rest(len(found.mergings) - ROWS, "pair")
        first = found.mergings[0]
        yield f"  make two of them one: fastvbow merge {project} {first.first.group} {first.second.group}"
    if found.partings:
        yield "THESE MAY BE TWO  (of their photographs two clusters lie apart)"
        rows = [
            [str(p.group.group), f"{p.explained:.2f}", " + ".join(map(str, p.images)), *map(cut, p.examples)]
            for p in found.partings[:ROWS]
        ]
        yield from table(["group", "apart", "images", "one like", "other like"], rows, (0, 3, 4))
        yield from rest(len(found.partings) - ROWS, "group")
        more = found.n_topics + len(found.partings)
        again = (
            f"run again with more topics, as --topics {more}"
            if found.by == "topics"
            else f"cluster again, as -k {more}"
        )
        yield f"  to part them, {again} (names are given anew)"
    if not found.mergings and not found.partings:
        yield "nothing stands out: no two groups look like one, and none looks like two"


def _sizes(*groups: GroupHint) -> str:
    return " + ".join(str(group.images) for group in groups)


def _called(*groups: GroupHint) -> str:
    return " | ".join(cut(group.name) if group.name is not None else "-" for group in groups)


def _lines(groups: list[NamedGroup]) -> Iterator[str]:
    any_suggested = any(group.suggested is not None for group in groups)
    rows = [
        [
            ", ".join(map(str, group.topics)),
            "-" if group.images is None else str(group.images),
            cut(group.name) if group.name is not None else "-",
            *([cut(group.suggested) if group.suggested is not None else "-"] if any_suggested else []),
        ]
        for group in groups
    ]
    yield from table(["topics", "images", "name", *["suggested"] * any_suggested], rows, (0, 2, 3))
