"""Numbers and foreign strings as the report prints them."""

from __future__ import annotations

import unicodedata
import urllib.parse
from collections.abc import Iterable
from typing import Any

__all__ = ["count", "duration", "megabytes", "percent", "printable", "quoted", "ranges"]

_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
# Marks that turn the direction of the text after them: "gpj.exe" can be made to read "exe.jpg".
_TURNING = {*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


def printable(value: Any) -> Any:
    r"""Replace what cannot be shown by its backslash escape.

    Newlines and other control characters, surrogates (undecodable bytes of a file name) and marks that turn the
    direction of the text become ``\n``, ``\udcff``, ``\u202e``. It is the template environment's ``finalize``, so that
    no string reaches the page without it; markup (what was escaped before) and other types pass unchanged.
    """
    if not isinstance(value, str) or hasattr(value, "__html__") or (value.isascii() and value.isprintable()):
        return value
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _HIDDEN or c in _TURNING else c
        for c in value
    )


def count(n: int, noun: str = "", plural: str = "") -> str:
    """Return ``"1,600 photographs"``: a number with its noun (plural by default with s)."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}" if noun else f"{n:,}"


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal, ``"12.5 %"``; a share above zero is never shown as zero."""
    return "< 0.1\u00a0%" if 0 < share < 0.0005 else f"{100 * share:.1f}\u00a0%"


def duration(seconds: float) -> str:
    """Return a time as ``"0.42 s"``, ``"8.3 s"``, ``"2 min 14 s"`` or ``"1 h 03 min"``."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def megabytes(n_bytes: int) -> str:
    """Return a size on disk, ``"840 kB"`` or ``"12.3 MB"`` (powers of ten)."""
    return f"{n_bytes / 1e3:.0f} kB" if n_bytes < 999_500 else f"{n_bytes / 1e6:,.1f} MB"


def quoted(text: str) -> str:
    """Return a text as it stands in an address, as the pages show it: ``"a%20b%26"``."""
    return urllib.parse.quote(printable(text), safe="")


def ranges(numbers: Iterable[int]) -> str:
    """Return rising numbers with runs joined, ``"3, 7–12, 40"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}, {b}" if b == a + 1 else f"{a}–{b}" for a, b in runs)
