"""What a study consists of: the photographs, the cells of its grid, and the keys by which finished ones are found.

A **setting** (kinds of features, keypoints, words, seed) has words and tokens of its own; a **cell** is a setting with
a number of topics. There are two parts:

- the **grid**: every combination, learned from the training photographs alone; those held out are only transformed.
- the **comparison**: as many topics as there are labels, learned from all photographs, as any method that clusters is
  judged by; at the one setting of the grid that is nearest to the defaults of ``fastvbow run``, so that no score has a
  say in the choice. SIFT and the CNN take part together and each by itself.

A cell's key is the fingerprint of all that its result depends on. The largest number of keypoints is no part of it, nor
is what else the grid holds: another grid on the same photographs finds the cells that the two share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvbow.config import MODALITIES, ExtractConfig, StudyGrid, VocabularyConfig
from fastvbow.errors import UsageError
from fastvbow.images.labels import read_labels
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import STAGES, ProjectFolder, fingerprint_of
from fastvbow.words.shares import share_words

__all__ = [
    "Photographs",
    "Plan",
    "Setting",
    "check_grid",
    "key_of",
    "make_plan",
    "read_photographs",
    "validation_share",
]

REVISION = 1
"""Raise it when a change of code changes what a cell holds."""


class Setting(NamedTuple):
    """What a vocabulary and its tokens depend on, beside the photographs.

    Attributes
    ----------
    part : {"grid", "comparison"}
    features : tuple of {"sift", "cnn"}
    keypoints : int
        0 without SIFT.
    words, seed : int
    """

    part: str
    features: tuple[str, ...]
    keypoints: int
    words: int
    seed: int

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(name for kind in self.features for name in MODALITIES[kind])


@dataclass(frozen=True)
class Photographs:
    """The photographs of a study that could be read, in the order of the image table.

    Attributes
    ----------
    ids, names : list of str
    labels : ndarray of shape (n,), int32
        Position in `label_names`; -1 where it is unknown.
    label_names : list of str
        Sorted.
    validation : ndarray of shape (n,), bool
        Those held out.
    rows : ndarray of shape (n_images,), bool
        Of each row of the image table whether the photograph could be read.
    digest : str
        Fingerprint of all this but for what is held out.
    """

    ids: list[str]
    names: list[str]
    labels: NDArray[np.int32]
    label_names: list[str]
    validation: NDArray[np.bool_]
    rows: NDArray[np.bool_]
    digest: str

    def chosen(self, part: str) -> NDArray[np.bool_]:
        """(n,): those that words and topics of a part are learned from."""
        return np.ones_like(self.validation) if part == "comparison" else ~self.validation


def validation_share(ids: Sequence[str], labels: NDArray[np.int32], share: float) -> NDArray[np.bool_]:
    """Hold out the same share of each label, and of the photographs without one.

    Those are taken whose ids (hashes of their paths) come first, hashed once more: neither the order of the photographs
    nor others beside them of another label have a say.

    Parameters
    ----------
    ids : sequence of str
    labels : ndarray of shape (n,), int32
    share : float
        Rounded, for each label, to whole photographs; one of each label at least stays.

    Returns
    -------
    ndarray of shape (n,), bool
    """
    held = np.zeros(len(ids), bool)
    keys = [hashlib.blake2b(image_id.encode(), digest_size=8, person=b"validation").digest() for image_id in ids]
    for label in np.unique(labels):
        of_label = sorted(np.flatnonzero(labels == label).tolist(), key=keys.__getitem__)
        held[of_label[: min(round(share * len(of_label)), len(of_label) - 1)]] = True
    return held


def read_photographs(
    project: ProjectFolder,
    labels: str,
    validation: float,
    *,
    report: Callable[[str, str], object] | None = None,
) -> Photographs:
    """What is known of the photographs of a project that has been extracted.

    Parameters
    ----------
    project : ProjectFolder
    labels : str
        See `fastvbow.images.labels.read_labels`.
    validation : float
        See `validation_share`.
    report : callable (path, reason), optional
        Gets each photograph whose mask is missing or bad, where labels come from masks.

    Raises
    ------
    UsageError
        No photograph has such a label, though labels were asked for.
    """
    table = ImageTable.load(project.images, project.image_root)
    rows = np.concatenate([shard.read for shard in open_shards(project)])
    kept = np.flatnonzero(rows).tolist()
    known = read_labels(labels, table.names, table.image_ids, table=table, report=report)
    names = sorted({name for i in kept if (name := known[i]) is not None})
    if labels != "none" and not names:
        raise UsageError(
            f"no image of {project.source} has a label under --labels {labels}: take parent, a CSV file or none"
        )
    number = {name: i for i, name in enumerate(names)}
    codes = np.array([-1 if (label := known[i]) is None else number[label] for i in kept], np.int32)
    ids = [table.image_ids[i] for i in kept]
    held = validation_share(ids, codes, validation)
    digest = fingerprint_of([table.fingerprint(), np.packbits(rows).tobytes(), names, codes.tobytes()])
    return Photographs(ids, [table.names[i] for i in kept], codes, names, held, rows, digest)


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes
    ----------
    settings : list of (Setting, tuple of int)
        Each setting, and its numbers of topics.
    reference : Setting or None
        The setting of the comparison with all features, of the first seed; None without labels.
    """

    settings: list[tuple[Setting, tuple[int, ...]]]
    reference: Setting | None

    def part(self, part: str) -> list[tuple[Setting, int]]:
        """The cells of a part, in the order of the settings."""
        return [(setting, k) for setting, topics in self.settings if setting.part == part for k in topics]


