"""A second call redoes what depends on a change, nothing else, and says what changed."""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import SIFT, Recorder, contents, snapshot

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.demo.crops import make_crops
from fastvbow.errors import ProjectError
from fastvbow.pipeline.shards import shard_ranges
from fastvbow.project import STAGES as REVISIONS

STAGES = ["extract", "vocabulary", "encode", "topics", "groups", "report"]


def again(source: Path, project: Path, **changes) -> Recorder:
    """The run that made `sift_project`, but for `changes`."""
    extract = {"features": ("sift",)} | {k: changes.pop(k) for k in ("keypoints", "side", "features") if k in changes}
    vocabulary = {"words": changes.pop("words", 60), "seed": changes.get("seed", 0)}
    topics = {"topics": changes.pop("topics", 4), "sweeps": changes.pop("sweeps", 40), "seed": changes.pop("seed", 0)}
    topics |= {"weights": changes.pop("weights")} if "weights" in changes else {}
    recorder = Recorder()
    pipeline.run(
        source,
        project,
        extract_config=ExtractConfig(**extract),
        vocabulary_config=VocabularyConfig(**vocabulary),
        topics_config=TopicsConfig(**topics),
        listener=recorder,
        **changes,
    )
    return recorder


def test_second_run_reuses_everything(small_folder, small_copy, cli):
    before = snapshot(small_copy)
    outcome = cli("run", small_folder, "-o", small_copy, "--topics", 5, "--labels", "parent", "--jobs", 2)
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.err.splitlines()] == STAGES
    assert outcome.err.count("stands from an earlier call") == len(STAGES)
    assert snapshot(small_copy) == before, "not a byte, not a time has changed"


