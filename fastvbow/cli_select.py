"""The command ``fastvbow select``: it translates words into a call of `fastvbow.pipeline.select`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import ChoiceSeed, Json, Labels, ProjectArgument, Quiet

__all__ = ["select"]


def select(
    project: ProjectArgument,
    number: Annotated[int, typer.Option("--number", "-n", help="Photographs to choose.", min=1)] = 200,
    by: Annotated[
        str,
        typer.Option(
            metavar="STRATEGY",
            help="balanced: topics in turn, each covered; diverse: all covered; farthest: the least alike; typical: "
            "topics in turn, their centres; entropy, margin: the most uncertain.",
        ),
    ] = "balanced",
    on: Annotated[
        str,
        typer.Option(
            metavar="auto|embeddings|theta",
            help="Compare pooled vectors or mixtures of topics; auto: vectors where there are such.",
        ),
    ] = "auto",
    labels: Labels = "none",
    per_topic: Annotated[int | None, typer.Option(help="At most so many of each topic.")] = None,
    quotas: Annotated[
        list[str] | None,
        typer.Option("--quota", metavar="TOPIC=NUMBER", help="At most so many of one topic; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.csv", help="Gets the photographs, with a column for the label."),
    ] = None,
    seed: ChoiceSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose the photographs that are worth labelling next; those with a label are left out."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.select(
            project,
            number=number,
            by=by,
            on=on,
            labels=labels,
            per_topic=per_topic,
            quotas=quotas,
            output=output,
            seed=seed,
            listener=display,
        )
    rows = [
        {"image_id": image_id, "path": path, "topic": topic, "probability": probability, "entropy": entropy}
        for image_id, path, topic, probability, entropy in zip(
            found.image_ids,
            found.paths,
            found.topic.tolist(),
            found.probability.tolist(),
            found.entropy.tolist(),
            strict=True,
        )
    ]
    plain = {"by": found.by, "on": found.on, "labelled": found.n_labelled, "left": found.n_left, "selected": rows}
    told = f"{len(found)} photographs selected by {found.by}, {found.n_labelled} labelled, {found.n_left} left"
    finish(as_json, plain, found.paths if output is None else [f"{told}: {output}"])
