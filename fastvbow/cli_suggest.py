"""The command ``fastvbow suggest``: a call of `fastvbow.pipeline.suggest`, and the suggestions as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Device, Jobs, Json, ProjectArgument, Quiet
from fastvbow.cli_tables import cut, table

if TYPE_CHECKING:
    from fastvbow.pipeline.suggesting import Suggested

__all__ = ["suggest"]

_LEAST = 30
"""Places for what is suggested, however narrow the terminal."""


def suggest(
    project: ProjectArgument,
    space: Annotated[str, typer.Option(help="Model of photographs and texts; 'fastvbow models list' shows them.")],
    nouns: Annotated[Path, typer.Option(help="Folder of WordNet's files, or a text file with a noun a line.")],
    captions: Annotated[
        Path | None, typer.Option(help="Captions, one a line, of Flickr8k or of COCO: the nearest is shown.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Nouns a group, at most.", min=1)] = 5,
    under: Annotated[
        list[str] | None,
        typer.Option(metavar="SYNSET", help="Of WordNet only the kinds of this synset; may be repeated."),
    ] = None,
    images: Annotated[
        str,
        typer.Option(help="encode: by the space's model; project: the project's own embeddings lie in the space."),
    ] = "encode",
    jobs: Jobs = -1,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Suggest names for the groups, by nouns and captions that fit their photographs."""
    with working(quiet) as display:
        import msgspec

        from fastvbow import pipeline

        found = pipeline.suggest(
            project,
            space=space,
            nouns=nouns,
            captions=captions,
            n=n,
            under=under,
            images=images,
            jobs=jobs,
            device=device,
            listener=display,
        )
        result = msgspec.to_builtins(found)
    finish(as_json, result, list(_lines(found, project)))


def _lines(found: Suggested, project: Path) -> Iterator[str]:
    from rich.cells import cell_len

    from fastvbow.display import one_line

    rows = [
        [
            ", ".join(map(str, group.topics)),
            str(group.images),
            cut(group.name) if group.name is not None else "-",
            "",
        ]
        for group in found.groups
    ]
    head, *lines = table(["topics", "images", "name", "suggested"], rows, (0, 2, 3))
    yield head
    start = cell_len(head.removesuffix("suggested"))
    room = max(_LEAST, get_terminal_size().columns - start)
    for group, line in zip(found.groups, lines, strict=True):
        nouns = [f"{cut(noun.noun)} {noun.score:.3f}" for noun in group.nouns]
        told = list(_filled([*(f"{noun}," for noun in nouns[:-1]), *(nouns[-1:] or ["-"])], room))
        if group.caption is not None:
            told += _filled(f"“{one_line(group.caption)}” {group.caption_cosine:.3f}".split(), room)
        for i, part in enumerate(told):
            yield line + " " * (start - cell_len(line)) + part if i == 0 else " " * start + part
    yield f"  take them where there is no name: fastvbow name {project} --suggested"


def _filled(pieces: Sequence[str], width: int) -> Iterator[str]:
    """Pieces side by side, as many as a line has room for; none is cut."""
    from rich.cells import cell_len

    line = ""
    for piece in pieces:
        if line and cell_len(line) + 1 + cell_len(piece) > width:
            yield line
            line = ""
        line += " " * bool(line) + piece
    yield line
