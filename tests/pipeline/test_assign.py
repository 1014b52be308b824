"""New photographs under a frozen model: the same photograph always gets the same group."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from fastvbow import Project, pipeline
from fastvbow.errors import ProjectError, StageMissingError, UsageError
from fastvbow.images.table import image_id_of


@pytest.fixture(scope="module")
def opened(small_project) -> Project:
    return Project.open(small_project)


@pytest.fixture(scope="module")
def paths(small_folder) -> list[Path]:
    return sorted(small_folder.rglob("*.jpg"))


def rgb(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("jobs", [1, 2])
def test_training_photographs_keep_their_group(jobs, small_folder, small_project, cli, tmp_path):
    file = tmp_path / "again.parquet"
    outcome = cli("assign", small_project, small_folder, "-o", file, "--jobs", jobs, "--json")
    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert told.pop("drift") == {"misfits": 0, "expected": pytest.approx(60 * 3 / 61), "p": 1.0, "drifted": False}
    assert told == {"images": 60, "grouped": 60, "skipped": 0}
    assert not (tmp_path / "again.skipped.parquet").exists()
    known, found = pq.read_table(small_project / "groups.parquet"), pq.read_table(file)
    assert found.schema == known.schema
    assert found.drop_columns("label") == known.drop_columns("label"), "to the last bit"
    assert found["label"].null_count == 60


def test_theta_is_that_of_the_project(opened, small_project, paths):
    theta = np.load(small_project / "topics" / "theta.npy")
    found = opened.assign(paths[::-1], jobs=2)
    np.testing.assert_array_equal(found.theta[::-1], theta)
    assert found.paths == [str(path) for path in paths[::-1]]
    for i in (0, 17, 59):
        np.testing.assert_array_equal(opened.assign([paths[i]]).theta[0], theta[i])


def test_paths_bytes_and_pixels(opened, paths):
    path = paths[7]
    given = [path, str(path), path.read_bytes(), rgb(path), np.asfortranarray(rgb(path))]
    found = opened.assign(iter(given), jobs=2)
    assert len(found) == len(given)
    for theta in found.theta:
        np.testing.assert_array_equal(theta, found.theta[0])
    assert found.paths == [str(path), str(path), "", "", ""]
    assert found.image_ids[0] == image_id_of(os.fsencode(path)) == found.image_ids[1]
    assert found.image_ids[2] != found.image_ids[3] == found.image_ids[4], "a file's bytes, and pixels"
    assert found.labels == [None] * 5


def test_what_cannot_be_read_is_listed(opened, paths, tmp_path):
    (tmp_path / "text.jpg").write_text("no photograph")
    given = [
        tmp_path / "text.jpg",
        paths[0],
        tmp_path / "missing.jpg",
        b"no photograph",
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        paths[1].read_bytes()[:900],
    ]
    found = opened.assign(given)
    assert found.paths == [str(paths[0])]
    assert len(found.skipped) == 7
    assert found.skipped.paths[:2] == [str(tmp_path / "text.jpg"), str(tmp_path / "missing.jpg")]
    assert all(found.skipped.reasons)
    assert "No such file" in found.skipped.reasons[1]
    assert "uint8 RGB" in found.skipped.reasons[3]
    nothing = opened.assign([])
    assert (len(nothing), nothing.theta.shape) == (0, (0, 5))


@pytest.mark.parametrize("single", ["a.jpg", Path("a.jpg"), b"\xff\xd8", np.zeros((8, 8, 3), np.uint8)])
def test_a_single_photograph_is_no_list(opened, single):
    with pytest.raises(UsageError, match=r"pass \[photograph\]"):
        opened.assign(single)


def test_two_threads_use_one_project(opened, paths):
    wanted, found = opened.assign(paths[:20]).theta, {}

    def work(name: str) -> None:
        found[name] = opened.assign(paths[:20], jobs=2).theta

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found["a"], wanted)
    np.testing.assert_array_equal(found["b"], wanted)


def test_skipped_file(sift_project, sift_folder, cli, tmp_path):
    folder, file = Path(shutil.copytree(sift_folder, tmp_path / "new")), tmp_path / "new.parquet"
    broken = folder / "broken.jpg"
    broken.write_bytes(b"")
    outcome = cli("assign", sift_project, folder, "-o", file)
    assert outcome.code == 3
    assert outcome.out == f"21 images: 20 grouped, 1 skipped; written to {file}\n"
    assert pq.read_table(tmp_path / "new.skipped.parquet").to_pylist() == [
        {"image_id": image_id_of(b"broken.jpg"), "path": "broken.jpg", "reason": "empty file"}
    ]
    broken.unlink()
    assert cli("assign", sift_project, folder, "-o", file).code == 0
    assert not (tmp_path / "new.skipped.parquet").exists(), "that of the call before is not left lying about"


def test_names_that_read_alike(sift_project, sift_folder, cli, tmp_path):
    """A byte that is no UTF-8, and the four characters by which it is written: two files all the same."""
    source = sorted(sift_folder.rglob("*.jpg"))
    (tmp_path / "new").mkdir()
    raw = [b"a\\xff.jpg", b"a\xff.jpg"]
    for name, photograph in zip(raw, (source[0], source[-1]), strict=True):
        try:
            (tmp_path / "new" / os.fsdecode(name)).write_bytes(photograph.read_bytes())
        except OSError:
            pytest.skip("this file system takes only valid UTF-8")
    assert cli("assign", sift_project, tmp_path / "new", "-o", tmp_path / "new.parquet").code == 0
    table = pq.read_table(tmp_path / "new.parquet")
    assert table["image_id"].to_pylist() == [image_id_of(name) for name in raw]
    known = pq.read_table(sift_project / "groups.parquet")["probability"].to_pylist()
    assert table["probability"].to_pylist() == [known[0], known[-1]]


def test_one_file(sift_project, sift_folder, cli, tmp_path):
    photograph = sorted(sift_folder.rglob("*.jpg"))[3]
    assert cli("assign", sift_project, photograph, "-o", tmp_path / "one.parquet").code == 0
    assert pq.read_table(tmp_path / "one.parquet")["path"].to_pylist() == [photograph.name]


def test_where_the_output_may_not_lie(sift_copy, sift_folder, cli, tmp_path):
    photograph = sorted(sift_folder.rglob("*.jpg"))[0]
    before = photograph.read_bytes()
    for source, output, code, words in (
        (sift_folder, sift_folder / "out.parquet", 2, "never written to"),
        (sift_folder, photograph.parent / "out.parquet", 2, "never written to"),
        (photograph, photograph, 2, "never written to"),
        (sift_folder, sift_copy / "groups.parquet", 2, "lies inside the project"),
        (sift_folder, sift_copy / "skipped.parquet", 2, "lies inside the project"),
        (sift_folder, tmp_path / "nowhere" / "out.parquet", 2, "there is no folder"),
        (sift_folder, tmp_path, 2, "cannot write"),
        (sift_folder, Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet")), 1, "UTF-8"),
    ):
        outcome = cli("assign", sift_copy, source, "-o", output)
        assert outcome.code == code
        assert words in outcome.complaint
    assert photograph.read_bytes() == before
    assert not (sift_folder / "out.parquet").exists()


def test_project_that_is_not_finished(sift_copy, sift_folder, cli, tmp_path):
    (sift_copy / "stages" / "topics.json").unlink()
    with pytest.raises(StageMissingError, match="run 'fastvbow topics'"):
        Project.open(sift_copy)
    assert cli("assign", sift_copy, sift_folder, "-o", tmp_path / "out.parquet").code == 1
    with pytest.raises(ProjectError, match="is not a fastvbow project"):
        Project.open(tmp_path / "nothing")
    with pytest.raises(UsageError, match="--device"):
        Project.open(sift_copy, device="tpu")


def test_project_whose_model_was_tampered_with(sift_copy):
    tensors = sift_copy / "topics" / "model" / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    with pytest.raises(ProjectError, match=r"model\.safetensors"):
        Project.open(sift_copy)


def test_the_model_is_frozen(sift_copy, sift_folder, tmp_path):
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sift_copy.rglob("*") if path.is_file()}

    (sift_copy / "drift.safetensors").unlink(missing_ok=True)
    before = files()
    pipeline.assign(sift_copy, sift_folder, tmp_path / "out.parquet", drift=False)
    assert files() == before
    pipeline.assign(sift_copy, sift_folder, tmp_path / "out.parquet")
    assert files().keys() - before.keys() == {sift_copy / "drift.safetensors"}, "a cache, and nothing else"
    assert {path: content for path, content in files().items() if path in before} == before


def test_images_that_are_gone(sift_copy, sift_folder, tmp_path, recorder):
    """A project opens and assigns where the photographs that it was made from are no longer there."""
    (sift_copy / "project.json").write_text((sift_copy / "project.json").read_text().replace(str(sift_folder), "/gone"))
    found = pipeline.assign(sift_copy, sift_folder, tmp_path / "out.parquet", listener=recorder)
    assert len(found) == 20
    assert [event.done for event in recorder.events if event.kind == "step"] == list(range(1, 21))
    assert recorder.message("assign", "end") == "20 grouped, 0 skipped"


@pytest.mark.parametrize(
    "what", [[3], [None], [bytearray(b"x")], np.zeros((4, 5), np.uint8), bytearray(b"x")], ids=repr
)
def test_what_is_no_photograph(sift_project, what):
    with pytest.raises(UsageError, match="photograph"):
        Project.open(sift_project).assign(what)
