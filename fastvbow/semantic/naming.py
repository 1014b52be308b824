"""Names for clusters and topics: the nouns that fit one and not the others, and the caption nearest to it.

In the ConSE space (see `fastvbow.semantic.conse`), with one bank of 62,699 nouns of WordNet, five names held a right
one (the class, a synonym or a kind of it) for 6.0 of the 8 classes of SUN, 6.2 of 15 of Scene-15 and 9.0 of 10 of
Corel-1k where two of the five are of things and three of places (`slots`); for 3.0, 4.2 and 9.0 where the five best
are taken, because the things in a scene are nearer than its name. The slots, contrast, `apart` and the prior's weight
were chosen on these sets; chosen on two of them they held less on the third (``benchmarks/README.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError
from fastvbow.semantic._rows import blocks, unit_rows, workers

__all__ = ["SuggestedNames", "cluster_directions", "suggest_names"]

CANDIDATES = 300
"""Nouns of a cluster that are looked at, for names that are apart from one another."""


@dataclass(frozen=True)
class SuggestedNames:
    """What one cluster may be called.

    Attributes
    ----------
    nouns : tuple of str
        The best first.
    scores : tuple of float
        Of these nouns; they compare within one bank alone.
    rows : tuple of int
        Their rows in the bank.
    caption : str or None
        The one nearest to the centre, where captions were given.
    caption_cosine : float or None
    """

    nouns: tuple[str, ...]
    scores: tuple[float, ...]
    rows: tuple[int, ...]
    caption: str | None
    caption_cosine: float | None


def cluster_directions(images: Any, labels: NDArray[np.integer], n_clusters: int) -> NDArray[np.float32]:
    """The mean direction of the images of each cluster; of a topic, of those that it is the likeliest of.

    Parameters
    ----------
    images : array-like of shape (n, d)
        Embeddings in the space of the texts; the clusters may have been found in another one. A memory map is read a
        block at a time.
    labels : ndarray of shape (n,), integer
        From 0; negative ones belong to none, and their rows may be anything.
    n_clusters : int

    Returns
    -------
    ndarray of shape (n_clusters, d), float32
        At unit length; zeros where a cluster has no images, or they cancel out.

    Raises
    ------
    UsageError
        There are not as many labels as images, a label is not below n_clusters, or a row that has one no direction.
    """
    rows = images if isinstance(images, np.ndarray) else np.asarray(images)
    if rows.ndim != 2:
        rows = unit_rows(rows, "images")  # which says what is wrong
    labels = np.asarray(labels)
    if labels.shape != (len(rows),) or labels.max(initial=-1) >= n_clusters:
        raise UsageError(
            f"labels of shape {labels.shape} up to {labels.max(initial=-1)} do not fit {len(rows)} images in "
            f"{n_clusters} clusters"
        )
    sums = np.zeros((n_clusters, rows.shape[1]))
    for part in blocks(*rows.shape):
        check_cancelled()
        used = labels[part] >= 0
        block = unit_rows(np.where(used[:, None], rows[part], 1), f"the images from {part.start} on")
        np.add.at(sums, labels[part][used], block[used])
    norm = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, norm, out=np.zeros_like(sums), where=norm > 1e-9).astype(np.float32)


def suggest_names(
    centers: NDArray[np.float32],
    nouns: Any,
    words: Sequence[str],
    *,
    n: int = 5,
    contrast: float = 0.8,
    apart: float = 0.78,
    prior: NDArray[np.floating] | None = None,
    kinds: NDArray[np.integer] | None = None,
    slots: Sequence[int] | None = None,
    captions: Any = None,
    caption_texts: Sequence[str] | None = None,
    n_jobs: int | None = None,
) -> list[SuggestedNames]:
    """Name clusters.

    The score of a noun u for the cluster of centre c_k is c_k · u - contrast mean_l(c_l · u) + prior: a noun that is
    near to all centres, a hub, names none of them. Nouns are taken by their score, except those that a name taken
    before says already: the same word, or one at a cosine above `apart`.

    Parameters
    ----------
    centers : ndarray of shape (K, d), float32
        At unit length or zero, see `cluster_directions`. A zero centre gets no names.
    nouns : array-like of shape (M, d)
        Embeddings of nouns.
    words : sequence of str, of length M
    n : int, default=5
        Names a cluster at most.
    contrast : float, default=0.8
        Without effect where there is one centre alone.
    apart : float, default=0.78
        1 leaves out equal words alone.
    prior : ndarray of shape (M,), floating, optional
        Added to the score, for nouns that are likelier than others; .02 log(1 + number of captions that have the noun)
        does well, see `fastvbow.semantic.banks.frequencies.caption_counts`.
    kinds : ndarray of shape (M,), integer, optional
        What kind of noun each is, from 0; given with `slots`. In one bank the names of scenes are hidden behind those
        of the things in them; see `fastvbow.semantic.banks.nouns.place_kinds`.
    slots : sequence of int, optional
        How many names of each kind a cluster gets at most, in the order of the kinds; `n` has no effect then. A kind
        without a slot gives no names.
    captions : array-like of shape (L, d), optional
        Embeddings of captions.
    caption_texts : sequence of str, of length L, optional
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    list of SuggestedNames, one a centre

    Raises
    ------
    UsageError
        Lengths or widths do not fit, or a parameter cannot be used.
    """
    bank = unit_rows(nouns, "nouns", centers.shape[1])
    if len(words) != len(bank) or (prior is not None and np.shape(prior) != (len(bank),)):
        raise UsageError(f"{len(words)} words, or the prior, do not fit {len(bank)} embeddings of nouns")
    if n < 1 or contrast < 0 or not -1 <= apart <= 1:
        raise UsageError(
            f"names take n of at least 1, a contrast of at least 0 and apart from -1 to 1, not {n}, {contrast} and "
            f"{apart}"
        )
    if (captions is None) != (caption_texts is None):
        raise UsageError("captions are given by their embeddings and their texts: give both or neither")
    kinds, slots = _checked_kinds(kinds, slots, len(bank), n)
    used = np.flatnonzero(centers.any(axis=1))
    best = _best_of_kinds(centers[used], bank, contrast if len(used) > 1 else 0.0, prior, kinds, slots, n_jobs)
    nearest = None
    if captions is not None and caption_texts is not None:
        rows = unit_rows(captions, "captions", centers.shape[1])
        if len(rows) != len(caption_texts):
            raise UsageError(f"{len(caption_texts)} captions do not fit {len(rows)} embeddings of captions")
        nearest = _candidates(centers[used], rows, 0.0, None, n_jobs, most=1)
    found = [SuggestedNames((), (), (), None, None)] * len(centers)
    for at, k in enumerate(used):
        chosen = _apart(best[0][at], bank, words, kinds, slots, apart)
        caption = None if nearest is None else int(nearest[0][at, 0])
        found[k] = SuggestedNames(
            tuple(words[int(best[0][at, i])] for i in chosen),
            tuple(float(best[1][at, i]) for i in chosen),
            tuple(int(best[0][at, i]) for i in chosen),
            None if caption is None or caption_texts is None else caption_texts[caption],
            None if nearest is None else float(nearest[1][at, 0]),
        )
    return found


def _candidates(
    centers: NDArray[np.float32],
    texts: NDArray[np.float32],
    contrast: float,
    prior: NDArray[np.floating] | None,
    n_jobs: int | None,
    most: int = CANDIDATES,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The texts of the best scores of each centre, the best first, and the scores: (K, at most `most`)."""
    most = min(most, len(texts))

    def one(part: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        scores = centers @ texts[part].T
        if contrast:
            scores -= np.float32(contrast) * scores.mean(axis=0)
        if prior is not None:
            scores += prior[part].astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
        return order + part.start, np.take_along_axis(scores, order, axis=1)

    with workers(n_jobs) as team:
        parts = list(team.each_block(one, len(texts), max(texts.shape[1], 2 * len(centers))))
    rows, scores = (np.concatenate([part[i] for part in parts], axis=1) for i in (0, 1))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _checked_kinds(
    kinds: NDArray[np.integer] | None, slots: Sequence[int] | None, n_nouns: int, n: int
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Kinds and slots as they are worked with: one kind with n slots where none are given."""
    if (kinds is None) != (slots is None):
        raise UsageError("kinds of nouns and slots for them go together: give both or neither")
    if kinds is None or slots is None:
        return np.zeros(n_nouns, np.int64), (n,)
    found = np.asarray(kinds)
    if found.shape != (n_nouns,) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= len(slots):
        raise UsageError(
            f"kinds of shape {found.shape} and type {found.dtype} do not fit {n_nouns} nouns and {len(slots)} slots: "
            "give an integer from 0 for every noun, and a number of slots for every kind"
        )
    if min(slots) < 0 or sum(slots) < 1:
        raise UsageError(f"slots={tuple(slots)} cannot be used; give numbers of 0 or more, one of them above 0")
    return found.astype(np.int64), tuple(int(number) for number in slots)


def _best_of_kinds(
    centers: NDArray[np.float32],
    bank: NDArray[np.float32],
    contrast: float,
    prior: NDArray[np.floating] | None,
    kinds: NDArray[np.int64],
    slots: tuple[int, ...],
    n_jobs: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The candidates of all kinds that have slots, the best first, and the scores."""
    rows, scores = [], []
    for kind, number in enumerate(slots):
        members = np.flatnonzero(kinds == kind)
        if number and len(members):
            whole = len(members) == len(bank)
            of_kind = None if prior is None else prior[members]
            found = _candidates(centers, bank if whole else bank[members], contrast, of_kind, n_jobs)
            rows.append(members[found[0]])
            scores.append(found[1])
    if not rows:
        raise UsageError("no noun is of a kind that has a slot: give slots to a kind of the bank")
    all_rows, all_scores = np.concatenate(rows, axis=1), np.concatenate(scores, axis=1)
    order = np.argsort(-all_scores, axis=1, kind="stable")
    return np.take_along_axis(all_rows, order, axis=1), np.take_along_axis(all_scores, order, axis=1)


def _apart(
    rows: NDArray[np.int64],
    bank: NDArray[np.float32],
    words: Sequence[str],
    kinds: NDArray[np.int64],
    slots: tuple[int, ...],
    apart: float,
) -> list[int]:
    """Places in `rows` of the first nouns that say something that those before did not, as far as slots go."""
    vectors = bank[rows]
    left = list(slots)
    said: set[str] = set()
    chosen: list[int] = []
    for i, row in enumerate(rows):
        word, kind = words[int(row)].casefold(), int(kinds[row])
        if not any(left):
            break
        if not left[kind] or word in said or (chosen and float((vectors[chosen] @ vectors[i]).max()) > apart):
            continue
        said.add(word)
        chosen.append(i)
        left[kind] -= 1
    return chosen
