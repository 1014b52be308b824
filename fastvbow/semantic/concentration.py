"""Probabilities of clusters, as sharp as the clusters of near images say.

Every estimator gives an image a score for each cluster: a cosine, or a head's logit. Its probabilities are
softmax(kappa scores), which for cosines is what a mixture of von Mises-Fisher distributions of one kappa and equal
weights gives. That mixture's own kappa, by likelihood (Banerjee et al. 2005), is of no use: the numbers of an embedding
are far from independent. Here kappa is the one number by which the probabilities foretell best in which clusters the
nearest neighbours of an image lie: it maximises mean_i mean_j log p_i,label(j) over the five nearest neighbours j of i.
Neighbours stand in for labels, which are never seen. This is an addition: the methods themselves say nothing of it.

Measured: clusters of sun8, scene15 and corel1k, as many as classes; a photograph is right if its class is that of most
of its cluster. ECE is the mean difference of the greatest probability and the share that is right, in 15 bins.

- K-Means in the network's own 1280 numbers: ECE .012, .019 to .045 and .006; the best kappa, found by the labels, has
  .009, .013 to .025 and .006. The mixture's own kappa has .031, .122 and .018; one by which the greatest probability is
  on average as great as k-means of two halves of the photographs agree .022, .071 and .007; the share of 20 neighbours
  in the same cluster .017, .065 and .015. The area under the ROC curve of right and wrong is .91, .87 and .97 for all
  kappas below 100, and .61, .63 and .55 for the mixture's own: its probabilities are 1 to rounding.
- In a space that is wrong itself neighbours are wrong alike, and nothing in it can tell. Where photographs and nouns
  share one by ConSE, TAC's own embedding gives an ECE of .23, .41 and .09, CAE's .20, .33 and .08; neighbours by the
  images' vectors, as here, .17, .31 and .05, and .16, .29 and .06; neighbours by the network's 1280 numbers
  (`calibrate`) .07, .10 and .04, and .08, .10 and .05.
- Networks that are trained are too sure of themselves; SIC's head is so the least. In the ConSE space the ECE of ICBPL
  with kappa 10 was .35, .54 and .22, and is .26, .43 and .15 (in the 1280 numbers .03, .33 and .04, and is .00, .20 and
  .00); that of TAC's heads was .23, .39 and .09, and is .17, .30 and .04; that of SIC's (`init="centers"`) is .07, .25
  and .02, and would be .08, .27 and .02: it is left as it is.
- Probabilities say how clear an image's cluster is, not whether clusters are classes: with half as many clusters as
  classes half of the photographs are wrong, and the mean probability is .92 to .98.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from fastvbow.cancelling import check_cancelled
from fastvbow.semantic._rows import blocks
from fastvbow.semantic.neighbours import neighbour_count

__all__ = ["fit_concentration", "shares_of_scores"]

NEIGHBOURS = 5
IMAGES_A_CLUSTER = 100
"""Images that neighbours are looked for among: in a larger set they are nearer, and agree the more."""
ASKED = 2000
"""Images at most whose neighbours are looked for."""
GREATEST = 1e4
"""Of kappa: beyond it, scores that float32 cannot tell apart would count."""


def fit_concentration(
    vectors: NDArray[np.float32], labels: NDArray[np.int32], scores: Callable[[NDArray[np.int64]], NDArray[Any]]
) -> float:
    """The kappa by which softmax(kappa scores) foretells best the clusters of the nearest neighbours.

    The images looked at are 100 a cluster, evenly spaced in their order, and so are the 2,000 of them at most whose
    five neighbours count; nothing is drawn at random. One vote more than all neighbours have is spread over the
    clusters evenly, so that kappa stays finite where all neighbours agree.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), float32
        What tells which images are near, at unit length.
    labels : ndarray of shape (n,), int32
        The cluster of every image.
    scores : callable (ndarray of int64, shape (m,)) -> ndarray of shape (m, K)
        The scores of images, by their numbers.

    Returns
    -------
    float
        From 0, where neighbours are in any cluster, to 10,000.
    """
    if len(vectors) < 2:
        return 0.0
    K = scores(np.zeros(1, np.int64)).shape[1]
    sample = _evenly(len(vectors), IMAGES_A_CLUSTER * K)
    pool, clusters = np.ascontiguousarray(vectors[sample]), labels[sample]
    asked = _evenly(len(pool), ASKED)
    few = min(neighbour_count(NEIGHBOURS, len(pool), K), len(pool) - 1)
    votes = np.full((len(asked), K), 1 / (K * len(asked)))
    for part in blocks(len(asked), max(pool.shape)):
        check_cancelled()
        cosines = pool[asked[part]] @ pool.T
        cosines[np.arange(len(cosines)), asked[part]] = -np.inf  # not itself
        near = np.argpartition(-cosines, few - 1, axis=1)[:, :few]
        np.add.at(votes, (np.arange(len(asked))[part, None], clusters[near]), 1.0)
    votes /= votes.sum(axis=1, keepdims=True)
    logits = scores(sample[asked]).astype(np.float64)
    seen = float((votes * logits).sum())

    def lacking(kappa: float) -> float:
        """The derivative of the log-likelihood, which falls as kappa grows."""
        check_cancelled()
        return seen - float((softmax(kappa * logits, axis=1) * logits).sum())

    if lacking(0.0) <= 0:
        return 0.0
    if lacking(GREATEST) >= 0:
        return GREATEST
    return float(brentq(lacking, 0.0, GREATEST, xtol=1e-6))


def shares_of_scores(scores: NDArray[np.floating], concentration: float) -> NDArray[np.float32]:
    """softmax(kappa scores), row by row.

    Parameters
    ----------
    scores : ndarray of shape (n, K), floating
    concentration : float
        kappa, 0 or more.

    Returns
    -------
    ndarray of shape (n, K), float32
        Rows sum to 1. The first greatest of a row is that of its scores, even where probabilities are equal to
        rounding.
    """
    shares = softmax(concentration * scores.astype(np.float64), axis=1).astype(np.float32)
    best = scores.argmax(axis=1)
    behind = np.flatnonzero(shares.argmax(axis=1) != best)
    shares[behind, best[behind]] = np.nextafter(shares[behind].max(axis=1), np.float32(2))
    return shares


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """Numbers of rows, at most so many, evenly spaced."""
    return np.arange(n) if n <= most else np.arange(most) * n // most
