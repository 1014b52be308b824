"""The project folder: making and refusing it, stage cards, the lock, and writing all or nothing."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastvbow.errors import ProjectError, StageMissingError, StoreCorruptError
from fastvbow.project import (
    STAGES,
    VERSION,
    ProjectFolder,
    StageCard,
    fingerprint_of,
    replace_file,
    replace_folder,
)

HOLD = """
import sys, time
from pathlib import Path
from fastvbow.project import ProjectFolder, replace_folder
project = ProjectFolder.open(Path(sys.argv[1]))
with project.lock(), replace_folder(project.features / "shard-00000") as folder:
    (folder / "half").write_bytes(b"written")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
def project(tmp_path, source):
    return ProjectFolder.create(tmp_path / "project", source, "0.0")


def card(stage, parameters=None, **inputs):
    return StageCard(stage, parameters or {}, inputs, {}, 1.0)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_made_and_opened_again(project, source):
    manifest = json.loads((project.root / "project.json").read_text())
    assert manifest.pop("source_is_file") is False
    assert manifest == {"format": "fastvbow-project", "version": 1, "created_by": "0.0", "source": source.as_uri()}
    assert ProjectFolder.open(project.root).source == source
    before = contents(project.root)
    assert ProjectFolder.create(project.root, source, "9.9").manifest.created_by == "0.0"
    assert contents(project.root) == before


def test_parents_are_made(tmp_path, source):
    assert ProjectFolder.create(tmp_path / "a" / "b", source, "0").root.is_dir()


def test_an_empty_folder_and_one_of_hidden_files_are_taken(tmp_path, source):
    (tmp_path / "empty").mkdir()
    ProjectFolder.create(tmp_path / "empty", source, "0")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".directory").touch()
    ProjectFolder.create(tmp_path / "hidden", source, "0")


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, source):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("x")
    with pytest.raises(ProjectError, match="thesis is not empty and not a fastvbow project"):
        ProjectFolder.create(tmp_path / "thesis", source, "0")
    assert contents(tmp_path / "thesis") == {"chapter": b"x"}


@pytest.mark.parametrize("inside", [".", "below", "below/deeper"])
def test_inside_the_image_folder_is_refused(source, inside):
    with pytest.raises(ProjectError, match="lies inside the image folder"):
        ProjectFolder.create(source / inside, source, "0")
    assert not list(source.iterdir())


def test_inside_the_image_folder_by_way_of_a_link_is_refused(tmp_path, source):
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(ProjectError, match="lies inside the image folder"):
        ProjectFolder.create(tmp_path / "link" / "project", source, "0")
    with pytest.raises(ProjectError, match="lies inside the image folder"):
        ProjectFolder.create(source / "project", tmp_path / "link", "0")


def test_a_name_that_begins_like_the_image_folders_is_no_inside(tmp_path, source):
    assert ProjectFolder.create(tmp_path / "photos-project", source, "0").root.is_dir()


def test_another_source_is_refused_naming_both(project, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ProjectError, match=rf"project of {project.source}, not of {tmp_path / 'other'}"):
        ProjectFolder.create(project.root, tmp_path / "other", "0")


@pytest.mark.parametrize("below", ["file", "file/sub", "file/sub/deeper"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, source, below):
    (tmp_path / "file").write_text("a regular file")
    with pytest.raises(ProjectError, match=r"cannot write the project folder .*choose another -o"):
        ProjectFolder.create(tmp_path / below, source, "0")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_folder_is_refused(tmp_path, source, project):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ProjectError, match="Permission denied"):
        ProjectFolder.create(tmp_path / "locked" / "project", source, "0")
    project.root.chmod(0o500)
    with pytest.raises(ProjectError, match="Permission denied"), project.lock():
        pass
    project.root.chmod(0o700)


def test_no_project(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            ProjectError, match=r"is not a fastvbow project \(no project.json\): .*fastvbow run SOURCE -o"
        ):
            ProjectFolder.open(path)


