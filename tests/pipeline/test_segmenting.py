"""Masks of a whole project: made corpora whose answer is known, bad masks, the real layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.errors import StageMissingError, UsageError
from fastvbow.images.sources import scan
from fastvbow.pipeline.segmenting import PlacedTopics, segments
from fastvbow.project import ProjectFolder

HEIGHT, WIDTH = 96, 160


def texture(kind, rng):
    """A patch of one of three textures, 96 x 80, each with many keypoints that look alike."""
    image = np.full((HEIGHT, WIDTH // 2), 128, np.uint8)
    if kind == 0:  # a chessboard
        y, x = np.indices(image.shape)
        image[:] = np.where((y // 16 + x // 16) % 2, 220, 30)
    for y in range(6, HEIGHT - 3, 12):
        for x in range(6, WIDTH // 2 - 3, 12):
            if kind == 1:
                cv2.circle(image, (x, y), 3, 255, -1)
            elif kind == 2:
                cv2.line(image, (x - 5, y + 5), (x + 5, y - 5), 0, 2)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def write_corpus(folder, n_images=24):
    """Photographs of one of three textures and, half of them, of another one in the right half; masks say which."""
    rng = np.random.default_rng(0)
    for name in "img", "label":
        (folder / name).mkdir(parents=True)
    for i in range(n_images):
        kinds = rng.permutation(3)[:2] if i % 2 else np.full(2, i // 2 % 3)
        cv2.imwrite(str(folder / f"img/{i:02d}.png"), np.hstack([texture(kind, rng) for kind in kinds]))
        mask = np.repeat([np.repeat(kinds * 10, WIDTH // 2)], HEIGHT, axis=0).astype(np.uint8)
        mask[:2] = 255
        cv2.imwrite(str(folder / f"label/{i:02d}.png"), mask)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("segments") / "corpus")


@pytest.fixture(scope="module")
def textures(corpus, tmp_path_factory):
    """A project of these photographs, SIFT alone."""
    project = tmp_path_factory.mktemp("segments") / "project"
    pipeline.run(
        corpus,
        project,
        extract_config=ExtractConfig(features=("sift",)),
        vocabulary_config=VocabularyConfig(words=30),
        topics_config=TopicsConfig(topics=3, sweeps=60),
        jobs=1,
    )
    return project


def same(one, other):
    for name in "token_mass", "image_mass", "pixels", "image_pixels", "shuffled_pixels":
        np.testing.assert_array_equal(getattr(one.counts, name), getattr(other.counts, name))
    assert one.best.mean_iou == other.best.mean_iou


def test_topics_that_are_textures(textures, recorder):
    found = segments(textures, jobs=1, listener=recorder)
    assert (found.layout, found.n_images, found.problems) == ("parallel", 24, [])
    assert found.classes.tolist() == [0, 10, 20]
    assert found.names == ["class 0", "class 10", "class 20"]
    assert sorted(found.best.label.tolist()) == [0, 1, 2], "each topic is a texture"
    np.testing.assert_array_equal(found.best.label, found.matched.label)
    assert found.best.mean_iou > 0.95 and found.best.accuracy > 0.97
    assert (found.topic_segments.max(axis=1) > 0.95).all()
    assert found.unplaced_tokens == 0 < found.placed_tokens
    assert found.unlabelled_pixels == pytest.approx(2 / HEIGHT)
    assert found.image_best.mean_iou < 0.65, "whole-image mixtures do not know where"
    assert found.image_segments.max(axis=1).min() < 0.8
    assert found.shuffled_best.mean_iou < 0.5, "nor do the topics of other photographs"
    assert found.independent_best.mean_iou < 0.2
    assert recorder.stages("step") == ["evaluate"] * 24


def test_masks_that_the_topics_cannot_know(textures, corpus, tmp_path):
    """Upper and lower halves: every topic lies on both."""
    for path in (corpus / "img").iterdir():
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[HEIGHT // 2 :] = 1
        cv2.imwrite(str(tmp_path / path.name), mask)
    found = segments(textures, str(tmp_path), jobs=1)
    assert found.n_images == 24
    assert 0.2 < found.best.mean_iou < 0.5
    assert abs(found.best.accuracy - 0.5) < 0.1
    assert (abs(found.topic_segments - 0.5) < 0.15).all()


def test_any_number_of_threads(textures):
    first = segments(textures, jobs=1, seed=5)
    same(first, segments(textures, jobs=3, seed=5))
    other = segments(textures, jobs=1, seed=6)
    np.testing.assert_array_equal(first.counts.pixels, other.counts.pixels)
    assert (first.counts.shuffled_pixels != other.counts.shuffled_pixels).any()


def test_bad_masks_are_reported_one_by_one(textures, corpus, tmp_path):
    masks = shutil.copytree(corpus / "label", tmp_path / "masks")
    whole = (masks / "00.png").read_bytes()
    (masks / "00.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(masks / "01.png"), np.zeros((WIDTH, HEIGHT), np.uint8))
    (masks / "02.png").unlink()
    cv2.imwrite(str(masks / "03.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (masks / "04.png").write_bytes(b"")
    (masks / "05.png").unlink()
    (masks / "05.png").mkdir()
    found = segments(textures, str(masks), jobs=2)
    assert found.n_images == 18
    told = dict(found.problems)
    assert list(told) == [f"img/{i:02d}.png" for i in range(6)]
    wanted = ["truncated PNG", "96 x 160 pixels, its photograph 160 x 96", "there is no mask", "8-bit RGB", "empty", ""]
    for (path, reason), part in zip(found.problems, wanted, strict=True):
        assert part in reason and "\n" not in reason, path
    rest = shutil.copytree(masks, tmp_path / "rest", ignore=lambda *_: [f"{i:02d}.png" for i in range(6)])
    again = segments(textures, str(rest), jobs=1)
    np.testing.assert_array_equal(found.counts.pixels, again.counts.pixels)


def test_no_mask_that_can_be_used(textures, corpus, tmp_path):
    for path in (corpus / "img").iterdir():
        (tmp_path / path.name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"no photograph of .* can be used: the first, img/00\.png: a mask is a PNG"):
        segments(textures, str(tmp_path))


def test_names_from_a_table(textures, tmp_path):
    (tmp_path / "names.csv").write_text('id,name\n0,chessboard\n10,"dots, spots"\n')
    assert segments(textures, names=tmp_path / "names.csv", jobs=1).names == ["chessboard", "dots", "class 20"]
    with pytest.raises(UsageError, match=r"missing\.csv"):
        segments(textures, names=tmp_path / "missing.csv")


def test_the_command(textures, corpus, tmp_path, cli):
    table = tmp_path / "names.csv"
    table.write_text("id,name\n0,chessboard\n10,dots\n20,strokes\n")
    done = cli("segments", textures, "--names", table)
    found = segments(textures, names=table)
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0] == "24 photographs with a mask (parallel): 3 classes, 3 topics; 2.1% of the pixels have no class"
    row = next(line for line in lines if "map of each photograph's topics" in line)
    best, matched = found.best, found.matched
    figures = [best.mean_iou, best.accuracy, matched.mean_iou, matched.accuracy]
    assert row.split()[-4:] == [f"{figure:.4f}" for figure in figures]
    for name, iou in zip(("chessboard", "dots", "strokes"), found.best.iou, strict=True):
        assert any(line.split()[0] == name and line.endswith(f"{iou:.3f}") for line in lines if line.split())
    as_json = json.loads(cli("segments", textures, "--json").out)
    assert as_json["scores"]["best"] == {"mean_iou": best.mean_iou, "accuracy": best.accuracy}
    np.testing.assert_allclose(as_json["topic_segments"], found.topic_segments)
    assert [entry["class"] for entry in as_json["classes"]] == [0, 10, 20]


def test_the_command_with_bad_masks(textures, corpus, tmp_path, cli):
    masks = tmp_path / "masks"
    shutil.copytree(corpus / "label", masks)
    (masks / "03.png").write_bytes((masks / "03.png").read_bytes()[:60])
    done = cli("segments", textures, "--masks", masks)
    assert done.code == 3
    assert "LEFT OUT  (1 photograph)" in done.out
    assert "03.png: " in done.out
    assert cli("segments", textures, "--part-level", "9").code == 2
    assert cli("segments", textures, "--masks", tmp_path / "nowhere").code == 2


def test_before_there_are_topics(corpus, tmp_path):
    pipeline.extract(corpus, tmp_path / "p", ExtractConfig(features=("sift",)), jobs=1)
    with pytest.raises(StageMissingError):
        segments(tmp_path / "p")


def test_places_of_all_modalities(small_project):
    """Keypoints and cells get their own words' topics; the tokens of the pooled vector have no place."""
    folder = ProjectFolder.open(small_project)
    placed = PlacedTopics(folder)
    theta = np.load(folder.topics / "theta.npy")
    shards = sorted(folder.tokens.glob("shard-*"))
    words = np.concatenate([np.load(shard / "words.npy") for shard in shards])
    counts = np.concatenate([np.load(shard / "counts.npy") for shard in shards])
    model = Project.open(small_project).model
    starts = np.concatenate([[0], counts.sum(axis=1).cumsum()])
    for index in (0, 31, 59):
        (points,), (cells,), unplaced = placed.of(index)
        n_sift, n_conv, n_pooled = counts[index]
        assert (len(points.mass), cells.rows, cells.columns, unplaced) == (n_sift, 7, 7, n_pooled)
        assert n_conv == 49
        for j, mass in [(3, points.mass[3]), (n_sift + 20, cells.mass[20])]:
            word = words[starts[index] + j]
            p = theta[index] * model.topic_word_[:, word]
            np.testing.assert_allclose(mass, p / p.sum() * model.word_weights_[word])
        width, height = placed.widths[index], placed.heights[index]
        assert placed.map_of(index).pixels(height, width).shape == (height, width)


