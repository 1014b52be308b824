"""The folder that the pages are written to: their common frame, their assets, and how many bytes they take."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from fastvbow.report.content import ReportContent
from fastvbow.report.templating import environment

__all__ = ["POLICY", "Site"]

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' file:",
        "style-src 'self' file: 'unsafe-inline'",
        "img-src 'self' file: data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
"""What a page may load (Content Security Policy, level 3): no script that stands in a page, nothing from a network.

`'self'` is the folder where it is served by HTTP. By the specification (section 6.7.2.8, "Does url match expression in
origin") it matches nothing for a page that was opened from disk, whose origin is opaque, though Chromium lets it; the
scheme `file:` is what lets the page's own scripts in there. Styles may stand in attributes: proportions of tiles.
"""


class Site:
    """Writes pages, scripts and styles of one report.

    Parameters
    ----------
    content : ReportContent
        What every page's frame shows.
    folder : pathlib.Path
        An empty folder; all pages lie in it side by side, so that an address is the same on all.
    pages : sequence of (str, str)
        The navigation: file name and what it is called.
    """

    def __init__(self, content: ReportContent, folder: Path, pages: list[tuple[str, str]]) -> None:
        self.content = content
        self.folder = folder
        self.pages = pages
        self.n_bytes = {"pages": 0, "data": 0}
        self._environment = environment()
        for name in ("assets", "data", "thumbs", "sheets"):
            (folder / name).mkdir()

    def page(self, name: str, template: str, /, **values: Any) -> None:
        """Write one page.

        Parameters
        ----------
        name : str
            File name.
        template : str
            Extends ``base.html.j2``.
        **values : object
            What the template shows besides the frame.
        """
        html = self._environment.get_template(template).render(
            content=self.content, policy=POLICY, pages=self.pages, here=name, **values
        )
        data = html.encode("utf-8")
        (self.folder / name).write_bytes(data)
        self.n_bytes["pages"] += len(data)

    def asset(self, name: str) -> None:
        """Copy a style sheet or a script of this package to ``assets/``."""
        source = resources.files("fastvbow.report").joinpath("assets", name)
        (self.folder / "assets" / name).write_bytes(source.read_bytes())

    def data(self, name: str, value: Any) -> None:
        """Write ``data/NAME.js``, which hands a value to the script that waits for it.

        Parameters
        ----------
        name : str
            What the script asks for.
        value : object
            What JSON can hold. All but ASCII is escaped, and so are the signs that could end a script or open a tag.
        """
        text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        data = f'fastvbow.put("{name}",{text});\n'.encode("ascii")
        (self.folder / "data" / f"{name}.js").write_bytes(data)
        self.n_bytes["data"] += len(data)
