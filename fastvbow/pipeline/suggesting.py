"""Command ``suggest``: what the groups of a project may be called, by the nouns and captions of text banks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs
from fastvbow.groups.names import TopicNames
from fastvbow.groups.suggestions import (
    GroupSuggestion,
    Noun,
    Origin,
    TextFile,
    TopicSuggestions,
    write_suggestions,
)
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import load_grouping, rename_groups
from fastvbow.pipeline.mixtures import grouped_by
from fastvbow.pipeline.spaces import Space, open_space
from fastvbow.pipeline.suggested_names import suggestions_path
from fastvbow.pipeline.text_banks import Captions, Nouns, bank_identity, caption_vectors, noun_vectors
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder
from fastvbow.semantic.banks.frequencies import caption_counts
from fastvbow.semantic.banks.nouns import SIC_PROMPTS, NounBank, place_kinds
from fastvbow.semantic.naming import cluster_directions, suggest_names

__all__ = ["PRIOR", "Suggested", "SuggestedGroup", "suggest"]

PRIOR = 0.02
"""Times the logarithm of one more than the number of captions that have a noun is added to its score."""
_CONTRAST, _APART = 0.8, 0.78  # of `suggest_names`
_THINGS = 0.4  # of the names of a group; the others are of places, which things would hide
_BLOCK = 1 << 14  # rows of vectors that are looked at together


@dataclass(frozen=True)
class SuggestedGroup:
    """A group, and what it may be called.

    Attributes
    ----------
    topic : int
        The number it goes by.
    topics : list of int
        All its topics, rising.
    images : int
        Photographs that were looked at.
    name : str or None
        What a person called it.
    suggested : str or None
        What it is shown as while it has no name.
    nouns : list of Noun
        The best first.
    caption : str or None
        The one nearest to its photographs.
    caption_cosine : float or None
    """

    topic: int
    topics: list[int]
    images: int
    name: str | None
    suggested: str | None
    nouns: list[Noun]
    caption: str | None
    caption_cosine: float | None


@dataclass(frozen=True)
class Suggested:
    """What `suggest` found.

    Attributes
    ----------
    origin : Origin
        Space and banks.
    groups : list of SuggestedGroup
        By their numbers.
    """

    origin: Origin
    groups: list[SuggestedGroup]


def suggest(
    project: Path,
    *,
    space: str,
    nouns: Path,
    captions: Path | None = None,
    n: int = 5,
    under: Sequence[str] | None = None,
    images: str = "encode",
    jobs: int | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> Suggested:
    """Suggest names for the groups of a project: nouns that fit one group and not the others, and the nearest caption.

    A group is the mean direction of its photographs in a space that has texts too (`fastvbow.semantic.naming` says how
    nouns are ranked, and how often they are right). Merged topics count as one group; photographs without a visual word
    are in none. The suggestions are kept beside the names, see `fastvbow.groups.suggestions`; ``groups.parquet`` gets
    the best ones at once, and a report those that are there when it is made. What a person has named keeps its name.

    Parameters
    ----------
    project : Path
        Its topics or clusters have to be finished.
    space : str
        Name of a model of photographs and texts, see ``fastvbow models list``.
    nouns : Path
        A folder with WordNet's ``data.noun``, or a text file with a noun a line. Of WordNet, two of five names are of
        things and three of places, which would be hidden behind the things in them.
    captions : Path, optional
        A file of captions (`fastvbow.semantic.banks.captions`). With them each group gets the nearest one, and nouns
        that occur in many of them are preferred (`PRIOR`).
    n : int, default=5
        Nouns a group, at most.
    under : sequence of str, optional
        Of WordNet only the kinds of these synsets, as n00027167 for locations; None: all nouns.
    images : {"encode", "project"}, default="encode"
        "project": the vectors that the project was made with (``--embeddings``) lie in this space already.
    jobs : int, optional
        Threads; None or -1: all processors. The suggestions are the same for any number.
    device : {"auto", "cpu", "cuda"}, default="auto"
    listener : Listener, optional

    Returns
    -------
    Suggested

    Raises
    ------
    UsageError
        There is no such space, a bank cannot be read, an argument cannot be used, or vectors and texts do not fit.
    StageMissingError, StoreCorruptError, ProjectError
    """
    workers = effective_jobs(jobs)
    if n < 1:
        raise UsageError(f"a group gets 1 name or more suggested, not {n}")
    folder = ProjectFolder.open(project)
    folder.require(grouped_by(folder))
    opened = open_space(space, device=device, images=images)
    noun_file = bank_identity(nouns, "nouns")
    caption_file = None if captions is None else bank_identity(captions, "captions")
    # which may take long, and needs nothing of the project
    bank, kinds = _name_bank(opened, nouns, under, workers, listener)
    slots = None if kinds is None else _slots(n)
    kinds = None if slots is None else kinds
    texts = None if captions is None else caption_vectors(opened, captions, jobs=workers, listener=listener)
    with folder.lock():
        names = load_names(folder, listener)
        vectors = opened.image_vectors(folder, jobs=workers, listener=listener)
        labels = _labels(folder, vectors)
        origin = Origin(
            opened.name,
            opened.fingerprint,
            TextFile(*noun_file, len(bank.bank)),
            None if caption_file is None or texts is None else TextFile(*caption_file, len(texts.texts)),
            tuple(SIC_PROMPTS),
            tuple(under or ()),
            {"n": float(n), "contrast": _CONTRAST, "apart": _APART}
            | ({} if texts is None else {"prior": PRIOR})
            | ({} if slots is None else {"things": float(slots[0]), "places": float(slots[1])}),
        )
        listener(Event("suggest", "begin", f"{len(bank.bank)} nouns for {len(np.unique(names.group_of()))} groups"))
        found = _suggestions(names, vectors, labels, bank, texts, n, workers, kinds, slots)
        whole = TopicSuggestions(names.topics, names.n_topics, origin, found)
        write_suggestions(suggestions_path(folder, names.topics), whole)
        rename_groups(folder, listener)
    proposals = whole.proposals(names)
    listener(Event("suggest", "end", f"{len(proposals)} groups without a name have a suggested one"))
    return Suggested(
        origin,
        [
            SuggestedGroup(
                one.topics[0],
                list(one.topics),
                one.images,
                names.name(one.topics[0]),
                proposals.get(one.topics[0]),
                list(one.nouns),
                one.caption,
                one.caption_cosine,
            )
            for one in found
        ],
    )


def _labels(project: ProjectFolder, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """The group of each row of the image table; -1 for those that are in none, or have no vector."""
    read = np.concatenate([shard.read for shard in open_shards(project)])
    if len(vectors) != len(read):
        raise UsageError(f"there are {len(vectors)} vectors for the {len(read)} images of {project.root}")
    labels = np.full(len(read), -1, np.int64)
    labels[read] = load_grouping(project, "none").topic
    if grouped_by(project) == "topics":  # whose mixture of a photograph without words is the prior's
        labels[np.concatenate([np.diff(tokens.offsets) for tokens in open_tokens(project)]) == 0] = -1
    for start in range(0, len(vectors), _BLOCK):
        check_cancelled()
        labels[start : start + _BLOCK][~vectors[start : start + _BLOCK].any(axis=1)] = -1
    return labels


def _name_bank(
    space: Space, path: Path, under: Sequence[str] | None, jobs: int, listener: Listener
) -> tuple[Nouns, NDArray[np.int64] | None]:
    """The nouns that groups may be called, and which of them are places; None where that is not to be told apart.

    Of WordNet, single things with names of their own and words that are not written small (genera, makes, peoples) are
    left out; they are encoded all the same, as the bank of clustering has them too.
    """
    whole = noun_vectors(space, path, prompts=SIC_PROMPTS, under=under, jobs=jobs, listener=listener)
    wordnet = whole.wordnet
    if wordnet is None:
        return whole, None
    chosen = [
        row
        for row, (word, synset) in enumerate(zip(whole.bank.words, whole.bank.synsets, strict=True))
        if word == word.lower() and not wordnet.by_name[synset].is_instance
    ]
    if not chosen:
        raise UsageError(f"no noun of {path} can be a name: take more synsets, or a list of your own")
    bank = NounBank(
        *(
            tuple(column[row] for row in chosen)
            for column in (whole.bank.words, whole.bank.definitions, whole.bank.synsets)
        )
    )
    if under is not None:
        return Nouns(bank, whole.vectors[chosen]), None
    try:
        return Nouns(bank, whole.vectors[chosen]), place_kinds(wordnet, bank)
    except UsageError as error:
        listener(Event("suggest", "note", f"things and places are not told apart: {error}"))
        return Nouns(bank, whole.vectors[chosen]), None


def _slots(n: int) -> tuple[int, int] | None:
    """Of n names, how many of things and of places; None where there is one alone, the best."""
    things = max(1, round(_THINGS * n))
    return (things, n - things) if n > 1 else None


def _suggestions(
    names: TopicNames,
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    bank: Nouns,
    captions: Captions | None,
    n: int,
    jobs: int,
    kinds: NDArray[np.int64] | None,
    slots: tuple[int, int] | None,
) -> tuple[GroupSuggestion, ...]:
    groups = np.unique(names.group_of())
    found = suggest_names(
        cluster_directions(vectors, labels, names.n_topics),
        bank.vectors,
        bank.bank.words,
        n=n,
        contrast=_CONTRAST,
        apart=_APART,
        kinds=kinds,
        slots=slots,
        prior=None if captions is None else PRIOR * np.log1p(caption_counts(bank.bank.words, captions.texts)),
        captions=None if captions is None else captions.vectors,
        caption_texts=None if captions is None else captions.texts,
        n_jobs=jobs,
    )
    sizes = np.bincount(labels[labels >= 0], minlength=names.n_topics)
    return tuple(
        GroupSuggestion(
            names.members(group),
            int(sizes[group]),
            tuple(
                Noun(noun, round(score, 6), bank.bank.definitions[row])
                for noun, score, row in zip(one.nouns, one.scores, one.rows, strict=True)
            ),
            one.caption,
            None if one.caption_cosine is None else round(one.caption_cosine, 6),
        )
        for group, one in ((group, found[group]) for group in groups.tolist())
    )
