"""Where an unknown network keeps what fastvbow wants of it: a vector for the photograph, and a map of places.

The rules, in their order:

1. *The end* is the output that most of the network stands behind. From it one goes back over what only reshapes or
   scales (softmax, bias, normalisation to unit length). Is a fully connected layer there (``Gemm``, ``MatMul`` by a
   constant, a convolution of a 1 x 1 map), then it makes the class scores, and *its input is the pooled vector*. Else
   the network is an encoder, and its output is the vector; where that is a map or a row of tokens, the mean over its
   places or its first token is.
2. *The last map* is the last tensor of the trunk (see `fastvbow.features.graphs`) before the pooled vector that is a
   square map of more than one cell, or a row of tokens that is a square after at most `MOST_LEADING` leading ones. In a
   convolutional network that is what goes into the global pooling, in a vision transformer the last block's output
   after the final norm.
3. *The one before* is the nearest earlier tensor of the trunk of the same kind with a layer that has weights between
   the two: the input of the last convolution or the end of the block before. Where there is one of the same size with
   an attention between, it is that: the end of the block before, not the middle of the last one. Tokens have the same
   shape as the last ones.

A convolutional network's map is by default the one before, if it has one: what is nearest to the classes knows less of
the picture (measured: words of EfficientNet-Lite0's map before the last gave better groups than the last one's). A
transformer's is the last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastvbow.errors import UsageError
from fastvbow.features.graphs import Graph, ImageInput, find_image_input

__all__ = ["Anatomy", "Place", "analyse"]

MOST_LEADING = 16
"""Tokens before those of the map: a class token, a distillation token, registers."""
MOST_CELLS = 2500
"""Places of a map: 50 x 50. With more, a photograph would have many times more of these features than of SIFT's."""
_LISTED = 12

