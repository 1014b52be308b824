"""What a project's photographs are grouped by: the mixtures of its topics, or the clusters of another method.

The card of ``groups`` says which: what fed it is the stage ``topics`` or the stage ``cluster``. Both leave the same
behind: a folder with ``model/``, whose manifest has the SHA-256 of its tensors, and ``theta.npy``, (n_images, n_groups)
float64, in which the row of each image of the table is positive and has the sum 1. So whatever reads groups need not
know how they were made.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StageMissingError, StoreCorruptError
from fastvbow.project import ProjectFolder, StageCard

__all__ = ["MAKERS", "grouped_by", "load_shares", "model_of", "n_groups_of", "seed_of"]

MAKERS = ("topics", "cluster")
"""The stages that photographs can be grouped by."""


def grouped_by(project: ProjectFolder) -> str:
    """The stage that a project's photographs are grouped by.

    Where grouping was begun and not finished, it is the one that they were grouped by before; where there are no groups
    yet, the one that has run, topics before clusters.

    Parameters
    ----------
    project : ProjectFolder

    Returns
    -------
    {"topics", "cluster"}

    Raises
    ------
    StageMissingError
        Neither has run.
    """
    groups = project.asked_card("groups")
    known = () if groups is None else groups.inputs
    found = [stage for stage in MAKERS if stage in known] or [stage for stage in MAKERS if project.card(stage)]
    if not found:
        raise StageMissingError(
            f"the photographs of {project.root} are not grouped yet: run 'fastvbow run', or 'fastvbow cluster' where "
            "their features are extracted"
        )
    return found[0]


def load_shares(project: ProjectFolder, by: str | None = None) -> NDArray[np.float64]:
    """The shares of each group in each row of the image table, (n_images, n_groups); of a skipped image, a prior.

    Parameters
    ----------
    project : ProjectFolder
    by : {"topics", "cluster"}, optional
        None: `grouped_by`.

    Raises
    ------
    StageMissingError, StoreCorruptError
        The stage has not run, is older than what feeds it, or its file is damaged.
    """
    stage = by or grouped_by(project)
    project.require(stage)
    path = _folder(project, stage) / "theta.npy"
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise StoreCorruptError(f"{path}: {error}: delete {path.parent} and run 'fastvbow {stage}' again") from None


def model_of(project: ProjectFolder, by: str) -> Path:
    """The folder of the model that a stage leaves behind."""
    return _folder(project, by) / "model"


def n_groups_of(card: StageCard) -> int:
    """The number of topics or clusters that a card tells of."""
    return int(card.outputs["topics" if card.stage == "topics" else "clusters"])


def seed_of(card: StageCard) -> int:
    """The seed of the card of either stage; 0 where a model was taken over that has none."""
    return int(card.parameters.get("seed", 0))


def _folder(project: ProjectFolder, stage: str) -> Path:
    return project.topics if stage == "topics" else project.clusters
