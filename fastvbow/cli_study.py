"""The command ``fastvbow study``: it translates words into a call of `fastvbow.pipeline.study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Device, Features, Jobs, Json, Labels, LogJson, Quiet, Source, Sweeps, features_of
from fastvbow.config import StudyGrid
from fastvbow.errors import UsageError

__all__ = ["numbers_of", "study", "topic_numbers_of"]

_GRID = StudyGrid()
_WORDS, _KEYPOINTS, _TOPICS, _SEEDS, _FEATURES = (
    ",".join(map(str, values)) for values in (_GRID.words, _GRID.keypoints, _GRID.topics, _GRID.seeds, _GRID.features)
)


def numbers_of(option: str, text: str) -> tuple[int, ...]:
    """``150,200`` as numbers.

    Raises
    ------
    UsageError
        A part is no whole number.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"{option} takes whole numbers with commas, as 150,200,300, not {text}") from None


def topic_numbers_of(text: str) -> tuple[int | str, ...]:
    """``20,50,labels`` as numbers and the word.

    Raises
    ------
    UsageError
        A part is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(part if part == "labels" else numbers_of("--topics", part)[0] for part in parts)


def study(
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Gets the study; the same command goes on there.")
    ],
    words: Annotated[str, typer.Option(help="Visual words in all, one or more numbers.")] = _WORDS,
    keypoints: Annotated[
        str, typer.Option(help="At most so many SIFT keypoints an image, one or more numbers.")
    ] = _KEYPOINTS,
    topics: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Topics, one or more numbers; labels: as many as there are labels.")
    ] = _TOPICS,
    seeds: Annotated[str, typer.Option(help="Each setting is learned anew with each of these.")] = _SEEDS,
    features: Features = _FEATURES,
    validation: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of each label's images that nothing is learned from.")
    ] = _GRID.validation,
    sweeps: Sweeps = _GRID.sweeps,
    labels: Labels = "parent",
    top: Annotated[int, typer.Option(help="Only the most frequent labels, so many, balanced; 0: all.", min=0)] = 0,
    per_label: Annotated[
        int, typer.Option(help="Photographs of each label; 0: all, with --top as many as the rarest has.", min=0)
    ] = 0,
    baselines: Annotated[
        str, typer.Option(help="What to compare with: all that can run here, none, or names with commas.")
    ] = "all",
    jobs: Jobs = -1,
    device: Device = "auto",
    log_json: LogJson = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare settings with one another, and with simpler methods, on features extracted once.

    Every combination of words, keypoints, topics and seeds is learned and measured. Finished ones are reused: after an
    interruption the same command goes on, a larger grid adds what is new.
    """
    with working(quiet, log_json) as display:
        from fastvbow import pipeline

        result = pipeline.study(
            source,
            output,
            StudyGrid(
                words=numbers_of("--words", words),
                keypoints=numbers_of("--keypoints", keypoints),
                topics=topic_numbers_of(topics),  # type: ignore[arg-type]
                seeds=numbers_of("--seeds", seeds),
                features=features_of(features),
                validation=validation,
                sweeps=sweeps,
            ),
            labels=labels,
            top=top,
            per_label=per_label,
            baselines=() if baselines == "none" else features_of(baselines),
            jobs=jobs,
            device=device,
            listener=display,
        )
    found = {
        name: getattr(result, name)
        for name in ("images", "skipped", "cells", "reused", "not_aligned", "left_out", "seconds")
    }
    lines = [
        f"{result.cells} results, {result.reused} of them from earlier calls; {result.seconds:.1f} s",
        f"tables: {output / 'results.parquet'}, {output / 'per_label.parquet'}, {output / 'groups.parquet'}",
        f"report: {result.page}",
    ]
    finish(as_json, found, lines, result.skipped)
