"""Command ``models add`` with ``--clip``, ``--conse`` or ``--text``: encoders become a space, once they have been
tried."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.features.image_encoder import ImageEncoder, ImageEncoderCard, describe_image_encoder
from fastvbow.features.models import Channels, find_model, find_scores, known_models
from fastvbow.features.splitting import image_part
from fastvbow.pipeline.models import normalisation
from fastvbow.pipeline.space_cards import Classes, check_space_name
from fastvbow.pipeline.space_trial import PROMPT, AddedSpace, TextOptions, Trial
from fastvbow.semantic.banks.classes import read_classes

__all__ = ["add_conse", "add_pair", "add_texts"]

CLASSIFIER = "efficientnet_lite0"
_CLASSES = {1000: "imagenet_classes.txt"}


def add_pair(
    image: Path,
    text: Path,
    tokenizer: Path,
    *,
    name: str,
    preset: str = "clip",
    mean: Channels | None = None,
    std: Channels | None = None,
    resize: str = "crop",
    filter: str = "bicubic",
    colour: str = "RGB",
    side: int = 0,
    image_output: str = "",
    image_pooling: str = "",
    options: TextOptions | None = None,
    licence: str = "",
    source: str = "",
    replacing: bool = False,
    listener: Listener = log_events,
) -> AddedSpace:
    """Make a space of two encoders that were trained together, as CLIP's and SigLIP's.

    Parameters
    ----------
    image, text, tokenizer : Path
        Two ``.onnx`` files and a ``tokenizer.json``, which are copied. A file that holds both encoders may be given
        twice: of each the part that is needed is taken.
    name : str
        Of the space from now on.
    preset : str, default="clip"
        See `fastvbow.pipeline.models.normalisation`; empty with `mean` and `std`.
    mean, std : float or tuple of three floats, optional
        In units of 0 to 255.
    resize : {"crop", "squash"}, default="crop"
        See `fastvbow.features.image_encoder`; SigLIP wants "squash".
    filter : {"bicubic", "bilinear", "linear"}, default="bicubic"
    colour : {"RGB", "BGR"}, default="RGB"
    side : int, default=0
        Pixels, where the graph leaves them open; 0: 224.
    image_output, image_pooling : str, default=""
        See `fastvbow.features.image_encoder.describe_image_encoder`.
    options : TextOptions, optional
    licence, source : str, default=""
        For the card.
    replacing : bool, default=False
        Whether a space of that name may go.
    listener : Listener, optional
        Hears of the stage ``models``.

    Raises
    ------
    UsageError
        An argument cannot be used, the files are no such encoders, or what they give cannot be compared.
    MissingExtraError
        The extras ``models``, ``cpu`` and ``semantic`` are needed.
    """
    check_space_name(name, replacing=replacing)
    means, stds = normalisation("" if mean is not None or std is not None else preset, mean, std)
    listener(Event("models", "begin", f"{image}, {text} and {tokenizer}"))
    with tempfile.TemporaryDirectory(prefix="fastvbow-") as place:
        trial = Trial(Path(place), listener)
        trial.take_text(text, tokenizer, options or TextOptions())
        content, session = trial.open("image", image_part(image, image_output))
        described = describe_image_encoder(
            session,
            content,
            mean=means,
            std=stds,
            resize=resize,
            filter=filter,
            colour=colour,
            side=side,
            output=image_output or None,
            pooling=image_pooling or None,
        )
        trial.take_image(described, session)
        return trial.finish(name, "pair", licence, source or image.name)


def add_conse(
    text: Path,
    tokenizer: Path,
    *,
    name: str = "conse",
    model: str = CLASSIFIER,
    classifier: Path | None = None,
    classes: Path | None = None,
    prompt: str = PROMPT,
    top: int = 10,
    preset: str = "",
    mean: Channels | None = None,
    std: Channels | None = None,
    resize: str = "squash",
    filter: str = "linear",
    colour: str = "RGB",
    side: int = 0,
    image_output: str = "",
    options: TextOptions | None = None,
    licence: str = "",
    source: str = "",
    replacing: bool = False,
    listener: Listener = log_events,
) -> AddedSpace:
    """Make a space of a text encoder and a classifier of photographs (see `fastvbow.semantic.conse`).

    Parameters
    ----------
    text, tokenizer : Path
        An ``.onnx`` file and a ``tokenizer.json``, which are copied.
    name : str, default="conse"
        Of the space from now on.
    model : str, default="efficientnet_lite0"
        A model whose class scores are read.
    classifier : Path, optional
        An ``.onnx`` file, instead of `model`: one photograph in, the scores of its classes before the softmax out.
    classes : Path, optional
        See `fastvbow.semantic.banks.classes.read_classes`; by default ImageNet's 1000, where there are as many scores.
    prompt : str, default="a photo of {}"
        What each class's name is put into.
    top : int, default=10
        Classes that count for a photograph.
    preset, mean, std, resize, filter, colour, side : optional
        Of `classifier`: see `add_pair`. A model's own card says it.
    image_output : str, default=""
        Of `classifier`: the scores, if not what is found.
    options : TextOptions, optional
    licence, source : str, default=""
        For the card.
    replacing : bool, default=False
        Whether a space of that name may go.
    listener : Listener, optional
        Hears of the stages ``models`` and ``texts``.

    Raises
    ------
    UsageError
        An argument cannot be used, the files are no such networks, or there are not as many names as scores.
    MissingExtraError
        The extras ``models``, ``cpu`` and ``semantic`` are needed.
    """
    check_space_name(name, replacing=replacing)
    if prompt.count("{}") != 1 or top < 1:
        raise UsageError(f"the prompt {prompt!r} has to hold {{}} once, and top={top} has to be 1 at least")
    listener(Event("models", "begin", f"{text}, {tokenizer} and {classifier or model}"))
    with tempfile.TemporaryDirectory(prefix="fastvbow-") as place:
        trial = Trial(Path(place), listener)
        trial.take_text(text, tokenizer, options or TextOptions())
        if classifier is None:
            described, session = _scores_of_model(trial, model)
        else:
            means, stds = normalisation(preset, mean, std)
            content, session = trial.open("image", image_part(classifier, image_output))
            described = describe_image_encoder(
                session,
                content,
                mean=means,
                std=stds,
                resize=resize,
                filter=filter,
                colour=colour,
                side=side,
                output=image_output or None,
            )
        n_scores = len(ImageEncoder(described, session).encode(trial.photographs[0]))
        if classes is None and n_scores not in _CLASSES:
            raise UsageError(f"the classifier has {n_scores} scores, ImageNet 1000: name its classes with --classes")
        shipped = known_models()[CLASSIFIER].with_name(_CLASSES[1000])
        names = read_classes(classes or shipped)
        if len(names) != n_scores or top > n_scores:
            raise UsageError(
                f"{classes or shipped} names {len(names)} classes, the classifier has {n_scores} scores, and top is "
                f"{top}: give a name for each score, and a top of no more"
            )
        data = (classes or shipped).read_bytes()
        trial.take_classes(Classes(hashlib.sha256(data).hexdigest(), prompt, top), data, names)
        trial.take_image(described, session)
        return trial.finish(name, "conse", licence, source or f"{text.name} and {classifier or model}")


def add_texts(
    text: Path,
    tokenizer: Path,
    *,
    name: str,
    options: TextOptions | None = None,
    licence: str = "",
    source: str = "",
    replacing: bool = False,
    listener: Listener = log_events,
) -> AddedSpace:
    """Make a space of a text encoder alone, for projects whose embeddings its image encoder has made elsewhere.

    Parameters
    ----------
    text, tokenizer : Path
        An ``.onnx`` file and a ``tokenizer.json``, which are copied.
    name : str
        Of the space from now on.
    options : TextOptions, optional
    licence, source : str, default=""
        For the card.
    replacing : bool, default=False
        Whether a space of that name may go.
    listener : Listener, optional
        Hears of the stage ``models``.

    Raises
    ------
    UsageError
        An argument cannot be used, or the files are no text encoder.
    MissingExtraError
        The extras ``models``, ``cpu`` and ``semantic`` are needed.
    """
    check_space_name(name, replacing=replacing)
    listener(Event("models", "begin", f"{text} and {tokenizer}"))
    with tempfile.TemporaryDirectory(prefix="fastvbow-") as place:
        trial = Trial(Path(place), listener)
        trial.take_text(text, tokenizer, options or TextOptions())
        return trial.finish(name, "text", licence, source or text.name)


def _scores_of_model(trial: Trial, model: str) -> tuple[ImageEncoderCard, Any]:
    """A known model as an encoder that gives its class scores, fed as `fastvbow.features.tensors` feeds it."""
    card, scores = find_model(model), find_scores(model)
    if scores is None:
        raise UsageError(
            f"the model {model} keeps no class scores: give the network that it was made of with --classifier FILE.onnx"
        )
    path, session = trial.open("image", card.path.read_bytes())
    described = describe_image_encoder(
        session,
        path,
        mean=card.mean,
        std=card.std,
        resize="squash",
        filter="linear",
        colour=card.colour,
        side=card.side,
        output=scores,
    )
    if described.sha256 != card.sha256:
        raise UsageError(f"{card.path} is not the file that its card names: install the model {model} again")
    return described, session