def test_joint_words_lie_at_keypoints(sift_folder, tmp_path):
    pipeline.run(
        sift_folder,
        tmp_path / "p",
        vocabulary_config=VocabularyConfig(words=60, fusion="joint"),
        topics_config=TopicsConfig(topics=4, sweeps=5),
        jobs=1,
    )
    placed = PlacedTopics(ProjectFolder.open(tmp_path / "p"))
    (points,), cells, unplaced = placed.of(7)
    assert cells == [] and unplaced == 300 and len(points.mass) == len(points.x) > 20


@pytest.fixture
def samples(data_folder, tmp_path):
    def run(source: Path, topics: int):
        project = tmp_path / "project"
        config = TopicsConfig(topics=topics, sweeps=20)
        features = ExtractConfig(features=("sift",))
        pipeline.run(source, project, extract_config=features, topics_config=config, jobs=1, labels="object")
        return project

    return lambda place, topics: run(data_folder / place, topics)


@pytest.mark.data
def test_the_full_ade20k(samples):
    project = samples("ade20k_samples/dataset", 2)
    found = segments(project, jobs=1)
    assert (found.layout, found.n_images, found.problems) == ("ade20k", 3, [])
    assert len(found.classes) == 24
    assert {"building", "sky", "tree", "road", "trade name"} < set(found.names)
    pixels = dict(zip(found.names, found.counts.pixels[:, found.classes].sum(axis=0).tolist(), strict=True))
    assert pixels["sky"] == 437203 + 31428, "as in the masks"
    assert pixels["alarm"] == 6337
    np.testing.assert_allclose(found.topic_segments.sum(axis=1), 1)
    parts = segments(project, part_level=2, jobs=1)
    assert parts.n_images == 1 and len(parts.problems) == 2
    assert all("there is no mask" in reason for _, reason in parts.problems)


