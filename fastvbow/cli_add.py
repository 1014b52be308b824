"""The command ``fastvbow add``: it translates words into a call of `fastvbow.pipeline.add`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastvbow.cli_frame import drift_json, finish
from fastvbow.cli_options import (
    Batch,
    Device,
    Embeddings,
    Executor,
    Jobs,
    Json,
    LogJson,
    MaxErrorRate,
    MaxMemory,
    ProjectArgument,
    Quiet,
    Scheduler,
    Source,
    extract_options,
)
from fastvbow.cli_workers import working_with
from fastvbow.config import ExtractOptions
from fastvbow.stores import within

if TYPE_CHECKING:
    from fastvbow.pipeline.adding import Added

__all__ = ["add"]

_OPTIONS = ExtractOptions()


def add(
    project: ProjectArgument,
    source: Source,
    embeddings: Embeddings = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Known labels of all photographs, as for 'groups'; left out: the new ones get theirs from where those "
            "of the others came from."
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Let the topics learn from the new photographs; the others may change their groups."
        ),
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Make the report anew.")] = True,
    drift: Annotated[
        bool, typer.Option(help="Warn where too many are unlike those that the words were learned from.")
    ] = True,
    jobs: Jobs = -1,
    device: Device = "auto",
    executor: Executor = _OPTIONS.executor,
    scheduler: Scheduler = "",
    max_memory: MaxMemory = "",
    max_error_rate: MaxErrorRate = _OPTIONS.max_error_rate,
    limit: Annotated[int, typer.Option(help="Only the first so many of the new photographs; 0: all.")] = _OPTIONS.limit,
    batch: Batch = _OPTIONS.batch,
    log_json: LogJson = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add new photographs to a finished project, without retraining: they join the groups that there are.

    Photographs that the project has are passed over, so a folder that has grown may be added again and again.
    """
    with working_with(executor, scheduler, jobs, quiet, log_json, extracts=True) as (display, workers):
        from fastvbow import pipeline

        found = pipeline.add(
            project,
            source,
            embeddings=embeddings,
            labels=labels,
            update=update,
            report=report,
            drift=drift,
            options=extract_options(executor, max_memory, "", max_error_rate, limit, batch),
            jobs=jobs,
            executor=workers,
            device=device,
            listener=display,
        )
    plain = {
        "grouped": found.n_new,
        "skipped": found.n_skipped,
        "already": found.n_already,
        "groups": {str(topic): n for topic, n in sorted(Counter(found.grouping.topic.tolist()).items())},
        "seconds": found.seconds,
        **drift_json(found.grouping),
    }
    finish(as_json, plain, _lines(found, project, source), found.n_skipped)


def _lines(found: Added, project: Path, source: Path) -> list[str]:
    n_added = found.n_new + found.n_skipped
    if not n_added:
        return [f"nothing new: the project has all {found.n_already} images of {source}"]
    lines = [
        f"{n_added} images added: {found.n_new} grouped, {found.n_skipped} skipped; {found.n_already} were there "
        f"already; {found.seconds:.1f} s",
        f"groups: {within(project, 'groups.parquet')}",
    ]
    if found.n_skipped:
        lines.append(f"skipped, with reasons: {within(project, 'skipped.parquet')}")
    return [*lines, *([f"report: {found.page}"] if found.page else [])]
