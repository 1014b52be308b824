"""`fastvbow add`: new photographs flow into a finished project."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Recorder, contents, snapshot

from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, ExtractOptions, TopicsConfig, VocabularyConfig
from fastvbow.errors import ProjectError, StageMissingError, TooManySkippedError, UsageError
from fastvbow.images.table import ImageTable, image_id_of
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.topics.lda import GibbsLDA

ARCHIVED = Path(__file__).parents[1] / "archive" / "project-1"
QUICK = {
    "extract_config": ExtractConfig(features=("sift",)),
    "vocabulary_config": VocabularyConfig(words=60),
    "topics_config": TopicsConfig(topics=4, sweeps=40),
}


def theta_of(project: Path) -> np.ndarray:
    return np.load(project / "topics" / "theta.npy")


def groups_of(project: Path) -> list[dict]:
    return pq.read_table(project / "groups.parquet").to_pylist()


def card(project: Path, stage: str) -> dict:
    return json.loads((project / "stages" / f"{stage}.json").read_text())


def add(project: Path, source: Path, **more) -> Recorder:
    recorder = Recorder()
    recorder.added = pipeline.add(project, source, **{"report": False, **more}, listener=recorder)
    return recorder


def all_well(project: Path) -> None:
    assert pipeline.verify(project).problems == []
    n_images = card(project, "extract")["outputs"]["images"]
    assert len(theta_of(project)) == n_images == pq.read_metadata(project / "images.parquet").num_rows
    groups, skipped = groups_of(project), pq.read_table(project / "skipped.parquet")
    assert len(groups) + len(skipped) == n_images
    folder = ProjectFolder.open(project)
    shards, tokens = open_shards(folder), open_tokens(folder)
    for index, part in enumerate(tokens):
        assert len(np.load(project / "topics" / "z" / f"shard-{index:05d}.npy")) == len(part.words)
    for stored in ("features/shard-*", "tokens/shard-*", "topics/z/shard-*"):
        assert len(list(project.glob(stored))) == len(shards), "no former shard is left"
    counted = card(project, "extract")["outputs"]
    assert counted["sift features"] == sum(shard.card.rows["sift"] for shard in shards)
    assert counted["skipped"] == len(skipped)
    assert counted["reasons"] == dict(Counter(skipped["reason"].to_pylist()))
    assert card(project, "encode")["outputs"]["tokens"] == sum(len(part.words) for part in tokens)
    assert not folder.adding.exists() and not folder.change.exists()


def by_content(project: Path) -> dict[str, bytes]:
    """The mixture of each photograph, by its bytes."""
    found, theta = [], theta_of(project)
    for shard in open_shards(ProjectFolder.open(project)):
        found += shard.images["content"].to_pylist()
    return {content: row.tobytes() for content, row in zip(found, theta, strict=True)}


@pytest.fixture(scope="module")
def parted(sift_folder, tmp_path_factory) -> tuple[Path, Path]:
    """Photographs in two folders, with the same folders in them: 12 and 8; to be read only."""
    root = tmp_path_factory.mktemp("parted")
    for number, path in enumerate(sorted(sift_folder.rglob("*.jpg"))):
        place = root / ("later" if number % 5 in (1, 3) else "photographs") / path.relative_to(sift_folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return root / "photographs", root / "later"


@pytest.fixture(scope="module")
def made(parted, tmp_path_factory) -> Path:
    """A project of the first folder, with labels and a report; to be read only."""
    project = tmp_path_factory.mktemp("made") / "project"
    pipeline.run(parted[0], project, **QUICK, labels="parent", jobs=1)
    return project


@pytest.fixture
def project(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


@pytest.fixture
def growing(parted, tmp_path) -> tuple[Path, Path]:
    """A folder that may grow, and its project."""
    source = Path(shutil.copytree(parted[0], tmp_path / "growing"))
    pipeline.run(source, tmp_path / "grown", **QUICK, labels="parent", jobs=1)
    return source, tmp_path / "grown"


def test_new_ones_get_what_assign_gives(project, made, parted):
    paths = sorted(parted[1].rglob("*.jpg"))
    wanted = Project.open(made).assign(paths)
    recorder = add(project, parted[1], jobs=2)
    found = recorder.added
    assert (found.n_new, found.n_skipped, found.n_already, found.page) == (8, 0, 0, None)
    np.testing.assert_array_equal(found.grouping.theta, wanted.theta, "to the last bit")
    np.testing.assert_array_equal(theta_of(project), np.concatenate([theta_of(made), wanted.theta]))
    before, after = groups_of(made), groups_of(project)
    assert after[:12] == before, "the others stay, bit for bit"
    assert [row["path"] for row in after[12:]] == [str(path) for path in paths], "absolute, for they lie elsewhere"
    assert [row["label"] for row in after[12:]] == [path.parent.name for path in paths], "labels as the others have"
    assert [row["topic"] for row in after[12:]] == wanted.topic.tolist() == found.grouping.topic.tolist()
    assert [row["image_id"] for row in after[12:]] == [image_id_of(os.fsencode(path)) for path in paths]
    for name in ("vocabulary", "topics/model"):
        assert snapshot(project / name) == snapshot(made / name), "nothing is trained"
    standing = {name: file for name, file in snapshot(made / "features").items() if "shard-0000" in name}
    assert standing.items() <= snapshot(project / "features").items(), "full shards stand"
    assert recorder.stages("end") == ["extract", "encode", "topics", "add"]
    all_well(project)


def test_every_token_of_a_new_photograph_has_its_most_probable_topic(project, parted):
    add(project, parted[1])
    folder = ProjectFolder.open(project)
    model, theta, at = GibbsLDA.load(folder.topics / "model"), theta_of(project), 0
    for index, tokens in enumerate(open_tokens(folder)):
        z = np.load(folder.topics / "z" / f"shard-{index:05d}.npy")
        document = np.repeat(np.arange(len(tokens.counts)), tokens.counts.sum(axis=1))
        wanted = (theta[at + document] * model.topic_word_.T[tokens.words]).argmax(axis=1)
        if at >= 12:
            np.testing.assert_array_equal(z, wanted)
        at += len(tokens.counts)
    assert at == 20


def test_everything_else_takes_all_of_them(project, parted, cli, tmp_path):
    add(project, parted[1], report=True)
    assert pipeline.evaluate(project).n_images == 20
    page = (project / "report" / "index.html").read_text()
    assert page.count("<img") >= 20
    selected = pipeline.select(project, number=20, by="entropy")
    assert sorted(selected.image_ids) == sorted(row["image_id"] for row in groups_of(project))
    for to in ("csv", "folders", "label-studio"):
        assert pipeline.export(project, to=to, output=tmp_path / to).images == 20
    assert sum(path.is_symlink() and path.exists() for path in (tmp_path / "folders").rglob("*")) == 20
    marked = tmp_path / "marked.csv"
    new = groups_of(project)[15]["path"]
    marked.write_text(f"path,label\n{new},seen\n")
    assert cli("labels", "import", project, marked).code == 0
    pipeline.groups(project, labels="project")
    assert [row["label"] for row in groups_of(project) if row["label"]] == ["seen"]
    again = Project.open(project).assign([new])
    assert again.topic[0] == groups_of(project)[15]["topic"]
    pipeline.run(parted[1], tmp_path / "other", origin=project, labels="none")
    np.testing.assert_array_equal(theta_of(tmp_path / "other"), theta_of(project)[12:], "it is an origin itself")


def test_a_folder_that_grows(growing, parted):
    source, project = growing
    before = theta_of(project)
    assert add(project, source).added.n_already == 12
    for path in sorted(parted[1].rglob("*.jpg"))[:3]:
        shutil.copy(path, source / path.relative_to(parted[1]))
    (source / "new folder").mkdir()
    odd = source / "new folder" / os.fsdecode(b"caf\xe9 'quoted' \"1\"\n<b>.jpg")
    shutil.copy(max(parted[1].rglob("*.jpg")), odd)
    found = add(project, source).added
    assert (found.n_new, found.n_already) == (4, 12)
    names = sorted(os.fsencode(path.relative_to(source)) for path in source.rglob("*.jpg"))
    table = ImageTable.load(project / "images.parquet", source)
    assert sorted(table.raw_paths) == names, "relative, as if they had been there from the start"
    np.testing.assert_array_equal(theta_of(project)[:12], before)
    state = snapshot(project)
    (source / "linked").symlink_to(parted[1])
    again = add(project, source, report=False)
    assert "links to folders are not followed" in again.message("add", "warning")
    assert (again.added.n_new, again.added.n_already, len(again.added.grouping)) == (0, 16, 0)
    assert snapshot(project) == state, "nothing is written"
    all_well(project)


def test_run_takes_what_was_added_along(growing, parted, looked, tmp_path):
    """Trained anew on all, and with the same bytes as a project that had them from the start."""
    source, project = growing
    for path in sorted(parted[1].rglob("*.jpg")):
        shutil.copy(path, source / path.relative_to(parted[1]))
    add(project, source)
    looked.clear()
    recorder = Recorder()
    pipeline.run(source, project, **QUICK, labels="parent", listener=recorder)
    assert looked == [], "nothing is extracted twice"
    assert recorder.stages("end") == ["extract", "vocabulary", "encode", "topics", "groups", "report"]
    assert "origin left out" in recorder.message("topics", "begin")
    pipeline.run(source, tmp_path / "fresh", **QUICK, labels="parent")
    fresh, again = contents(tmp_path / "fresh"), contents(project)
    assert again.pop("added.parquet") and again == fresh
    assert add(project, source).added.n_already == 20


def test_run_keeps_what_lies_elsewhere(project, parted, tmp_path, looked):
    later = Path(shutil.copytree(parted[1], tmp_path / "later"))
    add(project, later)
    looked.clear()
    for _ in range(2):
        pipeline.run(parted[0], project, **QUICK, labels="parent")
    assert looked == []
    all_well(project)
    assert len(groups_of(project)) == 20, "nothing is lost"
    assert card(project, "topics")["parameters"].get("origin") is None, "trained anew, on all"
    gone = min(later.rglob("*.jpg"))
    gone.unlink()
    result = pipeline.run(parted[0], project, **QUICK, labels="parent")
    assert (result.images, result.grouped, result.skipped) == (20, 19, 1), "what has gone is reported"
    assert pq.read_table(project / "skipped.parquet")["path"].to_pylist() == [str(gone)]
    limited = pipeline.extract(parted[0], project, QUICK["extract_config"], options=ExtractOptions(limit=5))
    assert limited.outputs["images"] == 5 + 8


def make_source(kind, folder, place):
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    if kind == "folder":
        return folder
    if kind in {"txt", "csv"}:
        path = place / f"list.{kind}"
        path.write_text("".join(f"{line}\n" for line in ["path"] * (kind == "csv") + [str(folder / n) for n in names]))
    elif kind == "paths.parquet":
        pq.write_table(pa.table({"path": [str(folder / name) for name in names]}), path := place / "list.parquet")
    elif kind == "parquet":
        rows = [{"bytes": (folder / name).read_bytes(), "path": name} for name in names]
        pq.write_table(pa.table({"image": rows}), path := place / "train.parquet", row_group_size=3)
    elif kind == "tar":
        path = place / "shard.tar"
        with tarfile.open(path, "w") as archive:
            for name in names[::-1]:
                archive.add(folder / name, name)
    else:  # one photograph
        path = folder / names[0]
    return path


@pytest.mark.parametrize("kind", ["txt", "csv", "paths.parquet", "parquet", "tar", "file"])
def test_every_kind_of_source(kind, project, made, parted, tmp_path):
    place = tmp_path / "somewhere else"
    place.mkdir()
    source = make_source(kind, parted[1], place)
    n_new = 1 if kind == "file" else 8
    assert add(project, source, jobs=2).added.n_new == n_new
    again = add(project, source).added
    assert (again.n_new, again.n_already) == (0, n_new)
    all_well(project)
    wanted = {
        path.read_bytes(): row for path in parted[1].rglob("*.jpg") for row in Project.open(made).assign([path]).theta
    }
    table = ImageTable.load(project / "images.parquet", parted[0])
    for row in range(12, 12 + n_new):
        np.testing.assert_array_equal(theta_of(project)[row], wanted[table.read(row)])
    pipeline.report(project)
    assert (project / "report" / "index.html").read_text().count("<img") >= 12 + n_new
    recorder = Recorder()
    pipeline.run(parted[0], project, **QUICK, listener=recorder)
    assert "extract" in recorder.stages("reused"), "files and containers keep their fingerprints together"
    all_well(project)


def test_files_for_a_project_of_containers(parted, tmp_path):
    source = make_source("tar", parted[0], tmp_path)
    pipeline.run(source, tmp_path / "project", **QUICK)
    (tmp_path / "new.txt").write_text("\n".join(str(path) for path in parted[1].rglob("*.jpg")))
    assert add(tmp_path / "project", tmp_path / "new.txt").added.n_new == 8
    (tmp_path / "second").mkdir()
    assert add(tmp_path / "project", make_source("tar", parted[1], tmp_path / "second")).added.n_new == 8
    all_well(tmp_path / "project")
    with tarfile.open(source, "a") as archive:
        archive.add(min(parted[1].rglob("*.jpg")), "another.jpg")
    grown = add(tmp_path / "project", source)
    assert (grown.added.n_new, grown.added.n_already) == (0, 12)
    assert "shard.tar has changed since the project took photographs from it: 1 others" in grown.message(
        "add", "warning"
    )


def test_the_size_of_additions_does_not_matter(project, made, parted, tmp_path):
    paths = sorted(parted[1].rglob("*.jpg"))
    (tmp_path / "a.txt").write_text("\n".join(map(str, paths[3:])))
    other = Path(shutil.copytree(made, tmp_path / "other"))
    third = Path(shutil.copytree(made, tmp_path / "third"))
    add(project, parted[1])
    add(other, tmp_path / "a.txt")
    found = add(other, parted[1], jobs=2).added
    assert (found.n_new, found.n_already) == (3, 5)
    left = [add(third, parted[1], options=ExtractOptions(limit=3)).added.n_new for _ in range(4)]
    assert left == [3, 3, 2, 0]
    assert by_content(project) == by_content(other) == by_content(third)
    rows = [sorted(groups_of(place), key=lambda row: row["path"]) for place in (project, other, third)]
    assert rows[0] == rows[1] == rows[2]
    np.testing.assert_array_equal(theta_of(third), theta_of(project))


def test_small_shards_are_joined(project, made, parted, monkeypatch):
    """Whatever the cut, all that is stored of an image stays with it."""
    monkeypatch.setattr("fastvbow.pipeline.merging.MOST_SMALL", 2)
    shutil.copytree(made, whole := project.with_name("whole"))
    add(whole, parted[1])
    for _ in range(8):
        add(project, parted[1], options=ExtractOptions(limit=1))
        assert len(card(project, "extract")["outputs"]["added"]) <= 2
        all_well(project)
    np.testing.assert_array_equal(theta_of(project), theta_of(whole))
    for stored in ("tokens", "features"):
        kinds = {path.name for path in (whole / stored).glob("*/*.npy")} - {"sift.offsets.npy"}
        for name in kinds:
            parts = [[np.load(path) for path in sorted((p / stored).glob(f"*/{name}"))] for p in (project, whole)]
            np.testing.assert_array_equal(*map(np.concatenate, parts))
    extracted = card(project, "extract")["outputs"]
    assert {**extracted, "added": 0} == {**card(whole, "extract")["outputs"], "added": 0}
    recorder = Recorder()
    pipeline.run(parted[0], project, **QUICK, labels="parent", listener=recorder)
    assert "extract" in recorder.stages("reused")


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_read_is_reported(jobs, project, made, parted, cli, tmp_path):
    new = Path(shutil.copytree(parted[1], tmp_path / "new"))
    (new / "text.jpg").write_text("no photograph")
    (new / "empty.png").touch()
    outcome = cli("add", project, new, "--jobs", jobs, "--no-report", "--json")
    assert outcome.code == 3
    told = json.loads(outcome.out)
    assert (told["grouped"], told["skipped"], told["already"]) == (8, 2, 0)
    assert sum(told["groups"].values()) == 8
    rows = {Path(row["path"]).name: row["reason"] for row in pq.read_table(project / "skipped.parquet").to_pylist()}
    assert rows.keys() == {"text.jpg", "empty.png"} and rows["empty.png"] == "empty file"
    all_well(project)
    outcome = cli("add", project, new)
    assert outcome.code == 0 and f"nothing new: the project has all 10 images of {new}" in outcome.out
    (only := tmp_path / "only").mkdir()
    (only / "broken.jpg").write_bytes(b"no photograph at all")
    assert cli("add", project, only).code == 3, "though it is the only new one"
    all_well(project)
    assert card(project, "groups")["outputs"]["skipped"] == 3
    recorder = Recorder()
    retry = ExtractOptions(retry="failed")
    pipeline.extract(
        parted[0],
        copy := shutil.copytree(project, tmp_path / "copy"),
        QUICK["extract_config"],
        options=retry,
        listener=recorder,
    )
    assert "1 of 3 shards stand" in recorder.message("extract", "note"), "those of the additions are not cut anew"
    assert pq.read_metadata(copy / "images.parquet").num_rows == 23
    with pytest.raises(TooManySkippedError):
        (only / "other.jpg").write_bytes(b"nor this")
        add(project, only, options=ExtractOptions(max_error_rate=0.5))
    assert len(theta_of(project)) == 23


def test_one_that_has_changed_is_named(growing):
    source, project = growing
    path = min(source.rglob("*.jpg"))
    cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
    recorder = add(project, source)
    assert recorder.added.n_already == 12
    assert f"as {path.relative_to(source)}: they stay" in recorder.message("add", "warning")


def test_a_photograph_under_two_paths(project, parted, tmp_path):
    """A link to the folder of the project's photographs leads to the same ones; a list may repeat itself."""
    (tmp_path / "link").symlink_to(parted[0])
    (tmp_path / "later").symlink_to(parted[1])
    known, new = min(parted[0].rglob("*.jpg")), min(parted[1].rglob("*.jpg"))
    lines = [
        tmp_path / "link" / known.relative_to(parted[0]),
        known,
        new,
        new,
        new.parent / ".." / new.parent.name / new.name,
    ]
    (tmp_path / "list.txt").write_text("\n".join(map(str, lines)))
    found = add(project, tmp_path / "list.txt").added
    assert (found.n_new, found.n_already) == (2, 2), "a path with .. counts as written, as in lists"


