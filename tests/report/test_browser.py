from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pytest
from report.sample import HOSTILE, Page, content, page_of, photograph

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCRIPT = """<script>addEventListener("load", () => {
  const put = (name, value) => document.documentElement.setAttribute("data-" + name, value);
  put("wide", document.documentElement.scrollWidth > innerWidth);
  put("images", document.images.length);
  put("broken", [...document.images].filter(image => !image.naturalWidth).length);
});</script></body>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def chromium(url: str, profile: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Open a page without a window; stderr carries the console."""
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--hide-scrollbars", *options, url]
    return subprocess.run(command, capture_output=True, timeout=180, check=True)


def counted(path: Path, profile: Path, *options: str) -> dict[str, str]:
    """What the script of a page counted; empty if it did not run."""
    run = chromium(path.as_uri(), profile, "--dump-dom", *options)
    tag = re.search(r"<html[^>]*>", run.stdout.decode())
    assert tag
    return dict(re.findall(r'data-(\w+)="(\w+)"', tag[0]))


PHONE = """<!DOCTYPE html><html><body style="margin:0"><iframe style="border:0" width="390" height="1600" srcdoc="{}">
</iframe><script>addEventListener("load", () => {{
  const put = (name, value) => document.documentElement.setAttribute("data-" + name, value);
  const page = document.querySelector("iframe").contentDocument;
  const all = selector => [...page.querySelectorAll(selector)], box = element => element.getBoundingClientRect();
  put("width", page.documentElement.clientWidth);
  put("wide", page.documentElement.scrollWidth > 390);
  put("counts", all(".labels b").length);
  put("cut", all(".labels b").filter(count => box(count).right > 390 - 15).length);
  put("lines", all(".common").length);
  put("apart", all(".common").filter(line => {{
    const [label, share] = line.children;
    return box(label).top != box(share).top || box(line).height > 25 || box(share).right > box(line).right + 0.5
      || share.scrollWidth > share.clientWidth + 1 || box(label).right > box(share).left;
  }}).length);
}});</script></body></html>"""


@pytest.mark.parametrize("long", ["x" * 90, "Strasse_mit_Haeusern_und_Baeumen_im_Hintergrund", "some words " * 8])
def test_long_labels_fit_a_phone(tmp_path: Path, long: str) -> None:
    labels = [f"{long}{'' if i % 5 else '_2'}" for i in range(60)]
    page = page_of(content(60, 4, labels=labels, topic=np.arange(60) % 4), tmp_path / "report")
    probe = page.folder / "probe.html"
    # a window is never as narrow as a phone, but a frame is
    probe.write_text(PHONE.format(escape(page.source)), encoding="utf-8")
    found = counted(probe, tmp_path / "profile", "--window-size=600,1700")
    assert found == {"width": "390", "wide": "false", "counts": "8", "cut": "0", "lines": "4", "apart": "0"}


def with_script(page: Page, *, allowed: bool) -> str:
    """The page with a script that counts broken images, and, where scripts are allowed, with the linked originals."""
    if not allowed:
        return page.source.replace("</body>", SCRIPT)
    policy = next(line for line in page.source.splitlines() if "Content-Security-Policy" in line)
    originals = "".join(f'<img width="9" height="9" src="{escape(href)}">' for href in page.originals())
    eager = page.source.replace(policy, "").replace(' loading="lazy"', "")
    return eager.replace("</body>", f"<div>{originals}</div>{SCRIPT}")


@pytest.mark.parametrize("width", [500, 1400])
def test_in_a_browser(tmp_path: Path, width: int) -> None:
    folder = tmp_path / "the 'source' 100% #1"
    folder.mkdir()
    paths = [folder / (HOSTILE[i] if i < len(HOSTILE) else f"{i}.jpg") for i in range(40)]
    for i, path in enumerate(paths):
        path.write_bytes(cv2.imencode(".png", photograph(i))[1].tobytes())
    names = [path.name for path in paths]
    made = content(40, ids=names, names=names, labels=names, topic_names={0: HOSTILE[7]}, locate=paths.__getitem__)
    page = page_of(made, tmp_path / "a report #2 100%")
    profile, size = tmp_path / "profile", f"--window-size={width},2000"

    shot = tmp_path / "shot.png"
    run = chromium((page.folder / "index.html").as_uri(), profile, size, f"--screenshot={shot}")
    assert b"CONSOLE" not in run.stderr, run.stderr
    pixels = cv2.imread(str(shot), cv2.IMREAD_COLOR_RGB)
    assert pixels.shape == (2000, width, 3)
    assert (pixels.max(axis=2) - pixels.min(axis=2) > 40).mean() > 0.1  # the colours of the photographs are there

    probe = page.folder / "probe.html"
    probe.write_text(with_script(page, allowed=True), encoding="utf-8")
    n_images = len(page.all("img")) + len(page.originals())
    assert len(page.originals()) >= 40
    # "wide": nothing hangs over the edge, not even a topic's name of 240 letters
    assert counted(probe, profile, size) == {"wide": "false", "images": str(n_images), "broken": "0"}

    paths[0].unlink()  # and the probe does notice
    (page.folder / sorted(page.thumbs())[1]).unlink()
    assert int(counted(probe, profile, size)["broken"]) >= 2

    probe.write_text(with_script(page, allowed=False), encoding="utf-8")
    assert counted(probe, profile, size) == {}  # left as it is, the page lets no script run, whoever put it there
