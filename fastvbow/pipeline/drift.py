"""What a project's own photographs are like, so that new ones can be held against them (`fastvbow.groups.drift`).

Format ``fastvbow-drift``, version 1: ``drift.safetensors`` in the project folder is a cache, which MAY be missing and
MAY be removed at any time. Its metadata MUST hold one entry, ``fastvbow-drift``: a JSON object with ``version``,
``of``, the fingerprint of the words as they were before photographs were added, and ``views``, the views' names in
order. A reader MUST take a file where ``version`` or ``of`` differs for missing. ``VIEW.inverse`` (d + 1, d + 1)
float32 and ``VIEW.scores`` (n,) float64 are those of each view; ``least`` (n,) float64. It is made when new photographs
are first held against the project: of `MOST_IMAGES` at most, drawn evenly, in about a second for 1280 dimensions.

The views are the CNN's vectors (or embeddings), its maps, each the mean of its cells, and the words of the keypoints,
as square roots of their frequencies. The words of the vectors are none: there are too few photographs a word, so that
those they were learned from are far nearer to them than others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fastvbow.cancelling import check_cancelled
from fastvbow.executors import one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.groups.drift import LEAST_IMAGES, DriftReference, DriftReport
from fastvbow.pipeline.encoding import TokenShard, open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder, fingerprint_of, replace_file
from fastvbow.words.vocabulary import Vocabulary, unit_rows

__all__ = ["FORMAT", "VERSION", "drift_of", "drift_reference", "views_of"]

FORMAT = "fastvbow-drift"
VERSION = 1
MOST_IMAGES = 4000
"""More tell little: with so many, the chance of a misfit is known to a fifteenth of itself."""
_VIEWS = {"pooled": "vectors", "conv": "maps"}
_WORDS = ("sift", "joint")
_ORDER = ("vectors", "maps", "keypoints")


class _About(msgspec.Struct, frozen=True):
    version: int
    of: str
    views: list[str]


def views_of(
    vocabulary: Vocabulary,
    features: Mapping[str, tuple[NDArray[Any], NDArray[np.int64]]],
    words: NDArray[Any],
    counts: NDArray[np.int32],
) -> dict[str, NDArray[np.float32]]:
    """A run of photographs as `fastvbow.groups.drift` looks at them.

    Parameters
    ----------
    vocabulary : Vocabulary
    features : dict of str to (descriptors, offsets)
        Those of ``pooled`` and ``conv`` that there are, (n, d) and (n_images + 1,).
    words, counts : ndarray
        The tokens of these photographs (see `fastvbow.words.tokens.encode`).

    Returns
    -------
    dict of str to ndarray of shape (n_images, d), float32
        ``vectors``, ``maps`` and ``keypoints``, each where there are such; a zero row where a photograph has none.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for modality, view in _VIEWS.items():
        if modality in features:
            descriptors, offsets = features[modality]
            rows = np.zeros((len(offsets) - 1, descriptors.shape[1]), np.float32)
            for i, (start, stop) in enumerate(pairwise(offsets)):  # by itself: no bit depends on its neighbours
                if stop > start:
                    rows[i] = unit_rows(unit_rows(descriptors[start:stop]).mean(axis=0, keepdims=True))[0]
            found[view] = rows
    firsts, ends = vocabulary.first_word, np.cumsum(counts, axis=None).reshape(counts.shape)
    for place, (modality, book) in enumerate(vocabulary.codebooks.items()):
        if modality in _WORDS:
            rows = np.zeros((len(counts), book.n_words), np.float32)
            for i, (n, end) in enumerate(zip(counts[:, place], ends[:, place], strict=True)):
                if n:
                    held = words[end - n : end].astype(np.int64) - firsts[modality]
                    rows[i] = np.sqrt(np.bincount(held, minlength=book.n_words) / n)
            found["keypoints"] = rows
    return {view: found[view] for view in _ORDER if view in found}


