"""The command ``fastvbow cluster``: it translates words into a call of `fastvbow.pipeline.cluster`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Device, Jobs, Json, ProjectArgument, Quiet, Seed
from fastvbow.config import ClusterConfig
from fastvbow.errors import UsageError
from fastvbow.project import ProjectFolder
from fastvbow.stores import within

if TYPE_CHECKING:
    from fastvbow.pipeline.clustering import Clustered

__all__ = ["cluster", "options_of"]

_CONFIG = ClusterConfig()


def cluster(
    project: ProjectArgument,
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="kmeans, icbpl: by vectors alone; tac, tac-trained, cae, sic: by texts as well.",
        ),
    ] = _CONFIG.method,
    clusters: Annotated[int, typer.Option("--clusters", "-k", help="How many groups.", min=1)] = _CONFIG.clusters,
    space: Annotated[
        str,
        typer.Option(metavar="NAME", help="The space of photographs and texts; empty: the project's own vectors."),
    ] = "",
    images: Annotated[
        str,
        typer.Option(metavar="encode|project", help="project: the project's embeddings are vectors of that space."),
    ] = "encode",
    nouns: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder of WordNet, or a file with a noun a line.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Captions: Flickr8k's format, COCO's JSON, or one a line.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the method, its value as JSON; repeatable."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Known labels, as of 'run'; those that the groups have if left out.")
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Make the report anew.")] = True,
    seed: Seed = 0,
    jobs: Jobs = -1,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Group a project's photographs by their vectors, and by what texts say of them, instead of by topics."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.cluster(
            project,
            ClusterConfig(method=method, clusters=clusters, seed=seed, options=options_of(settings or ())),
            space=space,
            images=images,
            nouns=nouns,
            captions=captions,
            labels=labels,
            report=report,
            jobs=jobs,
            device=device,
            listener=display,
        )
    told = asdict(found) | {"page": str(found.page) if found.page else None}
    lines = [
        f"{found.grouped} photographs in {found.used} of {found.clusters} clusters by {found.method}; "
        f"{found.skipped} skipped; {found.seconds:.1f} s",
        f"groups: {within(project, 'groups.parquet')}",
        *([f"report: {found.page}"] if found.page else []),
        _next(found, project),
    ]
    finish(as_json, told, lines, found.skipped)


def _next(found: Clustered, project: Path) -> str:
    """What a person may do with the clusters, or against them."""
    told = f"  name them: fastvbow name {project} {'--suggested' if found.suggested else 'NUMBER NAME'}"
    back = f"; back to topics: fastvbow groups {project} --by topics"
    return told + back * (ProjectFolder.open(project).card("topics") is not None)


def options_of(settings: Sequence[str]) -> dict[str, Any]:
    """``epsilon=0.1`` as a parameter of a method; what is no JSON is a text.

    Raises
    ------
    UsageError
        There is no ``=``, or a parameter is set twice.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        name, given, value = setting.partition("=")
        name = name.strip()
        if not given or not name or name in found:
            raise UsageError(f"--set takes NAME=VALUE, each name once, as --set epsilon=0.1, not {setting}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value.strip()
    return found
