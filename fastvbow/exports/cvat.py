"""CVAT: "CVAT for images 1.1" with the groups as tags, its label specification, and the annotations that come back.

A task of CVAT takes an ``annotations-NNNNN.xml``; the images of a task are matched by their names. Its labels have to
be there before: ``labels.json`` is pasted into the raw editor of the labels. A tag that comes back counts as the label
of its image, whether a person has touched it or not. Format:
https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and .../xml_format.

What is read is not trusted: a document type, with which entities are declared, is refused, so that no entity can be
expanded or fetched; and no more than `MOST_BYTES` of XML are read, however small the archive that holds them.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import msgspec

from fastvbow.errors import UsageError
from fastvbow.exports.columns import Correction, GroupedImages, Written, address_of, xml_text

__all__ = ["LONGEST_LABEL", "MOST_BYTES", "SPLIT", "read", "write"]

SPLIT = 10_000
LONGEST_LABEL = 64
"""Characters of a label in CVAT."""
MOST_BYTES = 1 << 30
"""Of XML that are read: about two million images."""

_ATTRIBUTES = ("topic", "probability", "entropy")
_BLOCK = 1 << 16


def write(images: GroupedImages, folder: Path, *, prefix: str = "", split: int = SPLIT) -> Written:
    """Write ``annotations-NNNNN.xml`` and ``labels.json``.

    Parameters
    ----------
    images : GroupedImages
    folder : Path
        Exists.
    prefix : str, default=""
        Before each path, so that names are those of the images in CVAT.
    split : int, default=`SPLIT`
        Images a file, at most: a task each.
    """
    attributes = [
        {"name": name, "input_type": "text", "mutable": False, "default_value": "", "values": [""]}
        for name in _ATTRIBUTES
    ]
    classes = [xml_text(label) for label in images.classes()]
    specification = [{"name": label, "type": "tag", "attributes": attributes} for label in classes]
    files = ["labels.json"]
    (folder / files[0]).write_bytes(msgspec.json.format(msgspec.json.encode(specification)))
    for number, start in enumerate(range(0, len(images), split), 1):
        files.append(f"annotations-{number:05d}.xml")
        run = range(start, min(start + split, len(images)))
        with (folder / files[-1]).open("w", encoding="utf-8", newline="\n") as handle:
            handle.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
            handle.write(_meta(f"fastvbow {number}", len(run), classes))
            for frame, index in enumerate(run):
                handle.write(_image(images, index, frame, prefix))
            handle.write("</annotations>\n")
    long = [label for label in classes if len(label) > LONGEST_LABEL]
    warnings = (
        [f"CVAT takes labels of at most {LONGEST_LABEL} characters: {long[0][:40]!r}... is longer"] if long else []
    )
    return Written(files, len(images), int(images.certain.sum()), warnings)


def _meta(name: str, size: int, classes: list[str]) -> str:
    attributes = "".join(
        f"            <attribute>\n              <name>{name}</name>\n              <mutable>False</mutable>\n"
        "              <input_type>text</input_type>\n              <default_value></default_value>\n"
        "              <values></values>\n            </attribute>\n"
        for name in _ATTRIBUTES
    )
    labels = "".join(
        f"        <label>\n          <name>{escape(label)}</name>\n          <type>tag</type>\n"
        f"          <attributes>\n{attributes}          </attributes>\n        </label>\n"
        for label in classes
    )
    return (
        f"  <meta>\n    <task>\n      <name>{name}</name>\n      <size>{size}</size>\n      <mode>annotation</mode>\n"
        f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def _image(images: GroupedImages, index: int, frame: int, prefix: str) -> str:
    name = quoteattr(xml_text(address_of(images.raw_paths[index], images.names[index], prefix)))
    head = f'  <image id="{frame}" name={name} width="{images.widths[index]}" height="{images.heights[index]}">\n'
    label = images.label(index)
    if label is None:
        return f"{head}  </image>\n"
    values = (str(images.topic[index]), f"{images.probability[index]:.6f}", f"{images.entropy[index]:.6f}")
    attributes = "".join(
        f'      <attribute name="{known}">{value}</attribute>\n'
        for known, value in zip(_ATTRIBUTES, values, strict=True)
    )
    return f'{head}    <tag label={quoteattr(xml_text(label))} source="auto">\n{attributes}    </tag>\n  </image>\n'


def read(path: Path) -> Iterator[Correction]:
    """The tags of an export of CVAT, of "CVAT for images": the XML file, or the archive with ``annotations.xml``.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Correction
        One an image; of several XML files in an archive, one after the other.

    Raises
    ------
    UsageError
        The file cannot be read, holds something else, declares entities, or has more than `MOST_BYTES` of XML.
    """
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as handle:
                yield from _parse(handle, str(path), [0])
            return
        with zipfile.ZipFile(path) as archive:
            members = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".xml")]
            if not members:
                raise UsageError(f"{path} holds no XML file: choose the format 'CVAT for images 1.1' there")
            n_bytes = [0]
            for entry in members:
                with _opened(archive, entry, path) as handle:
                    yield from _parse(handle, f"{path}: {entry.filename}", n_bytes)
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


@contextmanager
def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> Iterator[IO[bytes]]:
    try:
        with archive.open(entry) as handle:
            yield handle
    # another compression, a password, damage
    except (NotImplementedError, RuntimeError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UsageError(f"cannot read {entry.filename} in {path}: {error}") from None


def _parse(handle: IO[bytes], what: str, n_bytes: list[int]) -> Iterator[Correction]:
    reader = _Reader(what)
    while block := handle.read(_BLOCK):
        n_bytes[0] += len(block)
        if n_bytes[0] > MOST_BYTES:
            raise UsageError(
                f"{what} holds more than {MOST_BYTES} bytes of XML, which are not read: export fewer tasks"
            )
        yield from reader.feed(block)
    yield from reader.feed(b"", last=True)


class _Reader:
    """Reads images and their tags, a block at a time."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.depth = 0
        self.name: str | None = None
        self.labels: list[str] = []
        self.done: list[Correction] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse

    def feed(self, block: bytes, last: bool = False) -> list[Correction]:
        try:
            self.parser.Parse(block, last)
        except UsageError:  # a ValueError too
            raise
        except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: an encoding that is not read
            raise UsageError(f"{self.what} is no XML of CVAT: {error}") from None
        done, self.done = self.done, []
        return done

    def _refuse(self, *_: object) -> None:
        raise UsageError(f"{self.what} declares a document type or entities, which CVAT's exports never do: not read")

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth == 1 and element != "annotations":
            raise UsageError(f"{self.what} is no XML of CVAT: it begins with <{element}>, not <annotations>")
        if element == "track":
            raise UsageError(f"{self.what} is of a video: choose the format 'CVAT for images 1.1' there")
        if element == "image":
            self.name, self.labels = attributes.get("name", ""), []
        elif element == "tag" and self.name is not None and attributes.get("label"):
            self.labels.append(attributes["label"])

    def _end(self, element: str) -> None:
        self.depth -= 1
        if element == "image" and self.name is not None:
            self.done.append(Correction(None, self.name, tuple(dict.fromkeys(self.labels))))
            self.name = None
