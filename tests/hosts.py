"""Hosts of their own on one machine: network namespaces behind a bridge, with a Dask scheduler and a worker in each.

They share the file system, as nodes of a cluster do, and nothing else: a worker reaches the scheduler and its peers
through the bridge alone, so that a link can be cut.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Hosts", "hosts", "why_not"]

_READY = 60.0  # seconds


def why_not() -> str:
    """Why hosts cannot be had here, or ""."""
    if not shutil.which("ip"):
        return "network namespaces want the program ip (iproute2)"
    name = f"fv{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass
class Hosts:
    """A cluster on hosts.

    Attributes
    ----------
    scheduler : str
        Its address.
    links : list of str
        The bridge's end of each worker's cable.
    workers : list of subprocess.Popen
    """

    scheduler: str
    links: list[str]
    workers: list[subprocess.Popen]

    def cut(self, number: int) -> None:
        """Pull a worker's cable."""
        _ip("link", "set", self.links[number], "down")

    def mend(self, number: int) -> None:
        """Plug it in again."""
        _ip("link", "set", self.links[number], "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def hosts(n_workers: int = 2) -> Iterator[Hosts]:
    """A scheduler on this host's bridge, and a worker with one thread on each of `n_workers` others."""
    tag, net = uuid.uuid4().hex[:6], f"10.{os.getpid() % 200 + 20}.{int(time.time()) % 250}"
    bridge, names = f"fvb{tag}", [f"fv{tag}{i}" for i in range(n_workers)]
    links, started = [f"fl{tag}{i}" for i in range(n_workers)], []
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for i, (name, link) in enumerate(zip(names, links, strict=True)):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", link, "master", bridge, "up")
            _ip("-n", name, "addr", "add", f"{net}.{i + 2}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", f"{net}.1", "--port", "8786"]
        started.append(_begin([*scheduler, "--no-dashboard", "--no-show"]))
        stack.callback(_end, started)
        workers = [
            _begin(
                ["ip", "netns", "exec", name, sys.executable, "-m", "distributed.cli.dask_worker"]
                + [f"tcp://{net}.1:8786", "--nthreads", "1", "--no-dashboard", "--host", f"{net}.{i + 2}"]
                + ["--nanny", "--memory-limit", "0"]
            )
            for i, name in enumerate(names)
        ]
        started += workers
        yield Hosts(f"tcp://{net}.1:8786", links, workers)


def _begin(command: list[str]) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the tests' own modules too
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=env, start_new_session=True, **quiet)


def _end(processes: list[subprocess.Popen]) -> None:
    for process in reversed(processes):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(timeout=_READY)
