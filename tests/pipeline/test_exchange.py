"""`fastvbow export` and `fastvbow labels import`: out to an annotation tool, and back."""

import csv
import json
import os
import shutil
import tarfile
from collections import Counter

import pyarrow.parquet as pq
import pytest
from conftest import SIFT, contents, snapshot

from fastvbow import pipeline
from fastvbow.errors import ProjectError, StageMissingError, StoreCorruptError, UsageError
from fastvbow.pipeline.annotation_export import FORMATS, export
from fastvbow.pipeline.annotation_import import import_labels
from fastvbow.pipeline.naming import merge, name


def rows(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("to", FORMATS)
def test_all_formats_from_the_command_line(sift_copy, sift_folder, tmp_path, cli, to):
    name(sift_copy, 1, "Küche & <b>")
    source, project = snapshot(sift_folder), snapshot(sift_copy)
    outcome = cli("export", sift_copy, "--to", to, "-o", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["images"], found["labelled"], found["left_out"]) == (20, 20, 0)
    assert all((tmp_path / "out" / file).exists() for file in found["files"])
    assert (snapshot(sift_folder), snapshot(sift_copy)) == (source, project), "nothing is written there"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    again = cli("export", sift_copy, "--to", to, "-o", tmp_path / "out")
    assert again.code == 2
    assert "--overwrite" in again.complaint
    first = contents(tmp_path / "out")
    assert cli("export", sift_copy, "--to", to, "-o", tmp_path / "out", "--overwrite").code == 0
    assert contents(tmp_path / "out") == first
    told = "".join(path.name for path in (tmp_path / "out").iterdir())
    for path in (tmp_path / "out").glob("**/*.[jcx]*"):
        if not path.is_symlink():
            told += path.read_text()
    assert "Küche" in told


def test_merged_topics_are_one_label(sift_copy, tmp_path):
    name(sift_copy, 0, "both")
    merge(sift_copy, [0, 3])
    export(sift_copy, tmp_path / "out", to="csv")
    groups = pq.read_table(sift_copy / "groups.parquet").to_pydict()
    found = rows(tmp_path / "out" / "groups.csv")
    called = zip(groups["name"], groups["topic"], strict=True)
    assert [row["label"] for row in found] == [known or f"topic_{topic:03d}" for known, topic in called]
    assert Counter(row["label"] for row in found)["both"] == groups["topic"].count(0)
    for row, probability in zip(found, groups["probability"], strict=True):
        assert float(row["probability"]) == pytest.approx(probability, abs=1e-6)


def test_uncertain_photographs_get_no_label(sift_project, tmp_path):
    probability = pq.read_table(sift_project / "groups.parquet")["probability"].to_pylist()
    bound = sorted(probability)[7]
    found = export(sift_project, tmp_path / "out", to="csv", uncertain_below=bound)
    assert found.labelled == 13
    labels = [row["label"] for row in rows(tmp_path / "out" / "groups.csv")]
    assert [bool(label) for label in labels] == [p >= bound for p in probability]


def test_links_lead_to_the_photographs(sift_project, sift_folder, tmp_path):
    export(sift_project, tmp_path / "out", to="folders")
    links = [path for path in (tmp_path / "out").rglob("*.jpg") if path.is_symlink()]
    assert len(links) == 20
    assert {link.resolve() for link in links} == {path.resolve() for path in sift_folder.rglob("*.jpg")}


def test_links_to_photographs_that_are_gone(photographs, tmp_path, cli):
    """Writing the folders does not depend on the photographs, which may lie on a disk that is away."""
    assert cli("run", photographs, "-o", tmp_path / "project", *SIFT).code == 0
    shutil.rmtree(photographs)
    assert export(tmp_path / "project", tmp_path / "out", to="folders").images == 20


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"to": "xml"}, "--to takes"),
        ({"to": "csv", "split": 3}, "--split"),
        ({"to": "cvat", "split": -1}, "--split"),
        ({"to": "folders", "prefix": "x"}, "--prefix"),
        ({"to": "csv", "uncertain_below": 1.5}, "--uncertain-below"),
    ],
)
def test_arguments_that_cannot_be(sift_project, tmp_path, more, said):
    with pytest.raises(UsageError, match=said):
        export(sift_project, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_what_is_not_an_export_is_never_replaced(sift_project, sift_folder, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    (tmp_path / "link").symlink_to(mine)
    (tmp_path / "file").write_text("x")
    for place in (mine, tmp_path / "link", tmp_path / "file", tmp_path / "no" / "out"):
        with pytest.raises(UsageError):
            export(sift_project, place, to="csv", overwrite=True)
    for inside in (sift_project / "out", sift_folder / "out", sift_folder):
        with pytest.raises(UsageError, match="lies inside"):
            export(sift_project, inside, to="csv", overwrite=True)
    assert (mine / "thesis.txt").read_text() == "years"


def test_a_failed_export_leaves_nothing(sift_project, tmp_path, monkeypatch):
    from fastvbow.exports import coco

    export(sift_project, tmp_path / "out", to="coco")
    before = snapshot(tmp_path)
    monkeypatch.setattr(coco, "_annotations", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match="No space left"):
        export(sift_project, tmp_path / "out", to="coco", overwrite=True)
    assert snapshot(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_groups_older_than_topics_are_not_exported(sift_copy, tmp_path):
    (sift_copy / "stages" / "groups.json").unlink()
    with pytest.raises(StageMissingError):
        export(sift_copy, tmp_path / "out", to="csv")


def test_photographs_in_a_tar(sift_folder, tmp_path, cli):
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for path in sorted(sift_folder.rglob("*.jpg")):
            archive.add(path, path.name)
    project = tmp_path / "project"
    words = ("--features", "sift", "--topics", "2", "--words", "20", "--sweeps", "5")
    assert cli("run", tmp_path / "shard.tar", "-o", project, *words).code == 0
    outcome = cli("export", project, "--to", "folders", "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "--to csv" in outcome.complaint
    assert cli("export", project, "--to", "csv", "-o", tmp_path / "csv").code == 0
    assert {row["container"] for row in rows(tmp_path / "csv" / "groups.csv")} == {"shard.tar"}
    outcome = cli("export", project, "--to", "cvat", "-o", tmp_path / "cvat")
    assert outcome.code == 0
    assert "20 photographs lie inside" in outcome.err


@pytest.fixture
def wanted(sift_folder):
    """The right label of each photograph, by its path."""
    return {str(path.relative_to(sift_folder)): f"the {path.parent.name}" for path in sift_folder.rglob("*.jpg")}


def label_studio_file(project, tmp_path, wanted):
    export(project, tmp_path / "ls", to="label-studio", split=7)
    tasks = []
    for file in sorted((tmp_path / "ls").glob("tasks-*.json")):
        tasks += json.loads(file.read_text())
    for task in tasks:
        result = task["predictions"][0]["result"][0]
        result["value"]["choices"] = [wanted[task["data"]["path"]]]
        task["annotations"] = [{"result": [result], "was_cancelled": False}]
        task["data"]["path"] = "moved"  # the id is enough
    (tmp_path / "done.json").write_text(json.dumps(tasks))
    return tmp_path / "done.json"


def csv_file(project, tmp_path, wanted):
    export(project, tmp_path / "csv", to="csv")
    found = rows(tmp_path / "csv" / "groups.csv")
    with (tmp_path / "done.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerows([["label", "path"], *([wanted[row["path"]], f"./{row['path']}"] for row in found)])
    return tmp_path / "done.csv"


def cvat_file(project, tmp_path, wanted):
    from xml.etree import ElementTree

    export(project, tmp_path / "cvat", to="cvat", prefix="photos/")
    tree = ElementTree.parse(tmp_path / "cvat" / "annotations-00001.xml")
    for image in tree.getroot().iter("image"):
        image.find("tag").set("label", wanted[image.get("name").removeprefix("photos/")])
    tree.write(tmp_path / "done.xml")
    return tmp_path / "done.xml"


@pytest.mark.parametrize("edit", [label_studio_file, csv_file, cvat_file])
def test_out_edited_and_back(sift_copy, tmp_path, cli, wanted, edit):
    file = edit(sift_copy, tmp_path, wanted)
    words = ["--prefix", "photos/"] if edit is cvat_file else []
    for command in ("evaluate", "groups"):
        assert "fastvbow labels import" in cli(command, sift_copy, "--labels", "project").complaint
    outcome = cli("labels", "import", sift_copy, file, *words, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert {k: v for k, v in found.items() if v} == {"entries": 20, "labelled": 20, "stored": 20}
    by_folder, by_project = (
        json.loads(cli("evaluate", sift_copy, "--labels", labels, "--json").out) for labels in ("parent", "project")
    )
    assert by_project["n_images"] == 20
    assert by_project["acc"] == by_folder["acc"]
    assert {row["label"] for row in by_project["labels"]} == set(wanted.values())
    pipeline.groups(sift_copy, labels="project")
    groups = pq.read_table(sift_copy / "groups.parquet").to_pydict()
    assert dict(zip(groups["path"], groups["label"], strict=True)) == wanted


def test_later_labels_win_and_the_others_stay(sift_copy, tmp_path, recorder):
    paths = pq.read_table(sift_copy / "groups.parquet")["path"].to_pylist()
    file = tmp_path / "l.csv"
    file.write_text(f"path,label\n{paths[0]},a\n{paths[1]},b\n{paths[2]},\n")
    first = import_labels(sift_copy, file)
    assert (first.labelled, first.changed, first.without_label, first.stored) == (2, 0, 1, 2)
    pipeline.groups(sift_copy, labels="project")
    lines = [f"{paths[1]},c", f"{paths[2]},d", f"{paths[3]},x", f"{paths[3]},y", "nowhere.jpg,z"]
    file.write_text("\n".join(["path,label", *lines]))
    second = import_labels(sift_copy, file, listener=recorder)
    assert (second.entries, second.labelled, second.changed, second.stored) == (5, 2, 1, 3)
    assert second.conflicts == [f"{paths[3]}: 'x', 'y'"]
    assert second.unknown == ["nowhere.jpg"]
    assert len(recorder.stages("warning")) == 2
    pipeline.groups(sift_copy, labels="project", listener=recorder)
    assert "labels" in recorder.message("groups", "begin"), "other labels: the stage runs again"
    labels = pq.read_table(sift_copy / "groups.parquet")["label"].to_pylist()
    assert labels == ["a", "c", "d", *[None] * 17]
    assert import_labels(sift_copy, file, replace=True).stored == 2


def test_the_command_says_what_was_not_taken(sift_copy, tmp_path, cli):
    paths = pq.read_table(sift_copy / "groups.parquet")["path"].to_pylist()
    (tmp_path / "l.csv").write_text(f"path,label\n{paths[0]},a\nnowhere.jpg,b\n")
    outcome = cli("labels", "import", sift_copy, tmp_path / "l.csv")
    assert outcome.code == 3
    assert "1 unknown" in outcome.out
    assert "nowhere.jpg" in outcome.err
    assert cli("labels", "import", sift_copy, tmp_path / "l.txt").code == 2


def test_blanks_around_labels_do_not_count(sift_copy, tmp_path):
    paths = pq.read_table(sift_copy / "groups.parquet")["path"].to_pylist()
    (tmp_path / "l.csv").write_text(f"path,label\n{paths[0]}, a \n{paths[0]},a\n{paths[1]},   \n")
    found = import_labels(sift_copy, tmp_path / "l.csv")
    assert (found.labelled, found.without_label, found.conflicts) == (1, 1, [])
    pipeline.groups(sift_copy, labels="project")
    assert pq.read_table(sift_copy / "groups.parquet")["label"].to_pylist() == ["a", *[None] * 19]


def test_labels_that_cannot_be_are_not_taken(sift_copy, tmp_path, cli):
    """Else a line break or an escape sequence would stand in every table, page and export."""
    paths = pq.read_table(sift_copy / "groups.parquet")["path"].to_pylist()
    bad = ["two\nlines", "\x1b[31mred", "\u2028", "x" * 501]
    labels = [*bad, "Ku\u0308che"]
    with (tmp_path / "l.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["path", "label"], *zip(paths, labels, strict=False)])
    outcome = cli("labels", "import", sift_copy, tmp_path / "l.csv", "--json")
    assert outcome.code == 3
    assert paths[0] in outcome.err
    assert "control characters" in outcome.err
    found = json.loads(outcome.out)
    assert (found["labelled"], len(found["refused"]), found["without_label"]) == (1, 3, 1), "a line separator is blank"
    assert pq.read_table(sift_copy / "labels.parquet")["label"].to_pylist() == ["K\u00fcche"]
    (tmp_path / "l.csv").write_text(f"path,label\n{paths[0]},a\x01b\n")
    with pytest.raises(UsageError, match="1 with one that cannot be"):
        import_labels(sift_copy, tmp_path / "l.csv", replace=True)
    assert pq.read_table(sift_copy / "labels.parquet").num_rows == 1


def test_files_that_label_nothing_store_nothing(sift_copy, tmp_path):
    (tmp_path / "l.csv").write_text("path,label\nnowhere.jpg,b\n")
    with pytest.raises(UsageError, match=r"1 are unknown.*nowhere\.jpg.*--prefix"):
        import_labels(sift_copy, tmp_path / "l.csv")
    assert not (sift_copy / "labels.parquet").exists()


def test_addresses_lead_back(sift_folder, tmp_path, cli):
    """Photographs whose names no text can hold are found again by their percent-encoded addresses."""
    source = tmp_path / "photographs"
    source.mkdir()
    odd = ["é & <b>.jpg", os.fsdecode(b"latin-\xe9.jpg"), "100%25 #.jpg", "two\nlines\x01.jpg"]
    for path, file in zip(sorted(sift_folder.rglob("*.jpg")), odd, strict=False):
        shutil.copy(path, source / file)
    project = tmp_path / "project"
    words = ("--features", "sift", "--topics", "2", "--words", "20", "--sweeps", "5")
    assert cli("run", source, "-o", project, *words).code == 0
    for place, prefix in (("own", None), ("host", "https://host/base/")):
        export(project, tmp_path / place, to="label-studio", prefix=prefix)
        done = []
        for number, task in enumerate(json.loads((tmp_path / place / "tasks-00001.json").read_text())):
            result = task["predictions"][0]["result"]
            result[0]["value"]["choices"] = [f"label {number} {place}"]
            done.append({"data": {"image": task["data"]["image"]}, "annotations": [{"result": result}]})
        (tmp_path / "done.json").write_text(json.dumps(done))
        found = import_labels(project, tmp_path / "done.json", prefix=prefix or "", replace=True)
        assert (found.labelled, found.unknown) == (4, [])
    export(project, tmp_path / "cvat", to="cvat")
    assert import_labels(project, tmp_path / "cvat" / "annotations-00001.xml").changed == 4


def test_stored_labels_that_cannot_be_read(sift_copy, tmp_path):
    paths = pq.read_table(sift_copy / "groups.parquet")["path"].to_pylist()
    (tmp_path / "l.csv").write_text(f"path,label\n{paths[0]},a\n")
    import_labels(sift_copy, tmp_path / "l.csv")
    stored = sift_copy / "labels.parquet"
    pipeline.report(sift_copy, jobs=1)
    assert pipeline.verify(sift_copy).problems == []
    table = pq.read_table(stored)
    pq.write_table(table.replace_schema_metadata({"format": "fastvbow-labels", "version": "2"}), stored)
    with pytest.raises(ProjectError, match="upgrade"):
        pipeline.evaluate(sift_copy, labels="project")
    pq.write_table(table.replace_schema_metadata(None), stored)
    with pytest.raises(StoreCorruptError, match=r"labels\.parquet"):
        pipeline.evaluate(sift_copy, labels="project")
    stored.write_bytes(b"PAR1")
    assert any("labels.parquet" in problem for problem in pipeline.verify(sift_copy, repair=True).problems)
    assert stored.exists()