_DENSE = {
    *("Gemm", "MatMul", "QGemm", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul"),
    *("FusedGemm", "FusedMatMul", "MatMulNBits"),
}
_WEIGHTED = _DENSE | {"Conv", "FusedConv", "QLinearConv", "ConvInteger", "Attention", "MultiHeadAttention"}
_ATTENTION = {"Softmax", "Attention", "MultiHeadAttention", "QAttention"}
_TAIL = {
    *("Add", "ArgMax", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Flatten", "Identity", "LogSoftmax"),
    *("LpNormalization", "Mul", "QuantizeLinear", "Relu", "Reshape", "Sigmoid", "Softmax", "Squeeze", "Sub", "Tanh"),
    *("TopK", "Unsqueeze"),
}
_BY_CHANNEL = {"LayerNormalization", "MatMul", "Gemm"}


@dataclass(frozen=True)
class Place:
    """A tensor that can be an output.

    Attributes
    ----------
    tensor : str
    shape : tuple of int
        Without the batch axis.
    layout : {"C", "CHW", "HWC", "TC"}
        C: a vector, which may have axes of length 1 beside its own.
    leading : int, default=0
        Tokens before those of the map.
    """

    tensor: str
    shape: tuple[int, ...]
    layout: str
    leading: int = 0

    @property
    def channels(self) -> int:
        """Length of a feature."""
        return math.prod(self.shape) if self.layout == "C" else self.shape[self.layout.index("C")]

    @property
    def cells(self) -> int:
        """Places of the map."""
        return math.prod(self.shape) // self.channels - self.leading


@dataclass(frozen=True)
class Anatomy:
    """What `analyse` found.

    Attributes
    ----------
    image : ImageInput
    scores : str
        The tensor of the class scores; empty for an encoder.
    pooled : Place
        The vector; a map or tokens where an encoder ends in them.
    maps : tuple of Place
        The last map and, if there is one, the one before.
    conv : Place
        The map to take, one of `maps` or the one asked for.
    """

    image: ImageInput
    scores: str
    pooled: Place
    maps: tuple[Place, ...]
    conv: Place


def analyse(model: Any, *, side: int = 0, layout: str = "", pooled: str = "", conv: str = "") -> Anatomy:
    """Find the vector and the map in a network.

    Parameters
    ----------
    model : onnx.ModelProto
        See `fastvbow.features.graphs.load_model`.
    side, layout : int, str, optional
        See `fastvbow.features.graphs.find_image_input`.
    pooled, conv : str, default=""
        Tensors to take for them.

    Raises
    ------
    UsageError
        Something was not found; the message lists the tensors that may be it.
    """
    graph = Graph(model, find_image_input(model, side=side, layout=layout))
    end = _end(graph)
    scores, target = _classifier(graph, end)
    trunk = graph.trunk(end)
    if pooled:
        target = _named(graph, pooled, "--pooled", trunk)
    trunk_of_target = graph.trunk(target)
    graph.learn([*trunk_of_target, target])
    vector = _vector_at(graph, target, trunk_of_target)
    if vector is None:
        raise _unfound(
            graph, f"{target!r} of shape {graph.shape(target)} is no vector of a photograph", "pooled", trunk
        )
    maps = _maps(graph, trunk_of_target, vector)
    if conv:
        graph.learn([_named(graph, conv, "--conv", trunk)])
        chosen = _map_at(graph, conv, vector.channels, _grid(graph, trunk_of_target))
        if chosen is None:
            what = f"{conv!r} of shape {graph.shape(conv)} is no square map of 2 to {MOST_CELLS} cells"
            raise _unfound(graph, what, "conv", trunk)
    elif not maps:
        raise _unfound(graph, "no square map of places lies before the pooled vector", "conv", trunk)
    else:
        chosen = maps[0] if maps[0].layout == "TC" else maps[-1]
    return Anatomy(graph.image, "" if pooled else scores, vector, tuple(maps), chosen)


def _end(graph: Graph) -> str:
    """The output that most of the network stands behind."""
    reached = [name for name in graph.outputs if name in graph.moving]
    if not reached:
        raise UsageError(f"no output depends on the input {graph.image.tensor!r}: {', '.join(graph.outputs)}")
    return max(reached, key=lambda name: len(graph.ancestors(name)))


def _classifier(graph: Graph, end: str) -> tuple[str, str]:
    """The class scores and the vector that they are made of; nothing and the end, if the end is no classifier's."""
    tensor = end
    while (node := graph.node_of(tensor)) is not None:
        moving = [name for name in node.input if name in graph.moving]
        if len(moving) == 1 and _is_dense(graph, node):
            return node.output[0], _as_float(graph, moving[0])
        if node.op_type not in _TAIL or not moving:
            break
        tensor = moving[0]
    return "", _as_float(graph, end)


def _is_dense(graph: Graph, node: Any) -> bool:
    """Whether a node is a fully connected layer on a vector."""
    if node.op_type in _DENSE:
        graph.learn([node.output[0]])
        return len(graph.shape(node.output[0])) == 2
    if node.op_type in ("Conv", "QLinearConv", "FusedConv"):
        graph.learn([node.output[0], node.input[0]])
        return all(graph.shape(name)[2:] == (1, 1) for name in (node.output[0], node.input[0]))
    return False


def _as_float(graph: Graph, tensor: str) -> str:
    """The nearest earlier tensor of floating-point numbers."""
    graph.learn([tensor])
    while not graph.is_float(tensor) and (node := graph.node_of(tensor)) is not None:
        tensor = next(name for name in node.input if name in graph.moving)
        graph.learn([tensor])
    return tensor


def _named(graph: Graph, tensor: str, option: str, trunk: Sequence[str]) -> str:
    """A tensor that the user names."""
    if tensor not in graph.maker or tensor not in graph.moving:
        raise _unfound(
            graph, f"{option}: the graph makes no tensor {tensor!r} of the picture", option.removeprefix("--"), trunk
        )
    return tensor


def _vector_at(graph: Graph, tensor: str, trunk: Sequence[str]) -> Place | None:
    shape = graph.shape(tensor)
    if not graph.is_float(tensor) or len(shape) < 2 or shape[0] != 1:
        return None
    if sum(length > 1 for length in shape[1:]) <= 1:
        return Place(tensor, shape[1:], "C")
    place = _map_at(graph, tensor, 0, _grid(graph, trunk))
    if place is None or place.layout != "TC":
        return place
    # boxes and sequences are (n, t, c) too: tokens of a photograph come out of blocks that keep their shape
    alike = [name for name in trunk[:-1] if graph.shape(name) == shape]
    return place if any(graph.between(name, tensor) & _WEIGHTED for name in alike) else None


def _grid(graph: Graph, trunk: Sequence[str]) -> int:
    """The side of the last square map on the trunk, of which a transformer's tokens are made; 0 if there is none."""
    sides = [graph.shape(name)[2:] for name in trunk[1:] if len(graph.shape(name)) == 4]
    return next((height for height, width in reversed(sides) if height == width > 1), 0)


def _map_at(graph: Graph, tensor: str, channels: int, grid: int) -> Place | None:
    """A tensor as a map; `channels` of the pooled vector and the `grid` of the patches tell axes apart."""
    shape = graph.shape(tensor)
    if not graph.is_float(tensor) or len(shape) not in (3, 4) or shape[0] != 1:
        return None
    place = _square_at(graph, tensor, shape) if len(shape) == 4 else _tokens_at(tensor, shape, channels, grid)
    return place if place is not None and 4 <= place.cells <= MOST_CELLS else None


def _square_at(graph: Graph, tensor: str, shape: tuple[int, ...]) -> Place | None:
    _, first, middle, last = shape
    channels_first, channels_last = middle == last > 1, first == middle > 1
    if channels_first and channels_last:  # a cube: by what is done with it
        users = {node.op_type for node in graph.nodes if tensor in node.input}
        channels_first = users.isdisjoint(_BY_CHANNEL)
    if channels_first:
        return Place(tensor, shape[1:], "CHW")
    return Place(tensor, shape[1:], "HWC") if channels_last else None


def _tokens_at(tensor: str, shape: tuple[int, ...], channels: int, grid: int) -> Place | None:
    _, tokens, length = shape
    if tokens < 2 or length < 2 or (channels and tokens == channels != length):
        return None
    side = grid if 0 <= tokens - grid**2 <= MOST_LEADING else math.isqrt(tokens)
    leading = tokens - side**2
    return Place(tensor, shape[1:], "TC", leading) if leading <= MOST_LEADING else None


def _maps(graph: Graph, trunk: Sequence[str], vector: Place) -> list[Place]:
    """The last map and the one before, as far as there are such."""
    grid = _grid(graph, trunk)
    found = [_map_at(graph, name, vector.channels, grid) for name in reversed(trunk[1:])]
    places = [place for place in found if place is not None]
    if not places:
        return []
    last = places[0]
    nearest = None
    for place in places[1:]:
        between = graph.between(place.tensor, last.tensor)
        if not between & _WEIGHTED or (last.layout == "TC") != (place.layout == "TC"):
            continue
        alike = (place.cells, place.channels, place.leading) == (last.cells, last.channels, last.leading)
        if alike and between & _ATTENTION:
            return [last, place]
        if nearest is None and (alike or last.layout != "TC"):
            nearest = place
    return [last] if nearest is None else [last, nearest]


def _unfound(graph: Graph, what: str, option: str, trunk: Sequence[str]) -> UsageError:
    graph.learn(trunk)
    known = [f"{name} {graph.shape(name)}" for name in trunk[1:] if graph.is_float(name)]
    return UsageError(
        f"{what}: name the right tensor with --{option} TENSOR; those that all of the picture passes through, the last "
        f"first: {', '.join(known[::-1][:_LISTED]) or 'none'}"
    )
