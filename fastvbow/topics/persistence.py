"""A topic model on disk.

Format ``fastvbow-lda``, version 3
----------------------------------
A model is a folder with two files. A writer MUST put the folder in place by a rename, complete and flushed.

- ``manifest.json`` MUST hold ``format`` ("fastvbow-lda"), ``version`` (an integer; 3, or 2 where ``parameters`` has no
  ``merge_every``), ``parameters`` (the estimator's constructor parameters that are numbers, texts or null), ``seed``
  (unsigned 64-bit), ``n_iter``, ``topic_word_prior``, ``libraries`` (name to version, of what wrote it) and ``sha256``
  (hex, of ``model.safetensors``). It MAY hold ``feature_names`` (a list of strings, one a word, or null) and keys that
  a reader does not know, which it MUST ignore.
- ``model.safetensors`` MUST hold, as float64, ``components`` (K, V), ``doc_topic_prior`` (K,), ``word_weights`` (V,)
  and ``log_likelihood`` (n,), and as int64 ``log_likelihood_sweeps`` (n,). A constructor parameter that is an array
  MUST stand here as ``parameter.NAME`` and MUST NOT stand in ``parameters``.
- A reader MUST refuse a ``version`` above its own and MUST open every one below it. It MUST refuse a tensors file whose
  checksum is another. It MUST NOT execute anything that it read.
- In version 1 no parameter was a text. Before version 3 there was no ``merge_every``, which a writer MUST leave out
  where it is 1.
- The topics of the training tokens are not part of a model. A random generator given as ``random_state`` is written as
  null; ``seed`` is what was drawn from it. ``n_jobs`` is written as null: it says how to compute, not what.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fastvbow.errors import StoreCorruptError
from fastvbow.model_folder import parameters_and_arrays, read_model, write_model

__all__ = ["deciding_parameters", "load", "save"]

FORMAT = "fastvbow-lda"
VERSION = 3
WHAT = "topic model"


class Manifest(msgspec.Struct):
    """What ``manifest.json`` holds."""

    format: str
    version: int
    parameters: dict[str, int | float | str | None]
    seed: int
    n_iter: int
    topic_word_prior: float
    libraries: dict[str, str]
    sha256: str
    feature_names: list[str] | None = None


def deciding_parameters(model: Any) -> dict[str, Any]:
    """The constructor parameters of a `GibbsLDA` without those that are at a default that earlier versions had."""
    parameters: dict[str, Any] = model.get_params()
    if parameters["merge_every"] == 1:
        del parameters["merge_every"]
    return parameters


def save(model: Any, folder: Path) -> None:
    """Write a fitted `GibbsLDA`; a model that is there already is replaced, and kept if writing fails.

    Raises
    ------
    ProjectError
        The folder cannot be written, or holds something that is not a topic model.
    """
    parameters, arrays = parameters_and_arrays(deciding_parameters(model))
    tensors = {
        "components": model.components_,
        "doc_topic_prior": model.doc_topic_prior_,
        "word_weights": model.word_weights_,
        "log_likelihood": model.log_likelihood_,
        "log_likelihood_sweeps": model.log_likelihood_sweeps_,
        **arrays,
    }
    names = getattr(model, "feature_names_in_", None)
    manifest = {
        "format": FORMAT,
        "version": VERSION if "merge_every" in parameters else 2,
        "parameters": parameters,
        "seed": model.seed_,
        "n_iter": model.n_iter_,
        "topic_word_prior": model.topic_word_prior_,
        "feature_names": None if names is None else [str(name) for name in names],
    }
    write_model(folder, manifest, tensors, what=WHAT)


def load(model: Any, folder: Path) -> Any:
    """Fill an unfitted `GibbsLDA` with what `folder` holds.

    Raises
    ------
    ProjectError
        The folder is not a topic model, or a newer fastvbow wrote it.
    StoreCorruptError
        A file does not hold what the manifest says.
    """
    manifest, tensors = read_model(folder, Manifest, what=WHAT, format_name=FORMAT, version=VERSION)
    _check_tensors(folder / "model.safetensors", tensors, manifest)

    arrays = {
        name.removeprefix("parameter."): value for name, value in tensors.items() if name.startswith("parameter.")
    }
    try:
        model.set_params(**manifest.parameters, **arrays)
    except (ValueError, TypeError) as error:
        raise StoreCorruptError(
            f"{folder} holds a parameter that does not exist ({error}): delete {folder} and train again"
        ) from error
    model.components_ = tensors["components"]
    model.topic_word_ = model.components_ / model.components_.sum(axis=1, keepdims=True)
    model.doc_topic_prior_ = tensors["doc_topic_prior"]
    model.topic_word_prior_ = manifest.topic_word_prior
    model.word_weights_ = tensors["word_weights"]
    model.log_likelihood_ = tensors["log_likelihood"]
    model.log_likelihood_sweeps_ = tensors["log_likelihood_sweeps"]
    model.seed_ = manifest.seed
    model.n_iter_ = manifest.n_iter
    model.n_features_in_ = model.components_.shape[1]
    if manifest.feature_names is not None:
        model.feature_names_in_ = np.array(manifest.feature_names, dtype=object)
    return model


def _check_tensors(path: Path, tensors: dict[str, np.ndarray], manifest: Manifest) -> None:
    shape = tensors["components"].shape if "components" in tensors else ()
    n_topics, n_words = shape if len(shape) == 2 else (0, 0)
    n_looks = tensors["log_likelihood"].size if "log_likelihood" in tensors else 0
    wanted = {
        "components": ((n_topics, n_words), np.float64),
        "doc_topic_prior": ((n_topics,), np.float64),
        "word_weights": ((n_words,), np.float64),
        "log_likelihood": ((n_looks,), np.float64),
        "log_likelihood_sweeps": ((n_looks,), np.int64),
    }
    for name, (shape, dtype) in wanted.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != shape or tensor.dtype != dtype or tensor.size == 0:
            found = "nothing" if tensor is None else f"{tensor.dtype} of shape {tensor.shape}"
            raise StoreCorruptError(
                f"{path}: tensor {name!r} should be {np.dtype(dtype)} of shape {shape}, found {found}"
            )
        if name != "log_likelihood" and not (np.isfinite(tensor).all() and (tensor > 0).all()):
            raise StoreCorruptError(f"{path}: tensor {name!r} holds values that are not positive")
    if manifest.feature_names is not None and len(manifest.feature_names) != n_words:
        raise StoreCorruptError(f"{path} has {n_words} words, its manifest names {len(manifest.feature_names)}")
