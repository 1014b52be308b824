"""Figures and tables for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

__all__ = ["ROWS", "WIDTH", "count", "cut", "number", "rest", "share", "table"]

ROWS = 25
"""Rows of a table that are printed; JSON has them all."""
WIDTH = 24
"""Of a label, in places of the terminal."""


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], to_the_left: Collection[int], least: int = 0
) -> Iterator[str]:
    """Columns of equal width, of `least` characters at least; all but those `to_the_left` stand to the right."""
    from rich.cells import cell_len  # a character of East Asia takes two places

    widths = [max(least, *map(cell_len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - cell_len(cell))
            cells.append(cell + blank if i in to_the_left else blank + cell)
        yield f"  {'  '.join(cells)}".rstrip()


def count(n: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``2 classes``."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{n:,} {noun}{'' if n == 1 else plural}"


def number(value: float) -> str:
    """Four significant digits, or a dash for what is not defined."""
    if value != value:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.{4 if abs(value) < 10 else 2 if abs(value) < 1000 else 1}f}"
    return f"{value:.3g}"


def share(value: float) -> str:
    """Three decimals, or a dash for what is not defined."""
    return "-" if value != value else f"{value:.3f}"


def cut(label: object) -> str:
    """A label without control characters, at most `WIDTH` places long."""
    from rich.cells import cell_len, set_cell_size

    from fastvbow.display import one_line

    text = one_line(str(label))
    return text if cell_len(text) <= WIDTH else f"{set_cell_size(text, WIDTH - 1).rstrip()}…"


def rest(n: int, noun: str) -> Iterator[str]:
    """What to say of the rows beyond `ROWS`."""
    if n > ROWS:
        yield f"  ... and {count(n - ROWS, noun)} more: --json has all"
