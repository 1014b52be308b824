"""What the baselines look at: pixels, pooled vectors and word counts of a project's photographs, row by row.

All have one row for each photograph that was read when the project was made, in the order of the image table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.config import TopicsConfig
from fastvbow.errors import ImageError, NoImagesError, ProjectError, StoreCorruptError, UsageError
from fastvbow.events import Event, Listener
from fastvbow.executors import make_executor, run_tasks
from fastvbow.groups.baselines.clusters import unit_length
from fastvbow.groups.baselines.pixels import padded_grey, squeezed
from fastvbow.images.decode import decode_photograph, silence_decoders
from fastvbow.images.table import ImageTable
from fastvbow.memory import array_on_disk
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.topic_modelling import token_streams
from fastvbow.project import ProjectFolder, fingerprint_of, replace_file
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["PICTURES", "Kept", "kept_images", "pixel_rows", "pooled_rows", "word_counts"]

Shape = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]

PICTURES: dict[str, tuple[int, Shape]] = {
    "padded-grey": (1, padded_grey),
    "squeezed-grey": (1, lambda photograph, side: squeezed(photograph, side, grey=True)),
    "squeezed-rgb": (3, lambda photograph, side: squeezed(photograph, side, grey=False)),
}
"""Kinds of small pictures: how many channels each has, and what makes it of a photograph and a side."""

_REVISION = 1  # raise it when a picture comes out otherwise: those in caches then no longer count


@dataclass(frozen=True)
class Kept:
    """The photographs of a project that were read.

    Attributes
    ----------
    table : ImageTable
        All images of the source.
    rows : ndarray of shape (n,), int64
        Which of them were read.
    """

    table: ImageTable
    rows: NDArray[np.int64]

    @property
    def image_ids(self) -> list[str]:
        """Their ids."""
        return [self.table.image_ids[i] for i in self.rows]

    @property
    def key(self) -> str:
        """A fingerprint of what they are: paths, sizes and times of all images, and which were read."""
        return fingerprint_of([self.table.fingerprint(), self.rows.tolist()])


def kept_images(project: ProjectFolder) -> Kept:
    """The photographs of a project that were read, in the order of its table.

    Parameters
    ----------
    project : ProjectFolder

    Raises
    ------
    StageMissingError
        Extraction is not finished.
    NoImagesError
        None was read.
    """
    shards = open_shards(project)
    table = ImageTable.load(project.images, project.image_root)
    read = np.concatenate([shard.read for shard in shards]) if shards else np.zeros(0, bool)
    if len(read) != len(table):
        raise StoreCorruptError(
            f"{project.images} names {len(table)} images, the features are of {len(read)}: run 'fastvbow extract' again"
        )
    if not read.any():
        raise NoImagesError(f"no photograph of {project.root} could be read: a baseline needs some")
    return Kept(table, np.flatnonzero(read))


def pixel_rows(
    kept: Kept, picture: str, side: int, folder: Path, *, jobs: int, listener: Listener
) -> NDArray[np.uint8]:
    """Small pictures of the photographs, from `folder` where they stand there already.

    They are read-only and memory-mapped, so that several processes share them; a file takes n * side^2 bytes for each
    channel. Its name holds the fingerprint of the photographs.

    Parameters
    ----------
    kept : Kept
    picture : {"padded-grey", "squeezed-grey", "squeezed-rgb"}
    side : int
        In pixels, at least 1.
    folder : Path
        Is made where it is missing.
    jobs : int
        Threads that decode.
    listener : Listener

    Returns
    -------
    ndarray of shape (n, side, side, channels), uint8

    Raises
    ------
    UsageError
        The side is below 1.
    ProjectError
        A photograph that was read when the project was made cannot be read any more.
    StoreCorruptError
        The file of small pictures is damaged.
    """
    if side < 1:
        raise UsageError(f"side is in pixels, at least 1, not {side}")
    channels, shape = PICTURES[picture]
    wanted = (len(kept.rows), side, side, channels)
    name = f"{picture}-{side}-{fingerprint_of([_REVISION, kept.key])[:16]}.npy"
    if not (folder / name).exists():
        with replace_file(folder / name) as path:
            _write_pictures(kept, shape, wanted, path, jobs, listener)
    try:
        rows = np.lib.format.open_memmap(folder / name, mode="r")
        if rows.shape != wanted or rows.dtype != np.uint8:
            raise ValueError(f"holds {rows.dtype} {rows.shape}, not uint8 {wanted}")
    except (OSError, ValueError) as error:
        raise StoreCorruptError(f"{folder / name}: {error}: delete it and run again") from None
    return rows


def _write_pictures(
    kept: Kept, shape: Shape, wanted: tuple[int, ...], path: Path, jobs: int, listener: Listener
) -> None:
    silence_decoders()
    out = array_on_disk(path, np.uint8, wanted)
    side, n = wanted[1], wanted[0]

    def small(row: int) -> NDArray[np.uint8]:
        try:
            return shape(decode_photograph(kept.table.read(row), side).pixels, side)
        except ImageError as error:
            raise ProjectError(
                f"{kept.table.path(row)} was read when the project was made, and is not any more ({error.reason}): "
                f"put it back, or run 'fastvbow run' again"
            ) from None

    with make_executor(jobs) as executor:
        for i, pixels in enumerate(run_tasks(executor, small, map(int, kept.rows), ahead=4 * jobs)):
            out[i] = pixels
            listener(Event("baseline", "step", done=i + 1, total=n))
    out.flush()


def pooled_rows(project: ProjectFolder, kept: Kept) -> NDArray[np.float32]:
    """The photographs' pooled vectors (the CNN's, or those given with ``--embeddings``) at unit length.

    Parameters
    ----------
    project : ProjectFolder
    kept : Kept

    Returns
    -------
    ndarray of shape (n, d), float32

    Raises
    ------
    UsageError
        The project has none.
    """
    shards = open_shards(project)
    if any("pooled" not in shard.card.rows for shard in shards):
        raise UsageError(
            f"{project.root} has no pooled vectors: take a project whose --features hold cnn, or another baseline"
        )
    vectors = np.concatenate([unit_length(shard.descriptors("pooled")) for shard in shards])
    if len(vectors) != len(kept.rows):
        raise StoreCorruptError(
            f"{project.features} holds {len(vectors)} pooled vectors of {len(kept.rows)} photographs that were read: "
            f"run 'fastvbow verify', then 'fastvbow extract' again"
        )
    return vectors


def word_counts(project: ProjectFolder, kept: Kept) -> sp.csr_matrix:
    """How often each visual word occurs in each photograph, times the weight that the route gives its modality.

    The weights are those of the project's topics where there are any, else the defaults.

    Parameters
    ----------
    project : ProjectFolder
    kept : Kept

    Returns
    -------
    csr_matrix of shape (n, n_words), float64

    Raises
    ------
    StageMissingError
        The photographs have no words yet.
    """
    vocabulary = Vocabulary.load(project.vocabulary)
    streams = token_streams(project, open_tokens(project), vocabulary.n_words)
    counts = sp.vstack([stream.to_counts() for stream in streams], format="csr")
    card = project.card("topics")
    weights = TopicsConfig().weights | (card.parameters.get("weights", {}) if card else {})
    weighted = counts[kept.rows] @ sp.diags(vocabulary.per_word(weights))
    return sp.csr_matrix(weighted)
