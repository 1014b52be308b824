"""Images inside ``.tar`` files, as WebDataset lays them out; read where they lie, never unpacked.

Only the headers are read, a block of 512 bytes at a time: ustar, GNU (long names, sparse files, base 256), pax and V7.
Python's `tarfile` is not used, for it keeps an object a member, believes any length in an extended header, takes a
damaged header for the end, and is several times slower.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fastvbow.errors import EXHAUSTED, NoImagesError, UsageError
from fastvbow.images.decode import open_regular
from fastvbow.images.listing import Listing, is_image_name
from fastvbow.images.table import ImageTable, Places, readable

__all__ = ["SUFFIXES", "find"]

_COMPRESSED = {b".gz": "gunzip", b".tgz": "gunzip", b".bz2": "bunzip2", b".tbz2": "bunzip2", b".xz": "unxz"}
_COMPRESSED |= {b".txz": "unxz", b".zst": "unzstd", b".tzst": "unzstd"}
_MAGIC = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
SUFFIXES: tuple[bytes, ...] = (b".tar", *((b"" if s.startswith(b".t") else b".tar") + s for s in _COMPRESSED))
_BLOCK = 512
_WINDOW = 8192  # bytes read at once: a few headers where members are small, no more of the images else
_LONGEST = 1 << 20  # bytes of an extended header: longer ones are damage, or meant to fill the memory
_LONG_NAME, _LONG_LINK, _PAX, _PAX_SOLARIS, _PAX_GLOBAL, _SPARSE = b"L", b"K", b"x", b"X", b"g", b"S"
_FILES, _LINKS, _FOLDER = (b"0", b"\0", b"7"), (b"1", b"2"), b"5"
_WITHOUT_BYTES = (*_LINKS, b"3", b"4", _FOLDER, b"6")  # whatever size their headers tell


class _DamagedError(Exception):
    """The walk cannot go on; what it found so far stands."""


@dataclass
class _Notes:
    """What was left out, counted by reason, each with its first example."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    n_others: int = 0

    def skip(self, reason: str, container: bytes, name: bytes) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.examples.setdefault(reason, f"{readable(name)!r} in {readable(container)}")

    def sentences(self) -> list[str]:
        skipped = [
            f"{n} members passed over: {why} (the first: {self.examples[why]})" for why, n in self.counts.items()
        ]
        return self.damaged + skipped


def find(listing: Listing) -> ImageTable | None:
    """The images in a ``.tar`` file, or in those of a folder that holds no image files. None: there is no such file.

    Members count by their suffix, as files do. Of a WebDataset sample ``KEY.jpg`` further images as ``KEY.seg.png`` are
    passed over. Of members of one name the last counts, as for tar itself. Links, sparse files, devices and names that
    lead out of the tar are passed over; all this stands in the table's ``warnings``. A member that its tar cuts short
    stays in the table and cannot be read.

    Raises
    ------
    UsageError
        A tar is compressed, or none can be read.
    NoImagesError
        There are no images in them.
    """
    containers = [] if listing.images else listing.with_suffix(SUFFIXES)
    if not containers:
        return None
    packed = listing.with_suffix(tuple(_COMPRESSED))
    if packed and packed[0] in containers:
        _refuse(listing, packed[0], _COMPRESSED[os.path.splitext(packed[0])[1].lower()])
    notes = _Notes(n_others=listing.n_others + len(listing.packed) - (0 if listing.file else len(containers)))
    names: list[bytes] = []
    sizes, offsets, counts, times, wholes = (array("q") for _ in range(5))
    for container in containers:
        members = _Members(container, notes)
        whole, changed = _list(listing, container, members, notes)
        members.finish()
        names += [container + b"/" + name for name in members.names]
        sizes += members.sizes
        offsets += members.offsets
        for column, value in ((counts, len(members.names)), (times, changed), (wholes, whole)):
            column.append(value)
    if not names:
        if notes.damaged:
            raise UsageError(f"no images in {listing.source}: {notes.damaged[0]}")
        skipped = "".join(f"; {sentence}" for sentence in notes.sentences())
        raise NoImagesError(f"no images in the tar files of {listing.source}: {notes.n_others} other members{skipped}")
    which = np.repeat(np.arange(len(containers), dtype=np.int32), counts)
    return ImageTable.from_paths(
        listing.root,
        names,
        np.array(sizes),
        np.repeat(np.array(times), counts),
        n_others=notes.n_others,
        unlisted=listing.unlisted,
        warnings=notes.sentences(),
        places=Places(containers, wholes.tolist(), which, np.array(offsets), np.full(len(names), -1, np.int64)),
    )


