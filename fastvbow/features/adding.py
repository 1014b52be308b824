"""Making a user's own model usable: a copy of the graph with the outputs that fastvbow reads, and its card."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.features.anatomy import Anatomy, Place
from fastvbow.features.graphs import fix_input, import_onnx
from fastvbow.features.models import ModelCard, Output, card_text, models_folder, read_card, shipped_models
from fastvbow.features.tensors import input_maker
from fastvbow.project import replace_file

__all__ = ["NewModel", "check_name", "prune", "remove_model", "store_model", "takes_batches", "with_outputs"]

POOLED = "fastvbow_pooled"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True)
class NewModel:
    """A graph that gives what fastvbow reads.

    Attributes
    ----------
    content : bytes
        The ``.onnx`` file.
    pooled, conv : Output
    shapes : dict of str to tuple of int
        Of both outputs, without the batch axis.
    """

    content: bytes
    pooled: Output
    conv: Output
    shapes: dict[str, tuple[int, ...]]


def check_name(name: str, *, replacing: bool = False) -> None:
    """Make sure that a model can be added under a name.

    Parameters
    ----------
    name : str
    replacing : bool, default=False
        Whether the user's model of that name may go.

    Raises
    ------
    UsageError
        It is no file's name, a shipped model's, or another one's.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"a model's name has letters, digits and . _ + -, not {name!r}: choose another --name")
    if name in shipped_models():
        raise UsageError(f"{name} is a model that ships with fastvbow: choose another --name")
    if not replacing and (models_folder() / f"{name}.toml").exists():
        raise UsageError(f"there is a model {name} in {models_folder()}: choose another --name, or --replace it")


def with_outputs(model: Any, anatomy: Anatomy, *, batch: bool) -> NewModel:
    """Copy a graph, with the vector and the map as its only outputs, and without what only others needed.

    Parameters
    ----------
    model : onnx.ModelProto
        It is not changed.
    anatomy : Anatomy
    batch : bool
        Whether it takes several photographs at a time.
    """
    onnx = import_onnx()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    pooled = anatomy.pooled
    if pooled.layout != "C":
        graph.node.extend(_pooling(onnx, copy, pooled))
        pooled = Place(POOLED, (pooled.channels,), "C")
    declared = {value.name: value.type.tensor_type.elem_type for value in _typed(onnx, model)}
    first = "N" if batch else 1
    shapes = {pooled.tensor: pooled.shape, anatomy.conv.tensor: anatomy.conv.shape}
    del graph.output[:]
    for tensor, shape in shapes.items():
        source = anatomy.pooled.tensor if tensor == POOLED else tensor
        element = declared.get(source) or onnx.TensorProto.FLOAT
        graph.output.append(onnx.helper.make_tensor_value_info(tensor, element, [first, *shape]))
    del graph.value_info[:]  # the lengths there may be named, or another side's
    fix_input(copy, anatomy.image.tensor, (first, *anatomy.image.shape[1:]))
    prune(graph)
    try:
        content: bytes = copy.SerializeToString(deterministic=True)
    except ValueError as error:
        raise UsageError(f"the model cannot be written as one file: {error}") from None
    conv = anatomy.conv
    return NewModel(
        content,
        Output(pooled.tensor, pooled.channels),
        Output(conv.tensor, conv.channels, conv.layout, conv.leading),
        shapes,
    )


def _typed(onnx: Any, model: Any) -> list[Any]:
    try:
        known = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # what cannot be inferred is float32, or ONNX Runtime will say so
        known = model.graph
    return [*known.value_info, *known.output]


def _pooling(onnx: Any, model: Any, place: Place) -> list[Any]:
    """Nodes that make one vector of tokens or of a map: the first token where there is one for the whole picture, else
    the mean."""
    helper = onnx.helper
    if place.leading:
        index = helper.make_tensor(f"{POOLED}_index", onnx.TensorProto.INT64, [], [0])
        constant = helper.make_node("Constant", [], [f"{POOLED}_index"], value=index)
        return [constant, helper.make_node("Gather", [place.tensor, f"{POOLED}_index"], [POOLED], axis=1)]
    axes = [i + 1 for i, name in enumerate(place.layout) if name != "C"]
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < 18:
        return [helper.make_node("ReduceMean", [place.tensor], [POOLED], axes=axes, keepdims=0)]
    lengths = helper.make_tensor(f"{POOLED}_axes", onnx.TensorProto.INT64, [len(axes)], axes)
    constant = helper.make_node("Constant", [], [f"{POOLED}_axes"], value=lengths)
    return [constant, helper.make_node("ReduceMean", [place.tensor, f"{POOLED}_axes"], [POOLED], keepdims=0)]


