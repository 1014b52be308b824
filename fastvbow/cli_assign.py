"""The command ``fastvbow assign``: it translates words into a call of `fastvbow.pipeline.assign`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastvbow.cli_frame import drift_json, finish, working
from fastvbow.cli_options import Device, Embeddings, Jobs, Json, ProjectArgument, Quiet, Source

if TYPE_CHECKING:
    from fastvbow.groups.grouping import Grouping

__all__ = ["assign"]


def assign(
    project: ProjectArgument,
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.parquet", help="Gets the groups.")],
    embeddings: Embeddings = None,
    drift: Annotated[bool, typer.Option(help="Warn where too many are unlike the project's own.")] = True,
    jobs: Jobs = -1,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Group new photographs under a project's frozen model, without retraining."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.assign(
            project, source, output, embeddings=embeddings, drift=drift, jobs=jobs, device=device, listener=display
        )
    finish(as_json, _json(found), [_line(found, output)], len(found.skipped))


def _json(found: Grouping) -> dict[str, Any]:
    """What became of new photographs, and how well they fit the model, for machines."""
    counted: dict[str, Any] = {
        "images": len(found) + len(found.skipped),
        "grouped": len(found),
        "skipped": len(found.skipped),
    }
    return counted | drift_json(found)


def _line(found: Grouping, output: Path) -> str:
    """What became of new photographs, for a person."""
    grouped, skipped = len(found), len(found.skipped)
    return f"{grouped + skipped} images: {grouped} grouped, {skipped} skipped; written to {output}"
