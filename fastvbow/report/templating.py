"""How the pages' templates are read and filled in."""

from __future__ import annotations

import jinja2

from fastvbow.report import wording

__all__ = ["environment"]


def environment() -> jinja2.Environment:
    """Templates of this package: what is put in is escaped, and what is missing is an error."""
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("fastvbow.report", name) for name in ("templates", "assets")]),
        autoescape=True,
        finalize=wording.printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = ("count", "duration", "megabytes", "percent", "quoted", "ranges")
    made.filters |= {name: getattr(wording, name) for name in names}
    return made