def prune(graph: Any) -> None:
    """Take away nodes and constants that no output needs."""
    needed = {output.name for output in graph.output}
    for place in reversed(range(len(graph.node))):
        if needed.isdisjoint(graph.node[place].output):
            del graph.node[place]
        else:
            needed |= _read_by(graph.node[place])
    for constants in (graph.initializer, graph.sparse_initializer, graph.input):
        for place in reversed(range(len(constants))):
            name = constants[place].values.name if constants is graph.sparse_initializer else constants[place].name
            if name not in needed:
                del constants[place]


def _read_by(node: Any) -> set[str]:
    """What a node reads, the graphs inside it included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            for inner in graph.node:
                names |= _read_by(inner)
            names.update(output.name for output in graph.output)
    return names


def takes_batches(session: Any, card: ModelCard, images: list[NDArray[np.uint8]]) -> bool:
    """Whether a model that leaves its batch axis open gives each of two photographs what it gives it alone: some
    exporters leave the axis open and write the length 1 into the graph.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    card : ModelCard
    images : list of ndarray of shape (height, width, 3), uint8
        Two of them are taken.
    """
    make = input_maker(card)
    names, inputs = [card.conv.tensor, card.pooled.tensor], [make(image) for image in images[:2]]
    alone = [session.run(names, {card.input: one}) for one in inputs]
    try:
        together = session.run(names, {card.input: np.concatenate(inputs)})
    except Exception:  # ONNX Runtime's own kinds share no better base
        return False
    for role in (0, 1):
        wanted = np.concatenate([found[role] for found in alone]).astype(np.float64)
        room = 1e-3 * max(1e-6, float(np.abs(wanted).max()))
        if together[role].shape != wanted.shape or not np.allclose(together[role], wanted, rtol=1e-2, atol=room):
            return False
    return True


def store_model(card: ModelCard, model: NewModel, folder: Path, check: Mapping[str, float] | None = None) -> ModelCard:
    """Write a model and its card: both, or nothing.

    The ``.onnx`` file has a name of its own for each content, so a card that stands keeps its file until the new card
    takes its place.

    Parameters
    ----------
    card : ModelCard
        Its path and checksum are set anew.
    model : NewModel
    folder : Path
        Made if missing.
    check : mapping of str to float, optional
        See `fastvbow.features.models.card_text`.

    Returns
    -------
    ModelCard
        As it can be read from now on.

    Raises
    ------
    UsageError
        The folder cannot be written.
    """
    digest = hashlib.sha256(model.content).hexdigest()
    place, path = folder / f"{card.name}.toml", folder / f"{card.name}-{digest[:12]}.onnx"
    before = _file_of(place)
    text = card_text(replace(card, path=path, sha256=digest), model.shapes, len(model.content), check)
    fresh = not path.exists()
    try:
        with replace_file(path) as unfinished:
            unfinished.write_bytes(model.content)
        try:
            with replace_file(place) as unfinished:
                unfinished.write_bytes(text.encode(errors="replace"))  # a file's name may hold what is no UTF-8
        except BaseException:
            if fresh:
                path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write the models folder {folder}: {error.strerror}: set FASTVBOW_MODELS") from None
    if before is not None and before != path:
        with contextlib.suppress(OSError):
            before.unlink()
    return read_card(place)


def remove_model(name: str) -> list[Path]:
    """Remove a user's own model: its card, then its file where no other card names it.

    A damaged card goes too, with the files of its name.

    Parameters
    ----------
    name : str

    Returns
    -------
    list of Path
        What was removed.

    Raises
    ------
    UsageError
        There is no such model, it ships with fastvbow, or the folder cannot be written.
    """
    folder = models_folder()
    card = folder / f"{name}.toml"
    if name in shipped_models():
        raise UsageError(f"{name} ships with fastvbow and cannot be removed")
    if not _NAME.fullmatch(name) or not card.is_file():
        own = sorted(path.stem for path in folder.glob("*.toml") if not path.name.startswith("."))
        raise UsageError(
            f"there is no model {name!r} of your own in {folder}; those there are: {', '.join(own) or '-'}"
        )
    file = _file_of(card)
    gone = [file] if file is not None else [path for path in folder.iterdir() if _is_file_of(path, name)]
    try:
        card.unlink()
        kept = {_file_of(other) for other in folder.glob("*.toml")}
        gone = [path for path in gone if path not in kept and path.is_file()]
        for path in gone:
            path.unlink()
    except OSError as error:
        raise UsageError(f"cannot remove {error.filename}: {error.strerror}") from None
    return [card, *gone]


def _is_file_of(path: Path, name: str) -> bool:
    return re.fullmatch(re.escape(name) + r"-[0-9a-f]{12}\.onnx", path.name) is not None


def _file_of(card: Path) -> Path | None:
    """The ``.onnx`` file of a card that is about to go; None if there is no such card, or it is damaged."""
    with contextlib.suppress(StoreCorruptError):
        return read_card(card).path
    return None
