"""The same photographs from a folder, lists, tar and Parquet files give the same features and groups."""

from __future__ import annotations

import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SIFT, snapshot

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, ExtractOptions
from fastvbow.pipeline import reporting
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder


def names_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))


def make_source(kind, folder, place):
    """The photographs of a folder as a source of another kind, in another order."""
    names = names_of(folder)[::-1]
    if kind == "folder":
        return folder
    if kind in {"txt", "csv"}:
        path = place / f"list.{kind}"
        path.write_text("".join(f"{line}\n" for line in ["path"] * (kind == "csv") + [str(folder / n) for n in names]))
    elif kind == "paths.parquet":
        pq.write_table(pa.table({"path": [str(folder / name) for name in names]}), path := place / "list.parquet")
    elif kind == "parquet":
        rows = [{"bytes": (folder / name).read_bytes(), "path": name} for name in names]
        pq.write_table(pa.table({"image": rows}), path := place / "train.parquet", row_group_size=7)
    else:
        path = place / "shards"
        path.mkdir()
        for number in range(3):
            with tarfile.open(path / f"{number}.tar", "w") as archive:
                for name in names[number::3]:
                    archive.add(folder / name, name)
    return path


def features(project):
    """By each photograph's content: its keypoints and descriptors."""
    found = {}
    for shard in open_shards(ProjectFolder.open(project)):
        edges = shard.offsets("sift")
        for i, content in enumerate(shard.images["content"].to_pylist()):
            run = slice(edges[i], edges[i + 1])
            found[content] = shard.keypoints("sift")[run].tobytes(), shard.descriptors("sift")[run].tobytes()
    return found


@pytest.mark.parametrize("kind", ["txt", "csv", "paths.parquet", "parquet", "tar"])
def test_features_are_the_same_whatever_the_source(kind, sift_folder, sift_project, tmp_path):
    source = make_source(kind, sift_folder, tmp_path)
    before = snapshot(tmp_path)
    options = ExtractOptions(executor="processes" if kind == "tar" else "threads")
    card = pipeline.extract(source, tmp_path / "project", ExtractConfig(features=("sift",)), options=options, jobs=2)
    assert (card.outputs["images"], card.outputs["skipped"]) == (20, 0)
    wanted, found = features(sift_project), features(tmp_path / "project")
    assert len(wanted) == 20 and found == wanted
    assert {name: file for name, file in snapshot(tmp_path).items() if not name.startswith("project")} == before


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_run_and_report_without_files(kind, sift_folder, cli, tmp_path, monkeypatch):
    source, seen = make_source(kind, sift_folder, tmp_path), []
    build = reporting.build_report
    monkeypatch.setattr(
        reporting, "build_report", lambda content, *a, **k: seen.append(content.in_sequence) or build(content, *a, **k)
    )
    outcome = cli("run", source, "-o", tmp_path / "project", *SIFT)
    assert outcome.code == 0, outcome.err
    pages = "".join(path.read_text() for path in (tmp_path / "project" / "report").glob("*.html"))
    assert pages.count("<img") >= 20 and "file://" not in pages, "thumbnails, but nothing to open"
    assert seen == [kind == "parquet"], "rows are read one after another, members of a tar lie where they lie"
    again = cli("run", source, "-o", tmp_path / "project", *SIFT)
    assert again.err.count("stands from an earlier call") == 6
    groups = pq.read_table(tmp_path / "project" / "groups.parquet")
    assert len(groups) == len(set(groups["image_id"].to_pylist())) == 20
    source.rename(tmp_path / "elsewhere")
    outcome = cli("report", tmp_path / "project", "--per-topic", 7)
    assert outcome.code == 0 and "can no longer be read" in outcome.err


@pytest.mark.parametrize("kind", ["txt", "parquet", "tar"])
def test_assign_reads_every_kind(kind, sift_folder, sift_project, tmp_path):
    def by_name(source):
        grouping = pipeline.assign(sift_project, source, tmp_path / "out.parquet", jobs=2)
        assert len(grouping.skipped) == 0
        names = [next(n for n in names_of(sift_folder) if path.endswith(n)) for path in grouping.paths]
        return {name: theta.tobytes() for name, theta in zip(names, np.asarray(grouping.theta), strict=True)}

    wanted = by_name(sift_folder)
    assert len(wanted) == 20 and by_name(make_source(kind, sift_folder, tmp_path)) == wanted


def test_what_a_tar_lacks_is_told_and_skipped(sift_folder, tmp_path, cli):
    source = make_source("tar", sift_folder, tmp_path)
    cut = source / "2.tar"
    with tarfile.open(cut) as archive:
        last = archive.getmembers()[-1]
    cut.write_bytes(cut.read_bytes()[: last.offset_data + 100])
    outcome = cli("extract", source, "-o", tmp_path / "project", "--features", "sift")
    assert outcome.code == 3
    assert f"is cut short: '{last.name}'" in " ".join(outcome.err.split())
    assert "skipped" in outcome.err