def check_grid(grid: StudyGrid) -> None:
    """Raise a UsageError where no features could have so few words: before the long work, not after."""
    for words in grid.words:
        VocabularyConfig(words=words)
        share_words(words, [name for kind in grid.features for name in MODALITIES[kind]])


def make_plan(grid: StudyGrid, photographs: Photographs) -> Plan:
    """The cells of a grid.

    Parameters
    ----------
    grid : StudyGrid
    photographs : Photographs

    Raises
    ------
    UsageError
        There are fewer photographs to learn from than topics, or "labels" is asked for and there are none, or one.
    """
    n_labels, n_train = len(photographs.label_names), int((~photographs.validation).sum())
    if "labels" in grid.topics and n_labels < 2:
        raise UsageError(f"--topics labels wants two labels at least, there are {n_labels}: pass numbers")
    topics = tuple(sorted({n_labels if number == "labels" else int(number) for number in grid.topics}))
    if n_train < topics[-1]:
        raise UsageError(f"{n_train} photographs to learn from cannot form {topics[-1]} topics: pass fewer --topics")
    # seed by seed, so that what an interrupted study has is a whole grid of fewer seeds
    settings = [
        (Setting("grid", grid.features, keypoints, words, seed), topics)
        for seed in grid.seeds
        for keypoints in (sorted(grid.keypoints) if "sift" in grid.features else [0])
        for words in sorted(grid.words)
    ]
    if n_labels < 2:
        return Plan(settings, None)
    defaults = ExtractConfig(), VocabularyConfig()
    keypoints = min(grid.keypoints, key=lambda n: (abs(n - defaults[0].keypoints), n))
    words = min(grid.words, key=lambda n: (abs(n - defaults[1].words), n))
    kinds = [grid.features, *((kind,) for kind in grid.features if len(grid.features) > 1)]
    compared: list[tuple[Setting, tuple[int, ...]]] = [
        (Setting("comparison", kind, keypoints if "sift" in kind else 0, words, seed), (n_labels,))
        for kind in kinds
        for seed in grid.seeds
    ]
    return Plan(settings + compared, compared[0][0])


def key_of(setting: Setting, n_topics: int, photographs: Photographs, extracted: dict[str, Any], sweeps: int) -> str:
    """The name of a cell's result: equal where all that it depends on is.

    Parameters
    ----------
    setting : Setting
    n_topics : int
    photographs : Photographs
    extracted : dict
        The parameters of the extraction.
    sweeps : int
    """
    known = {kind: extracted[kind] for kind in setting.features}
    if "sift" in known:  # the first so many are the same whatever there is beyond
        known["sift"] = {**known["sift"], "keypoints": setting.keypoints}
    stages = [STAGES[stage] for stage in ("extract", "vocabulary", "encode", "topics")]
    learned_from = np.packbits(photographs.chosen(setting.part)).tobytes()
    return fingerprint_of([REVISION, stages, known, photographs.digest, learned_from, *setting, n_topics, sweeps])
