"""The commands ``fastvbow name`` and ``fastvbow merge``: calls of `fastvbow.pipeline`, and the groups as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Json, ProjectArgument, Quiet
from fastvbow.cli_tables import cut, table

if TYPE_CHECKING:
    from fastvbow.pipeline.naming import NamedGroup

__all__ = ["merge", "name"]


def name(
    project: ProjectArgument,
    topic: Annotated[int | None, typer.Argument(help="Number of the topic; without one, all names are shown.")] = None,
    text: Annotated[str | None, typer.Argument(help="Its name from now on.")] = None,
    from_file: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Take the names from the columns topic and name.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the topic's name away.")] = False,
    merging: Annotated[bool, typer.Option("--merge", help="Topics that get the same name become one group.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Name a group, or several from a file; without a topic show the names."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.name(
            project, topic, text, from_file=from_file, remove=remove, merging=merging, listener=display
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


def _lines(groups: list[NamedGroup]) -> Iterator[str]:
    rows = [
        [
            ", ".join(map(str, group.topics)),
            "-" if group.images is None else str(group.images),
            cut(group.name) if group.name is not None else "-",
        ]
        for group in groups
    ]
    yield from table(["topics", "images", "name"], rows, (0, 2))
