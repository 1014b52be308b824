"""Command ``evaluate``: a project's groups held against labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastvbow.errors import UsageError
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.evaluation.distributions import symmetric_kl_scores
from fastvbow.pipeline.grouping import load_grouping
from fastvbow.project import ProjectFolder

__all__ = ["evaluate"]


def evaluate(project: Path, *, labels: str = "parent") -> dict[str, float]:
    """Score a project's groups. The model has not seen the labels.

    Parameters
    ----------
    project : Path
    labels : str, default="parent"
        See `fastvbow.images.labels.read_labels`.

    Returns
    -------
    dict
        ``n_images`` (those with a label), ``acc``, ``nmi``, ``ari``, ``purity``, ``symkl_within``, ``symkl_global``,
        ``symkl_ratio``.

    Raises
    ------
    StageMissingError
        There are no topics yet.
    UsageError
        No image has a label.
    """
    grouping = load_grouping(ProjectFolder.open(project), labels)
    known = np.array([label is not None for label in grouping.labels])
    if not known.any():
        raise UsageError(f"no image of {project} has a label under --labels {labels}: take 'parent' or a CSV file")
    given = [label for label in grouping.labels if label is not None]
    scores: dict[str, float] = {"n_images": len(given)}
    scores |= clustering_scores(given, grouping.topic[known])
    return scores | symmetric_kl_scores(grouping.theta[known], given)
