"""Tables of images put together: some rows of one, one behind another, and the same images seen from another folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastvbow.images.listing import stat_files
from fastvbow.images.table import ImageTable, Places

__all__ = ["chosen", "joined", "looked_up", "seen_from"]


def chosen(table: ImageTable, rows: Sequence[int] | NDArray[np.int64]) -> ImageTable:
    """Some of the images, in this order; what was told of the whole table stays."""
    rows = np.asarray(rows, np.int64)
    places = table.places
    return replace(
        table,
        raw_paths=[table.raw_paths[row] for row in rows],
        names=[table.names[row] for row in rows],
        image_ids=[table.image_ids[row] for row in rows],
        sizes=table.sizes[rows],
        mtimes=table.mtimes[rows],
        places=None if places is None else _chosen_places(places, rows),
    )


def _chosen_places(places: Places, rows: NDArray[np.int64]) -> Places:
    """The places of some of the images, and the containers of these alone."""
    used, which = np.unique(places.which[rows], return_inverse=True)
    files = used[used >= 0]
    return Places(
        [places.containers[i] for i in files],
        [places.container_sizes[i] for i in files],
        (which - np.count_nonzero(used < 0)).astype(np.int32),
        places.offsets[rows],
        places.rows[rows],
    )


def joined(first: ImageTable, second: ImageTable) -> ImageTable:
    """The images of two tables of the same root, one behind the other; what was told is that of the first."""
    return replace(
        first,
        raw_paths=first.raw_paths + second.raw_paths,
        names=first.names + second.names,
        image_ids=first.image_ids + second.image_ids,
        sizes=np.concatenate([first.sizes, second.sizes]),
        mtimes=np.concatenate([first.mtimes, second.mtimes]),
        places=_joined_places(first, second),
    )


def _joined_places(first: ImageTable, second: ImageTable) -> Places | None:
    if first.places is None and second.places is None:
        return None
    one, other = (table.places or _nowhere(len(table)) for table in (first, second))
    shifted = np.where(other.which < 0, -1, other.which + len(one.containers)).astype(np.int32)
    return Places(
        one.containers + other.containers,
        one.container_sizes + other.container_sizes,
        np.concatenate([one.which, shifted]),
        np.concatenate([one.offsets, other.offsets]),
        np.concatenate([one.rows, other.rows]),
    )


def _nowhere(n_images: int) -> Places:
    """Images that are files by themselves."""
    return Places([], [], np.full(n_images, -1, np.int32), *np.full((2, n_images), -1, np.int64))


def looked_up(table: ImageTable) -> ImageTable:
    """The same images, with the sizes and times that their files have now.

    Of an image inside a container the time is looked up alone: where the container has changed, reading it says so.
    """
    places = table.places
    sizes, mtimes = stat_files(table.root, table.raw_paths)
    if places is not None:
        inside = places.which >= 0
        _, times = stat_files(table.root, places.containers)
        sizes = np.where(inside, table.sizes, sizes)
        mtimes = np.where(inside, times[places.which], mtimes)
    return replace(table, sizes=sizes, mtimes=mtimes)


def seen_from(table: ImageTable, root: bytes) -> ImageTable:
    """The same images under the paths that they have in a table of another root.

    Parameters
    ----------
    table : ImageTable
    root : bytes
        A folder, resolved. Paths below it become relative to it, all others absolute.

    Returns
    -------
    ImageTable
        In the same order; images whose paths were relative have other ids.
    """
    places = table.places
    containers = [] if places is None else places.containers
    step = _Step(table.root, root)
    found = [step.path(raw) for raw in containers]
    which = np.full(len(table), -1) if places is None else places.which
    raw_paths = [
        step.path(raw) if place < 0 else found[place] + raw[len(containers[place]) :]
        for raw, place in zip(table.raw_paths, which.tolist(), strict=True)
    ]
    return ImageTable.from_paths(
        root,
        raw_paths,
        table.sizes,
        table.mtimes,
        n_others=table.n_others,
        unlisted=table.unlisted,
        warnings=table.warnings,
        places=None if places is None else replace(places, containers=found),
    )


class _Step:
    """From one root to another. Folders are resolved, each once: a link must not make two images of one."""

    def __init__(self, source: bytes, root: bytes) -> None:
        self._source, self._below = source, root.rstrip(b"/") + b"/"
        self._folders: dict[bytes, bytes] = {}

    def path(self, raw: bytes) -> bytes:
        whole = os.path.join(self._source, raw)
        folder, name = os.path.split(whole)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        resolved = os.path.join(self._folders[folder], name)
        return resolved.removeprefix(self._below) if resolved.startswith(self._below) else whole
