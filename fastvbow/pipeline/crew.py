"""Before the first task goes to other processes: do they see the project and the photographs, and what are they?"""

from __future__ import annotations

import hashlib
import os
import socket
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastvbow.config import ExtractConfig
from fastvbow.errors import ClusterError, FastvbowError
from fastvbow.executors import client_of, result_of
from fastvbow.features.cnn import cnn_parameters
from fastvbow.features.models import find_model
from fastvbow.images.table import ImageTable
from fastvbow.places import Place
from fastvbow.project import ProjectFolder, fingerprint_of

__all__ = ["GPU", "Crew", "Seen", "check_crew", "look_around", "with_gpu"]

GPU = "GPU"
"""The resource that workers with a GPU are started with."""


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Attributes
    ----------
    sharing : int
        The most processes on a machine.
    device : str
        Where the CNN runs: with Dask no longer ``auto``, since all have to do it alike.
    """

    sharing: int
    device: str


@dataclass(frozen=True)
class Seen:
    """What every worker has to see as the caller does.

    Attributes
    ----------
    place : Place
    project : str
        SHA-256 of ``project.json``.
    photograph : str
        The path of the first photograph, or of what holds it; empty: there is none to look for.
    model, made_by : str
        The CNN's name and the fingerprint of its parameters; empty: there is none.
    """

    place: Place
    project: str
    photograph: str = ""
    model: str = ""
    made_by: str = ""


def look_around(wanted: Seen, dask_worker: Any = None) -> dict[str, Any]:
    """Where this process stands, and what is wrong with what it sees.

    Parameters
    ----------
    wanted : Seen
    dask_worker : distributed.Worker, optional
        Filled in by Dask.
    """
    resources = {} if dask_worker is None else dict(dask_worker.state.total_resources)
    return {"host": socket.gethostname(), "resources": resources, "problem": _problem(wanted)}


def _problem(wanted: Seen) -> str:
    try:
        digest = _digest(wanted.place)
    except OSError as error:
        return f"cannot read the project ({error})"
    if digest != wanted.project:
        return f"sees another project.json in {wanted.place}"
    if wanted.photograph and not Path(wanted.photograph).exists():
        return f"does not see the photographs: {wanted.photograph} is not there"
    if wanted.model:
        try:
            if fingerprint_of(cnn_parameters(find_model(wanted.model))) != wanted.made_by:
                return f"has another model {wanted.model}"
        except FastvbowError as error:
            return f"cannot use the model {wanted.model} ({error})"
    return ""


def _digest(place: Place) -> str:
    return hashlib.sha256(place.fetch("project.json").read_bytes()).hexdigest()


def check_crew(
    executor: Executor,
    project: ProjectFolder,
    table: ImageTable | None = None,
    config: ExtractConfig | None = None,
    device: str = "auto",
) -> Crew:
    """Make sure that other processes can do the work: all workers of Dask, or one process of another executor.

    Parameters
    ----------
    executor : Executor
    project : ProjectFolder
    table : ImageTable, optional
        Photographs that they have to see.
    config : ExtractConfig, optional
        What they have to describe these by.
    device : {"auto", "cpu", "cuda"}, default="auto"
        ``auto`` is ``cuda`` where Dask has workers with the resource ``GPU``, and ``cpu`` on all others.

    Raises
    ------
    ClusterError
        A worker does not see the project, the photographs or the model, or none has a GPU that is asked for.
    """
    with_cnn = config is not None and "cnn" in config.features
    wanted = Seen(
        project.place,
        _digest(project.place),
        "" if table is None else _photograph(table),
        config.model if config is not None and with_cnn else "",
        fingerprint_of(cnn_parameters(find_model(config.model))) if config is not None and with_cnn else "",
    )
    client = client_of(executor)
    if client is None:
        found = {"a process of the executor": result_of(executor.submit(look_around, wanted))}
    else:
        found = client.run(look_around, wanted, on_error="return")
        found = {worker: seen for worker, seen in found.items() if not isinstance(seen, OSError)}  # it has just died
    for worker, seen in found.items():
        problem = seen["problem"] if isinstance(seen, Mapping) else f"cannot be asked ({seen})"
        if problem:
            where = f" on {seen['host']}" if isinstance(seen, Mapping) else ""
            raise ClusterError(
                f"the worker {worker}{where} {problem}: all workers have to see the project, the photographs and the "
                "models as this process does, at the same paths"
            )
    sharing = max(Counter(seen["host"] for seen in found.values()).values(), default=1)
    if client is None:
        return Crew(os.cpu_count() or 1, device)
    gpus = [worker for worker, seen in found.items() if seen["resources"].get(GPU, 0) >= 1]
    if device == "auto" or not with_cnn:
        return Crew(sharing, "cuda" if gpus and with_cnn and device != "cpu" else "cpu")
    if device == "cuda" and found and not gpus:
        raise ClusterError(
            f"--device cuda: none of the {len(found)} workers has the resource {GPU}: start those with a GPU by "
            f"'dask worker --resources {GPU}=1', or use --device cpu"
        )
    return Crew(sharing, device)


def with_gpu(executor: Any) -> Executor:
    """The same cluster for tasks that want a GPU, one at a time on each.

    Parameters
    ----------
    executor : distributed.cfexecutor.ClientExecutor
    """
    made: Executor = client_of(executor).get_executor(**{**executor._kwargs, "resources": {GPU: 1}})
    return made


def _photograph(table: ImageTable) -> str:
    """The path of the first image, or of the container that it lies in; empty where it is gone already."""
    if not len(table):
        return ""
    places = table.places
    inside = places is not None and not table.is_file(0)
    name = places.containers[places.which[0]] if places is not None and inside else table.raw_paths[0]
    path = os.path.join(table.root, name)  # noqa: PTH118 - bytes
    return os.fsdecode(path) if os.path.exists(path) else ""  # noqa: PTH110 - bytes
