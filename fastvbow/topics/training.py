"""Training: sweeps of a chain, looks at its likelihood, and averages over samples."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from fastvbow.topics.chain import Chain
from fastvbow.topics.split_merge import exchange_topics

__all__ = ["train"]


def train(
    chain: Chain,
    max_iter: int,
    burn_in: int,
    thin: int,
    exchanges: Collection[int],
    callback: Callable[[int, int], object] | None,
) -> tuple[NDArray[np.float64], list[int], list[float]]:
    """Run `max_iter` sweeps.

    Every `thin`-th sweep, counted backwards from the last, is looked at; those after `burn_in` are averaged.
    After the sweeps in `exchanges` a round of split-merge moves is held.

    Returns
    -------
    components : ndarray of shape (K, V), float64
        Mean of nzw + eta over the samples.
    sweeps : list of int
        The sweeps looked at, burn-in included.
    log_likelihood : list of float
        The joint log-likelihood per token after each of them.
    """
    total = np.zeros((len(chain.nzw), chain.n_topics))
    n_samples = 0
    sweeps, history = [], []
    for number in range(1, max_iter + 1):
        chain.sweep(number)
        if number in exchanges:
            exchange_topics(chain, number)
        if (max_iter - number) % thin == 0:
            sweeps.append(number)
            history.append(chain.log_likelihood())
            if number > burn_in:
                total += chain.word_topics()
                n_samples += 1
        if callback is not None:
            callback(number, max_iter)
    return np.ascontiguousarray(total.T) / n_samples + chain.eta, sweeps, history
