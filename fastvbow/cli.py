"""The command line: it translates words into calls of `fastvbow.pipeline`, and errors into exit codes.

0: done. 1: it failed. 2: the command line cannot be understood, or asks for what cannot be. 3: done, but some images
were skipped. 130: interrupted; the same command goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastvbow import __version__
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.errors import FastvbowError, UsageError

if TYPE_CHECKING:
    from fastvbow.display import Display

__all__ = ["app", "main"]

app = typer.Typer(
    help="Groups a folder of unlabelled photographs by what they show.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_EXTRACT, _VOCABULARY, _TOPICS = ExtractConfig(), VocabularyConfig(), TopicsConfig()
_WEIGHTS = ",".join(f"{name}={weight:g}" for name, weight in _TOPICS.weights.items())

Source = Annotated[Path, typer.Argument(help="Folder of photographs, list of paths, .tar or Parquet; only read.")]
ProjectArgument = Annotated[Path, typer.Argument(help="Project folder, made by 'run' or 'extract'.")]
ProjectOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="PROJECT", help="Project folder; made if missing.")
]
Features = Annotated[str, typer.Option(help="Which features: sift, cnn or sift,cnn.")]
Keypoints = Annotated[int, typer.Option(help="At most so many SIFT keypoints an image.")]
Side = Annotated[int, typer.Option(help="Longest side, in pixels, at which SIFT looks.")]
Words = Annotated[int, typer.Option(help="Visual words in all.")]
TopicCount = Annotated[int, typer.Option("--topics", help="Topics, hence groups at most.")]
Sweeps = Annotated[int, typer.Option(help="Gibbs sweeps over the corpus.")]
Weights = Annotated[str, typer.Option(help="How much a word of each modality counts.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same groups.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Threads; -1: one a processor. Changes no result.")]
Device = Annotated[str, typer.Option(help="Where the CNN runs: auto, cpu or cuda.")]
Labels = Annotated[
    str, typer.Option(help="Known labels: parent (the folder's name), none, or a CSV file with path,label.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")]


def main() -> None:
    """Entry point of the command ``fastvbow``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
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


