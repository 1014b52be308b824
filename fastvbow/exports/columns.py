"""What an export is made of: columns with an entry per photograph, and how paths become text in a file.

The exports know no stage of the route: whoever calls them fills these columns. A file's name may hold any bytes but
``/`` and NUL. Where an export holds addresses (`is_address`), these are percent-encoded bytes and name every file;
where it holds plain text, bytes that are not UTF-8 stand as ``\\xNN``, which no tool can open but `Correction` finds
again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

__all__ = ["Correction", "GroupedImages", "Written", "address_of", "is_address", "xml_text"]

# What XML 1.0 cannot hold, not even as a reference.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, eq=False)
class GroupedImages:
    """The grouped photographs of a project.

    Attributes
    ----------
    root : bytes
        The folder that the paths are relative to.
    image_ids : sequence of str, length n
    raw_paths : sequence of bytes, length n
        Relative paths as the file system has them; inside a container ``CONTAINER/NAME``.
    names : sequence of str, length n
        The same as text.
    containers : sequence of (str or None), length n
        The tar or Parquet file that an image lies in; None: it is a file by itself.
    topic : ndarray of shape (n,), int
    probability, entropy : ndarray of shape (n,), float
        Of that topic, and over all topics in nats.
    labels : sequence of str, length n_topics
        What each topic is called; several may be called alike.
    known : sequence of (str or None), length n
        Labels that were known before.
    widths, heights : ndarray of shape (n,), int
        Pixels, upright.
    certain : ndarray of shape (n,), bool
        Whether a photograph shall have the label of its topic; the others are to be labelled by hand.
    suggested : sequence of (str or None), length n_topics
        What is suggested for each topic that has no name; empty: nothing is for any.
    """

    root: bytes
    image_ids: Sequence[str]
    raw_paths: Sequence[bytes]
    names: Sequence[str]
    containers: Sequence[str | None]
    topic: NDArray[np.integer]
    probability: NDArray[np.floating]
    entropy: NDArray[np.floating]
    labels: Sequence[str]
    known: Sequence[str | None]
    widths: NDArray[np.integer]
    heights: NDArray[np.integer]
    certain: NDArray[np.bool_]
    suggested: Sequence[str | None] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def label(self, index: int) -> str | None:
        """The label that a photograph gets."""
        return self.labels[int(self.topic[index])] if self.certain[index] else None

    def suggestion(self, index: int) -> str | None:
        """The name that is suggested for a photograph's topic."""
        return self.suggested[int(self.topic[index])] if self.suggested else None

    def classes(self) -> list[str]:
        """All labels, each once, in the order of the topics."""
        return list(dict.fromkeys(self.labels))


@dataclass(frozen=True)
class Written:
    """What an export wrote.

    Attributes
    ----------
    files : list of str
        Names within its folder; of links and their folders only how many there are is told.
    n_images, n_labelled : int
        Photographs in them, and those of them that have a label.
    warnings : list of str
        What the tool will not take as it is: each a sentence.
    """

    files: list[str]
    n_images: int
    n_labelled: int
    warnings: list[str]


@dataclass(frozen=True)
class Correction:
    """What a file from an annotation tool says of one photograph.

    Attributes
    ----------
    image_id : str or None
        As the export gave it; None where the tool has not kept it.
    path : str
        The photograph's path or address there.
    labels : tuple of str
        The label, or several that contradict one another; none: it was left without.
    """

    image_id: str | None
    path: str
    labels: tuple[str, ...]


def is_address(prefix: str) -> bool:
    """Whether what begins so is a URL or a query, in which paths are percent-encoded."""
    return "://" in prefix or "?" in prefix


def address_of(raw: bytes, name: str, prefix: str) -> str:
    """Where a tool finds a photograph.

    Parameters
    ----------
    raw : bytes
        The path.
    name : str
        The path as text.
    prefix : str
        Stands before it; see `is_address`.
    """
    return prefix + (quote(raw, safe="/") if is_address(prefix) else name)


def xml_text(text: str) -> str:
    """Text as XML can hold it: other characters as ``\\xNN``, ``\\uNNNN``."""
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)
