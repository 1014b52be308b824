"""Balanced subsets as lists: they are sources, and what was put aside is grouped under the frozen model."""

from __future__ import annotations

import csv
import json
from collections import Counter

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import contents, snapshot

from fastvbow import pipeline
from fastvbow.errors import UsageError
from fastvbow.images.sources import scan


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_lists_that_are_sources_and_labels(small_folder, cli, tmp_path):
    file = tmp_path / "list.csv"
    words = ("subset", small_folder, "-o", file, "--top", 3, "--per-label", 8, "--validation", 0.25, "--seed", 1)
    outcome = cli(*words, "--json")
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert found == {
        "training": str(file),
        "validation": str(tmp_path / "list.validation.csv"),
        "labels": sorted(path.name for path in small_folder.iterdir())[:3],
        "per_label": 8,
        "n_training": 18,
        "n_validation": 6,
    }
    training, validation = rows(file), rows(tmp_path / "list.validation.csv")
    assert Counter(row["label"] for row in training) == dict.fromkeys(found["labels"], 6)
    assert Counter(row["label"] for row in validation) == dict.fromkeys(found["labels"], 2)
    assert not {row["path"] for row in training} & {row["path"] for row in validation}
    assert all(row["path"].split("/")[-2] == row["label"] for row in training + validation)
    assert scan(file).names == sorted(row["path"] for row in training)
    first = snapshot(tmp_path)
    assert cli(*words).code == 0
    assert {name: data for name, (_, data) in snapshot(tmp_path).items()} == {n: d for n, (_, d) in first.items()}


def test_a_text_list_beside_the_photographs(sift_folder):
    """Paths below the list's folder are relative; a split that is no longer asked for is taken away."""
    file = sift_folder.parent / "beside.txt"
    pipeline.subset(sift_folder, file, validation=0.5)
    aside = file.with_name("beside.validation.txt")
    names = file.read_text().splitlines()
    assert all(name.startswith("photographs/") for name in names)
    assert set(scan(file).names) == set(names)
    assert (len(names), len(aside.read_text().splitlines())) == (4 * 2, 4 * 3), "2.5 of 5 are rounded up"
    pipeline.subset(sift_folder, file)
    assert not aside.exists()
    file.unlink()


def test_the_model_stays_frozen(sift_folder, cli, tmp_path):
    """Validation photographs are grouped by the model as it is, each by itself."""
    file, aside = tmp_path / "list.csv", tmp_path / "list.validation.csv"
    found = pipeline.subset(sift_folder, file, validation=0.4)
    assert (found.n_training, found.n_validation) == (12, 8)
    project = tmp_path / "project"
    outcome = cli(
        "run", file, "-o", project, "--labels", file, "--features", "sift", "--topics", 4, "--words", 40, "--sweeps", 20
    )
    assert outcome.code == 0, outcome.err
    labels = pq.read_table(project / "groups.parquet")["label"].to_pylist()
    assert None not in labels and len(set(labels)) == 4
    before = snapshot(project)
    whole = pipeline.assign(project, aside, tmp_path / "whole.parquet", jobs=2)
    assert snapshot(project) == before, "not a byte, not a time"
    assert contents(project).keys() >= {"topics/model/model.safetensors", "vocabulary/manifest.json"}
    assert len(whole) == 8
    for i, row in enumerate(rows(aside)):
        (tmp_path / "one.txt").write_text(row["path"] + "\n")
        alone = pipeline.assign(project, tmp_path / "one.txt", tmp_path / "one.parquet", jobs=1)
        assert alone.image_ids == [whole.image_ids[i]]
        np.testing.assert_array_equal(alone.theta[0], whole.theta[i])


def test_masks_are_no_photographs(tmp_path):
    for name in "ab":
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(folder / f"{i}.jpg"), np.zeros((9, 9, 3), np.uint8))
            cv2.imwrite(str(folder / f"{i}_mask.png"), np.zeros((9, 9), np.uint8))
    assert len(scan(tmp_path / "source")) == 12
    assert pipeline.subset(tmp_path / "source", tmp_path / "l.txt").per_label == 3
    assert all(name.endswith(".jpg") for name in scan(tmp_path / "l.txt").names)


def test_what_cannot_be(small_folder, cli, tmp_path):
    wrong = [
        ([tmp_path / "list.parquet"], "the list is a .csv or .txt file, not list.parquet"),
        ([tmp_path / "no" / "list.csv"], "there is no folder"),
        ([small_folder / "list.csv"], "lies inside the source"),
        ([tmp_path / "list.csv", "--top", 9], "the photographs have 5 labels, --top 9 asks for more"),
        ([tmp_path / "list.csv", "--labels", "none"], "0 labels"),
        ([tmp_path / "list.csv", "--labels", "scene"], "has a scene"),
    ]
    for words, message in wrong:
        outcome = cli("subset", small_folder, "-o", *words)
        assert outcome.code == 2
        assert message in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_names_that_a_list_must_hold(tmp_path):
    folder = tmp_path / "source" / "x"
    folder.mkdir(parents=True)
    for name in "a,b.jpg", 'c"d.jpg', "line\nbreak.jpg", " e .jpg":
        (folder / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"has a line break, which a \.txt list cannot hold"):
        pipeline.subset(tmp_path / "source", tmp_path / "l.txt")
    assert not (tmp_path / "l.txt").exists()
    pipeline.subset(tmp_path / "source", tmp_path / "l.csv")
    assert sorted(scan(tmp_path / "l.csv").names) == sorted(f"source/{n}" for n in scan(tmp_path / "source").names)


def test_a_tar_has_no_paths(tmp_path):
    import tarfile

    (tmp_path / "a.jpg").write_bytes(b"x")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tmp_path / "a.jpg", "x/a.jpg")
    with pytest.raises(UsageError, match="inside containers"):
        pipeline.subset(tmp_path / "t.tar", tmp_path / "l.csv")
