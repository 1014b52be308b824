"""Stage ``topics``: words to topics, and each photograph's mixture of them.

``topics/model`` is the model (`fastvbow.topics.persistence`), ``topics/theta.npy`` (n_images, n_topics) float64 the
mixture of each row of the image table, ``topics/z/shard-NNNNN.npy`` the topic of each token of that shard, uint8 or
uint16, aligned with ``tokens/shard-NNNNN/words.npy``. Where the model was trained here, these are the topics after the
last sweep; where it was taken over from another project (`fastvbow.pipeline.taking_over`), each token's most probable
one. Where the number of topics was proposed (`fastvbow.pipeline.topic_number`), ``silhouettes`` among the card's
outputs is a list of pairs: each number that was tried, and its mean silhouette.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.config import TopicsConfig
from fastvbow.errors import StoreCorruptError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.beforehand import check_enough_images
from fastvbow.pipeline.encoding import TokenShard, open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.stage import no_numerical_warnings, run_stage
from fastvbow.pipeline.topic_number import proposed_topics
from fastvbow.pipeline.topic_shards import Shards, open_training, pooled_rows
from fastvbow.project import STAGES, ProjectFolder, StageCard, replace_folder
from fastvbow.topics.checks import word_weights
from fastvbow.topics.initial import hellinger_embedding, initial_groups
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.measuring import units_of
from fastvbow.topics.shards import measure_shards
from fastvbow.topics.stream import TokenStream
from fastvbow.topics.topic_number import Proposal
from fastvbow.topics.walks import fit_shards
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["fit_model", "start_embedding", "token_streams", "topics", "walks_for", "write_topics"]

TOKENS_A_WALK = 250_000
MOST_WALKS = 16


def walks_for(n_tokens: int) -> int:
    """Parts of a corpus that are sampled side by side (`GibbsLDA.n_walks`), so on as many processors at most.

    It follows from the corpus alone: the topics must not depend on the machine. A part of 250,000 tokens, some 500
    photographs, is more than twice what a walk needs for groups as good as those of a single one.
    """
    return min(MOST_WALKS, max(1, n_tokens // TOKENS_A_WALK))


def topics(
    project: Path,
    config: TopicsConfig | None = None,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    listener: Listener = log_events,
) -> StageCard:
    """Model a project's photographs as mixtures of topics.

    The sampler starts from a K-Means clustering of the photographs (of their pooled CNN vectors; of their word
    histograms where there is no CNN). Each photograph's mixture is then inferred under the finished model, just as
    `assign` does for new ones, so that a photograph gets the same group whether it was there from the start or comes
    later.

    Where the number of topics is "auto", the photographs (4000 of them at most) are clustered into 2 to `most_topics`
    groups first, which takes about twice as long as the topics of 1600 photographs, and at most 13 s of one processor
    for up to 50 groups; the card has the curve.

    Parameters
    ----------
    project : Path
    config : TopicsConfig, optional
    jobs : int, optional
        Threads; None or -1: all processors. The topics are the same for any number.
    executor : Executor, optional
        Where shards are worked on, such as Dask's ``client.get_executor()``; None: `jobs` threads of this process.
        Changes no byte of the result. A call that was ended is gone on with (`fastvbow.pipeline.topic_shards`).
    listener : Listener, optional

    Raises
    ------
    StageMissingError
        The photographs have no words yet.
    UsageError
        There are fewer photographs than topics.
    ClusterError
        The executor is Dask's, whose scheduler or workers are gone.
    """
    folder, config = ProjectFolder.open(project), config or TopicsConfig()
    workers = effective_jobs(jobs)
    with folder.lock():
        n_walks = _walks(config, int(folder.require("encode").outputs["tokens"]))
        vocabulary = Vocabulary.load(folder.vocabulary)
        weights = {name: config.weights[name] for name in vocabulary.codebooks}
        extracted = folder.require("extract").outputs
        check_enough_images(extracted["images"] - extracted["skipped"], config.topics)
        return run_stage(
            folder,
            "topics",
            parameters={**_meant(config, n_walks), "weights": weights},
            after="encode",
            outputs=[folder.topics],
            listener=listener,
            body=lambda: (
                _fit(folder, config, vocabulary, workers, listener)
                if executor is None
                else _fit_elsewhere(folder, config, vocabulary, executor, workers, listener)
            ),
        )


def _walks(config: TopicsConfig, n_tokens: int) -> int:
    return config.walks or walks_for(n_tokens)


def _meant(config: TopicsConfig, n_walks: int) -> dict[str, Any]:
    """The parameters that mean something: one walk has nobody to exchange counts with."""
    return {name: value for name, value in config.parameters.items() if n_walks > 1 or name != "merge_every"}


def _fit(
    project: ProjectFolder, config: TopicsConfig, vocabulary: Vocabulary, jobs: int, listener: Listener
) -> dict[str, Any]:
    shards, tokens = open_shards(project), open_tokens(project)
    streams = token_streams(project, tokens, vocabulary.n_words)
    n_topics, found = config.topics, dict[str, Any]()
    with one_thread_each(), no_numerical_warnings():
        embedding = start_embedding(shards, tokens, vocabulary)
        if n_topics == "auto":
            of_words = "pooled" not in vocabulary.codebooks
            proposal = proposed_topics(embedding, config, listener, of_words=of_words)
            n_topics, found = proposal.n_topics, {"silhouettes": proposal.curve}
    model = fit_model(streams, embedding, vocabulary, n_topics, config, jobs=jobs, tell=partial(_tell, listener))
    theta = model.transform(streams)
    with replace_folder(project.topics) as folder:
        model.save(folder / "model")
        write_topics(folder, theta.shape, [theta], model.assignments_)
    return _counted(model, found)


def _fit_elsewhere(
    project: ProjectFolder,
    config: TopicsConfig,
    vocabulary: Vocabulary,
    executor: Executor,
    jobs: int,
    listener: Listener,
) -> dict[str, Any]:
    known = [STAGES["topics"], project.require("encode").fingerprint, config.parameters]
    shards = Shards(project, vocabulary.n_words, executor, jobs, open_training(project, known), listener)
    of_words, n_topics = "pooled" not in vocabulary.codebooks, None if config.topics == "auto" else config.topics

    def propose(embedding: NDArray[np.float32]) -> Proposal:
        with one_thread_each(), no_numerical_warnings():
            return proposed_topics(embedding, config, listener, of_words=of_words)

    start = shards.start(of_words, n_topics, propose, config.seed)
    units = units_of(word_weights(vocabulary.per_word(config.weights), vocabulary.n_words))
    measured = measure_shards(executor, jobs, shards.tokens, units.counts)
    model = _model(vocabulary, start.n_topics, config, int(measured.tokens.sum()), jobs)
    z = fit_shards(
        model,
        shards.tokens,
        executor,
        folder=shards.folder,
        groups=f"{shards.folder}/groups",
        jobs=jobs,
        measured=measured,
        callback=partial(_tell, listener),
    )
    with replace_folder(project.topics) as folder:
        model.save(folder / "model")
        n_images = shards.mixtures(folder / "model")
        write_topics(folder, (n_images, start.n_topics), shards.arrays("theta"), z)
    shards.remove()
    return _counted(model, {} if start.silhouettes is None else {"silhouettes": start.silhouettes})


def _tell(listener: Listener, sweep: int, total: int) -> None:
    listener(Event("topics", "step", done=sweep, total=total, unit="sweeps"))


def _counted(model: GibbsLDA, found: dict[str, Any]) -> dict[str, Any]:
    likelihood = round(float(model.log_likelihood_[-1]), 4)
    return {"topics": len(model.components_), "log likelihood a token": likelihood, **found}


def fit_model(
    streams: list[TokenStream],
    embedding: NDArray[np.float32],
    vocabulary: Vocabulary,
    n_topics: int,
    config: TopicsConfig,
    *,
    jobs: int = 1,
    tell: Callable[[int, int], object] | None = None,
) -> GibbsLDA:
    """Train the topics of some photographs.

    Parameters
    ----------
    streams : list of TokenStream
        Their tokens.
    embedding : ndarray of shape (n_images, d), float32
        What the start comes from (`start_embedding`).
    vocabulary : Vocabulary
        Of the tokens.
    n_topics : int
        Whatever `config` says of it.
    config : TopicsConfig
        Sweeps, weights and seed.
    jobs : int, default=1
        Threads. The topics are the same for any number.
    tell : callable (sweeps done, planned), optional
        Called after every sweep; what it raises ends the training.

    Returns
    -------
    GibbsLDA
    """
    with one_thread_each(), no_numerical_warnings():
        start = initial_groups(embedding, n_topics, seed=config.seed)
    model = _model(vocabulary, n_topics, config, sum(stream.n_tokens for stream in streams), jobs)
    return model.fit(streams, doc_groups=start, callback=tell)


def _model(vocabulary: Vocabulary, n_topics: int, config: TopicsConfig, n_tokens: int, jobs: int) -> GibbsLDA:
    n_walks = _walks(config, n_tokens)
    return GibbsLDA(
        n_topics,
        word_weights=vocabulary.per_word(config.weights),
        max_iter=config.sweeps,
        n_walks=n_walks,
        merge_every=config.merge_every if n_walks > 1 else 1,
        random_state=config.seed,
        n_jobs=jobs,
    )


def token_streams(project: ProjectFolder, tokens: Sequence[TokenShard], n_words: int) -> list[TokenStream]:
    """The token shards of a project as the engine takes them."""
    try:
        return [TokenStream(part.words, part.offsets, n_words) for part in tokens]
    except ValueError as error:
        raise StoreCorruptError(
            f"{project.tokens}: {error}: delete that folder and run 'fastvbow encode' again"
        ) from None


def write_topics(
    folder: Path, shape: tuple[int, ...], theta: Iterable[NDArray[np.float64]], z: Iterable[NDArray[Any]]
) -> None:
    """Write what stands beside the model: the mixtures, and the topic of every token, a shard at a time.

    Parameters
    ----------
    folder : Path
        Of the topics.
    shape : tuple of (int, int)
        (n_images, n_topics) of all mixtures.
    theta : iterable of ndarray of shape (n, n_topics), float64
        Those of the image table's rows, in parts.
    z : iterable of ndarray of shape (n_tokens,), uint8 or uint16
        One for each shard.
    """
    with (folder / "theta.npy").open("wb") as file:
        header = {"descr": np.dtype(np.float64).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in theta:
            file.write(np.ascontiguousarray(part).data)
    (folder / "z").mkdir()
    for index, topics_of_tokens in enumerate(z):
        np.save(folder / "z" / f"shard-{index:05d}.npy", topics_of_tokens)


def start_embedding(
    shards: Sequence[FeatureShard], tokens: Sequence[TokenShard], vocabulary: Vocabulary
) -> NDArray[np.float32]:
    """What the sampler's start is a clustering of: one vector a photograph, NaN for a skipped one.

    Parameters
    ----------
    shards : sequence of FeatureShard
    tokens : sequence of TokenShard
        Of the same photographs.
    vocabulary : Vocabulary

    Returns
    -------
    ndarray of shape (n_images, d), float32
        Pooled vectors in the space of their words; where there are none, square roots of word frequencies.
    """
    if "pooled" not in vocabulary.codebooks:
        return hellinger_embedding([t.words for t in tokens], [t.offsets for t in tokens], vocabulary.n_words)
    book = vocabulary.codebooks["pooled"]
    embedding = np.empty((sum(s.card.n_images for s in shards), book.centers.shape[1]), np.float32)
    at = 0
    for shard in shards:
        embedding[at : at + shard.card.n_images] = pooled_rows(shard, book)
        at += shard.card.n_images
    return embedding