@pytest.mark.parametrize(
    ("change", "first", "said"),
    [
        ({"keypoints": 50}, "extract", "sift keypoints: 300 -> 50"),
        ({"side": 100}, "extract", "sift side: 256 -> 100"),
        ({"words": 20}, "vocabulary", "words: 60 -> 20"),
        ({"seed": 1}, "vocabulary", "seed: 0 -> 1"),
        ({"topics": 3}, "topics", "topics: 4 -> 3"),
        ({"sweeps": 7}, "topics", "sweeps: 40 -> 7"),
        ({"weights": {"sift": 2.0, "conv": 1.0, "pooled": 1.0}}, "topics", "weights sift: 1.0 -> 2.0"),
        ({"labels": "parent"}, "groups", "labels: none -> parent"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_change_redoes_what_depends_on_it(sift_folder, sift_copy, change, first, said):
    before = snapshot(sift_copy)
    recorder = again(sift_folder, sift_copy, **change)
    place = STAGES.index(first)
    assert recorder.stages("reused") == STAGES[:place]
    assert recorder.stages("begin") == STAGES[place:]
    assert said in recorder.message(first, "begin")
    for earlier, later in zip(STAGES[place:], STAGES[place + 1 :], strict=False):
        assert f"{earlier} changed" in recorder.message(later, "begin")
    kept = {"extract": "features/", "vocabulary": "vocabulary/", "encode": "tokens/", "topics": "topics/"}
    after = snapshot(sift_copy)
    for stage in STAGES[: min(place, 4)]:
        for name in before:
            if name.startswith(kept[stage]):
                assert after[name] == before[name], name
    # And back again: what the first run left, byte for byte.
    again(sift_folder, sift_copy)
    assert contents(sift_copy) == {name: data for name, (_, data) in before.items() if name in contents(sift_copy)}


def test_other_features(sift_folder, sift_copy):
    recorder = again(sift_folder, sift_copy, features=("sift", "cnn"))
    assert recorder.message("extract", "begin") == "done again, for cnn added"
    assert "weights conv added; weights pooled added" in recorder.message("topics", "begin")
    recorder = again(sift_folder, sift_copy, features=("cnn",))
    assert recorder.message("extract", "begin") == "done again, for sift left out"
    assert recorder.stages("begin") == STAGES


def test_jobs_and_device_change_nothing(sift_folder, sift_copy):
    assert again(sift_folder, sift_copy, jobs=2, device="cpu").stages("reused") == STAGES


@pytest.mark.parametrize(
    ("lost", "stage"),
    [
        ("features", "extract"),
        ("features/shard-00001", "extract"),
        ("images.parquet", "extract"),
        ("vocabulary", "vocabulary"),
        ("tokens", "encode"),
        ("topics", "topics"),
        ("groups.parquet", "groups"),
        ("skipped.parquet", "groups"),
        ("report", "report"),
    ],
)
def test_a_lost_output_is_made_again(sift_folder, sift_copy, lost, stage):
    before = contents(sift_copy)
    path = sift_copy / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    recorder = again(sift_folder, sift_copy)
    assert recorder.stages("begin") == [stage], "what comes later is the same as before"
    assert "gone" in recorder.message(stage, "begin")
    assert contents(sift_copy) == before
    assert (sift_copy / "report" / "index.html").exists()
    assert (sift_copy / "images.parquet").exists()
    if lost.startswith("features/"):
        assert "1 of 2 shards stand from an earlier call" in recorder.message("extract", "note")


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("stages/topics.json", None),
        ("features/shard-00000/card.json", "encode"),
        ("features/shard-00000/sift.descriptors.npy", "encode"),
        ("vocabulary/vocabulary.safetensors", "encode"),
        ("vocabulary/manifest.json", "encode"),
        ("tokens/shard-00000/words.npy", "topics"),
        ("tokens/shard-00000/counts.npy", "topics"),
        ("topics/theta.npy", "groups"),
    ],
)
def test_damaged_files_say_how_to_mend_them(name, behind, sift_folder, sift_copy, cli):
    """The line names what to delete; once that is done, the same command works."""
    path = sift_copy / name
    path.write_bytes(path.read_bytes()[:-9])
    if behind:
        (sift_copy / "stages" / f"{behind}.json").unlink()  # this stage has to read the file
    run = ["run", sift_folder, "-o", sift_copy, *SIFT]
    outcome = cli(*run)
    assert outcome.code == 1
    victim = re.search(rf"delete (that \w+|it|{re.escape(str(sift_copy))}\S*)", outcome.complaint)[1]
    lost = {"that shard": path.parent, "it": path.parent, "that file": path}.get(victim) or Path(victim)
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    outcome = cli(*run)
    assert outcome.code == 0, outcome.err


def test_images_that_come_change_and_go(sift_folder, sift_copy, tmp_path):
    folder = Path(shutil.copytree(sift_folder, tmp_path / "photographs"))
    project = tmp_path / "project"
    again(folder, project)
    photographs = sorted(folder.rglob("*.jpg"))

    last = photographs[-1]
    status = last.stat()
    os.utime(last, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))  # the same bytes, but who knows
    recorder = again(folder, project)
    assert recorder.message("extract", "begin") == "done again, for images changed"
    assert "1 of 2 shards stand" in recorder.message("extract", "note"), "only its own shard is done again"

    last.write_bytes(photographs[0].read_bytes())
    assert again(folder, project).stages("begin") == STAGES
    table = pq.read_table(project / "groups.parquet").to_pylist()
    assert table[0]["topic"] == table[-1]["topic"]
    assert table[0]["probability"] == table[-1]["probability"]

    (folder / "new.jpg").write_bytes(photographs[5].read_bytes())
    again(folder, project)
    assert pq.read_table(project / "groups.parquet").num_rows == len(photographs) + 1

    (folder / "new.jpg").unlink()
    photographs[3].unlink()
    again(folder, project)
    paths = pq.read_table(project / "groups.parquet")["path"].to_pylist()
    assert paths == [p.relative_to(folder).as_posix() for p in photographs if p != photographs[3]]
    assert again(folder, project).stages("reused") == STAGES


