"""Where photographs lie on a map of two dimensions.

`umap`, where umap-learn is installed (extra ``viz``): UMAP (McInnes, Healy & Melville 2018) of the photographs' vectors
beside half the square roots of their topic mixtures. `pca` otherwise: the first two principal components of the
mixtures. On three labelled sets (1600 photographs of 8 kinds, 1500 of 15, 1000 of 10; as many topics), the
trustworthiness of 10 neighbours towards the CNN's 1280 numbers (Venna & Kaski 2001), and the accuracy of a vote of a
photograph's 10 nearest neighbours on the map over its label:

==========================================  =================  =================
what is laid out                            trustworthiness    accuracy
==========================================  =================  =================
PCA: mixtures, as they are drawn here       .932, .923, .948   .977, .833, .981
PCA: mixtures                               .929, .921, .949   .971, .826, .977
PCA: their square roots                     .933, .921, .948   .951, .754, .965
PCA: vectors in 64 components               .888, .850, .890   .801, .481, .747
PCA: word histograms, Hellinger             .863, .827, .832   .750, .530, .684
PCA: vectors and half the roots             .909, .858, .907   .855, .518, .804
UMAP: mixtures                              .933, .934, .947   .982, .889, .986
UMAP: their square roots                    .939, .942, .955   .984, .897, .986
UMAP: vectors in 64 components              .979, .973, .984   .984, .886, .985
UMAP: word histograms, Hellinger            .976, .972, .983   .978, .878, .986
UMAP: vectors and half the roots            .978, .974, .982   .986, .903, .986
UMAP: the same, as it is drawn here         .975, .969, .981   .986, .896, .986
==========================================  =================  =================

As they are drawn, points of UMAP keep more distance, and empty space is shrunk (`MIN_DISTANCE`, `EVENED`): of a grid of
64 x 64 cells 20, 17 and 14 % have a photograph, not 4, 4 and 2 %; of principal components 7, 7 and 5 %, not 2, 3 and
1 %.
For comparison, the same vote among the 1280 numbers themselves: .979, .887, .980.

A seed gives the same positions on the same machine, since UMAP runs in one thread. It is fitted on the photographs that
are drawn alone; PCA, fitted on the same, projects all others exactly, before space is shrunk for all alike.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from fastvbow.errors import MissingExtraError, UsageError

__all__ = ["LEAST_FOR_UMAP", "METHODS", "MapInput", "Positions", "lay_out", "map_method"]

METHODS = ("auto", "umap", "pca")
LEAST_FOR_UMAP = 100
"""Fewer photographs are laid out by PCA: 15 neighbours are no neighbourhood among them."""
NEIGHBOURS = 15
MIN_DISTANCE = 0.6
"""Of UMAP: with 0.1 the photographs of a group lie on one another (trustworthiness .978, .973, .982)."""
EVENED = 0.75
"""Part of the ranks in the coordinates, in either direction: what is left, or above, stays so, and empty space shrinks.
UMAP's groups are far apart, by distances that mean nothing; principal components heap photographs of one topic up."""
_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class MapInput:
    """What photographs are laid out by.

    Parameters
    ----------
    method : {"umap", "pca"}
        See `map_method`.
    mixtures : callable (ndarray of int) -> ndarray of shape (n, K), float
        The topic mixtures of some photographs of the report.
    vectors : callable (ndarray of int) -> ndarray of shape (n, d), float
        Their vectors beside half the square roots of the mixtures; asked for by ``umap`` alone, once.
    seed : int, default=0
        Of UMAP.
    """

    method: str
    mixtures: Callable[[NDArray[np.intp]], NDArray[np.floating]]
    vectors: Callable[[NDArray[np.intp]], NDArray[np.floating]]
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Positions:
    """Where photographs lie.

    Attributes
    ----------
    method : {"umap", "pca"}
        By what.
    drawn : ndarray of shape (n_drawn, 2), float64
        Those that are drawn one by one: within the unit square, the longer side of the map filling it.
    others : ndarray of shape (n_others, 2), float64
        The others, in the same square; none where they cannot be placed.
    """

    method: str
    drawn: NDArray[np.float64]
    others: NDArray[np.float64]


