"""One photograph's bytes to its local features: decoded once, for all extractors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.config import MODALITIES, ExtractConfig
from fastvbow.errors import ProjectError, UsageError
from fastvbow.features.base import Extractor, Features, LocalFeatures
from fastvbow.features.cnn import CnnExtractor, cnn_parameters
from fastvbow.features.embeddings import EmbeddingFile, Embeddings
from fastvbow.features.models import find_model
from fastvbow.features.sift import SiftExtractor
from fastvbow.images.decode import Examined, decode_examined
from fastvbow.memory import keep_freed_memory

__all__ = [
    "LEAST_SIDE",
    "Description",
    "begin_description",
    "begin_features",
    "check_embeddings",
    "check_same_model",
    "check_same_order",
    "config_of",
    "decoded_side",
    "make_extractors",
    "open_embeddings",
    "parameters_of",
]

NO_SIDE = 1
"""Where nobody looks at the pixels: a JPEG is decoded at an eighth, which shows that it can be and how it is turned."""
LEAST_SIDE = 320
"""Pixels that the longer side of a photograph is taken to be shrunk to at least, whichever features are wanted: what is
decoded, and so a CNN's features, must not depend on the others that are asked for."""


@dataclass(frozen=True)
class Description:
    """What is known of a photograph.

    Attributes
    ----------
    features : Features
        Keypoints are in pixels of the full photograph.
    width, height : int
        Of the full photograph as it is seen.
    """

    features: Features
    width: int
    height: int


def decoded_side(config: ExtractConfig) -> int | None:
    """The longer side that photographs must not be decoded below, before `fastvbow.images.decode.ROOM`; None: decode
    all."""
    if config.features == ("embeddings",):
        return NO_SIDE
    return max(LEAST_SIDE, config.side) if config.decoded_side == 0 else config.decoded_side


def make_extractors(config: ExtractConfig, device: str, batch: int = 0) -> list[Extractor]:
    """The extractors that a configuration asks for, SIFT first; `batch`: see `CnnExtractor`."""
    keep_freed_memory()
    makers: dict[str, Callable[[], Extractor]] = {
        "sift": lambda: SiftExtractor(config.keypoints, config.side),
        "cnn": lambda: CnnExtractor(find_model(config.model), device, batch),
    }
    return [makers[name]() for name in makers if name in config.features]


def parameters_of(config: ExtractConfig, embeddings: Embeddings | None = None) -> dict[str, dict[str, Any]]:
    """What each kind of feature depends on, known without opening a model; of embeddings only where they are given."""
    side = decoded_side(config)
    decoding = {} if side is None else {"decoded side": side}
    known = {}
    if "sift" in config.features:
        known["sift"] = {**SiftExtractor(config.keypoints, config.side).parameters, **decoding}
    if "cnn" in config.features:
        known["cnn"] = {**cnn_parameters(find_model(config.model)), **decoding}
    if embeddings is not None:
        known["embeddings"] = embeddings.parameters
    return known


def open_embeddings(config: ExtractConfig) -> EmbeddingFile | None:
    """The file of embeddings that a configuration names, if its features are such.

    Raises
    ------
    UsageError
        It names none, or one that cannot be used.
    """
    if "embeddings" not in config.features:
        return None
    if config.embeddings is None:
        raise UsageError("--features embeddings wants a file of them: name it with --embeddings")
    return EmbeddingFile(config.embeddings)


def check_embeddings(project: Path, asked: Mapping[str, Any], embeddings: EmbeddingFile | int | None) -> None:
    """Make sure that photographs have vectors of their own where those of a project have, and only there.

    Parameters
    ----------
    project : Path
    asked : mapping
        What the features of the project depend on (see `parameters_of`).
    embeddings : EmbeddingFile, int or None
        What is given, or how many numbers its vectors have.

    Raises
    ------
    UsageError
        They have to be given, must not be, or have another number of numbers.
    """
    known = asked.get("embeddings")
    given = embeddings.dimension if isinstance(embeddings, EmbeddingFile) else embeddings
    if known is None and given is not None:
        raise UsageError(
            f"the photographs of {project} are described by {' and '.join(asked) or 'a space of texts'}, not by "
            "embeddings: leave them out"
        )
    if known is not None and given is None:
        raise UsageError(
            f"the photographs of {project} are described by embeddings, of {known['dimension']} numbers each: pass "
            "those of the new ones, made in the same way, with --embeddings (in Python: embeddings=)"
        )
    if known is not None and given != known["dimension"]:
        raise UsageError(
            f"the embeddings of {project} have {known['dimension']} numbers, these {given}: pass such as are made in "
            "the same way"
        )


