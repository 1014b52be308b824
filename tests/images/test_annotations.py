"""ADE20K's words: names of classes, scenes, and labels by scene and by dominant object."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest

from fastvbow.errors import ImageError, UsageError
from fastvbow.images.annotations import class_names, display_names, read_annotation
from fastvbow.images.labels import read_labels
from fastvbow.images.mask_files import find_masks
from fastvbow.images.objects import dominant_objects, fingerprint_of_masks
from fastvbow.images.sources import scan

STEM = "ADE_train_0000000"


def write_json(path, found, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps({"annotation": found}, ensure_ascii=False).encode(encoding))
    return os.fsencode(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_json_in_every_encoding(tmp_path, encoding):
    objects = [{"name": "café, coffee shop", "name_ndx": 7}, {"name": "car", "name_ndx": 8}, {"name": "car"}, {}]
    found = read_annotation(write_json(tmp_path / "a.json", {"object": objects, "scene": ["urban", "rue"]}, encoding))
    assert found.names == {7: "café, coffee shop", 8: "car"}
    assert (found.scene, found.folder) == (("urban", "rue"), "")


def test_json_as_matlab_writes_it(tmp_path):
    """One element without its brackets, nothing as an empty list."""
    one = read_annotation(write_json(tmp_path / "a.json", {"object": {"name": "sky", "name_ndx": 3}, "scene": "sea"}))
    assert (one.names, one.scene) == ({3: "sky"}, ("sea",))
    none = read_annotation(write_json(tmp_path / "b.json", {"object": [], "folder": "a\\b", "scene": None}))
    assert (none.names, none.scene, none.folder) == ({}, (), "a/b")


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"\xff\xfe{}", b'{"annotation": 3}', b'{"annotation": {"object": [3]}}', b"[" * 100000]
)
def test_bad_json(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ImageError, match="not a JSON file as of ADE20K") as caught:
        read_annotation(os.fsencode(tmp_path / "a.json"))
    assert "\n" not in caught.value.reason


def test_tables_of_names(tmp_path):
    (tmp_path / "a.csv").write_text("Idx,Ratio,Name\n1,.5,wall\n2,.1,building;edifice\n")
    (tmp_path / "b.txt").write_text("Idx\tRatio\tName \tName\n1\t.5\tx\twall\n")
    (tmp_path / "c.csv").write_text('id,name\n0,"person"\n', encoding="utf-8-sig")
    assert class_names(tmp_path / "a.csv") == {1: "wall", 2: "building;edifice"}
    assert class_names(tmp_path / "b.txt") == {1: "wall"}
    assert class_names(tmp_path / "c.csv") == {0: "person"}
    (tmp_path / "d.csv").write_text("number,name\n")
    (tmp_path / "e.csv").write_text("id,name\none,x\n")
    for name in "d.csv", "e.csv", "missing.csv":
        with pytest.raises(UsageError, match=name):
            class_names(tmp_path / name)


def test_display_names():
    names = {1: "car, auto", 2: "building;edifice", 3: "bat, animal", 4: "bat, club"}
    assert display_names(names, [1, 2, 3, 4, 9]) == ["car", "building", "bat (3)", "bat (4)", "class 9"]


def labels(folder, spec, report=None):
    table = scan(folder)
    return read_labels(spec, table.names, table.image_ids, table=table, report=report)


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_scenes_by_folder(tmp_path):
    """2021, 2016 with and without a further step, and photographs that are none of ADE20K's."""
    places = ["ADE/training/urban/street", "images/validation/b/bedroom", "images/training/c/casino/indoor", "other"]
    names = [f"{place}/{STEM}{i}.jpg" for i, place in enumerate(places)]
    fill(tmp_path, *names, "ADE/training/urban/street/cat.jpg")
    found = dict(zip(scan(tmp_path).names, labels(tmp_path, "scene"), strict=True))
    assert [found[name] for name in names] == ["urban/street", "bedroom", "casino/indoor", None]
    assert found["ADE/training/urban/street/cat.jpg"] is None
    assert labels(tmp_path / "ADE/training/urban/street", "scene") == ["urban/street", None], "from inside, too"


