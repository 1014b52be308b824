"""A photograph as a model's input, a model's outputs as features, and whether a model is what its card says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError
from fastvbow.features.models import ModelCard

__all__ = ["check_outputs", "check_session", "input_maker", "input_shape", "map_rows"]

FLOATS = ("tensor(float)", "tensor(float16)")


def input_shape(card: ModelCard, n: int) -> tuple[int, int, int, int]:
    """The shape of `n` photographs as the model's input."""
    return (n, 3, card.side, card.side) if card.layout == "NCHW" else (n, card.side, card.side, 3)


def input_maker(card: ModelCard) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What makes the model's input, float32 of shape ``input_shape(card, 1)``, of RGB pixels (height, width, 3): the
    whole photograph squashed to the square, so that cells keep their places."""
    side, mean, std = card.side, card.mean, card.std
    if card.layout == "NCHW" and card.colour == "RGB" and not isinstance(mean, tuple) and not isinstance(std, tuple):

        def make_evenly(image: NDArray[np.uint8]) -> NDArray[np.float32]:
            small = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
            return cv2.dnn.blobFromImage(small, 1.0 / std, mean=(mean,) * 3)

        return make_evenly

    means = np.broadcast_to(np.asarray(card.mean, np.float32), 3)
    factors = np.broadcast_to(1.0 / np.asarray(card.std, np.float64), 3).astype(np.float32)
    order = slice(None, None, -1) if card.colour == "BGR" else slice(None)
    channels_first = card.layout == "NCHW"

    def make(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        scaled = np.subtract(small[:, :, order], means, dtype=np.float32)
        scaled *= factors
        return np.ascontiguousarray(scaled.transpose(2, 0, 1) if channels_first else scaled)[None]

    return make


def map_rows(one: NDArray[Any], layout: str, leading: int) -> tuple[NDArray[Any], int, int]:
    """One photograph's map as features.

    Parameters
    ----------
    one : ndarray
        The conv output without the batch axis.
    layout : {"CHW", "HWC", "TC"}
    leading : int
        Tokens that are dropped.

    Returns
    -------
    rows : ndarray of shape (h * w, channels)
        C-contiguous, row by row of the map.
    h, w : int
    """
    if layout == "CHW":
        channels, height, width = one.shape
        return np.ascontiguousarray(one.reshape(channels, -1).T), height, width
    if layout == "HWC":
        height, width, channels = one.shape
        return np.ascontiguousarray(one).reshape(-1, channels), height, width
    tokens = np.ascontiguousarray(one[leading:])
    side = math.isqrt(len(tokens))
    return tokens, side, side


def check_session(session: Any, card: ModelCard) -> bool:
    """Hold a model's inputs and outputs against its card.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    card : ModelCard

    Returns
    -------
    bool
        Whether the model declares all shapes; what it leaves open shows when it runs, see `check_outputs`.

    Raises
    ------
    StoreCorruptError
        They are not what the card says.
    """
    inputs = {given.name: given for given in session.get_inputs()}
    outputs = {given.name: given for given in session.get_outputs()}
    if list(inputs) != [card.input]:
        raise _differs(card, f"the only input is {card.input!r}", f"the inputs {', '.join(map(repr, inputs))}")
    for role, name in (("pooled", card.pooled.tensor), ("conv", card.conv.tensor)):
        if name not in outputs:
            raise _differs(card, f"the output {role} is {name!r}", f"the outputs {', '.join(map(repr, outputs))}")
        if outputs[name].type not in FLOATS:
            raise _differs(card, f"the output {name!r} is a float tensor", f"a {outputs[name].type} there")
    image = inputs[card.input]
    if image.type != "tensor(float)":
        raise _differs(card, f"the input {card.input!r} takes float32", f"a {image.type} there")
    wanted = input_shape(card, 1)
    if len(image.shape) != 4 or not all(map(_may_be, image.shape, wanted)):
        shape = ", ".join(map(str, wanted[1:]))
        raise _differs(card, f"the input is {card.layout}, (n, {shape})", f"an input of shape {_told(image.shape)}")
    shapes = [outputs[output.tensor].shape for output in (card.conv, card.pooled)]
    known = [all(isinstance(length, int) for length in shape[1:]) and len(shape) > 1 for shape in shapes]
    if all(known):
        check_outputs(card, *([1, *shape[1:]] for shape in shapes))
    return all(known) and all(isinstance(length, int) for length in image.shape[1:])


def check_outputs(card: ModelCard, conv: Sequence[int], pooled: Sequence[int]) -> None:
    """Hold the shapes of a photograph's outputs, with the batch axis, against the card.

    Raises
    ------
    StoreCorruptError
        They are not what the card says.
    """
    if math.prod(pooled) != card.pooled.channels:
        wanted = f"the output {card.pooled.tensor!r} has {card.pooled.channels} channels"
        raise _differs(card, wanted, f"one of shape {_told(pooled)}")
    layout, n_axes = card.conv.layout, len(card.conv.layout) + 1
    fits = len(conv) == n_axes and conv[0] == 1 and conv[1 + layout.index("C")] == card.conv.channels
    if fits and layout == "TC":
        cells = conv[1] - card.conv.leading
        fits = cells > 0 and math.isqrt(cells) ** 2 == cells
    if not fits:
        what = f"{card.conv.channels} channels in the layout {layout}"
        grid = f" and, after {card.conv.leading} tokens, a square grid" if layout == "TC" else ""
        raise _differs(
            card, f"the output {card.conv.tensor!r} has {what}{grid}", f"one of shape {_told(conv)} for one photograph"
        )


def _may_be(given: Any, wanted: int) -> bool:
    return not isinstance(given, int) or given == wanted


def _told(shape: Sequence[Any]) -> str:
    return f"({', '.join(str(length) if length is not None else '?' for length in shape)})"


def _differs(card: ModelCard, wanted: str, found: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"the card of the model {card.name} says that {wanted}; {card.path} has {found}: correct the card, or add the "
        "model again with 'fastvbow models add --replace'"
    )
