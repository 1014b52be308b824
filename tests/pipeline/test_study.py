"""A study: what it finds is what the route and the metrics say, whatever interrupts it, for any number of jobs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import KILL, snapshot

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, StudyGrid, TopicsConfig, VocabularyConfig
from fastvbow.errors import MissingExtraError, ProjectError, UsageError
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.evaluation.distributions import pair_scores
from fastvbow.events import log_events
from fastvbow.features.part import ShardPart
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.study_plan import validation_share
from fastvbow.pipeline.study_store import CellStore
from fastvbow.project import ProjectFolder

GRID = StudyGrid(
    words=(30,), keypoints=(40, 80), topics=(3, 5), seeds=(0, 1), features=("sift",), validation=0.25, sweeps=20
)
WORDS = (
    *("--words", "30", "--keypoints", "40,80", "--topics", "3,5", "--seeds", "0,1", "--features", "sift"),
    *("--validation", "0.25", "--sweeps", "20", "--baselines", "lda-variational"),
)
N_CELLS = 2 * 2 * 2 + 2 + 2  # the grid; the comparison and its baseline, a run a seed
BASELINES = ("lda-variational",)


@pytest.fixture(scope="module")
def finished(sift_folder, tmp_path_factory) -> Path:
    """A study of 20 small photographs with 4 labels, made on one thread; to be read only."""
    folder = tmp_path_factory.mktemp("study") / "study"
    result = pipeline.study(sift_folder, folder, GRID, baselines=BASELINES, jobs=1)
    assert (result.images, result.skipped, result.cells, result.reused) == (20, 0, N_CELLS, 0)
    return folder


def results(folder: Path) -> list[dict]:
    """The rows, without what names the time that they took."""
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]


def cells(folder: Path) -> dict[str, bytes]:
    """The arrays of every cell, and what its manifest says but for the time."""
    found = {}
    for path in sorted((folder / "cells").iterdir()):
        manifest = msgspec.json.decode((path / "manifest.json").read_bytes())
        manifest.pop("seconds")
        found[path.name] = (path / "model.safetensors").read_bytes() + msgspec.json.encode(manifest, order="sorted")
    return found


def same(folder: Path, other: Path) -> bool:
    tables = all(
        pq.read_table(folder / name).equals(pq.read_table(other / name))
        for name in ("per_label.parquet", "groups.parquet")
    )
    return cells(folder) == cells(other) and results(folder) == results(other) and tables


def test_what_stands_in_the_tables(finished):
    rows = results(finished)
    assert len(rows) == N_CELLS
    grid = [row for row in rows if row["part"] == "grid"]
    assert len({(r["keypoints"], r["words"], r["topics"], r["seed"]) for r in grid}) == 8
    compared = [(r["method"], r["topics"], r["seed"]) for r in rows if r["part"] == "comparison"]
    assert sorted(compared) == [(m, 4, s) for m in ("fastvbow", "lda-variational") for s in (0, 1)]
    for row in grid:
        assert (row["n_images"], row["validation_n_images"]) == (16, 4), "a quarter of each label's five, rounded"
        assert row["perplexity"] > 1
        assert -1 <= row["stability_ari"] <= 1
    groups = pq.read_table(finished / "groups.parquet")
    assert groups.num_rows == 20
    assert {"fastvbow sift, seed 1", "lda-variational sift, seed 0"} <= set(groups.column_names)
    per_label = pq.read_table(finished / "per_label.parquet").to_pylist()
    of_grid = [row for row in per_label if row["part"] == "grid"]
    assert len([r for r in of_grid if r["share"] == "training"]) == 8 * 4
    assert not (finished / "scratch").exists()
    assert {path.name for path in (finished / "project").iterdir()} >= {"features", "images.parquet"}
    assert not (finished / "project" / "tokens").exists()


def test_scores_are_those_of_the_groups(finished):
    store = CellStore(finished / "cells")
    groups = pq.read_table(finished / "groups.parquet").to_pydict()
    labels, held = np.array(groups["label"]), np.array(groups["share"]) == "validation"
    n_looked = 0
    for row in pq.read_table(finished / "results.parquet").to_pylist():
        cell = store.read(row["key"])
        assert np.array_equal(cell.groups, cell.theta.argmax(axis=1))
        parts = [("", ~held), ("validation_", held)] if row["part"] == "grid" else [("", held | True)]
        for prefix, part in parts:
            for name, value in clustering_scores(labels[part], cell.groups[part]).items():
                assert row[prefix + name] == pytest.approx(value, abs=1e-12), prefix + name
            pairs = pair_scores(cell.theta[part].astype(np.float64), labels[part], "symkl")
            if np.isfinite(pairs.mean_within):
                assert row[f"{prefix}symkl_ratio"] == pytest.approx(pairs.ratio, rel=1e-4)
            assert row[f"{prefix}symkl_global"] == pytest.approx(pairs.overall, rel=1e-4)
            n_looked += 1
    assert n_looked == 20


def test_a_cell_is_what_run_makes(sift_folder, tmp_path):
    """The first keypoints of the shared features are those of an extraction with so many, down to the mixtures."""
    grid = msgspec.structs.replace(GRID, topics=(5,), seeds=(1,), validation=0.0)
    pipeline.study(sift_folder, tmp_path / "study", grid, baselines=())
    for row in results(tmp_path / "study")[:2]:
        project = tmp_path / str(row["keypoints"])
        pipeline.run(
            sift_folder,
            project,
            extract_config=ExtractConfig(features=("sift",), keypoints=row["keypoints"]),
            vocabulary_config=VocabularyConfig(words=30, seed=1),
            topics_config=TopicsConfig(topics=5, sweeps=20, seed=1),
        )
        cell = CellStore(tmp_path / "study" / "cells").read(row["key"])
        assert np.array_equal(cell.theta, np.load(project / "topics" / "theta.npy").astype(np.float32))
    assert {row["keypoints"] for row in results(tmp_path / "study")[:2]} == {40, 80}


def test_first_keypoints_are_an_extraction_with_fewer(small_folder, tmp_path):
    """On real photographs, of which some have fewer keypoints than asked for."""
    for number in (25, 150):
        config = ExtractConfig(features=("sift",), keypoints=number)
        pipeline.extract(small_folder, tmp_path / str(number), config)
    many, few = (open_shards(ProjectFolder.open(tmp_path / str(number))) for number in (150, 25))
    for shard, wanted in zip(many, few, strict=True):
        part = ShardPart(shard, shard.read, keypoints=25)
        assert part.card.rows == wanted.card.rows
        assert part.card.rows["sift"] < shard.card.rows["sift"]
        assert np.array_equal(part.descriptors("sift"), wanted.descriptors("sift"))
        assert np.array_equal(part.keypoints("sift"), wanted.keypoints("sift"))
        assert np.array_equal(part.offsets("sift"), wanted.offsets("sift"))
        chosen = np.arange(shard.card.n_images) % 3 == 1
        some, offsets = ShardPart(shard, chosen, keypoints=25), wanted.offsets("sift")
        for at, image in enumerate(np.flatnonzero(chosen)):
            own = some.descriptors("sift")[slice(*some.offsets("sift")[at : at + 2])]
            assert np.array_equal(own, wanted.descriptors("sift")[slice(*offsets[image : image + 2])])


def test_validation_is_a_share_of_each_label():
    ids = [f"{i:020x}" for i in range(100)]
    labels = np.repeat([0, 1, 2, -1], [60, 30, 1, 9]).astype(np.int32)
    held = validation_share(ids, labels, 0.2)
    assert [int(held[labels == label].sum()) for label in (0, 1, 2, -1)] == [12, 6, 0, 2]
    order = np.random.default_rng(0).permutation(100)
    assert np.array_equal(validation_share([ids[i] for i in order], labels[order], 0.2), held[order])
    assert not validation_share(ids, labels, 0.0).any()


def test_held_out_photographs_have_no_say(sift_folder, finished, tmp_path):
    """Held out ones that are other photographs leave the mixtures of those learned from as they were."""
    import shutil

    import cv2

    groups = pq.read_table(finished / "groups.parquet").to_pylist()
    folder = Path(shutil.copytree(sift_folder, tmp_path / "photographs"))
    for row in groups:
        if row["share"] == "validation":
            path = folder / row["path"]
            cv2.imwrite(str(path), cv2.flip(cv2.imread(str(path)), -1))
    pipeline.study(folder, tmp_path / "study", GRID, baselines=())
    held = np.array([row["share"] == "validation" for row in groups])
    before, after = CellStore(finished / "cells"), CellStore(tmp_path / "study" / "cells")
    n_changed = 0
    for one, other in zip(results(finished), results(tmp_path / "study"), strict=False):
        if one["part"] == "grid":
            theta, changed = before.read(one["key"]).theta, after.read(other["key"]).theta
            assert np.array_equal(theta[~held], changed[~held])
            n_changed += not np.array_equal(theta[held], changed[held])
    assert n_changed == 8


def test_two_jobs_make_the_same(sift_folder, finished, tmp_path):
    pipeline.study(sift_folder, tmp_path / "study", GRID, baselines=BASELINES, jobs=2)
    assert same(tmp_path / "study", finished)


def test_killed_and_interrupted(sift_folder, finished, hooked, tmp_path):
    """Killed for real among the cells, then by Ctrl-C; no finished cell is made again."""
    folder = tmp_path / "study"
    done = hooked(KILL, "study", sift_folder, "-o", folder, *WORDS, "--jobs", "1", KILL_AT="55")
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed_at = len(list((folder / "cells").glob("[!.]*")))
    assert 0 < killed_at < N_CELLS, "killed too early or too late"
    stands = [name for name in snapshot(folder / "cells") if not name.startswith(".")]
    before = {name: snapshot(folder / "cells")[name] for name in stands}

    class Interrupted:
        n_done = 0

        def __call__(self, event) -> None:
            if event.stage == "study" and event.kind == "step" and event.done == killed_at + 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.study(sift_folder, folder, GRID, baselines=BASELINES, jobs=2, listener=Interrupted())
    assert not (folder / "report.html").exists()
    stood = len(list((folder / "cells").glob("[!.]*")))
    assert killed_at + 3 <= stood < N_CELLS
    result = pipeline.study(sift_folder, folder, GRID, baselines=BASELINES)
    assert result.reused == stood
    assert same(folder, finished)
    after = snapshot(folder / "cells")
    assert {name: after[name] for name in before} == before, "those that stood were not touched"
    assert [p.name for p in folder.rglob(".*") if p.name != ".lock"] == [], "what the killed one left is cleared away"


def test_ctrl_c(small_folder, shell, tmp_path):
    command = shell("study", small_folder, "-o", tmp_path / "study", *WORDS[:-2], "--sweeps", "20000", "--jobs", "2")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("study: "):
                break
        threading.Timer(2, process.send_signal, [signal.SIGINT]).start()
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130, rest
    assert "interrupted; the same command goes on" in rest
    assert "Traceback" not in rest


def test_another_grid_takes_what_is_there(sift_folder, finished, tmp_path, looked):
    import shutil

    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    fewer = msgspec.structs.replace(GRID, keypoints=(40,), seeds=(1,))
    result = pipeline.study(sift_folder, folder, fewer, baselines=BASELINES)
    assert looked == [], "features are good for fewer keypoints"
    # the comparison moves to the setting nearest to the defaults, which is another one now
    assert (result.cells, result.reused) == (2 + 2, 2)
    assert len(results(folder)) == 4
    more = msgspec.structs.replace(GRID, topics=(3, 5, "labels"))
    result = pipeline.study(sift_folder, folder, more, baselines=BASELINES)
    assert looked == []
    assert (result.cells, result.reused) == (N_CELLS + 4, N_CELLS)
    wider = msgspec.structs.replace(GRID, keypoints=(40, 90))
    result = pipeline.study(sift_folder, folder, wider, baselines=BASELINES)
    assert len(looked) == 20, "more keypoints than ever are looked for"
    assert result.reused == 4


def test_a_balanced_part(photographs, tmp_path):
    """The labels with most photographs, as many of each, in one call; the same call goes on."""
    for folder in sorted(photographs.iterdir())[:2]:
        sorted(folder.iterdir())[0].unlink()
    small = StudyGrid(
        words=(20,), keypoints=(40,), topics=(2,), seeds=(0,), features=("sift",), validation=0.25, sweeps=5
    )
    before = snapshot(photographs)
    how = {"top": 2, "per_label": 4, "baselines": (), "jobs": 1}
    result = pipeline.study(photographs, tmp_path / "study", small, **how)
    assert (result.images, result.cells) == (8, 2)
    groups = pq.read_table(tmp_path / "study" / "groups.parquet").to_pylist()
    fuller = {folder.name for folder in sorted(photographs.iterdir())[2:]}
    assert {row["label"] for row in groups} == fuller
    again = pipeline.study(photographs, tmp_path / "study", small, **how)
    assert (again.cells, again.reused) == (2, 2)
    manifest = (tmp_path / "study" / "study.json").read_bytes()
    with pytest.raises(ProjectError, match="another --top"):
        pipeline.study(photographs, tmp_path / "study", small, baselines=(), jobs=1)
    assert (tmp_path / "study" / "study.json").read_bytes() == manifest
    assert snapshot(photographs) == before


def test_a_failing_cell_stops_the_others(sift_folder, tmp_path, monkeypatch):
    from fastvbow.pipeline import studying

    made = studying.fit_cell

    def failing(worded, n_topics, *args, **kwargs):
        if worded.setting.keypoints == 80 and n_topics == 5:
            raise OSError(28, "No space left on device")
        return made(worded, n_topics, *args, **kwargs)

    monkeypatch.setattr(studying, "fit_cell", failing)
    with pytest.raises(OSError, match="No space"):
        pipeline.study(sift_folder, tmp_path / "study", GRID, baselines=(), jobs=2)
    assert len(list((tmp_path / "study" / "cells").iterdir())) < N_CELLS - 2


def test_without_labels(sift_folder, tmp_path):
    result = pipeline.study(sift_folder, tmp_path / "study", GRID, labels="none", baselines=("pca-pixels",))
    assert (result.cells, result.not_aligned, result.left_out) == (8, 0, {})
    row = results(tmp_path / "study")[0]
    assert row["symkl_global"] > 0
    assert "acc" not in row
    assert "Methods" not in result.page.read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--words", "150,x"], "--words takes whole numbers"),
        (["--topics", "20,auto"], "--topics takes whole numbers"),
        (["--seeds", "1,1"], "--seeds takes one or more different"),
        (["--words", ""], "--words takes one or more different numbers with commas, not nothing"),
        (["--keypoints", "0"], "--keypoints is at least 1"),
        (["--topics", "1"], "--topics is at least 2"),
        (["--topics", "19", "--validation", "0.25"], "16 photographs to learn from cannot form 19"),
        (["--validation", "1.5"], "--validation is a share"),
        (["--features", "sift,cnn", "--words", "2"], "cannot be split over sift, conv, pooled"),
        (["--baselines", "guess"], "--baselines takes all, none or"),
        (["--features", "sift", "--baselines", "kmeans-embeddings"], "looks at the CNN's vectors"),
        (["--labels", "nowhere.csv"], "cannot read labels"),
        (["--jobs", "0"], "--jobs is at least 1"),
    ],
)
def test_what_cannot_be_asked_for(wrong, said, sift_folder, tmp_path, cli):
    outcome = cli("study", sift_folder, "-o", tmp_path / "study", "--features", "sift", *wrong)
    assert outcome.code == 2
    assert said in outcome.complaint


def test_folders_that_are_no_study(sift_folder, finished, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(ProjectError, match="not empty and not a study"):
        pipeline.study(sift_folder, tmp_path / "full", GRID)
    with pytest.raises(ProjectError, match="lies inside the image folder"):
        pipeline.study(sift_folder, sift_folder / "study", GRID)
    with pytest.raises(ProjectError, match="is the study of"):
        pipeline.study(Path(os.path.relpath(sift_folder.parent)), finished, GRID)
    with pytest.raises(UsageError, match=r"no image of .* lies in a folder of its own"):
        pipeline.study(next(sift_folder.iterdir()), tmp_path / "flat", GRID)
    assert not (tmp_path / "flat").exists()


def test_needs_matplotlib(sift_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"fastvbow\[study\]"):
        pipeline.study(sift_folder, tmp_path / "study", GRID)
    assert not (tmp_path / "study").exists()


def test_command(sift_folder, finished, tmp_path, cli):
    import json
    import shutil

    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    outcome = cli("study", sift_folder, "-o", folder, *WORDS, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out.splitlines()[-1])
    assert (found["cells"], found["reused"], found["images"], found["skipped"]) == (N_CELLS, N_CELLS, 20, 0)
    assert same(folder, finished)


def test_how_close_features_are_to_their_words(sift_project):
    from fastvbow.pipeline.study_scores import codebook_scores
    from fastvbow.words.vocabulary import Vocabulary

    folder = ProjectFolder.open(sift_project)
    vocabulary, shards = Vocabulary.load(folder.vocabulary), open_shards(folder)
    rows = np.concatenate([shard.descriptors("sift") for shard in shards]).astype(np.float64)
    scores = codebook_scores(vocabulary, shards)
    squared = ((rows[:, None, :] - vocabulary.codebooks["sift"].centers[None].astype(np.float64)) ** 2).sum(axis=2)
    assert set(scores) == {"sift_inertia", "sift_silhouette"}
    assert len(rows) > 2000, "a sample"
    assert scores["sift_inertia"] == pytest.approx(squared.min(axis=1).mean(), rel=0.05)


def test_photographs_held_out_without_a_feature(sift_folder, tmp_path):
    for label in sorted(path for path in sift_folder.iterdir() if path.is_dir())[:2]:
        (tmp_path / "photographs" / label.name).mkdir(parents=True)
        for path in sorted(label.iterdir())[:2]:  # of two photographs none is held out
            shutil.copy(path, tmp_path / "photographs" / label.name)
    (tmp_path / "photographs/flat").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"photographs/flat/{i}.png"), np.full((64, 64, 3), 60 + i, np.uint8))
    grid = StudyGrid(words=(10,), keypoints=(40,), topics=(2,), seeds=(0,), features=("sift",), sweeps=5)
    pipeline.study(tmp_path / "photographs", tmp_path / "study", grid, baselines=(), jobs=1)
    row = results(tmp_path / "study")[0]
    assert row["part"] == "grid"
    assert row["validation_n_images"] == 1
    assert row["sift_inertia"] > 0
    assert row["validation_sift_inertia"] is row["validation_sift_silhouette"] is None
    assert "validation_perplexity" not in row


def test_a_process_of_its_own(sift_folder, finished, tmp_path):
    from fastvbow.pipeline.study_baselines import baseline_cell
    from fastvbow.pipeline.study_cells import Stopped
    from fastvbow.pipeline.study_plan import read_photographs
    from fastvbow.pipeline.study_process import own_process

    project = ProjectFolder.open(finished / "project")
    photographs, stop = read_photographs(project, "parent", 0.0), threading.Event()
    here = baseline_cell(project.root, "pca-pixels", 1, photographs, tmp_path, stop, log_events)
    with own_process(project.root, photographs, tmp_path / "cache", stop) as run:
        there = run("pca-pixels", 1)
    assert np.array_equal(here.groups, there.groups)
    assert {**here.scores} == {**there.scores}
    stop.set()
    with pytest.raises(Stopped), own_process(project.root, photographs, tmp_path / "cache", stop) as run:
        run("pca-pixels", 2)


def test_a_process_that_dies(sift_folder, finished, tmp_path, monkeypatch):
    from fastvbow.pipeline import study_process
    from fastvbow.pipeline.study_plan import read_photographs

    project = ProjectFolder.open(finished / "project")
    photographs = read_photographs(project, "parent", 0.0)
    monkeypatch.setattr(study_process, "_run", _die)
    with (
        pytest.raises(ProjectError, match="has died"),
        study_process.own_process(project.root, photographs, tmp_path, threading.Event()) as run,
    ):
        run("pca-pixels", 1)


def _die(*_) -> None:
    os._exit(9)


def test_a_network_in_a_process(sift_folder, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: the extra test-vae brings it")
    grid = msgspec.structs.replace(GRID, keypoints=(40,), topics=(3,), seeds=(0,))
    for jobs in (1, 2):
        pipeline.study(sift_folder, tmp_path / str(jobs), grid, baselines=("vae-conv",), jobs=jobs)
    assert same(tmp_path / "1", tmp_path / "2")
    page = (tmp_path / "1" / "report.html").read_text()
    assert 'id="figure-curves"' in page
