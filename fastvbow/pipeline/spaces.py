"""Spaces: photographs and texts as vectors that can be compared."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import FastvbowError, StoreCorruptError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs
from fastvbow.features.cnn import open_session
from fastvbow.features.image_encoder import ImageEncoder
from fastvbow.pipeline.describing import LEAST_SIDE
from fastvbow.pipeline.own_vectors import own_vectors, unit
from fastvbow.pipeline.space_cards import SpaceCard, read_space
from fastvbow.pipeline.space_vectors import project_vectors
from fastvbow.project import ProjectFolder, fingerprint_of
from fastvbow.semantic.banks.classes import read_classes
from fastvbow.semantic.banks.encoder import TextEncoder
from fastvbow.semantic.banks.store import embed_texts
from fastvbow.semantic.conse import centred, conse

__all__ = ["Space", "open_encoder_session", "open_space", "own_vectors", "texts_folder"]


def texts_folder() -> Path:
    """Where embeddings of texts are kept: the environment's FASTVBOW_TEXTS, else ``fastvbow/texts`` in the user's
    cache."""
    given = os.environ.get("FASTVBOW_TEXTS")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path("~/.cache").expanduser()) / "fastvbow" / "texts"


def open_encoder_session(model: Path, device: str, sha256: str = "") -> Any:
    """An ONNX Runtime session of an encoder.

    Parameters
    ----------
    model : Path
        The ``.onnx`` file.
    device : {"auto", "cpu", "cuda"}
    sha256 : str, default=""
        What the file has to have, in hex; empty: it is not looked at.

    Raises
    ------
    StoreCorruptError
        The file is missing, another one, or cannot be run.
    UsageError, MissingExtraError, ProviderUnavailableError
        See `fastvbow.features.cnn.open_session`.
    """
    try:
        with model.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest() if sha256 else ""
    except OSError as error:
        raise StoreCorruptError(f"cannot read the encoder {model}: {error.strerror}: add it again") from None
    if found != sha256:  # before ONNX Runtime parses it
        raise StoreCorruptError(f"{model} has the SHA-256 {found}, its card says {sha256}: add it again")
    try:
        return open_session(model, device)
    except FastvbowError:
        raise
    except Exception as error:  # ONNX Runtime's own kinds share no better base
        raise StoreCorruptError(
            f"ONNX Runtime cannot open the encoder {model}: {error}: try a newer ONNX Runtime, or export it anew"
        ) from None


class Space:
    """Photographs and texts as vectors of one width; `open_space` opens one.

    Parameters
    ----------
    card : SpaceCard
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the encoders run.
    images : {"encode", "project"}, default="encode"
        Whether photographs go through the image encoder, or a project's own embeddings lie in this space.

    Raises
    ------
    UsageError
        `images` is neither of these, or the space has no image encoder and photographs should go through it.
    """

    def __init__(self, card: SpaceCard, *, device: str = "auto", images: str = "encode") -> None:
        if images not in ("encode", "project"):
            raise UsageError(f"images is 'encode' or 'project', not {images!r}")
        if images == "encode" and card.image is None:
            raise UsageError(
                f"the space {card.name} has texts only: it is for projects whose own embeddings lie in it "
                "(images='project'); 'fastvbow models add --clip' adds one with an image encoder"
            )
        self.card, self.images, self._device = card, images, device
        self._lock = threading.Lock()
        self._class_vectors: NDArray[np.float32] | None = None

    @property
    def name(self) -> str:
        """What the card calls it."""
        return self.card.name

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.card.width

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex, of all that its vectors depend on but the photographs and the texts."""
        return self.card.fingerprint if self.images == "encode" else fingerprint_of([self.card.fingerprint, "project"])

    def image_vectors(
        self,
        project: ProjectFolder,
        *,
        jobs: int | None = None,
        device: str | None = None,
        listener: Listener = log_events,
    ) -> NDArray[np.float32]:
        """The photographs of a project, kept in its folder (see `fastvbow.pipeline.space_vectors`).

        Parameters
        ----------
        project : ProjectFolder
            Its extraction has to be finished.
        jobs : int, optional
            Threads; None or -1: all processors. The bytes are the same for any number.
        device : {"auto", "cpu", "cuda"}, optional
            Where the image encoder runs; None: where the space was opened for.
        listener : Listener, optional
            Hears of the stage ``space``.

        Returns
        -------
        ndarray of shape (n_images, width), float32
            At unit length, row i is row i of the project's image table; zero rows for skipped photographs. A read-only
            memory map.

        Raises
        ------
        UsageError
            The project's own embeddings are of another width, or there are none.
        ProjectError
            A photograph has gone, or the project is busy or not extracted.
        """
        if self.images == "project":
            return self._of_project(project)
        if device is not None and device != self._device:
            return Space(self.card, device=device).image_vectors(project, jobs=jobs, listener=listener)

        def prepare() -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
            with self._lock:
                self._prepare(jobs, listener)
            return self.describe

        return project_vectors(
            project,
            self.fingerprint,
            self.name,
            self.width,
            prepare,
            least_side=max(LEAST_SIDE, self.card.image.side if self.card.image else 0),
            jobs=effective_jobs(jobs),
            listener=listener,
        )

    def describe(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The vector of a photograph: ndarray of shape (width,), float32, at unit length. Threads may call it at once.

        Parameters
        ----------
        pixels : ndarray of shape (height, width, 3), uint8
            RGB.

        Raises
        ------
        UsageError
            `pixels` are no photograph, there is no image encoder, or it gives zeros or no numbers.
        """
        with self._lock:
            encoder, class_vectors = self._prepare(None, log_events)
        found = encoder.encode(pixels)[None]
        if self.card.classes is not None:
            found = conse(found, class_vectors, top=self.card.classes.top)
        row = unit(found)[0]
        if not row.any() or row.shape != (self.width,):
            raise UsageError(
                f"the image encoder of {self.name} gives {'zeros' if not row.any() else f'{row.size} numbers'} for a "
                f"photograph; wanted: a vector of {self.width} numbers: add the space again"
            )
        return row

    def text_vectors(
        self,
        texts: Sequence[str],
        *,
        prompts: Sequence[str] = ("{}",),
        jobs: int | None = None,
        listener: Listener = log_events,
    ) -> NDArray[np.float32]:
        """Texts in this space. The encoder's vectors are kept in `texts_folder`.

        In a space of the kind "conse" they are centred: what a text says is how it differs from the others of its
        bank, so all of a bank belong into one call.

        Parameters
        ----------
        texts : sequence of str
        prompts : sequence of str, default=("{}",)
            What each text is put into, at ``{}``; its vector is the mean over the prompts.
        jobs : int, optional
            Threads; None or -1: all processors.
        listener : Listener, optional
            Hears of the steps ``texts``.

        Returns
        -------
        ndarray of shape (len(texts), width), float32
            At unit length.

        Raises
        ------
        UsageError
            There are no texts, one has no tokens, a prompt has no ``{}``, or there are fewer than two different texts
            to be centred.
        """
        if self.card.kind == "conse" and len(set(texts)) < 2:
            raise UsageError(
                f"{self.name} compares texts with one another (ConSE centres them): give two different ones at least"
            )
        with self._lock:
            rows = self._encoded(texts, prompts, jobs, listener)
        return centred(rows) if self.card.kind == "conse" else unit(rows)

    def _encoded(
        self, texts: Sequence[str], prompts: Sequence[str], jobs: int | None, listener: Listener
    ) -> NDArray[np.float32]:
        told = f"{len(texts)} texts for {self.name}"
        begun: list[int] = []

        def progress(done: int, total: int) -> None:
            if not begun:
                listener(Event("texts", "begin", told))
            begun.append(done)
            listener(Event("texts", "step", done=done, total=total, unit="texts"))

        rows = embed_texts(
            self._text_encoder, texts, texts_folder(), prompts=prompts, n_jobs=effective_jobs(jobs), progress=progress
        )
        listener(Event("texts", "end" if begun else "reused", told))
        if rows.shape[1] != self.width:
            raise StoreCorruptError(
                f"the text encoder of {self.name} gives {rows.shape[1]} numbers, its card says {self.width}: add the "
                "space again"
            )
        return rows

    def _of_project(self, project: ProjectFolder) -> NDArray[np.float32]:
        rows = own_vectors(project, keep=True)
        if rows.shape[1] != self.width:
            raise UsageError(
                f"the embeddings of {project.root} have {rows.shape[1]} numbers, the space {self.name} {self.width}: "
                "take the space by whose image encoder they were made"
            )
        return rows

    @cached_property
    def _text_encoder(self) -> TextEncoder:
        session = open_encoder_session(self.card.files["text"], self._device, self.card.text.model_sha256)
        return TextEncoder(self.card.text, session, self.card.files["tokenizer"])

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        if self.card.image is None or self.images == "project":
            raise UsageError(f"no photograph can be encoded for {self.name}: its vectors come from projects")
        session = open_encoder_session(self.card.files["image"], self._device, self.card.image.sha256)
        return ImageEncoder(self.card.image, session)

    def _prepare(self, jobs: int | None, listener: Listener) -> tuple[ImageEncoder, NDArray[np.float32]]:
        """What photographs need; the second is of a ConSE space's classes, and empty in other spaces."""
        encoder = self._image_encoder
        if self._class_vectors is None:
            self._class_vectors = np.empty((0, self.width), np.float32)
            if self.card.classes is not None:
                names = read_classes(self.card.files["classes"], self.card.classes.sha256)
                self._class_vectors = centred(self._encoded(names, (self.card.classes.prompt,), jobs, listener))
        return encoder, self._class_vectors


def open_space(name: str, *, device: str = "auto", images: str = "encode") -> Space:
    """Open a space that was added with ``fastvbow models add``; its encoders are opened when they are wanted.

    Parameters
    ----------
    name : str
        As ``fastvbow models list`` shows it.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the encoders run.
    images : {"encode", "project"}, default="encode"
        "project": the embeddings that a project was given (``--embeddings FILE``) lie in this space, and photographs
        are not encoded.

    Raises
    ------
    UsageError
        There is no such space, or it has no image encoder and `images` is "encode".
    StoreCorruptError
        Its card cannot be used.
    """
    return Space(read_space(name), device=device, images=images)
