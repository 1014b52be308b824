"""Encoders on trial: they are added as a space once they have described the bundled photographs and their names."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.demo.crops import photograph_files
from fastvbow.errors import FastvbowError, UsageError
from fastvbow.events import Event, Listener
from fastvbow.features.image_encoder import ImageEncoder, ImageEncoderCard
from fastvbow.features.splitting import text_part
from fastvbow.images.decode import decode
from fastvbow.pipeline.space_cards import Classes, SpaceCard, spaces_folder, write_space
from fastvbow.pipeline.spaces import open_encoder_session, texts_folder
from fastvbow.semantic.banks.encoder import TextEncoder, describe_encoder
from fastvbow.semantic.banks.store import embed_texts
from fastvbow.semantic.conse import centred, conse

__all__ = ["PROMPT", "AddedSpace", "TextOptions", "Trial"]

PROMPT = "a photo of {}"
_HITS = 5
"""Of the bundled photographs, fewer of which lie nearest to their own names: something is probably wrong. By chance it
is one; ConSE with bge-small has 9 of the 15."""


@dataclass(frozen=True)
class TextOptions:
    """How a text encoder is used, where its graph and tokenizer do not tell; see
    `fastvbow.semantic.banks.encoder.describe_encoder`.

    Attributes
    ----------
    output, pooling : str, default=""
    tokens : int, default=0
    padded : bool, default=False
    pad : int, default=-1
        Negative: what the tokenizer says.
    """

    output: str = ""
    pooling: str = ""
    tokens: int = 0
    padded: bool = False
    pad: int = -1


@dataclass(frozen=True)
class AddedSpace:
    """A space that was added, and what a person may look at.

    Attributes
    ----------
    card : SpaceCard
    photographs : float
        Mean cosine of two bundled photographs; NaN without an image encoder.
    texts : float
        Mean cosine of two photographs' names.
    best : dict of str to (str, float)
        Each bundled photograph's nearest name, and their cosine; empty without an image encoder.
    """

    card: SpaceCard
    photographs: float
    texts: float
    best: dict[str, tuple[str, float]]

    @property
    def hits(self) -> int:
        """How many of the bundled photographs lie nearest to their own name."""
        return sum(name == found for name, (found, _) in self.best.items())


class Trial:
    """Encoders that are tried before they are added.

    Parameters
    ----------
    folder : Path
        Temporary: of copies.
    listener : Listener

    Attributes
    ----------
    photographs : list of ndarray of shape (height, width, 3), uint8
        The bundled ones.
    names : list of str
        What they show.
    """

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder, self._listener = folder, listener
        self._contents: dict[str, bytes] = {}
        files = photograph_files()
        self.names = [Path(file.name).stem for file in files]
        self.photographs = [decode(file.read_bytes()) for file in files]
        self._image: ImageEncoder | None = None
        self._classes: Classes | None = None
        self._class_vectors = np.empty((0, 0), np.float32)

    def open(self, what: str, content: bytes) -> tuple[Path, Any]:
        """A session of a network, and where its copy lies."""
        path = self._folder / f"{what}.onnx"
        path.write_bytes(content)
        self._contents[what] = content
        try:
            return path, open_encoder_session(path, "cpu")
        except FastvbowError as error:
            raise UsageError(str(error)) from None

    def take_text(self, text: Path, tokenizer: Path, options: TextOptions) -> None:
        """Find out how the text encoder is used."""
        path, session = self.open("text", text_part(text, options.output))
        try:
            self._contents["tokenizer"] = tokenizer.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read the tokenizer {tokenizer}: {error.strerror}") from None
        copied = self._folder / "tokenizer.json"
        copied.write_bytes(self._contents["tokenizer"])
        card = describe_encoder(
            session,
            path,
            copied,
            output=options.output or None,
            pooling=options.pooling or None,
            tokens=options.tokens or None,
            padded=options.padded,
            pad=options.pad if options.pad >= 0 else None,
        )
        self._text = TextEncoder(card, session, copied)

    def take_image(self, card: ImageEncoderCard, session: Any) -> None:
        """Take the image encoder that was described."""
        self._image = ImageEncoder(card, session)

    def take_classes(self, classes: Classes, content: bytes, names: tuple[str, ...]) -> None:
        """Take what the image encoder's scores mean."""
        self._classes, self._contents["classes"] = classes, content
        rows = embed_texts(
            self._text,
            names,
            texts_folder(),
            prompts=(classes.prompt,),
            progress=lambda done, total: self._listener(Event("texts", "step", done=done, total=total, unit="texts")),
        )
        self._class_vectors = centred(rows)

    def finish(self, name: str, kind: str, licence: str, source: str) -> AddedSpace:
        """Try what was taken on photographs and texts, and add it if it can be used."""
        texts = self._text.encode([PROMPT.format(_article(name)) for name in self.names])
        width = texts.shape[1]
        files = {what: Path(f"{what}.onnx") for what in self._contents}
        files |= {"tokenizer": Path("tokenizer.json")}
        if self._classes is not None:
            files["classes"] = Path("classes.txt")
        card = SpaceCard(
            name,
            kind,
            width,
            licence or "not stated",
            source,
            self._text.card,
            None if self._image is None else self._image.card,
            self._classes,
            files,
        )
        texts = centred(texts) if kind == "conse" else _unit(texts, "text")
        best: dict[str, tuple[str, float]] = {}
        photographs = math.nan
        if self._image is not None:
            rows = self._photographs(width)
            photographs = _mean_of_two(rows)
            alike = rows @ texts.T
            nearest = alike.argmax(axis=1)
            best = {
                own: (self.names[at], float(alike[i, at]))
                for i, (own, at) in enumerate(zip(self.names, nearest, strict=True))
            }
        done = AddedSpace(card, photographs, _mean_of_two(texts), best)
        if best and done.hits < _HITS:
            self._listener(
                Event(
                    "models",
                    "warning",
                    f"{done.hits} of {len(best)} bundled photographs lie nearest to their own names: were these "
                    "encoders trained together, and are --normalise, --resize, the outputs and --pooling right?",
                )
            )
        stored = write_space(card, self._contents, spaces_folder())
        self._listener(Event("models", "end", str(spaces_folder() / name)))
        return replace(done, card=stored)

    def _photographs(self, width: int) -> NDArray[np.float32]:
        if self._image is None:
            raise UsageError("there is no image encoder to try")
        rows = np.array([self._image.encode(pixels) for pixels in self.photographs])
        if self._classes is not None:
            rows = conse(rows, self._class_vectors, top=self._classes.top)
        if rows.shape[1] != width:
            raise UsageError(
                f"photographs have vectors of {rows.shape[1]} numbers and texts of {width}: name the outputs that lie "
                "in one space with --image-output and --text-output (image_embeds and text_embeds in transformers), or "
                "export the models with their projections"
            )
        return _unit(rows, "photograph")


def _article(name: str) -> str:
    """A bundled photograph's name with an article."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _unit(rows: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    length = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not length.all():
        raise UsageError(f"the encoder gives zeros for a {what}: name another output")
    unit = np.asarray(rows / length, np.float32)
    if np.allclose(unit, unit[0], atol=1e-6):
        raise UsageError(f"the encoder gives the same for every {what}: name another output, or another pooling")
    return unit


def _mean_of_two(unit: NDArray[np.float32]) -> float:
    alike = unit @ unit.T
    return float(alike[~np.eye(len(alike), dtype=bool)].mean())
