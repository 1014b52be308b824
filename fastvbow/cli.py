"""The command line: it translates words into calls of `fastvbow.pipeline`, and errors into exit codes.

0: done. 1: it failed. 2: the command line cannot be understood, or asks for what cannot be. 3: done, but some images
were skipped. 130: interrupted; the same command goes on where it stopped.
"""

from __future__ import annotations

import atexit
import gc
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fastvbow import __version__
from fastvbow.cli_add import add
from fastvbow.cli_assign import assign
from fastvbow.cli_cluster import cluster
from fastvbow.cli_evaluation import evaluate
from fastvbow.cli_exchange import export, labels_app
from fastvbow.cli_frame import estimate_lines, finish, run_json, run_lines, stage_done, working
from fastvbow.cli_machine import doctor, warmup
from fastvbow.cli_masks import segments
from fastvbow.cli_models import models_app
from fastvbow.cli_naming import hints, merge, name
from fastvbow.cli_options import (
    Batch,
    Device,
    Embeddings,
    Executor,
    Features,
    Fusion,
    Jobs,
    Json,
    Keypoints,
    Labels,
    Limit,
    LogJson,
    MaxErrorRate,
    MaxMemory,
    MergeEvery,
    Model,
    MostTopics,
    Origin,
    ProjectArgument,
    ProjectOption,
    Quiet,
    Refit,
    Retry,
    Scheduler,
    Seed,
    Side,
    Source,
    Sweeps,
    TopicCount,
    Train,
    Walks,
    Weights,
    Words,
    asked_for,
    extract_config,
    extract_options,
    topics_config,
    weights_text,
)
from fastvbow.cli_report import report
from fastvbow.cli_select import select
from fastvbow.cli_study import study
from fastvbow.cli_subset import subset
from fastvbow.cli_suggest import suggest
from fastvbow.cli_tables import count
from fastvbow.cli_workers import working_with
from fastvbow.config import ExtractConfig, ExtractOptions, TopicsConfig, VocabularyConfig
from fastvbow.errors import UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Groups a folder of unlabelled photographs by what they show.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models_app, name="models")
app.add_typer(labels_app, name="labels")

_EXTRACT, _OPTIONS, _VOCABULARY, _TOPICS = ExtractConfig(), ExtractOptions(), VocabularyConfig(), TopicsConfig()
_WEIGHTS = weights_text(_TOPICS.weights)


def main() -> None:
    """Entry point of the command ``fastvbow``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
    atexit.register(gc.freeze)  # else Python looks for cycles among all that scikit-learn and Numba made: a second
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastvbow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    context: typer.Context,
    source: Source,
    output: ProjectOption,
    origin: Origin = None,
    refit: Refit = False,
    words: Words = _VOCABULARY.words,
    fusion: Fusion = _VOCABULARY.fusion,
    train: Train = _VOCABULARY.train,
    keypoints: Keypoints = _EXTRACT.keypoints,
    side: Side = _EXTRACT.side,
    topics: TopicCount = str(_TOPICS.topics),
    most_topics: MostTopics = _TOPICS.most_topics,
    sweeps: Sweeps = _TOPICS.sweeps,
    walks: Walks = _TOPICS.walks,
    merge_every: MergeEvery = _TOPICS.merge_every,
    weights: Weights = _WEIGHTS,
    features: Features = ",".join(_EXTRACT.features),
    model: Model = _EXTRACT.model,
    embeddings: Embeddings = None,
    seed: Seed = 0,
    jobs: Jobs = -1,
    device: Device = "auto",
    labels: Labels = "none",
    executor: Executor = _OPTIONS.executor,
    scheduler: Scheduler = "",
    max_memory: MaxMemory = "",
    retry: Retry = _OPTIONS.retry,
    max_error_rate: MaxErrorRate = _OPTIONS.max_error_rate,
    limit: Limit = _OPTIONS.limit,
    batch: Batch = _OPTIONS.batch,
    log_json: LogJson = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Group a folder of photographs: extract, vocabulary, encode, topics, groups, report.

    Finished stages are reused; a changed option redoes what depends on it. With --from, options that are left out are
    those of the other project.
    """
    with working_with(executor, scheduler, jobs, quiet, log_json, extracts=True) as (display, workers):
        from fastvbow import pipeline

        result = pipeline.run(
            source,
            output,
            origin=origin,
            refit=refit,
            extract_config=extract_config(features, keypoints, side, model, embeddings),
            extract_options=extract_options(executor, max_memory, retry, max_error_rate, limit, batch),
            vocabulary_config=VocabularyConfig(words=words, fusion=fusion, train=train, seed=seed),
            topics_config=topics_config(topics, most_topics, sweeps, weights, seed, walks, merge_every),
            asked=asked_for(context),
            labels=labels,
            jobs=jobs,
            executor=workers,
            device=device,
            listener=display,
        )
    finish(as_json, run_json(result), run_lines(result), result.skipped)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Gets the crops and the project.")
    ] = Path("fastvbow-demo"),
    seed: Seed = 0,
    jobs: Jobs = -1,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut the bundled photographs into crops and find out which belong together."""
    with working(quiet) as display:
        from fastvbow import pipeline

        result = pipeline.demo(output, seed=seed, jobs=jobs, device=device, listener=display)
    accuracy = f"accuracy: {result.scores['acc']:.3f} of the crops are grouped with those of their own photograph"
    finish(as_json, run_json(result.run) | result.scores, [*run_lines(result.run), accuracy], result.run.skipped)


@app.command()
def extract(
    source: Source,
    output: ProjectOption,
    features: Features = ",".join(_EXTRACT.features),
    model: Model = _EXTRACT.model,
    embeddings: Embeddings = None,
    keypoints: Keypoints = _EXTRACT.keypoints,
    side: Side = _EXTRACT.side,
    jobs: Jobs = -1,
    device: Device = "auto",
    executor: Executor = _OPTIONS.executor,
    scheduler: Scheduler = "",
    max_memory: MaxMemory = "",
    retry: Retry = _OPTIONS.retry,
    max_error_rate: MaxErrorRate = _OPTIONS.max_error_rate,
    limit: Limit = _OPTIONS.limit,
    batch: Batch = _OPTIONS.batch,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure a sample and estimate time, disk and memory; write nothing.")
    ] = False,
    log_json: LogJson = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the photographs of a source and extract local features."""
    with working_with(executor, scheduler, jobs, quiet, log_json, extracts=True) as (display, workers):
        from fastvbow import pipeline

        config = extract_config(features, keypoints, side, model, embeddings)
        options = extract_options(executor, max_memory, retry, max_error_rate, limit, batch)
        how: dict[str, Any] = {"options": options, "jobs": jobs, "device": device}
        if not dry_run:
            card = pipeline.extract(source, output, config, executor=workers, listener=display, **how)
        elif workers is not None:
            raise UsageError("--dry-run measures this machine alone: leave out --executor dask")
        else:
            found = pipeline.estimate(source, output, config, **how)
    if dry_run:
        finish(as_json, asdict(found), estimate_lines(found))
    else:
        stage_done(card, as_json, card.outputs["skipped"])