def test_labels_from_a_file(sift_folder, sift_copy, cli, tmp_path):
    photographs = sorted(path.relative_to(sift_folder).as_posix() for path in sift_folder.rglob("*.jpg"))
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(photographs[:-1])))
    run = ["run", sift_folder, "-o", sift_copy, *SIFT, "--labels", labels]
    assert cli(*run).code == 0
    wanted = [str(i % 2) for i in range(len(photographs) - 1)] + [None]
    assert pq.read_table(sift_copy / "groups.parquet")["label"].to_pylist() == wanted
    assert cli(*run).err.count("stands from an earlier call") == len(STAGES)
    labels.write_text(labels.read_text().replace(",1\n", ",one\n"))  # the same name, another content
    outcome = cli(*run)
    assert [line.split(":")[0] for line in outcome.err.splitlines() if "done again" in line] == ["groups", "report"]
    assert pq.read_table(sift_copy / "groups.parquet")["label"].to_pylist()[1] == "one"


def test_report_options(sift_copy, cli):
    assert cli("report", sift_copy).err.startswith("report stands")
    outcome = cli("report", sift_copy, "--per-topic", 2, "--uncertain", 0, "--thumbnails", 7)
    assert "per_topic: 24 -> 2" in outcome.err and "thumbnails: 4000 -> 7" in outcome.err
    assert '"pictured":7' in (sift_copy / "report" / "data" / "index.js").read_text()
    assert outcome.out == f"report: {sift_copy / 'report' / 'index.html'}\n"


def test_a_stage_that_is_computed_otherwise_is_done_again(sift_folder, sift_copy, monkeypatch):
    monkeypatch.setitem(REVISIONS, "topics", REVISIONS["topics"] + 1)
    seen = again(sift_folder, sift_copy)
    assert seen.stages("reused") == ["extract", "vocabulary", "encode"]
    assert "this fastvbow computes it otherwise" in seen.message("topics", "begin")


def test_the_run_holds_the_project_to_its_end(sift_folder, sift_copy):
    """Another thread cannot change a stage between two others."""
    refused = []

    def intrude(event):
        if event.kind == "end":
            with ThreadPoolExecutor(1) as elsewhere:
                change = elsewhere.submit(pipeline.vocabulary, sift_copy, VocabularyConfig(words=9))
                refused.append(isinstance(change.exception(), ProjectError))

    pipeline.run(
        sift_folder,
        sift_copy,
        extract_config=ExtractConfig(features=("sift",)),
        vocabulary_config=VocabularyConfig(words=30),
        topics_config=TopicsConfig(topics=4, sweeps=5),
        listener=intrude,
    )
    assert refused == [True] * 5


def test_a_damaged_shard_card_is_no_shard(sift_folder, sift_copy):
    damaged = min((sift_copy / "features").glob("shard-*")) / "card.json"
    before = damaged.read_bytes()
    damaged.write_text("{")
    (sift_copy / "stages" / "extract.json").unlink()
    again(sift_folder, sift_copy)
    assert damaged.read_bytes() == before


def test_an_appended_photograph_leaves_other_shards_alone(sift_folder, tmp_path):
    source = tmp_path / "photographs"
    shutil.copytree(sift_folder, source)
    pipeline.extract(source, tmp_path / "project", ExtractConfig(features=("sift",)))
    shards = sorted((tmp_path / "project" / "features").iterdir())
    before = [shard.stat().st_mtime_ns for shard in shards]
    assert len(before) > 1
    shutil.copy(next(source.rglob("*.jpg")), source / "zzz.jpg")
    pipeline.extract(source, tmp_path / "project", ExtractConfig(features=("sift",)))
    assert [shard.stat().st_mtime_ns for shard in shards][:-1] == before[:-1]


def test_shard_sizes_seldom_change():
    for n in (1, 60, 1600, 20_000, 1_000_000):
        assert shard_ranges(n)[-1][1] == n
        assert len({shard_ranges(m)[0][1] for m in range(n, n + 10) if m > 1030}) <= 1
    assert [b - a for a, b in shard_ranges(1_000_000)][:2] == [1024, 1024]
    assert len(shard_ranges(1600)) == 50, "a small corpus keeps several workers busy too"


def test_the_demonstration_is_reused_as_well(tmp_path):
    assert make_crops(tmp_path, crops_per_photograph=1) > 10
    before = snapshot(tmp_path)
    make_crops(tmp_path, crops_per_photograph=1)
    assert snapshot(tmp_path) == before, "a crop that stands keeps its time"
