"""Rows of CSV files: every name comes back as it was, and no spreadsheet takes one for a formula.

Spreadsheets compute cells that begin with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, quoted or not, and a
file's name may come from anybody. So paths get ``./`` before them, with which they still lead to the file, and other
text an apostrophe, which `text_of` takes away again (OWASP, CSV Injection).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

__all__ = ["path_cell", "text_cell", "text_of", "write_rows"]

_FORMULA = re.compile(r"[=+\-@\t\r]")
_QUOTED = re.compile(r"'+[=+\-@\t\r]")


def path_cell(path: str) -> str:
    """A path as a cell that no spreadsheet computes; it leads to the same file."""
    return f"./{path}" if _FORMULA.match(path) else path


def text_cell(text: str) -> str:
    """Text as a cell that no spreadsheet computes; `text_of` gives it back."""
    return f"'{text}" if _FORMULA.match(text) or _QUOTED.match(text) else text


def text_of(cell: str) -> str:
    """The text that `text_cell` made a cell of."""
    return cell[1:] if _QUOTED.match(cell) else cell


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