def _refuse(listing: Listing, container: bytes, program: str) -> None:
    path = os.fsdecode(os.path.join(listing.root, container))
    raise UsageError(
        f"{path} is compressed, so that single images in it cannot be reached: unpack it to a plain .tar with "
        f"'{program}' (JPEG files hardly shrink anyway)"
    )


@dataclass
class _Members:
    """The images of one tar."""

    container: bytes
    notes: _Notes
    names: list[bytes] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, name: bytes, kind: bytes, sparse: bool, offset: int, size: int) -> None:
        """Take a member, or note why not."""
        if kind == _FOLDER or name.endswith(b"/"):
            return
        if b"./" in name or b"//" in name:
            steps = [step for step in name.split(b"/") if step != b"."]
            name = b"/".join(step for i, step in enumerate(steps) if step or i == 0)
        if not is_image_name(name):
            self.notes.n_others += 1
        elif any(step.startswith(b".") and step != b".." for step in name.split(b"/")):
            pass  # hidden: left out as in a folder
        elif reason := _objection(name, kind, sparse):
            self.notes.skip(reason, self.container, name)
        else:
            self.names.append(name)
            self.offsets.append(offset)
            self.sizes.append(size)

    def finish(self) -> None:
        """Drop what a later member replaces, and the further images of a sample."""
        last = {name: i for i, name in enumerate(self.names)}
        whole = {name[: name.rfind(b".")] for name in last if name.count(b".", name.rfind(b"/") + 1) == 1}
        keep = []
        for i, name in enumerate(self.names):
            key_end = name.find(b".", name.rfind(b"/") + 1)
            if last[name] != i:
                self.notes.skip("a later member of the same name replaces them", self.container, name)
            elif key_end != name.rfind(b".") and name[:key_end] in whole:
                self.notes.skip("further images of a WebDataset sample", self.container, name)
            else:
                keep.append(i)
        if len(keep) < len(self.names):
            self.names = [self.names[i] for i in keep]
            self.offsets = array("q", (self.offsets[i] for i in keep))
            self.sizes = array("q", (self.sizes[i] for i in keep))


def _objection(name: bytes, kind: bytes, sparse: bool) -> str | None:
    """Why a member is not to be read."""
    if name.startswith(b"/") or b".." in name.split(b"/") or b"\0" in name:
        return "names that lead out of the tar"
    if kind in _LINKS:
        return "links"
    if sparse:
        return "sparse files"
    return None if kind in _FILES else "no regular files"


