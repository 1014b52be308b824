"""A made-up report, hostile names, and a reader of the pages."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

from fastvbow.report import wording
from fastvbow.report.build import build_report
from fastvbow.report.content import ReportContent
from fastvbow.report.thumbnails import MAX_HEIGHT, MAX_WIDTH

VOID = {"meta", "link", "img", "br", "input"}
HOSTILE = [
    '"><script>alert(1)<&>.jpg',
    "two\nlines.jpg",
    "space and 'quote' 100%25#frag?.jpg",
    "Größe 猫 שלום 🐈.jpg",
    os.fsdecode(b"latin-\xe9\xff.jpg"),
    "{{ 7 * 7 }}{% raw %}.jpg",
    "\u202egpj.exe",
    "a" * 240 + ".jpg",
]


class Page(HTMLParser):
    """Tags with their attributes and the visible text; fails on tags that do not nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open
        self.words = " ".join(self.text.split())
        ids = Counter(str(attrs["id"]) for _, attrs in self.tags if "id" in attrs)
        assert not ids or max(ids.values()) == 1
        self.ids = set(ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


class Report:
    """All pages of a report; `source`, `words` and `all` go through them in the order of their names."""

    def __init__(self, index: Path) -> None:
        self.folder = index.parent
        self.pages = {path.name: Page(path) for path in sorted(self.folder.glob("*.html"))}
        self.source = "\n".join(page.source for page in self.pages.values())
        self.text = "\n".join(page.text for page in self.pages.values())
        self.words = "\n".join(page.words for page in self.pages.values())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for page in self.pages.values() for attrs in page.all(tag)]

    def thumbs(self) -> set[str]:
        return {str(img["src"]) for img in self.all("img")}

    def originals(self) -> list[str]:
        return [str(a["href"]) for a in self.all("a") if a.get("class") == "frame"]

    def topics(self) -> list[int]:
        return [int(name[6:-5]) for name in self.pages if name.startswith("topic-")]

    def data(self, name: str) -> dict:
        """What ``data/NAME.js`` hands over."""
        text = (self.folder / "data" / f"{name}.js").read_text(encoding="ascii")
        assert not set("<>&") & set(text)
        head, tail = f'fastvbow.put("{name}",', ");\n"
        assert text.startswith(head) and text.endswith(tail)
        return json.loads(text[len(head) : -len(tail)])

    def check(self) -> None:
        """What holds for every report."""
        on_disk = {f"thumbs/{path.name}" for path in (self.folder / "thumbs").iterdir()}
        assert self.thumbs() == on_disk
        folders = {"assets", "data", "sheets", "thumbs"}
        assert {path.name for path in self.folder.iterdir()} == {*self.pages, *folders}
        for page in self.pages.values():
            self._check(page)
        for path in (self.folder / "data").iterdir():
            for text in strings_of(self.data(path.stem)):
                assert text == wording.printable(text), "fit for showing as it is"

    def _check(self, page: Page) -> None:
        for a in page.all("a"):
            name, _, fragment = str(a["href"]).partition("#")
            if not name.startswith("file:///"):
                target = self.pages[name] if name else page
                assert not fragment or fragment in target.ids or name == "browse.html"
        for img in page.all("img"):
            assert img["loading"] == "lazy" and img["alt"] is not None
            assert 0 < int(str(img["width"])) <= MAX_WIDTH and 0 < int(str(img["height"])) <= MAX_HEIGHT
        for address in [a["src"] for a in page.all("script")] + [a["href"] for a in page.all("link")]:
            assert address == "data:," or (
                str(address).startswith("assets/") and (self.folder / str(address)).is_file()
            )
        (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self' file:;" in str(policy)
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert "http://" not in page.source and "https://" not in page.source and "@import" not in page.source
        assert len(page.all("h1")) == 1 and len(page.all("main")) == 1


def strings_of(value: object) -> Iterator[str]:
    """All strings of a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings_of(part)


def photograph(index: int) -> np.ndarray:
    pixels = np.random.default_rng(index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(pixels, (400, 300), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def content(n: int = 60, n_topics: int = 4, **changes: object) -> ReportContent:
    rng = np.random.default_rng(1)
    names = [f"folder/{i:03d}.jpg" for i in range(n)]
    columns: dict = {
        "title": "A title",
        "source": "/photographs",
        "n_topics": n_topics,
        "ids": names,
        "names": names,
        "topic": rng.integers(0, n_topics, n),
        "probability": rng.uniform(0.3, 1, n),
        "entropy": rng.uniform(0.1, 1.3, n),
        "read_photograph": photograph,
        "locate": lambda i: Path("/photographs", names[i]),
        "parameters": {"topics": str(n_topics), "seed": "0"},
        "seconds": {"extract": 61.25, "topics": 12.5},
        "version": "0.1.0",
    }
    return ReportContent(**(columns | changes))


def report_of(made: ReportContent, folder: Path, **options: int) -> Report:
    report = Report(build_report(made, folder, **options))
    report.check()
    return report