@app.command()
def verify(
    project: ProjectArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged, so that the next run makes it again.")
    ] = False,
    jobs: Jobs = -1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold every file of a project against its checksums and counts."""
    with working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.verify(project, repair=repair, jobs=jobs, listener=display)
    mended = "removed: run the same command as before again" if repair else "'fastvbow verify --repair' removes it"
    lines = [*found.problems, f"{count(len(found.problems), 'problem')}; {mended}"] if found.problems else []
    lines = [*found.stale, *(lines or [f"all well: {found.n_files} files, {found.n_bytes / 1e6:.1f} MB"])]
    told = {"files": found.n_files, "bytes": found.n_bytes, "problems": found.problems, "stale": found.stale}
    finish(as_json, told, lines)
    if found.problems and not repair:
        raise typer.Exit(1)


@app.command()
def vocabulary(
    project: ProjectArgument,
    words: Words = _VOCABULARY.words,
    fusion: Fusion = _VOCABULARY.fusion,
    train: Train = _VOCABULARY.train,
    seed: Seed = 0,
    jobs: Jobs = -1,
    executor: Executor = _OPTIONS.executor,
    scheduler: Scheduler = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn the visual words from a project's features."""
    with working_with(executor, scheduler, jobs, quiet) as (display, workers):
        from fastvbow import pipeline

        config = VocabularyConfig(words=words, fusion=fusion, train=train, seed=seed)
        card = pipeline.vocabulary(project, config, jobs=jobs, executor=workers, listener=display)
    stage_done(card, as_json)


@app.command()
def encode(
    project: ProjectArgument,
    jobs: Jobs = -1,
    executor: Executor = _OPTIONS.executor,
    scheduler: Scheduler = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give every local feature its visual word."""
    with working_with(executor, scheduler, jobs, quiet) as (display, workers):
        from fastvbow import pipeline

        card = pipeline.encode(project, jobs=jobs, executor=workers, listener=display)
    stage_done(card, as_json)


@app.command()
def topics(
    project: ProjectArgument,
    topics: TopicCount = str(_TOPICS.topics),
    most_topics: MostTopics = _TOPICS.most_topics,
    sweeps: Sweeps = _TOPICS.sweeps,
    walks: Walks = _TOPICS.walks,
    merge_every: MergeEvery = _TOPICS.merge_every,
    weights: Weights = _WEIGHTS,
    seed: Seed = 0,
    jobs: Jobs = -1,
    executor: Executor = _OPTIONS.executor,
    scheduler: Scheduler = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Model the photographs as mixtures of topics."""
    with working_with(executor, scheduler, jobs, quiet) as (display, workers):
        from fastvbow import pipeline

        config = topics_config(topics, most_topics, sweeps, weights, seed, walks, merge_every)
        card = pipeline.topics(project, config, jobs=jobs, executor=workers, listener=display)
    stage_done(card, as_json)


@app.command()
def groups(
    project: ProjectArgument,
    labels: Annotated[
        str | None, typer.Option(help="Known labels, as of 'run'; those that the groups have if left out.")
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="auto|topics|cluster", help="What they are grouped by; auto: as they are now.")
    ] = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write groups.parquet: each photograph's topic or cluster, its probability and entropy."""
    with working(quiet) as display:
        from fastvbow import pipeline

        card = pipeline.groups(project, labels=labels, by=by, listener=display)
    stage_done(card, as_json, card.outputs["skipped"])


app.command()(cluster)
app.command()(report)


app.command()(add)
app.command()(assign)
app.command()(name)
app.command()(merge)
app.command()(hints)
app.command()(suggest)
app.command()(export)
app.command()(evaluate)
app.command()(segments)
app.command()(select)
app.command()(study)
app.command()(subset)
app.command()(doctor)
app.command()(warmup)
