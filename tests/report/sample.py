"""A made-up report, hostile names, and a reader of the page."""

from __future__ import annotations

import os
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

from fastvbow.report.build import build_report
from fastvbow.report.content import ReportContent
from fastvbow.report.thumbnails import MAX_HEIGHT, MAX_WIDTH

VOID = {"meta", "link", "img", "br"}
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
        self.folder = path.parent
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def thumbs(self) -> set[str]:
        return {str(img["src"]) for img in self.all("img")}

    def originals(self) -> list[str]:
        return [str(a["href"]) for a in self.all("a") if a.get("class") == "frame"]

    def check(self) -> None:
        """What holds for every report."""
        on_disk = {f"thumbs/{path.name}" for path in (self.folder / "thumbs").iterdir()}
        assert self.thumbs() == on_disk
        assert {path.name for path in self.folder.iterdir()} == {"index.html", "thumbs"}
        ids = Counter(attrs["id"] for _, attrs in self.tags if "id" in attrs)
        assert not ids or max(ids.values()) == 1
        for a in self.all("a"):
            href = str(a["href"])
            assert href.startswith("file:///") or href[1:] in ids
        for img in self.all("img"):
            assert img["loading"] == "lazy" and img["alt"] is not None
            assert 0 < int(str(img["width"])) <= MAX_WIDTH and 0 < int(str(img["height"])) <= MAX_HEIGHT
        assert not self.all("script") and not any(name.startswith("on") for _, attrs in self.tags for name in attrs)
        assert "http://" not in self.source and "https://" not in self.source and "url(" not in self.source
        assert "@import" not in self.source


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


def page_of(made: ReportContent, folder: Path, **options: int) -> Page:
    page = Page(build_report(made, folder, **options))
    page.check()
    return page