def test_names_and_merged_topics(project, made, parted):
    for place in (project, made_copy := Path(shutil.copytree(made, project.with_name("plain")))):
        pipeline.name(place, 1, "kitchen")
        pipeline.merge(place, [0, 2])
    wanted = Project.open(made_copy).assign(sorted(parted[1].rglob("*.jpg")))
    found = add(project, parted[1]).added.grouping
    assert list(found.names) == list(wanted.names) and found.topic.tolist() == wanted.topic.tolist()
    assert 2 not in found.topic
    assert [row["name"] for row in groups_of(project)[12:]] == list(wanted.names)
    assert pipeline.name(project, 1, "Küche")[0].images is not None
    all_well(project)


def test_labels(project, parted, tmp_path):
    file = tmp_path / "labels.csv"
    paths = sorted(parted[1].rglob("*.jpg"))

    def write(rows):
        with file.open("w", newline="") as handle:
            csv.writer(handle).writerows([["path", "label"], *rows])

    old = groups_of(project)[0]["path"]
    write([[old, "first"], [paths[0], "second"]])
    add(project, parted[1], labels=str(file), options=ExtractOptions(limit=2))
    assert [row["label"] for row in groups_of(project)] == ["first", *[None] * 11, "second", None]
    assert pipeline.groups(project, labels=str(file)).outputs["labelled"] == 2
    state = card(project, "groups")
    write([[old, "other"], [paths[2], "third"]])
    add(project, parted[1], options=ExtractOptions(limit=1))
    assert [row["label"] for row in groups_of(project)] == ["first", *[None] * 11, "second", None, "third"]
    assert card(project, "groups")["parameters"] == state["parameters"], "so that 'groups' notices the other labels"
    file.unlink()
    recorder = add(project, parted[1], options=ExtractOptions(limit=1))
    assert "no labels" in recorder.message("add", "warning")
    with pytest.raises(UsageError, match="cannot read labels"):
        add(project, parted[1], labels=str(file))
    add(project, parted[1], labels="none")
    assert card(project, "groups")["outputs"]["labelled"] == 0
    all_well(project)