def check_same_order(asked: Mapping[str, Any], embeddings: Embeddings) -> None:
    """Make sure that rows without paths are not taken for other photographs than before.

    Parameters
    ----------
    asked : mapping
        What the features that a project has until now depend on (see `parameters_of`).
    embeddings : Embeddings

    Raises
    ------
    UsageError
        The file is the same, the list of photographs is another.
    """
    known, now = asked.get("embeddings", {}), embeddings.parameters
    if known.get("sha256") == now["sha256"] and known.get("order") != now.get("order"):
        raise UsageError(
            f"{embeddings.file.path} is the file of the call before, but the photographs are no longer the same, so "
            "its rows cannot be theirs: write it anew, or the path of each row into "
            f"{embeddings.file.path.with_suffix('.txt').name} beside it"
        )


def check_same_model(asked: Mapping[str, Any]) -> None:
    """Make sure that a project's CNN still stands under its name.

    Parameters
    ----------
    asked : mapping
        What the CNN's features of the project depend on (see `parameters_of`).

    Raises
    ------
    ProjectError
        Another model, or another use of it, has its name now.
    UsageError
        No model has.
    """
    now = cnn_parameters(find_model(asked["model"]))
    if now != {name: value for name, value in asked.items() if name != "decoded side"}:
        raise ProjectError(
            f"the model {asked['model']} is another one than that of the project's features: add the former one again, "
            "or run the project anew"
        )


def config_of(parameters: Mapping[str, Mapping[str, Any]]) -> ExtractConfig:
    """The configuration that gave these `parameters_of`, as the card of a project's extraction holds them; where there
    were embeddings, without their file."""
    known: dict[str, Any] = {"features": tuple(name for name in MODALITIES if name in parameters)}
    if "sift" in parameters:
        known |= {"keypoints": parameters["sift"]["keypoints"], "side": parameters["sift"]["side"]}
    if "cnn" in parameters:
        known |= {"model": parameters["cnn"]["model"]}
    # not there: made when all was decoded whole
    return ExtractConfig(**known, decoded_side=next(iter(parameters.values())).get("decoded side"))


def begin_features(pixels: NDArray[np.uint8], extractors: Sequence[Extractor]) -> Callable[[], Features]:
    """Begin to extract all features of an RGB image; what is returned waits for them."""
    # the last first: a network on a GPU works while SIFT does
    begun = [extractor.begin(pixels) for extractor in reversed(extractors)][::-1]
    return lambda: {name: part for wait in begun for name, part in wait().items()}


def begin_description(image: Examined, extractors: Sequence[Extractor]) -> Callable[[], Description]:
    """Decode an image and begin to extract its features; what is returned waits for them.

    Parameters
    ----------
    image : Examined
        By `fastvbow.images.decode.examine`, of a `decoded_side`.
    extractors : sequence of Extractor

    Raises
    ------
    ImageError
        See `fastvbow.images.decode.decode_examined`.
    """
    photograph = decode_examined(image)
    width, height = photograph.width, photograph.height
    x, y = width / photograph.pixels.shape[1], height / photograph.pixels.shape[0]
    wait = begin_features(photograph.pixels, extractors)

    def description() -> Description:
        features = wait()
        if (x, y) != (1.0, 1.0):
            features = {
                name: LocalFeatures(_enlarged(f.keypoints, x, y), f.descriptors) for name, f in features.items()
            }
        return Description(features, width, height)

    return description


def _enlarged(keypoints: NDArray[np.float32], x: float, y: float) -> NDArray[np.float32]:
    """Keypoints of a picture that is `x` times as wide and `y` times as high."""
    centres = (keypoints[:, :2] + 0.5) * np.array([x, y]) - 0.5
    return np.column_stack((centres, keypoints[:, 2] * np.sqrt(x * y), keypoints[:, 3])).astype(np.float32)
