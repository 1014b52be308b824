"""Vectors that a baseline has learnt, kept in a cache folder: they do not depend on the number of groups.

Format ``fastvbow-baseline``, version 1: a safetensors file ``NAME-HEX.safetensors`` with ``vectors`` (n, d) float32,
in the order of the photographs that HEX was computed from, and, where there are such, ``explained_variance``,
``train_loss`` and ``held_out_loss`` (each float64, one-dimensional); its metadata MUST hold ``format``, ``version`` and
``about``, a JSON object of numbers: ``seconds`` (what learning them took) and whatever else tells of their quality. A
reader MUST refuse a greater version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.project import replace_file

__all__ = ["CURVES", "Learnt", "kept_vectors"]

FORMAT = "fastvbow-baseline"
VERSION = 1
CURVES = ("explained_variance", "train_loss", "held_out_loss")


@dataclass(frozen=True)
class Learnt:
    """Vectors and how well they were learnt.

    Attributes
    ----------
    vectors : ndarray of shape (n, d), float32
    curves : dict of str to ndarray of shape (m,), float64
        Some of ``explained_variance``, ``train_loss``, ``held_out_loss``.
    quality : dict of str to float
        Single numbers.
    seconds : float
        What learning them took.
    """

    vectors: NDArray[np.float32]
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def kept_vectors(path: Path, n_rows: int, learn: Callable[[], Learnt]) -> Learnt:
    """What stands in a cache file, or else what `learn` returns, which is then written there.

    Parameters
    ----------
    path : Path
        Its name has to tell everything that the vectors depend on.
    n_rows : int
        Rows that the vectors have to have.
    learn : callable () -> Learnt

    Raises
    ------
    ProjectError
        A newer fastvbow wrote the file.
    StoreCorruptError
        The file is damaged.
    """
    if path.exists():
        return _read(path, n_rows)
    learnt = learn()
    about = {**learnt.quality, "seconds": learnt.seconds}
    metadata = {"format": FORMAT, "version": str(VERSION), "about": msgspec.json.encode(about).decode()}
    with replace_file(path) as temporary:
        # safetensors writes the memory of an array as it lies, whatever its strides
        tensors = {"vectors": learnt.vectors, **learnt.curves}
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, temporary, metadata)
    return learnt


def _read(path: Path, n_rows: int) -> Learnt:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
            if int(metadata["version"]) > VERSION:
                raise ProjectError(
                    f"{path} has format {metadata['version']}; this fastvbow reads up to {VERSION}: upgrade it"
                )
            vectors = file.get_tensor("vectors")
            curves = {name: file.get_tensor(name) for name in CURVES if name in file.keys()}  # noqa: SIM118
        about = msgspec.json.decode(metadata["about"], type=dict[str, float])
        if vectors.ndim != 2 or len(vectors) != n_rows:
            raise ValueError(f"its vectors have shape {vectors.shape}, wanted are {n_rows} rows")
        return Learnt(vectors, curves, about, about.pop("seconds"))
    except ProjectError:
        raise
    except (OSError, KeyError, ValueError, SafetensorError, msgspec.MsgspecError) as error:
        raise StoreCorruptError(f"cannot read {path}: {error}: delete it and run again") from None
