"""Lines of a text file that somebody else wrote."""

from __future__ import annotations

from pathlib import Path

from fastvbow.errors import UsageError

__all__ = ["read_text", "text_lines"]


def read_text(path: Path, what: str) -> str:
    """A file as text, without a byte order mark.

    Parameters
    ----------
    path : Path
        UTF-8.
    what : str
        What it should hold, for messages.

    Raises
    ------
    UsageError
        It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"cannot read the {what} {path}: byte {error.start} is not UTF-8: save it as UTF-8 text"
        ) from None


def text_lines(path: Path, what: str) -> list[str]:
    """The lines that are not empty, stripped.

    Parameters
    ----------
    path : Path
        UTF-8.
    what : str
        What they are, for messages.

    Raises
    ------
    UsageError
        It cannot be read, or has no such line.
    """
    lines = [line.strip() for line in read_text(path, what).split("\n")]
    found = [line for line in lines if line]
    if not found:
        raise UsageError(f"{path} holds no {what}: give a file with one a line")
    return found
