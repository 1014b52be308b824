"""Which run of images each shard of a project holds, and where it stands.

The first shards follow from the number of images alone. Photographs that `fastvbow.pipeline.add` has brought in have
further ones behind these, so that the ones that stand need not be cut anew: ``added`` among the outputs of the card of
``extract`` is a list of how many images each of these has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from fastvbow.features.store import FeatureShard
from fastvbow.images.table import ImageTable
from fastvbow.places import SharedFolder
from fastvbow.project import STAGES, ProjectFolder, fingerprint_of

__all__ = [
    "added_shards",
    "feature_shard",
    "open_shard",
    "open_shards",
    "ranges_of",
    "shard_folder",
    "shard_keys",
    "shard_ranges",
    "shards_together",
    "token_shard",
]


def shard_ranges(n_images: int, added: Sequence[int] = ()) -> list[tuple[int, int]]:
    """The runs of images that form the shards.

    At most 1024 images each, and fewer in a small corpus so that it too keeps several workers busy. The size depends on
    the number of images alone, so the bytes on disk do not depend on the machine; it is a power of two, so that it
    seldom changes when images are there from the start.

    Parameters
    ----------
    n_images : int
        All of them.
    added : sequence of int, default=()
        How many images the shards at the end have that were added later.
    """
    first = n_images - sum(added)
    size = min(1024, max(16, 1 << ((first - 1) // 64).bit_length()))
    later = pairwise(accumulate(added, initial=first))
    return [*((start, min(start + size, first)) for start in range(0, first, size)), *later]


def added_shards(outputs: Mapping[str, Any]) -> list[int]:
    """How many images the shards have that were added later, by what the card of ``extract`` counts."""
    return [int(size) for size in outputs.get("added", [])]


def ranges_of(outputs: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The runs of images that form the shards, by what the card of ``extract`` counts."""
    return shard_ranges(int(outputs["images"]), added_shards(outputs))


def shards_together(ranges: Sequence[tuple[int, int]], n_images: int) -> int:
    """How many shards have so many images: what a task of little work for each takes (`fastvbow.portions`).

    Parameters
    ----------
    ranges : sequence of (int, int)
        `ranges_of`.
    n_images : int
    """
    return max(1, n_images * len(ranges) // max(1, ranges[-1][1])) if ranges else 1


def feature_shard(index: int) -> str:
    """The name of a feature shard inside a project, as places take it."""
    return f"features/shard-{index:05d}"


def token_shard(index: int) -> str:
    """The name of a shard's tokens, likewise."""
    return f"tokens/shard-{index:05d}"


def shard_folder(project: ProjectFolder, index: int) -> Path:
    """Where a shard stands."""
    return project.root / feature_shard(index)


def shard_keys(table: ImageTable, parameters: Mapping[str, Any], ranges: Sequence[tuple[int, int]]) -> list[str]:
    """What each shard of these images and parameters has as its ``key``."""
    return [fingerprint_of([STAGES["extract"], dict(parameters), table.fingerprint(*bounds)]) for bounds in ranges]


def open_shards(project: ProjectFolder) -> list[FeatureShard]:
    """The feature shards of a project whose extraction is finished."""
    ranges = ranges_of(project.require("extract").outputs)
    return [open_shard(project, i) for i in range(len(ranges))]


def open_shard(project: ProjectFolder, index: int) -> FeatureShard:
    """A finished shard of a project, whose files are brought from the project's store, if it has one, when they are
    read."""
    folder, place = shard_folder(project, index), project.place
    if isinstance(place, SharedFolder):
        return FeatureShard(folder)

    def bring(name: str) -> None:
        with suppress(FileNotFoundError):  # the shard says that it is damaged
            place.fetch(f"features/{folder.name}/{name}")

    return FeatureShard(folder, bring)
