"""Shards of features as tasks that may be done anywhere: in a process of this machine, or on a worker of Dask."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastvbow.config import ExtractConfig
from fastvbow.dask_cluster import memory_limit
from fastvbow.errors import Cancelled, ClusterError
from fastvbow.executors import one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.features.writer import has_key
from fastvbow.images.table import ImageTable
from fastvbow.memory import physical_memory
from fastvbow.pipeline.shard_work import Done, ShardTask, Worker, Workshop
from fastvbow.project import fingerprint_of

__all__ = ["Making", "RemoteShard", "Tally", "extract_shard", "start_process"]

_KINDS = 8  # of reasons that a tally tells apart
_SPARE = 1  # workshops that are kept though nobody is at work in them


@dataclass(frozen=True)
class Making:
    """How shards are made; the same for all of a call.

    Attributes
    ----------
    config : ExtractConfig
    parameters : mapping
        See `fastvbow.pipeline.describing.parameters_of`.
    device : str
    retry : bool
    batch : int
        See `Workshop`.
    n_bytes : int
        What decoded images may take at once in a process; 0: half of what a Dask worker may use, or, where it has no
        limit or is no such worker, half of the machine's memory shared by so many.
    sharing : int
        Processes on a machine.
    vectors : tuple of (str, int) or None
        The name, in the project, of a file of embeddings in the order of the images, and how many numbers each has.
    """

    config: ExtractConfig
    parameters: Mapping[str, Any]
    device: str
    retry: bool = False
    batch: int = 0
    n_bytes: int = 0
    sharing: int = 1
    vectors: tuple[str, int] | None = None


@dataclass(frozen=True)
class RemoteShard:
    """A shard to make somewhere: some 60 bytes an image, 3 kB and the length of their paths.

    Attributes
    ----------
    shard : ShardTask
    how : Making
    earlier : tuple of str
        Names of shards, in the project, whose features may be taken over.
    """

    shard: ShardTask
    how: Making
    earlier: tuple[str, ...] = ()


@dataclass
class Tally:
    """What became of images: below 2 kB, however many there are.

    Attributes
    ----------
    n_images : int
    n_bytes : int
        Read of their files.
    taken : int
        Images that were described from earlier shards alone.
    reasons : Counter of str to int
        How many are skipped, for the most frequent reasons.
    """

    n_images: int = 0
    n_bytes: int = 0
    taken: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, image: Done) -> None:
        """Count an image."""
        self.n_images += 1
        self.n_bytes += image.n_bytes
        self.taken += image.reason is None and not image.n_bytes
        if image.reason is not None:
            self.reasons[image.reason] += 1

    def to_send(self) -> Tally:
        """The same with few reasons, each a line of 160 letters at most."""
        most = self.reasons.most_common(_KINDS)
        few = Counter({reason[:160]: n for reason, n in most})
        if rest := self.reasons.total() - sum(n for _, n in most):
            few["other reasons"] += rest
        return Tally(self.n_images, self.n_bytes, self.taken, few)


def extract_shard(task: RemoteShard) -> Tally:
    """Make a shard, unless it stands already; what became of its images.

    Parameters
    ----------
    task : RemoteShard

    Raises
    ------
    Cancelled
        The call that the task belongs to has ended.
    ClusterError
        The images are not to be seen from here.
    """
    shard, how = task.shard, task.how
    place = shard.place
    if shard.mark is not None:
        shard.mark.check(place)
    standing = _standing(shard)
    if standing is not None:
        return standing
    _check_source(shard.table)
    earlier = [place.fetch(name) for name in task.earlier]
    vectors = None if how.vectors is None else (place.fetch(how.vectors[0]), how.vectors[1])
    n_bytes = how.n_bytes or (memory_limit() or physical_memory() // how.sharing) // 2
    over = shard.mark.watch(place) if shard.mark is not None else lambda: False
    found = Tally()
    with (
        one_thread_each(),
        _workshop(how, n_bytes) as shop,
        closing(Worker(shop, how.parameters, earlier, how.retry, vectors)) as worker,
    ):
        if not worker.work(shard, found.add, lambda: _ended() or over()):
            raise Cancelled("the call that this task belongs to has ended")
        worker.finish()
    return found.to_send()


def _standing(shard: ShardTask) -> Tally | None:
    """What became of the images, where another worker has made the shard, or this one whose answer was lost."""
    try:
        if not has_key(shard.place.fetch(f"{shard.name}/card.json").parent, shard.key):
            return None
        found = FeatureShard(shard.place.fetch(shard.name))
    except FileNotFoundError:
        return None
    return Tally(found.card.n_images, 0, 0, found.skipped).to_send()


def _check_source(table: ImageTable) -> None:
    """Else a machine without the source would find that none of its photographs can be read."""
    if b"://" not in table.root and not os.path.isdir(table.root):  # noqa: PTH112 - bytes
        raise ClusterError(
            f"{socket.gethostname()} (process {os.getpid()}) does not see the folder of the photographs, "
            f"{os.fsdecode(table.root)}: all workers have to see it at this path"
        )


@dataclass
class _Used:
    shop: Workshop
    users: int = 0


_lock = threading.Lock()
_open: OrderedDict[str, _Used] = OrderedDict()


@contextmanager
def _workshop(how: Making, n_bytes: int) -> Iterator[Workshop]:
    """That of this process for such shards: a CNN takes a second to open. Threads and further tasks share it."""
    key = fingerprint_of([how.parameters, repr(how.config), how.device, how.batch, n_bytes])
    with _lock:
        if key not in _open:
            _open[key] = _Used(Workshop(how.config, how.device, n_bytes, how.batch))
        used = _open[key]
        used.users += 1
        _open.move_to_end(key)
        _close_spare()
    try:
        yield used.shop
    finally:
        with _lock:
            used.users -= 1
            _close_spare()


def _close_spare() -> None:
    """Close what nobody uses, but for the one that was wanted last."""
    idle = [key for key, used in _open.items() if not used.users]
    for key in idle[: len(idle) - _SPARE]:
        _open.pop(key).shop.close()


_stop: Any = None
_parent = 0


def start_process(stop: Any) -> None:
    """Make a worker process of this machine ready. Ctrl-C is its parent's business, whose end it does not outlive."""
    global _stop, _parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop, _parent = stop, os.getppid()


def _ended() -> bool:
    """Whether the process that has started this one wants it to stop, or is gone."""
    return _stop is not None and (bool(_stop.value) or os.getppid() != _parent)
