"""The rule that every stage obeys: reuse what stands, redo what depends on a change, say which."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.cancelling import check_cancelled
from fastvbow.events import Event, Listener
from fastvbow.project import STAGES, ProjectFolder, StageCard

__all__ = ["no_numerical_warnings", "run_stage"]


def run_stage(
    project: ProjectFolder,
    stage: str,
    *,
    parameters: Mapping[str, Any],
    after: str | Mapping[str, str],
    outputs: Sequence[Path],
    listener: Listener,
    body: Callable[[], Mapping[str, Any]],
    again: Callable[[StageCard], str] = lambda card: "",
    begins: bool = True,
) -> StageCard:
    """Run a stage unless its card says that it has run with these parameters on these inputs.

    Parameters
    ----------
    project : ProjectFolder
        Is locked while the stage runs.
    stage : str
    parameters : mapping
        What the result depends on.
    after : str or mapping of str to str
        The stage that feeds this one, or named fingerprints of what else does.
    outputs : sequence of Path
        What the stage writes: where one has vanished, the stage runs.
    listener : Listener
    body : callable
        Does the work; what it returns is recorded as the card's ``outputs``, but for ``content`` (see `StageCard`).
        Where these count something ``missing``, the next call runs the stage again.
    again : callable
        Takes the card of a stage that stands; says why it runs all the same, or "".
    begins : bool, default=True
        Whether the card is taken away before `body` runs. Otherwise `body` calls `ProjectFolder.begin` itself, before
        it touches the output: what stands then outlives a `body` that fails earlier.

    Raises
    ------
    StageMissingError
        The stage that feeds this one has not run.
    """
    with project.lock():
        inputs = {after: project.require(after).fingerprint} if isinstance(after, str) else dict(after)
        plain = msgspec.to_builtins(dict(parameters))
        card = project.card(stage)
        gone = [] if card is None else [path for path in outputs if not project.holds(path)]
        reasons = [] if card is None else [*_reasons(card, plain, inputs, gone), *filter(None, [again(card)])]
        if card is not None and not reasons:
            listener(Event(stage, "reused", card.summary))
            return card
        listener(Event(stage, "begin", f"done again, for {'; '.join(reasons)}" if reasons else ""))
        check_cancelled()
        if begins:
            project.begin(stage)
        started = time.perf_counter()
        counted = msgspec.to_builtins(dict(body()))
        seconds = round(time.perf_counter() - started, 3)
        content = counted.pop("content", "")
        card = StageCard(stage, plain, inputs, counted, seconds, STAGES[stage], content)
        project.finish(card)
        listener(Event(stage, "end", f"{card.summary}; {seconds:.1f} s"))
        return card


@contextmanager
def no_numerical_warnings() -> Iterator[None]:
    """Keep scikit-learn quiet about fewer distinct features than words, or photographs than topics: no fault here."""
    from sklearn.exceptions import ConvergenceWarning  # heavy, and most calls need no scikit-learn

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in divide", RuntimeWarning)  # PCA of one row
        yield


def _reasons(
    card: StageCard, parameters: Mapping[str, Any], inputs: Mapping[str, str], missing: Sequence[Path]
) -> list[str]:
    """Why a stage that has run must run again; empty where it need not."""
    reasons = _differences(card.parameters, parameters)
    if card.revision != STAGES[card.stage]:
        reasons.append("this fastvbow computes it otherwise")
    reasons += [f"{k} changed" for k in sorted({*card.inputs, *inputs}) if card.inputs.get(k) != inputs.get(k)]
    if card.outputs.get("missing"):
        reasons.append(f"{card.outputs['missing']} photographs that were missing")
    gone = [path.name for path in missing]
    if gone:
        reasons.append(f"{gone[0]} is gone" if len(gone) == 1 else f"{gone[0]} and {len(gone) - 1} more are gone")
    return reasons


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> list[str]:
    """What changed among parameters, in words; `within` names the parameter that they belong to."""
    words: list[str] = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            words += _differences(before, after, f"{name} ")
        elif name not in new:
            words.append(f"{within}{name} left out")
        elif name not in old:
            words.append(f"{within}{name} added")
        elif before != after:
            words.append(f"{within}{name}: {before} -> {after}")
    return words
