"""The script of the papers' protocol: what it reads and prints, on a few made-up vectors."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FREE = "kmeans,tac,cae"


@pytest.fixture
def run(monkeypatch, capsys):
    """Calls the script with arguments; gives what it prints, or why it ended and what it said then."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("paper_semantic")

    def call(*arguments):
        try:
            script.main([str(word) for word in arguments])
        except SystemExit as end:
            assert end.code != 0
            said = capsys.readouterr()
            return said.out, f"{end.code} {said.err}"
        return capsys.readouterr().out, ""

    return call


def scores(line):
    """NMI, ACC and ARI of a line of the table."""
    return [float(mean) for mean in re.findall(r"([\d.-]+) ± ", line)]


def vectors(folder, *, without=(), labels=None):
    """Images of ten classes, each at an axis of its own, and texts at these axes and at their opposites."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), 12)
    images = np.eye(16)[classes] * 3 + 0.3 * rng.normal(size=(120, 16))
    texts = np.concatenate([np.eye(16)[np.arange(10)], -np.eye(16)])
    files = {
        "train": images[::-1],
        "test": images,
        "test_labels": classes if labels is None else labels,
        "nouns": texts,
        "captions": texts,
    }
    for name, rows in files.items():
        if name not in without:
            np.save(folder / f"{name}.npy", rows)
    return folder


def test_files_are_read_and_published_figures_stand_beside(tmp_path, run):
    out, err = run("run", "cifar-10", vectors(tmp_path), "--methods", FREE, "--seeds", "0,1", "--jobs", 1)
    assert not err
    assert "nouns.npy, for lack of sic_nouns.npy" in out and "SIC's setting: the authors' code" in out
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith("| ") and "±" in line}
    assert list(lines) == FREE.split(",")
    for line in lines.values():
        assert min(scores(line)) > 95  # each class has a direction of its own, so all of them have to find it
    assert "80.8, 90.1, 79.8 | from memory" in lines["tac"]
    assert "| - | not found" in lines["cae"]


def test_labels_change_the_scores_and_nothing_else(tmp_path, run):
    shuffled = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 12))
    out, err = run("run", "cifar-10", vectors(tmp_path, labels=shuffled), "--methods", "tac", "--seeds", "0")
    assert not err
    line = next(line for line in out.splitlines() if line.startswith("| tac"))
    assert scores(line)[2] < 20


def test_the_trained_methods_run(run):
    pytest.importorskip("torch")
    out, err = run("run", "cifar-10", "--quick", "--methods", "tac-trained,sic,icbpl", "--seeds", "0")
    assert not err
    assert [line.split()[1] for line in out.splitlines() if "±" in line] == ["tac-trained", "sic", "icbpl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "cifar-10", "FOLDER"), "lacks captions.npy"),
        (("run", "cifar-10"), "a folder with the .npy files is needed"),
        (("run", "cifar-10", "--quick", "--methods", "lda"), "no method is called lda"),
    ],
)
def test_what_cannot_be_run(tmp_path, run, arguments, message):
    vectors(tmp_path, without=("captions",))
    out, err = run(*(tmp_path if word == "FOLDER" else word for word in arguments))
    assert message in err and "±" not in out
