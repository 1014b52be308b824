"""What a run on a cluster takes: hours, memory, disk and traffic, from what a stage costs on one core.

    python benchmarks/cluster_model.py --images 1e8 --cores 1024 --costs COSTS.json

A model, not a measurement. Each stage is rounds (sweeps of the topics, passes of K-Means; one round elsewhere) of equal
tasks, one a shard or a walk. `simulated` plays a round task by task: the scheduler hands them out one by one, workers
take the next when they are free, processors are shared where there are more workers than these. Around it stand what
the driver does by itself, and two roofs under which no number of workers comes: bytes through the driver's network, and
bytes from and to the shared storage. ``bench_dask.py --only model`` measures the costs with one worker, and holds what
the model foretells of 2 and 4 against runs.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fastvbow.config import TopicsConfig

__all__ = ["Cluster", "Costs", "Estimate", "Stage", "planned", "simulated", "stages"]


@dataclass(frozen=True)
class Cluster:
    """Where the work is done.

    Attributes
    ----------
    workers : int
        Threads that work on tasks.
    processors : int
        Cores that they have.
    dispatch : float
        Seconds of the scheduler and the driver a task: none other is handed out meanwhile.
    latency : float
        Seconds from the end of a round to the beginning of the next that nothing can fill.
    network : float
        Bytes a second through the driver.
    storage : float
        Bytes a second from and to the shared storage, over all nodes.
    """

    workers: int
    processors: int
    dispatch: float = 1e-3
    latency: float = 0.02
    network: float = 1e9
    storage: float = 5e9


@dataclass(frozen=True)
class Stage:
    """What has to be done.

    Attributes
    ----------
    name : str
    rounds, tasks : int
        Rounds one after another, of so many tasks each.
    seconds : float
        Of a core, a task.
    driver : float
        Of the driver alone, in all rounds.
    traffic : float
        Bytes between the driver and the workers, a task.
    stored : float
        Bytes read and written on the shared storage, a task.
    kept : float
        Bytes that stay on disk in the end.
    """

    name: str
    rounds: int
    tasks: int
    seconds: float
    driver: float = 0.0
    traffic: float = 0.0
    stored: float = 0.0
    kept: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What a stage takes.

    Attributes
    ----------
    stage : Stage
    seconds : float
    bound : str
        What it waits for most: cores, scheduler, driver, network or storage.
    busy : float
        Part of the workers' time that is work.
    """

    stage: Stage
    seconds: float
    bound: str
    busy: float


@dataclass(frozen=True)
class Costs:
    """Costs on one core of the machine that they were measured on.

    Attributes
    ----------
    extract, encode, infer : float
        Seconds a photograph: its features, its words, its mixture under the finished topics.
    sweep : float
        Seconds a token and sweep.
    kmeans : float
        Seconds a descriptor and round of K-Means over all of them.
    passes : int
        Its rounds.
    groups : float
        Seconds of the driver a photograph: groups and tables.
    fixed : float
        Seconds of the driver in each stage whatever the size.
    tokens, descriptors : float
        Of a photograph.
    photograph, features : float
        Bytes of a photograph's file, and of its features on disk.
    traffic_extract, traffic_encode, traffic_sweep : float
        Bytes between driver and workers: a photograph, a shard, a walk and sweep.
    """

    extract: float
    encode: float
    infer: float
    sweep: float
    kmeans: float
    passes: int
    groups: float
    fixed: float
    tokens: float
    descriptors: float
    photograph: float
    features: float
    traffic_extract: float
    traffic_encode: float
    traffic_sweep: float


def simulated(durations: Sequence[float], cluster: Cluster) -> float:
    """Seconds until all tasks of a round are done.

    Parameters
    ----------
    durations : sequence of float
        Seconds that each task takes on a core of its own, in the order in which they are handed out.
    cluster : Cluster
    """
    now, handed, running, n = 0.0, 0.0, [], 0  # running: a heap of when each would end, on the clock of work done
    work = 0.0  # what each running task has been given so far: they share the processors evenly
    waiting = list(durations)[::-1]
    while waiting or running:
        if waiting and len(running) < cluster.workers:
            handed = max(handed, now) + cluster.dispatch
            until = handed
        else:
            until = math.inf
        rate = min(1.0, cluster.processors / len(running)) if running else 1.0
        end = now + (running[0][0] - work) / rate if running else math.inf
        if end <= until:
            work, now = running[0][0], end
            heapq.heappop(running)
        else:
            work, now = work + (until - now) * rate, until
            n += 1
            heapq.heappush(running, (work + waiting.pop(), n))
    return now


