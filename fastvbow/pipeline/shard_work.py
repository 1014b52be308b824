"""The work of one shard of features, wherever it is done."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.config import ExtractConfig
from fastvbow.errors import ImageError
from fastvbow.features.aligned import REASONS, AlignedVectors, as_features
from fastvbow.features.base import Extractor
from fastvbow.features.earlier import EarlierFeatures
from fastvbow.features.store import ImageRecord
from fastvbow.features.writer import ShardWriter, shard_writer
from fastvbow.images.decode import MOST_PIXELS, examine, silence_decoders
from fastvbow.images.header import image_size
from fastvbow.images.table import ImageTable
from fastvbow.marks import Mark
from fastvbow.memory import Allowance
from fastvbow.pipeline.describing import begin_description, decoded_side, make_extractors
from fastvbow.places import Place
from fastvbow.project import STAGES, fingerprint_of

__all__ = ["Done", "ShardTask", "Worker", "Workshop"]

_UNFINISHED = 4  # shards that may wait for the disk
# Between photographs, which empty the caches, each of the small steps would take several times as long: files are read
# and examined so many at a time, and so many written.
_TOGETHER, _TOGETHER_BYTES = 32, 8 << 20


@dataclass(frozen=True)
class ShardTask:
    """A shard to make.

    Attributes
    ----------
    place : Place
        The project.
    name : str
        The shard's in it, such as ``features/shard-00012``.
    key : str
    table : ImageTable
        Its images; their names and ids are not looked at.
    start : int
        The how many-th of all the first of them is.
    mark : Mark or None
        What has to hold when the shard is put in place.
    """

    place: Place
    name: str
    key: str
    table: ImageTable
    start: int
    mark: Mark | None = None


@dataclass(frozen=True)
class Done:
    """An image that is done.

    Attributes
    ----------
    n_bytes : int
        Read of its file; 0 where all was known from an earlier extraction.
    reason : str or None
        Why it is skipped.
    """

    n_bytes: int
    reason: str | None


class _StopError(Exception):
    pass


class Workshop:
    """What is costly to set up and serves all workers of a process: the extractors, and their memory.

    Parameters
    ----------
    config : ExtractConfig
    device : str
    n_bytes : int
        What decoded images may take at once.
    batch : int, default=0
        See `CnnExtractor`.
    """

    def __init__(self, config: ExtractConfig, device: str, n_bytes: int, batch: int = 0) -> None:
        silence_decoders()
        self.config, self.allowance = config, Allowance(n_bytes)
        self.extractors = make_extractors(config, device, batch)

    def close(self) -> None:
        """To be called when nobody works here any more."""
        for extractor in self.extractors:
            extractor.close()


class Worker:
    """Makes shards. It may be shared by threads.

    Parameters
    ----------
    shop : Workshop
    parameters : mapping
        See `fastvbow.pipeline.describing.parameters_of`.
    earlier : sequence of Path, default=()
        Shards whose features may be taken over.
    retry : bool, default=False
        Whether images that were skipped are looked at again.
    vectors : tuple of (Path, int), optional
        A file of embeddings in the order of the images, and how many numbers each has.
    """

    def __init__(
        self,
        shop: Workshop,
        parameters: Mapping[str, Any],
        earlier: Sequence[Path] = (),
        retry: bool = False,
        vectors: tuple[Path, int] | None = None,
    ) -> None:
        self.extractors = shop.extractors
        self._vectors = None if vectors is None else AlignedVectors.open(*vectors)
        self._ahead = max((extractor.ahead for extractor in self.extractors), default=0)
        self._wanted = [m.name for extractor in self.extractors for m in extractor.modalities]
        self._least_side = decoded_side(shop.config)
        kinds = [
            *(extractor.modalities for extractor in self.extractors),
            *([] if self._vectors is None else [self._vectors.modalities]),
        ]
        self._modalities = [m for modalities in kinds for m in modalities]
        self._made_by = {
            m.name: fingerprint_of([STAGES["extract"], known])
            for modalities, known in zip(kinds, parameters.values(), strict=True)
            for m in modalities
        }
        self._earlier, self._retry, self._allowance = EarlierFeatures(earlier), retry, shop.allowance
        self._finisher = ThreadPoolExecutor(1, "fastvbow-finisher")
        self._unfinished: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    def work(self, task: ShardTask, tell: Callable[[Done], object], stop: Callable[[], bool]) -> bool:
        """Write a shard, or nothing, and return False, if `stop` says so; `tell` hears of every image. `finish` is what
        completes it."""
        try:
            with ExitStack() as stack:
                folder = stack.enter_context(task.place.writing(task.name))
                writer = stack.enter_context(
                    shard_writer(folder, task.key, self._modalities, self._made_by, keep_same=True)
                )
                if task.mark is not None:
                    stack.callback(task.mark.check, task.place)
                # All at once: between photographs, which empty the caches, each would take twenty times as long.
                identities = [task.table.identity(index) for index in range(len(task.table))]
                begun: deque[tuple[int, Callable[[], ImageRecord]]] = deque()
                for run in _runs(task.table.sizes.tolist()):
                    looked = [self.look(task.table, i, identities[i], task.start + i) for i in run]
                    for n_bytes, begin in looked:
                        check_cancelled()
                        if stop():
                            raise _StopError
                        begun.append((n_bytes, begin()))
                    self._write(writer, begun, self._ahead, tell)
                self._write(writer, begun, 0, tell)
                self._complete(stack.pop_all())
        except _StopError:
            return False
        return True

    def _complete(self, shard: ExitStack) -> None:
        """Have a shard flushed and renamed in another thread: the disk is waited for while the next one is made."""
        with self._lock:
            self._unfinished.append(self._finisher.submit(shard.close))
            late = self._unfinished.popleft() if len(self._unfinished) > _UNFINISHED else None
        if late is not None:
            late.result()

    def finish(self) -> None:
        """Wait until every shard stands; what went wrong with one is raised."""
        while self._unfinished:
            self._unfinished.popleft().result()

    def close(self) -> None:
        """Wait for the disk, whatever becomes of it; to be called when nobody works any more. The workshop stays."""
        self._finisher.shutdown()
        if self._vectors is not None:
            self._vectors.close()

    def look(
        self, table: ImageTable, index: int, identity: bytes, place: int
    ) -> tuple[int, Callable[[], Callable[[], ImageRecord]]]:
        """Read and examine an image, whose `ImageTable.identity` it is: the bytes read, and what begins to describe it.

        That one returns what waits for the end. The image's embedding, if there are such, stands at `place`.
        """
        vector = None if self._vectors is None else self._vectors.of(place)
        if isinstance(vector, str):  # without it the photograph could not be compared with the others
            return 0, _known(ImageRecord(None, vector, 0, 0, "", identity))
        known = self._earlier.find(identity, {name: self._made_by[name] for name in self._wanted})
        if known is not None and known.reason is not None:
            if not self._retry and known.reason not in REASONS:
                return 0, _known(known)
            known = None
        features = dict(known.features or {}) if known is not None else {}
        todo = self._lacking(features)
        if known is not None and not todo:
            return 0, _known(_with_vector(known, vector))
        n_bytes = 0
        try:
            data = table.read(index)
            n_bytes = len(data)
            content = hashlib.blake2b(data, digest_size=16).hexdigest()
            if known is not None and content != known.content:  # it has changed, though neither its size nor its time
                features, todo = {}, self.extractors
            needed = memory_of(data)
            if needed > self._allowance.n_bytes:
                raise ImageError(f"decoding it takes {needed / 1e6:.0f} MB, more than --max-memory allows")
            examined = examine(data, self._least_side)
        except ImageError as error:
            return n_bytes, _known(ImageRecord(None, error.reason, 0, 0, "", identity))

        def begin() -> Callable[[], ImageRecord]:
            try:
                with self._allowance.take(needed):
                    wait = begin_description(examined, todo)
            except ImageError as error:
                skipped = ImageRecord(None, error.reason, 0, 0, "", identity)
                return lambda: skipped

            def record() -> ImageRecord:
                found = wait()
                described = {**features, **found.features}
                looked = ImageRecord(described, None, found.width, found.height, content, identity)
                return _with_vector(looked, vector)

            return record

        return n_bytes, begin

    def _write(
        self,
        writer: ShardWriter,
        begun: deque[tuple[int, Callable[[], ImageRecord]]],
        left: int,
        tell: Callable[[Done], object],
    ) -> None:
        """Write the first of the images that are begun, but for so many."""
        while len(begun) > left:
            n_bytes, wait = begun.popleft()
            record = wait()
            writer.append(record)
            tell(Done(n_bytes, record.reason))

    def _lacking(self, features: Mapping[str, Any]) -> list[Extractor]:
        return [e for e in self.extractors if any(m.name not in features for m in e.modalities)]


def _known(record: ImageRecord) -> Callable[[], Callable[[], ImageRecord]]:
    """What begins to describe an image of which all is known."""
    return lambda: lambda: record


def _runs(sizes: Sequence[int]) -> Iterator[range]:
    """Images, of so many bytes each, that are looked at together."""
    start = held = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == _TOGETHER or held + size > _TOGETHER_BYTES):
            yield range(start, index)
            start, held = index, 0
        held += max(size, 0)
    yield range(start, len(sizes))


def _with_vector(record: ImageRecord, vector: NDArray[np.float16] | None) -> ImageRecord:
    """A photograph that was read, and its embedding, if there are such."""
    if vector is None:
        return record
    return replace(record, features={**(record.features or {}), **as_features(vector, record.width, record.height)})


def memory_of(data: bytes) -> int:
    """Bytes that decoding an image file takes, about: the file, and its pixels in two orders."""
    width, height = image_size(data) or (0, 0)
    return len(data) + (6 * width * height if width * height <= MOST_PIXELS else 0)  # more than that is refused
