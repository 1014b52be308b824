from __future__ import annotations

import os
import re
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report.sample import HOSTILE, Report, content, photograph, report_of

from fastvbow.errors import ImageError, UsageError
from fastvbow.report import pages as pages_module
from fastvbow.report import wording
from fastvbow.report.build import build_report
from fastvbow.report.content import Skipped


def test_counts_and_sections(tmp_path: Path) -> None:
    made = content(
        skipped=[Skipped("b.txt", "not an image"), Skipped("a.txt", "not an image"), Skipped("c.jpg", "empty file")],
        labels=["coast" if i % 3 else None for i in range(60)],
        metrics={"accuracy": 0.87124},
        topic_names={2: "By the sea"},
    )
    report = report_of(made, tmp_path / "report", per_topic=6, n_uncertain=5)
    for piece in ("63 photographs", "60 grouped", "3 skipped", "4 of 4 topics in use", "0.871 accuracy"):
        number, words = piece.split(" ", 1)
        assert f"<dt>{words}</dt><dd>{number}</dd>" in report.source
    assert "1 min 14 s" in report.words and "not an image 2" in report.words and "By the sea" in report.words
    sizes = np.bincount(made.topic, minlength=4)
    for topic, size in enumerate(sizes):
        words = report.pages[f"topic-{topic:03d}.html"].words
        assert f"{size} photographs · {100 * size / 60:.1f} % of all" in words
        assert ("← previous" in words) == (topic != sizes.argmax())
    cards = [str(a["href"]) for a in report.pages["index.html"].all("a") if str(a["href"]).startswith("topic-")]
    order = sorted(range(4), key=lambda t: (-sizes[t], t))
    assert cards[:4] == [f"topic-{t:03d}.html" for t in order]
    following = [
        str(a["href"]) for t in order for a in report.pages[f"topic-{t:03d}.html"].all("a") if a.get("rel") == "next"
    ]
    assert following == cards[1:4]
    assert len(report.originals()) == sum(min(size, 6 + 4 + 4) for size in sizes) + 5
    assert len(report.thumbs()) <= 4 * (6 + 4 + 4) + 5


@pytest.mark.parametrize("hidden", [None, "missing", "unreadable"])
def test_hostile_names(tmp_path: Path, hidden: str | None) -> None:
    folder = tmp_path / "the 'source' 100% #1"
    folder.mkdir()
    paths = [folder / name for name in HOSTILE]
    for path in paths:
        path.write_bytes(b"original")
    n = len(paths)

    def read(i: int) -> np.ndarray | None:
        if hidden == "unreadable":
            raise ImageError("truncated")
        return None if hidden else photograph(i)

    made = content(
        n,
        2,
        title=HOSTILE[0],
        source=HOSTILE[4],
        ids=HOSTILE,
        names=HOSTILE,
        labels=HOSTILE,
        topic=np.arange(n) % 2,
        topic_names={0: HOSTILE[0] + HOSTILE[4], 1: HOSTILE[1]},
        locate=paths.__getitem__,
        read_photograph=read,
        skipped=[Skipped(name, name) for name in HOSTILE],
        parameters=dict(zip(HOSTILE, HOSTILE, strict=True)),
        seconds=dict.fromkeys(HOSTILE, 1.0),
        metrics=dict.fromkeys(HOSTILE, 0.5),
        version=HOSTILE[0],
    )
    report = report_of(made, tmp_path / "report")
    assert "<script>" not in report.source and "\u202e" not in report.source and r"\u202egpj.exe" in report.source
    assert (
        r"two\nlines.jpg" in report.words
        and r"latin-\udce9\udcff.jpg" in report.words
        and "{{ 7 * 7 }}" in report.words
    )
    if hidden:
        assert not report.originals() and not report.all("img")
        assert len([a for a in report.all("span") if a.get("class") == "gone"]) >= 2 * n
    else:
        found = {
            os.fsdecode(urllib.parse.unquote_to_bytes(href.removeprefix("file://"))) for href in report.originals()
        }
        assert found == {str(path) for path in paths}
        assert all(Path(path).read_bytes() == b"original" for path in found)
        assert all(href.isascii() and not set(href) & set("\"'<> \n#?") for href in report.originals())
        assert {img["alt"] for img in report.all("img")} == {"", *map(wording.printable, HOSTILE)}


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    names = ["lone \ud800.jpg", "nul \0.jpg"]
    made = content(2, 1, ids=names, names=names, locate=lambda i: Path("/x", names[i]))
    report = report_of(made, tmp_path / "report")
    assert r"lone \ud800.jpg" in report.words and r"nul \x00.jpg" in report.words


