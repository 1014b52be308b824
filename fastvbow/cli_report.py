"""The command ``fastvbow report``: it translates words into a call of `fastvbow.pipeline.report`."""

from __future__ import annotations

from typing import Annotated

import typer

from fastvbow.cli_frame import finish
from fastvbow.cli_options import Executor, Jobs, Json, ProjectArgument, Quiet, Scheduler
from fastvbow.cli_workers import working_with
from fastvbow.stores import within

__all__ = ["report"]


def report(
    project: ProjectArgument,
    per_topic: Annotated[int, typer.Option(help="Most typical photographs on each topic's page.", min=1)] = 24,
    uncertain: Annotated[int, typer.Option(help="Most uncertain photographs of all, on the first page.", min=0)] = 24,
    thumbnails: Annotated[
        int, typer.Option(help="Photographs with a small thumbnail for browsing, about 4 kB each.", min=0)
    ] = 4000,
    layout: Annotated[str, typer.Option(help="Of the map: auto, umap (needs the extra viz) or pca.")] = "auto",
    jobs: Jobs = -1,
    executor: Executor = "threads",
    scheduler: Scheduler = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the HTML report: an overview, a page for each topic, all photographs on a map and in lists."""
    with working_with(executor, scheduler, jobs, quiet) as (display, workers):
        from fastvbow import pipeline

        card = pipeline.report(
            project,
            per_topic=per_topic,
            uncertain=uncertain,
            thumbnails=thumbnails,
            layout=layout,
            jobs=jobs,
            executor=workers,
            listener=display,
        )
    finish(
        as_json,
        {"stage": card.stage, **card.outputs, "seconds": card.seconds},
        [f"report: {within(project, card.outputs['page'])}"],
    )