def drift_reference(project: ProjectFolder, vocabulary: Vocabulary) -> DriftReference | None:
    """What new photographs of a project are held against; read from its cache, or made and kept there.

    Parameters
    ----------
    project : ProjectFolder
        Its photographs have to have their words.
    vocabulary : Vocabulary
        The project's.

    Returns
    -------
    DriftReference or None
        None where there are fewer than `fastvbow.groups.drift.LEAST_IMAGES` photographs: they do not tell what is rare.
    """
    project.require("encode")
    words = project.require("vocabulary")
    # photographs that were added later are no measure of what the words were learned from
    before = words.outputs.get("before additions", {"vocabulary": words.fingerprint, "images": None})
    of = fingerprint_of([FORMAT, VERSION, {"vocabulary": before["vocabulary"]}, MOST_IMAGES])
    path = project.root / "drift.safetensors"
    with (
        contextlib.suppress(OSError, SafetensorError, KeyError, TypeError, msgspec.DecodeError),
        safe_open(path, framework="np") as file,
    ):
        known = msgspec.json.decode(file.metadata()[FORMAT], type=_About)
        if (known.version, known.of) == (VERSION, of):
            return DriftReference(
                {view: file.get_tensor(f"{view}.inverse") for view in known.views},
                {view: file.get_tensor(f"{view}.scores") for view in known.views},
                file.get_tensor("least"),
            )
    views_of_own = _own_views(project, vocabulary, before["images"])
    if not views_of_own or len(next(iter(views_of_own.values()))) < LEAST_IMAGES:
        return None
    with one_thread_each():
        reference = DriftReference.fit(views_of_own)
    tensors: dict[str, NDArray[Any]] = {"least": reference.least}
    for view, inverse in reference.inverses.items():
        tensors |= {f"{view}.inverse": inverse, f"{view}.scores": reference.scores[view]}
    about = msgspec.json.encode(_About(VERSION, of, list(reference.inverses))).decode()
    with contextlib.suppress(OSError, SafetensorError), replace_file(path) as beside:  # it may be no one's to write
        save_file(tensors, beside, {FORMAT: about})  # one entry: several come in no certain order
    return reference


def drift_of(reference: DriftReference, project: ProjectFolder, vocabulary: Vocabulary) -> DriftReport:
    """Hold all photographs of a project against the reference of another one that has the same words.

    Parameters
    ----------
    reference : DriftReference
    project : ProjectFolder
        Its photographs have to have their words.
    vocabulary : Vocabulary
    """
    tails = [np.empty((0, len(reference.inverses)))]
    for shard, part in zip(open_shards(project), open_tokens(project), strict=True):
        check_cancelled()
        rows = np.flatnonzero(shard.read)
        if len(rows):
            tails.append(reference.tails(_views(shard, part, rows, vocabulary)))
    return reference.report(np.concatenate(tails))


def _own_views(project: ProjectFolder, vocabulary: Vocabulary, n_images: int | None) -> dict[str, NDArray[np.float32]]:
    """The views of a project's photographs, the first `n_images` or all, of `MOST_IMAGES` at most."""
    shards, tokens = open_shards(project), open_tokens(project)
    read = np.flatnonzero(np.concatenate([shard.read for shard in shards])[:n_images])
    chosen = read[np.linspace(0, len(read) - 1, min(MOST_IMAGES, len(read))).astype(np.int64)]
    parts, first = [], 0
    for shard, part in zip(shards, tokens, strict=True):
        check_cancelled()
        rows = chosen[(chosen >= first) & (chosen < first + shard.card.n_images)] - first
        first += shard.card.n_images
        if not len(rows):
            continue
        parts.append(_views(shard, part, rows, vocabulary))
    return {view: np.concatenate([part[view] for part in parts]) for view in (parts[0] if parts else ())}


def _views(
    shard: FeatureShard, tokens: TokenShard, rows: NDArray[np.int64], vocabulary: Vocabulary
) -> dict[str, NDArray[np.float32]]:
    """The views of some photographs of a shard."""
    features = {}
    for modality in set(_VIEWS) & set(shard.card.rows):
        features[modality] = _taken(shard.descriptors(modality), shard.offsets(modality), rows)
    words, _ = _taken(tokens.words, tokens.offsets, rows)
    return views_of(vocabulary, features, words, tokens.counts[rows])


def _taken(
    values: NDArray[Any], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The values of some images of a run, and where each one's begin."""
    taken = [values[offsets[i] : offsets[i + 1]] for i in rows]
    return np.concatenate(taken), np.concatenate([[0], np.cumsum([len(part) for part in taken])])
