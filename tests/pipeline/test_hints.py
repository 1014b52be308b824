"""`fastvbow hints` on a project."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import snapshot

from fastvbow import pipeline
from fastvbow.config import TopicsConfig
from fastvbow.errors import StageMissingError
from fastvbow.pipeline.naming import merge, name


@pytest.mark.data
def test_too_few_topics_are_to_be_parted_and_too_many_to_be_merged(tmp_path, data_folder):
    photographs = tmp_path / "photographs"
    wanted = ("beaches", "buses", "dinosaurs", "flowers")
    source = data_folder / "corel1k" / "dataset"
    for folder in wanted:
        (photographs / folder).mkdir(parents=True)
        for photograph in (source / folder).iterdir():
            (photographs / folder / photograph.name).symlink_to(photograph)
    project = tmp_path / "project"
    pipeline.run(photographs, project, topics_config=TopicsConfig(topics=2), labels="parent")
    found = pipeline.hints(project)
    assert found.n_topics == 2
    assert found.partings
    for hint in found.partings:
        assert {path.split("/")[0] for path in hint.examples} <= set(wanted)
        assert len({path.split("/")[0] for path in hint.examples}) == 2, "one of each kind"
        assert sum(hint.images) == hint.group.images
    pipeline.run(photographs, project, topics_config=TopicsConfig(topics=4), labels="parent")
    assert pipeline.hints(project).partings == pipeline.hints(project).mergings == []
    pipeline.run(photographs, project, topics_config=TopicsConfig(topics=8), labels="parent")
    groups = pq.read_table(project / "groups.parquet").to_pandas()
    most = groups.groupby("topic")["label"].agg(lambda labels: labels.mode()[0])
    mergings = pipeline.hints(project).mergings
    assert mergings
    same = [most[hint.first.group] == most[hint.second.group] for hint in mergings]
    assert np.mean(same) >= 0.75, most


def test_hints_change_nothing_and_know_names_and_merged_groups(sift_copy, cli):
    name(sift_copy, 1, "<b>Küche</b>")
    merge(sift_copy, [0, 3])
    before = snapshot(sift_copy)
    found = pipeline.hints(sift_copy)
    assert snapshot(sift_copy) == before
    told = [group for hint in found.mergings for group in (hint.first, hint.second)]
    told += [hint.group for hint in found.partings]
    assert 3 not in {group.group for group in told}
    assert {group.name for group in told if group.group == 1} <= {"<b>Küche</b>"}
    outcome = cli("hints", sift_copy)
    assert outcome.code == 0, outcome.err
    read = json.loads(cli("hints", sift_copy, "--json").out)
    assert read["n_topics"] == 4
    assert [hint["overlap"] for hint in read["mergings"]] == [hint.overlap for hint in found.mergings]


def test_what_is_printed(sift_copy, cli, monkeypatch):
    monkeypatch.setattr("fastvbow.pipeline.hinting.mergings.__defaults__", (0.0,))
    monkeypatch.setattr("fastvbow.pipeline.hinting.partings.__kwdefaults__", {"least": 0.0, "seed": 0})
    monkeypatch.setattr("fastvbow.groups.hints.FEWEST", 4)
    printed = cli("hints", sift_copy).out
    assert f"fastvbow merge {sift_copy}" in printed
    assert "--topics" in printed
    monkeypatch.setattr("fastvbow.pipeline.hinting.mergings.__defaults__", (1.0,))
    monkeypatch.setattr("fastvbow.pipeline.hinting.partings.__kwdefaults__", {"least": 1.0, "seed": 0})
    assert cli("hints", sift_copy).out.startswith("nothing stands out")


def test_without_topics(sift_copy):
    (sift_copy / "stages" / "topics.json").unlink()
    with pytest.raises(StageMissingError, match="topics"):
        pipeline.hints(sift_copy)
