"""The finished cells of a study on disk.

``cells/KEY/`` is a model folder (`fastvbow.model_folder`) of format ``fastvbow-study-cell``, version 1: of one cell of
the grid or the comparison, or of one run of a baseline, named by the first 24 characters of its key. The manifest holds
``key``, ``setting`` (what it was asked for), ``seconds`` (by step), ``scores``, ``per_label`` and ``curves`` (by name,
a value each epoch); the tensors are ``groups`` (n,) int32, of the study's photographs in their order, and where there
are such ``theta`` (n, K) float32 and ``histograms`` (n_labels, n_words) float32, the mean word frequencies of each
label. A cell stands complete or not at all; nothing else is kept of it, neither tokens nor the model.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.model_folder import read_model, write_model

__all__ = ["Cell", "CellStore"]

FORMAT, VERSION = "fastvbow-study-cell", 1
_WHAT = "cell of a study"


class _Manifest(msgspec.Struct, frozen=True):
    format: str
    version: int
    sha256: str
    key: str
    setting: dict[str, Any]
    seconds: dict[str, float]
    scores: dict[str, float | None]
    per_label: list[dict[str, Any]]
    curves: dict[str, list[float | None]] = {}


@dataclass(frozen=True, eq=False)
class Cell:
    """What a cell, or a run of a baseline, has found.

    Attributes
    ----------
    setting : mapping
        ``part``, ``method``, ``features`` (with commas), ``keypoints``, ``words``, ``topics``, ``seed``.
    seconds : mapping of str to float
        What each step took.
    scores : mapping of str to float
        NaN where one is not defined.
    per_label : list of dict
        ``label``, ``share`` ("training", "validation" or "all"), ``n_images``, and scores.
    groups : ndarray of shape (n,), int32
    theta : ndarray of shape (n, K), float32, or None
    histograms : ndarray of shape (n_labels, n_words), float32, or None
    curves : mapping of str to list of float
    """

    setting: Mapping[str, Any]
    seconds: Mapping[str, float]
    scores: Mapping[str, float]
    per_label: list[dict[str, Any]]
    groups: NDArray[np.int32]
    theta: NDArray[np.float32] | None = None
    histograms: NDArray[np.float32] | None = None
    curves: Mapping[str, list[float]] = field(default_factory=dict)


class CellStore:
    """The folder ``cells`` of a study.

    Parameters
    ----------
    folder : Path
        Made with the first cell. Whoever writes holds the study's lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clear_away(self) -> None:
        """Remove what a killed writer has left."""
        for entry in self.folder.glob(".*.*.tmp"):
            shutil.rmtree(entry)

    def has(self, key: str) -> bool:
        """Whether a cell is finished."""
        return (self._place(key) / "manifest.json").is_file()

    def write(self, key: str, cell: Cell) -> None:
        """Put a finished cell in place."""
        arrays = {"groups": cell.groups, "theta": cell.theta, "histograms": cell.histograms}
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "key": key,
            "setting": dict(cell.setting),
            "seconds": dict(cell.seconds),
            "scores": dict(cell.scores),
            "per_label": cell.per_label,
            "curves": dict(cell.curves),
        }
        tensors = {name: array for name, array in arrays.items() if array is not None}
        write_model(self._place(key), manifest, tensors, what=_WHAT)

    def read(self, key: str) -> Cell:
        """Read a finished cell.

        Raises
        ------
        ProjectError, StoreCorruptError
            It is damaged, or a newer fastvbow wrote it.
        """
        found, tensors = read_model(self._place(key), _Manifest, what=_WHAT, format_name=FORMAT, version=VERSION)
        return Cell(
            found.setting,
            found.seconds,
            {name: _number(value) for name, value in found.scores.items()},
            [{name: _number(value) for name, value in row.items()} for row in found.per_label],
            tensors["groups"],
            tensors.get("theta"),
            tensors.get("histograms"),
            {name: [_number(value) for value in values] for name, values in found.curves.items()},
        )

    def _place(self, key: str) -> Path:
        return self.folder / key[:24]


def _number(value: Any) -> Any:
    """JSON has no NaN."""
    return float("nan") if value is None else value
