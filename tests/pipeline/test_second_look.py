"""What a second look at a project finds: sources that are one file, that went away, tokens that are damaged."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import SIFT, Recorder

from fastvbow import pipeline
from fastvbow.config import TopicsConfig
from fastvbow.errors import StoreCorruptError, UsageError


def test_a_single_file_is_a_source(sift_folder, cli, tmp_path):
    photograph = sorted(sift_folder.rglob("*.jpg"))[0]
    assert cli("run", photograph, "-o", tmp_path / "project", *SIFT, "--topics", 1).code == 0
    assert pq.read_table(tmp_path / "project" / "groups.parquet")["path"].to_pylist() == [photograph.name]
    assert any((tmp_path / "project" / "report" / "thumbs").iterdir()), "the photograph is found again"


def test_a_report_without_its_photographs_is_made_again(sift_folder, cli, tmp_path):
    source = tmp_path / "photographs"
    shutil.copytree(sift_folder, source)
    project = tmp_path / "project"
    assert cli("run", source, "-o", project, *SIFT, "--topics", 2, "--sweeps", 5).code == 0
    source.rename(tmp_path / "away")
    recorder = Recorder()
    pipeline.report(project, per_topic=5, listener=recorder)
    assert "can no longer be read" in recorder.message("report", "warning")
    (tmp_path / "away").rename(source)
    recorder = Recorder()
    pipeline.report(project, per_topic=5, listener=recorder)
    assert recorder.stages("end") == ["report"] and not recorder.message("report", "warning")
    recorder = Recorder()
    pipeline.report(project, per_topic=5, listener=recorder)
    assert recorder.stages("reused") == ["report"]


@pytest.mark.parametrize("damage", ["shard gone", "unknown word", "another count"])
def test_damaged_tokens_are_named(sift_copy, damage):
    shard = min((sift_copy / "tokens").iterdir())
    words, counts = np.load(shard / "words.npy"), np.load(shard / "counts.npy")
    if damage == "shard gone":
        shutil.rmtree(shard)
    elif damage == "unknown word":
        words[0] = 60_000
        np.save(shard / "words.npy", words)
    else:
        np.save(shard / "counts.npy", np.concatenate([counts, counts[:1] * 0]))
    with pytest.raises(StoreCorruptError, match=r"tokens.*fastvbow encode"):
        pipeline.topics(sift_copy, TopicsConfig(topics=3))


def test_the_demonstration_leaves_a_users_folder_alone(tmp_path):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"holds other files \(mine.jpg\)"):
        pipeline.demo(tmp_path)
    assert [path.name for path in (tmp_path / "photographs").iterdir()] == ["mine.jpg"]
