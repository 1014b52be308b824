"""The demonstration's crops: their number, their bytes, their overlap, and that no half-written file is left."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastvbow.demo import crops
from fastvbow.demo.crops import crop_box, crop_generator, make_crops, photograph_files
from fastvbow.errors import UsageError

NAMES = [Path(file.name).stem for file in photograph_files()]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "not" / "there" / "yet"
    assert make_crops(folder) == 25 * len(NAMES)
    return folder


def test_there_are_enough_photographs_and_they_are_small():
    assert len(NAMES) >= 12
    assert sum(len(file.read_bytes()) for file in photograph_files()) <= 2 * 2**20


def test_every_photograph_is_in_the_licences_and_the_other_way_round():
    text = (resources.files("fastvbow.demo") / "photographs" / "LICENSES.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if ".jpg |" in line[:40]
    ]
    assert sorted(row[0] for row in rows) == [file.name for file in photograph_files()]
    for row in rows:
        assert len(row) == 6
        assert all(row)
        assert re.fullmatch(r"Public domain|\[CC0 1\.0\]|\[CC BY [24]\.0\]", row[3])


def test_counts_and_names(made):
    expected = {f"{name}/{name}-{number:02d}.jpg" for name in NAMES for number in range(25)}
    assert {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()} == expected


def test_every_crop_decodes_within_bounds(made):
    for path in made.rglob("*.jpg"):
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 320 <= max(image.shape) <= 400
        assert min(image.shape[:2]) >= 160
        assert image.std() > 5


def test_same_seed_same_bytes_other_seed_other_bytes(made, tmp_path):
    make_crops(tmp_path / "again", crops_per_photograph=3)
    make_crops(tmp_path / "other", crops_per_photograph=3, seed=1)
    first, again, other = contents(made), contents(tmp_path / "again"), contents(tmp_path / "other")
    assert len(again) == 3 * len(NAMES)
    assert all(first[name] == again[name] for name in again)
    assert all(first[name] != other[name] for name in other)


def test_no_two_crops_are_equal(made):
    assert len(set(contents(made).values())) == 25 * len(NAMES)


@pytest.mark.parametrize(("width", "height"), [(720, 480), (479, 720), (512, 512), (451, 300)])
def test_any_two_boxes_of_a_photograph_share_area(width, height):
    boxes = [crop_box(crop_generator(5, 0, number), width, height) for number in range(60)]
    for box in boxes:
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= width
        assert box.top + box.height <= height
        assert 0.45 * width - 1 <= box.width <= 0.80 * width + 1
        assert 0.45 * height - 1 <= box.height <= 0.80 * height + 1
        assert abs(np.log(box.width / box.height * height / width)) < 0.2
    for one, two in combinations(boxes, 2):
        shared_width = min(one.left + one.width, two.left + two.width) - max(one.left, two.left)
        shared_height = min(one.top + one.height, two.top + two.height) - max(one.top, two.top)
        assert shared_width >= 0.2 * width - 2
        assert shared_height >= 0.2 * height - 2


def test_other_files_are_left_alone(tmp_path):
    mine = tmp_path / NAMES[0] / "mine.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("notes", encoding="utf-8")
    make_crops(tmp_path, crops_per_photograph=1)
    assert mine.read_bytes() == b"mine"
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "notes"
    assert len(contents(tmp_path)) == len(NAMES) + 2


def test_failed_write_leaves_no_partial_file(tmp_path, monkeypatch):
    make_crops(tmp_path / "whole", crops_per_photograph=2)
    whole = contents(tmp_path / "whole")
    write_bytes, calls = Path.write_bytes, []

    def full_disk(path, content):
        calls.append(path)
        if len(calls) == 4:
            write_bytes(path, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        make_crops(tmp_path / "cut", crops_per_photograph=2)
    left = contents(tmp_path / "cut")
    assert len(left) == 3
    assert all(whole[name] == content for name, content in left.items())

    monkeypatch.undo()
    make_crops(tmp_path / "cut", crops_per_photograph=2)
    assert contents(tmp_path / "cut") == whole


def test_interrupt_keeps_the_crop_that_was_there(tmp_path, monkeypatch):
    make_crops(tmp_path, crops_per_photograph=1)
    before = contents(tmp_path)

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_crops(tmp_path, crops_per_photograph=1, seed=1)
    assert contents(tmp_path) == before


def test_failed_encoder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(crops.cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(OSError, match="JPEG encoder"):
        make_crops(tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("arguments", [{"crops_per_photograph": 0}, {"seed": -1}])
def test_unusable_arguments(tmp_path, arguments):
    with pytest.raises(UsageError, match="at least"):
        make_crops(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
