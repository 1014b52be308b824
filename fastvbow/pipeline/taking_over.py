"""Stages ``vocabulary`` and ``topics`` of a project that takes them over from another one.

The files are copied, so that the project stands when the other one is gone. The cards hold the parameters of the other
project's, and as ``origin`` the fingerprint of the files that were taken: where it is another, or where there is none
any more, the stage is done again. ``taken from`` among their outputs tells a person where the other project was.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.events import Listener
from fastvbow.executors import one_thread_each
from fastvbow.groups.names import TopicNames, write_names
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.origin import Taken
from fastvbow.pipeline.stage import run_stage
from fastvbow.pipeline.topic_modelling import token_streams, write_topics
from fastvbow.pipeline.topic_names import names_path
from fastvbow.pipeline.topic_shards import Shards, open_training
from fastvbow.project import STAGES, ProjectFolder, StageCard, replace_folder
from fastvbow.topics.inference import likeliest_topics
from fastvbow.topics.lda import GibbsLDA
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["take_model", "take_names", "take_vocabulary"]


def take_vocabulary(project: ProjectFolder, taken: Taken, *, listener: Listener) -> StageCard:
    """Make another project's vocabulary that of this one, whose features it has to fit.

    Parameters
    ----------
    project : ProjectFolder
    taken : Taken
    listener : Listener

    Raises
    ------
    StageMissingError
        There are no features yet.
    """
    return run_stage(
        project,
        "vocabulary",
        parameters=taken.parameters,
        after="extract",
        outputs=[project.vocabulary],
        listener=listener,
        body=lambda: _copy_vocabulary(project, taken),
    )


def _copy_vocabulary(project: ProjectFolder, taken: Taken) -> dict[str, Any]:
    with replace_folder(project.vocabulary) as path:
        taken.write(path)
        vocabulary = Vocabulary.load(path)
    counted = {f"{name} words": book.n_words for name, book in vocabulary.codebooks.items()}
    return {"words": vocabulary.n_words, **counted, "taken from": taken.place}


def take_model(
    project: ProjectFolder, taken: Taken, *, jobs: int, executor: Executor | None = None, listener: Listener
) -> StageCard:
    """Infer each photograph's mixture under another project's frozen model, as `assign` does there.

    Parameters
    ----------
    project : ProjectFolder
    taken : Taken
    jobs : int
        Threads. The mixtures are the same for any number.
    executor : Executor, optional
        Where shards are worked on; None: `jobs` threads of this process. Changes no byte of the result.
    listener : Listener

    Raises
    ------
    StageMissingError
        The photographs have no words yet.
    """
    return run_stage(
        project,
        "topics",
        parameters=taken.parameters,
        after="encode",
        outputs=[project.topics],
        listener=listener,
        body=lambda: (
            _infer(project, taken, jobs)
            if executor is None
            else _infer_elsewhere(project, taken, executor, jobs, listener)
        ),
    )


def take_names(project: ProjectFolder, names: TopicNames | None) -> None:
    """Make the names and merged groups of another project's topics those of this one, which has its model.

    Where this project has had names for these topics, they stay: what a person says here counts here.

    Parameters
    ----------
    project : ProjectFolder
    names : TopicNames or None
        The other project's.
    """
    if names is not None and names.fingerprint and not (path := names_path(project, names.topics)).exists():
        write_names(path, names)


def _infer(project: ProjectFolder, taken: Taken, jobs: int) -> dict[str, Any]:
    with replace_folder(project.topics) as folder, one_thread_each():
        (folder / "model").mkdir()
        taken.write(folder / "model")
        model = GibbsLDA.load(folder / "model")
        model.n_jobs = jobs
        streams = token_streams(project, open_tokens(project), model.n_features_in_)
        theta = model.transform(streams)
        phi = np.ascontiguousarray(model.topic_word_.T)

        def z() -> Iterator[NDArray[Any]]:
            at = 0
            for stream in streams:
                yield likeliest_topics(stream, theta[at : at + stream.n_docs], phi)
                at += stream.n_docs

        write_topics(folder, theta.shape, [theta], z())
    return {"topics": theta.shape[1], "taken from": taken.place}


def _infer_elsewhere(
    project: ProjectFolder, taken: Taken, executor: Executor, jobs: int, listener: Listener
) -> dict[str, Any]:
    known = [STAGES["topics"], project.require("encode").fingerprint, taken.parameters]
    with replace_folder(project.topics) as folder:
        (folder / "model").mkdir()
        taken.write(folder / "model")
        model = GibbsLDA.load(folder / "model")
        shards = Shards(project, model.n_features_in_, executor, jobs, open_training(project, known), listener)
        n_images = shards.mixtures(folder / "model", topics_of_tokens=True)
        write_topics(folder, (n_images, len(model.components_)), shards.arrays("theta"), shards.arrays("topics"))
    shards.remove()
    return {"topics": len(model.components_), "taken from": taken.place}