def test_learning_from_them(project, made, parted):
    """Topics keep their numbers and names, all mixtures are those of the new model, and the words stay."""
    pipeline.name(project, 3, "street")
    pipeline.merge(project, [1, 2])
    former = {path.name for path in (project / "names").iterdir()}
    old = GibbsLDA.load(project / "topics" / "model")
    found = add(project, parted[1], update=True, jobs=2).added
    all_well(project)
    model = GibbsLDA.load(project / "topics" / "model")
    assert model.n_iter_ > old.n_iter_
    assert snapshot(project / "vocabulary") == snapshot(made / "vocabulary")
    n_new = sum(len(t.words) for t in open_tokens(ProjectFolder.open(project))[-1:])
    grown = (model.components_ - model.topic_word_prior_).sum() - (old.components_ - old.topic_word_prior_).sum()
    assert grown == pytest.approx(n_new, rel=0.02), "the new words are counted beside the old ones"
    overlap = (model.topic_word_ @ old.topic_word_.T) / np.linalg.norm(old.topic_word_, axis=1)
    assert overlap.argmax(axis=1).tolist() == [0, 1, 2, 3], "topics keep their meaning"
    opened = Project.open(project)
    wanted = opened.assign([*sorted(parted[0].rglob("*.jpg")), *sorted(parted[1].rglob("*.jpg"))])
    np.testing.assert_array_equal(theta_of(project), wanted.theta)
    rows = groups_of(project)
    assert [row["topic"] for row in rows] == wanted.topic.tolist()
    assert {row["topic"]: row["name"] for row in rows}[3] == "street" and {row["topic"] for row in rows} <= {0, 1, 3}
    assert [row["label"] for row in rows] == [Path(row["path"]).parent.name for row in rows]
    assert list(found.grouping.names) == [row["name"] for row in rows[12:]]
    assert former < {path.name for path in (project / "names").iterdir()}, "those of the former model are kept"
    assert "log likelihood a token" not in card(project, "topics")["outputs"]
    assert add(project, parted[1], update=True).added.n_new == 0
    again = made.with_name("again")
    shutil.copytree(made, again)
    add(again, parted[1], update=True, jobs=1)
    np.testing.assert_array_equal(theta_of(again), theta_of(project), "the same for any number of jobs")


