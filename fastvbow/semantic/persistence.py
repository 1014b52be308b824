"""Estimators of clusters on disk.

Format ``fastvbow-clusters``, version 1
---------------------------------------
A model is a folder with two files, as `fastvbow.model_folder` specifies. A writer MUST put the folder in place by a
rename, complete and flushed.

- ``manifest.json`` MUST hold ``format`` ("fastvbow-clusters"), ``version`` (an integer; 1), ``estimator`` (one of the
  names below), ``parameters`` (the estimator's constructor parameters by name), ``n_features`` (the width of an image's
  embedding), ``n_iter``, ``concentration`` (what scores are multiplied with before the softmax; 0 or more),
  ``libraries`` (name to version, of what wrote it) and ``sha256`` (hex, of ``model.safetensors``). It MAY hold keys
  that a reader does not know, which it MUST ignore. A parameter is a number, a text, a truth value, null, a list of
  numbers (a tuple once read), or an object of numbers and nulls. A random generator given as ``random_state`` is
  written as null, and so is ``n_jobs``, which says how to compute, not what.
- ``model.safetensors`` MUST hold the arrays of the estimator, of floating point without NaN and infinity; it MAY hold
  others, which a reader MUST ignore. d is ``n_features``, K the parameter ``n_clusters``, m and l any number above 0.

  - "SphericalKMeans": ``cluster_centers`` (K, d) float32, ``inertia`` (1,) float64.
  - "TAC": ``semantic_centers`` (any, d) float32, ``nouns`` (m, d) float32, ``noun_indices`` (m,) int64, ascending; and
    where the parameter ``trained`` is false ``cluster_centers`` (K, 2 d) float32, else for each HEAD of ``image`` and
    ``text`` the float32 arrays ``HEAD.hidden_weight`` (d, d), ``HEAD.hidden_bias`` (d,), ``HEAD.weight`` (K, d) and
    ``HEAD.bias`` (K,), and ``losses`` (n_iter,) float64.
  - "CAE": ``semantic_centers``, ``nouns`` and ``noun_indices`` as above, ``captions`` (l, d) float32,
    ``caption_indices`` (l,) int64, ascending, ``cluster_centers`` (K, d) float32, or (K, 3 d) where ``fusion`` is
    "concat", ``noun_plan.g`` (m,) and ``caption_plan.g`` (l,) float64, ``noun_plan.n_iter`` and
    ``caption_plan.n_iter`` (1,) int64, and where ``columns`` is true ``noun_plan.error`` and ``caption_plan.error``
    (1,) float64.
  - "SIC": ``weight`` (K, d) float32, ``bias`` (K,) float32, ``noun_indices`` (m,) int64, ascending, ``losses``
    (n_iter,) float64.
  - "ICBPL": the float32 arrays ``hidden_weight`` (n_hidden, d), ``hidden_bias`` (n_hidden,), ``weight`` (n_components,
    n_hidden), ``bias`` (n_components,) and ``cluster_centers`` (K, n_components), and ``losses`` (n_iter,) float64.

- A reader MUST refuse a ``version`` above its own, an ``estimator`` that it does not know, a tensors file whose
  checksum is another, and arrays of another type or shape. It MUST NOT execute anything that it read: an estimator's
  name chooses from a fixed table.
- What the images of training were given (labels, probabilities, embedding, the transport plans' f) is no part of it.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.model_folder import read_model, write_model
from fastvbow.semantic._estimator import SemanticEstimator
from fastvbow.semantic._stored import StoredArrays
from fastvbow.semantic.cae import CAE
from fastvbow.semantic.icbpl import ICBPL
from fastvbow.semantic.sic import SIC
from fastvbow.semantic.spherical_estimator import SphericalKMeans
from fastvbow.semantic.tac import TAC

__all__ = ["load_estimator", "save_estimator"]

FORMAT = "fastvbow-clusters"
VERSION = 1
WHAT = "model of clusters"
ESTIMATORS: dict[str, type[SemanticEstimator]] = {
    "CAE": CAE,
    "ICBPL": ICBPL,
    "SIC": SIC,
    "SphericalKMeans": SphericalKMeans,
    "TAC": TAC,
}

Plain = int | float | str | bool | None


class Manifest(msgspec.Struct):
    """What ``manifest.json`` holds."""

    format: str
    version: int
    estimator: str
    parameters: dict[str, Plain | list[int | float] | dict[str, int | float | None]]
    n_features: int
    n_iter: int
    concentration: float
    libraries: dict[str, str]
    sha256: str


def save_estimator(model: SemanticEstimator, folder: Path) -> None:
    """Write a fitted estimator; a model that is there already is replaced, and kept if writing fails.

    Parameters
    ----------
    model : SphericalKMeans, TAC, CAE, SIC or ICBPL
    folder : Path

    Raises
    ------
    UsageError
        It is another estimator (the encoder of `ImageICBPL` is PyTorch's own), or a parameter is nothing that can be
        written.
    ProjectError
        The folder cannot be written, or holds something that is not a model.
    sklearn.exceptions.NotFittedError
        It is not fitted.
    """
    name = type(model).__name__
    if ESTIMATORS.get(name) is not type(model):
        raise UsageError(
            f"{name} cannot be stored, only {', '.join(sorted(ESTIMATORS))} can: of ImageICBPL keep `network_` by "
            "PyTorch's own means"
        )
    check_is_fitted(model)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "estimator": name,
        "parameters": {key: _plain(key, value) for key, value in model.get_params(deep=False).items()},
        "n_features": model.n_features_in_,
        "n_iter": model.n_iter_,
        "concentration": model.concentration_,
    }
    write_model(Path(folder), manifest, model._state(), what=WHAT)


def load_estimator(folder: Path) -> SemanticEstimator:
    """Read a fitted estimator.

    Its `predict`, `predict_proba` and `transform` give the bytes that those of the saved one gave, and need no PyTorch.
    `labels_`, `probabilities_` and `embedding_`, which are of the images of training, are not there.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    SphericalKMeans, TAC, CAE, SIC or ICBPL
        With the constructor parameters of the saved one; `n_jobs` is None.

    Raises
    ------
    ProjectError
        The folder is not such a model, or a newer fastvbow wrote it.
    StoreCorruptError
        A file does not hold what it should.
    """
    folder = Path(folder)
    manifest, arrays = read_model(folder, Manifest, what=WHAT, format_name=FORMAT, version=VERSION)
    if manifest.estimator not in ESTIMATORS:
        raise StoreCorruptError(
            f"{folder} holds the estimator {manifest.estimator!r}; known are {', '.join(sorted(ESTIMATORS))}: delete "
            "it and make it again"
        )
    if manifest.n_features < 1 or manifest.n_iter < 1 or not 0 <= manifest.concentration < np.inf:
        raise StoreCorruptError(
            f"{folder / 'manifest.json'}: n_features={manifest.n_features}, n_iter={manifest.n_iter} and concentration="
            f"{manifest.concentration} cannot be: delete {folder} and make it again"
        )
    model = ESTIMATORS[manifest.estimator]()
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in manifest.parameters.items()}
    try:
        model.set_params(**given)
        model._check()
    except (TypeError, ValueError) as error:  # UsageError is a ValueError
        raise StoreCorruptError(f"{folder} holds a parameter that cannot be ({error}): make it again") from error
    model.n_features_in_, model.n_iter_ = manifest.n_features, manifest.n_iter
    model.concentration_ = manifest.concentration
    model._restore(StoredArrays(arrays, folder / "model.safetensors"))
    return model


def _plain(name: str, value: Any) -> Any:
    """A constructor parameter as JSON has it."""
    if name == "n_jobs" or isinstance(value, np.random.RandomState):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}.{key}", part) for key, part in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(name, part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    unusual = isinstance(value, numbers.Real) and not np.isfinite(float(value))
    if unusual or not (value is None or isinstance(value, (bool, int, float, str))):
        raise UsageError(f"{name}={value!r} cannot be written: give a number that is finite, a text or None")
    return value
