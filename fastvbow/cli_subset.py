"""The command ``fastvbow subset``: it translates words into a call of `fastvbow.pipeline.subset`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import ChoiceSeed, Json, Labels, Quiet, Source

__all__ = ["subset"]


def subset(
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="LIST.csv", help="Gets the paths and labels; or LIST.txt: paths.")
    ],
    labels: Labels = "parent",
    top: Annotated[int, typer.Option(help="The most frequent labels, so many; 0: all.", min=0)] = 0,
    per_label: Annotated[
        int, typer.Option(help="Photographs of each label; 0: as many as the least frequent of them has.", min=0)
    ] = 0,
    validation: Annotated[
        float, typer.Option(help="The share of each label that is put aside, in LIST.validation.csv.", min=0, max=1)
    ] = 0.0,
    seed: ChoiceSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose as many photographs of each label, and write lists that every command takes as a source."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.subset(
            source,
            output,
            labels=labels,
            top=top,
            per_label=per_label,
            validation=validation,
            seed=seed,
            listener=display,
        )
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(found).items()}
    lines = [f"{len(found.labels)} labels of {found.per_label} photographs: {', '.join(found.labels)}"]
    lines.append(f"{found.n_training} for training: {found.training}")
    if found.validation:
        lines.append(f"{found.n_validation} for validation: {found.validation}")
    finish(as_json, plain, lines)