def test_a_project_made_from_another(made, parted, tmp_path):
    (tmp_path / "more").mkdir()
    paths = sorted(parted[1].rglob("*.jpg"))
    for number, path in enumerate(paths[:3]):
        shutil.copy(path, tmp_path / "more" / f"{number}.jpg")
    pipeline.run(tmp_path / "more", tmp_path / "project", origin=made)
    add(tmp_path / "project", parted[1])
    recorder = Recorder()
    pipeline.run(tmp_path / "more", tmp_path / "project", origin=made, listener=recorder)
    assert recorder.stages("reused")[:5] == ["extract", "vocabulary", "encode", "topics", "groups"], "nothing is new"
    assert len(theta_of(tmp_path / "project")) == 11


def test_an_archived_project(parted, tmp_path):
    project = Path(shutil.copytree(ARCHIVED, tmp_path / "project"))
    wanted = Project.open(ARCHIVED).assign(sorted(parted[1].rglob("*.jpg")))
    old = groups_of(project)
    recorder = add(project, parted[1])
    assert recorder.added.n_new == 8
    np.testing.assert_array_equal(theta_of(project)[12:], wanted.theta)
    assert [{**row, "name": None, "suggested": None} for row in old] == groups_of(project)[:12]
    assert pipeline.evaluate(project, labels="parent").n_images == 20


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda project: (project / "stages" / "groups.json").unlink(), StageMissingError, "run 'fastvbow groups'"),
        (
            lambda project: (project / "stages" / "topics.json").unlink(),
            StageMissingError,
            "no finished stage 'topics'",
        ),
        (lambda project: shutil.rmtree(project), ProjectError, "not a fastvbow project"),
        (lambda project: (project / "images.parquet").write_text("x"), ProjectError, "cannot read the image table"),
    ],
    ids=["groups", "topics", "none", "table"],
)
def test_projects_that_cannot_grow(spoil, error, message, project, parted, cli):
    spoil(project)
    with pytest.raises(error, match=message):
        add(project, parted[1])
    outcome = cli("add", project, parted[1])
    assert outcome.code == 1 and outcome.complaint


