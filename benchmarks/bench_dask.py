"""The route on Dask beside processes of this machine: what Dask costs, what a second worker brings, what travels.

    python benchmarks/bench_dask.py [--quick] [--copies N] [--merge-every N] [--only overhead,scaling,traffic,model]
                                    [--costs COSTS.json]

Photographs of sun8, 1600 in its own shards of 32. With ``--copies 8`` each is there eight times, in shards of 256, so
that each of the eight walks has as many photographs as sun8. Workers are processes with one thread; they, the pools and
the cluster are started and have done a first task before the clock. Both sides of a comparison take turns and medians
count.
*Processes* are a ``ProcessPoolExecutor`` that is handed to the same functions: what is compared is Dask, not fastvbow.
*traffic* wants network namespaces (root, on Linux): a scheduler and two workers on hosts of their own, whose network
cards count the bytes. *model* measures what `cluster_model` wants to know with one worker, and holds what it foretells
of 2 and 4 workers against runs; ``--costs`` is where the costs are written.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Check, alternated, table, time_text
from cluster_model import Cluster, Costs, simulated
from descriptors import data_folder
from distributed import Client, get_task_stream

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.dask_cluster import dask_executor
from fastvbow.events import Event
from fastvbow.executors import client_of
from fastvbow.pipeline.shards import ranges_of
from fastvbow.project import ProjectFolder
from fastvbow.topics import GibbsLDA

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from counting import CountingExecutor
from hosts import hosts, why_not

OVERHEAD = 0.10
# Seconds of the driver a photograph, measured with 10^6 simulated ones: a small project shows only what is fixed.
GROUPS = 7e-6
MODELLED = ("extract", "encode", "topics")
QUICK = 320
MERGE_EVERY = TopicsConfig().merge_every
_OUTPUTS = {
    "extract": "features",
    "vocabulary": "vocabulary",
    "encode": "tokens",
    "topics": "topics",
    "report": "report",
}


class Route:
    """A project of sun8 whose stages can be done again, one by one."""

    def __init__(self, scratch: Path, quick: bool, copies: int = 1, merge_every: int = MERGE_EVERY) -> None:
        self.photographs, self.project = data_folder() / "sun8", scratch / "project"
        if quick or copies > 1:
            chosen = sorted(self.photographs.rglob("*.jpg"))[:: 1600 // QUICK if quick else 1]
            self.photographs = scratch / "photographs"
            for k in range(copies):
                (self.photographs / f"{k:03d}").mkdir(parents=True)
                for i, path in enumerate(chosen):
                    shutil.copyfile(path, self.photographs / f"{k:03d}" / f"{i:04d}.jpg")
        self.sweeps, self.merge_every = 20 if quick else 100, merge_every
        pipeline.run(self.photographs, self.project, topics_config=self.topics)
        self.n_images = int(ProjectFolder.open(self.project).require("extract").outputs["images"])

    @property
    def topics(self) -> TopicsConfig:
        return TopicsConfig(topics=8, sweeps=self.sweeps, walks=8, merge_every=self.merge_every)

    @property
    def exchanges(self) -> int:
        """How often the walks put their counts together: they also do where the likelihood is looked at."""
        last, thin = self.sweeps, GibbsLDA().thin
        return sum((last - n) % self.merge_every == 0 or (last - n) % thin == 0 for n in range(1, last + 1))

    def forget(self, stage: str) -> None:
        """Take a stage's card and output away."""
        (self.project / "stages" / f"{stage}.json").unlink(missing_ok=True)
        shutil.rmtree(self.project / _OUTPUTS[stage], ignore_errors=True)

    def do(self, what: str, executor: Executor | None, jobs: int | None = None) -> float:
        """Seconds of a stage."""
        stage = what.partition(",")[0]
        self.forget(stage)
        if stage == "report":
            pipeline.groups(self.project, by="topics", labels="none")
        how: dict[str, Any] = {"executor": executor, "jobs": jobs}
        start = time.perf_counter()
        if stage == "extract":
            kinds = ("sift",) if what.endswith("SIFT") else ("sift", "cnn")
            pipeline.extract(self.photographs, self.project, ExtractConfig(features=kinds), **how)
        elif stage == "vocabulary":
            train = "all" if what.endswith("all rows") else "sample"
            pipeline.vocabulary(self.project, VocabularyConfig(train=train), **how)
        elif stage == "topics":
            pipeline.topics(self.project, self.topics, **how)
        else:
            getattr(pipeline, stage)(self.project, **how)
        return time.perf_counter() - start


