"""Reports whose photographs are decoded by other processes: the same files."""

from __future__ import annotations

import os
import shutil
import signal
import threading

import cloudpickle
import numpy as np
import pytest
from conftest import snapshot
from counting import CountingExecutor

from fastvbow import pipeline
from fastvbow.cancelling import cancelling
from fastvbow.errors import Cancelled
from fastvbow.pipeline import reporting
from fastvbow.project import ProjectFolder
from fastvbow.report import pieces


def report_of(project, **how):
    """The bytes of each file of a report made anew."""
    (project / "stages" / "report.json").unlink(missing_ok=True)
    card = pipeline.report(project, layout="pca", **how)
    left = [path.name for path in project.iterdir() if path.name.startswith(".pieces")]
    return {name: data for name, (_, data) in snapshot(project / "report").items()}, card, left


@pytest.fixture(scope="module")
def own(small_project, tmp_path_factory):
    """A project and the photographs that it is of, which a test may take away."""
    folder = tmp_path_factory.mktemp("own")
    source, project = folder / "photographs", shutil.copytree(small_project, folder / "project")
    opened = ProjectFolder.open(project)
    shutil.copytree(opened.source, source)
    manifest = project / "project.json"
    manifest.write_text(manifest.read_text().replace(opened.source.as_uri(), source.resolve().as_uri()))
    return source, project


@pytest.fixture(scope="module")
def wanted(own):
    return report_of(own[1], jobs=1)[0]


def test_processes_make_the_same_report(own, wanted, pool):
    found, _, left = report_of(own[1], jobs=2, executor=pool)
    assert found == wanted and not left


def test_dask_makes_the_same_report_and_no_pixel_travels(own, wanted, client):
    executor, steps = CountingExecutor(client.get_executor(retries=3)), []
    found, _, left = report_of(
        own[1], executor=executor, listener=lambda event: steps.append(event.done) if event.kind == "step" else None
    )
    assert found == wanted and not left
    assert steps == [*range(1, 61)]
    assert len(executor.tasks) == 8
    # eight photographs of a task, with patches of up to a dozen words each
    assert max(executor.tasks) < 8 * 1500
    assert max(executor.results) < 100


def test_a_photograph_takes_little_on_the_wire(own):
    """Beside the code's names what is sent grows by the path of a photograph, not by the table that it is in."""
    from fastvbow.images.table import ImageTable

    opened = ProjectFolder.open(own[1])
    images = ImageTable.load(opened.images, opened.image_root)
    read = reporting._Photographs(images, np.arange(len(images)))
    sizes = [len(cloudpickle.dumps(read.some(range(n)))) for n in (10, 60)]
    assert (sizes[1] - sizes[0]) / 50 < 200


def test_photographs_that_are_gone(own, client):
    source, project = own
    gone = sorted(source.rglob("*.jpg"))[7]
    kept = gone.read_bytes()
    gone.unlink()
    try:
        said = []
        here, card, _ = report_of(project, jobs=1, listener=said.append)
        there, other, left = report_of(project, executor=client.get_executor(), listener=said.append)
    finally:
        gone.write_bytes(kept)
    assert card.outputs["missing"] == other.outputs["missing"] == 1
    assert there == here and not left
    warnings = [event.message for event in said if event.kind == "warning"]
    assert len(warnings) == 2 and warnings[0] == warnings[1] and gone.name in warnings[0]


def test_a_worker_that_dies_meanwhile(own, wanted, client):
    """The first finished run of photographs is the sign: seven more are under way or waiting."""
    pids = client.run(os.getpid)
    killed = []

    def listener(event):
        if event.kind == "step" and not killed:
            killed.append(pids[min(pids)])
            os.kill(killed[0], signal.SIGKILL)

    found, _, left = report_of(own[1], executor=client.get_executor(retries=3), listener=listener)
    assert killed and found == wanted and not left
    client.wait_for_workers(len(pids))
    assert killed[0] not in client.run(os.getpid).values()


def test_a_task_done_twice_leaves_the_same_file(own, tmp_path):
    from fastvbow.images.table import ImageTable
    from fastvbow.places import SharedFolder
    from fastvbow.report.sprites import cut_sprite
    from fastvbow.report.thumbnails import cut_thumbnail

    opened = ProjectFolder.open(own[1])
    images = ImageTable.load(opened.images, opened.image_root)
    read = reporting._Photographs(images, np.arange(len(images))).some([3, 50])
    task = pieces.CutTask(SharedFolder(tmp_path), "x/0.safetensors", read, (((0, cut_thumbnail),), ((1, cut_sprite),)))
    results, files = [], []
    for _ in range(2):
        results.append(pieces.cut_photographs(task))
        files.append((tmp_path / "x" / "0.safetensors").read_bytes())
    assert results == [(), ()] and files[0] == files[1]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["0.safetensors"]


def test_it_can_be_cancelled(own, wanted, client):
    project, stop = own[1], threading.Event()
    before = {name: data for name, (_, data) in snapshot(project / "report").items()}
    with pytest.raises(Cancelled), cancelling(stop):
        report_of(project, executor=client.get_executor(), listener=lambda event: event.kind == "step" and stop.set())
    assert {name: data for name, (_, data) in snapshot(project / "report").items()} == before
    assert report_of(project, executor=client.get_executor())[0] == wanted
