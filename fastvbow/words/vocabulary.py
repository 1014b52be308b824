"""The visual vocabulary: one codebook a modality, numbered through as one list of words (Sivic & Zisserman 2003).

Format ``fastvbow-vocabulary``, version 2: a folder with ``manifest.json`` (``format``, ``version``, ``codebooks``, in
order, each its ``name`` and number of ``words``, ``sha256`` of the tensors) and ``vocabulary.safetensors`` with
``NAME.centers`` (words, p) float32 and, where the modality is projected, ``NAME.mean`` (d,) and ``NAME.components``
(p, d) float32. The vectors of a modality with these two MUST be brought to unit length before they are projected, and
again after. ``NAME.map_share`` (1,) float64 is there where the words are joint ones (`fastvbow.words.joint`); the
projection is then that of the map's part alone. A writer MUST call a vocabulary without joint words version 1, which
has all else. A reader MUST refuse a greater version and tensors whose checksum differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import PCA

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.words._sweep import nearest_centers
from fastvbow.words.minibatch import MiniBatchKMeans

__all__ = ["Codebook", "Vocabulary", "fit_centers", "fit_projection", "train_codebook", "unit_rows"]

FORMAT = "fastvbow-vocabulary"
VERSION = 2
PCA_DIMENSIONS = 64
"""CNN vectors are projected to so many dimensions before they are clustered: fewer lose classes, more only noise."""
PCA_ROWS = 50_000
"""Rows, taken evenly, that the projection is fitted on: 39 for each of 1280 dimensions, a float32 copy of 256 MB."""
_BLOCK = 8192


@dataclass(frozen=True)
class Codebook:
    """The words of one modality.

    Attributes
    ----------
    centers : ndarray of shape (n_words, p), float32
    mean : ndarray of shape (d,), float32, or None
    components : ndarray of shape (p, d), float32, or None
        None: descriptors are compared as they are (p = d).
    map_share : float or None
        Of joint words alone (`fastvbow.words.joint`): `mean` and `components` are those of the map's part then, and
        `centers` are wider by the 128 numbers of SIFT.
    """

    centers: NDArray[np.float32]
    mean: NDArray[np.float32] | None = None
    components: NDArray[np.float32] | None = None
    map_share: float | None = None

    @property
    def n_words(self) -> int:
        """How many words there are."""
        return len(self.centers)

    def project(self, descriptors: NDArray[Any]) -> NDArray[Any]:
        """Descriptors in the space of the centers: unchanged, or unit length, PCA, unit length again.

        Parameters
        ----------
        descriptors : ndarray of shape (n, d)

        Returns
        -------
        ndarray of shape (n, p)
        """
        if self.components is None or self.mean is None:
            return descriptors
        out = np.empty((len(descriptors), len(self.components)), dtype=np.float32)
        for start in range(0, len(descriptors), _BLOCK):
            block = unit_rows(descriptors[start : start + _BLOCK])
            out[start : start + _BLOCK] = unit_rows(
                np.asarray((block - self.mean) @ self.components.T, dtype=np.float32)
            )
        return out

    def nearest(self, projected: NDArray[Any], *, n_jobs: int | None = None) -> NDArray[np.int32]:
        """The nearest word of each projected descriptor, (n,)."""
        if not len(projected):
            return np.zeros(0, np.int32)
        return nearest_centers(projected, self.centers, n_jobs=n_jobs)[0]


def train_codebook(
    sample: NDArray[Any], n_words: int, *, project: bool, seed: int, n_jobs: int | None = None
) -> Codebook:
    """Learn the words of one modality.

    Parameters
    ----------
    sample : ndarray of shape (n, d)
        Training descriptors.
    n_words : int
        Words wanted; where there are fewer descriptors, each becomes a word.
    project : bool
        Whether to compare unit vectors in their first principal components (CNN) or descriptors as they are (RootSIFT).
        The components are those of at most `PCA_ROWS` rows, taken evenly.
    seed : int
    n_jobs : int, optional
    """
    mean, components = fit_projection(sample) if project else (None, None)
    projected = Codebook(np.zeros((0, 0), np.float32), mean, components).project(sample)
    return Codebook(fit_centers(projected, n_words, seed=seed, n_jobs=n_jobs), mean, components)


def fit_projection(sample: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean (d,) and the first principal components (p, d) of unit vectors, of at most `PCA_ROWS` rows."""
    vectors = unit_rows(sample[:: -(-len(sample) // PCA_ROWS)])
    pca = PCA(min(PCA_DIMENSIONS, *vectors.shape), svd_solver="full" if len(vectors) < 2000 else "covariance_eigh")
    pca.fit(vectors)
    return pca.mean_.astype(np.float32), np.ascontiguousarray(pca.components_, dtype=np.float32)


def fit_centers(rows: NDArray[Any], n_words: int, *, seed: int, n_jobs: int | None = None) -> NDArray[np.float32]:
    """Words of rows that are as they are compared, (n_words, p); where there are fewer rows, each becomes a word."""
    model = MiniBatchKMeans(min(n_words, len(rows)), compute_labels=False, random_state=seed, n_jobs=n_jobs).fit(rows)
    return np.ascontiguousarray(model.cluster_centers_, dtype=np.float32)


@dataclass(frozen=True)
class Vocabulary:
    """Codebooks in a fixed order, their words numbered through.

    Attributes
    ----------
    codebooks : dict of str to Codebook
    """

    codebooks: Mapping[str, Codebook]

    @property
    def n_words(self) -> int:
        """Words in all."""
        return sum(book.n_words for book in self.codebooks.values())

    @property
    def first_word(self) -> dict[str, int]:
        """The number at which each modality's words begin."""
        first, at = {}, 0
        for name, book in self.codebooks.items():
            first[name] = at
            at += book.n_words
        return first

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """The type of a word's number on disk."""
        return np.uint16 if self.n_words <= 1 << 16 else np.uint32

    def per_word(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """A value for each modality, repeated for each of its words: (n_words,)."""
        return np.concatenate(
            [np.full(book.n_words, values[name], np.float64) for name, book in self.codebooks.items()]
        )

    def save(self, folder: Path) -> None:
        """Write the two files into an existing folder."""
        tensors = {}
        for name, book in self.codebooks.items():
            tensors[f"{name}.centers"] = book.centers
            if book.components is not None and book.mean is not None:
                tensors[f"{name}.mean"], tensors[f"{name}.components"] = book.mean, book.components
            if book.map_share is not None:
                tensors[f"{name}.map_share"] = np.array([book.map_share], np.float64)
        save_file(tensors, folder / "vocabulary.safetensors")
        manifest = {
            "format": FORMAT,
            "version": 1 if all(book.map_share is None for book in self.codebooks.values()) else VERSION,
            "codebooks": [{"name": name, "words": book.n_words} for name, book in self.codebooks.items()],
            "sha256": hashlib.sha256((folder / "vocabulary.safetensors").read_bytes()).hexdigest(),
        }
        (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read a vocabulary.

        Raises
        ------
        ProjectError, StoreCorruptError
            A newer version, or files that do not fit one another.
        """
        tensors_path = folder / "vocabulary.safetensors"
        try:
            manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
            if manifest["format"] != FORMAT:
                raise StoreCorruptError(f"{folder} is no vocabulary (format {manifest['format']!r})")
            if manifest["version"] > VERSION:
                raise ProjectError(
                    f"{folder} has vocabulary format {manifest['version']}, this fastvbow reads {VERSION}: upgrade it"
                )
            if hashlib.sha256(tensors_path.read_bytes()).hexdigest() != manifest["sha256"]:
                raise StoreCorruptError(
                    f"{tensors_path} has changed since it was written: "
                    f"delete {folder} and run 'fastvbow vocabulary' again"
                )
            tensors = load_file(tensors_path)
            names = [entry["name"] for entry in manifest["codebooks"]]
            return cls({name: _codebook(tensors, name) for name in names})
        except (OSError, KeyError, TypeError, msgspec.DecodeError, SafetensorError) as error:
            raise StoreCorruptError(
                f"cannot read the vocabulary {folder}: {error!r}: delete it and run 'fastvbow vocabulary' again"
            ) from None


def _codebook(tensors: Mapping[str, NDArray[Any]], name: str) -> Codebook:
    share = tensors.get(f"{name}.map_share")
    return Codebook(
        tensors[f"{name}.centers"],
        tensors.get(f"{name}.mean"),
        tensors.get(f"{name}.components"),
        None if share is None else float(share[0]),
    )


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows at unit length, in float32; a zero row stays zero. Converted block by block: the input may be large."""
    out = np.zeros(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32, copy=False)
        norm = np.linalg.norm(block, axis=1, keepdims=True)
        np.divide(block, norm, out=out[start : start + _BLOCK], where=norm > 0)
    return out
