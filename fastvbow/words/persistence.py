"""A K-Means model on disk.

Format ``fastvbow-kmeans``, version 1
-------------------------------------
A folder as `fastvbow.model_folder` describes it.

- ``manifest.json`` MUST hold ``estimator`` ("KMeans" or "MiniBatchKMeans") and ``parameters`` (the estimator's
  constructor parameters that are numbers, texts, truth values or null). It MAY hold ``n_iter``, ``n_steps``,
  ``inertia`` (of the training rows) and ``feature_names`` (a list of strings, one a column), each null where there is
  none.
- ``model.safetensors`` MUST hold ``cluster_centers`` (K, d), float32 or float64. It MAY hold ``counts`` (K,) float64:
  the rows that each centre has seen, with which `partial_fit` goes on. A constructor parameter that is an array MUST
  stand here as ``parameter.NAME`` and MUST NOT stand in ``parameters``.
- The labels of the training rows are not part of a model: `predict` gives them again. A random generator or a function
  given as parameter is written as null, and so is ``n_jobs``: it says how to compute, not what.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sklearn.utils import check_random_state

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.model_folder import parameters_and_arrays, read_model, write_model
from fastvbow.words._sculley import Run

__all__ = ["load", "save"]

FORMAT = "fastvbow-kmeans"
VERSION = 1
WHAT = "K-Means model"


class Manifest(msgspec.Struct):
    """What ``manifest.json`` holds."""

    format: str
    version: int
    estimator: str
    parameters: dict[str, bool | int | float | str | None]
    libraries: dict[str, str]
    sha256: str
    n_iter: int | None = None
    n_steps: int | None = None
    inertia: float | None = None
    feature_names: list[str] | None = None


def save(model: Any, folder: Path) -> None:
    """Write a fitted estimator; a model that is there already is replaced, and kept if writing fails.

    Raises
    ------
    ProjectError
        The folder cannot be written, or holds something that is not a model.
    """
    parameters, tensors = parameters_and_arrays(model.get_params())
    tensors["cluster_centers"] = model.cluster_centers_
    if hasattr(model, "_run"):
        tensors["counts"] = model._run.counts
    names = getattr(model, "feature_names_in_", None)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "estimator": type(model).__name__,
        "parameters": parameters,
        "n_iter": getattr(model, "n_iter_", None),
        "n_steps": getattr(model, "n_steps_", None),
        "inertia": getattr(model, "inertia_", None),
        "feature_names": None if names is None else [str(name) for name in names],
    }
    write_model(folder, manifest, tensors, what=WHAT)


def load(model: Any, folder: Path) -> Any:
    """Fill an unfitted estimator with what `folder` holds.

    Raises
    ------
    ProjectError
        The folder is not a K-Means model, holds the other estimator's, or a newer fastvbow wrote it.
    StoreCorruptError
        A file does not hold what the manifest says.
    """
    manifest, tensors = read_model(folder, Manifest, what=WHAT, format_name=FORMAT, version=VERSION)
    if manifest.estimator != type(model).__name__:
        raise ProjectError(f"{folder} holds a {manifest.estimator}: load it with {manifest.estimator}.load")
    path = folder / "model.safetensors"
    centers = tensors.get("cluster_centers", np.empty(0))
    if centers.ndim != 2 or centers.size == 0 or centers.dtype not in (np.float32, np.float64):
        raise StoreCorruptError(
            f"{path}: tensor 'cluster_centers' should be floats of shape (K, d), found {centers.dtype} of shape "
            f"{centers.shape}: delete {folder} and train again"
        )
    counts = tensors.get("counts", np.zeros(len(centers)))
    if not np.isfinite(centers).all() or counts.shape != (len(centers),) or not (counts >= 0).all():
        raise StoreCorruptError(f"{path} holds centres or counts that cannot be: delete {folder} and train again")
    if manifest.feature_names is not None and len(manifest.feature_names) != centers.shape[1]:
        raise StoreCorruptError(
            f"{path} has {centers.shape[1]} columns, its manifest names {len(manifest.feature_names)}: "
            f"delete {folder} and train again"
        )
    arrays = {name.removeprefix("parameter."): v for name, v in tensors.items() if name.startswith("parameter.")}
    try:
        model.set_params(**manifest.parameters, **arrays)
    except (ValueError, TypeError) as error:
        raise StoreCorruptError(
            f"{folder} holds a parameter that does not exist ({error}): delete {folder} and train again"
        ) from error
    model.cluster_centers_ = centers
    model.n_features_in_, model._n_features_out = centers.shape[1], len(centers)
    for name in ("n_iter", "n_steps", "inertia"):
        if getattr(manifest, name) is not None:
            setattr(model, f"{name}_", getattr(manifest, name))
    if manifest.feature_names is not None:
        model.feature_names_in_ = np.array(manifest.feature_names, dtype=object)
    if "counts" in tensors:
        model._random_state = check_random_state(model.random_state)
        model._run = Run(len(centers), model.reassignment_ratio)
        model._run.counts = counts.astype(np.float64)
    return model