def test_a_newer_version_is_refused_naming_both(project, source):
    manifest = json.loads((project.root / "project.json").read_text())
    manifest |= {"version": VERSION + 4, "created_by": "7.5", "new": True}
    (project.root / "project.json").write_text(json.dumps(manifest))
    wanted = f"project format {VERSION + 4}, made by fastvbow 7.5; this one reads up to format {VERSION}: upgrade"
    with pytest.raises(ProjectError, match=wanted):
        ProjectFolder.open(project.root)
    with pytest.raises(ProjectError, match=wanted):
        ProjectFolder.create(project.root, source, "0")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (b"", StoreCorruptError, "not valid JSON"),
        (b'{"format": ', StoreCorruptError, "not valid JSON"),
        (b"[1]", StoreCorruptError, r"project\.json"),
        (b'{"format": "other", "version": 1}', ProjectError, "format 'other'"),
        (b'{"format": "fastvbow-project"}', ProjectError, r"project\.json"),
        (b'{"format": "fastvbow-project", "version": 1}', StoreCorruptError, "created_by|source"),
    ],
)
def test_a_damaged_or_foreign_manifest(project, text, error, message):
    (project.root / "project.json").write_bytes(text)
    with pytest.raises(error, match=message):
        ProjectFolder.open(project.root)


