"""The documentation as it is built: complete, without a broken link, and without a byte from anywhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
from doc_blocks import fenced

import fastvbow
from fastvbow import pipeline
from fastvbow.cli import app

ROOT = Path(__file__).parents[2]
LARGEST = 200_000
"""Bytes of a picture."""


@dataclass
class Page(HTMLParser):
    """What a page of the site refers to, the anchors that it has, and its text."""

    path: Path
    loaded: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    pictures_without_text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given and tag != "meta"}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in {"canonical", "next", "prev", "alternate"}:
            self.loaded.append(given["href"])
        elif "src" in given:
            self.loaded.append(given["src"])
        if tag == "img" and not given.get("alt"):
            self.pictures_without_text.append(given.get("src", ""))
        self.loaded += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="the documentation's tools are not installed: make test EXTRAS=docs")
    pytest.importorskip("mkdocstrings_handlers.python", reason="wants the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


def page(site: dict[Path, Page], name: str) -> Page:
    return next(found for path, found in site.items() if str(path).endswith(name))


def test_every_page_is_built(site):
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    root = page(site, "/index.html").path.parent
    assert sources <= {path.relative_to(root) for path in site}
    assert len(sources) > 15


def test_nothing_is_loaded_from_elsewhere(site):
    """Scripts, styles, fonts and pictures lie in the site; links to other places are allowed, as links."""
    root = page(site, "/index.html").path.parent
    for path, found in site.items():
        for address in found.loaded:
            assert not urlsplit(address).scheme or address.startswith("data:"), f"{path}: {address}"
            assert not address.startswith("//"), f"{path}: {address}"
    for path in root.rglob("*.css"):
        for address in re.findall(r"url\(([^)]*)\)", path.read_text(encoding="utf-8")):
            assert not re.match(r"[\"']?(https?:)?//", address), f"{path}: {address}"
        assert not re.search(r"@import\s+(url\()?[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path
    assert root.joinpath("search").is_dir()


def test_links_pictures_and_anchors_are_there(site):
    for path, found in site.items():
        if path.name == "404.html":  # its addresses count from the root of a server
            continue
        for address in [*found.links, *found.loaded]:
            parts = urlsplit(address)
            if parts.scheme or address.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            assert target.is_file(), f"{path}: {address}"
            if parts.fragment and target in site:
                anchors = site[target].anchors | {"__codelineno"}
                assert unquote(parts.fragment) in anchors or parts.fragment.startswith("__"), f"{path}: {address}"


def test_links_of_the_readme():
    """They are read where no site is built."""
    _, outside = fenced((ROOT / "README.md").read_text(encoding="utf-8"))
    links = [link for _, line in outside for link in re.findall(r"\]\(([^)]+)\)", line)]
    assert len(links) > 15
    for link in links:
        if urlsplit(link).scheme:
            continue
        path, _, anchor = link.partition("#")
        assert (ROOT / path).is_file(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            slugs |= {re.sub(r"-+", "-", slug) for slug in slugs}  # GitHub's, and MkDocs'
            assert anchor in slugs, link


def test_pictures_are_small_and_described(site):
    pictures = [p for p in (ROOT / "docs").rglob("*") if p.suffix in {".jpg", ".png", ".svg", ".webp", ".gif"}]
    assert pictures
    for path in pictures:
        assert path.stat().st_size <= LARGEST, path
    for path, found in site.items():
        assert not found.pictures_without_text, path
    shown = {Path(unquote(address)).name for found in site.values() for address in found.loaded}
    assert {path.name for path in pictures} <= shown, "each is on a page"


def commands() -> list[tuple[str, Any]]:
    """Every command that does something; found anew, not by what makes the page."""

    def below(name: str, command: Any) -> list[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            return [(name, command)]
        return [found for word, child in command.commands.items() for found in below(f"{name} {word}", child)]

    return below("fastvbow", typer.main.get_command(app))


def test_every_command_and_option_is_in_the_reference(site):
    text = (page(site, "reference/cli.html").path).read_text(encoding="utf-8")
    sections = re.split(r"<h2 id=\"", text)
    by_name = {re.match(r"[^\"]*", section)[0]: section for section in sections[1:]}
    assert len(commands()) > 20
    for name, command in commands():
        section = by_name[name.replace(" ", "-")]
        for parameter in command.params:
            if parameter.param_type_name == "option":
                for option in parameter.opts:
                    assert re.search(rf"(<code>|, ){re.escape(option)}\b", section), f"{name}: {option}"


def test_every_function_of_the_route_is_in_the_reference(site):
    anchors = page(site, "reference/python.html").anchors | page(site, "reference/engines.html").anchors
    for name in pipeline.__all__:
        function = getattr(pipeline, name)
        assert f"{function.__module__}.{name}" in anchors, name
    for name in set(fastvbow.__all__) - {"__version__"}:
        found = getattr(fastvbow, name)
        assert f"{found.__module__}.{name}" in anchors, name
    for error in ("UsageError", "ProjectError", "StoreCorruptError", "ProviderUnavailableError"):
        assert f"fastvbow.errors.{error}" in anchors


def test_docstrings_become_tables(site):
    """Parameters are not left as running text with rulers."""
    for name in ("reference/python.html", "reference/engines.html", "reference/evaluation.html"):
        text = " ".join(page(site, name).words)
        assert "Parameters:" in text
        assert not re.search(r"Parameters\s+-{5,}", text), name
