"""What the map is laid out by, against the project's files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from fastvbow import pipeline
from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.pipeline.report_positions import MIXTURE, report_positions
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary


def test_vectors_beside_mixtures(small_project):
    folder = ProjectFolder.open(small_project)
    theta = np.load(folder.topics / "theta.npy")
    rows = np.arange(1, len(theta))  # as if the first photograph had not been read
    given = report_positions(folder, rows, "pca")
    chosen = np.array([40, 3, 11])
    np.testing.assert_array_equal(given.mixtures(chosen), theta[[41, 4, 12]])
    pooled = np.concatenate([np.load(s / "pooled.descriptors.npy") for s in sorted(folder.features.glob("shard-*"))])
    book = Vocabulary.load(folder.vocabulary).codebooks["pooled"]
    unit = pooled[[41, 4, 12]].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    wanted = (unit - book.mean) @ book.components.T
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = given.vectors(chosen)
    np.testing.assert_allclose(found[:, : wanted.shape[1]], wanted, atol=1e-4)
    np.testing.assert_allclose(found[:, wanted.shape[1] :], MIXTURE * np.sqrt(theta[[41, 4, 12]]), atol=1e-6)


def test_words_where_there_are_no_vectors(sift_project):
    folder = ProjectFolder.open(sift_project)
    theta = np.load(folder.topics / "theta.npy")
    found = report_positions(folder, np.arange(len(theta)), "pca").vectors(np.arange(len(theta)))
    shards = sorted(folder.tokens.glob("shard-*"))
    words = np.concatenate([np.load(shard / "words.npy") for shard in shards])
    counts = np.concatenate([np.load(shard / "counts.npy").sum(axis=1) for shard in shards])
    parts = np.split(words, np.cumsum(counts)[:-1])
    roots = np.array([np.sqrt(np.bincount(part, minlength=60) / len(part)) for part in parts])
    between = np.linalg.norm(roots[:, None] - roots, axis=2)
    own = found[:, : -theta.shape[1]]
    np.testing.assert_allclose(np.linalg.norm(own[:, None] - own, axis=2), between, atol=1e-3)


def test_the_layout_is_part_of_the_stage(sift_project, tmp_path, cli):
    project = tmp_path / "p"
    shutil.copytree(sift_project, project)
    with pytest.raises((UsageError, MissingExtraError), match=r"--layout umap wants 100 photographs|umap-learn"):
        pipeline.report(project, layout="umap", jobs=1)
    assert pipeline.report(project, layout="pca", jobs=1).parameters["layout"] == "pca"
    assert pipeline.report(project, jobs=1).parameters["layout"] == "pca", "fewer than 100"
    assert (project / "report" / "map.html").exists()
    assert "--layout is one of" in cli("report", project, "--layout", "circle").complaint
