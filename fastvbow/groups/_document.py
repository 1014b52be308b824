"""Reading the JSON files of this room, which tell their format and its version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from fastvbow.errors import ProjectError, StoreCorruptError

__all__ = ["read_document"]


def read_document(path: Path, schema: Any, *, format_name: str, version: int, what: str, remedy: str) -> Any:
    """Read a file of a format, up to a version.

    Parameters
    ----------
    path : Path
    schema : msgspec.Struct type
        What the file holds; that its ``format`` is the right one is left to the caller.
    format_name : str
    version : int
        The newest that can be read.
    what, remedy : str
        What it should hold, and what to do where it does not, for messages.

    Returns
    -------
    instance of schema

    Raises
    ------
    ProjectError
        A newer fastvbow wrote it.
    StoreCorruptError
        It cannot be read, or does not hold what it should.
    """
    try:
        data = path.read_bytes()
        head = msgspec.json.decode(data, type=dict[str, object])
        given = head.get("version")
        if head.get("format") == format_name and isinstance(given, int) and given > version:
            raise ProjectError(
                f"{path} has {format_name} version {given}; this fastvbow reads up to version {version}: upgrade "
                "fastvbow"
            )
        return msgspec.json.decode(data, type=schema)
    except OSError as error:
        raise StoreCorruptError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorruptError(f"{path} holds no {what} ({error}): {remedy}") from None
