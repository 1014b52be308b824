"""Command ``demo``: the whole route on crops of the bundled photographs, whose true groups are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastvbow.config import TopicsConfig
from fastvbow.demo.crops import make_crops, photograph_files
from fastvbow.errors import ProjectError, UsageError
from fastvbow.events import Listener, log_events
from fastvbow.pipeline.evaluating import evaluate
from fastvbow.pipeline.route import RunResult, run

__all__ = ["DemoResult", "demo"]


@dataclass(frozen=True)
class DemoResult:
    """The run, and its scores against the photographs that the crops were cut from."""

    run: RunResult
    scores: dict[str, float]


def demo(
    folder: Path, *, seed: int = 0, jobs: int | None = None, device: str = "auto", listener: Listener = log_events
) -> DemoResult:
    """Cut the bundled photographs into crops and find out which belong together.

    Parameters
    ----------
    folder : Path
        Gets ``photographs/`` (the crops) and ``project/``.
    seed : int, default=0
    jobs, device, listener : optional
        See `run`.

    Raises
    ------
    UsageError
        There is a folder ``photographs`` that is not the demonstration's.
    ProjectError
        `folder` cannot be written.
    """
    crops, known = folder / "photographs", {Path(file.name).stem for file in photograph_files()}
    try:
        strangers = [entry.name for entry in crops.iterdir() if entry.name not in known] if crops.exists() else []
        if strangers:
            raise UsageError(f"{crops} holds other files ({strangers[0]}), which stay as they are: choose another -o")
        make_crops(folder / "photographs", seed=seed)
    except OSError as error:
        raise ProjectError(f"cannot write {folder}: {error.strerror}: choose another -o") from None
    config = TopicsConfig(topics=len(photograph_files()), seed=seed)
    result = run(
        folder / "photographs",
        folder / "project",
        topics_config=config,
        labels="parent",
        jobs=jobs,
        device=device,
        listener=listener,
    )
    return DemoResult(result, evaluate(folder / "project", labels="parent", jobs=jobs).scores)