STAGES = ("extract", "vocabulary", "vocabulary, all rows", "encode", "topics", "report")


def ready(seconds: float = 0.2) -> int:
    """A first task: what a worker imports, it imports now."""
    import fastvbow.pipeline.extraction
    import fastvbow.pipeline.topic_modelling  # noqa: F401

    time.sleep(seconds)
    return multiprocessing.current_process().pid or 0


@contextlib.contextmanager
def processes(n: int) -> Iterator[Executor]:
    with ProcessPoolExecutor(n, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(ready, [0.5] * 2 * n))
        yield pool


@contextlib.contextmanager
def dask(n: int) -> Iterator[Executor]:
    """As ``--executor dask`` starts it."""
    with dask_executor(jobs=n, tell=lambda line: None) as executor:
        client_of(executor).run(ready)
        yield executor


def timed(route: Route, what: str, executor: Executor) -> Callable[[int], tuple[float, Any]]:
    return lambda i: (route.do(what, executor), None)


def in_turns(
    route: Route, executors: dict[str, Executor], rounds: int, whats: Sequence[str]
) -> dict[tuple[str, str], list[float]]:
    """Seconds of every stage with every executor; the stages in the order of the route, the executors in turn."""
    found: dict[tuple[str, str], list[float]] = {}
    for what in whats:
        for executor in executors.values():  # files in the cache, kernels compiled
            route.do(what, executor)
        seconds, _ = alternated({name: timed(route, what, e) for name, e in executors.items()}, rounds)
        found |= {(what, name): values for name, values in seconds.items()}
        route.forget(what.partition(",")[0])
        pipeline.run(route.photographs, route.project, topics_config=route.topics)  # as it was
    return found


def overhead(route: Route, rounds: int, whats: Sequence[str], workers: Sequence[int] = (1, 2)) -> list[Check]:
    """Dask beside a pool of as many processes."""
    checks = []
    for n in workers:
        with processes(n) as pool, dask(n) as cluster:
            found = in_turns(route, {"processes": pool, "Dask": cluster}, rounds, whats)
        for what in whats:
            ours, beside = found[what, "Dask"], found[what, "processes"]
            more = float(np.median(np.array(ours) / np.array(beside))) - 1
            seconds, other = float(np.median(ours)), float(np.median(beside))
            name = f"{what}, {n} worker{'s' * (n > 1)}"
            told, target = f"overhead {more:+.1%}", f"<= {OVERHEAD:.0%} more"
            checks.append(
                Check(name, seconds, f"processes {time_text(other)}", 1 / (1 + more), told, target, more <= OVERHEAD)
            )
    return checks


def scaling(route: Route, rounds: int, whats: Sequence[str]) -> list[Check]:
    """Two workers beside one."""
    checks = []
    with dask(1) as one, dask(2) as two:
        found = in_turns(route, {"one": one, "two": two}, rounds, whats)
    for what in whats:
        gain = float(np.median(np.array(found[what, "one"]) / np.array(found[what, "two"])))
        seconds, other = (float(np.median(found[what, n])) for n in ("two", "one"))
        checks.append(Check(f"{what}, 2 workers", seconds, f"1 worker {time_text(other)}", gain))
    return checks


def _received(link: str) -> tuple[int, int]:
    """Bytes to and from the host behind a link, by its network card."""
    told = json.loads(subprocess.run(["ip", "-j", "-s", "link", "show", link], capture_output=True, check=True).stdout)
    stats = told[0]["stats64"]
    return int(stats["tx"]["bytes"]), int(stats["rx"]["bytes"])


