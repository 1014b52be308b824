"""The figures of a study, drawn by Matplotlib as SVG: equal content gives equal bytes.

Text stays text. On the page the colours of ink and lines follow the reader's light or dark scheme; the files in
``figures/`` have them for white paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastvbow.errors import MissingExtraError
from fastvbow.report.study_content import StudyContent, method_name, setting_name, summary

__all__ = ["draw_figures", "for_page", "load_matplotlib"]

_PAPER, _INK, _QUIET, _LINE, _ACCENT = "#fafaf8", "#1c1c1a", "#686862", "#e3e3dd", "#2f5d8a"
_VARIABLES = {
    _PAPER: "var(--paper)",
    _INK: "var(--ink)",
    _QUIET: "var(--quiet)",
    _LINE: "var(--line)",
    _ACCENT: "var(--accent)",
}
_COLOURS = (
    "#4e79a7",
    "#e08214",
    "#4d9a4a",
    "#d6524f",
    "#a3719b",
    "#8f6b52",
    "#3f9e9a",
    "#b8960c",
    "#d7719a",
    "#7b7b7b",
)
_PIXELS = 1.5  # of the page for a point of a figure, at most
_MOST_LABELS = 10  # that a figure with a line, or a panel, for each shows: the largest
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _QUIET,
    "axes.titlecolor": _INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def load_matplotlib() -> Any:
    """Matplotlib.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError("the report of a study", "Matplotlib", "study") from None
    return matplotlib


def draw_figures(content: StudyContent) -> dict[str, str]:
    """Every figure for which there is something to show, as SVG for white paper.

    Parameters
    ----------
    content : StudyContent

    Returns
    -------
    dict of str to str
        By name: ``methods``, ``symkl``, ``ratio``, ``mixtures``, ``histograms``, ``bars``, ``curves``, ``stability``.

    Raises
    ------
    MissingExtraError
        Matplotlib is not installed.
    """
    matplotlib = load_matplotlib()
    figures: dict[str, str] = {}
    for name, draw in _DRAWN.items():
        with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
            figure = draw(content)
            if figure is not None:
                figures[name] = _svg(figure)
    return figures


def for_page(svg: str) -> str:
    """A figure as it stands in the page: without what a file begins with, in the colours of the page's scheme.

    Parameters
    ----------
    svg : str
        See `draw_figures`.
    """
    inner = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        inner = inner.replace(colour, variable)
    head, tail = inner.split(">", 1)
    width = re.search(r' width="([\d.]+)pt"', head)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    widest = f"{float(width[1]) * _PIXELS:.0f}px" if width else "none"
    return f'{head} style="max-width:{widest}" role="img">{tail}'


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.04)
    return out.getvalue()