def test_scenes_by_files(tmp_path):
    fill(tmp_path, *(f"p/{STEM}{i}.jpg" for i in (1, 2, 3, 4)))
    (tmp_path / "sceneCategories.txt").write_text(f"{STEM}1 airport_terminal\nnonsense\n{STEM}9 x\n")
    write_json(tmp_path / f"p/{STEM}2.json", {"scene": ["outdoor", "urban", "street"]})
    write_json(tmp_path / f"p/{STEM}3.json", {"folder": "ADE/training/urban/street", "scene": ["outdoor", "x"]})
    assert labels(tmp_path, "scene") == ["airport_terminal", "outdoor/urban/street", "urban/street", None]


def test_no_scene_at_all(tmp_path):
    with pytest.raises(UsageError, match=r"no photograph of .* has a scene"):
        labels(fill(tmp_path, "training/x/a.jpg"), "scene")
    with pytest.raises(UsageError, match="labels by scene come from the photographs' own files"):
        read_labels("scene", ["a.jpg"], ["1"])


@pytest.fixture
def street(tmp_path):
    """Photographs of 4 x 3 pixels and masks: mostly 300, a tie of 2 and 700, bad ones, and a missing one."""
    masks = {1: [300] * 7 + [0] * 5, 2: [700] * 6 + [2] * 6, 3: [0] * 12, 4: [5] * 12}
    for i in range(1, 7):
        cv2.imwrite(str(tmp_path / f"{STEM}{i}.jpg"), np.full((3, 4, 3), 40 * i, np.uint8))
    for i, classes in masks.items():
        seg = np.array(classes).reshape(3, 4)
        cv2.imwrite(str(tmp_path / f"{STEM}{i}_seg.png"), np.dstack([seg * 0, seg % 256, seg // 256 * 10]))
    (tmp_path / f"{STEM}5_seg.png").write_bytes((tmp_path / f"{STEM}1_seg.png").read_bytes()[:-20])
    write_json(tmp_path / f"{STEM}1.json", {"object": [{"name": "sky, heaven", "name_ndx": 300}]})
    (tmp_path / f"{STEM}4.json").write_text("{")
    return tmp_path


def test_dominant_objects(street):
    problems = {}
    found = labels(street, "object", problems.__setitem__)
    assert found == ["sky", "class 2", None, "class 5", None, None], "of equals the smaller number"
    assert problems.keys() == {f"{STEM}{i}.jpg" for i in range(2, 7)}
    assert problems[f"{STEM}3.jpg"] == "the mask holds no class"
    assert problems[f"{STEM}4.jpg"].startswith(f"classes without names, for {STEM}4.json: not a JSON file")
    assert problems[f"{STEM}5.jpg"].startswith("truncated PNG")
    assert problems[f"{STEM}6.jpg"].startswith("there is no mask")


def test_only_bad_masks(street):
    for i in (1, 2, 4):
        (street / f"{STEM}{i}_seg.png").write_bytes(b"x")
    with pytest.raises(UsageError, match=f"no photograph has a mask that tells .* {STEM}1.jpg: a mask is a PNG"):
        labels(street, "object")


@pytest.mark.parametrize("name", [f"{STEM}1_seg.png", f"{STEM}1.json"])
def test_the_fingerprint_knows_masks_and_names(street, name):
    before = fingerprint_of_masks(find_masks(scan(street)))
    assert fingerprint_of_masks(find_masks(scan(street))) == before
    os.utime(street / name, (1, 1))
    assert fingerprint_of_masks(find_masks(scan(street))) != before


@pytest.mark.data
def test_real_samples(data_folder):
    samples = data_folder / "ade20k_samples"
    assert labels(samples / "dataset", "scene") == ["urban/street"] * 3
    assert labels(samples / "dataset", "object") == ["road", "sidewalk", "building"]
    assert labels(samples / "sampleData", "object") == ["sky", "sky", "road"]
    table = scan(data_folder / "coco_stuff_spade/datasets/coco_stuff/val_img")
    found = dominant_objects(table, find_masks(table))
    assert found.problems == []
    mask = cv2.imread(str(table.path(0)).replace("val_img", "val_label").replace(".jpg", ".png"), cv2.IMREAD_GRAYSCALE)
    assert found.labels[0] == f"class {np.bincount(mask[mask != 255]).argmax()}"
