"""Perplexity against CPU seconds: when a curve reaches a value, and a plot of many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["draw", "time_to"]


def time_to(curve: list[tuple[float, float]], perplexity: float) -> float:
    """Seconds until a perplexity is reached, between two looks by a straight line; infinite if it never is."""
    for (before, high), (after, low) in zip([(0.0, np.inf), *curve], curve, strict=False):
        if low <= perplexity:
            share = (high - perplexity) / (high - low) if np.isfinite(high) and high > low else 1.0
            return before + share * (after - before)
    return float("inf")


def draw(curves: dict[str, Any], path: Path) -> None:
    """Perplexity against CPU seconds, a panel for each corpus, a line for each seed."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.remove()
    for axis, (name, (ours, theirs)) in zip(axes.flat, curves.items(), strict=False):
        for lines, color, label in ((theirs, "#c2543a", "tomotopy"), (ours, "#1f6f78", "fastvbow")):
            for i, line in enumerate(lines):
                axis.plot(*zip(*line, strict=True), color=color, lw=1.3, alpha=0.8, label=label if i == 0 else None)
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side, subs in ((axis.xaxis, (1.0, 2.0, 5.0)), (axis.yaxis, (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0))):
            side.set_major_locator(LogLocator(subs=subs))
            side.set_minor_locator(NullLocator())
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("CPU seconds", fontsize=8)
        axis.set_ylabel("held-out perplexity", fontsize=8)
        axis.tick_params(labelsize=7, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
