"""Which images of a source a project does not have yet, and which ones it had beside its own source's."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.images.joining import chosen, joined, looked_up, seen_from
from fastvbow.images.table import ImageTable, readable
from fastvbow.project import ProjectFolder

__all__ = ["News", "find_news", "remembered", "with_additions"]


@dataclass(frozen=True)
class News:
    """What is new to a project of a source.

    Attributes
    ----------
    table : ImageTable
        The new images, under the paths that they have in the project.
    rows : ndarray of shape (n_new,), int64
        Their rows in the table of the source.
    n_already : int
        Images of the source that the project has.
    warnings : list of str
        What a person should know: each a sentence.
    """

    table: ImageTable
    rows: NDArray[np.int64]
    n_already: int
    warnings: list[str]

    def __len__(self) -> int:
        return len(self.rows)


def find_news(known: ImageTable, scanned: ImageTable, limit: int = 0) -> News:
    """The images of a source that a project does not have, known by their paths.

    Parameters
    ----------
    known : ImageTable
        Those of the project.
    scanned : ImageTable
        Those of the source.
    limit : int, default=0
        The first so many of the new ones; 0: all.
    """
    table = seen_from(scanned, known.root)
    row_of = {raw: row for row, raw in enumerate(known.raw_paths)}
    new, seen, n_already = list[int](), set[bytes](), 0
    changed: list[str] = []
    grown = Counter[str]()
    container_of = _grown_containers(known, table)
    for row, raw in enumerate(table.raw_paths):
        at = row_of.get(raw)
        if at is not None:
            n_already += 1
            if (known.sizes[at], known.mtimes[at]) != (table.sizes[row], table.mtimes[row]):
                changed.append(table.names[row])
        elif (name := container_of(row)) is not None:
            grown[name] += 1
        elif raw not in seen:  # a list may name it twice, by different paths
            seen.add(raw)
            new.append(row)
    warnings = []
    if changed:
        warnings.append(
            f"{len(changed)} photographs that the project has have changed since, as {changed[0]}: they stay as they "
            "were described; 'fastvbow run' looks at them again"
        )
    warnings += [
        f"{name} has changed since the project took photographs from it: {n} others in it are left out; put new ones "
        "into a file of their own"
        for name, n in grown.items()
    ]
    rows = np.array(new[: limit or None], np.int64)
    return News(chosen(table, rows), rows, n_already, warnings)


def _grown_containers(known: ImageTable, table: ImageTable) -> Callable[[int], str | None]:
    """Tells of an image the container that it lies in, if the project took images from it when it had another size."""
    places = table.places
    if places is None or known.places is None:
        return lambda row: None
    sizes = dict(zip(known.places.containers, known.places.container_sizes, strict=True))
    grown = [
        readable(container) if sizes.get(container, size) != size else None
        for container, size in zip(places.containers, places.container_sizes, strict=True)
    ]
    return lambda row: grown[places.which[row]] if places.which[row] >= 0 else None


def remembered(project: ProjectFolder, news: ImageTable) -> ImageTable:
    """All images that were ever added to a project, with the new ones at the end."""
    if not project.added.exists():
        return news
    return joined(ImageTable.load(project.added, project.image_root), news)


def with_additions(table: ImageTable, project: Path) -> ImageTable:
    """The images of a project's own source, and behind them those that were added to it and are not among them.

    Parameters
    ----------
    table : ImageTable
        Of the source.
    project : Path
        The project folder, which need not be there.
    """
    path = project / "added.parquet"
    if not path.exists():
        return table
    added = ImageTable.load(path, Path(os.fsdecode(table.root)))
    known = set(table.raw_paths)
    return joined(table, looked_up(chosen(added, [i for i, raw in enumerate(added.raw_paths) if raw not in known])))
