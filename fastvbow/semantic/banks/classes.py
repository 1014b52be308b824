"""What the classes of a classifier are called, from a text file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.semantic.banks.lines import read_text

__all__ = ["read_classes"]


def read_classes(path: Path, sha256: str = "") -> tuple[str, ...]:
    """The names of a classifier's classes, in its order.

    Parameters
    ----------
    path : Path
        UTF-8, a class a line; what stands before a tab, an identifier, is no part of the name.
    sha256 : str, default=""
        What the file has to have, in hex; empty: it is not looked at.

    Raises
    ------
    UsageError
        It cannot be read, or a line has no name.
    StoreCorruptError
        It is another file.
    """
    text = read_text(path, "classes")
    if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise StoreCorruptError(f"{path} is not the file that the space's card names: add the space again")
    names = tuple(line.rpartition("\t")[2].strip() for line in text.splitlines())
    if not names or not all(names):
        place = names.index("") + 1 if names else 1
        raise UsageError(f"line {place} of {path} has no name: give a file with a class a line, in the network's order")
    return names
