"""The commands ``fastvbow export`` and ``fastvbow labels import``: to annotation tools and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Json, ProjectArgument, Quiet
from fastvbow.cli_tables import count

__all__ = ["export", "labels_app"]

labels_app = typer.Typer(help="Labels that were corrected elsewhere.", no_args_is_help=True)


def export(
    project: ProjectArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder for the export.")],
    to: Annotated[str, typer.Option(help="label-studio, cvat, coco, fiftyone, csv, or folders of links.")],
    prefix: Annotated[
        str | None,
        typer.Option(help="What stands before each photograph's relative path there; as the tool expects if left out."),
    ] = None,
    split: Annotated[
        int, typer.Option(help="Photographs a file, for cvat and label-studio; 0: what the tool can take.", min=0)
    ] = 0,
    uncertain_below: Annotated[
        float, typer.Option(help="No label for photographs of a lower probability.", min=0, max=1)
    ] = 0.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a former export.")] = False,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="Groups without a name have the suggested one as their label.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the groups for an annotation tool, as labels to be corrected."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.export(
            project,
            output,
            to=to,
            prefix=prefix,
            split=split,
            uncertain_below=uncertain_below,
            overwrite=overwrite,
            suggested=suggested,
            listener=display,
        )
    files = found.files if len(found.files) <= 6 else [*found.files[:5], f"... {len(found.files) - 5} more"]
    lines = [
        f"{count(found.images, 'photograph')}, {found.labelled} with a label, in {found.folder}:",
        *(f"  {file}" for file in files),
    ]
    finish(as_json, {**asdict(found), "folder": str(found.folder)}, lines, found.left_out)


@labels_app.command("import")
def import_labels(
    project: ProjectArgument,
    file: Annotated[Path, typer.Argument(help="Label Studio's .json, CVAT's .xml or .zip, or a .csv file.")],
    prefix: Annotated[str, typer.Option(help="What stands before the photographs' paths in it.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Forget the labels that were imported before.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take labels over that a person corrected; --labels project then means them."""
    with working(quiet) as display:
        from fastvbow.pipeline.annotation_import import import_labels

        found = import_labels(project, file, prefix=prefix, replace=replace, listener=display)
    lines = [
        f"{count(found.labelled, 'label')} of {found.entries} entries taken, {found.changed} of them changed; "
        f"{found.without_label} without a label, {len(found.conflicts)} contradictory, {len(found.unknown)} unknown"
        + (f", {len(found.refused)} refused" if found.refused else ""),
        f"{found.stored} photographs of the project have a label: --labels project",
    ]
    finish(as_json, asdict(found), lines, len(found.conflicts) + len(found.refused) + len(found.unknown))