@pytest.mark.data
def test_scene_parsing(samples):
    found = segments(samples("ade20k_samples/sampleData", 2), jobs=1)
    assert (found.layout, found.n_images, found.problems) == ("sceneparsing", 3, [])
    assert {"wall", "building", "sky"} < set(found.names), "objectInfo150.csv lies two folders above the masks"


@pytest.mark.data
def test_coco_stuff(samples, data_folder):
    source = data_folder / "coco_stuff_spade/datasets/coco_stuff/val_img"
    found = segments(samples(source, 3), jobs=1)
    assert (found.layout, found.n_images, found.problems) == ("parallel", 8, [])
    masks = [cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in sorted((source.parent / "val_label").iterdir())]
    wanted = sum(np.bincount(mask.ravel(), minlength=256) for mask in masks)
    np.testing.assert_array_equal(found.counts.pixels.sum(axis=0), wanted[: found.classes[-1] + 1])
    assert found.counts.unlabelled_pixels == wanted[255]


def test_groups_and_evaluate_know_when_masks_change(corpus, tmp_path, cli):
    source, project = shutil.copytree(corpus, tmp_path / "corpus"), tmp_path / "project"
    pipeline.extract(source, project, ExtractConfig(features=("sift",)), jobs=1)
    pipeline.vocabulary(project, VocabularyConfig(words=30), jobs=1)
    pipeline.encode(project, jobs=1)
    pipeline.topics(project, TopicsConfig(topics=3, sweeps=3), jobs=1)
    messages = []
    first = pipeline.groups(project, labels="object", listener=messages.append)
    assert first.outputs["labelled"] == 24
    again = pipeline.groups(project, labels="object", listener=messages.append)
    assert (again, messages[-1].kind) == (first, "reused")
    (source / "label/03.png").write_bytes(b"x")
    third = pipeline.groups(project, labels="object", listener=messages.append)
    assert third.outputs["labelled"] == 23
    assert [e.message for e in messages if e.kind == "warning"] == [
        "img/03.png has no label: a mask is a PNG file, this is no image"
    ]
    assert len(scan(source)) == 24, "the photograph stays"
    done, reason = cli("evaluate", project, "--labels", "object"), "a mask is a PNG file, this is no image"
    assert done.out.splitlines()[1] == f"masks of 1 image are of no use: img/03.png: {reason}"
    assert done.out.startswith("23 images with a label, 1 more without: 3 labels")
    found = json.loads(cli("evaluate", project, "--labels", "object", "--json").out)
    assert found["problems"] == [{"path": "img/03.png", "reason": reason}]