def _panels(columns: int, rows: int, width: float, height: float, **how: Any) -> tuple[Any, Any]:
    """A figure with a grid of axes, drawn by no window system."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **how)


def _largest(content: StudyContent) -> list[int]:
    """The labels that are shown where not all can be, in their order."""
    order = sorted(range(len(content.labels)), key=lambda i: (-content.label_sizes[i], i))
    return sorted(order[:_MOST_LABELS])


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in name)[:28]


def _methods(content: StudyContent) -> Any:
    """ACC, NMI and ARI of every method: the mean as a dot, a line of one standard deviation, each seed a tick."""
    methods = content.methods()
    if not methods:
        return None
    names = [method_name(*key) for key in methods]
    figure, axes = _panels(3, 1, 9.6, 0.7 + 0.3 * len(names), sharey=True)
    places = np.arange(len(names))[::-1]
    for axis, (score, title) in zip(axes[0], (("acc", "accuracy (ACC)"), ("nmi", "NMI"), ("ari", "ARI")), strict=True):
        for place, (key, rows) in zip(places, methods.items(), strict=True):
            found = summary(rows, score)
            colour = _ACCENT if key[0] == "fastvbow" else _QUIET
            axis.plot([row[score] for row in rows], [place] * len(rows), "|", color=colour, markersize=7, alpha=0.6)
            axis.errorbar(found.mean, place, xerr=found.sd, fmt="o", color=colour, markersize=4.5, linewidth=1.4)
        axis.set_title(title)
        axis.set_xlim(min(0.0, axis.get_xlim()[0]), 1.03)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
        axis.grid(axis="y", visible=False)
    axes[0][0].set_yticks(places, names)
    for text, key in zip(axes[0][0].get_yticklabels(), methods, strict=True):
        text.set_color(_INK if key[0] == "fastvbow" else _QUIET)
    return figure


def _over_settings(content: StudyContent, measures: Mapping[str, str], ratio: bool) -> Any:
    """A line for each label over the settings, a panel for each number of topics and each share of photographs."""
    settings = content.settings()
    if not settings or not content.labels:
        return None
    numbers = sorted({setting[0] for setting in settings})
    figure, axes = _panels(len(numbers), len(measures), 9.6, 0.6 + 2.3 * len(measures), sharey="row", sharex="col")
    for column, topics in enumerate(numbers):
        of_topics = [setting for setting in settings if setting[0] == topics]
        x = np.arange(len(of_topics))
        for axis, (share, prefix) in zip(axes[:, column], measures.items(), strict=True):
            overall = np.array(
                [summary(content.grid_rows(*setting), f"{prefix}symkl_global").mean for setting in of_topics]
            )
            for line, label in enumerate(_largest(content)):
                found = content.of_label(content.labels[label], "symkl", share)
                values = np.array([found.get(setting, np.nan) for setting in of_topics])
                style = ("-", "--", ":")[line // len(_COLOURS) % 3]
                shown = values / overall if ratio else values
                axis.plot(
                    x, shown, "o" + style, color=_COLOURS[line % len(_COLOURS)], label=_shown(content.labels[label])
                )
            if ratio:
                mean = [summary(content.grid_rows(*setting), f"{prefix}symkl_ratio").mean for setting in of_topics]
                axis.plot(x, mean, "s-", color=_INK, linewidth=2, label="mean over labels")
            else:
                axis.plot(x, overall, "s-", color=_INK, linewidth=2, label="Global")
            axis.set_xlim(-0.4, len(x) - 0.6)
            if not column:
                axis.set_ylabel(share if share != "all" else "all photographs")
        axes[0][column].set_title(f"{topics} topics")
        short = [setting_name(0, keypoints, words) for _, keypoints, words in of_topics]
        axes[-1][column].set_xticks(x, short, rotation=90, fontsize=7.5)
    for row in axes:  # one scale for a row, when all of it is drawn
        highest = max(axis.dataLim.y1 for axis in row)
        row[0].set_ylim(0, 1.05 * highest if np.isfinite(highest) and highest > 0 else 1)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=8)
    figure.supxlabel("keypoints/words" if any(s[1] for s in settings) else "words", color=_QUIET, fontsize=9)
    return figure


def _shares(content: StudyContent) -> dict[str, str]:
    found = {content.learned_share: ""}
    return found | ({"validation": "validation_"} if content.n_validation else {})


def _mixtures(content: StudyContent) -> Any:
    """The mean mixture of each label: a cell is as dark as the topic's share."""
    if content.mixtures is None:
        return None
    return _heat(content.mixtures, content.labels, "topic")


def _heat(table: Any, labels: Sequence[str], noun: str) -> Any:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle
    from scipy.optimize import linear_sum_assignment

    rows, own = linear_sum_assignment(table, maximize=True)  # each label's own topic first: the diagonal
    order = [*own[np.argsort(rows)], *sorted({*range(table.shape[1])} - {*own.tolist()})]
    n, k = table.shape
    figure, axes = _panels(1, 1, min(9.6, 2.4 + 0.52 * k), 0.7 + 0.3 * n)
    axis = axes[0][0]
    cells = [Rectangle((c + 0.03, r + 0.03), 0.94, 0.94) for r in range(n) for c in range(k)]
    from matplotlib.colors import to_rgba

    colours = [to_rgba(_ACCENT, float(np.clip(table[r, order[c]], 0.02, 1))) for r in range(n) for c in range(k)]
    axis.add_collection(PatchCollection(cells, facecolors=colours, edgecolors="none"))
    if n * k <= 400:
        for r in range(n):
            for c in range(k):
                value = table[r, order[c]]
                if value >= 0.01:
                    colour = _PAPER if value > 0.55 else _INK
                    axis.text(
                        c + 0.5,
                        r + 0.53,
                        f"{value:.2f}"[1:] if value < 0.995 else "1",
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        color=colour,
                    )
    axis.set(xlim=(0, k), ylim=(n, 0))
    axis.set_xticks(
        np.arange(k) + 0.5, [f"{noun} {order[c]}" if k <= 12 else str(order[c]) for c in range(k)], fontsize=7.5
    )
    axis.set_yticks(np.arange(n) + 0.5, [_shown(label) for label in labels], fontsize=8.5 if n <= 40 else 5)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    return figure


