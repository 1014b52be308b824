"""Every odd file of the corpus through the extraction, in a process of its own: a crash or a hang fails one test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from odd_files import Expectation, make_odd_files

from fastvbow.images.table import ImageTable
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder

SECONDS = 120
EXTRACT = """
import json, sys
from pathlib import Path
from fastvbow.config import ExtractConfig
from fastvbow.pipeline import extract
config = ExtractConfig(features=("sift",), keypoints=20, side=64)
events = []
card = extract(Path(sys.argv[1]), Path(sys.argv[2]), config, jobs=2, listener=events.append)
notes = [event.message for event in events if event.kind in ("note", "warning")]
print(json.dumps({"outputs": card.outputs, "notes": notes}))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> tuple[Path, dict[str, Expectation]]:
    folder = tmp_path_factory.mktemp("odd") / "photographs"
    return folder, make_odd_files(folder)


@pytest.fixture(scope="module")
def extracted(corpus) -> tuple[dict, ProjectFolder]:
    project = corpus[0].parent / "project"
    words = [sys.executable, "-c", EXTRACT, corpus[0], project]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout), ProjectFolder.open(project)


def test_the_corpus_is_large(corpus):
    count = Counter(wanted.status for wanted in corpus[1].values())
    assert count["skip"] >= 60
    assert count["read"] >= 60
    assert count["unlisted"] >= 5


def test_every_file_is_in_the_table_with_its_reason(corpus, extracted):
    expected, (told, project) = corpus[1], extracted
    rows = [row for shard in open_shards(project) for row in shard.images.to_pylist()]
    listed = {wanted.raw: wanted for wanted in expected.values() if wanted.status != "unlisted"}
    paths = ImageTable.load(project.images, corpus[0]).raw_paths
    assert len(rows) == len(paths) == len(listed)
    assert set(paths) == set(listed)
    for path, row in zip(paths, rows, strict=True):
        wanted, reason = listed[path], row["reason"]
        if wanted.status == "read":
            assert reason is None, (path, reason)
            assert (row["width"], row["height"]) == wanted.size, path
        else:
            assert reason is not None, path
            assert re.search(wanted.reason, reason), (path, reason)
            assert reason.isprintable()
    assert told["outputs"]["images"] == len(listed)
    assert told["outputs"]["skipped"] == sum(wanted.status == "skip" for wanted in listed.values())


def test_what_is_passed_over_is_counted_and_named(corpus, extracted):
    passed_over = [
        wanted.raw
        for wanted in corpus[1].values()
        if wanted.status == "unlisted" and not wanted.raw.startswith(b".") and wanted.raw != b"link-to-folder.jpg"
    ]
    notes = extracted[0]["notes"]
    assert f"{len(passed_over)} files passed over that are no images by their names" in notes
    assert any("link-to-folder.jpg" in note for note in notes)