def test_some_vanished(tmp_path: Path) -> None:
    def read(i: int) -> np.ndarray | None:
        if i % 3 == 0:
            raise FileNotFoundError(i)
        return None if i % 3 == 1 else photograph(i)

    report = report_of(content(read_photograph=read), tmp_path / "report", per_topic=3)
    gone = [a for a in report.all("span") if a.get("class") == "gone"]
    assert gone and all(str(a["aria-label"]).endswith("can no longer be read") for a in gone)
    assert all(int(src[7:-4]) % 3 == 2 for src in report.thumbs()) and report.thumbs()


def test_originals_without_a_file(tmp_path: Path) -> None:
    report = report_of(content(locate=lambda i: None), tmp_path / "report")
    assert "open the original" not in report.words
    assert "open the original" in report_of(content(), tmp_path / "linked").words
    assert not report.originals() and report.thumbs()


def test_nothing_skipped_no_labels(tmp_path: Path) -> None:
    report = report_of(content(), tmp_path / "report")
    assert "None: every file could be read." in report.words
    assert "Agreement with the labels" not in report.words and 'class="labels"' not in report.source


def test_one_topic(tmp_path: Path) -> None:
    report = report_of(content(10, 1, probability=np.ones(10), entropy=np.zeros(10)), tmp_path / "report")
    assert "Look at these first" not in report.words  # there is no doubt to show
    assert "10 photographs · 100.0\u00a0% of all" in report.source and "Least certain" not in report.words


@pytest.mark.parametrize(
    ("topics", "line"),
    [([0, 1, 2], "Topic 3 is empty"), ([1], "Topics 0, 2, 3 are empty"), ([3], "Topics 0–2 are empty")],
)
def test_empty_topics(tmp_path: Path, topics: list[int], line: str) -> None:
    report = report_of(content(topic=np.resize(topics, 60)), tmp_path / "report")
    assert line in report.words
    assert report.topics() == topics


def test_without_a_topic(tmp_path: Path) -> None:
    topic = np.zeros(60, dtype=np.int32)
    topic[:40] = -1
    nan = np.where(topic < 0, np.nan, 0.5)
    report = report_of(content(topic=topic, probability=nan, entropy=nan), tmp_path / "report", n_uncertain=6)
    assert "<dt>photographs</dt><dd>60</dd>" in report.source
    assert "grouped60 of these, 40 without a feature skipped0" in report.words
    assert "No feature (keypoint) was found in 40 photographs, so they are in no topic’s sheet." in report.words
    assert "6 of them are shown, all in the browser." in report.words and len(report.originals()) == 20 + 6 + 6
    assert "20 photographs · 33.3\u00a0% of all · mean probability 0.50" in report.source


def test_images_are_grouped_and_skipped(tmp_path: Path) -> None:
    topic = np.arange(60) % 4
    skipped = [Skipped("a.txt", "not an image")]
    every = report_of(content(topic=topic, skipped=skipped), tmp_path / "every").source
    assert "<dt>grouped</dt><dd>60</dd>" in every and "without a feature" not in every
    topic[9] = -1
    report = report_of(content(topic=topic, skipped=skipped), tmp_path / "but one")
    assert "photographs61 grouped60 of these, 1 without a feature skipped1" in report.words
    assert "was found in 1 photograph, so it is in no topic’s sheet." in report.words


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_photographs(tmp_path: Path, n: int) -> None:
    report = report_of(content(n, 2), tmp_path / "report")
    assert ("No photograph was grouped." in report.words) == (n == 0)
    assert len(report.thumbs()) == n


def test_all_without_a_topic(tmp_path: Path) -> None:
    report = report_of(content(topic=np.full(60, -1)), tmp_path / "report")
    assert "grouped60 of these, 60 without a feature" in report.words
    assert (
        "No photograph is in a topic: no feature was found in any." in report.words
        and "Topics 0–3 are empty" in report.words
    )


def skipped_names(report: Report) -> list[tuple[str, list[str]]]:
    """Every skipped page: its name, and the names on it."""
    pages = sorted((name for name in report.pages if name.startswith("skipped")), key=lambda name: (len(name), name))
    return [(name, re.findall(r'<li dir="auto">(.*?)</li>', report.pages[name].source)) for name in pages]


