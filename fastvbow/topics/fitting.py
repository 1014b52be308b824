"""From an estimator's parameters to a trained chain: several starts, a checkpoint, more documents later."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.executors import effective_jobs
from fastvbow.topics import checks
from fastvbow.topics.chain import ALGORITHMS, Chain, other_seed
from fastvbow.topics.checkpoint import Checkpoint
from fastvbow.topics.inference import infer_theta
from fastvbow.topics.split_merge import rounds_before, worthwhile
from fastvbow.topics.stream import TokenStream
from fastvbow.topics.training import Plan, Training

__all__ = ["algorithm_for", "chain_options", "choose_algorithm", "learn_more", "plan_for", "set_found", "train"]

LOCKSTEP_FROM = 100_000
"""Tokens of a corpus beside which those of a round are few."""
SPARSE_FROM = 256
"""Topics; with fewer the dense samplers are quicker whatever the words."""
SPLIT_MERGE_ROUNDS = 4


def choose_algorithm(algorithm: Any, n_topics: int, n_tokens: int, tokens: Callable[[], NDArray[np.int64]]) -> str:
    """The sampler that a parameter `algorithm` means.

    Parameters
    ----------
    algorithm : {"auto", "exact", "lockstep", "sparse"}
    n_topics : int
    n_tokens : int
        Of the corpus.
    tokens : callable () -> ndarray of shape (V,), int64
        Tokens of every word; called where there are many topics.
    """
    if algorithm not in ("auto", *ALGORITHMS):
        raise ValueError(f"algorithm must be one of {', '.join(('auto', *ALGORITHMS))}, got {algorithm!r}")
    if algorithm != "auto":
        return str(algorithm)
    if n_topics >= SPARSE_FROM:
        words = tokens()
        # the topics of the word of a token are that many at most, on average
        if np.minimum(words, n_topics) @ words <= n_topics / 2 * words.sum():
            return "sparse"
    return "lockstep" if n_tokens >= LOCKSTEP_FROM else "exact"


def algorithm_for(algorithm: Any, streams: list[TokenStream], n_topics: int) -> str:
    """The sampler that a parameter `algorithm` means for a corpus in memory."""

    def tokens() -> NDArray[np.int64]:
        found = np.zeros(streams[0].n_words, np.int64)
        for stream in streams:
            found += np.bincount(stream.words, minlength=len(found))
        return found

    return choose_algorithm(algorithm, n_topics, sum(stream.n_tokens for stream in streams), tokens)


def chain_options(model: Any, streams: list[TokenStream], n_topics: int) -> dict[str, Any]:
    """How to sample, from the parameters of a `GibbsLDA`."""
    return {
        "algorithm": algorithm_for(model.algorithm, streams, n_topics),
        "n_walks": checks.whole("n_walks", model.n_walks, 1),
        "n_threads": effective_jobs(model.n_jobs, default=1),
    }


def plan_for(model: Any, alpha: NDArray[np.float64], n_tokens: int, *, given_groups: bool) -> Plan:
    """How to train, from the parameters of a `GibbsLDA`."""
    max_iter = checks.whole("max_iter", model.max_iter, 1)
    burn_in = max_iter // 2 if model.burn_in is None else checks.whole("burn_in", model.burn_in, 0, max_iter - 1)
    n_rounds = model.split_merge if model.split_merge is not None else 0 if given_groups else SPLIT_MERGE_ROUNDS
    n_rounds = checks.whole("split_merge", n_rounds, 0)
    return Plan(
        max_iter,
        burn_in,
        checks.whole("thin", model.thin, 1),
        rounds_before(burn_in, n_rounds) if worthwhile(alpha, n_tokens) else (),
        checks.whole("optimize_priors", model.optimize_priors, 0),
        checks.not_negative("tol", model.tol),
        checks.whole("merge_every", model.merge_every, 1),
    )


def set_found(model: Any, training: Training) -> None:
    """Set the attributes of a `GibbsLDA` from what a training has found, all but ``assignments_``."""
    chain = training.chain
    model.components_ = training.components()
    model.topic_word_ = model.components_ / model.components_.sum(axis=1, keepdims=True)
    model.doc_topic_prior_, model.topic_word_prior_, model.word_weights_ = chain.alpha, chain.eta, chain.weights
    model.log_likelihood_ = np.array(training.log_likelihood)
    model.log_likelihood_sweeps_ = np.array(training.looks, dtype=np.int64)
    model.seed_, model.n_iter_ = chain.seed, training.n_sweeps


def train(
    start: Callable[[int], Training],
    n_init: int,
    callback: Callable[[int, int], object] | None,
    checkpoint: Checkpoint | None,
    keep: Callable[[Training], object],
) -> None:
    """Train from `n_init` starts, the likeliest of them to the end.

    Parameters
    ----------
    start : callable
        Makes the training of a start by its number, 0 to n_init - 1.
    n_init : int
    callback : callable or None
        Called with the number of sweeps done and planned, of all starts.
    checkpoint : Checkpoint or None
        To go on from, and to write.
    keep : callable
        Gets the training in the end, whether it is done or interrupted.
    """
    training, first = start(0), 1
    plan = training.plan
    n_planned = plan.max_iter + (n_init - 1) * plan.burn_in
    ticks = itertools.count(1)

    def tick(training: Training) -> None:
        if callback is not None:
            callback(next(ticks), n_planned)

    def after(training: Training) -> None:
        if checkpoint is not None:
            checkpoint.save_if_due(training)
        tick(training)

    try:
        if checkpoint is not None and checkpoint.exists():
            checkpoint.restore(training)
            ticks, first = itertools.count((n_init - 1) * plan.burn_in + training.n_sweeps + 1), n_init
        for number in range(first, n_init):
            training.run(plan.burn_in, tick)
            other = start(number)
            other.run(plan.burn_in, tick)
            training = max(training, other, key=lambda t: t.chain.log_likelihood())
        training.run(plan.max_iter, after)
    finally:
        keep(training)
    if checkpoint is not None:
        checkpoint.remove()


def learn_more(model: Any, streams: list[TokenStream]) -> Training:
    """Sample new documents beside the counts that a fitted `GibbsLDA` has.

    Half of a document's tokens start in the topic that is its likeliest. The words of earlier documents count with what
    they had on average.
    """
    alpha, eta, weights = model.doc_topic_prior_, model.topic_word_prior_, model.word_weights_
    n_sweeps = max(10, model.max_iter // 10)
    phi = np.ascontiguousarray(model.topic_word_.T)
    theta = infer_theta(streams, phi, alpha, weights, model.transform_iter, effective_jobs(model.n_jobs, default=1))
    groups, seed = theta.argmax(axis=1).astype(np.int64), other_seed(model.seed_, model.n_iter_)
    algorithm, base = algorithm_for(model.algorithm, streams, len(alpha)), model.components_.T - eta
    chain = Chain.start(streams, alpha, eta, weights, seed, groups, 0.5, algorithm=algorithm, base=base)
    training = Training(chain, Plan(n_sweeps, n_sweeps // 2, 1))
    training.run(n_sweeps)
    return training
