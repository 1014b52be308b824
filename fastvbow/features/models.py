"""Model cards: a TOML file beside each ``.onnx`` file says what the model wants and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.errors import StoreCorruptError, UsageError

__all__ = ["ModelCard", "Output", "find_model", "read_card"]


@dataclass(frozen=True)
class Output:
    """One named output of a model: its tensor and the number of its channels."""

    tensor: str
    channels: int


@dataclass(frozen=True)
class ModelCard:
    """What the extractor needs to know of a model.

    Attributes
    ----------
    name : str
    path : Path
        The ``.onnx`` file.
    sha256 : str
    licence, source : str
    input : str
        The input tensor, (1, 3, side, side) float32 RGB.
    side : int
        Pixels.
    mean, std : float
        The input is (x - mean) / std, x from 0 to 255.
    pooled, conv : Output
        The penultimate vector and the antepenultimate map.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    source: str
    input: str
    side: int
    mean: float
    std: float
    pooled: Output
    conv: Output


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tensor: str
    layout: str
    colour: str
    width: int
    height: int
    mean: float
    std: float
    resize: str


class _Card(msgspec.Struct, frozen=True):
    name: str
    file: str
    sha256: str
    licence: str
    source: str
    input: _Input
    roles: dict[str, str]
    outputs: dict[str, list[int]]
    check: dict[str, Any] = {}


def find_model(name: str) -> ModelCard:
    """The card of a model that ships with fastvbow.

    Raises
    ------
    UsageError
        There is no model of that name.
    """
    folder = Path(str(files("fastvbow.onnx_models")))
    known = {path.stem: path for path in folder.glob("*.toml")}
    if name not in known:
        raise UsageError(f"there is no model {name!r}; known: {', '.join(sorted(known))}")
    return read_card(known[name])


def read_card(path: Path) -> ModelCard:
    """Read a card.

    Raises
    ------
    StoreCorruptError
        It lacks a field, or asks for an input that the extractor does not make.
    """
    try:
        card = msgspec.toml.decode(path.read_bytes(), type=_Card)
        given = card.input
        if (given.layout, given.colour, given.resize) != ("NCHW", "RGB", "squash") or given.width != given.height:
            raise StoreCorruptError(f"{path}: the input has to be square NCHW RGB, squashed, not {given}")
        outputs = {role: Output(card.roles[role], card.outputs[card.roles[role]][0]) for role in ("pooled", "conv")}
    except (OSError, KeyError, IndexError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise StoreCorruptError(f"cannot read the model card {path}: {error!r}") from None
    return ModelCard(
        name=card.name,
        path=path.with_name(card.file),
        sha256=card.sha256,
        licence=card.licence,
        source=card.source,
        input=given.tensor,
        side=given.width,
        mean=given.mean,
        std=given.std,
        **outputs,
    )
