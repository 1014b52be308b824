"""Rows of CSV files: every name of a file comes back as it was."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import TextIO

__all__ = ["write_rows"]


def write_rows(handle: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write rows of CSV, with a line feed after each.

    Before Python 3.13 the csv module leaves a carriage return unquoted where the rows end in a line feed alone, and
    readers begin another row there: such rows are quoted as a whole.

    Parameters
    ----------
    handle : TextIO
        Opened with ``newline=""``.
    rows : iterable of sequence
        The header among them.
    """
    plain = csv.writer(handle, lineterminator="\n")
    quoted = csv.writer(handle, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        writer = quoted if any(isinstance(cell, str) and "\r" in cell for cell in row) else plain
        writer.writerow(row)