def _histograms(content: StudyContent) -> Any:
    """The mean word frequencies of each label."""
    if content.histograms is None:
        return None
    shown = _largest(content)
    columns = 2
    n_rows = -(-len(shown) // columns)
    figure, axes = _panels(columns, n_rows, 9.6, 0.4 + 1.05 * n_rows, sharex=True, sharey=True)
    words = np.arange(content.histograms.shape[1])
    for place, label in enumerate(shown):
        axis = axes[place // columns][place % columns]
        heights = content.histograms[label].astype(np.float64)
        axis.stairs(heights, np.arange(len(words) + 1) - 0.5, fill=True, color=_ACCENT, linewidth=0)
        axis.set_title(_shown(content.labels[label]), pad=2)
        axis.set_xlim(-0.5, len(words) - 0.5)
    for axis in axes.ravel()[len(shown) :]:
        axis.set_visible(False)
    figure.supxlabel("visual word", color=_QUIET, fontsize=9)
    figure.supylabel("mean frequency", color=_QUIET, fontsize=9)
    return figure


def _bars(content: StudyContent) -> Any:
    """How the photographs of each label fall into groups, by method: the paper's bars."""
    from scipy.optimize import linear_sum_assignment

    order = [key for key in content.methods() if key in content.tables]
    wanted = [key for key in order if key[0] in ("fastvbow", "pca-pixels")]
    if not wanted:
        return None
    shown = _largest(content)
    figure, axes = _panels(len(wanted), 1, 9.6, 0.9 + 0.26 * len(shown), sharey=True)
    for axis, key in zip(axes[0], wanted, strict=True):
        table = content.tables[key]
        own = linear_sum_assignment(table, maximize=True)[1]
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        left = np.zeros(len(shown))
        for place, group in enumerate(own.tolist()):
            width = share[shown, group]
            axis.barh(
                np.arange(len(shown)), width, left=left, height=0.78, color=_COLOURS[place % len(_COLOURS)], linewidth=0
            )
            left += width
        axis.set_title(method_name(*key), fontsize=8.5)
        axis.set_xlim(0, 1)
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        axis.grid(visible=False)
    axes[0][0].set_yticks(np.arange(len(shown)), [_shown(content.labels[i]) for i in shown])
    figure.supxlabel("share of the label's photographs in each group", color=_QUIET, fontsize=9)
    return figure


def _curves(content: StudyContent) -> Any:
    """What the networks' losses came to, epoch by epoch."""
    if not content.curves:
        return None
    figure, axes = _panels(len(content.curves), 1, 4.8 * len(content.curves), 2.6)
    for axis, (method, curves) in zip(axes[0], sorted(content.curves.items()), strict=True):
        for colour, name in ((_ACCENT, "training loss"), (_COLOURS[1], "held-out loss")):
            values = curves.get(name, [])
            axis.plot(np.arange(1, len(values) + 1), values, "-", color=colour, label=name)
        seen = np.concatenate([np.asarray(values) for name, values in curves.items() if "loss" in name])
        if seen.min() > 0 and seen.max() > 20 * seen.min():  # the first epochs may be off by thousands
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(_power_of_ten)
            axis.yaxis.set_minor_formatter(lambda value, place: "")
        axis.set_title(method_name(method, ""))
        axis.set_xlabel("epoch")
        axis.legend(fontsize=8)
    axes[0][0].set_ylabel("nats a photograph")
    return figure


def _power_of_ten(value: float, place: object) -> str:
    """``10⁵``: Matplotlib's own labels are formulas, which are switched off since names may look like such."""
    return "10" + f"{np.log10(value):.0f}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _stability(content: StudyContent) -> Any:
    """How much seeds agree, over the settings."""
    settings = content.settings()
    names = {
        "stability_ari": "groups: adjusted Rand index of two seeds",
        "stability_topics": "topics: cosine of the matched",
    }
    if not any(row.get("stability_ari") is not None for row in content.rows if row["part"] == "grid"):
        return None
    figure, axes = _panels(2, 1, 9.6, 2.7, sharey=True)
    for axis, (column, title) in zip(axes[0], names.items(), strict=True):
        for line, topics in enumerate(sorted({setting[0] for setting in settings})):
            of_topics = [setting for setting in settings if setting[0] == topics]
            values = [summary(content.grid_rows(*setting), column).mean for setting in of_topics]
            axis.plot(
                np.arange(len(values)), values, "o-", color=_COLOURS[line % len(_COLOURS)], label=f"{topics} topics"
            )
        short = [setting_name(0, keypoints, words) for _, keypoints, words in of_topics]
        axis.set_xticks(np.arange(len(short)), short, rotation=90, fontsize=7.5)
        axis.set_title(title)
        axis.set_ylim(min(0.0, axis.get_ylim()[0]), 1.02)
    axes[0][1].legend(fontsize=8)
    return figure


def _symkl(content: StudyContent) -> Any:
    return _over_settings(content, _shares(content), ratio=False)


def _ratio(content: StudyContent) -> Any:
    return _over_settings(content, _shares(content), ratio=True)


_DRAWN = {
    "methods": _methods,
    "symkl": _symkl,
    "ratio": _ratio,
    "mixtures": _mixtures,
    "histograms": _histograms,
    "bars": _bars,
    "curves": _curves,
    "stability": _stability,
}