def test_many_skipped_are_paged(tmp_path: Path) -> None:
    skipped = [Skipped(f"{i:04d}.jpg", "broken" if i % 4 else "empty file") for i in range(2500)]
    report = report_of(content(skipped=skipped), tmp_path / "report")
    pages = skipped_names(report)
    assert [name for name, _ in pages] == ["skipped.html", "skipped-2.html", "skipped-3.html"]
    assert [len(names) for _, names in pages] == [1000, 1000, 500]
    broken, empty = ([s.name for s in skipped if s.reason == reason] for reason in ("broken", "empty file"))
    assert [name for _, names in pages for name in names] == broken + empty
    assert "broken1,875 empty file625" in report.pages["skipped.html"].words
    assert "broken 1,875, here 1,001 to 1,875" in report.pages["skipped-2.html"].words
    assert "empty file 625, here 126 to 625" in report.pages["skipped-3.html"].words
    assert "skipped.parquet" not in report.words
    for name, _ in pages:
        assert {f"skipped{end}.html" for end in ("", "-2", "-3")} <= {a["href"] for a in report.pages[name].all("a")}


def test_very_many_skipped_are_bounded(tmp_path: Path) -> None:
    skipped = [Skipped(f"{i:05d}.jpg", "broken" if i % 4 else f"reason {i % 8}") for i in range(16_000)]
    report = report_of(content(skipped=skipped), tmp_path / "report")
    pages = skipped_names(report)
    assert [len(names) for _, names in pages] == [1000] * (pages_module.MAX_SKIPPED // 1000)
    assert "and 2,000 more in skipped.parquet" in report.words and "reason 4 2,000" in report.words
    last = report.pages[pages[-1][0]].words
    assert last.count("skipped.parquet") == 3, "of the broken ones, and of both reasons for which no room was left"


def test_other_labels_are_marked(tmp_path: Path) -> None:
    labels = ["coast"] * 60
    labels[7] = "kitchen"
    report = report_of(content(60, 1, labels=labels), tmp_path / "report", per_topic=60, n_uncertain=0)
    assert report.source.count('<span class="other" dir="auto">kitchen</span>') == 1
    assert '<span class="other" dir="auto">coast</span>' not in report.source
    assert "coast\u00a059 · kitchen\u00a01" in report.text


def test_the_percentage_of_a_label_is_of_the_labelled(tmp_path: Path) -> None:
    labels = [None] * 20 + ["kitchen"] * 10 + ["coast"] * 30
    report = report_of(content(60, 1, labels=labels), tmp_path / "report")
    (line,) = [a for a in report.all("span") if a.get("class") == "line minor common"]
    assert line["title"] == "75.0\u00a0% of the topic’s labelled photographs bear the label coast"
    assert "coast 75.0 %" in report.words and "share of the topic’s labelled photographs" in report.words


@pytest.mark.parametrize(
    ("shape", "ratio", "strip"),
    [
        ((1, 500), "1.333", True),
        ((500, 1), "0.750", True),
        ((100, 900), "1.333", True),
        ((100, 380), "2.400", False),  # a panorama is cropped a little
        ((290, 110), "0.600", False),
        ((200, 300), "1.500", False),
    ],
)
def test_strips_lie_whole_in_a_common_tile(tmp_path: Path, shape: tuple[int, int], ratio: str, strip: bool) -> None:
    grey = np.full((*shape, 3), 128, dtype=np.uint8)
    report = report_of(content(3, 1, read_photograph=lambda i: grey), tmp_path / "report")
    assert {a["style"] for a in report.all("li") if "style" in a} == {f"--r:{ratio}"}
    assert {a.get("class") for a in report.all("img")} == {"strip" if strip else None}


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_report(content(labels=["x"] * 60), tmp_path / name)
    first = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    second = {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}
    assert first == second and len(first) > 30


@pytest.mark.parametrize("jobs", [2, 5, -1])
def test_threads_change_no_byte(tmp_path: Path, jobs: int) -> None:
    def read(i: int) -> np.ndarray | None:
        if i % 5 == 0:
            raise FileNotFoundError(i)
        return photograph(i)

    steps: dict[int, list] = {1: [], jobs: []}
    written = {}
    for n in (1, jobs):
        build_report(
            content(labels=["a"] * 60, read_photograph=read),
            tmp_path / str(n),
            jobs=n,
            progress=lambda *step, n=n: steps[n].append((*step, threading.get_ident())),
        )
        report = report_of(content(labels=["a"] * 60, read_photograph=read), tmp_path / "page", jobs=n)
        written[n] = {p.relative_to(report.folder): p.read_bytes() for p in report.folder.rglob("*") if p.is_file()}
        assert written[n] == {
            p.relative_to(tmp_path / str(n)): p.read_bytes() for p in (tmp_path / str(n)).rglob("*") if p.is_file()
        }
    assert written[1] == written[jobs]
    total = len(steps[1])
    assert steps[1] == steps[jobs] == [(i, total, threading.get_ident()) for i in range(1, total + 1)]


def test_photographs_are_read_at_once(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)  # breaks unless two are read together

    def read(i: int) -> np.ndarray:
        both.wait()
        return photograph(i)

    assert report_of(content(4, 1, read_photograph=read), tmp_path / "report", jobs=2).thumbs()


def test_one_job_reads_in_the_calling_thread(tmp_path: Path) -> None:
    threads = set()

    def read(i: int) -> np.ndarray:
        threads.add(threading.get_ident())
        return photograph(i)

    report_of(content(read_photograph=read), tmp_path / "report")
    assert threads == {threading.get_ident()}


def test_an_interrupt_reads_no_further(tmp_path: Path) -> None:
    begun = []

    def read(i: int) -> np.ndarray:
        begun.append(i)
        time.sleep(0.1)  # eight are handed out meanwhile
        return photograph(i)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_report(content(read_photograph=read), tmp_path / "report", progress=interrupt, jobs=2)
    assert 2 <= len(begun) <= 5, "what was not begun is cancelled"
    assert not list(tmp_path.iterdir()), "nothing is left behind, and no thread writes there any more"


def test_it_replaces_the_old_report_or_leaves_it(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    build_report(content(), folder)
    old = (folder / "index.html").read_bytes()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_report(content(title="another"), folder, progress=interrupt)
    assert (folder / "index.html").read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["report"]
    seen: list[tuple[int, int]] = []
    build_report(content(10), folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 11)]
    assert len(list((folder / "thumbs").iterdir())) == 10 and [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_photograph_is_read_once_and_only_if_shown(tmp_path: Path) -> None:
    reads: Counter[int] = Counter()

    def read(i: int) -> np.ndarray:
        reads[i] += 1
        return photograph(i)

    report_of(content(2000, 3, read_photograph=read), tmp_path / "report", per_topic=5, n_uncertain=5, n_thumbnails=0)
    assert max(reads.values()) == 1 and 3 * 13 <= len(reads) <= 3 * 13 + 5
    reads.clear()
    report_of(content(2000, 3, read_photograph=read), tmp_path / "report", per_topic=5, n_uncertain=5, n_thumbnails=300)
    assert max(reads.values()) == 1 and len(reads) == 300


def test_photographs_are_read_in_sequence_where_that_is_faster(tmp_path: Path) -> None:
    """The rows of a Parquet file are; the report is the same."""
    written, reads = [], {True: [], False: []}
    for in_sequence in reads:
        made = content(read_photograph=lambda i, to=in_sequence: reads[to].append(i) or photograph(i))
        made = replace(made, in_sequence=in_sequence)
        folder = report_of(made, tmp_path / str(in_sequence)).folder
        written.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert written[0] == written[1]
    assert reads[True] == list(range(60)) and reads[False] != list(range(60))


def test_misuse_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ids 60.*topic 59"):
        content(topic=np.zeros(59, dtype=int))
    with pytest.raises(UsageError, match=r"from 0 to 4.*-1 \(none\) to 3"):
        content(topic=np.resize([0, 4], 60))
    with pytest.raises(UsageError, match="per_topic=0"):
        build_report(content(), tmp_path / "report", per_topic=0)
    with pytest.raises(UsageError, match="--jobs is at least 1"):
        build_report(content(), tmp_path / "report", jobs=0)
    with pytest.raises(UsageError, match=r"shape \(5, 5\)"):
        build_report(content(read_photograph=lambda i: np.zeros((5, 5), np.uint8)), tmp_path / "report")
    assert not list(tmp_path.iterdir())


def test_a_merged_group_tells_its_topics(tmp_path):
    """Topics that went into another are not called empty; the others are."""
    made = content(topic=np.array([0, 1] * 30), n_topics=6, merged={0: [0, 3, 4]}, topic_names={1: "<b>Küche</b>"})
    report = report_of(made, tmp_path)
    assert "Topics 0, 3, 4" in report.words
    assert "<b>Küche</b>" in report.words
    assert "topic 1 ·" in report.words
    assert "Topics 2, 5 are empty" in report.words
    assert "<dt>of 4 topics in use</dt><dd>2</dd>" in report.source
