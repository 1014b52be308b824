"""Training whose walks are tasks that may be done elsewhere (AD-LDA, Newman et al. 2009).

A walk's tokens stand in one file and their topics in another one, so that a task needs their names alone: it reads
both, samples from the counts that all walks had together, writes the topics beside and returns by how much its counts
have changed. These sums of whole numbers are made in a tree (`fastvbow.reducing`), so the caller receives one array of
V x K numbers a merge, however many walks there are. What comes out is `GibbsLDA`'s training with as many walks, to the
byte.

While it works, a walk maps its tokens (2 bytes each, 4 for more than 65,536 words) and holds their topics (1 byte, 2
for more than 256). A corpus of 3e10 tokens wants some thousand walks, of 100 MB each. On disk the training takes 2 + 2
bytes a token.

Format ``fastvbow-lda-walks``, version 1
----------------------------------------
The state of a training stands in a folder of the project. A writer MUST give another training another folder.

- ``setup.npz`` MUST hold ``alpha`` (K,), ``eta``, ``weights`` (V,) and ``fraction`` as float64, ``seed`` as uint64 and
  ``algorithm``, a text.
- ``z/walk-NNNNN.words.npy`` and ``z/walk-NNNNN.offsets.npy`` MUST hold a walk's tokens, as in `TokenStream`.
- ``counts.sweep-NNNNN.npy`` MUST hold the counts of words in topics, (V, K) int32, after that sweep, and
  ``total.sweep-NNNNN.npy`` the sum over the samples until then, (V, K) float64.
- ``z/walk-NNNNN.sweep-NNNNN.npy`` MUST hold the topics of a walk's tokens, uint8 (K <= 256) or uint16.
- ``state.json`` MUST hold ``format``, ``version``, ``n_sweeps``, ``before`` (a sweep: topics
  of it and later ones may be there) and what else `State` says. It MUST be written when all other files of its sweep
  are in place and flushed to disk. A reader MUST take the files of ``n_sweeps`` and no other ones. A writer MUST NOT
  remove these before a later state is in place, and then MUST. It MAY write a state seldom (here: after `SAVE_EVERY`
  seconds, and when it is stopped); of the sweeps since then it MUST NOT keep more than the last two.

Random numbers depend on seed, sweep, document and position alone, so a task that is done twice, or at the same time in
two places, writes the same bytes, and a training that goes on from a state ends as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastvbow.changes import flush
from fastvbow.errors import FastvbowError, StoreCorruptError, UsageError
from fastvbow.places import SharedFolder, new_file
from fastvbow.portions import reduce_portions
from fastvbow.topics import checks
from fastvbow.topics.fitting import choose_algorithm, plan_for, set_found
from fastvbow.topics.joint_likelihood import joint_likelihood
from fastvbow.topics.measuring import Measured, check_measured, units_of
from fastvbow.topics.shards import Run, ShardTokens, cut_runs, load_array, measure_shards, save_array
from fastvbow.topics.training import Training
from fastvbow.topics.walk_tasks import Setup, Walked, WalkTask, add_walked, counts_name, draw_topics, sample_walk
from fastvbow.topics.walking import topic_dtype

__all__ = ["WalkChain", "fit_shards"]

FORMAT, VERSION = "fastvbow-lda-walks", 1
TOKENS_A_TASK = 5_000_000
"""A few tenths of a second of sampling: what a task has at most, where walks are small."""
SAVE_EVERY = 10.0
"""Seconds from one state to the next: what a killed caller loses at most, beside the sweep under way. Flushing the
files of every sweep took half of the time of short ones."""


def _total_name(folder: str, sweep: int) -> str:
    return f"{folder}/total.sweep-{sweep:05d}.npy"


class State(msgspec.Struct, kw_only=True):
    """What ``state.json`` holds; see `fastvbow.topics.training.Training`."""

    format: str = FORMAT
    version: int = VERSION
    n_sweeps: int
    before: int
    burnt_in: int
    n_samples: int
    looks: list[int]
    log_likelihood: list[float]


class WalkChain:
    """A chain like `fastvbow.topics.chain.Chain` whose walks are tasks of an executor, for a `Training`.

    A task carries less than 600 bytes and returns 4 V K (24 kB with 300 words and 20 topics). Dask's workers put these
    together where there are more than a few, and the caller receives what is left and writes one. There are no rounds
    of split-merge moves here, and the priors stay as they are.

    Parameters
    ----------
    executor : Executor
    jobs : int
        Its threads or processes, where it is not Dask's.
    tokens : ShardTokens
    runs : list of Run
        The walks.
    folder : str
        For the state, in the project.
    setup : Setup
    groups : str, default=""
        A folder with ``shard-NNNNN.npy`` (n_docs,), a topic for each document to start from, or -1.
    together : int, default=1
        Walks that a task has at most, where there are more of them than threads.

    Attributes
    ----------
    nzw : ndarray of shape (V, K), int32
        Counts of words in topics, in units of `unit` tokens, at the last merge.
    merged : bool
        Whether they are those of the last sweep.
    """

    def __init__(
        self,
        executor: Executor,
        jobs: int,
        tokens: ShardTokens,
        runs: list[Run],
        folder: str,
        setup: Setup,
        groups: str = "",
        together: int = 1,
    ) -> None:
        self._executor, self._jobs = executor, jobs
        self._tokens, self._place, self._runs = tokens, tokens.place, runs
        self._folder, self._groups, self._together = folder, groups, together
        self.alpha, self.eta, self.weights, self.seed = setup.alpha, setup.eta, setup.weights, setup.seed
        self.unit = units_of(setup.weights).unit
        self.nzw = np.zeros((len(setup.weights), len(setup.alpha)), np.int32)
        self._done = self._until = 0
        self._saved, self._low = -1, 0  # the sweep of the state; the first whose topics may still be there
        self._since, self._lasting = time.monotonic(), True
        self._latest: tuple[State, NDArray[np.float64]] | None = None
        self._setup, self._documents = setup, 0

    @property
    def n_topics(self) -> int:
        """K."""
        return len(self.alpha)

    @property
    def merged(self) -> bool:
        """Whether every sweep that was asked for is done and counted."""
        return self._until == self._done

    def begin(self) -> None:
        """Draw the first topics."""
        self._setup.save(self._place, self._folder)
        self.nzw = self._reduce(draw_topics, self._tasks(groups=self._groups)).counts
        save_array(self._place, counts_name(self._folder, 0), self.nzw)

    def sweep(self, number: int, *, merge: bool = True, look: bool = False) -> None:
        """Sample the topic of every token once; without `merge`, do so when the next merge comes. With `look`, be ready
        to say the `log_likelihood` then."""
        self._until = number
        if not merge:
            return
        self._lasting = time.monotonic() - self._since >= SAVE_EVERY
        how = {"until": number, "drop": (self._low, self._done), "lasting": self._lasting, "look": look}
        walked = self._reduce(sample_walk, self._tasks(**how))
        self.nzw, self._documents = self.nzw + walked.counts, walked.documents
        save_array(self._place, counts_name(self._folder, number), self.nzw, lasting=self._lasting)
        for sweep in range(self._low, self._done):
            self._place.remove(counts_name(self._folder, sweep))
        self._low = self._done + (self._done == self._saved)
        self._done = number

    def word_topics(self) -> NDArray[np.float64]:
        """Tokens of every word in every topic, by weight: ndarray of shape (V, K), float64."""
        return self.nzw.astype(np.float64) * self.unit

    def log_likelihood(self) -> float:
        """Collapsed joint log p(w, z) per token, tokens counted by weight (`fastvbow.topics.joint_likelihood`), after a
        sweep that was asked for a look."""
        nz = self.nzw.sum(axis=0, dtype=np.int64)
        return joint_likelihood(self.word_topics(), nz * self.unit, self.eta, self._documents)

    def remember(self, training: Training) -> None:
        """Take down what the state to go on from is by now, and make it one where the last is `SAVE_EVERY` ago.

        The topics of earlier sweeps are removed by the next sweep's tasks, each those of its walk.
        """
        state = State(
            n_sweeps=self._done,
            before=min(self._low, self._saved) if self._saved >= 0 else self._low,
            burnt_in=training.burnt_in,
            n_samples=training.n_samples,
            looks=list(training.looks),
            log_likelihood=list(training.log_likelihood),
        )
        self._latest = state, training.total.copy()
        if self._lasting:
            self._save()

    def save(self) -> None:
        """Make the files of the sweep that was remembered last the state to go on from, if they are not."""
        if self._latest is None or self._latest[0].n_sweeps == self._saved:
            return
        n = self._latest[0].n_sweeps
        if isinstance(self._place, SharedFolder):  # what lies in an object store lasts
            for name in (counts_name(self._folder, n), *(task.z(n) for task in self._tasks())):
                flush(self._place.fetch(name))
        self._save()

    def _save(self) -> None:
        if self._latest is None:
            return
        state, total = self._latest
        save_array(self._place, _total_name(self._folder, state.n_sweeps), total)
        with new_file(self._place, f"{self._folder}/state.json") as path:
            path.write_bytes(msgspec.json.encode(state))
        if self._saved >= 0:
            self._place.remove(_total_name(self._folder, self._saved))
            self._low = min(self._low, self._saved)
        self._saved, self._since = state.n_sweeps, time.monotonic()

    def restore(self, training: Training) -> bool:
        """Bring a training to where the folder's state was; False where there is none.

        Raises
        ------
        StoreCorruptError
            The folder holds something else.
        """
        try:
            path = self._place.fetch(f"{self._folder}/state.json")
        except FileNotFoundError:
            return False
        try:
            state = msgspec.json.decode(path.read_bytes(), type=State)
            if state.format != FORMAT or state.version != VERSION:
                raise ValueError(f"{state.format} version {state.version}, not {FORMAT} {VERSION}")
            self.nzw = load_array(self._place, counts_name(self._folder, state.n_sweeps))
            training.total = load_array(self._place, _total_name(self._folder, state.n_sweeps))
        except (ValueError, FileNotFoundError) as error:
            raise StoreCorruptError(f"{path}: {error}: delete {path.parent} and run again") from None
        self._done = self._until = training.n_sweeps = state.n_sweeps
        self._saved, self._low = state.n_sweeps, min(state.before, state.n_sweeps)
        training.burnt_in, training.n_samples = state.burnt_in, state.n_samples
        training.looks, training.log_likelihood = state.looks, state.log_likelihood
        return True

    def assignments(self, sizes: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The topics of every token, shard by shard; those of a shard and a walk are in memory.

        Parameters
        ----------
        sizes : sequence of int
            Tokens of each shard.
        """
        walks = iter(self._tasks())
        left: NDArray[Any] = np.zeros(0, topic_dtype(self.n_topics))
        for size in sizes:
            parts, wanted = [left[:size]], size - len(left[:size])
            left = left[size:]
            while wanted:
                if (task := next(walks, None)) is None:
                    raise StoreCorruptError(
                        f"the topics in {self._folder} are fewer than the tokens: delete that folder and run again"
                    )
                left = load_array(self._place, task.z(self._done), mapped=True)
                parts.append(left[:wanted])
                left, wanted = left[wanted:], wanted - len(left[:wanted])
            yield np.concatenate(parts)

    def _tasks(self, **how: Any) -> Iterator[WalkTask]:
        for number, run in enumerate(self._runs):
            yield WalkTask(self._tokens, self._folder, number, run, self._done, **how)

    def _reduce(self, function: Callable[[WalkTask], Walked], tasks: Iterator[WalkTask]) -> Walked:
        n_tasks, together = len(self._runs), self._together
        return reduce_portions(
            self._executor, function, add_walked, tasks, n_tasks=n_tasks, jobs=self._jobs, most=together
        )


