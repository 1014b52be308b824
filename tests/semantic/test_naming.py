"""Names of clusters against loops, and where there is little to say."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import gap_fixture, unit

from fastvbow.errors import UsageError
from fastvbow.semantic import _rows
from fastvbow.semantic.naming import cluster_directions, suggest_names


def some(n, width=8, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, width))).astype(np.float32)


def naive_names(centers, nouns, words, n, contrast, apart, prior):
    scores = centers.astype(float) @ nouns.astype(float).T
    scores = scores - contrast * scores.mean(axis=0) + prior
    found = []
    for row in scores:
        chosen = []
        for i in np.argsort(-row, kind="stable"):
            near = [j for j in chosen if words[j].lower() == words[i].lower() or nouns[i] @ nouns[j] > apart]
            if len(chosen) < n and not near:
                chosen.append(int(i))
        found.append(tuple(chosen))
    return found, scores


@pytest.mark.parametrize("cells", [1 << 21, 1])
@pytest.mark.parametrize(("contrast", "apart"), [(0.5, 0.8), (0, 1), (1, 0.3)])
def test_against_the_twin(cells, contrast, apart, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    centers, nouns = some(4), some(200, seed=1)
    words = [f"Word{i // 2}" if i % 2 else f"word{i // 2}" for i in range(200)]
    prior = 0.1 * np.random.default_rng(2).random(200)
    found = suggest_names(centers, nouns, words, n=6, contrast=contrast, apart=apart, prior=prior)
    rows, scores = naive_names(centers, nouns, words, 6, contrast, apart, prior)
    assert [names.rows for names in found] == rows
    for names, row in zip(found, scores, strict=True):
        assert names.nouns == tuple(words[i] for i in names.rows)
        np.testing.assert_allclose(names.scores, row[list(names.rows)], atol=1e-6)
        assert names.caption is None and names.caption_cosine is None


def test_slots_of_kinds_against_loops():
    """Each kind has its own slots, and what was said by one kind is not said again by another."""
    centers, nouns = some(4), some(200, seed=1)
    words = [f"word{i // 2}" for i in range(200)]
    kinds = np.random.default_rng(5).integers(3, size=200)
    found = suggest_names(centers, nouns, words, contrast=0.5, apart=0.8, kinds=kinds, slots=(3, 0, 2))
    orders = (-naive_names(centers, nouns, words, 0, 0.5, 1, 0)[1]).argsort(axis=1, kind="stable")
    for names, order in zip(found, orders, strict=True):
        chosen, left = [], [3, 0, 2]
        for i in order:
            near = [j for j in chosen if words[j] == words[i] or nouns[i] @ nouns[j] > 0.8]
            if left[kinds[i]] and not near:
                chosen.append(int(i))
                left[kinds[i]] -= 1
        assert names.rows == tuple(chosen) and len(chosen) == 5


def test_a_place_that_is_hidden_behind_things():
    centers = unit([[1, 0, 0.5], [0, 1, 0.5]]).astype(np.float32)
    things = unit([[1, 0.1 * i, 0.3] for i in range(6)])
    nouns = np.concatenate([things, unit([[0.6, 0, 1]])])
    words = [*(f"washer {i}" for i in range(6)), "laundromat"]
    given = {"contrast": 0, "apart": 1}
    assert "laundromat" not in suggest_names(centers, nouns, words, **given)[0].nouns
    kinds = np.array([0] * 6 + [1])
    names = suggest_names(centers, nouns, words, kinds=kinds, slots=(1, 4), **given)[0].nouns
    assert len(names) == 2 and names[0].startswith("washer") and names[1] == "laundromat"


def test_hubs_name_nothing():
    centers = unit([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]).astype(np.float32)
    nouns = np.concatenate([np.eye(4), unit([[1, 1, 1, 2.5]])]).astype(np.float32)
    words = ["dog", "cat", "bus", "thing", "everything"]
    assert [names.nouns[0] for names in suggest_names(centers, nouns, words, contrast=1)] == ["dog", "cat", "bus"]
    assert {names.nouns[0] for names in suggest_names(centers, nouns, words, contrast=0)} == {"everything"}


def test_rows_without_a_label_may_be_anything(tmp_path, monkeypatch):
    """Also in a memory map, and whatever the blocks are."""
    images, labels = some(40), np.arange(40) % 3 - 1
    whole = cluster_directions(images, labels, 2)
    for k in range(2):
        np.testing.assert_allclose(whole[k], unit(images[labels == k].sum(axis=0)[None])[0], atol=1e-6)
    images[labels < 0] = np.array([0, np.nan])[np.arange(8) % 2]
    np.save(tmp_path / "images.npy", images)
    monkeypatch.setattr(_rows, "CELLS", 1)
    monkeypatch.setattr(_rows, "LEAST_ROWS", 7)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_allclose(cluster_directions(mapped, labels, 2), whole, atol=1e-7)
    with pytest.raises(UsageError, match="has no direction"):
        cluster_directions(mapped, np.abs(labels), 2)


def test_captions_come_with_their_cosine():
    centers, captions = some(3), some(90, seed=3)
    texts = [f"caption {i}" for i in range(90)]
    found = suggest_names(centers, some(9), ["a"] * 9, captions=5 * captions, caption_texts=texts)
    for names, center in zip(found, centers, strict=True):
        best = int((captions @ center).argmax())
        assert names.caption == texts[best] and names.caption_cosine == pytest.approx(captions[best] @ center, abs=1e-6)
        assert names.nouns == ("a",)


def test_one_centre_and_none():
    nouns = np.eye(3, dtype=np.float32)
    centers = np.array([[0, 0, 0], [0, 1, 0]], np.float32)
    empty, one = suggest_names(centers, nouns, ["a", "b", "c"], n=1)
    assert (empty.nouns, empty.scores, empty.caption) == ((), (), None)
    assert one.nouns == ("b",) and one.scores == (1.0,), "nothing is subtracted where there is nothing to compare"
    assert suggest_names(centers[:1], nouns, ["a", "b", "c"])[0].nouns == ()


def test_directions():
    X = 3 * np.array([[1, 0], [0, 2], [-1, 0], [1, 0.0], [5, 0]])
    found = cluster_directions(X, np.array([0, 0, 1, 1, -1]), 3)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0, 0], [0, 0]], atol=1e-6)
    for labels in (np.zeros(4, int), np.array([0, 0, 1, 1, 3])):
        with pytest.raises(UsageError, match="do not fit 5 images"):
            cluster_directions(X, labels, 3)


def test_true_names_across_a_gap():
    """Nouns of the right class come first, for all classes."""
    X, nouns, labels = gap_fixture()
    words = [str(i // 6) if i < 60 else f"distractor {i}" for i in range(len(nouns))]
    found = suggest_names(cluster_directions(X, labels, 10), nouns, words, apart=1)
    assert [names.nouns[0] for names in found] == [str(k) for k in range(10)]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"words": ["a"]}, "1 words, or the prior, do not fit"),
        ({"prior": np.zeros(2)}, "do not fit 3 embeddings"),
        ({"n": 0}, "n of at least 1"),
        ({"contrast": -1}, "contrast"),
        ({"apart": 2}, "apart"),
        ({"captions": np.eye(3)}, "both or neither"),
        ({"captions": np.eye(3), "caption_texts": ["a"]}, "1 captions do not fit 3"),
        ({"nouns": np.eye(4)[:3]}, "nouns has 4 columns"),
        ({"kinds": np.zeros(3, int)}, "kinds of nouns and slots for them go together"),
        ({"kinds": np.zeros(2, int), "slots": (1,)}, "do not fit 3 nouns and 1 slots"),
        ({"kinds": np.array([0, 1, 2]), "slots": (1, 1)}, "do not fit 3 nouns and 2 slots"),
        ({"kinds": np.zeros(3, int), "slots": (0,)}, r"slots=\(0,\) cannot be used"),
        ({"kinds": np.zeros(3, int), "slots": (0, 1)}, "no noun is of a kind that has a slot"),
    ],
)
def test_what_does_not_fit(how, said):
    given = {"centers": np.eye(3, dtype=np.float32), "nouns": np.eye(3), "words": list("abc"), **how}
    with pytest.raises(UsageError, match=said):
        suggest_names(**given)