def map_method(wanted: str, n_images: int) -> str:
    """The method that lays out a map.

    Parameters
    ----------
    wanted : {"auto", "umap", "pca"}
        ``auto`` is UMAP where it is installed and there are `LEAST_FOR_UMAP` photographs, else PCA.
    n_images : int

    Returns
    -------
    str
        ``umap`` or ``pca``.

    Raises
    ------
    UsageError
        `wanted` is none of these, or is ``umap`` and there are too few photographs.
    MissingExtraError
        It is ``umap``, and umap-learn is not installed.
    """
    if wanted not in METHODS:
        raise UsageError(f"--layout is one of {', '.join(METHODS)}, not {wanted}")
    spec = importlib.util.find_spec("umap")
    installed = spec is not None and spec.origin is not None  # else the caches that an uninstalled one leaves behind
    if wanted == "auto":
        return "umap" if installed and n_images >= LEAST_FOR_UMAP else "pca"
    if wanted == "umap" and not installed:
        raise MissingExtraError("the map by UMAP", "umap-learn", "viz")
    if wanted == "umap" and n_images < LEAST_FOR_UMAP:
        raise UsageError(
            f"--layout umap wants {LEAST_FOR_UMAP} photographs, and there are {n_images}: pass --layout pca"
        )
    return wanted


def lay_out(given: MapInput, drawn: NDArray[np.intp], others: NDArray[np.intp]) -> Positions:
    """Lay out photographs.

    Parameters
    ----------
    given : MapInput
    drawn : ndarray of shape (n_drawn,), int
        The photographs that are drawn one by one; the map is fitted to them.
    others : ndarray of shape (n_others,), int
        All others, which ``pca`` alone places.

    Returns
    -------
    Positions
    """
    if given.method == "umap" and len(drawn) >= LEAST_FOR_UMAP:
        return Positions("umap", _umap(np.asarray(given.vectors(drawn), np.float32), given.seed), np.zeros((0, 2)))
    mixtures = np.asarray(given.mixtures(drawn), np.float64)
    if len(drawn) < 2:
        return Positions("pca", np.full((len(drawn), 2), 0.5), np.zeros((0, 2)))
    with np.errstate(invalid="ignore"):  # all alike: no variance to explain
        pca = PCA(min(2, *mixtures.shape), svd_solver="full").fit(mixtures)

    def project(rows: NDArray[np.floating]) -> NDArray[np.float64]:
        found = np.zeros((len(rows), 2))
        found[:, : pca.n_components_] = pca.transform(rows)
        return found

    parts = [project(given.mixtures(others[at : at + _BLOCK])) for at in range(0, len(others), _BLOCK)]
    first, rest = project(mixtures), np.concatenate(parts) if parts else np.zeros((0, 2))
    everything = np.concatenate([first, rest])
    first, rest = _to_unit(first, everything), _to_unit(rest, everything)
    return Positions("pca", _evened(first, first), _evened(rest, first))


def _umap(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what UMAP says of its own threads and of its spectral start
        from umap import UMAP

        model = UMAP(n_neighbors=NEIGHBOURS, min_dist=MIN_DISTANCE, random_state=seed, n_jobs=1)
        placed = np.asarray(model.fit_transform(vectors), np.float64)
    placed = _to_unit(placed, placed)
    return _evened(placed, placed)


def _evened(positions: NDArray[np.float64], fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move coordinates towards their ranks among those of the photographs that the map is fitted to."""
    out = (1 - EVENED) * positions
    for axis in range(2):
        values, counts = np.unique(fitted[:, axis], return_counts=True)
        ranks = np.cumsum(counts) - (counts + 1) / 2  # equal ones have their mean rank
        out[:, axis] += EVENED * np.interp(positions[:, axis], values, ranks / max(1, len(fitted) - 1))
    return out


def _to_unit(positions: NDArray[np.float64], everything: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions in the unit square that holds everything, both sides at one scale, the shorter one in the middle."""
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = (high - low).max() or 1.0
    return (positions - (low + high) / 2) / scale + 0.5
