"""Model cards: a TOML file beside each ``.onnx`` file says what the model wants and what it gives.

The cards of the models that ship with fastvbow stand in its package, a user's own in `models_folder`. A card MUST hold
``name`` (its own file's stem), ``file``, ``sha256``, ``licence``, ``source``, ``[input]``, ``[roles]`` (``pooled`` and
``conv``: which output is which; ``logits``, the class scores, MAY be named) and ``[outputs]`` (the shape of each
without the batch axis); it MAY hold ``[map]``, the layout of the conv output where it is not (channels, rows, columns),
``bytes``, ``source_sha256`` and ``[check]``.
What else it holds is refused. A model's ``.onnx`` file lies beside its card.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.errors import StoreCorruptError, UsageError

__all__ = [
    "COLOURS",
    "LAYOUTS",
    "MAP_LAYOUTS",
    "NORMALISATIONS",
    "Channels",
    "ModelCard",
    "Output",
    "bad_numbers",
    "card_text",
    "find_model",
    "find_scores",
    "known_models",
    "models_folder",
    "read_card",
    "shipped_models",
]

LAYOUTS = ("NCHW", "NHWC")
"""Of the input: n photographs of c channels, h rows and w columns."""
COLOURS = ("RGB", "BGR")
MAP_LAYOUTS = ("CHW", "HWC", "TC")
"""Of the conv output, without the batch axis. TC: t tokens of c channels, those of the map row by row, as vision
transformers have them."""

Channels = float | tuple[float, float, float]
"""A number for all channels of the input, or one for each."""

NORMALISATIONS: dict[str, tuple[Channels, Channels]] = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "half": (127.5, 127.5),
    "tf": (127.0, 128.0),
    "clip": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
    "unit": (0.0, 255.0),
    "none": (0.0, 1.0),
}
"""The usual means and standard deviations: torchvision's and most of timm's, -1 to 1, EfficientNet-Lite's, CLIP's, 0 to
1, and 0 to 255."""


@dataclass(frozen=True)
class Output:
    """One named output of a model.

    Attributes
    ----------
    tensor : str
    channels : int
        Length of a feature.
    layout : {"CHW", "HWC", "TC"}, default="CHW"
        Of a map; means nothing for a vector.
    leading : int, default=0
        Tokens before those of the map, which are dropped: a class token, registers.
    """

    tensor: str
    channels: int
    layout: str = "CHW"
    leading: int = 0


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
        The input tensor, float32: (n, 3, side, side), or (n, side, side, 3) where `layout` is NHWC.
    side : int
        Pixels.
    mean, std : float or tuple of three floats
        The input is (x - mean) / std, x from 0 to 255; three: one for each channel, in the order of `colour`.
    pooled, conv : Output
        The penultimate vector and the antepenultimate map.
    layout : {"NCHW", "NHWC"}, default="NCHW"
    colour : {"RGB", "BGR"}, default="RGB"
        The order of the input's channels.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    source: str
    input: str
    side: int
    mean: Channels
    std: Channels
    pooled: Output
    conv: Output
    layout: str = "NCHW"
    colour: str = "RGB"


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tensor: str
    layout: str
    colour: str
    width: int
    height: int
    mean: Channels
    std: Channels
    resize: str


class _Map(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    layout: str = "CHW"
    leading: int = 0


class _Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    file: str
    sha256: str
    licence: str
    source: str
    input: _Input
    roles: dict[str, str]
    outputs: dict[str, list[int]]
    map: _Map = _Map()
    bytes: int = 0
    source_sha256: str = ""
    check: dict[str, Any] = {}


def models_folder() -> Path:
    """Where a user's own models lie: the environment's FASTVBOW_MODELS, else ``fastvbow/models`` in the user's data."""
    given = os.environ.get("FASTVBOW_MODELS")
    if given:
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path("~/.local/share").expanduser()) / "fastvbow" / "models"


def shipped_models() -> dict[str, Path]:
    """The cards of the models that ship with fastvbow, by name."""
    return _cards(Path(str(files("fastvbow.onnx_models"))))


def known_models() -> dict[str, Path]:
    """The cards of all models, by name: a shipped one stands before a user's own of the same name."""
    return _cards(models_folder()) | shipped_models()


def _cards(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.toml")) if not path.name.startswith(".")}


def find_model(name: str) -> ModelCard:
    """The card of a model that ships with fastvbow or that the user has added.

    Parameters
    ----------
    name : str
        The stem of the card's file name.

    Raises
    ------
    UsageError
        There is no model of that name.
    StoreCorruptError
        See `read_card`.
    """
    known = known_models()
    if name not in known:
        raise UsageError(
            f"there is no model {name!r}; known: {', '.join(sorted(known))}; 'fastvbow models add FILE.onnx' adds one"
        )
    return read_card(known[name])


def find_scores(name: str) -> str | None:
    """The output that holds a model's class scores before the softmax; None where its graph has none any more.

    Parameters
    ----------
    name : str
        See `find_model`.

    Raises
    ------
    UsageError, StoreCorruptError
        See `find_model`.
    """
    find_model(name)  # which tells what is wrong with the card
    return msgspec.toml.decode(known_models()[name].read_bytes(), type=_Card).roles.get("logits")


def read_card(path: Path) -> ModelCard:
    """Read a card.

    Raises
    ------
    StoreCorruptError
        It lacks a field, has one that is not known, or asks for an input or names outputs that cannot be.
    """
    try:
        card = msgspec.toml.decode(path.read_bytes(), type=_Card)
    except OSError as error:
        raise StoreCorruptError(f"cannot read the model card {path}: {error.strerror}") from None
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise StoreCorruptError(f"cannot read the model card {path}: {error}: correct it, or add it again") from None
    wrong = _faults(path, card)
    if wrong:
        raise StoreCorruptError(f"the model card {path} cannot be used: {wrong}: correct it, or add the model again")
    given, shapes = card.input, {role: card.outputs[card.roles[role]] for role in ("pooled", "conv")}
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
        pooled=Output(card.roles["pooled"], math.prod(shapes["pooled"])),
        conv=Output(
            card.roles["conv"],
            shapes["conv"][card.map.layout.index("C")],
            card.map.layout,
            card.map.leading,
        ),
        layout=given.layout,
        colour=given.colour,
    )


