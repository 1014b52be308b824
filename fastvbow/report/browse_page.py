"""``browse.html``, and the names and numbers of all photographs in scripts that it loads as it needs them.

A page that was opened from disk may not read files, but it may load scripts: each file here is one call,
``fastvbow.put("rows-0003", {...})``, of a value in JSON. ``data/index.js`` tells of topics, labels and chunks,
``data/rows-NNNN.js`` of `CHUNK` photographs in the order of `Rows`; the views that a person opens most, a topic's
photographs by falling probability, lie in one or two chunks.

A chunk is an object of columns, one entry a photograph: ``folder`` (a number in ``folders``), ``name``, ``p``
(probability in thousandths), ``e`` (entropy in thousandths of a nat) and, where any is labelled, ``label`` (a number in
``labels``, -1: none). ``base`` is the address that a folder and a name are put after to make the original's, null
where there is none; ``hrefs`` has the addresses that are made otherwise, by row in the chunk. ``pictured`` has the rows
that have a thumbnail in the sheets, the first of them in cell ``slot``, and ``sizes`` their widths and heights; a size
of 0, 0 belongs to a photograph that can no longer be read. About 40 bytes a photograph with names of 15 letters.

All text is fit for showing (`wording.printable`), and nothing in it can end a script.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from fastvbow.report import wording
from fastvbow.report.content import ReportContent
from fastvbow.report.layout import Layout, topic_page
from fastvbow.report.rows import Rows
from fastvbow.report.site import Site
from fastvbow.report.sprites import CELL, COLUMNS, MARGIN, PER_SHEET, Sprites

__all__ = ["CHUNK", "MOST_LABELS", "write_browse"]

CHUNK = 10_000
"""Photographs in one script: some 0.4 MB, which is read in about 10 ms."""

MOST_LABELS = 1000
"""Labels that can be chosen from a list, the most frequent; any label is found by the search."""

UNCERTAIN = 0.1  # of the photographs, those of the highest entropy, are called uncertain


def write_browse(site: Site, layout: Layout, rows: Rows, sprites: Sprites) -> None:
    """Write ``browse.html``, ``data/index.js`` and ``data/rows-NNNN.js``.

    Parameters
    ----------
    site : Site
    layout : Layout
        Gives the topics' titles.
    rows : Rows
        All photographs in their order.
    sprites : Sprites
        The sheets, written.
    """
    content = site.content
    site.page("browse.html", "browse.html.j2")
    probability = _thousandths(content.probability)[rows.order]
    entropy = _thousandths(content.entropy)[rows.order]
    without = next((start for topic, start, _ in rows.topics if topic < 0), len(rows.order))
    probability[without:] = entropy[without:] = 0
    chunks = []
    for number, start in enumerate(range(0, len(rows.order), CHUNK)):
        part = slice(start, start + CHUNK)
        p, e = probability[part], entropy[part]
        chunks.append([int(p.min()), int(p.max()), int(e.min()), int(e.max())])
        columns = _Chunk(content, rows.order[part].tolist()).columns()
        columns |= {"p": p.tolist(), "e": e.tolist()} | _pictured(rows.order[part].tolist(), sprites)
        site.data(f"rows-{number:04d}", columns)
    counts = Counter(content.labels or ())
    n_unlabelled = counts.pop(None, 0)
    doubted = entropy[:without]
    site.data(
        "index",
        {
            "n": len(rows.order),
            "chunk": CHUNK,
            "chunks": chunks,
            "topics": [
                {
                    "id": topic,
                    "title": wording.printable(layout.title(topic)) if topic >= 0 else "Without a topic",
                    "suggested": layout.suggested(topic),
                    "page": topic_page(topic) if topic >= 0 else "index.html#without-topic",
                    "start": start,
                    "size": size,
                    "label": wording.printable(labels[0][0]) if (labels := layout.labels_of.get(topic)) else None,
                }
                for topic, start, size in rows.topics
            ],
            "labelled": bool(counts),
            "unlabelled": n_unlabelled,
            "labels": [
                [wording.printable(label), n]
                for label, n in sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))[:MOST_LABELS]
            ],
            "uncertain": max(1, int(np.quantile(doubted, 1 - UNCERTAIN))) if doubted.size else 1,
            "sheet": {
                "cell": CELL,
                "margin": MARGIN,
                "columns": COLUMNS,
                "cells": PER_SHEET,
                "pictured": len(sprites.slot_of),
            },
        },
    )


def _thousandths(values: Any) -> np.ndarray:
    return np.round(np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0) * 1000).astype(np.int64)


def _pictured(indices: list[int], sprites: Sprites) -> dict[str, Any]:
    """The photographs of a chunk that have a thumbnail."""
    found = [(i, slot) for i, index in enumerate(indices) if (slot := sprites.slot_of.get(index)) is not None]
    return {
        "slot": found[0][1] if found else 0,
        "pictured": [i for i, _ in found],
        "sizes": [side for i, _ in found for side in sprites.sizes.get(indices[i], (0, 0))],
    }


class _Chunk:
    """Names, labels and addresses of a run of photographs."""

    def __init__(self, content: ReportContent, indices: list[int]) -> None:
        self.content = content
        self.indices = indices
        self.base: str | None = None  # the folder that holds what has ordinary names
        self.hrefs: dict[int, str | None] = {}

    def columns(self) -> dict[str, Any]:
        """All columns but the numbers."""
        names, folders, folder = [], dict[str, int](), []
        for row, index in enumerate(self.indices):
            name = self.content.names[index]
            shown = wording.printable(name)
            self._locate(row, index, name if shown == name else None)
            start = shown.rfind("/") + 1
            names.append(shown[start:])
            folder.append(folders.setdefault(shown[:start], len(folders)))
        columns: dict[str, Any] = {
            "base": None if self.base is None else _address(self.base),
            "hrefs": {row: address for row, address in self.hrefs.items() if address or self.base},
            "folders": list(folders),
            "folder": folder,
            "name": names,
        }
        if self.content.labels is not None:
            labels = dict[str, int]()
            own_labels = [self.content.labels[index] for index in self.indices]
            columns["label"] = [
                -1 if label is None else labels.setdefault(wording.printable(label), len(labels))
                for label in own_labels
            ]
            columns["labels"] = list(labels)
        return columns

    def _locate(self, row: int, index: int, name: str | None) -> None:
        """Note the address of a photograph, unless `base` and its name make it."""
        located = self.content.locate(index)
        path = None if located is None else os.fspath(located)
        if path is not None and not path.startswith("/"):
            path = str(Path(path).absolute())
        if path is not None and name is not None and path.endswith("/" + name):
            base = path[: -len(name)]
            if self.base is None and _address(base) is not None:
                self.base = base
            if base == self.base:
                return
        self.hrefs[row] = None if path is None else _address(path)


def _address(path: str) -> str | None:
    """The address of a file, or of a folder with a slash at its end; None: no file system could hold this name."""
    try:
        return Path(path).as_uri() + ("/" if path.endswith("/") and path != "/" else "")
    except (UnicodeEncodeError, ValueError):
        return None
