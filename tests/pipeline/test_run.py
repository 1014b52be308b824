"""The whole route: what `fastvbow run` prints and leaves, and that the stages one by one leave the same."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CROPS, PHOTOGRAPHS, SIFT, contents, snapshot

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.images.table import image_id_of
from fastvbow.pipeline import route

STAGES = ["extract", "vocabulary", "encode", "topics", "groups", "report"]

NO_NETWORK = """
import os, socket
class Blocked(socket.socket):
    def __init__(self, *args, **kwargs):
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write("a socket\\n")
        raise OSError("no sockets here")
socket.socket = Blocked
"""


def test_run_from_the_shell(small_folder, small_project, hooked, tmp_path):
    before, attempts = snapshot(small_folder), tmp_path / "attempts"
    listing = sorted(str(path) for path in small_folder.rglob("*"))
    project = tmp_path / "project"
    options = ["--topics", PHOTOGRAPHS, "--labels", "parent", "--jobs", "2", "--json"]
    done = hooked(NO_NETWORK, "run", small_folder, "-o", project, *options, ATTEMPTS=str(attempts))

    assert done.returncode == 0, done.stderr
    assert not attempts.exists(), "it went to the network"
    assert done.stdout.count("\n") == 1, "stdout is the result alone"
    result = json.loads(done.stdout.splitlines()[-1])
    assert list(result) == ["images", "grouped", "skipped", "topics", "words", "seconds"]
    assert result["images"] == PHOTOGRAPHS * CROPS == result["grouped"] + result["skipped"]
    assert list(result["seconds"]) == [*STAGES, "total"]
    assert sum(result["seconds"][stage] for stage in STAGES) == pytest.approx(result["seconds"]["total"], abs=0.02)
    for stage in STAGES:
        assert f"\n{stage}" in "\n" + done.stderr, "progress goes to stderr"
    assert "\x1b" not in done.stderr, "no terminal, no escape codes"
    assert (project / "report" / "index.html").stat().st_size > 1000

    assert snapshot(small_folder) == before
    assert sorted(str(path) for path in small_folder.rglob("*")) == listing
    # Another process, two threads instead of one: the same bytes.
    assert contents(project) == contents(small_project)


def test_the_network_would_be_noticed(hooked, tmp_path):
    hook = (
        NO_NETWORK + "import urllib.request\ntry: urllib.request.urlopen('http://127.0.0.1:9')\nexcept OSError: pass\n"
    )
    hooked(hook, "--version", ATTEMPTS=str(tmp_path / "attempts"))
    assert (tmp_path / "attempts").exists()


def test_groups_table(small_folder, small_project):
    table = pq.read_table(small_project / "groups.parquet")
    assert table.schema.remove_metadata() == pa.schema(
        [
            ("image_id", pa.string()),
            ("path", pa.string()),
            ("topic", pa.int32()),
            ("probability", pa.float32()),
            ("entropy", pa.float32()),
            ("label", pa.string()),
            ("name", pa.string()),
            ("suggested", pa.string()),
        ]
    )
    names = sorted(path.relative_to(small_folder).as_posix() for path in small_folder.rglob("*.jpg"))
    assert table["path"].to_pylist() == names
    assert table["image_id"].to_pylist() == [image_id_of(os.fsencode(name)) for name in names]
    assert table["label"].to_pylist() == [name.split("/")[0] for name in names]
    theta = np.load(small_project / "topics" / "theta.npy")
    assert theta.shape == (len(names), PHOTOGRAPHS)
    np.testing.assert_array_equal(table["topic"].to_numpy(), theta.argmax(axis=1))
    np.testing.assert_allclose(table["probability"].to_numpy(), theta.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["entropy"].to_numpy(), -(theta * np.log(theta)).sum(axis=1), atol=1e-6)
    assert pq.read_table(small_project / "skipped.parquet").num_rows == 0


def test_groups_recover_the_photographs(small_project):
    """The route works end to end: crops of one photograph come together."""
    assert pipeline.evaluate(small_project).scores["acc"] >= 0.95


def test_every_token_has_a_place(small_project):
    """As many words and sampled topics as keypoints, modality by modality, image by image."""
    from fastvbow.pipeline.encoding import open_tokens
    from fastvbow.pipeline.extraction import open_shards
    from fastvbow.project import ProjectFolder

    project = ProjectFolder.open(small_project)
    for index, (shard, tokens) in enumerate(zip(open_shards(project), open_tokens(project), strict=True)):
        for column, name in enumerate(["sift", "conv"]):
            np.testing.assert_array_equal(np.diff(shard.offsets(name)), tokens.counts[:, column])
            assert len(shard.keypoints(name)) == tokens.counts[:, column].sum()
        z = np.load(small_project / "topics" / "z" / f"shard-{index:05d}.npy")
        assert z.shape == tokens.words.shape
        assert z.max() < PHOTOGRAPHS


def test_stages_one_by_one_leave_what_run_leaves(sift_folder, sift_project, cli, tmp_path):
    project = tmp_path / "project"
    for words in (
        ["extract", sift_folder, "-o", project, "--features", "sift"],
        ["vocabulary", project, "--words", "60"],
        ["encode", project],
        ["topics", project, "--topics", "4", "--sweeps", "40"],
        ["groups", project],
        ["report", project],
    ):
        outcome = cli(*words, "--json")
        assert outcome.code == 0, outcome.err
        card = json.loads(outcome.out)
        assert card["stage"] == words[0]
        assert card["seconds"] >= 0
    assert contents(project) == contents(sift_project)
    assert (project / "report" / "index.html").read_bytes()
    outcome = cli("run", sift_folder, "-o", project, *SIFT)
    assert outcome.err.count("stands from an earlier call") == len(STAGES), "run accepts what the stages left"


@pytest.mark.parametrize("stage", ["vocabulary", "encode", "topics", "groups", "report", "evaluate", "assign"])
def test_a_stage_before_its_predecessor(stage, sift_folder, cli, tmp_path):
    project = tmp_path / "project"
    if stage != "vocabulary":
        assert cli("extract", sift_folder, "-o", project, "--features", "sift", "--keypoints", 9).code == 0
    more = [sift_folder, "-o", tmp_path / "out.parquet"] if stage == "assign" else []
    outcome = cli(stage, project, *more)
    assert outcome.code == 1
    assert "fastvbow run" in outcome.complaint
    assert outcome.out == ""


def test_a_stage_that_is_behind_its_predecessor(sift_copy, cli):
    assert cli("topics", sift_copy, "--topics", "3", "--sweeps", "5").code == 0
    assert "older than 'topics'" in cli("report", sift_copy).complaint
    assert cli("groups", sift_copy).code == 0
    assert cli("report", sift_copy).code == 0


def test_run_from_python(sift_folder, tmp_path, recorder):
    result = pipeline.run(
        sift_folder,
        tmp_path / "project",
        extract_config=ExtractConfig(features=("sift",), keypoints=60),
        vocabulary_config=VocabularyConfig(words=30),
        topics_config=TopicsConfig(topics=3, sweeps=8),
        jobs=2,
        listener=recorder,
    )
    assert (result.images, result.grouped, result.skipped, result.topics, result.words) == (20, 20, 0, 3, 30)
    assert result.page == tmp_path / "project" / "report" / "index.html"
    assert recorder.stages("begin") == recorder.stages("end") == STAGES
    steps = [event for event in recorder.events if event.kind == "step"]
    assert {event.stage for event in steps} == {"extract", "encode", "topics", "report"}
    for stage in ("extract", "topics"):
        counted = [event.done for event in steps if event.stage == stage]
        total = steps[[event.stage for event in steps].index(stage)].total
        assert counted == list(range(1, total + 1))


def test_output_may_lie_in_the_working_folder(sift_folder, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("run", sift_folder, "-o", "project", *SIFT)
    assert outcome.code == 0
    page = Path("project", "report", "index.html")
    assert f"report: {page}" in outcome.out
    # Moved, and looked at from elsewhere, it still knows where its report lies.
    (tmp_path / "project").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    outcome = cli("run", sift_folder, "-o", tmp_path / "moved", *SIFT)
    assert f"report: {tmp_path / 'moved' / 'report' / 'index.html'}" in outcome.out
    assert outcome.err.count("stands from an earlier call") == len(STAGES)


def test_what_is_imported_meanwhile_ends_with_the_route(monkeypatch):
    """Amid an import that goes on the route fails: no daemon, which Python's end would abort amid C++; and no more."""
    begun, go_on, asked = threading.Event(), threading.Event(), []

    class Slow:
        def __getattr__(self, name):
            asked.append(name)
            begun.set()
            go_on.wait(10)

    monkeypatch.setattr(route, "pipeline", Slow())
    with pytest.raises(OSError, match="disk"), route._later_stages_imported():
        assert begun.wait(10)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "fastvbow-imports"]
        raise OSError("disk")
    assert thread.is_alive() and not thread.daemon
    go_on.set()
    thread.join(10)
    assert not thread.is_alive() and len(asked) == 1
