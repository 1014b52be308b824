"""Commands ``models``: which CNNs there are, what an unknown one holds, and how it becomes one of them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.demo.crops import photograph_files
from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.features.adding import check_name, remove_model, store_model, takes_batches, with_outputs
from fastvbow.features.anatomy import Anatomy, analyse
from fastvbow.features.cnn import CnnExtractor, open_session
from fastvbow.features.graphs import load_model
from fastvbow.features.models import (
    COLOURS,
    LAYOUTS,
    NORMALISATIONS,
    Channels,
    ModelCard,
    bad_numbers,
    known_models,
    models_folder,
    read_card,
)
from fastvbow.features.tensors import input_maker
from fastvbow.images.decode import decode
from fastvbow.pipeline.space_cards import known_spaces

__all__ = [
    "Added",
    "Listed",
    "add_model",
    "bundled_photographs",
    "inspect_model",
    "list_models",
    "normalisation",
    "remove_model",
]

_TRIED = 8
"""Bundled photographs that a new model is tried on."""
_FAR = 0.2
"""By how much a cosine has to be less for another normalisation to be spoken of."""


@dataclass(frozen=True)
class Listed:
    """A model that there is.

    Attributes
    ----------
    name : str
    card : ModelCard or None
        None where it cannot be used.
    path : Path
        Of the card.
    problem : str
        Why it cannot be used; empty if it can.
    """

    name: str
    card: ModelCard | None
    path: Path
    problem: str = ""


@dataclass(frozen=True)
class Added:
    """What `add_model` did.

    Attributes
    ----------
    card : ModelCard
    anatomy : Anatomy
    batch : bool
        Whether it takes several photographs at a time.
    mirrored, others : float
        Mean cosine of the pooled vectors of a photograph and its mirror image, and of two photographs.
    better : str
        The preset under which two photographs are so much less alike that the normalisation is probably wrong; empty if
        there is none.
    """

    card: ModelCard
    anatomy: Anatomy
    batch: bool
    mirrored: float
    others: float
    better: str


def list_models() -> list[Listed]:
    """All models, those of the user too, by name; what cannot be used is told, not raised."""
    found = []
    for name, path in sorted(known_models().items()):
        try:
            card = read_card(path)
            if not card.path.is_file():
                raise StoreCorruptError(f"the model's file {card.path} is missing: add the model again")
            found.append(Listed(name, card, path))
        except StoreCorruptError as error:
            found.append(Listed(name, None, path, str(error)))
    return found


def inspect_model(file: Path, *, side: int = 0, layout: str = "", pooled: str = "", conv: str = "") -> Anatomy:
    """Find the vector and the maps of a network that nothing is known of.

    Parameters
    ----------
    file : Path
        An ``.onnx`` file; it is only read.
    side : int, default=0
        Pixels, where the graph leaves them open; 0: 224.
    layout : {"", "NCHW", "NHWC"}, default=""
        Where the channels are, if that cannot be seen.
    pooled, conv : str, default=""
        Tensors to take for the vector and the map, rather than those that are found.

    Raises
    ------
    UsageError, MissingExtraError
    """
    _check_choices(side, layout, "RGB")
    return analyse(load_model(file), side=side, layout=layout, pooled=pooled, conv=conv)


def normalisation(preset: str, mean: Channels | None, std: Channels | None) -> tuple[Channels, Channels]:
    """Mean and standard deviation, by a preset's name or as given.

    Parameters
    ----------
    preset : str
        One of `fastvbow.features.models.NORMALISATIONS`, or empty.
    mean, std : float, tuple of three floats or None
        In units of 0 to 255.

    Raises
    ------
    UsageError
        Neither is given, or both are, or only one of `mean` and `std`; or they are no numbers to scale by.
    """
    if preset:
        if mean is not None or std is not None:
            raise UsageError("--normalise and --mean, --std exclude each other: give one of them")
        if preset not in NORMALISATIONS:
            raise UsageError(f"--normalise is one of {', '.join(NORMALISATIONS)}, not {preset}")
        return NORMALISATIONS[preset]
    if mean is None or std is None:
        usual = "; ".join(f"{name}: mean {mean}, std {std}" for name, (mean, std) in NORMALISATIONS.items())
        raise UsageError(
            "a graph does not tell how its input is normalised: give --normalise NAME, or --mean and --std, as the "
            f"model's description has them, in units of 0 to 255. Usual ones are {usual}"
        )
    problem = bad_numbers(mean, std)
    if problem:
        raise UsageError(problem)
    return mean, std


def add_model(
    file: Path,
    *,
    name: str = "",
    preset: str = "",
    mean: Channels | None = None,
    std: Channels | None = None,
    layout: str = "",
    colour: str = "RGB",
    side: int = 0,
    licence: str = "",
    source: str = "",
    pooled: str = "",
    conv: str = "",
    replacing: bool = False,
    check: Callable[[ModelCard], Mapping[str, float]] | None = None,
    listener: Listener = log_events,
) -> Added:
    """Copy a network into the user's models, with the outputs that are read, and try it on the bundled photographs.

    Parameters
    ----------
    file : Path
        An ``.onnx`` file; it is only read.
    name : str, default=""
        Of the model from now on; empty: the file's.
    preset, mean, std : optional
        See `normalisation`.
    layout : {"", "NCHW", "NHWC"}, default=""
        See `inspect_model`.
    colour : {"RGB", "BGR"}, default="RGB"
        The order of the input's channels, and of those of `mean` and `std`.
    side : int, default=0
        See `inspect_model`.
    licence, source : str, default=""
        For the card.
    pooled, conv : str, default=""
        See `inspect_model`.
    replacing : bool, default=False
        Whether a model of that name may go.
    check : callable, optional
        Holds what would be stored against something else: least cosines for the card, or an error.
    listener : Listener, optional

    Raises
    ------
    UsageError
        An argument cannot be used, something was not found in the graph, or the model does not describe photographs.
    MissingExtraError
        The extras ``models`` and ``cpu`` are needed.
    """
    _check_choices(side, layout, colour)
    mean, std = normalisation(preset, mean, std)
    name = name or re.sub(r"[^A-Za-z0-9_.+-]", "_", file.stem).lstrip(".+-")[:100]
    check_name(name, replacing=replacing)
    if name in known_spaces():
        raise UsageError(f"{name} is a space's name already: choose another --name")
    model = load_model(file)
    listener(Event("models", "begin", f"{len(model.graph.node)} nodes of {file}"))
    anatomy = analyse(model, side=side, layout=layout, pooled=pooled, conv=conv)
    made = with_outputs(model, anatomy, batch=anatomy.image.batch)
    card = ModelCard(
        name=name,
        path=file,
        sha256="",
        licence=licence or "not stated",
        source=source or file.name,
        input=anatomy.image.tensor,
        side=anatomy.image.side,
        mean=mean,
        std=std,
        pooled=made.pooled,
        conv=made.conv,
        layout=anatomy.image.layout,
        colour=colour,
    )
    photographs = bundled_photographs(_TRIED)
    with tempfile.TemporaryDirectory(prefix="fastvbow-") as trial:
        tried = store_model(card, made, Path(trial))
        cosines = check(tried) if check else None
        mirrored, others = _try(tried, photographs)
        session = open_session(tried.path, "cpu")
        better = _better_normalisation(session, tried, photographs, others)
        batch = anatomy.image.batch and takes_batches(session, tried, photographs)
    if better:
        told = f"two photographs are {others:.2f} alike to this model, and much less so with --normalise {better}"
        listener(Event("models", "warning", f"{told}: is the normalisation right?"))
    if anatomy.image.batch and not batch:
        listener(Event("models", "note", "its batch axis is open, but it takes one photograph at a time"))
        made = with_outputs(model, anatomy, batch=False)
    stored = store_model(card, made, models_folder(), cosines)
    listener(Event("models", "end", f"{stored.path}"))
    return Added(stored, anatomy, batch, mirrored, others, better)


def bundled_photographs(n: int) -> list[NDArray[np.uint8]]:
    """The first `n` photographs that ship with fastvbow, RGB."""
    return [decode(photograph.read_bytes()) for photograph in photograph_files()[:n]]


def _check_choices(side: int, layout: str, colour: str) -> None:
    if layout and layout not in LAYOUTS:
        raise UsageError(f"--layout is {' or '.join(LAYOUTS)}, not {layout}")
    if colour not in COLOURS:
        raise UsageError(f"--colour is {' or '.join(COLOURS)}, not {colour}")
    if side and not 8 <= side <= 4096:
        raise UsageError(f"--side is from 8 to 4096 pixels, not {side}")


def _try(card: ModelCard, photographs: list[NDArray[np.uint8]]) -> tuple[float, float]:
    """Run a model on photographs and their mirror images; what `Added` tells of their likeness.

    Raises
    ------
    UsageError
        What it gives cannot be a description of photographs.
    """
    extractor = CnnExtractor(card, "cpu")
    vectors = []
    for photograph in [*photographs, *(np.ascontiguousarray(photograph[:, ::-1]) for photograph in photographs)]:
        found = extractor.extract(photograph)
        for part in found.values():
            values = part.descriptors.astype(np.float32)
            if not np.isfinite(values).all():
                raise UsageError("the model gives no numbers (NaN) for a photograph: is the normalisation right?")
            if (np.abs(values) >= np.finfo(np.float16).max).mean() > 0.01:
                raise UsageError(
                    "the model's activations go beyond 65504, the most that is stored: is the normalisation right?"
                )
        if float(np.ptp(found["conv"].descriptors.astype(np.float32))) == 0:
            raise UsageError(f"the map {card.conv.tensor!r} is the same everywhere: name another with --conv")
        vectors.append(found["pooled"].descriptors[0].astype(np.float64))
    rows = np.array(vectors)
    if np.allclose(rows, rows[0]):
        raise UsageError(f"{card.pooled.tensor!r} is the same for every photograph: name another with --pooled")
    n = len(photographs)
    alike = _cosines(rows)
    return float(np.diag(alike[:n, n:]).mean()), _mean_of_two(alike[:n, :n])


def _cosines(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T, dtype=np.float64)


def _mean_of_two(alike: NDArray[np.float64]) -> float:
    return float(alike[~np.eye(len(alike), dtype=bool)].mean())


def _better_normalisation(session: Any, card: ModelCard, photographs: list[NDArray[np.uint8]], others: float) -> str:
    """The preset under which photographs are far less alike than under the card's normalisation; empty if none is.

    Measured on EfficientNet-Lite0, and on it with a scaling before it so that it wanted 0 to 255, 0 to 1 or ImageNet's:
    the right normalisation gave the least mean cosine of all each time (.25), near ones up to .10 more, those that are
    wrong by the factor 255 from .30 to .75 more.
    """
    least, best = others - _FAR, ""
    for name, (mean, std) in NORMALISATIONS.items():
        make = input_maker(replace(card, mean=mean, std=std))
        vectors = [session.run([card.pooled.tensor], {card.input: make(image)})[0].ravel() for image in photographs]
        rows = np.array(vectors, dtype=np.float64)
        found = _mean_of_two(_cosines(rows)) if np.isfinite(rows).all() else 1.0
        if found < least:
            least, best = found, name
    return best