def traffic(route: Route) -> list[str]:
    """What the network cards of two hosts count."""
    if reason := why_not():
        return [f"not measured: {reason}"]
    lines = ["| stage | seconds | to the workers | from them | |", "|---|---|---|---|---|"]
    with hosts(2) as cluster, Client(cluster.scheduler, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        executor = client.get_executor(retries=3)
        client.run(ready)

        def counted(seconds: Callable[[], float]) -> tuple[float, int, int]:
            before = [_received(link) for link in cluster.links]
            spent = seconds()
            after = [_received(link) for link in cluster.links]
            to, back = (sum(a[k] - b[k] for a, b in zip(after, before, strict=True)) for k in (0, 1))
            return spent, to, back

        def slept() -> float:
            time.sleep(5.0)
            return 5.0

        _, *idle = counted(slept)  # heartbeats
        for what in STAGES:
            spent, to, back = counted(lambda what=what: route.do(what, executor))
            down, up = (max(0.0, n - spent / 5.0 * quiet) for n, quiet in zip((to, back), idle, strict=True))
            each = f"{(down + up) / route.n_images:.0f} bytes a photograph"
            if what == "topics":
                each += f", {(down + up) / route.sweeps / 1e3:.0f} kB a sweep of {route.topics.walks} walks"
            lines.append(f"| {what} | {spent:.1f} | {down / 1e3:.0f} kB | {up / 1e3:.0f} kB | {each} |")
    return lines


Tasks = list[tuple[str, float]]  # the name of a task's function, and its seconds, in the order in which they began


def model(route: Route, rounds: int, out: Path | None) -> list[Check]:
    """Costs with one worker; what the model makes of them for 2 and 4, beside runs."""
    checks: list[Check] = []
    tasks: dict[str, Tasks] = {}
    seconds: dict[int, dict[str, float]] = {}
    for n in (1, 2, 4):
        seconds[n] = {}
        with dask(n) as executor:
            for what in MODELLED:
                route.do(what, executor)
                spent, streams = [], []
                for _ in range(rounds):
                    with get_task_stream(executor._client) as stream:
                        spent.append(route.do(what, executor))
                    streams.append(_tasks(stream.data))
                middle = int(np.argsort(spent)[len(spent) // 2])
                seconds[n][what] = spent[middle]
                if n == 1:
                    tasks[what] = streams[middle]
    parts = _parts(route)
    for what in MODELLED:
        batches = _rounds(tasks[what], parts, route.exchanges)
        driver = max(0.0, seconds[1][what] - sum(map(sum, batches)))  # and what Dask takes
        for n in (1, 2, 4):
            cluster = Cluster(n, multiprocessing.cpu_count(), dispatch=0.0)
            foretold = driver + sum(simulated(batch, cluster) for batch in batches)
            ratio = foretold / seconds[n][what]
            name = f"{what}, {n} worker{'s' * (n > 1)}"
            told = "what the driver and Dask take is taken from it" if n == 1 else f"off by {ratio - 1:+.0%}"
            checks.append(Check(name, seconds[n][what], f"foretold {time_text(foretold)}", ratio, told))
    if out is not None:
        out.write_text(json.dumps(asdict(_costs(route, tasks)), indent=1) + "\n")
    return checks


def _tasks(events: Any) -> Tasks:
    """What Dask says of the tasks that it did."""
    found = []
    for event in events:
        for part in event["startstops"]:
            if part["action"] == "compute":
                name = str(event["key"]).rpartition("-")[0] or str(event["key"])
                found.append((part["start"], name.partition("-")[0], part["stop"] - part["start"]))
    return [(name, seconds) for _, name, seconds in sorted(found)]


def _parts(route: Route) -> dict[str, int]:
    """Into how much work can be parted that one worker is handed together (`fastvbow.portions`), by its function."""
    shards = len(ranges_of(ProjectFolder.open(route.project).require("extract").outputs))
    of_shards = ("encode_tokens", "embed_shard", "assign_shard", "infer_shard", "_measure")
    of_walks = ("draw_topics", "sample_walk")
    return dict.fromkeys(of_shards, shards) | dict.fromkeys(of_walks, route.topics.walks)


def _rounds(tasks: Tasks, parts: dict[str, int], exchanges: int) -> list[list[float]]:
    """Tasks of one function in a row can be done side by side, but for those of different exchanges; others wait for
    them."""
    in_one = max(1, round(sum(name == "sample_walk" for name, _ in tasks) / exchanges))
    found = []
    for name, run in itertools.groupby(tasks, key=lambda task: task[0]):
        seconds = [each for _, each in run]
        size = in_one if name == "sample_walk" else len(seconds)
        for begin in range(0, len(seconds), size):
            batch = seconds[begin : begin + size]
            found.append([sum(batch) / parts[name]] * parts[name] if name in parts else batch)
    return found


def _costs(route: Route, tasks: dict[str, Tasks]) -> Costs:
    """What `cluster_model` wants to know, of this project and machine."""
    project, n = ProjectFolder.open(route.project), route.n_images
    extracted, encoded = project.require("extract").outputs, project.require("encode").outputs
    descriptors = sum(int(v) for k, v in extracted.items() if k in ("sift features", "conv features"))
    passes: list[Event] = []

    def listener(event: Event) -> None:
        if event.unit == "passes":
            passes.append(event)

    with dask(1) as executor:
        counting = CountingExecutor(executor)
        route.do("extract", counting)
        route.forget("vocabulary")
        with get_task_stream(executor._client) as stream:
            pipeline.vocabulary(route.project, VocabularyConfig(train="all"), executor=executor, listener=listener)
    pipeline.run(route.photographs, route.project, topics_config=route.topics)  # as it was

    def taken(what: str, *names: str) -> float:
        return sum(seconds for name, seconds in tasks[what] if not names or name in names)

    return Costs(
        extract=taken("extract") / n,
        encode=taken("encode") / n,
        infer=taken("topics", "infer_shard") / n,
        sweep=taken("topics", "sample_walk") / route.sweeps / float(encoded["tokens"]),
        kmeans=sum(seconds for _, seconds in _tasks(stream.data)) / len(passes) / descriptors,
        passes=len(passes),
        groups=GROUPS,
        fixed=5.0,
        tokens=float(encoded["tokens"]) / n,
        descriptors=descriptors / n,
        photograph=_size(route.photographs) / n,
        features=_size(project.features) / n,
        traffic_extract=(sum(counting.tasks) + sum(counting.results)) / n,
        traffic_encode=1000.0,
        traffic_sweep=4.0 * 300 * 20 + 1000.0,
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--merge-every", type=int, default=MERGE_EVERY, help="sweeps of the topics")
    parser.add_argument("--only", default="overhead,scaling,traffic,model")
    parser.add_argument("--stages", default=";".join(STAGES), help="with semicolons between them")
    parser.add_argument("--workers", default="1,2", help="of the overhead")
    parser.add_argument("--rounds", type=int, default=0, help="0: 5, with --quick 2")
    parser.add_argument("--costs", type=Path)
    given = parser.parse_args()
    rounds, whats = given.rounds or (2 if given.quick else 5), given.stages.split(";")
    with tempfile.TemporaryDirectory() as scratch:
        route = Route(Path(scratch), given.quick, given.copies, given.merge_every)
        for name in given.only.split(","):
            print(f"\n## {name}\n")
            if name == "traffic":
                print("\n".join(traffic(route)))
            elif name == "model":
                print("\n".join(table(model(route, rounds, given.costs))))
            elif name == "scaling":
                print("\n".join(table(scaling(route, rounds, whats))))
            else:
                workers = [int(n) for n in given.workers.split(",")]
                print("\n".join(table(overhead(route, rounds, whats, workers))))


if __name__ == "__main__":
    main()
