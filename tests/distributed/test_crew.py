"""What workers have to see before the first task, and which of them get what wants a GPU."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import contents

from fastvbow import pipeline
from fastvbow.config import ExtractConfig
from fastvbow.errors import ClusterError, ProviderUnavailableError
from fastvbow.images.sources import scan
from fastvbow.pipeline.crew import Seen, check_crew, look_around, with_gpu
from fastvbow.pipeline.describing import parameters_of
from fastvbow.pipeline.extraction_rounds import _Known, _sift_first
from fastvbow.pipeline.extraction_tasks import Making, extract_shard
from fastvbow.pipeline.shard_work import ShardTask
from fastvbow.places import SharedFolder
from fastvbow.project import ProjectFolder

BOTH = ExtractConfig()


@pytest.fixture
def project(sift_copy) -> ProjectFolder:
    return ProjectFolder.open(sift_copy)


def test_all_is_well(project, sift_folder, client):
    crew = check_crew(client.get_executor(), project, scan(sift_folder), BOTH)
    assert (crew.sharing, crew.device) == (2, "cpu"), "two on this machine, none with a GPU"


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_another_executor_decides_by_itself(device, project, sift_folder):
    from fastvbow.executors import make_executor

    with make_executor(1) as executor:
        assert check_crew(executor, project, scan(sift_folder), BOTH, device).device == device


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"project": "other"}, "sees another project.json"),
        ({"place": SharedFolder("/nowhere")}, "cannot read the project"),
        ({"photograph": "/nowhere/a.jpg"}, "does not see the photographs: /nowhere/a.jpg"),
        ({"model": "efficientnet_lite0_int8", "made_by": "x"}, "has another model efficientnet_lite0_int8"),
        ({"model": "no_such"}, "cannot use the model no_such"),
    ],
)
def test_what_is_wrong_is_named(change, problem, project, tmp_path):
    import hashlib

    if "place" in change:
        change = {"place": SharedFolder(Path("/nowhere"))}
    digest = hashlib.sha256((project.root / "project.json").read_bytes()).hexdigest()
    seen = Seen(project.place, digest)
    assert look_around(seen)["problem"] == ""
    assert problem in look_around(replace(seen, **change))["problem"]


@dataclass(frozen=True)
class _OnlyHere(SharedFolder):
    """The place of a project that no other process sees."""

    pid: int

    def fetch(self, name: str) -> Path:
        if os.getpid() != self.pid:
            raise FileNotFoundError(2, "No such file or directory", name)
        return super().fetch(name)


def test_a_worker_that_does_not_see_the_project(project, client, monkeypatch):
    place = _OnlyHere(project.place.root, os.getpid())
    monkeypatch.setattr(ProjectFolder, "place", property(lambda self: place))
    with pytest.raises(ClusterError, match=r"the worker tcp://\S+ on \S+ cannot read the project"):
        pipeline.extract(
            project.source, project.root, ExtractConfig(features=("sift",), side=200), executor=client.get_executor()
        )


def test_a_source_that_a_task_does_not_see(sift_folder, project, tmp_path):
    """A worker that joins later: its photographs must not count as unreadable ones."""
    gone = shutil.copytree(sift_folder, tmp_path / "gone")
    table = scan(gone)
    shutil.rmtree(gone)
    sift = ExtractConfig(features=("sift",))
    task = ShardTask(project.place, "features/shard-00009", "key", table.to_read(0, 16), 0)
    from fastvbow.pipeline.extraction_tasks import RemoteShard

    with pytest.raises(ClusterError, match="does not see the folder of the photographs"):
        extract_shard(RemoteShard(task, Making(sift, parameters_of(sift), "cpu")))
    assert not (project.features / "shard-00009").exists()


def test_no_worker_has_a_gpu(sift_folder, client, tmp_path):
    with pytest.raises(ClusterError, match="dask worker --resources GPU=1"):
        pipeline.extract(sift_folder, tmp_path / "project", BOTH, device="cuda", executor=client.get_executor())


@pytest.fixture(scope="module")
def mixed(cluster_of):
    """The client of a cluster of a worker without and one with a GPU, as far as Dask knows, and the latter's name."""
    distributed = pytest.importorskip("distributed", reason="the tests of Dask want the extra dask")
    how = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard_address": None}
    workers = {
        "plain": {"cls": distributed.Nanny, "options": how},
        "gpu": {"cls": distributed.Nanny, "options": {**how, "resources": {"GPU": 1}}},
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    with distributed.SpecCluster(workers, scheduler) as cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def where(task: int) -> str:
    from distributed import get_worker

    return str(get_worker().name)


def test_what_wants_a_gpu_goes_where_one_is(mixed):
    executor = mixed.get_executor(retries=1)
    assert set(with_gpu(executor).map(where, range(6))) == {"gpu"}
    assert set(executor.map(where, range(40))) == {"plain", "gpu"}


def test_auto_is_where_the_workers_say(mixed, project, sift_folder):
    table, executor = scan(sift_folder), mixed.get_executor()
    assert check_crew(executor, project, table, BOTH, "auto").device == "cuda"
    assert check_crew(executor, project, table, BOTH, "cpu").device == "cpu"
    assert check_crew(executor, project, table, ExtractConfig(features=("sift",)), "cuda").device == "cpu"


def test_a_gpu_that_is_none(mixed, small_folder, tmp_path):
    """The worker says that it has one: the CNN is opened there alone, and says that it has not. SIFT was made."""
    with pytest.raises(ProviderUnavailableError, match="--device cuda"):
        pipeline.extract(small_folder, tmp_path / "project", BOTH, device="cuda", executor=mixed.get_executor())
    assert list((tmp_path / "project" / "features").glob("stale-sift-*/card.json"))
    pipeline.extract(small_folder, tmp_path / "project", BOTH, device="cpu", executor=mixed.get_executor())
    assert not list((tmp_path / "project" / "features").glob("stale-*"))


def test_sift_first_makes_the_same(mixed, small_folder, small_project, tmp_path):
    """As with CUDA, but for the CNN on the CPU: shards of SIFT, from which those of both kinds take it over."""
    table, parameters = scan(small_folder), parameters_of(BOTH)
    from fastvbow.pipeline.shards import shard_keys, shard_ranges

    ranges, place = shard_ranges(len(table)), SharedFolder(tmp_path)
    keys = shard_keys(table, parameters, ranges)
    tasks = (
        ShardTask(place, f"features/shard-{i:05d}", key, table.to_read(*bounds), bounds[0])
        for i, (key, bounds) in enumerate(zip(keys, ranges, strict=True))
    )
    executor = mixed.get_executor()
    how = Making(BOTH, parameters, "cpu")
    for remote in _sift_first(executor, tasks, how, _Known([]), 4):
        assert remote.earlier[0].startswith("features/stale-sift-")
        tally = with_gpu(executor).submit(extract_shard, remote).result()
        assert (tally.taken, tally.reasons) == (0, {})
    wanted = {n: d for n, d in contents(small_project).items() if n.startswith("features/")}
    assert {n: d for n, d in contents(tmp_path).items() if n.startswith("features/shard")} == wanted
