"""The route on hosts of their own: network namespaces that share the file system, and cables that can be pulled."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from conftest import contents
from hosts import Hosts, hosts, why_not

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig

OUT = 2.0  # seconds
CONFIGS = {
    "extract_config": ExtractConfig(features=("sift",)),
    "vocabulary_config": VocabularyConfig(words=60),
    "topics_config": TopicsConfig(topics=4, sweeps=40),
}


@pytest.fixture(scope="module")
def two_hosts() -> Iterator[tuple[Hosts, object]]:
    distributed = pytest.importorskip("distributed", reason="the tests of Dask want the extra dask")
    if reason := why_not():
        pytest.skip(reason)
    with hosts(2) as found, distributed.Client(found.scheduler, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        yield found, client


def address() -> str:
    told = subprocess.run(["ip", "-o", "addr", "show", "eth0"], capture_output=True, text=True, check=True).stdout
    return told.split()[3]


def test_they_are_other_hosts(two_hosts):
    found, client = two_hosts
    addresses = set(client.run(address).values())
    assert len(addresses) == 2
    behind = sorted(client.nthreads())[0].removeprefix("tcp://").partition(":")  # the first cable's
    end = behind[0], int(behind[2])
    socket.create_connection(end, timeout=1).close()
    found.cut(0)
    try:
        with pytest.raises(OSError, match=r"timed out|No route"):
            socket.create_connection(end, timeout=1)
    finally:
        found.mend(0)


def test_the_route(two_hosts, sift_folder, sift_project, tmp_path):
    _, client = two_hosts
    pipeline.run(sift_folder, tmp_path / "project", executor=client.get_executor(retries=3), **CONFIGS)
    assert contents(tmp_path / "project") == contents(sift_project)


def test_cables_are_pulled_for_a_while(two_hosts, sift_folder, sift_project, tmp_path):
    """Nothing is lost: what was on its way comes when they are in again."""
    found, client = two_hosts
    timers: list[threading.Timer] = []

    def mend() -> None:
        found.mend(0)
        found.mend(1)

    def listener(event) -> None:
        if event.kind == "begin" and event.stage in {"encode", "topics"}:
            found.cut(0)
            found.cut(1)
            timers.append(threading.Timer(OUT, mend))
            timers[-1].start()

    start = time.monotonic()
    pipeline.run(
        sift_folder, tmp_path / "project", executor=client.get_executor(retries=3), listener=listener, **CONFIGS
    )
    took = time.monotonic() - start
    for timer in timers:
        timer.join()
    assert len(timers) == 2
    assert took > 2 * OUT, "both stages have waited"
    assert contents(tmp_path / "project") == contents(sift_project)