def _faults(path: Path, card: _Card) -> str:
    """What is wrong with a card's values, the first of it; nothing if all is well."""
    given = card.input
    if card.name != path.stem:
        return f"it names the model {card.name!r}, its own name is {path.name}"
    if Path(card.file).name != card.file or not card.file:
        return f"its file is the name of one beside it, not {card.file!r}"
    if given.layout not in LAYOUTS:
        return f"the input's layout is {' or '.join(LAYOUTS)}, not {given.layout!r}"
    if given.colour not in COLOURS:
        return f"the input's colour is {' or '.join(COLOURS)}, not {given.colour!r}"
    if given.resize != "squash":
        return f"the input's resize is squash (the whole photograph as a square), not {given.resize!r}"
    if given.width != given.height or not 8 <= given.width <= 4096:
        return f"the input is a square of 8 to 4096 pixels a side, not {given.width} x {given.height}"
    problem = bad_numbers(given.mean, given.std)
    if problem:
        return problem
    for role in ("pooled", "conv"):
        tensor = card.roles.get(role)
        if tensor not in card.outputs:
            return f"[roles] has to name the output that is {role}, one of {', '.join(card.outputs) or 'none'}"
        if any(length < 1 for length in card.outputs[tensor]):
            return f"the output {tensor!r} cannot have the shape {card.outputs[tensor]}"
    return _bad_pooled(card.outputs[card.roles["pooled"]]) or _bad_map(card.map, card.outputs[card.roles["conv"]])


def bad_numbers(mean: Channels, std: Channels) -> str:
    """What is wrong with a mean and a standard deviation; nothing if all is well."""
    means, stds = ((value,) if isinstance(value, float | int) else value for value in (mean, std))
    if not all(math.isfinite(value) for value in means):
        return f"the input's mean is a number or three, in units of 0 to 255, not {mean}"
    if not all(math.isfinite(value) and value > 0 for value in stds):
        return f"the input's std is a number above 0 or three, in units of 0 to 255, not {std}"
    return ""


def _bad_pooled(shape: list[int]) -> str:
    if sum(length > 1 for length in shape) > 1 or not shape:
        return f"the pooled output is one vector for a photograph, not of shape {shape}"
    return ""


def _bad_map(layout: _Map, shape: list[int]) -> str:
    if layout.layout not in MAP_LAYOUTS:
        return f"the map's layout is {', '.join(MAP_LAYOUTS)}, not {layout.layout!r}"
    if len(shape) != len(layout.layout):
        return f"a map of layout {layout.layout} has {len(layout.layout)} axes beside the batch's, not {shape}"
    if layout.layout != "TC":
        return "" if layout.leading == 0 else "only a map of tokens (layout TC) has leading ones"
    cells = shape[0] - layout.leading
    if layout.leading < 0 or cells < 1 or math.isqrt(cells) ** 2 != cells:
        return f"{shape[0]} tokens less {layout.leading} leading ones are no square grid"
    return ""


def card_text(
    card: ModelCard, shapes: dict[str, tuple[int, ...]], size: int, check: Mapping[str, float] | None = None
) -> str:
    """A card as TOML, which `read_card` reads.

    Parameters
    ----------
    card : ModelCard
    shapes : dict of str to tuple of int
        Of the outputs, without the batch axis.
    size : int
        Bytes of the ``.onnx`` file.
    check : mapping of str to float, optional
        Least cosines of what the model was held against.
    """
    lines = [
        "# Written by 'fastvbow models add'.",
        f"name = {_quoted(card.name)}",
        f"file = {_quoted(card.path.name)}",
        f"sha256 = {_quoted(card.sha256)}",
        f"bytes = {size}",
        f"licence = {_quoted(card.licence)}",
        f"source = {_quoted(card.source)}",
        "",
        "# The whole photograph is squashed to the square; then (x - mean) / std, x from 0 to 255.",
        "[input]",
        f"tensor = {_quoted(card.input)}",
        f"layout = {_quoted(card.layout)}",
        f"colour = {_quoted(card.colour)}",
        f"width = {card.side}",
        f"height = {card.side}",
        f"mean = {_numbers(card.mean)}",
        f"std = {_numbers(card.std)}",
        'resize = "squash"',
        "",
        "# What an output is used for = its name.",
        "[roles]",
        f"pooled = {_quoted(card.pooled.tensor)}",
        f"conv = {_quoted(card.conv.tensor)}",
        "",
        "# The conv output's axes; the leading tokens are no part of the map.",
        "[map]",
        f"layout = {_quoted(card.conv.layout)}",
        f"leading = {card.conv.leading}",
        "",
        "# Every output and its shape without the batch axis.",
        "[outputs]",
        *(f"{_quoted(tensor)} = {list(shape)}" for tensor, shape in shapes.items()),
    ]
    if check:
        lines += ["", "# The export against its source: the least cosine over the photographs tried, rounded down."]
        lines += ["[check.cosine]", *(f"{role} = {math.floor(value * 1e6) / 1e6}" for role, value in check.items())]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _numbers(value: Channels) -> str:
    return str([float(part) for part in value]) if isinstance(value, tuple) else str(float(value))
