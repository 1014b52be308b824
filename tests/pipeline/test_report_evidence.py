"""The words and tokens that a report shows, against what lies in the project's files."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastvbow import pipeline
from fastvbow.config import TopicsConfig, VocabularyConfig
from fastvbow.pipeline.placed_tokens import PlacedTokens
from fastvbow.pipeline.report_evidence import report_evidence
from fastvbow.project import ProjectFolder
from fastvbow.topics.lda import GibbsLDA


@pytest.fixture
def parts(small_project):
    folder = ProjectFolder.open(small_project)
    return folder, GibbsLDA.load(folder.topics / "model"), np.load(folder.topics / "theta.npy")


def test_tokens_by_hand(parts):
    folder, model, theta = parts
    rows = np.array([31, 4])
    evidence = report_evidence(folder, PlacedTokens(folder), rows)
    np.testing.assert_array_equal(evidence.counts, model.components_)
    assert list(evidence.kinds) == ["sift", "conv", "pooled"]
    assert [stop for _, stop in evidence.kinds.values()][-1] == model.components_.shape[1]
    words = np.concatenate([np.load(s / "words.npy") for s in sorted(folder.tokens.glob("shard-*"))])
    counts = np.concatenate([np.load(s / "counts.npy") for s in sorted(folder.tokens.glob("shard-*"))])
    places = np.concatenate([np.load(s / "sift.keypoints.npy") for s in sorted(folder.features.glob("shard-*"))])
    for i, row in enumerate(rows):
        found = evidence.tokens(i)
        assert [part.kind for part in found.kinds] == ["sift", "conv", "pooled"]
        sift, conv, pooled = found.kinds
        assert [len(part.words) for part in found.kinds] == counts[row].tolist()
        np.testing.assert_array_equal(
            np.concatenate([part.words for part in found.kinds]),
            words[counts[:row].sum() : counts[: row + 1].sum()],
        )
        np.testing.assert_array_equal(sift.places, places[counts[:row, 0].sum() :][: len(sift.words)])
        assert conv.grid == (7, 7) and pooled.places is None and sift.grid is None
        p = theta[row] * model.topic_word_[:, sift.words[5]]
        np.testing.assert_allclose(sift.topics[5], p / p.sum())
        assert sift.places[:, 0].max() < found.width and sift.places[:, 1].max() < found.height


def test_merged_topics_are_one(parts):
    folder, model, _ = parts
    placed, row = PlacedTokens(folder), np.array([7])
    alone, merged = report_evidence(folder, placed, row), report_evidence(folder, placed, row, {1: [1, 2, 3]})
    np.testing.assert_allclose(merged.counts[1], model.components_[1:4].sum(axis=0))
    assert 0 < merged.counts[2:4].max() < 1e-200, "they count nowhere, and their logarithms stay finite"
    for one, other in zip(alone.tokens(0).kinds, merged.tokens(0).kinds, strict=True):
        np.testing.assert_allclose(other.topics[:, 1], one.topics[:, 1:4].sum(axis=1))
        assert (other.topics[:, 2:4] == 0).all()
        np.testing.assert_allclose(other.topics.sum(axis=1), 1)


def test_a_report_of_joint_words(sift_folder, tmp_path):
    """Keypoints' words are joint ones; the page says so, and shows their patches."""
    pipeline.run(
        sift_folder,
        tmp_path / "p",
        vocabulary_config=VocabularyConfig(words=60, fusion="joint"),
        topics_config=TopicsConfig(topics=4, sweeps=5),
        jobs=1,
    )
    page = next(iter(sorted((tmp_path / "p" / "report").glob("topic-*.html")))).read_text(encoding="utf-8")
    assert "Keypoints with the CNN’s map around them" in page and "Cells of the CNN’s map" not in page
    assert "Circles are keypoints, each" in page and "<circle" in page and "<path" not in page
    sheets = set(re.findall(r'href="(words/[^"]+)"', page))
    assert len(sheets) == 1 and (tmp_path / "p" / "report" / sheets.pop()).exists()
