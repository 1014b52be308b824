"""Photographs to be labelled, of whole projects: labels, quotas, files, ties, and what cannot be."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import PHOTOGRAPHS, snapshot

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig
from fastvbow.errors import StageMissingError, StoreCorruptError, UsageError
from fastvbow.groups.selecting import STRATEGIES


def rows(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as handle:
        return list(csv.DictReader(handle))


def parents(paths):
    return Counter(path.split("/")[-2] for path in paths)


def test_one_of_each_kind(small_project):
    """The default finds the kinds: as many photographs as there are, one of each; then two of each."""
    before = snapshot(small_project)
    for times in (1, 2):
        found = pipeline.select(small_project, number=times * PHOTOGRAPHS)
        assert len(found) == times * PHOTOGRAPHS
        assert set(parents(found.paths).values()) == {times}
        assert (found.by, found.on, found.n_labelled, found.n_left) == ("balanced", "embeddings", 0, 60 - len(found))
    assert snapshot(small_project) == before, "nothing is written to the project"


@pytest.mark.parametrize("by", STRATEGIES)
def test_the_same_again_and_nested(small_project, by):
    few, many = (pipeline.select(small_project, number=n, by=by, seed=3) for n in (7, 30))
    assert many.image_ids[:7] == few.image_ids
    assert len(set(many.image_ids)) == 30
    groups = pq.read_table(small_project / "groups.parquet").to_pylist()
    table = {row["image_id"]: row for row in groups}
    for i, image_id in enumerate(many.image_ids):
        row = table[image_id]
        assert (many.paths[i], many.topic[i], many.entropy[i]) == (row["path"], row["topic"], row["entropy"])
    if by in ("entropy", "margin"):
        scores = [row["entropy"] for row in groups]
        if by == "entropy":
            np.testing.assert_allclose(many.entropy, sorted(scores)[::-1][:30], atol=1e-5)


def test_the_seed_decides_ties_alone(small_project, monkeypatch):
    """Among mixtures that are all the same, another seed takes others; among different ones it does not."""
    import fastvbow.pipeline.grouping as grouping

    assert (
        pipeline.select(small_project, number=9, by="farthest", seed=1).image_ids
        == pipeline.select(small_project, number=9, by="farthest", seed=2).image_ids
    )
    monkeypatch.setattr(grouping, "load_shares", lambda project, by: np.full((60, 5), 0.2))
    first, second = (pipeline.select(small_project, number=9, by="entropy", seed=seed).image_ids for seed in (1, 2))
    assert first != second
    assert first == pipeline.select(small_project, number=9, by="entropy", seed=1).image_ids
    found = pipeline.select(small_project, number=10)
    assert len(set(found.image_ids)) == 10 and set(found.topic.tolist()) == {0}


def test_labels_are_left_out_and_the_file_takes_them(small_project, tmp_path, cli):
    """Choose, fill in the labels, choose again: what is labelled is out, and what it covers is not chosen."""
    file = tmp_path / "next.csv"
    outcome = cli("select", small_project, "-n", PHOTOGRAPHS, "-o", file)
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() == f"5 photographs selected by balanced, 0 labelled, 55 left: {file}"
    first = rows(file)
    assert list(first[0]) == ["path", "image_id", "topic", "probability", "entropy", "label"]
    assert {row["label"] for row in first} == {""}
    done = tmp_path / "done.csv"
    with done.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, first[0])
        writer.writeheader()
        writer.writerows(row | {"label": row["path"].split("/")[-2]} for row in first[:2])
    outcome = cli("select", small_project, "-n", 3, "--labels", done, "--json")
    found = json.loads(outcome.out)
    assert (found["labelled"], found["left"], found["by"], found["on"]) == (2, 55, "balanced", "embeddings")
    assert {row["path"] for row in found["selected"]} == {row["path"] for row in first[2:]}, "the other kinds"
    before = done.read_bytes()
    outcome = cli("select", small_project, "--labels", done, "-o", tmp_path / "." / "done.csv")
    assert outcome.code == 2 and "holds the labels that are given, and would be written over" in outcome.complaint
    assert done.read_bytes() == before
    again = pipeline.select(small_project, number=100, labels=str(done))
    assert len(again) == 58 and not {row["path"] for row in first[:2]} & set(again.paths)


def test_quotas(small_project, cli):
    told = []
    found = pipeline.select(
        small_project, number=50, per_topic=3, quotas={0: 0, 1: 5}, by="diverse", listener=told.append
    )
    assert Counter(found.topic.tolist()) == {1: 5, 2: 3, 3: 3, 4: 3}
    assert [event.message for event in told if event.kind == "warning"] == [
        "14 photographs instead of 50: the quotas allow no more"
    ]
    outcome = cli("select", small_project, "-n", 14, "--per-topic", 3, "--quota", "0=0", "--quota", "1=5", "--json")
    assert Counter(row["topic"] for row in json.loads(outcome.out)["selected"]) == {1: 5, 2: 3, 3: 3, 4: 3}


@pytest.mark.parametrize("by", STRATEGIES)
def test_merged_topics_are_one(small_copy, by):
    """In quotas, by whichever of its topics they name it, in turns and in uncertainty."""
    pipeline.merge(small_copy, [1, 3])
    two = dict.fromkeys((0, 2, 4), 2)
    for quotas, wanted in (({3: 0}, two), (["1=4"], two | {1: 4}), (None, two | {1: 2})):
        found = pipeline.select(small_copy, number=50, by=by, per_topic=2, quotas=quotas)
        assert Counter(found.topic.tolist()) == wanted
    if by == "balanced":
        assert Counter(pipeline.select(small_copy, number=8).topic.tolist()) == dict.fromkeys((0, 1, 2, 4), 2)
    if by == "entropy":
        found = pipeline.select(small_copy, number=20, by=by)
        scores = pq.read_table(small_copy / "groups.parquet")["entropy"].to_pylist()
        np.testing.assert_allclose(found.entropy, sorted(scores)[::-1][:20], atol=1e-5)


def test_odd_names_come_back_as_labels(photographs, tmp_path):
    """Line breaks of any kind, quotes and separators in names of files do not part the rows."""
    source = tmp_path / "odd"
    source.mkdir()
    names = ["a\rb.jpg", "c\r\nd.jpg", "e\nf.jpg", 'g"h,i.jpg', "j.jpg"]
    for name, photograph in zip(names, sorted(photographs.rglob("*.jpg")), strict=False):
        shutil.copy(photograph, source / name)
    pipeline.run(
        source,
        tmp_path / "project",
        extract_config=ExtractConfig(features=("sift",)),
        topics_config=TopicsConfig(topics=2),
    )
    pipeline.select(tmp_path / "project", number=5, on="theta", output=tmp_path / "next.csv")
    found = rows(tmp_path / "next.csv")
    assert sorted(row["path"] for row in found) == sorted(names)
    with (tmp_path / "next.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, ["path", "label"], extrasaction="ignore", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows({**row, "label": " " if row["path"] == "j.jpg" else "seen"} for row in found)
    left = pipeline.select(tmp_path / "project", number=1, on="theta", labels=str(tmp_path / "next.csv"))
    assert (left.paths, left.n_labelled) == (["j.jpg"], 4)


def test_more_than_there_are(small_project, cli):
    outcome = cli("select", small_project, "-n", 100)
    assert outcome.code == 0
    assert len(set(outcome.out.splitlines())) == 60
    assert "60 photographs instead of 100: no more are without a label" in " ".join(outcome.err.split())


def test_without_a_cnn(sift_project):
    found = pipeline.select(sift_project, number=4)
    assert found.on == "theta" and sorted(found.topic.tolist()) == sorted(set(found.topic.tolist()))
    assert pipeline.select(sift_project, number=4, on="theta").image_ids == found.image_ids
    with pytest.raises(UsageError, match="has no pooled vectors to compare photographs by: pass --on theta"):
        pipeline.select(sift_project, number=4, on="embeddings")


def test_photographs_that_were_skipped(small_folder, tmp_path):
    """What could not be read is never chosen, and the rows of the others keep to their vectors."""
    folder = tmp_path / "photographs"
    shutil.copytree(small_folder, folder)
    broken = sorted(folder.rglob("*-0[037].jpg"))
    for path in broken:
        path.write_bytes(b"no photograph")
    from fastvbow.config import TopicsConfig

    pipeline.run(folder, tmp_path / "project", topics_config=TopicsConfig(topics=PHOTOGRAPHS), jobs=1)
    found = pipeline.select(tmp_path / "project", number=60)
    assert len(found) == 60 - len(broken) == 45
    assert not {path.name for path in broken} & {path.split("/")[-1] for path in found.paths}
    assert set(parents(found.paths[:PHOTOGRAPHS]).values()) == {1}


def test_what_cannot_be(small_project, small_copy, cli, tmp_path):
    for words, message in [
        (["--by", "best"], "one of balanced, diverse, farthest, typical, entropy, margin, not 'best'"),
        (["--on", "pixels"], "one of auto, embeddings, theta, not 'pixels'"),
        (["--labels", "parent"], "all 60 photographs of"),
        (["--labels", tmp_path / "no.csv"], "cannot read labels from"),
        (["--quota", "5=1"], "the project's topics are 0 to 4"),
        (["--quota", "1"], "a quota is TOPIC=NUMBER, as 3=20, not '1'"),
        (["--per-topic", 0], "at least one photograph of each topic"),
        (["-o", tmp_path / "no" / "x.csv"], "there is no folder"),
        (["-n", 0], "'--number' / '-n'"),
    ]:
        outcome = cli("select", small_project, *words)
        assert outcome.code == 2, words
        assert message in " ".join(outcome.err.split()), words
    assert list(tmp_path.glob("*.csv")) == []
    (tmp_path / "dir.csv").mkdir()
    outcome = cli("select", small_project, "-o", tmp_path / "dir.csv")
    assert outcome.code == 2 and "cannot write" in outcome.complaint
    shard = next((small_copy / "features").glob("shard-*"))
    rows_, file = shard / "pooled.descriptors.npy", shard / "card.json"
    np.save(rows_, np.load(rows_)[:-1])
    card = json.loads(file.read_text())
    card["rows"]["pooled"] -= 1
    file.write_text(json.dumps(card))
    with pytest.raises(StoreCorruptError, match="holds 59 pooled vectors of 60 photographs"):
        pipeline.select(small_copy)
    (small_copy / "stages" / "topics.json").unlink()
    with pytest.raises(StageMissingError):
        pipeline.select(small_copy)
