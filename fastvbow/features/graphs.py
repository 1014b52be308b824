"""An ONNX graph as something to walk through: its image input, the shapes of its tensors, and its trunk.

A tensor belongs to the *trunk* if every path from the image to the target passes through it: what is inside a residual
block does not, for the shortcut goes around it; the block's end does. Paths through ``Shape`` do not count: they carry
lengths, no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastvbow.errors import MissingExtraError, UsageError

__all__ = ["DEFAULT_SIDE", "Graph", "ImageInput", "brief", "find_image_input", "fix_input", "import_onnx", "load_model"]

MOST_BYTES = 2**31 - 1
"""What one ONNX file without external data can hold."""
DEFAULT_SIDE = 224
_LENGTHS = ("Shape", "Size")


@dataclass(frozen=True)
class ImageInput:
    """The tensor that takes photographs.

    Attributes
    ----------
    tensor : str
    layout : {"NCHW", "NHWC"}
    side : int
        Pixels.
    fixed : bool
        Whether the graph takes no other side.
    batch : bool
        Whether the graph says that it takes several photographs at a time.
    """

    tensor: str
    layout: str
    side: int
    fixed: bool
    batch: bool

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one photograph."""
        return (1, 3, self.side, self.side) if self.layout == "NCHW" else (1, self.side, self.side, 3)


def import_onnx() -> Any:
    """The package onnx.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import onnx
        import onnx.inliner
        import onnx.shape_inference
    except ImportError:
        raise MissingExtraError("looking into ONNX graphs", "onnx", "models") from None
    return onnx


def load_model(path: Path) -> Any:
    """Read a model whole, with the weights that it keeps in other files.

    Parameters
    ----------
    path : Path
        An ``.onnx`` file.

    Returns
    -------
    onnx.ModelProto
        Without functions of its own: they stand where they were called.

    Raises
    ------
    UsageError
        There is no such file, it is no ONNX model, or files that it needs are missing.
    MissingExtraError
    """
    onnx = import_onnx()
    if not path.is_file():
        raise UsageError(f"there is no file {path}: give an .onnx file")
    try:
        model = onnx.load(path)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        size = model.ByteSize()
    except Exception as error:  # protobuf's, onnx's and the system's own kinds
        raise UsageError(
            f"{path} cannot be read as an ONNX model with all its weights ({brief(error)}): export it again, with the "
            "weights inside or their file beside it"
        ) from None
    if not model.graph.node or not model.graph.output:
        raise UsageError(f"{path} holds no ONNX graph: export the model again")
    if size > MOST_BYTES:
        raise UsageError(f"{path} has {size / 1e9:.1f} GB of weights; models of up to 2.1 GB can be added")
    return model


def find_image_input(model: Any, *, side: int = 0, layout: str = "") -> ImageInput:
    """The input that takes photographs.

    Parameters
    ----------
    model : onnx.ModelProto
    side : int, default=0
        Pixels, where the graph leaves them open; 0: 224.
    layout : {"", "NCHW", "NHWC"}, default=""
        Where the channels are; empty: where the input has three, or the first convolution reads three.

    Raises
    ------
    UsageError
        There is no such input, or it contradicts `side` or `layout`.
    """
    onnx = import_onnx()
    constants = {constant.name for constant in model.graph.initializer}
    inputs = [given for given in model.graph.input if given.name not in constants]
    told = ", ".join(f"{given.name!r} {_declared(given)}" for given in inputs) or "none"
    if len(inputs) != 1:
        raise UsageError(f"a model has to take one image and nothing else; the inputs of this one: {told}")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise UsageError(f"the input {inputs[0].name!r} takes {kind}, not float32: export it with a float32 input")
    dims = _declared(inputs[0]) or (None,) * 4
    if len(dims) != 4:
        raise UsageError(f"the input has to have four axes, as (n, 3, height, width); this is {told}")
    layout = _input_layout(model, inputs[0].name, dims, layout)
    axes, channels = ((2, 3), 1) if layout == "NCHW" else ((1, 2), 3)
    if dims[channels] not in (3, None):
        raise UsageError(f"the input {told} does not take the three colours of a photograph in the layout {layout}")
    if dims[0] not in (1, None):
        raise UsageError(f"the input {told} takes {dims[0]} photographs, no fewer: export it with a batch of 1")
    sides = {dims[axis] for axis in axes} - {None}
    if len(sides) > 1:
        raise UsageError(f"the input {told} is not square; fastvbow squashes photographs to squares")
    fixed = next(iter(sides), 0)
    if side and fixed and side != fixed:
        raise UsageError(f"the input {told} takes {fixed} pixels a side, not --side {side}")
    return ImageInput(inputs[0].name, layout, fixed or side or DEFAULT_SIDE, bool(fixed), dims[0] is None)


def _input_layout(model: Any, name: str, dims: Sequence[int | None], layout: str) -> str:
    if layout:
        return layout
    if (dims[1] == 3) != (dims[3] == 3):
        return "NCHW" if dims[1] == 3 else "NHWC"
    weights = {constant.name: constant.dims for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[0] == name and list(weights.get(node.input[1], (0, 0)))[1] == 3:
            return "NCHW"
    raise UsageError(f"where are the colours in the input {name!r} of shape {tuple(dims)}? Say --layout NCHW or NHWC")


def _declared(value: Any) -> tuple[int | None, ...]:
    """What a graph says of a tensor's shape; None where it leaves a length open."""
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)