def test_a_source_whose_name_is_not_utf_8(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/photos-\xe9"))
    try:
        path.mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    ProjectFolder.create(tmp_path / "project", path, "0")
    assert ProjectFolder.open(tmp_path / "project").source == path


@pytest.mark.parametrize("name", ["project.json", "stages/extract.json"])
def test_json_that_is_not_utf_8(project, name):
    project.finish(card("extract"))
    (project.root / name).write_bytes(b'{"stage": "\xff"}')
    with pytest.raises(StoreCorruptError, match=name):
        ProjectFolder.open(project.root).card("extract")


def test_a_stage_counts_from_finish_to_begin(project):
    assert project.card("extract") is None
    project.begin("extract")
    project.finish(StageCard("extract", {"a": [1, 2], "b": {"c": 0.5}}, {"images": "x"}, {"images": 7}, 2.5))
    found = ProjectFolder.open(project.root).card("extract")
    assert found == StageCard("extract", {"a": [1, 2], "b": {"c": 0.5}}, {"images": "x"}, {"images": 7}, 2.5)
    assert project.require("extract") == found
    project.begin("extract")
    assert project.card("extract") is None
    with pytest.raises(StageMissingError, match="no finished stage 'extract' yet: run 'fastvbow extract'"):
        project.require("extract")


def test_a_damaged_card_is_refused_by_name(project):
    project.finish(card("encode"))
    (project.root / "stages" / "encode.json").write_text("{")
    with pytest.raises(StoreCorruptError, match=r"encode\.json"):
        project.card("encode")


def test_a_fingerprint_depends_on_name_parameters_and_inputs_only():
    base = card("encode", {"a": 1, "b": 2}, extract="x")
    assert base.fingerprint == StageCard("encode", {"b": 2, "a": 1}, {"extract": "x"}, {"n": 5}, 9).fingerprint
    others = [
        card("topics", {"a": 1, "b": 2}, extract="x"),
        card("encode", {"a": 1, "b": 3}, extract="x"),
        card("encode", {"a": 1, "b": 2}, extract="y"),
    ]
    assert len({c.fingerprint for c in [base, *others]}) == 4
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": "1"})


def test_a_stage_older_than_what_fed_it_is_refused_however_far_up(project):
    first = card("extract", {"side": 320}, images="x")
    second = card("vocabulary", {}, extract=first.fingerprint)
    third = card("encode", {}, vocabulary=second.fingerprint, extract=first.fingerprint)
    for stage in (first, second, third):
        project.finish(stage)
    assert project.require("encode") == third
    project.finish(card("extract", {"side": 240}, images="x"))
    for stage in ("vocabulary", "encode"):
        with pytest.raises(StageMissingError, match=r"'vocabulary' of .* is older than 'extract'"):
            project.require(stage)
    project.begin("extract")
    with pytest.raises(StageMissingError, match="no finished stage 'extract'"):
        project.require("encode")
    assert {"extract", "vocabulary", "encode"} < set(STAGES)


def test_the_lock_keeps_a_second_writer_out(project):
    other = ProjectFolder.open(project.root)

    def hold():
        with other.lock():
            return True

    with ThreadPoolExecutor(1) as elsewhere:
        with project.lock():
            with other.lock():  # the same thread may: `run` holds the project for its stages
                pass
            with pytest.raises(ProjectError, match=r"another fastvbow process is working on .*wait"):
                elsewhere.submit(hold).result()
        assert elsewhere.submit(hold).result()
    with pytest.raises(ZeroDivisionError), project.lock():
        raise ZeroDivisionError
    with other.lock():
        pass


def test_a_killed_writer_frees_the_lock_and_its_leavings_are_cleared(project):
    project.finish(card("extract"))
    before = contents(project.root)
    command = [sys.executable, "-c", HOLD, str(project.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ProjectError, match="another fastvbow process"), project.lock():
            pass
        assert any("half" in name for name in contents(project.root)), "a refused writer must clear nothing"
        process.send_signal(signal.SIGKILL)
    with project.lock():
        now = contents(project.root)
    assert {name: now[name] for name in before} == before
    assert set(now) - set(before) == {"features"}


def test_what_workers_leave_meanwhile_is_cleared_at_the_end(project):
    with project.lock():
        left = project.features / ".shard-00003.0123456789ab.tmp"
        left.mkdir(parents=True)
        (left / "sift.descriptors.npy").touch()
    assert list(project.features.iterdir()) == []


def test_only_temporary_names_are_cleared(project):
    project.features.mkdir()
    kept = [".lock", ".notes.my.txt", "a.b.tmp", "features/shard-00000", ".tmp"]
    kept += ["groups.parquet"]
    lost = [
        ".report.0a1b.tmp",
        ".groups.parquet.0a1b.old",
        "features/.shard-00000.0a1b.tmp",
        "stages/.topics.json.0a1b.tmp",
    ]
    (project.root / "stages").mkdir()
    for name in kept + lost:
        (project.root / name).touch()
    (project.root / ".topics.0a1b.old").mkdir()
    (project.root / ".topics.0a1b.old" / "x").touch()  # its successor never came: it is put back
    with project.lock():
        names = set(contents(project.root))
    assert names == {"project.json", "features", "stages", "topics", "topics/x", *kept}


def test_a_folder_is_replaced_whole(tmp_path):
    final = tmp_path / "below" / "final"
    with replace_folder(final) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_bytes(b"1")
        assert not final.exists()
    assert contents(final) == {"sub": None, "sub/a": b"1"}
    with replace_folder(final) as folder:
        (folder / "b").write_bytes(b"2")
        assert contents(final) == {"sub": None, "sub/a": b"1"}
    assert contents(final.parent) == {"final": None, "final/b": b"2"}


def test_a_file_is_replaced_whole(tmp_path):
    final = tmp_path / "below" / "final"
    for data in (b"1", b"2"):
        with replace_file(final) as path:
            path.write_bytes(data)
            assert not final.exists() or final.read_bytes() == b"1"
        assert contents(final.parent) == {"final": data}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("replace", [replace_folder, replace_file])
def test_an_exception_leaves_what_stood(tmp_path, replace, error):
    def write(path, data):
        (path / "a" if path.is_dir() else path).write_bytes(data)

    with pytest.raises(error), replace(tmp_path / "final") as path:
        write(path, b"half")
        raise error
    assert contents(tmp_path) == {}
    with replace(tmp_path / "final") as path:
        write(path, b"whole")
    before = contents(tmp_path)
    with pytest.raises(error), replace(tmp_path / "final") as path:
        write(path, b"half")
        raise error
    assert contents(tmp_path) == before


def test_a_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "final"):
        pass
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("nth", [1, 2])
def test_a_rename_that_fails_leaves_what_stood(tmp_path, monkeypatch, nth):
    final, rename, calls = tmp_path / "final", Path.rename, []
    with replace_folder(final) as folder:
        (folder / "a").write_bytes(b"old")

    def fails(path, target):
        calls.append(target)
        if len(calls) == nth:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="No space"), replace_folder(final) as folder:
        (folder / "a").write_bytes(b"new")
    assert contents(tmp_path) == {"final": None, "final/a": b"old"}


def test_a_revision_of_the_code_is_part_of_the_fingerprint():
    old, new = StageCard("encode", {}, {}, {}, 1.0, 1), StageCard("encode", {}, {}, {}, 1.0, 2)
    assert old.fingerprint != new.fingerprint
    assert StageCard("encode", {}, {}, {"tokens": 5, "reasons": {"x": 1}}, 1.0).summary == "tokens 5"