def _list(listing: Listing, container: bytes, members: _Members, notes: _Notes) -> tuple[int, int]:
    """Fill `members`; the size and modification time of the tar."""
    path = os.path.join(listing.root, container)
    shown = repr(os.fsdecode(path))
    try:
        descriptor = open_regular(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise
        notes.damaged.append(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}")
        return -1, -1
    try:
        status = os.fstat(descriptor)
        head = os.pread(descriptor, 8, 0)
        for magic, program in _MAGIC.items():
            if head.startswith(magic):
                _refuse(listing, container, program)
        for member in _walk(descriptor, status.st_size):
            members.add(*member)
    except (_DamagedError, OSError) as error:
        notes.damaged.append(f"{shown}: {error}")
    finally:
        os.close(descriptor)
    return status.st_size, status.st_mtime_ns


def _walk(descriptor: int, end: int) -> Iterator[tuple[bytes, bytes, bool, int, int]]:
    """Name, type, whether it is sparse, offset and size (-1: the tar ends before it does) of each member."""
    at = 0
    name: bytes | None = None
    pax: dict[bytes, bytes] = {}
    opened, window = 0, b""
    while True:
        if not opened <= at <= opened + len(window) - _BLOCK:
            opened, window = at, os.pread(descriptor, _WINDOW, at)
        block = window[at - opened : at - opened + _BLOCK]
        if at == 0 and not block:
            raise _DamagedError("is empty: no tar file")
        if block == bytes(_BLOCK):
            return
        kind, size, own = block[156:157], _number(block[124:136]), block[:100].partition(b"\0")[0]
        if size < 0 or not _sums_up(block):  # base 256 can be negative: it would lead backwards
            if at == 0:
                raise _DamagedError("is no tar file")
            if len(block) < _BLOCK:
                raise _DamagedError("ends without its end mark: perhaps images are missing")
            raise _DamagedError(f"has a damaged header at byte {at}: images behind it are missing")
        at += _BLOCK
        if block[257:263] == b"ustar\0" and block[345]:
            own = block[345:500].partition(b"\0")[0] + b"/" + own
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_SOLARIS, _PAX_GLOBAL):
            if not 0 <= size <= _LONGEST or at + size > end:
                raise _DamagedError(f"has a damaged extended header at byte {at}: images behind it are missing")
            data = os.pread(descriptor, size, at)
            if kind == _LONG_NAME:
                name = data.partition(b"\0")[0]
            elif kind != _LONG_LINK and kind != _PAX_GLOBAL:
                pax = _records(data)
            at += -(-size // _BLOCK) * _BLOCK
            continue
        raw = pax.get(b"path", name)
        raw = own if raw is None else raw
        if pax.get(b"size", b"").isdigit():
            size = int(pax[b"size"])  # members beyond 8 GiB
        sparse = kind == _SPARSE or any(key.startswith(b"GNU.sparse.") for key in pax)
        raw = pax.get(b"GNU.sparse.name", raw)
        if kind == _SPARSE:
            more = block[482]
            while more and at < end:  # further blocks of its map
                more = os.pread(descriptor, _BLOCK, at)[504:505] not in (b"", b"\0")
                at += _BLOCK
        name, pax = None, {}
        if kind in _WITHOUT_BYTES:
            size = 0  # links and devices have none, whatever they say
        yield raw, kind, sparse, at, size if at + size <= end else -1
        if at + size > end:
            raise _DamagedError(f"is cut short: {readable(raw)!r} and all behind it are missing")
        at += -(-size // _BLOCK) * _BLOCK


def _number(digits: bytes) -> int:
    """A number of a header: octal digits, or base 256 behind the byte 0x80 (0xff: negative); -1: it is none."""
    if digits[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(digits[1:], "big", signed=digits[0] == 0xFF)
    try:
        return int(digits.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return -1


def _sums_up(block: bytes) -> bool:
    """Whether a header's checksum is right: the sum of its bytes, the checksum's own counted as blanks."""
    if len(block) < _BLOCK:
        return False
    wanted, rest = _number(block[148:156]), block[:148] + block[156:]
    return wanted == sum(rest) + 256 or wanted == sum(array("b", rest)) + 256  # some old tars add signed bytes


def _records(data: bytes) -> dict[bytes, bytes]:
    """The records ``LENGTH KEY=VALUE\\n`` of a pax header."""
    found, at = {}, 0
    while at < len(data):
        digits, blank, _ = data[at : at + 20].partition(b" ")
        if not blank or not digits.isdigit() or not len(digits) + 1 < int(digits) <= len(data) - at:
            break  # padding, or damage
        key, _, value = data[at + len(digits) + 1 : at + int(digits) - 1].partition(b"=")
        found[key] = value
        at += int(digits)
    return found
