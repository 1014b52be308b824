"""Photographs through an ONNX network that gives one vector for each: CLIP's image encoder, or a classifier's scores.

A photograph becomes the network's input as its authors prepared theirs: ``crop`` shrinks the shorter side to the
network's and takes the square in the middle, ``squash`` makes a square of the whole. ``bicubic`` and ``bilinear``
filter as Pillow does, over all pixels that fall into one; ``linear`` is OpenCV's, between the four nearest pixels, by
which the CNNs of `fastvbow.features.cnn` are fed.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.features.models import COLOURS, LAYOUTS, Channels, bad_numbers

__all__ = [
    "FILTERS",
    "IMAGE_POOLINGS",
    "RESIZES",
    "ImageEncoder",
    "ImageEncoderCard",
    "describe_image_encoder",
    "prepared_square",
]

RESIZES = ("crop", "squash")
FILTERS = ("bicubic", "bilinear", "linear")
IMAGE_POOLINGS = ("none", "cls", "mean")
"""How the patches' vectors become one: the output has one already, the first one's, their mean."""

_VECTORS = ("image_embeds", "image_features", "image_embedding", "image_embeddings", "logits")
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


@dataclass(frozen=True)
class ImageEncoderCard:
    """What an image encoder is, and how it wants its input.

    Attributes
    ----------
    sha256 : str
        Hex, of the ``.onnx`` file.
    input : str
    dtype : {"float32", "float16"}
        Of the input.
    layout : {"NCHW", "NHWC"}
    colour : {"RGB", "BGR"}
    side : int
        Pixels.
    batch : int or None
        The number of photographs that the network always takes at once, if it takes no other.
    mean, std : float or tuple of three floats
        The input is (x - mean) / std, x from 0 to 255.
    resize : {"crop", "squash"}
    filter : {"bicubic", "bilinear", "linear"}
        See the module.
    output : str
    pooling : {"none", "cls", "mean"}
        See `IMAGE_POOLINGS`.
    """

    sha256: str
    input: str
    dtype: str
    layout: str
    colour: str
    side: int
    batch: int | None
    mean: Channels
    std: Channels
    resize: str
    filter: str
    output: str
    pooling: str

    @property
    def faults(self) -> str:
        """What is wrong with the values, the first of it; nothing if all is well."""
        given = {
            "layout": (self.layout, LAYOUTS),
            "colour": (self.colour, COLOURS),
            "resize": (self.resize, RESIZES),
            "filter": (self.filter, FILTERS),
            "pooling": (self.pooling, IMAGE_POOLINGS),
            "dtype": (self.dtype, tuple(_TYPES.values())),
        }
        for name, (value, known) in given.items():
            if value not in known:
                return f"the {name} of the image encoder is one of {', '.join(known)}, not {value!r}"
        if not 8 <= self.side <= 4096:
            return f"the image encoder's side is 8 to 4096 pixels, not {self.side}"
        return bad_numbers(self.mean, self.std)


def describe_image_encoder(
    session: Any,
    model: Path,
    *,
    mean: Channels,
    std: Channels,
    resize: str = "crop",
    filter: str = "bicubic",
    colour: str = "RGB",
    side: int = 0,
    output: str | None = None,
    pooling: str | None = None,
) -> ImageEncoderCard:
    """Find out how an image encoder is used.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of the model.
    model : Path
        The ``.onnx`` file.
    mean, std : float or tuple of three floats
        See `ImageEncoderCard`: a graph does not tell.
    resize : {"crop", "squash"}, default="crop"
    filter : {"bicubic", "bilinear", "linear"}, default="bicubic"
    colour : {"RGB", "BGR"}, default="RGB"
    side : int, default=0
        Pixels, where the graph leaves them open; 0: 224.
    output : str, optional
        By default one that is named like a vector of a photograph (image_embeds, image_features, ...), else the only
        one. ``pooler_output`` is never taken by itself: of SigLIP it is the embedding, of CLIP it is not.
    pooling : {"none", "cls", "mean"}, optional
        By default "none" for outputs of shape (photographs, width). Others do not say, and it has to be given.

    Raises
    ------
    UsageError
        The model does not take one photograph, does not run on it, or something has to be given.
    """
    image, dims = _image_input(session, model)
    layout = "NHWC" if dims[3] == 3 and dims[1] != 3 else "NCHW"
    if dims[1 if layout == "NCHW" else 3] not in (3, None):
        raise UsageError(f"the input {image.name} of {model} has shape {image.shape}: it does not take three colours")
    sides = {dims[axis] for axis in ((2, 3) if layout == "NCHW" else (1, 2))} - {None}
    fixed = next(iter(sides), 0)
    if len(sides) > 1 or (side and fixed and side != fixed):
        wanted = f", not --side {side}" if side and len(sides) == 1 else ": it has to be a square"
        raise UsageError(f"the input {image.name} of {model} has shape {image.shape}{wanted}")
    outputs = {found.name: found for found in session.get_outputs()}
    if output is None:
        output = next((name for name in _VECTORS if name in outputs), None)
        output = output or (next(iter(outputs)) if len(outputs) == 1 else None)
    if output is None or output not in outputs:
        raise UsageError(
            f"{model} has the outputs {', '.join(outputs)}: say by --image-output which one holds the photographs' "
            "vectors (of SigLIP pooler_output does; of CLIP export the model with its projection)"
        )
    card = ImageEncoderCard(
        _sha256(model),
        image.name,
        _TYPES[image.type],
        layout,
        colour,
        int(fixed or side or 224),
        dims[0],
        mean,
        std,
        resize,
        filter,
        output,
        "none" if pooling is None else pooling,
    )
    if card.faults:
        raise UsageError(card.faults)
    rank = _tried(session, model, card).ndim
    if rank != (2 if card.pooling == "none" else 3):
        raise UsageError(
            f"the output {output} of {model} has {rank} axes: say by --image-pooling how it becomes one vector a "
            f"photograph (none for 2 axes, {' or '.join(IMAGE_POOLINGS[1:])} for 3), not {card.pooling}; or name "
            "another by --image-output"
        )
    return card


def _image_input(session: Any, model: Path) -> tuple[Any, list[int | None]]:
    inputs = list(session.get_inputs())
    if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4:
        shown = ", ".join(f"{found.name} ({found.type}, {found.shape})" for found in inputs)
        raise UsageError(
            f"{model} has the inputs {shown}; an image encoder has one, of shape (n, 3, side, side) and type float32 "
            "or float16: export the image part alone"
        )
    return inputs[0], [axis if isinstance(axis, int) and axis > 0 else None for axis in inputs[0].shape]


def _tried(session: Any, model: Path, card: ImageEncoderCard) -> NDArray[Any]:
    """What a grey square gives."""
    square = np.full((card.side, card.side, 3), 127, np.uint8)
    try:
        return np.asarray(session.run([card.output], {card.input: _input(card, square)})[0])
    except Exception as error:  # ONNX Runtime's own kinds share no better base
        raise UsageError(
            f"{model} does not run on {card.side} x {card.side} pixels: {error}: give --side if the network wants "
            "another one, or export it anew"
        ) from None


class ImageEncoder:
    """Vectors of photographs, one at a time: nothing of one depends on another.

    Parameters
    ----------
    card : ImageEncoderCard
    session : onnxruntime.InferenceSession
        Of the model that the card tells of; ONNX Runtime's may be used from several threads.

    Raises
    ------
    StoreCorruptError
        The session has another input than the card says.
    """

    def __init__(self, card: ImageEncoderCard, session: Any) -> None:
        names = [found.name for found in session.get_inputs()]
        outputs = [found.name for found in session.get_outputs()]
        if names != [card.input] or card.output not in outputs:
            raise StoreCorruptError(
                f"the card of an image encoder names the input {card.input} and the output {card.output}, the network "
                f"has {', '.join(names)} and {', '.join(outputs)}: add it again"
            )
        self.card = card
        self._session = session

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The vector of a photograph, as the network gives it: ndarray of shape (width,), float32.

        Parameters
        ----------
        pixels : ndarray of shape (height, width, 3), uint8
            RGB.

        Raises
        ------
        UsageError
            `pixels` are no such photograph, or the network gives NaN or infinity for it.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise UsageError(
                f"a photograph is uint8 of shape (height, width, 3), in RGB, not {pixels.dtype} {pixels.shape}"
            )
        square = prepared_square(pixels, self.card.side, self.card.resize, self.card.filter)
        found = self._session.run([self.card.output], {self.card.input: _input(self.card, square)})[0]
        row = np.asarray(found[0], np.float32)
        if self.card.pooling == "cls":
            row = row[0]
        elif self.card.pooling == "mean":
            row = row.mean(axis=0)
        if not np.isfinite(row).all():
            raise UsageError("the image encoder gives NaN or infinity for a photograph: is the normalisation right?")
        return np.ascontiguousarray(row)


def _input(card: ImageEncoderCard, square: NDArray[np.uint8]) -> NDArray[Any]:
    means = np.broadcast_to(np.asarray(card.mean, np.float32), 3)
    factors = np.broadcast_to(1.0 / np.asarray(card.std, np.float64), 3).astype(np.float32)
    order = slice(None, None, -1) if card.colour == "BGR" else slice(None)
    scaled = np.subtract(square[:, :, order], means, dtype=np.float32)
    scaled *= factors
    one = np.ascontiguousarray(scaled.transpose(2, 0, 1) if card.layout == "NCHW" else scaled)[None]
    return np.repeat(one.astype(card.dtype, copy=False), card.batch or 1, axis=0)  # a fixed batch is filled up


def prepared_square(pixels: NDArray[np.uint8], side: int, resize: str, filter: str) -> NDArray[np.uint8]:
    """A photograph as a square.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, channels), uint8
    side : int
        Pixels.
    resize : {"crop", "squash"}
    filter : {"bicubic", "bilinear", "linear"}
        See the module.

    Returns
    -------
    ndarray of shape (side, side, channels), uint8
        Of ``bicubic`` and ``bilinear`` what Pillow gives, but for single levels where it rounds otherwise.
    """
    height, width = pixels.shape[:2]
    high = wide = side
    if resize == "crop":  # torchvision's roundings, which open_clip has too
        high, wide = (side, side * width // height) if height <= width else (side * height // width, side)
    top, left = round((high - side) / 2), round((wide - side) / 2)
    if filter == "linear":
        small = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(small[top : top + side, left : left + side])
    columns = _resample(pixels.transpose(1, 0, 2), wide, left, side, filter)  # (side, height, channels)
    return _resample(columns.transpose(1, 0, 2), high, top, side, filter)


def _resample(pixels: NDArray[np.uint8], length: int, start: int, side: int, filter: str) -> NDArray[np.uint8]:
    """The first axis at another length, of which `side` rows from `start` on are made."""
    if len(pixels) == length:
        return np.ascontiguousarray(pixels[start : start + side])
    weights = _weights(len(pixels), length, start, side, filter)
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).astype(np.float32)
    found = np.clip(np.floor(weights @ rows + 0.5), 0, 255).astype(np.uint8)
    return found.reshape(side, *pixels.shape[1:])


@lru_cache(maxsize=256)  # photographs of one camera are of few sizes
def _weights(before: int, after: int, start: int, side: int, filter: str) -> sp.csr_matrix:
    """What each new pixel takes of the old ones: the filter, stretched where pictures shrink, at their distance."""
    scale = before / after
    stretch = max(scale, 1.0)
    reach = (2.0 if filter == "bicubic" else 1.0) * stretch
    values: list[NDArray[np.float64]] = []
    columns: list[NDArray[np.int64]] = []
    for place in range(start, start + side):
        centre = (place + 0.5) * scale
        first, stop = max(0, math.floor(centre - reach + 0.5)), min(before, math.floor(centre + reach + 0.5))
        at = np.arange(first, stop)
        x = np.abs((at - centre + 0.5) / stretch)
        if filter == "bicubic":  # Keys, a = -1/2
            near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
            weight = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        else:
            weight = np.maximum(0.0, 1 - x)
        values.append(weight / weight.sum())
        columns.append(at)
    ends = np.cumsum([0, *map(len, columns)])
    matrix = (np.concatenate(values).astype(np.float32), np.concatenate(columns), ends)
    return sp.csr_matrix(matrix, shape=(side, before))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
