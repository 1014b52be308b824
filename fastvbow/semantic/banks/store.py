"""Embeddings of a bank of texts, made once and kept.

Format ``fastvbow-texts``, version 1
------------------------------------
A folder holds, for each bank and encoder, ``KEY.npy``, a float32 array (n, width) in C order, and ``KEY.json``, its
card: ``format``, ``version``, ``n``, ``width`` and ``prompts``. KEY is the SHA-256, in hex, of the JSON of the format's
version, the encoder's card (which has the SHA-256 of model and tokenizer), the prompts and the texts in their order.
Row i is the mean of the encoder's vectors of text i in each of the prompts, as the encoder gives them: not at unit
length. The card MUST be written after the array, and an array without a card does not count. A reader MUST refuse a
version above its own.

``KEY.parts/`` is work in progress: ``00000.npy`` and so on are the vectors of `PART` different texts each, in the order
in which the texts first come. Each is written beside its name and renamed. What is there is not made again, after a
kill either; the folder is removed when the array is whole.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.executors import effective_jobs, make_executor, run_tasks
from fastvbow.memory import array_on_disk
from fastvbow.project import replace_file
from fastvbow.semantic.banks.encoder import TextEncoder

__all__ = ["PART", "bank_key", "embed_texts"]

FORMAT, VERSION = "fastvbow-texts", 1
PART = 2048
"""Texts that are encoded and written at a time."""


class _Card(msgspec.Struct):
    format: str
    version: int
    n: int
    width: int
    prompts: tuple[str, ...]


def bank_key(encoder: TextEncoder, texts: Sequence[str], prompts: Sequence[str]) -> str:
    """What a bank's embeddings depend on, as a SHA-256 in hex.

    Parameters
    ----------
    encoder : TextEncoder
    texts, prompts : sequence of str
    """
    whole = [VERSION, asdict(encoder.card), list(prompts), list(texts)]
    return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).hexdigest()


def embed_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    folder: Path,
    *,
    prompts: Sequence[str] = ("{}",),
    n_jobs: int | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> NDArray[np.float32]:
    """Embeddings of texts: those that are kept in a folder, or else made and kept.

    Parameters
    ----------
    encoder : TextEncoder
    texts : sequence of str
        Equal ones are encoded once.
    folder : Path
        See the module for what is written.
    prompts : sequence of str, default=("{}",)
        Each holds ``{}`` once, for the text. The vectors of several prompts are averaged as they are.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors. The result does not depend on it.
    progress : callable (done, total), optional
        Is told of the different texts that are encoded.

    Returns
    -------
    ndarray of shape (n, width), float32
        A read-only memory map.

    Raises
    ------
    UsageError
        There are no texts or prompts, a prompt has no place for the text, a text has no tokens, or the folder cannot be
        written.
    StoreCorruptError
        What is kept is not what its card says, or of a newer version.
    """
    wanted = tuple(prompts)
    if not len(texts) or not wanted or any(prompt.count("{}") != 1 for prompt in wanted):
        raise UsageError(f"{len(texts)} texts and the prompts {wanted}: give texts, and prompts that hold {{}} once")
    key = bank_key(encoder, texts, wanted)
    kept, card = folder / f"{key}.npy", folder / f"{key}.json"
    if not card.exists():
        try:
            _make(encoder, texts, wanted, folder / f"{key}.parts", kept, n_jobs, progress)
            with replace_file(card) as path:
                path.write_bytes(msgspec.json.encode(_Card(FORMAT, VERSION, len(texts), _open(kept).shape[1], wanted)))
        except OSError as error:
            raise UsageError(f"cannot keep embeddings in {folder}: {error.strerror}: choose another folder") from None
        shutil.rmtree(folder / f"{key}.parts", ignore_errors=True)
    return _checked(kept, card, len(texts))


def _make(
    encoder: TextEncoder,
    texts: Sequence[str],
    prompts: tuple[str, ...],
    parts: Path,
    final: Path,
    n_jobs: int | None,
    progress: Callable[[int, int], object],
) -> None:
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    distinct = list(place)
    starts = range(0, len(distinct), PART)

    def one(start: int) -> Path:
        path = parts / f"{start // PART:05}.npy"
        if not path.exists():
            some = distinct[start : start + PART]
            # prompt after prompt, each with the same batches whatever was there before: the bytes do not depend on it
            total = encoder.encode([prompts[0].replace("{}", text) for text in some]).astype(np.float64)
            for prompt in prompts[1:]:
                total += encoder.encode([prompt.replace("{}", text) for text in some])
            with replace_file(path) as temporary, temporary.open("wb") as file:
                np.save(file, (total / len(prompts)).astype(np.float32), allow_pickle=False)
        return path

    threads = effective_jobs(n_jobs, default=1)
    with make_executor(threads) as executor:
        paths = []
        for path in run_tasks(executor, one, starts, ahead=2 * threads):
            paths.append(path)
            progress(min(len(paths) * PART, len(distinct)), len(distinct))
    loaded = [_open(path) for path in paths]
    rows = np.array([place[text] for text in texts], np.int64)
    with replace_file(final) as temporary:
        out = array_on_disk(temporary, np.float32, (len(rows), loaded[0].shape[1]))
        for start in range(0, len(rows), PART):
            some = rows[start : start + PART]
            for number in np.unique(some // PART):
                here = some // PART == number
                out[start : start + PART][here] = loaded[number][some[here] % PART]
        out.flush()
        del out


def _open(path: Path) -> NDArray[np.float32]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreCorruptError(f"cannot read the embeddings {path}: {error}: remove it, they are made again") from None
    if found.ndim != 2 or found.dtype != np.float32:
        raise StoreCorruptError(f"{path} holds {found.dtype} {found.shape}, not embeddings: remove it")
    return found


def _checked(kept: Path, card: Path, n: int) -> NDArray[np.float32]:
    try:
        told = msgspec.json.decode(card.read_bytes(), type=_Card)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreCorruptError(
            f"cannot read the card {card}: {error}: remove it, the texts are encoded again"
        ) from None
    if told.format != FORMAT or told.version > VERSION:
        raise StoreCorruptError(
            f"{card} is of format {told.format} {told.version}; this version reads {FORMAT} up to {VERSION}: remove it "
            "or upgrade fastvbow"
        )
    found = _open(kept)
    if found.shape != (n, told.width) or told.n != n:
        raise StoreCorruptError(
            f"{kept} holds {found.shape}, its card says ({told.n}, {told.width}): remove {card.name}, the texts are "
            "encoded again"
        )
    return found