class Graph:
    """A model's graph, with the shapes that one photograph gives its tensors.

    Parameters
    ----------
    model : onnx.ModelProto
        It is not changed.
    image : ImageInput
    """

    def __init__(self, model: Any, image: ImageInput) -> None:
        self._onnx = import_onnx()
        self.model, self.image = model, image
        self.nodes: list[Any] = list(model.graph.node)
        self.outputs: list[str] = [output.name for output in model.graph.output]
        self.maker = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self.moving = {image.tensor}  # what depends on the picture
        for node in self.nodes:
            if node.op_type not in _LENGTHS and not self.moving.isdisjoint(node.input):
                self.moving.update(name for name in node.output if name)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, int] = {}
        self._infer()

    def _fixed(self) -> Any:
        """A copy of the model for one photograph of the side."""
        fixed = self._onnx.ModelProto()
        fixed.CopyFrom(self.model)
        del fixed.graph.value_info[:]  # lengths with names, which would stay
        for output in fixed.graph.output:
            output.type.tensor_type.ClearField("shape")
        fix_input(fixed, self.image.tensor, self.image.shape)
        return fixed

    def _infer(self) -> None:
        try:
            known = self._onnx.shape_inference.infer_shapes(self._fixed(), data_prop=True)
        except Exception:  # what it cannot follow, `shape` tries by running
            return
        for value in [*known.graph.value_info, *known.graph.output, *known.graph.input]:
            tensor = value.type.tensor_type
            self._types[value.name] = tensor.elem_type
            dims = _declared(value)
            if tensor.HasField("shape") and None not in dims:
                self._shapes[value.name] = tuple(length for length in dims if length is not None)

    def learn(self, names: Sequence[str]) -> None:
        """Make sure that the shapes of these tensors are known, by running the model where they do not follow from it.

        Raises
        ------
        UsageError
            ONNX Runtime cannot run the model.
        """
        missing = [name for name in names if name not in self._shapes or not self._types.get(name)]
        if not missing:
            return
        fixed = self._fixed()
        del fixed.graph.output[:]
        fixed.graph.output.extend(self._onnx.ValueInfoProto(name=name) for name in missing)
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("running the model", "ONNX Runtime", "cpu") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                fixed.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            found = session.run(missing, {self.image.tensor: np.zeros(self.image.shape, np.float32)})
        except Exception as error:  # ONNX Runtime's own kinds share no better base
            side = "" if self.image.fixed else f" of {self.image.side} pixels a side (see --side)"
            raise UsageError(f"ONNX Runtime cannot run this model on a photograph{side}: {brief(error)}") from None
        for name, value in zip(missing, found, strict=True):
            array = np.asarray(value)
            self._shapes[name] = array.shape
            self._types[name] = self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, with the batch axis; empty if it is not known (see `learn`)."""
        return self._shapes.get(name, ())

    def element(self, name: str) -> int:
        """The type of a tensor's numbers, as onnx.TensorProto has it."""
        return self._types.get(name) or self._onnx.TensorProto.FLOAT

    def is_float(self, name: str) -> bool:
        """Whether a tensor's numbers are floating-point ones."""
        return self.element(name) in (self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.FLOAT16)

    def node_of(self, name: str) -> Any:
        """The node that makes a tensor; None for an input or a constant."""
        index = self.maker.get(name)
        return None if index is None else self.nodes[index]

    def ancestors(self, target: str) -> set[int]:
        """The places of the nodes on the paths from the image to a tensor."""
        needed, found = {target}, set()
        for index in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[index]
            if node.op_type not in _LENGTHS and not needed.isdisjoint(node.output) and self._moves(node):
                found.add(index)
                needed.update(name for name in node.input if name in self.moving)
        return found

    def _moves(self, node: Any) -> bool:
        return not self.moving.isdisjoint(node.input)

    def trunk(self, target: str) -> list[str]:
        """The tensors that every path from the image to `target` passes through, in their order; both ends too."""
        places = sorted(self.ancestors(target))
        last_use = {name: index for index in places for name in self.nodes[index].input if name in self.moving}
        live, found = {self.image.tensor}, [self.image.tensor]
        for index in places:
            made = {name for name in self.nodes[index].output if name in last_use or name == target}
            live = {name for name in live if last_use.get(name, -1) > index} | made
            # all that comes later comes from the one tensor that is still needed
            if len(live) == 1 and live == made:
                found += made
        return found

    def between(self, earlier: str, later: str) -> set[str]:
        """The operators on the paths from a tensor of the trunk to a later one."""
        start = self.maker.get(earlier, -1)
        return {self.nodes[index].op_type for index in self.ancestors(later) if index > start}


def fix_input(model: Any, tensor: str, shape: Sequence[int | str]) -> None:
    """Give an input's axes lengths, or names where they stay open."""
    (value,) = (given for given in model.graph.input if given.name == tensor)
    dims = value.type.tensor_type.shape
    dims.ClearField("dim")
    for length in shape:
        axis = dims.dim.add()
        if isinstance(length, int):
            axis.dim_value = length
        else:
            axis.dim_param = length


def brief(error: Exception) -> str:
    """The first line of another package's message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
