"""What a study hands over at its end: three Parquet tables, the figures and the page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from fastvbow import __version__
from fastvbow.config import StudyGrid
from fastvbow.events import Event, Listener
from fastvbow.groups.grouping import write_table
from fastvbow.images.table import readable
from fastvbow.pipeline.study_cells import ROUTE
from fastvbow.pipeline.study_plan import Photographs, Plan
from fastvbow.pipeline.study_scores import agreement
from fastvbow.pipeline.study_store import Cell, CellStore
from fastvbow.project import ProjectFolder, replace_file
from fastvbow.report.study_content import StudyContent
from fastvbow.report.study_page import build_study_page

__all__ = ["Outcome", "write_results"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes
    ----------
    page : Path
    not_aligned : int
        Rows whose groups are not told from a shuffled order.
    """

    page: Path
    not_aligned: int


def write_results(
    folder: Path,
    project: ProjectFolder,
    photographs: Photographs,
    plan: Plan,
    store: CellStore,
    keys: Sequence[str],
    grid: StudyGrid,
    left_out: dict[str, str],
    listener: Listener,
) -> Outcome:
    """Gather the finished cells of a study into tables and a report.

    ``results.parquet``: a row each; what was asked for, ``seconds`` and those of each step, ``aligned`` (whether the
    chi-square test tells the groups from a shuffled order), ``stability_*`` (with the other seeds), and every score; of
    the photographs held out they begin with ``validation_``. ``per_label.parquet``: a row for each label, result and
    share of the photographs. ``groups.parquet``: a row for each photograph, with a column for each result of the
    comparison.

    Parameters
    ----------
    folder : Path
    project : ProjectFolder
    photographs : Photographs
    plan : Plan
    store : CellStore
    keys : sequence of str
        Of the cells that belong to this call.
    grid : StudyGrid
    left_out : dict of str to str
        Baselines that cannot run here, and why.
    listener : Listener
    """
    listener(Event("report", "begin"))
    rows, per_label, columns, shown = _gather(store, keys, photographs)
    _write(_table(rows), folder / "results.parquet")
    _write(_table(per_label), folder / "per_label.parquet")
    names = [photographs.label_names[i] if i >= 0 else None for i in photographs.labels.tolist()]
    known: dict[str, Any] = {
        "image_id": pa.array(photographs.ids, pa.string()),
        "path": pa.array(photographs.names, pa.string()),
        "label": pa.array(names, pa.string()),
        "share": pa.array(["validation" if held else "training" for held in photographs.validation.tolist()]),
    }
    _write(pa.table(known | columns), folder / "groups.parquet")
    extracted = project.require("extract")
    source = readable(os.fsencode(project.source))
    known_labels = photographs.labels[photographs.labels >= 0]
    content = StudyContent(
        title=source.rstrip("/").rpartition("/")[2] or source,
        source=source,
        n_images=len(photographs.ids),
        n_validation=int(photographs.validation.sum()),
        n_skipped=int(extracted.outputs["skipped"]),
        labels=photographs.label_names,
        label_sizes=np.bincount(known_labels, minlength=len(photographs.label_names)).tolist(),
        grid=msgspec.structs.asdict(grid),
        rows=rows,
        per_label=per_label,
        left_out=left_out if plan.reference else {},
        seconds_extraction=extracted.seconds,
        version=__version__,
        **_pictures(shown, plan, photographs),
    )
    page = build_study_page(content, folder)
    flagged = sum(row["aligned"] is False for row in rows)
    if flagged:
        told = (
            f"{flagged} of {len(rows)} results are not told from a shuffled order (p >= {_SIGNIFICANT}); see the report"
        )
        listener(Event("report", "warning", told))
    listener(Event("report", "end", f"page {page.name}"))
    return Outcome(page, flagged)


def _gather(
    store: CellStore, keys: Sequence[str], photographs: Photographs
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any], dict[tuple[str, str, int], Cell]]:
    """Rows of the tables; the groups of the comparison; and its cells, by method, features and seed."""
    rows, per_label = list[dict[str, Any]](), list[dict[str, Any]]()
    columns, shown = dict[str, Any](), dict[tuple[str, str, int], Cell]()
    runs: dict[tuple[Any, ...], list[int]] = {}
    for key in keys:
        cell = store.read(key)
        setting = dict(cell.setting)
        p_value = cell.scores.get("independence_p", float("nan"))
        aligned = None if np.isnan(p_value) else bool(p_value < _SIGNIFICANT)
        seconds = {f"seconds_{step}": taken for step, taken in cell.seconds.items()}
        row = {**setting, "seconds": round(sum(cell.seconds.values()), 3), **seconds, "aligned": aligned, **cell.scores}
        per_label += [{**setting, **of_label} for of_label in cell.per_label]
        runs.setdefault(tuple(v for name, v in setting.items() if name != "seed"), []).append(len(rows))
        rows.append({"key": key, **row})
        if setting["part"] == "comparison":
            method, features, seed = str(setting["method"]), str(setting["features"]), int(setting["seed"])
            columns[f"{method} {features}".strip() + f", seed {seed}"] = pa.array(cell.groups)
            shown[method, features, seed] = cell
    for of_setting in runs.values():
        found = [store.read(rows[i]["key"]) for i in of_setting]
        thetas = [cell.theta for cell in found if cell.theta is not None]
        agreed = agreement(thetas, [cell.groups for cell in found])
        for i in of_setting:
            rows[i] |= agreed
    return rows, per_label, columns, shown


def _pictures(shown: dict[tuple[str, str, int], Cell], plan: Plan, photographs: Photographs) -> dict[str, Any]:
    """What the figures show of the comparison's first seed."""
    if plan.reference is None:
        return {}
    seed, n_labels = plan.reference.seed, len(photographs.label_names)
    known = photographs.labels >= 0
    tables, curves = {}, {}
    for (method, features, own), cell in shown.items():
        if own != seed:
            continue
        table = np.zeros((n_labels, n_labels), np.int64)
        np.add.at(table, (photographs.labels[known], cell.groups[known]), 1)
        tables[method, features] = table
        if "training loss" in cell.curves:
            curves[method] = {name: list(values) for name, values in cell.curves.items()}
    route = shown[ROUTE, ",".join(plan.reference.features), seed]
    mixtures = np.zeros((n_labels, n_labels))
    if route.theta is not None:
        np.add.at(mixtures, photographs.labels[known], route.theta[known])
    sizes = np.bincount(photographs.labels[known], minlength=n_labels)[:, None]
    return {
        "reference": plan.reference._asdict(),
        "tables": tables,
        "mixtures": mixtures / sizes,
        "histograms": route.histograms,
        "curves": curves,
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of unlike columns; what one lacks is null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        columns[name] = [None if isinstance(v, float) and np.isnan(v) else v for v in values]
    return pa.table(columns)


def _write(table: pa.Table, path: Path) -> None:
    with replace_file(path) as temporary:
        write_table(table, temporary)