def fit_shards(
    model: Any,
    tokens: ShardTokens,
    executor: Executor,
    *,
    folder: str,
    groups: str = "",
    jobs: int = 1,
    measured: Measured | None = None,
    callback: Callable[[int, int], object] | None = None,
) -> Iterator[NDArray[Any]]:
    """Train a `GibbsLDA` on shards as tasks of an executor; the same bytes as `GibbsLDA.fit` of their tokens.

    Where `folder` has a state of this training, it goes on from there. What the training leaves in it is the caller's
    to remove.

    Parameters
    ----------
    model : GibbsLDA
        Gets the attributes of a fitted one, but for ``assignments_``.
    tokens : ShardTokens
    executor : Executor
    folder : str
        Of this training and no other one, in the project.
    groups : str, default=""
        A folder with ``shard-NNNNN.npy`` (n_docs,), int, the `doc_groups` of the documents; nothing: as None.
    jobs : int, default=1
        The executor's threads or processes, where it is not Dask's.
    measured : Measured, default=None
        What `measure_shards` says of the tokens, if it has been asked.
    callback : callable, default=None
        Called as ``callback(sweep, n_sweeps)`` whenever the walks have put their counts together.

    Returns
    -------
    iterator of ndarray of shape (n_tokens,), uint8 or uint16
        The topics of every token after the last sweep, shard by shard, read from `folder` as they are asked for.

    Raises
    ------
    ValueError
        There is no token at all, or a parameter is out of its range.
    UsageError
        A word or a document has too many tokens; or the model asks for several starts, rounds of split-merge moves or
        adapted priors, which are made in one process only.
    StoreCorruptError
        A file does not hold what it should.
    Cancelled, ClusterError
        As `fastvbow.executors.run_tasks`; the next call goes on from the last state.
    """
    if model.n_init != 1 or model.split_merge or model.optimize_priors:
        raise UsageError(
            "an executor trains from one start, without split-merge rounds and with fixed priors: leave n_init, "
            "split_merge and optimize_priors at their defaults, or train without an executor"
        )
    n_topics = checks.whole("n_components", model.n_components, 1, 65535)
    alpha = checks.positive_vector("doc_topic_prior", model.doc_topic_prior, n_topics, 1.0 / n_topics)
    eta = checks.positive("topic_word_prior", 0.05 if model.topic_word_prior is None else model.topic_word_prior)
    weights = checks.word_weights(model.word_weights, tokens.n_words)
    units, n_walks = units_of(weights), checks.whole("n_walks", model.n_walks, 1)
    measured = measured or measure_shards(executor, jobs, tokens, units.counts)
    check_measured(measured, units)
    n_tokens = int(measured.tokens.sum())
    plan = plan_for(model, alpha, n_tokens, given_groups=True)
    algorithm = choose_algorithm(model.algorithm, n_topics, n_tokens, lambda: measured.tokens)
    if not n_tokens:
        raise ValueError("the corpus has no tokens: every document is empty")
    seed = int(check_random_state(model.random_state).randint(0, 2**64, dtype=np.uint64))
    setup = Setup(alpha, eta, weights, seed, algorithm, checks.share("init_fraction", model.init_fraction))
    runs = cut_runs(tokens, measured.sizes, n_walks)
    together = max(1, TOKENS_A_TASK * n_walks // n_tokens)
    chain = WalkChain(executor, jobs, tokens, runs, folder, setup, groups, together)
    training = Training(chain, plan)
    if not chain.restore(training):
        chain.begin()
        chain.remember(training)

    def after(training: Training) -> None:
        if chain.merged:
            chain.remember(training)
            if callback is not None:
                callback(training.n_sweeps, plan.max_iter)

    try:
        training.run(plan.max_iter, after)
    except BaseException:  # stopped: what is done need not be done again
        with suppress(OSError, FastvbowError):  # what has gone wrong matters more
            chain.save()
        raise
    set_found(model, training)
    model.n_features_in_ = tokens.n_words
    return chain.assignments(measured.sizes[:, 1].tolist())