def test_sources_that_cannot_be_added(project, parted, cli, tmp_path):
    before = snapshot(project)
    for source, said, code in (
        (tmp_path, "lies inside the source", 2),
        (tmp_path / "nowhere", "there is no folder or file", 2),
        (project / "stages", "no images in", 1),
    ):
        outcome = cli("add", project, source)
        assert (outcome.code, said in outcome.complaint) == (code, True), outcome.err
    np.save(tmp_path / "vectors.npy", np.ones((8, 3), np.float32))
    outcome = cli("add", project, parted[1], "--embeddings", tmp_path / "vectors.npy")
    assert outcome.code == 2 and "not by embeddings" in outcome.complaint
    assert cli("add", project, parted[1], "--device", "abacus").code == 2
    assert snapshot(project) == before


def test_on_the_command_line(project, parted, cli, tmp_path):
    log = tmp_path / "log.jsonl"
    outcome = cli("add", project, parted[1], "--log-json", log)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("8 images added: 8 grouped, 0 skipped; 0 were there already; ")
    assert lines[1:] == [f"groups: {project / 'groups.parquet'}", f"report: {project / 'report' / 'index.html'}"]
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert events[0]["stage"] == "add" and events[0]["message"] == "8 new images, 0 are there already"
    assert {"extract", "encode", "topics", "report"} <= {event["stage"] for event in events}
    again = cli("add", project, parted[1])
    assert again.code == 0 and "nothing new" in again.out and "report stands" in " ".join(again.err.split())
