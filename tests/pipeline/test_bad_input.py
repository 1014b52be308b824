"""Bad input, end to end: one clear line or a reported skip, never a traceback, and the documented exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import SIFT
from odd_files import make_odd_files


@pytest.fixture
def few(sift_folder, tmp_path) -> Path:
    """Six photographs that a test may change."""
    (tmp_path / "few").mkdir()
    for path in sorted(sift_folder.rglob("*.jpg"))[::3][:6]:
        shutil.copy(path, tmp_path / "few" / path.name)
    return tmp_path / "few"


def grey(folder: Path, *names: str) -> None:
    """Flat pictures, in which SIFT finds nothing."""
    for value, name in enumerate(names, start=100):
        cv2.imwrite(str(folder / name), np.full((120, 160, 3), value, np.uint8))


def odd_mixture(folder: Path, sift_folder: Path) -> dict:
    expected = make_odd_files(folder)
    shutil.copytree(sift_folder, folder / "good")
    return expected


@pytest.mark.parametrize("features", ["sift", "sift,cnn"])
def test_odd_files_among_good_ones(features, sift_folder, cli, tmp_path, capfd):
    expected = odd_mixture(tmp_path / "photographs", sift_folder)
    project = tmp_path / "project"
    outcome = cli("run", tmp_path / "photographs", "-o", project, *SIFT[2:], "--features", features, "--json")
    assert outcome.code == 3, outcome.err
    assert "Traceback" not in outcome.err
    known = ("libpng error: bad adaptive filter value", "Corrupt JPEG data")
    noise = [line for line in capfd.readouterr().err.splitlines() if not line.startswith(known)]
    assert noise == [], "the decoders' own complaints stay out of sight (some of two libraries cannot be turned off)"

    result = json.loads(outcome.out)
    grouped = {row["path"]: row for row in pq.read_table(project / "groups.parquet").to_pylist()}
    skipped = {row["path"]: row["reason"] for row in pq.read_table(project / "skipped.parquet").to_pylist()}
    assert (result["grouped"], result["skipped"]) == (len(grouped), len(skipped))
    assert result["images"] == len(grouped) + len(skipped)
    good = {name for name in grouped if name.startswith("good/")}
    assert len(good) == 20
    assert set(grouped) - good == {name for name, wanted in expected.items() if wanted.status == "read"}
    assert set(skipped) == {name for name, wanted in expected.items() if wanted.status == "skip"}
    for name, reason in skipped.items():
        assert re.search(expected[name].reason, reason), (name, reason)
        assert reason.isprintable()
    page = (project / "report" / "skipped.html").read_text(encoding="utf-8")
    assert "dangling.jpg" in page, "the report lists what was skipped"
    card = json.loads((project / "stages" / "extract.json").read_text())["outputs"]
    assert sum(card["reasons"].values()) == card["skipped"] == len(skipped)

    # And as new photographs, of which a project was not made: the same ones, for the same reasons.
    file = tmp_path / "assigned.parquet"
    assert cli("assign", project, tmp_path / "photographs", "-o", file).code == 3
    assert pq.read_table(file).drop_columns("label") == pq.read_table(project / "groups.parquet").drop_columns("label")
    assert pq.read_table(tmp_path / "assigned.skipped.parquet") == pq.read_table(project / "skipped.parquet")


def test_skipped_ones_are_pointed_at(few, cli, tmp_path):
    (few / "broken.jpg").write_text("no photograph")
    outcome = cli("run", few, "-o", tmp_path / "project", *SIFT, "--topics", 2)
    assert outcome.code == 3
    assert outcome.out.splitlines()[0].startswith("7 images: 6 grouped, 1 skipped; ")
    assert f"skipped, with reasons: {tmp_path / 'project' / 'skipped.parquet'}" in outcome.out
    assert cli("run", few, "-o", tmp_path / "project", *SIFT, "--topics", 2).code == 3, "nor is it forgotten later"


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def no_images(folder: Path) -> None:
    nothing(folder)
    (folder / "notes.txt").write_text("text")


def all_broken(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:500])


def all_flat(folder: Path) -> None:
    nothing(folder)
    grey(folder, "a.png", "b.png", "c.png")


@pytest.mark.parametrize(
    ("change", "options", "code", "words"),
    [
        (nothing, [], 1, "no images in"),
        (no_images, [], 1, "1 other files were found; images end in"),
        (all_broken, [], 1, r"none of the 6 images .* can be read \(the first: truncated JPEG"),
        (all_flat, [], 1, "not? .*single keypoint.* add --features cnn"),
        (shutil.rmtree, [], 2, "there is no folder"),
        (None, ["--topics", 7], 2, "6 photographs cannot form 7 topics: pass --topics 6 or fewer"),
        (None, ["--topics", 0], 2, "--topics is at least 1, not 0"),
        (None, ["--topics", 65536], 2, "--topics is at most 65535"),
        (None, ["--words", 0], 2, "--words is at least 1, not 0"),
        (None, ["--weights", "sift=0"], 2, "--weights takes numbers from 1/64 on"),
        (None, ["--weights", "colour=1"], 2, "--weights takes numbers from 1/64 on for sift, conv, pooled and joint"),
        (None, ["--weights", "sift"], 2, "--weights takes name=number, as in sift=1,conv=1,pooled=1,joint=1"),
        (None, ["--words", 1, "--features", "sift,cnn"], 2, "--words 1 cannot be split over sift, conv, pooled"),
        (None, ["--keypoints", 0], 2, "--keypoints is at least 1"),
        (None, ["--keypoints", 1 << 40], 2, "--keypoints is at most"),
        (None, ["--side", 1], 2, "--side is at least 32"),
        (None, ["--sweeps", 0], 2, "--sweeps is at least 1"),
        (None, ["--seed", -1], 2, "--seed is at least 0"),
        (None, ["--seed", 1 << 32], 2, "--seed is at most"),
        (None, ["--features", "nonsense"], 2, "--features takes sift, cnn or both, not nonsense"),
        (None, ["--features", ""], 2, "--features takes sift, cnn or both, not nothing"),
        (None, ["--features", "sift,sift"], 2, "--features takes"),
        (None, ["--jobs", 0], 2, "--jobs is at least 1, or -1 for all processors, not 0"),
        (None, ["--device", "nonsense"], 2, "--device is one of auto, cpu, cuda, not nonsense"),
        (None, ["--labels", "missing.csv"], 2, "cannot read labels from missing.csv: No such file"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else getattr(value, "__name__", ""),
)
def test_one_clear_line(change, options, code, words, few, cli, tmp_path):
    if change:
        change(few)
    outcome = cli("run", few, "-o", tmp_path / "project", *SIFT, "--topics", 2, *options)
    assert outcome.code == code, outcome.err
    assert re.search(words, outcome.complaint), outcome.complaint
    assert outcome.out == ""


def test_cuda_where_there_is_none(few, cli, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime knows CUDA")
    outcome = cli("run", few, "-o", tmp_path / "project", "--topics", 2, "--device", "cuda")
    assert outcome.code == 1
    assert "pip install 'fastvbow[gpu]'" in outcome.complaint
    assert "--device cpu" in outcome.complaint


def test_labels_are_checked_before_the_work(few, cli, tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\nelsewhere.jpg,cat\n")
    outcome = cli("run", few, "-o", tmp_path / "project", *SIFT, "--topics", 2, "--labels", tmp_path / "labels.csv")
    assert outcome.code == 2
    assert "none of its 1 path values names an image" in outcome.complaint
    assert not (tmp_path / "project").exists()


def test_flat_ones_stay_in(few, cli, tmp_path):
    grey(few, "flat-1.png", "flat-2.png")
    outcome = cli("run", few, "-o", tmp_path / "project", *SIFT, "--topics", 4, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["grouped"] == 8
    rows = {row["path"]: row for row in pq.read_table(tmp_path / "project" / "groups.parquet").to_pylist()}
    for name in ("flat-1.png", "flat-2.png"):
        assert rows[name]["probability"] == pytest.approx(1 / 4), "nothing is known of it"
        assert rows[name]["entropy"] == pytest.approx(np.log(4))


@pytest.mark.parametrize("features", ["sift", "cnn", "sift,cnn"])
@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_photographs(count, features, few, cli, tmp_path):
    for path in sorted(few.iterdir())[count:]:
        path.unlink()
    outcome = cli("run", few, "-o", tmp_path / "project", "--topics", count, "--features", features, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["grouped"] == count
    if count == 1:
        assert pq.read_table(tmp_path / "project" / "groups.parquet")["probability"].to_pylist() == [1.0]


def test_the_same_photograph_six_times(few, cli, tmp_path):
    first, *others = sorted(few.iterdir())
    for path in others:
        path.write_bytes(first.read_bytes())
    outcome = cli("run", few, "-o", tmp_path / "project", "--topics", 3)
    assert outcome.code == 0, outcome.err
    assert "Warning" not in outcome.err, "fewer different photographs than topics: no fault"
    assert len(set(pq.read_table(tmp_path / "project" / "groups.parquet")["topic"].to_pylist())) == 1


NAMES = [
    b"with spaces",
    "Grüße 猫".encode(),
    b"two\nlines",
    b"[bold] :smile: 100% $HOME 'x' \"y\" <b>&amp;",
    b"latin-\xe9 \xff",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda raw: raw.decode("ascii", "backslashreplace")[:12])
def test_odd_names_of_the_source(name, few, cli, tmp_path):
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    try:
        few.rename(source)
    except OSError:
        pytest.skip("this file system does not take such a name")
    run = ["run", source, "-o", tmp_path / "project", *SIFT, "--topics", 2, "--labels", "parent"]
    assert cli(*run).code == 0
    assert cli(*run).err.count("stands from an earlier call") == 6
    assert pq.read_table(tmp_path / "project" / "groups.parquet").num_rows == 6
    assert cli("assign", tmp_path / "project", source, "-o", tmp_path / "out.parquet").code == 0
    page = (tmp_path / "project" / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 6


def test_where_a_project_cannot_lie(few, sift_copy, cli, tmp_path):
    (tmp_path / "file").write_text("a regular file")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("precious")
    for output, words in (
        (tmp_path / "file", "cannot write the project folder"),
        (tmp_path / "file" / "project", "cannot write the project folder"),
        (few, "lies inside the image folder"),
        (few / "deep" / "project", "lies inside the image folder"),
        (tmp_path / "foreign", "is not empty and not a fastvbow project"),
        (sift_copy, "is the project of"),
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), "not valid UTF-8"),
    ):
        before = sorted(str(path) for path in tmp_path.rglob("*"))
        outcome = cli("run", few, "-o", output, *SIFT, "--topics", 2)
        assert outcome.code == 1
        assert words in outcome.complaint
        assert "choose another" in outcome.complaint
        assert sorted(str(path) for path in tmp_path.rglob("*")) == before, "nothing is left behind"


def test_a_link_into_the_source_is_seen_through(few, cli, tmp_path):
    (tmp_path / "link").symlink_to(few)
    assert "lies inside" in cli("run", few, "-o", tmp_path / "link" / "project", *SIFT).complaint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": "fastvbow-project", "version": 99, "created_by": "9.9", "source": "/x"}', "format 99.*upgrade"),
        ('{"format": "something else", "version": 1}', "does not describe a fastvbow project"),
        ("{", "not valid JSON"),
        ('{"format": "fastvbow-project", "version": 1}', "missing required field"),
    ],
)
def test_project_file_that_cannot_be_used(text, words, sift_folder, sift_copy, cli):
    (sift_copy / "project.json").write_text(text)
    for command in (["run", sift_folder, "-o", sift_copy, *SIFT], ["report", sift_copy], ["evaluate", sift_copy]):
        outcome = cli(*command)
        assert outcome.code == 1
        assert re.search(words, outcome.complaint)


def test_no_project(cli, tmp_path):
    for command in ("vocabulary", "encode", "topics", "groups", "report", "evaluate"):
        outcome = cli(command, tmp_path)
        assert outcome.code == 1
        assert "is not a fastvbow project" in outcome.complaint


@pytest.mark.parametrize("features", ["sift", "cnn"])
def test_without_onnxruntime(features, few, hooked, tmp_path):
    hook = "import sys\nsys.modules['onnxruntime'] = None\n"
    options = ["--features", features, "--topics", "2"]
    done = hooked(hook, "run", few, "-o", tmp_path / "project", *options)
    assert "Traceback" not in done.stderr
    if features == "sift":
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1
        line = "fastvbow: the CNN needs ONNX Runtime, which is not installed: pip install 'fastvbow[cpu]'"
        assert done.stderr.splitlines()[-1] == line


def test_disk_that_is_full(few, cli, tmp_path, monkeypatch):
    import fastvbow.words.vocabulary as module

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "vocabulary.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", full)
        outcome = cli("run", few, "-o", tmp_path / "project", *SIFT, "--topics", 2)
    assert outcome.code == 1
    assert outcome.complaint == "fastvbow: No space left on device: vocabulary.safetensors"
    assert cli("run", few, "-o", tmp_path / "project", *SIFT, "--topics", 2).code == 0, "and it goes on later"
