"""Cells of CSV files that spreadsheets must not compute."""

from __future__ import annotations

import csv
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvbow import pipeline
from fastvbow.csv_rows import path_cell, text_cell, text_of, write_rows
from fastvbow.pipeline.annotation_import import import_labels

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]
text = st.text(st.sampled_from("=+-@'\t\r a1/."), max_size=6)


@given(text)
def test_text_comes_back(given):
    cell = text_cell(given)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert text_of(cell) == given


@given(text)
def test_paths_lead_to_the_same_file(given):
    cell = path_cell(given)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert os.path.normpath(cell) == os.path.normpath(given)


@pytest.mark.parametrize("plain", ["", "a=1", "cat", "'tis", "''", "a-b.jpg", "/=x", "é"])
def test_all_else_stays(plain):
    assert (text_cell(plain), path_cell(plain), text_of(plain)) == (plain, plain, plain)


def hostile_project(photographs, tmp_path, cli):
    """A project whose photographs' paths are formulas."""
    for path, name in zip(sorted(photographs.rglob("*.jpg")), ["=1+1.jpg", "-2.jpg", "@3.jpg"], strict=False):
        path.rename(photographs / name)
    (photographs / "+4").mkdir()
    next(photographs.rglob("*-04.jpg")).rename(photographs / "+4" / "x.jpg")
    options = ("--features", "sift", "--topics", "3", "--words", "40", "--sweeps", "20")
    assert cli("run", photographs, "-o", tmp_path / "project", *options).code == 0
    return tmp_path / "project"


def test_out_and_back(photographs, tmp_path, cli):
    """Every file of ours is safe to open, and every command that reads one finds the photographs and labels again."""
    project = hostile_project(photographs, tmp_path, cli)
    for topic, name in enumerate(FORMULAS[:3]):
        pipeline.name(project, topic, name)
    names = {group.name for group in pipeline.name(project)}
    assert names == set(FORMULAS[:3])
    assert cli("export", project, "--to", "csv", "-o", tmp_path / "out").code == 0
    assert cli("select", project, "-n", 20, "-o", tmp_path / "next.csv").code == 0
    assert cli("labels", "import", project, tmp_path / "out" / "groups.csv").code == 0
    by_labels = ("subset", project.parent / "photographs", "--labels", tmp_path / "out" / "groups.csv")
    assert cli(*by_labels, "--per-label", 2, "-o", tmp_path / "few.csv").code == 0
    for file in ("out/groups.csv", "next.csv", "few.csv"):
        with (tmp_path / file).open(newline="", encoding="utf-8") as handle:
            cells = [cell for row in csv.reader(handle) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))], file
        assert any(cell.startswith("./=") for cell in cells) or file == "few.csv"
    scores = pipeline.evaluate(project, labels="project").scores
    assert scores["acc"] == 1.0, "all labels came back as the names that they were"
    few = cli("extract", tmp_path / "few.csv", "-o", tmp_path / "few", "--features", "sift", "--json")
    assert few.code == 0, few.err

    with (tmp_path / "by_path.csv").open("w", newline="", encoding="utf-8") as handle:
        write_rows(handle, [["path", "label"], [path_cell("=1+1.jpg"), text_cell("=1")], ["-2.jpg", "=1"]])
    assert import_labels(project, tmp_path / "by_path.csv").labelled == 2
    assert cli("evaluate", project, "--labels", tmp_path / "by_path.csv").code == 0
