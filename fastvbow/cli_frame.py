"""What every command of `fastvbow.cli` does around its call: progress, errors into exit codes, results in print."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fastvbow.errors import FastvbowError, UsageError

if TYPE_CHECKING:
    from fastvbow.events import Listener
    from fastvbow.groups.grouping import Grouping
    from fastvbow.pipeline.estimating import Estimate
    from fastvbow.pipeline.route import RunResult

__all__ = ["drift_json", "estimate_lines", "finish", "run_json", "run_lines", "stage_done", "working"]


@contextmanager
def working(quiet: bool, log_json: Path | None = None) -> Iterator[Listener]:
    """Show progress; turn what goes wrong into one line and an exit code."""
    try:
        from fastvbow.display import Display
        from fastvbow.events import JsonLog

        with Display(quiet=quiet) as display:
            if log_json is None:
                yield display
            else:
                with JsonLog(log_json, display) as log:
                    yield log
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


def finish(as_json: bool, result: dict[str, Any], lines: list[str], skipped: int = 0) -> None:
    """Print a result; exit 3 where images were skipped."""
    typer.echo(json.dumps(_plain(result), ensure_ascii=False) if as_json else "\n".join(lines))
    if skipped:
        raise typer.Exit(3)


def _plain(value: Any) -> Any:
    """What JSON can hold: it knows neither NaN (one image a label has no pairs) nor infinity, and has null for both."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def stage_done(card: Any, as_json: bool, skipped: int = 0) -> None:
    """Print what a stage has counted."""
    result = {"stage": card.stage, **card.outputs, "seconds": card.seconds}
    finish(as_json, result, [f"{card.stage}: {card.summary}"], skipped)


def run_json(result: RunResult) -> dict[str, Any]:
    """What a run counted, for machines."""
    return {name: getattr(result, name) for name in ("images", "grouped", "skipped", "topics", "words", "seconds")}


def run_lines(result: RunResult) -> list[str]:
    """What a run counted and where its results lie, for a person."""
    project = str(result.page).removesuffix("/report/index.html")
    lines = [
        f"{result.images} images: {result.grouped} grouped, {result.skipped} skipped; {result.seconds['total']:.1f} s",
        f"groups: {project}/groups.parquet",
    ]
    if result.skipped:
        lines.append(f"skipped, with reasons: {project}/skipped.parquet")
    return [*lines, f"report: {result.page}"]


def drift_json(found: Grouping) -> dict[str, Any]:
    """How well new photographs fit the model, for machines; nothing where that is not known."""
    if (report := found.drift) is None:
        return {}
    told = {"misfits": report.n_misfits, "expected": report.expected, "p": report.p_value}
    return {"drift": told | {"drifted": report.drifted}}


def estimate_lines(found: Estimate) -> list[str]:
    """What an extraction would take, for a person."""
    from fastvbow.display import duration, one_line

    skipped = "".join(f"; {n} of them skipped: {one_line(reason)}" for reason, n in found.skipped.items())
    short = "" if found.disk < found.disk_free else ": NOT ENOUGH"
    return [
        f"images {found.images}, of which {found.sampled} were looked at{skipped}",
        f"time   {duration(found.seconds)} at {found.images_per_second:.1f} images/s with {found.jobs} workers",
        f"disk   {found.disk / 1e9:.2f} GB of {found.disk_free / 1e9:.1f} GB free{short}",
        f"memory {found.memory / 1e9:.2f} GB at most",
    ]
