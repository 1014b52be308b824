"""Training: sweeps of a chain, looks at its likelihood, priors that adapt, and averages over samples."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.topics.priors import fit_alpha, fit_eta
from fastvbow.topics.split_merge import exchange_topics

__all__ = ["Plan", "Training"]

LOOKS = 5
"""Looks at the likelihood whose mean is compared with that of as many before."""
EMPTY_ROUNDS = 2
"""Rounds of split-merge moves that find nothing, after which there are no more; the first may come too early."""


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes
    ----------
    max_iter, burn_in : int
        Sweeps, and those of them before the first sample.
    thin : int
        Sweeps from one look to the next, counted backwards from the last sweep.
    exchanges : collection of int
        Sweeps after which a round of split-merge moves is held, until `EMPTY_ROUNDS` of them have found nothing.
    optimize_priors : int
        Sweeps between two updates of the priors, after the last round; 0 is never.
    tol : float
        Burn-in ends where the mean of `LOOKS` looks, in log-likelihood per token, is less than this above that of the
        looks before them; 0 is never.
    merge_every : int
        Sweeps after which several walks put their counts together; they also do before each look, round of split-merge
        moves and update of the priors, and at the end.
    """

    max_iter: int
    burn_in: int
    thin: int
    exchanges: Collection[int] = ()
    optimize_priors: int = 0
    tol: float = 0.0
    merge_every: int = 1


class Training:
    """A chain under way; `run` may be interrupted at any time, and goes on where it was.

    Parameters
    ----------
    chain : Chain
        Or what does as it, such as `fastvbow.topics.walks.WalkChain`.
    plan : Plan

    Attributes
    ----------
    n_sweeps : int
        Sweeps done.
    burnt_in : int
        Sweeps of burn-in: those planned, or fewer once it has ended early.
    total : ndarray of shape (V, K), float64
        Sum of nzw + eta over the samples.
    n_samples : int
    empty_rounds : int
        Rounds of split-merge moves that have found nothing.
    settled : int
        The sweep after which the last round was, or will be at the latest.
    looks, log_likelihood : list
        The sweeps looked at, and the joint log-likelihood per token after each.
    """

    def __init__(self, chain: Any, plan: Plan) -> None:
        self.chain, self.plan = chain, plan
        self.n_sweeps = self.n_samples = self.empty_rounds = 0
        self.settled = max(plan.exchanges, default=0)
        self.burnt_in = plan.burn_in
        self.total = np.zeros((len(chain.nzw), chain.n_topics))
        self.looks: list[int] = []
        self.log_likelihood: list[float] = []

    @property
    def last(self) -> int:
        """The last sweep, as things stand."""
        return self.burnt_in + self.plan.max_iter - self.plan.burn_in

    def run(self, until: int, after: Callable[[Training], object] | None = None) -> None:
        """Sweep on to sweep `until`, or the last; call `after` behind each."""
        plan, chain = self.plan, self.chain
        while self.n_sweeps < min(until, self.last):
            number = self.n_sweeps + 1
            look = (self.last - number) % plan.thin == 0
            chain.sweep(number, merge=look or self._merges(number), look=look)
            if number in plan.exchanges and number <= self.settled:
                self._exchange(number)
            self._adapt(number)
            self.n_sweeps = number
            if look:
                self._look()
            if after is not None:
                after(self)

    def components(self) -> NDArray[np.float64]:
        """Mean of nzw + eta over the samples, or as it is now where there is none yet: (K, V) float64."""
        if self.n_samples:
            return np.ascontiguousarray(self.total.T) / self.n_samples
        return np.ascontiguousarray(self.chain.word_topics().T) + self.chain.eta

    def _merges(self, number: int) -> bool:
        """Whether the counts are put together behind a sweep, look at them or not; the last one is looked at."""
        plan, exchanged = self.plan, number in self.plan.exchanges and number <= self.settled
        # From the end, as looks are: where they are as many sweeps apart they come together.
        return (self.last - number) % plan.merge_every == 0 or exchanged or self._adapts(number)

    def _exchange(self, number: int) -> None:
        self.empty_rounds += exchange_topics(self.chain, number) == 0
        if self.empty_rounds == EMPTY_ROUNDS:
            self.settled = number

    def _look(self) -> None:
        self.looks.append(self.n_sweeps)
        self.log_likelihood.append(self.chain.log_likelihood())
        if self.n_sweeps > self.burnt_in:
            self.total += self.chain.word_topics() + self.chain.eta
            self.n_samples += 1
            return
        recent = [value for sweep, value in zip(self.looks, self.log_likelihood, strict=True) if sweep > self.settled]
        if self.plan.tol > 0 and len(recent) >= 2 * LOOKS:
            gained = np.mean(recent[-LOOKS:]) - np.mean(recent[-2 * LOOKS : -LOOKS])
            if gained < self.plan.tol:
                self.burnt_in = self.n_sweeps

    def _adapts(self, number: int) -> bool:
        every, since = self.plan.optimize_priors, number - self.settled
        return every > 0 and since > 0 and since % every == 0

    def _adapt(self, number: int) -> None:
        chain = self.chain
        if self._adapts(number):
            alpha = fit_alpha(lambda: (ndz for _, ndz in chain.document_topics()), chain.alpha)
            chain.set_priors(alpha, fit_eta(chain.word_topics(), chain.eta))
