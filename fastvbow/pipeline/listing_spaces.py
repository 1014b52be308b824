"""Commands ``models list`` and ``models remove``, for spaces."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.pipeline.space_cards import SpaceCard, known_spaces, read_space, spaces_folder

__all__ = ["ListedSpace", "list_spaces", "remove_space"]


@dataclass(frozen=True)
class ListedSpace:
    """A space that there is.

    Attributes
    ----------
    name : str
    card : SpaceCard or None
        None where it cannot be used.
    path : Path
        Of its folder.
    problem : str, default=""
        Why it cannot be used.
    """

    name: str
    card: SpaceCard | None
    path: Path
    problem: str = ""


def list_spaces() -> list[ListedSpace]:
    """All spaces by name; what cannot be used is told, not raised."""
    found = []
    for name, path in sorted(known_spaces().items()):
        try:
            card = read_space(name)
            missing = [file for file in card.files.values() if not file.is_file()]
            if missing:
                raise StoreCorruptError(f"its file {missing[0]} is missing: add the space again")
            found.append(ListedSpace(name, card, path))
        except StoreCorruptError as error:
            found.append(ListedSpace(name, None, path, str(error)))
    return found


def remove_space(name: str) -> list[Path]:
    """Remove a space, damaged or not; what projects have kept of its vectors stays.

    Parameters
    ----------
    name : str

    Returns
    -------
    list of Path
        What was removed.

    Raises
    ------
    UsageError
        There is no such space, or the folder cannot be written.
    """
    if name not in known_spaces():
        raise UsageError(f"there is no space {name!r} in {spaces_folder()}; known: {', '.join(known_spaces()) or '-'}")
    folder = known_spaces()[name]
    gone = folder.with_name(f".{name}.removed.tmp")
    with contextlib.suppress(OSError):
        shutil.rmtree(gone)
    try:
        folder.rename(gone)  # at once, so that nobody opens half of it
        shutil.rmtree(gone)
    except OSError as error:
        raise UsageError(f"cannot remove {folder}: {error.strerror}") from None
    return [folder]
