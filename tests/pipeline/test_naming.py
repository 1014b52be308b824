"""`fastvbow name` and `fastvbow merge` on a project."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import SIFT, Recorder, snapshot

from fastvbow import Project, pipeline
from fastvbow.errors import StageMissingError, StoreCorruptError, UsageError
from fastvbow.pipeline.naming import merge, name
from fastvbow.project import ProjectFolder

HOSTILE = "<script>alert(\"1\")</script> & 'Küche' 猫"


def columns(project):
    return pq.read_table(project / "groups.parquet").to_pydict()


def test_a_name_is_in_the_groups_at_once(sift_copy):
    before = columns(sift_copy)
    assert set(before["name"]) == {None}
    groups = name(sift_copy, 1, HOSTILE)
    after = columns(sift_copy)
    assert after["name"] == [HOSTILE if topic == 1 else None for topic in after["topic"]]
    assert {k: v for k, v in after.items() if k != "name"} == {k: v for k, v in before.items() if k != "name"}
    assert [(group.topic, group.name) for group in groups] == [(0, None), (1, HOSTILE), (2, None), (3, None)]
    assert [group.images for group in groups] == [before["topic"].count(topic) for topic in range(4)]
    assert name(sift_copy) == groups
    name(sift_copy, 1, remove=True)
    assert columns(sift_copy) == before


def test_stages_keep_names_and_labels(sift_copy, sift_folder, cli):
    """The groups that a name has written are those that the stage would write: it is not done again."""
    pipeline.groups(sift_copy, labels="parent")
    name(sift_copy, 2, "kitchen")
    merge(sift_copy, [0, 3])
    named = (sift_copy / "groups.parquet").read_bytes()
    assert columns(sift_copy)["label"].count(None) == 0
    heard = Recorder()
    pipeline.groups(sift_copy, labels="parent", listener=heard)
    assert heard.stages("reused") == ["groups"]
    (sift_copy / "groups.parquet").unlink()
    pipeline.groups(sift_copy, labels="parent")
    assert (sift_copy / "groups.parquet").read_bytes() == named
    outcome = cli("run", sift_folder, "-o", sift_copy, *SIFT)
    assert outcome.code == 0, outcome.err
    assert "kitchen" in columns(sift_copy)["name"]


def test_merged_topics_are_one_group(sift_copy):
    folder = ProjectFolder.open(sift_copy)
    before = columns(sift_copy)["topic"]
    groups = merge(sift_copy, [3, 0])
    assert [group.topics for group in groups] == [[0, 3], [1], [2]]
    after = columns(sift_copy)
    assert 3 not in after["topic"]
    assert after["topic"].count(0) >= before.count(0) + before.count(3)
    assert folder.require("groups").outputs["groups"] == 3
    assert sorted(pipeline.evaluate(sift_copy).tables.groups.tolist()) == [0, 1, 2]
    merge(sift_copy, [0, 3], undo=True)
    assert columns(sift_copy)["topic"] == before


def test_report_and_evaluation_tell_names(sift_copy, cli):
    name(sift_copy, 1, HOSTILE)
    merge(sift_copy, [0, 3])
    pipeline.report(sift_copy, jobs=1)
    page = "".join(path.read_text() for path in (sift_copy / "report").glob("*.html"))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(" in page
    assert "Topics 0, 3" in page
    assert "groups: labels" in page
    assert "groups: names" not in page, "a checksum tells nobody anything"
    assert "is empty" not in page
    assert "are empty" not in page
    found = json.loads(cli("evaluate", sift_copy, "--json").out)
    assert {row["group"]: row["name"] for row in found["groups"]} == {0: None, 1: HOSTILE, 2: None}
    assert "1 <script>alert" in cli("evaluate", sift_copy).out


def test_new_photographs_get_names_and_merged_groups(sift_copy, sift_folder, tmp_path):
    name(sift_copy, 1, "kitchen")
    merge(sift_copy, [0, 3])
    pipeline.assign(sift_copy, sift_folder, tmp_path / "new.parquet")
    wanted, new = columns(sift_copy), pq.read_table(tmp_path / "new.parquet").to_pydict()
    assert new["name"] == wanted["name"]
    assert new["topic"] == wanted["topic"]
    row = len(new["path"]) // 2
    one = Project.open(sift_copy).assign([sift_folder / new["path"][row]])
    assert one.names == [wanted["name"][row]]


def test_other_topics_do_not_get_the_names(sift_copy, sift_folder, cli, recorder):
    """They are kept, said, and back when the topics are."""
    name(sift_copy, 1, "kitchen")
    named = columns(sift_copy)
    kept = snapshot(sift_copy / "names")
    outcome = cli("run", sift_folder, "-o", sift_copy, *SIFT[:-1], "41")
    assert outcome.code == 0
    assert "former names stay" in outcome.err
    assert set(columns(sift_copy)["name"]) == {None}
    assert [group.name for group in name(sift_copy, listener=recorder)] == [None] * 4
    assert "names" in recorder.stages("warning")
    name(sift_copy, 0, "another")
    assert snapshot(sift_copy / "names").items() > kept.items()
    assert cli("run", sift_folder, "-o", sift_copy, *SIFT).code == 0
    assert columns(sift_copy) == named


def test_names_from_a_file(sift_copy, tmp_path, cli):
    file = tmp_path / "names.csv"
    file.write_text('topic,name\n0,"a, b"\n1,Küche\n3,\n', encoding="utf-8-sig")
    name(sift_copy, 3, "old")
    assert cli("name", sift_copy, "--from-file", file).code == 0
    assert [group.name for group in name(sift_copy)] == ["a, b", "Küche", None, None]
    file.write_text('topic,name\n0,Küche\n1,"a, b"\n')
    name(sift_copy, from_file=file)
    assert [group.name for group in name(sift_copy)] == ["Küche", "a, b", None, None], "names may be swapped"
    file.write_text("topic,name\n0,same\n1,other\n2,same\n")
    before = snapshot(sift_copy)
    with pytest.raises(UsageError, match=r"line 4.*--merge"):
        name(sift_copy, from_file=file)
    assert snapshot(sift_copy) == before, "all of a file or nothing"
    assert [group.topics for group in name(sift_copy, from_file=file, merging=True)] == [[0, 2], [1], [3]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topic,title\n0,x\n", "wanted: 'topic' and 'name'"),
        ("topic,name\nx,y\n", "line 2: 'x' is no topic number"),
        ("topic,name\n0,x\n0,y\n", "twice, in lines 2 and 3"),
        ("topic,name\n9,x\n", "from 0 to 3"),
        ("topic,name\n0,a\x1bb\n", "control characters"),
        ("", "wanted"),
    ],
)
def test_files_that_cannot_be_used(sift_project, tmp_path, text, said):
    (tmp_path / "n.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        name(sift_project, from_file=tmp_path / "n.csv")
    with pytest.raises(UsageError, match="cannot read"):
        name(sift_project, from_file=tmp_path / "none.csv")


@pytest.mark.parametrize("words", [(1,), (1, "x", "--remove"), (1, "x", "--from-file", "f.csv"), (9, "x"), (1, "a\nb")])
def test_arguments_that_do_not_go_together(sift_project, cli, words):
    outcome = cli("name", sift_project, *words)
    assert outcome.code == 2
    assert outcome.complaint


def test_an_interrupted_call_is_made_good(sift_copy, monkeypatch):
    """Killed after the names and before the groups: nobody takes the old groups for those of the new names."""
    from fastvbow.pipeline import naming

    with monkeypatch.context() as patch:
        patch.setattr(naming, "rename_groups", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge(sift_copy, [0, 3])
    with pytest.raises(StageMissingError, match="older than the names"):
        pipeline.report(sift_copy)
    name(sift_copy)
    assert 3 not in columns(sift_copy)["topic"]
    pipeline.report(sift_copy, jobs=1)


def test_a_report_that_is_older_than_the_names_is_no_damage(sift_copy, cli):
    pipeline.report(sift_copy, jobs=1)
    name(sift_copy, 1, "kitchen")
    found = pipeline.verify(sift_copy, repair=True)
    assert found.problems == []
    (line,) = found.stale
    assert "report" in line
    outcome = cli("verify", sift_copy)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == line
    assert outcome.out.splitlines()[-1].startswith("all well: ")
    assert (sift_copy / "report" / "index.html").exists()
    pipeline.report(sift_copy, jobs=1)
    assert pipeline.verify(sift_copy).stale == []


def test_verify_reports_damaged_names_and_keeps_them(sift_copy):
    name(sift_copy, 1, "kitchen")
    (path,) = (sift_copy / "names").iterdir()
    pipeline.report(sift_copy, jobs=1)
    assert pipeline.verify(sift_copy).problems == []
    path.write_text("{")
    assert any(path.name in problem for problem in pipeline.verify(sift_copy, repair=True).problems)
    assert path.exists()
    with pytest.raises(StoreCorruptError, match=path.name):
        name(sift_copy)


def test_a_project_of_the_archive_can_be_named(tmp_path):
    project = shutil.copytree(Path(__file__).parents[1] / "archive" / "project-1", tmp_path / "project")
    assert name(project, 2, "kitchen")[2].name == "kitchen"
    assert set(columns(project)["name"]) <= {"kitchen", None}