def estimated(stage: Stage, cluster: Cluster) -> Estimate:
    """How long a stage takes."""
    at_once = min(cluster.workers, cluster.processors)
    if stage.tasks <= 200_000:
        one = simulated([stage.seconds] * stage.tasks, cluster)
    else:  # so many that the last few do not count
        one = max(stage.tasks * stage.seconds / at_once, stage.tasks * cluster.dispatch) + stage.seconds
    per_round = {
        "cores": stage.tasks * stage.seconds / at_once,
        "scheduler": stage.tasks * cluster.dispatch,
        "network": stage.tasks * stage.traffic / cluster.network,
        "storage": stage.tasks * stage.stored / cluster.storage,
    }
    round_seconds = max(one, per_round["network"], per_round["storage"]) + cluster.latency
    total = stage.rounds * round_seconds + stage.driver
    parts = {name: stage.rounds * value for name, value in per_round.items()} | {"driver": stage.driver}
    busy = stage.rounds * stage.tasks * stage.seconds / (total * at_once)
    return Estimate(stage, total, max(parts, key=lambda name: parts[name]), busy)


def stages(
    costs: Costs, images: float, *, walks: int, sweeps: int, merge_every: int, train_all: bool = False
) -> list[Stage]:
    """The stages of a run.

    Parameters
    ----------
    costs : Costs
    images : float
    walks, sweeps, merge_every : int
        Of the topics: parts of the corpus, passes over it, and how many of them between two exchanges of counts.
    train_all : bool, default=False
        Learn words from all descriptors; else from a sample, by the driver.
    """
    shards, shard = math.ceil(images / 1024), min(images, 1024.0)
    tokens, rounds = images * costs.tokens, math.ceil(sweeps / merge_every)
    words = [Stage("vocabulary, of a sample", 1, 0, 0.0, costs.fixed)]
    if train_all:
        rows = shard * costs.descriptors
        words = [Stage("vocabulary, of all", costs.passes, shards, rows * costs.kmeans, costs.fixed, 3e4, rows * 128)]
    return [
        Stage(
            "extract",
            1,
            shards,
            shard * costs.extract,
            costs.fixed,
            shard * costs.traffic_extract,
            shard * (costs.photograph + costs.features),
            images * costs.features,
        ),
        *words,
        Stage(
            "encode",
            1,
            shards,
            shard * costs.encode,
            costs.fixed,
            costs.traffic_encode,
            shard * (costs.features + 2 * costs.tokens),
            2 * tokens,
        ),
        Stage(
            f"topics, {sweeps} sweeps",
            rounds,
            walks,
            tokens / walks * costs.sweep * merge_every,
            costs.fixed,
            costs.traffic_sweep,
            tokens / walks * 4,  # words are read, topics of tokens read and written
            tokens,
        ),
        Stage(
            "topics, mixtures", 1, shards, shard * costs.infer, costs.fixed, 1e3, shard * 2 * costs.tokens, images * 160
        ),
        Stage("groups and report", 1, 0, 0.0, costs.fixed + images * costs.groups, 0.0, 0.0, images * 100),
    ]


def planned(costs: Costs, images: float, cluster: Cluster, **how: Any) -> list[Estimate]:
    """What every stage takes; `how` is that of `stages`."""
    return [estimated(stage, cluster) for stage in stages(costs, images, **how)]


def _time(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"


def _bytes(n: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} B"


def lines(found: list[Estimate]) -> list[str]:
    """A table of Markdown."""
    out = [
        "| stage | time | waits for | workers busy | through the driver | storage | kept |",
        "|---|---|---|---|---|---|---|",
    ]
    for e in found:
        s = e.stage
        moved, stored = s.rounds * s.tasks * s.traffic, s.rounds * s.tasks * s.stored
        busy = f"{e.busy:.0%}" if s.tasks else "-"
        cells = (s.name, _time(e.seconds), e.bound, busy, _bytes(moved), _bytes(stored), _bytes(s.kept))
        out.append("| " + " | ".join(cells) + " |")
    out.append(f"| all | {_time(sum(e.seconds for e in found))} | | | | | {_bytes(sum(e.stage.kept for e in found))} |")
    return out


def main() -> None:
    """Print the plan of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=float, default=1e8)
    parser.add_argument("--cores", type=int, default=1024)
    parser.add_argument("--costs", type=Path, required=True, help="what bench_dask.py --only model has written")
    parser.add_argument("--walks", type=int, default=0, help="0: two a core")
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--merge-every", type=int, default=TopicsConfig().merge_every)
    parser.add_argument("--train-all", action="store_true")
    for name in ("dispatch", "latency", "network", "storage"):
        default = next(f.default for f in fields(Cluster) if f.name == name)
        parser.add_argument(f"--{name}", type=float, default=default)
    given = parser.parse_args()
    costs = Costs(**json.loads(given.costs.read_text()))
    how = {name: getattr(given, name) for name in ("dispatch", "latency", "network", "storage")}
    cluster = Cluster(given.cores, given.cores, **how)
    walks = given.walks or 2 * given.cores
    found = planned(
        costs,
        given.images,
        cluster,
        walks=walks,
        sweeps=given.sweeps,
        merge_every=given.merge_every,
        train_all=given.train_all,
    )
    print(f"{given.images:.3g} photographs, {json.dumps(asdict(cluster))}, {walks} walks\n")
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
