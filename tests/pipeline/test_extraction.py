"""Extraction forgets nothing, does nothing twice, and ends with the same bytes whatever happened on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import KILL, Recorder, contents

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, ExtractOptions
from fastvbow.errors import ImageError, ProjectError, TooManySkippedError, UsageError
from fastvbow.events import Event, JsonLog
from fastvbow.features.earlier import EarlierFeatures
from fastvbow.features.store import FeatureShard
from fastvbow.images.table import ImageTable
from fastvbow.memory import Allowance
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder

SIFT, BOTH, CNN = (ExtractConfig(features=f) for f in (("sift",), ("sift", "cnn"), ("cnn",)))


def fresh(source, tmp_path, config=SIFT, name="fresh", **how) -> dict[str, bytes]:
    pipeline.extract(source, tmp_path / name, config, **how)
    return contents(tmp_path / name)


@pytest.mark.parametrize("where", ["0-first.jpg", "zzz/last.jpg"])
def test_only_new_photographs_are_looked_at(photographs, tmp_path, looked, where):
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    new = photographs / where
    new.parent.mkdir(exist_ok=True)
    shutil.copy(next(photographs.rglob("*.jpg")), new)
    looked.clear()
    pipeline.extract(photographs, project, SIFT)
    assert looked == ["sift"]
    assert not list((project / "features").glob("stale-*"))
    assert contents(project) == fresh(photographs, tmp_path)


def test_photographs_that_go_are_not_looked_for(photographs, tmp_path, looked):
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    for path in sorted(photographs.rglob("*.jpg"))[1:6]:
        path.unlink()
    looked.clear()
    card = pipeline.extract(photographs, project, SIFT)
    assert looked == []
    assert card.outputs["images"] == 15
    assert contents(project) == fresh(photographs, tmp_path)


def test_another_kind_of_feature_costs_itself_alone(photographs, tmp_path, looked):
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    looked.clear()
    pipeline.extract(photographs, project, BOTH)
    assert looked == ["cnn"] * 20
    assert contents(project) == fresh(photographs, tmp_path, BOTH)
    looked.clear()
    pipeline.extract(photographs, project, CNN)
    assert looked == []
    assert contents(project) == fresh(photographs, tmp_path, CNN, "cnn")
    looked.clear()
    pipeline.extract(photographs, project, ExtractConfig(features=("sift", "cnn"), keypoints=50))
    assert looked == ["sift"] * 20


def test_a_changed_photograph_is_looked_at_again(photographs, tmp_path, looked):
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    paths = sorted(photographs.rglob("*.jpg"))
    paths[0].write_bytes(paths[7].read_bytes())
    looked.clear()
    pipeline.extract(photographs, project, SIFT)
    assert looked == ["sift"]
    assert contents(project) == fresh(photographs, tmp_path)


def test_a_photograph_that_changed_behind_its_time_is_looked_at_by_all(photographs, tmp_path):
    """Another file of the same size and time: its content tells, once one kind of feature is looked for anew."""
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    path = min(photographs.rglob("*.jpg"))
    status, other = path.stat(), sorted(photographs.rglob("*.jpg"))[9].read_bytes()
    size = len(path.read_bytes())
    path.write_bytes(other[:size] if len(other) >= size else other + bytes(size - len(other)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if len(other) > size:
        pytest.skip("the other photograph does not fit in")
    pipeline.extract(photographs, project, BOTH)
    assert contents(project) == fresh(photographs, tmp_path, BOTH)


def test_what_is_taken_over_is_checked(photographs, tmp_path, looked):
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    shard = min((project / "features").glob("shard-*")) / "sift.descriptors.npy"
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    n_in_shard = FeatureShard(shard.parent).card.n_images
    looked.clear()
    pipeline.extract(photographs, project, BOTH)
    assert looked.count("sift") == n_in_shard, "those of the damaged shard alone"
    assert contents(project) == fresh(photographs, tmp_path, BOTH)


def test_shards_of_the_first_format_are_read_but_not_taken_over(photographs, tmp_path, looked):
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    for card in (project / "features").glob("shard-*/card.json"):
        old = json.loads(card.read_text()) | {"version": 1}
        del old["made_by"]
        card.write_text(json.dumps(old))
    assert sum(s.card.n_images for s in open_shards(ProjectFolder.open(project))) == 20
    looked.clear()
    pipeline.extract(photographs, project, BOTH)
    assert looked.count("sift") == 20


def flaky(monkeypatch, bad: set[str], reason="cannot be read: Input/output error"):
    read = ImageTable.read

    def failing(self, index):
        if Path(self.names[index]).name in bad:
            raise ImageError(reason)
        return read(self, index)

    monkeypatch.setattr(ImageTable, "read", failing)


def test_skipped_ones_are_looked_at_again_when_asked(sift_folder, sift_project, tmp_path, looked, monkeypatch):
    project, bad = tmp_path / "project", {path.name for path in sorted(sift_folder.rglob("*.jpg"))[2:4]}
    with monkeypatch.context() as patch:
        flaky(patch, bad)
        card = pipeline.extract(sift_folder, project, SIFT)
    assert card.outputs["skipped"] == 2
    looked.clear()
    assert pipeline.extract(sift_folder, project, SIFT).outputs["skipped"] == 2
    assert looked == []
    recorder = Recorder()
    again = pipeline.extract(sift_folder, project, SIFT, options=ExtractOptions(retry="failed"), listener=recorder)
    assert looked == ["sift"] * 2
    assert recorder.message("extract", "begin") == "done again, for 2 skipped photographs"
    assert again.outputs["skipped"] == 0
    assert again.fingerprint != card.fingerprint, "later stages have to know"
    features = {name: data for name, data in contents(sift_project).items() if name.startswith("features/")}
    assert contents(project) == features


def test_an_error_rate_that_is_too_high_stops(sift_folder, tmp_path, monkeypatch):
    flaky(monkeypatch, {path.name for path in sorted(sift_folder.rglob("*.jpg"))[:7]})
    with pytest.raises(TooManySkippedError, match=r"7 of 20 photographs .* Input/output error.* 0\.3 allows"):
        pipeline.extract(sift_folder, tmp_path / "p", SIFT, options=ExtractOptions(max_error_rate=0.3))
    assert not (tmp_path / "p" / "stages" / "extract.json").exists()
    card = pipeline.extract(sift_folder, tmp_path / "p", SIFT, options=ExtractOptions(max_error_rate=0.35))
    assert card.outputs["skipped"] == 7


def test_a_limit_takes_the_first(sift_folder, sift_project, tmp_path, looked):
    project = tmp_path / "project"
    card = pipeline.extract(sift_folder, project, SIFT, options=ExtractOptions(limit=6))
    assert (card.outputs["images"], len(looked)) == (6, 6)
    names = sorted(path.relative_to(sift_folder).as_posix() for path in sift_folder.rglob("*.jpg"))
    assert ImageTable.load(project / "images.parquet", sift_folder).names == names[:6]
    pipeline.extract(sift_folder, project, SIFT)
    assert len(looked) == 20, "the six are not looked at again"
    features = {name: data for name, data in contents(sift_project).items() if name.startswith("features/")}
    assert contents(project) == features


def test_processes_find_the_same(small_folder, small_project, tmp_path):
    steps = []

    def listener(event: Event) -> None:
        if event.kind == "step":
            steps.append(event)

    options = ExtractOptions(executor="processes", max_memory=2**28)
    pipeline.extract(small_folder, tmp_path / "project", options=options, jobs=2, listener=listener)
    features = {name: data for name, data in contents(small_project).items() if name.startswith("features/")}
    assert contents(tmp_path / "project") == features
    assert [event.done for event in steps] == [16, 32, 48, 60], "one a shard"
    assert steps[-1].n_bytes == sum(path.stat().st_size for path in small_folder.rglob("*.jpg"))


@pytest.mark.parametrize("jobs", [1, 3])
def test_batches_of_the_cnn_lose_nothing(jobs, photographs, tmp_path):
    """More than a shard holds are begun before the first is written, unreadable ones among them."""
    for i in range(40):
        (photographs / f"{i:02d}-bad.jpg").write_bytes(b"no image")
    options = ExtractOptions(batch=16)
    pipeline.extract(photographs, tmp_path / "batched", BOTH, options=options, jobs=jobs)
    pipeline.extract(photographs, tmp_path / "single", BOTH, jobs=jobs)
    pairs = [open_shards(ProjectFolder.open(tmp_path / name)) for name in ("batched", "single")]
    assert len(pairs[0]) == len(pairs[1]) > 2
    for batched, single in zip(*pairs, strict=True):
        assert batched.images.equals(single.images)
        for name in ("sift", "conv", "pooled"):
            np.testing.assert_array_equal(batched.offsets(name), single.offsets(name))
            np.testing.assert_array_equal(batched.keypoints(name), single.keypoints(name))
            np.testing.assert_allclose(
                np.asarray(batched.descriptors(name), float), np.asarray(single.descriptors(name), float), atol=4e-3
            )


def test_a_worker_process_that_is_killed_is_named(small_folder, small_project, tmp_path, shell):
    project = tmp_path / "project"
    command = shell("extract", small_folder, "-o", project, "--executor", "processes", "--jobs", "2")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline, workers = time.monotonic() + 60, []
        while time.monotonic() < deadline and not workers:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(int(workers[-1]), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "a worker process has died" in err.splitlines()[-1]
    assert "Traceback" not in err
    pipeline.extract(small_folder, project)
    features = {name: data for name, data in contents(small_project).items() if name.startswith("features/")}
    assert contents(project) == features


KILL_IN_MIGRATION = f"""{KILL}
import fastvbow.pipeline.shard_work as shard_work
shard_work.Worker.look = killing(shard_work.Worker.look)
"""


def test_killed_while_features_are_taken_over(photographs, tmp_path, hooked, looked):
    """Nothing is lost: what the killed calls had, and what stood before, is all used."""
    project = tmp_path / "project"
    pipeline.extract(photographs, project, SIFT)
    shutil.copy(next(photographs.rglob("*.jpg")), photographs / "0.jpg")
    for moment in (2, 6, 14, 25, 33):
        done = hooked(
            KILL_IN_MIGRATION, "extract", photographs, "-o", project, "--features", "sift", KILL_AT=str(moment)
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    looked.clear()
    pipeline.extract(photographs, project, SIFT)
    assert len(looked) <= 1
    assert contents(project) == fresh(photographs, tmp_path)


def test_identities_that_begin_alike(tmp_path):
    """The first eight bytes find the place, all sixteen decide."""
    from fastvbow.features.base import LocalFeatures, Modality
    from fastvbow.features.store import ImageRecord
    from fastvbow.features.writer import write_shard

    kind, head = Modality("sift", 128, "uint8"), b"\xff" * 8
    records = [
        ImageRecord(
            {"sift": LocalFeatures(np.zeros((i, 4), np.float32), np.full((i, 128), i, np.uint8))},
            None,
            9,
            9,
            "",
            head + bytes([i] * 8),
        )
        for i in range(4)
    ]
    write_shard(tmp_path / "s", "key", [kind], records, {"sift": "me"})
    earlier = EarlierFeatures([tmp_path / "s", tmp_path / "none"])
    assert len(earlier) == 4
    for i in range(4):
        found = earlier.find(head + bytes([i] * 8), {"sift": "me", "conv": "me"})
        assert found.features["sift"].descriptors.tolist() == [[i] * 128] * i
        assert earlier.find(head + bytes([i] * 8), {"sift": "another"}).features == {}
    assert earlier.find(head + bytes(7) + b"\1", {"sift": "me"}) is None
    assert earlier.find(bytes(16), {"sift": "me"}) is None


def test_an_allowance_is_never_exceeded():
    allowance, now, most, lock = Allowance(100), [0], [0], threading.Lock()

    def take(n):
        with allowance.take(n):
            with lock:
                now[0] += min(n, 100)
                most[0] = max(most[0], now[0])
            time.sleep(0.002)
            with lock:
                now[0] -= min(n, 100)

    threads = [threading.Thread(target=take, args=(n,)) for n in [10, 70, 60, 100, 5000, 30, 30, 30, 90, 10] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert now == [0]
    assert 60 < most[0] <= 100


def test_a_photograph_that_needs_too_much_memory(sift_folder, tmp_path):
    source = Path(shutil.copytree(sift_folder, tmp_path / "photographs"))
    cv2.imwrite(str(source / "large.png"), np.zeros((1800, 2000, 3), np.uint8))
    card = pipeline.extract(source, tmp_path / "p", SIFT, options=ExtractOptions(max_memory=2**24))
    assert card.outputs["reasons"] == {"decoding it takes 22 MB, more than --max-memory allows": 1}
    options = ExtractOptions(max_memory=2**25, retry="failed")
    assert pipeline.extract(source, tmp_path / "p", SIFT, options=options).outputs["skipped"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "cluster"}, "--executor is one of threads, processes, not cluster"),
        ({"retry": "all"}, "--retry takes failed, not all"),
        ({"max_error_rate": 1.5}, "--max-error-rate is from 0 to 1"),
        ({"limit": -1}, "--limit"),
        ({"max_memory": 1000}, "--max-memory is at least 16M"),
        ({"batch": 3}, "--batch is 0 or a power of two up to 4096, not 3"),
        ({"batch": 8192}, "--batch"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        ExtractOptions(**options)


@pytest.mark.parametrize(
    ("text", "wanted"), [("", 0), ("800M", 800 * 2**20), ("1.5g", 3 * 2**29), ("20000000", 20_000_000)]
)
def test_memory_as_people_write_it(text, wanted):
    from fastvbow.cli_options import bytes_of

    assert bytes_of(text) == wanted
    for bad in ("M", "4X", "four", "infG"):
        with pytest.raises(UsageError, match="--max-memory takes bytes"):
            bytes_of(bad)


def test_an_estimate_writes_nothing(small_folder, small_project, tmp_path, cli):
    outcome = cli("extract", small_folder, "-o", tmp_path / "project", "--dry-run", "--jobs", 2, "--json")
    assert outcome.code == 0, outcome.err
    assert list(tmp_path.iterdir()) == []
    found = json.loads(outcome.out)
    size = sum(p.stat().st_size for p in (small_project / "features").rglob("*.npy"))
    assert found["images"] == 60
    assert size * 0.8 < found["disk"] < size * 1.4
    assert found["seconds"] == pytest.approx(60 / found["images_per_second"], abs=0.1)
    lines = cli("extract", small_folder, "-o", tmp_path / "project", "--dry-run").out.splitlines()
    assert [line.split()[0] for line in lines] == ["images", "time", "disk", "memory"]


def test_a_log_of_events(sift_folder, tmp_path, cli):
    log = tmp_path / "log.jsonl"
    assert cli("extract", sift_folder, "-o", tmp_path / "p", "--features", "sift", "--log-json", log).code == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert events[0]["kind"] == "begin"
    assert events[-1]["kind"] == "end"
    steps = [event for event in events if event["kind"] == "step"]
    assert steps[-1]["done"] == steps[-1]["total"] == 20
    assert steps[-1]["n_bytes"] == sum(path.stat().st_size for path in sift_folder.rglob("*.jpg"))
    assert all(event["stage"] == "extract" and event["time"] > 1.7e9 for event in events)
    with pytest.raises(KeyboardInterrupt), JsonLog(log, lambda event: None) as listener:
        listener(Event("extract", "step", done=1, total=9))
        raise KeyboardInterrupt
    assert json.loads(log.read_text().splitlines()[-1])["message"].startswith("KeyboardInterrupt")
    assert len(log.read_text().splitlines()) == len(events) + 2


# verify


def test_a_sound_project(small_copy, cli):
    outcome = cli("verify", small_copy)
    assert outcome.code == 0
    assert outcome.out.startswith("all well: ")


@pytest.mark.parametrize(
    "name",
    [
        "features/shard-00001/sift.descriptors.npy",
        "features/shard-00000/sift.keypoints.npy",
        "features/shard-00000/images.parquet",
        "features/shard-00001/card.json",
        "images.parquet",
        "vocabulary/vocabulary.safetensors",
        "tokens/shard-00000/words.npy",
        "topics/model/model.safetensors",
        "groups.parquet",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damage_is_named_and_mended(name, damage, sift_folder, sift_project, sift_copy, cli):
    path = sift_copy / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0x55
        path.write_bytes(data)
    outcome = cli("verify", sift_copy)
    if outcome.code == 0:
        # plain arrays and Parquet carry no checksum of ours but in shards and models
        assert damage == "flip"
        assert name.startswith(("tokens/", "groups", "images"))
        return
    assert outcome.code == 1
    assert name.split("/")[0].split(".")[0] in outcome.out
    if name.startswith("features/"):
        assert name.split("/")[1] in outcome.out.splitlines()[0]
    assert cli("verify", sift_copy, "--repair").code == 0
    run = ["run", sift_folder, "-o", sift_copy, "--features", "sift", "--topics", 4, "--words", 60, "--sweeps", 40]
    assert cli(*run).code == 0
    assert contents(sift_copy) == contents(sift_project)
    assert cli("verify", sift_copy).code == 0


def test_strangers_in_a_shard_are_named(sift_copy):
    shard = min((sift_copy / "features").glob("shard-*"))
    (shard / "notes.txt").write_text("mine")
    found = pipeline.verify(sift_copy)
    assert found.problems == [f"{shard / 'notes.txt'}: does not belong there"]


def test_no_project(tmp_path):
    with pytest.raises(ProjectError, match="not a fastvbow project"):
        pipeline.verify(tmp_path)
