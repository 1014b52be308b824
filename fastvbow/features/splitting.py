"""The part of a graph that describes photographs, or texts: a whole CLIP in one file holds both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastvbow.errors import UsageError
from fastvbow.features.adding import prune
from fastvbow.features.graphs import import_onnx, load_model

__all__ = ["image_part", "text_part"]

_IMAGE = ("image_embeds", "image_features", "image_embedding")
_TEXT = ("text_embeds", "text_features", "text_embedding")


def image_part(path: Path, output: str = "") -> bytes:
    """A network that takes photographs, as one ``.onnx`` file.

    Parameters
    ----------
    path : Path
        An ``.onnx`` file, with the weights that it keeps in other files. It may take texts as well: then only what the
        photographs' vectors need is kept.
    output : str, default=""
        The photographs' vectors in a graph that takes both; empty: one that is named so (image_embeds, ...).

    Raises
    ------
    UsageError
        It cannot be read, or the vectors cannot be told or need texts too.
    MissingExtraError
        The extra ``models`` is needed.
    """
    return _part(path, "image", output, _IMAGE)


def text_part(path: Path, output: str = "") -> bytes:
    """A network that takes texts, as one ``.onnx`` file.

    Parameters
    ----------
    path : Path
        See `image_part`.
    output : str, default=""
        See `image_part`: of the texts.

    Raises
    ------
    UsageError, MissingExtraError
        See `image_part`.
    """
    return _part(path, "text", output, _TEXT)


def _part(path: Path, kind: str, output: str, usual: tuple[str, ...]) -> bytes:
    onnx = import_onnx()
    model = load_model(path)
    inputs = _inputs(model)
    pictures = {given.name for given in inputs if len(given.type.tensor_type.shape.dim) == 4}
    if pictures and len(pictures) < len(inputs):
        outputs = [found.name for found in model.graph.output]
        wanted = output or next((name for name in usual if name in outputs), "")
        if wanted not in outputs:
            told = ", ".join(given.name for given in inputs)
            raise UsageError(
                f"{path} takes photographs and texts ({told}) and gives {', '.join(outputs)}: say by --{kind}-output "
                f"which of these is the {kind}s' vectors, or export the two encoders one by one"
            )
        kept = next(found for found in model.graph.output if found.name == wanted)
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(kept)
        del model.graph.output[:]
        model.graph.output.append(copy)
        prune(model.graph)
        left = {given.name for given in _inputs(model)}
        mixed = left - pictures if kind == "image" else left & pictures
        if mixed or not left:
            raise UsageError(
                f"the output {wanted} of {path} needs {', '.join(sorted(mixed)) or 'no input'}: name another by "
                f"--{kind}-output, or export the two encoders one by one"
            )
    try:
        content: bytes = model.SerializeToString(deterministic=True)
    except ValueError as error:
        raise UsageError(f"{path} cannot be written as one file: {error}") from None
    return content


def _inputs(model: Any) -> list[Any]:
    constants = {constant.name for constant in model.graph.initializer}
    return [given for given in model.graph.input if given.name not in constants]