@contextmanager
def _working(quiet: bool) -> Iterator[Display]:
    """Show progress; turn what goes wrong into one line and an exit code."""
    try:
        from fastvbow.display import Display

        with Display(quiet=quiet) as display:
            yield display
    except FastvbowError as error:
        _complain(str(error))
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
    except OSError as error:  # the disk is full, the project was taken away: what no stage foresees
        # NumPy's own says how much it could write, not why
        what = error.strerror or f"cannot write all data, perhaps since the disk is full ({error})"
        _complain(what + (f": {error.filename}" if error.filename else ""))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("fastvbow: interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None


def _complain(message: str) -> None:
    from fastvbow.display import one_line

    typer.echo(f"fastvbow: {one_line(message)}", err=True)


def _finish(as_json: bool, result: dict[str, Any], lines: list[str], skipped: int = 0) -> None:
    """Print a result; exit 3 where images were skipped."""
    # JSON knows no NaN (one image a label has no pairs): null
    plain = {name: None if value != value else value for name, value in result.items()}
    typer.echo(json.dumps(plain, ensure_ascii=False) if as_json else "\n".join(lines))
    if skipped:
        raise typer.Exit(3)


def _weights(text: str) -> dict[str, float]:
    """``sift=1,conv=2`` as numbers; what is not named keeps its default."""
    try:
        return _TOPICS.weights | {n.strip(): float(w) for n, w in (part.split("=") for part in text.split(",") if part)}
    except ValueError:
        raise UsageError(f"--weights takes name=number, as in {_WEIGHTS}, not {text}") from None


def _features(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@app.command()
def run(
    source: Source,
    output: ProjectOption,
    words: Words = _VOCABULARY.words,
    keypoints: Keypoints = _EXTRACT.keypoints,
    side: Side = _EXTRACT.side,
    topics: TopicCount = _TOPICS.topics,
    sweeps: Sweeps = _TOPICS.sweeps,
    weights: Weights = _WEIGHTS,
    features: Features = ",".join(_EXTRACT.features),
    seed: Seed = 0,
    jobs: Jobs = -1,
    device: Device = "auto",
    labels: Labels = "none",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Group a folder of photographs: extract, vocabulary, encode, topics, groups, report.

    Finished stages are reused; a changed option redoes what depends on it.
    """
    with _working(quiet) as display:
        from fastvbow import pipeline

        result = pipeline.run(
            source,
            output,
            extract_config=ExtractConfig(features=_features(features), keypoints=keypoints, side=side),
            vocabulary_config=VocabularyConfig(words=words, seed=seed),
            topics_config=TopicsConfig(topics=topics, sweeps=sweeps, weights=_weights(weights), seed=seed),
            labels=labels,
            jobs=jobs,
            device=device,
            listener=display,
        )
    _finish(as_json, _run_json(result), _run_lines(result), result.skipped)


def _run_json(result: Any) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ("images", "grouped", "skipped", "topics", "words", "seconds")}


def _run_lines(result: Any) -> list[str]:
    project = result.page.parents[1]
    lines = [
        f"{result.images} images: {result.grouped} grouped, {result.skipped} skipped; {result.seconds['total']:.1f} s",
        f"groups: {project / 'groups.parquet'}",
    ]
    if result.skipped:
        lines.append(f"skipped, with reasons: {project / 'skipped.parquet'}")
    return [*lines, f"report: {result.page}"]


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
    with _working(quiet) as display:
        from fastvbow import pipeline

        result = pipeline.demo(output, seed=seed, jobs=jobs, device=device, listener=display)
    accuracy = f"accuracy: {result.scores['acc']:.3f} of the crops are grouped with those of their own photograph"
    _finish(as_json, _run_json(result.run) | result.scores, [*_run_lines(result.run), accuracy], result.run.skipped)


@app.command()
def extract(
    source: Source,
    output: ProjectOption,
    features: Features = ",".join(_EXTRACT.features),
    keypoints: Keypoints = _EXTRACT.keypoints,
    side: Side = _EXTRACT.side,
    jobs: Jobs = -1,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Scan a folder and extract local features."""
    with _working(quiet) as display:
        from fastvbow import pipeline

        config = ExtractConfig(features=_features(features), keypoints=keypoints, side=side)
        card = pipeline.extract(source, output, config, jobs=jobs, device=device, listener=display)
    _stage_done(card, as_json, card.outputs["skipped"])


@app.command()
def vocabulary(
    project: ProjectArgument,
    words: Words = _VOCABULARY.words,
    seed: Seed = 0,
    jobs: Jobs = -1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn the visual words from a project's features."""
    with _working(quiet) as display:
        from fastvbow import pipeline

        card = pipeline.vocabulary(project, VocabularyConfig(words=words, seed=seed), jobs=jobs, listener=display)
    _stage_done(card, as_json)


@app.command()
def encode(project: ProjectArgument, jobs: Jobs = -1, as_json: Json = False, quiet: Quiet = False) -> None:
    """Give every local feature its visual word."""
    with _working(quiet) as display:
        from fastvbow import pipeline

        card = pipeline.encode(project, jobs=jobs, listener=display)
    _stage_done(card, as_json)


@app.command()
def topics(
    project: ProjectArgument,
    topics: TopicCount = _TOPICS.topics,
    sweeps: Sweeps = _TOPICS.sweeps,
    weights: Weights = _WEIGHTS,
    seed: Seed = 0,
    jobs: Jobs = -1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Model the photographs as mixtures of topics."""
    with _working(quiet) as display:
        from fastvbow import pipeline

        config = TopicsConfig(topics=topics, sweeps=sweeps, weights=_weights(weights), seed=seed)
        card = pipeline.topics(project, config, jobs=jobs, listener=display)
    _stage_done(card, as_json)


@app.command()
def groups(project: ProjectArgument, labels: Labels = "none", as_json: Json = False, quiet: Quiet = False) -> None:
    """Write groups.parquet: each photograph's topic, probability and entropy."""
    with _working(quiet) as display:
        from fastvbow import pipeline

        card = pipeline.groups(project, labels=labels, listener=display)
    _stage_done(card, as_json, card.outputs["skipped"])


@app.command()
def report(
    project: ProjectArgument,
    per_topic: Annotated[int, typer.Option(help="Most typical photographs shown of each topic.", min=1)] = 24,
    uncertain: Annotated[int, typer.Option(help="Most uncertain photographs shown.", min=0)] = 24,
    jobs: Jobs = -1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the HTML report."""
    with _working(quiet) as display:
        from fastvbow import pipeline

        card = pipeline.report(project, per_topic=per_topic, uncertain=uncertain, jobs=jobs, listener=display)
    _finish(
        as_json,
        {"stage": card.stage, **card.outputs, "seconds": card.seconds},
        [f"report: {project / card.outputs['page']}"],
    )


@app.command()
def assign(
    project: ProjectArgument,
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.parquet", help="Gets the groups.")],
    jobs: Jobs = -1,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Group new photographs under a project's frozen model, without retraining."""
    with _working(quiet) as display:
        from fastvbow import pipeline

        found = pipeline.assign(project, source, output, jobs=jobs, device=device, listener=display)
    grouped, skipped = len(found), len(found.skipped)
    line = f"{grouped + skipped} images: {grouped} grouped, {skipped} skipped; written to {output}"
    _finish(as_json, {"images": grouped + skipped, "grouped": grouped, "skipped": skipped}, [line], skipped)


@app.command()
def evaluate(project: ProjectArgument, labels: Labels = "parent", as_json: Json = False) -> None:
    """Hold a project's groups against labels."""
    with _working(quiet=True):
        from fastvbow import pipeline

        scores = pipeline.evaluate(project, labels=labels)
    _finish(
        as_json,
        scores,
        [
            f"{name:<13} {value:.4f}" if isinstance(value, float) else f"{name:<13} {value}"
            for name, value in scores.items()
        ],
    )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Examine the installation and this machine, and say how to mend what is wrong."""
    with _working(quiet=True):
        import msgspec

        from fastvbow import pipeline

        found = pipeline.doctor()
    lines = [f"{name:<12} {value}" for name, value in found.facts.items()]
    lines += [
        f"{'features':<12} {' '.join(found.cpu_features)}",
        "",
        *(f"{n:<24} {v}" for n, v in found.packages.items()),
        "",
    ]
    lines += [f"{name:<24} {what}" for name, what in found.providers.items()]
    lines += [f"\nproblem: {p.problem}\n    fix: {p.fix}" for p in found.problems] or ["\nno problem found"]
    _finish(as_json, msgspec.to_builtins(found), lines)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def warmup(as_json: Json = False) -> None:
    """Compile the kernels for this CPU now and keep them, so that no later run waits for the compiler."""
    with _working(quiet=True):
        import msgspec

        from fastvbow import pipeline

        done = pipeline.warmup()
    kept = f"kept in {done.cache}" if done.cache else "not kept: no folder for them can be written"
    lines = [f"kernels ready after {done.seconds:.1f} s ({done.instructions}); {kept}"]
    _finish(as_json, msgspec.to_builtins(done), lines)


def _stage_done(card: Any, as_json: bool, skipped: int = 0) -> None:
    result = {"stage": card.stage, **card.outputs, "seconds": card.seconds}
    _finish(as_json, result, [f"{card.stage}: {card.summary}"], skipped)
