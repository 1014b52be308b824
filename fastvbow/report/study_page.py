"""Writes the report of a study: ``report.html``, one file with all in it, and ``figures/*.svg``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import markupsafe
import numpy as np

from fastvbow.project import replace_file, replace_folder
from fastvbow.report.study_content import StudyContent, method_name, setting_name, summary
from fastvbow.report.study_figures import draw_figures, for_page
from fastvbow.report.study_findings import findings
from fastvbow.report.templating import environment

__all__ = ["build_study_page"]

_COLUMNS = 8  # labels that the paper's table has columns for: the largest
_SCORES = {"acc": "ACC", "nmi": "NMI", "ami": "AMI", "ari": "ARI", "v_measure": "V", "purity": "purity"}
_TOPICS = {
    "perplexity": "perplexity, learned from",
    "validation_perplexity": "perplexity, held out",
    "npmi": "NPMI",
    "umass": "UMass",
    "diversity": "diversity",
    "words_silhouette": "silhouette of labels",
    "words_l1_ratio": "words L1 ratio",
    "words_l2_ratio": "words L2 ratio",
    "words_kl_ratio": "words KL ratio",
    **{
        f"{name}_{score}": f"{shown} {score}"
        for name, shown in (("sift", "SIFT"), ("conv", "map"), ("pooled", "pooled"))
        for score in ("inertia", "silhouette")
    },
}


def build_study_page(content: StudyContent, folder: Path) -> Path:
    """Draw the figures and write the page; equal content gives equal bytes.

    Parameters
    ----------
    content : StudyContent
    folder : Path
        Gets ``figures/`` and ``report.html``; those that are there are replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    MissingExtraError
        Matplotlib is not installed.
    """
    figures = draw_figures(content)
    with replace_folder(folder / "figures") as temporary:
        for name, svg in figures.items():
            (temporary / f"{name}.svg").write_text(svg, encoding="utf-8")
    html = (
        environment()
        .get_template("study.html.j2")
        .render(
            content=content,
            figures={name: markupsafe.Markup(for_page(svg)) for name, svg in figures.items()},
            findings=findings(content),
            methods=_methods(content),
            score_names=list(_SCORES.values()),
            divergence=_divergence(content),
            topic_names=[_TOPICS[name] for name in _known(content)],
            topic_rows=_topic_rows(content),
            stability=_stability(content),
            flagged=[row for row in content.rows if row.get("aligned") is False],
            seconds=_seconds(content),
            method_name=method_name,
            setting_name=setting_name,
        )
    )
    page = folder / "report.html"
    with replace_file(page) as path:
        path.write_bytes(html.encode("utf-8"))
    return page


def _methods(content: StudyContent) -> list[dict[str, Any]]:
    """The comparison's table: a row for each method, the mean and spread of each score."""
    return [
        {
            "name": method_name(*key),
            "own": key[0] == "fastvbow",
            "scores": [str(summary(rows, score)) for score in _SCORES],
            "ratio": str(summary(rows, "symkl_ratio")),
            "seconds": summary(rows, "seconds").mean,
            "rejected": sum(row.get("aligned") is True for row in rows),
            "runs": len(rows),
        }
        for key, rows in content.methods().items()
    ]


def _divergence(content: StudyContent) -> dict[str, Any]:
    """The paper's table: symmetric KL by setting, over all and in each label, and the ratio of the two."""
    settings = content.settings()
    order = sorted(range(len(content.labels)), key=lambda i: (-content.label_sizes[i], i))
    labels = [content.labels[i] for i in sorted(order[:_COLUMNS])]
    shares = [(content.learned_share, "")] + ([("validation", "validation_")] if content.n_validation else [])
    columns: list[dict[tuple[int, int, int], list[float]]] = []
    for name in ("global", "ratio"):
        of = {
            s: [summary(content.grid_rows(*s), f"{prefix}symkl_{name}").mean for _, prefix in shares] for s in settings
        }
        columns.append(of)
    for label in labels:
        found = [content.of_label(label, "symkl", share) for share, _ in shares]
        columns.append({s: [of.get(s, float("nan")) for of in found] for s in settings})
    if not labels:
        columns = columns[:1]
    least = [_least(column, len(shares)) for column in columns]
    rows = [
        {
            "name": setting_name(*setting),
            "first": place == 0 or settings[place - 1][0] != setting[0],
            "cells": [
                [
                    {"text": "–" if np.isnan(value) else f"{value:.3f}", "least": value == low}
                    for value, low in zip(column[setting], lows, strict=True)
                ]
                for column, lows in zip(columns, least, strict=True)
            ],
        }
        for place, setting in enumerate(settings)
    ]
    heads = ["Global", "within/global", *labels][: len(columns)]
    return {"heads": heads, "rows": rows, "more": max(0, len(content.labels) - _COLUMNS), "pairs": len(shares) == 2}


def _least(column: Mapping[tuple[int, int, int], list[float]], n_shares: int) -> list[float]:
    return [min((v[i] for v in column.values() if not np.isnan(v[i])), default=float("nan")) for i in range(n_shares)]


def _known(content: StudyContent) -> list[str]:
    """The columns of the table of topics and words that any setting has."""
    of_grid = [row for row in content.rows if row["part"] == "grid"]
    return [name for name in _TOPICS if summary(of_grid, name).n]


def _topic_rows(content: StudyContent) -> list[dict[str, Any]]:
    rows, names = [], _known(content)
    for setting in content.settings():
        found = content.grid_rows(*setting)
        means = [summary(found, name).mean for name in names]
        texts = ["–" if np.isnan(mean) else f"{mean:.3f}" for mean in means]
        rows.append({"name": setting_name(*setting), "cells": texts})
    return rows


def _stability(content: StudyContent) -> list[dict[str, Any]]:
    """By number of topics, the mean over keypoints and words."""
    rows = []
    for topics in sorted({setting[0] for setting in content.settings()}):
        of_topics = [row for row in content.rows if row["part"] == "grid" and row["topics"] == topics]
        ari, matched = summary(of_topics, "stability_ari"), summary(of_topics, "stability_topics")
        if ari.n:
            rows.append({"topics": topics, "ari": f"{ari.mean:.3f}", "matched": f"{matched.mean:.3f}"})
    return rows


def _seconds(content: StudyContent) -> list[tuple[str, float]]:
    """Processor time by step: extraction, each step of the cells, each baseline."""
    found = {"extraction, once": content.seconds_extraction}
    for row in content.rows:
        if row["method"] == "fastvbow":
            for step in ("topics", "mixtures", "scores"):
                found[f"cells: {step}"] = found.get(f"cells: {step}", 0.0) + row.get(f"seconds_{step}", 0.0)
        elif row["method"] != "lda-variational":
            name = method_name(row["method"], row["features"])
            found[name] = found.get(name, 0.0) + row["seconds"]
        else:
            found["variational LDA"] = found.get("variational LDA", 0.0) + row.get("seconds_topics", 0.0)
    settings: dict[Sequence[Any], float] = {}
    for row in content.rows:  # the words of a setting serve all its numbers of topics: count them once
        key = tuple(row[name] for name in ("part", "features", "keypoints", "words", "seed"))
        settings[key] = max(settings.get(key, 0.0), row.get("seconds_words", 0.0) + row.get("seconds_tokens", 0.0))
    found["cells: words and tokens"] = sum(settings.values())
    return list(found.items())
