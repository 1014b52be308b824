"""Models on disk: a folder with a JSON manifest and the arrays it vouches for.

A model is ``manifest.json`` and ``model.safetensors``. The manifest holds at least ``format``, ``version`` (an
integer), ``libraries`` (name to version, of what wrote it) and ``sha256`` (hex, of the other file). What else it
holds, and the names of the tensors, the module of each format specifies. A writer MUST put the folder in place by a
rename, complete and flushed. A reader MUST refuse a ``version`` above its own and a tensors file whose checksum is
another, MUST open every older version, MUST ignore keys that it does not know, and MUST NOT execute anything that it
read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.project import replace_folder

__all__ = ["parameters_and_arrays", "read_model", "write_model"]

LIBRARIES = ("fastvbow", "numpy", "scipy", "scikit-learn", "numba", "safetensors")


def write_model(folder: Path, manifest: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, what: str) -> None:
    """Write a model; one that is there already is replaced, and kept if writing fails.

    Parameters
    ----------
    folder : Path
    manifest : mapping
        All but ``libraries`` and ``sha256``.
    tensors : mapping of str to ndarray
    what : str
        The kind of model, for messages: "topic model".

    Raises
    ------
    ProjectError
        The folder cannot be written, or holds something that is not a model.
    """
    if (
        folder.exists()
        and not (folder / "manifest.json").is_file()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise ProjectError(f"{folder} exists and is not a {what}, so it is not replaced: choose another folder")
    blob = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    whole = {**manifest, "libraries": _versions(), "sha256": hashlib.sha256(blob).hexdigest()}
    try:
        with replace_folder(folder) as temporary:
            (temporary / "model.safetensors").write_bytes(blob)
            (temporary / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(whole)))
    except OSError as error:
        raise ProjectError(f"cannot write the {what} {folder}: {error.strerror}: choose another folder") from error


def read_model(
    folder: Path, schema: Any, *, what: str, format_name: str, version: int
) -> tuple[Any, dict[str, np.ndarray]]:
    """Read manifest and tensors.

    Parameters
    ----------
    folder : Path
    schema : msgspec.Struct type
        What the manifest holds.
    what : str
        The kind of model, for messages.
    format_name : str
    version : int
        The newest that can be read.

    Returns
    -------
    manifest : instance of schema
    tensors : dict of str to ndarray

    Raises
    ------
    ProjectError
        The folder is not such a model, or a newer fastvbow wrote it.
    StoreCorruptError
        A file does not hold what the manifest says.
    """
    manifest = _read_manifest(folder, schema, what, format_name, version)
    path = folder / "model.safetensors"
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise StoreCorruptError(f"cannot read {path}: {error.strerror}: delete {folder} and train again") from error
    if (found := hashlib.sha256(blob).hexdigest()) != manifest.sha256:
        raise StoreCorruptError(
            f"{path} has SHA-256 {found}, its manifest says {manifest.sha256}: delete {folder} and train again"
        )
    try:
        return manifest, load(blob)
    except SafetensorError as error:
        raise StoreCorruptError(
            f"{path} is not a safetensors file ({error}): delete {folder} and train again"
        ) from error


def parameters_and_arrays(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Split constructor parameters: numbers, texts, truth values and None for the manifest, arrays for the tensors.

    Arrays are named ``parameter.NAME``. What is neither, such as a random generator or a function, becomes None; so
    does ``n_jobs``, which says how to compute, not what.

    Parameters
    ----------
    parameters : mapping
    """
    plain: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, value in {**parameters, "n_jobs": None}.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (list, tuple, np.ndarray)):
            arrays[f"parameter.{name}"] = np.asarray(value)
        else:
            plain[name] = value if isinstance(value, (int, float, str)) else None
    return plain, arrays


def _read_manifest(folder: Path, schema: Any, what: str, format_name: str, newest: int) -> Any:
    path = folder / "manifest.json"
    try:
        head = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ProjectError(f"{folder} is not a {what} (cannot read {path}: {error.strerror})") from error
    except msgspec.DecodeError as error:
        raise StoreCorruptError(f"{path} is not valid JSON ({error}): delete {folder} and train again") from error
    version = head.get("version")
    if head.get("format") != format_name or not isinstance(version, int):
        raise ProjectError(f"{path} does not describe a {what} (format {head.get('format')!r}, wanted {format_name!r})")
    if version > newest:
        raise ProjectError(
            f"{folder} has {format_name} version {version}; this fastvbow reads up to version {newest}: "
            "upgrade fastvbow"
        )
    try:
        return msgspec.convert(head, schema)
    except msgspec.ValidationError as error:
        raise StoreCorruptError(f"{path}: {error}: delete {folder} and train again") from error


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
