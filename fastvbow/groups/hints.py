"""Which groups a person may want to make one, and which seem to hold two kinds of photographs.

Two groups look like one where photographs hold both: the overlap of groups a and b is the cosine of their columns of
shares, sum_i s_ia s_ib / sqrt(sum_i s_ia^2 sum_i s_ib^2). A group looks like two where its photographs fall into two
clusters that lie far apart: K-Means parts them, and what the parting explains (the variance between the two centres,
p (1 - p) d^2) is taken as a share of the variance of all photographs.

Held against labels, on SUN (8 scenes), Scene-15 and Corel-1k with half to three times as many topics as labels and two
seeds (36 models, ``benchmarks/bench_hints.py``). Pairs with one most frequent label (of at least 60 %): 284 of 5402.
Topics with a second label of a quarter or more: 69 of 575.

=============================  =====  ==========  ==========
measure                        AUC    precision   of those
=============================  =====  ==========  ==========
overlap of shares > .1         .990   .88         .71
distance of centres            .990
overlap of word distributions  .962
silhouette of the pair         .980
parting explains > .12         .796   .81         .42
variance within                .808
silhouette of the parts        .643
=============================  =====  ==========  ==========

Where there are as many topics as labels none is proposed to be parted. What is missed are kinds that lie near one
another, such as Scene-15's rooms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from fastvbow.cancelling import check_cancelled

__all__ = ["OVERLAP", "PARTED", "Merging", "Parting", "mergings", "partings"]

OVERLAP = 0.1
"""Groups that overlap more are proposed to be one."""
PARTED = 0.12
"""A group is proposed to be two where its parting explains a greater share of the variance of all photographs."""
FEWEST = 10
"""Photographs of a group that is looked at."""
SAMPLE = 2000
"""So many photographs of a group are clustered."""
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Merging:
    """Two groups that may be one.

    Attributes
    ----------
    groups : tuple of (int, int)
        Rising.
    overlap : float
        Cosine of their shares, 0 to 1.
    """

    groups: tuple[int, int]
    overlap: float


@dataclass(frozen=True)
class Parting:
    """A group that may be two.

    Attributes
    ----------
    group : int
    explained : float
        What the parting explains, as a share of the variance of all photographs.
    share : float
        Of the group's photographs that lie in the larger part.
    examples : tuple of (int, int)
        The photograph nearest to the centre of each part, the larger part's first: rows of what was given.
    """

    group: int
    explained: float
    share: float
    examples: tuple[int, int]


def mergings(shares: NDArray[np.floating], least: float = OVERLAP) -> list[Merging]:
    """Find groups that photographs hold together.

    Parameters
    ----------
    shares : ndarray of shape (n_rows, n_groups), floating
        Mixtures; a column of zeros is no group. It is read in blocks, so it may be a memory map.
    least : float, default=0.1
        Only pairs that overlap more.

    Returns
    -------
    list of Merging
        The greatest overlap first.
    """
    n_groups = shares.shape[1]
    products = np.zeros((n_groups, n_groups))
    for start in range(0, len(shares), _BLOCK):
        check_cancelled()
        block = np.asarray(shares[start : start + _BLOCK], np.float64)
        products += block.T @ block
    length = np.sqrt(np.diag(products))
    with np.errstate(invalid="ignore"):
        overlap = np.nan_to_num(products / np.outer(length, length))
    first, second = np.nonzero(np.triu(overlap > least, 1))
    found = [Merging((int(a), int(b)), float(overlap[a, b])) for a, b in zip(first, second, strict=True)]
    return sorted(found, key=lambda pair: (-pair.overlap, pair.groups))


def partings(
    groups: NDArray[np.integer], vectors: NDArray[np.floating], *, least: float = PARTED, seed: int = 0
) -> list[Parting]:
    """Find groups that hold two kinds of photographs.

    Parameters
    ----------
    groups : ndarray of shape (n_rows,), integer
        The group of each photograph.
    vectors : ndarray of shape (n_rows, d), floating
        In which photographs are compared; a row that is not finite is left out. Of more than `SAMPLE` in a group the
        first ones are looked at: rows come in an order that means nothing.
    least : float, default=0.12
        Only groups whose parting explains more.
    seed : int, default=0

    Returns
    -------
    list of Parting
        What explains most first. Groups of fewer than `FEWEST` photographs are not looked at.
    """
    known = np.isfinite(vectors).all(axis=1)
    whole = float(vectors[known].var(axis=0, dtype=np.float64).sum()) if known.any() else 0.0
    found = []
    for group in np.unique(groups).tolist() if whole > 0 else []:
        check_cancelled()
        rows = np.flatnonzero((groups == group) & known)[:SAMPLE]
        if len(rows) < FEWEST:
            continue
        members = np.asarray(vectors[rows], np.float64)
        if not members.var(axis=0).any():  # K-Means would warn of equal photographs
            continue
        model = KMeans(2, n_init=10, random_state=seed).fit(members)
        sizes = np.bincount(model.labels_, minlength=2)
        larger = int(sizes.argmax())
        share = sizes[larger] / len(rows)
        apart = float(((model.cluster_centers_[0] - model.cluster_centers_[1]) ** 2).sum())
        explained = share * (1 - share) * apart / whole
        if explained > least:
            nearest = model.transform(members).argmin(axis=0)
            examples = int(rows[nearest[larger]]), int(rows[nearest[1 - larger]])
            found.append(Parting(group, float(explained), float(share), examples))
    return sorted(found, key=lambda parting: (-parting.explained, parting.group))
