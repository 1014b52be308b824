"""The data of the browser: every photograph once, with the numbers and the address that it has."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from report.sample import HOSTILE, content, report_of

from fastvbow.report import browse_page, wording


def rows_of(report):
    """All rows as plain values, put together as the pages' script does."""
    index, rows = report.data("index"), []
    for number in range(len(index["chunks"])):
        chunk = report.data(f"rows-{number:04d}")
        slots = {row: chunk["slot"] + place for place, row in enumerate(chunk["pictured"])}
        assert len(chunk["sizes"]) == 2 * len(slots)
        for i, name in enumerate(chunk["name"]):
            full = chunk["folders"][chunk["folder"][i]] + name
            made = chunk["base"] and chunk["base"] + "/".join(urllib.parse.quote(p, safe="") for p in full.split("/"))
            label = chunk["labels"][chunk["label"][i]] if "label" in chunk and chunk["label"][i] >= 0 else None
            rows.append((full, chunk["hrefs"].get(str(i), made), chunk["p"][i], chunk["e"][i], label, slots.get(i)))
    return rows


@pytest.mark.parametrize("chunk", [7, 10_000])
def test_every_photograph_stands_in_the_data_once(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(browse_page, "CHUNK", chunk)
    labels = ["coast" if i % 3 else None for i in range(60)]
    topic = np.where(np.arange(60) % 11 == 5, -1, np.arange(60) % 4)
    made = content(labels=labels, topic=topic, topic_names={2: "By the <sea>"})
    report = report_of(made, tmp_path / "report", n_thumbnails=25, per_topic=2, n_uncertain=0)
    rows, index = rows_of(report), report.data("index")
    by_name = {row[0]: row for row in rows}
    assert len(rows) == len(by_name) == index["n"] == 60 and len(index["chunks"]) == -(-60 // chunk)
    for i, name in enumerate(made.names):
        _, href, p, e, label, _ = by_name[name]
        assert href == f"file:///photographs/{name}" and label == labels[i]
        known = topic[i] >= 0
        assert (p, e) == ((round(1000 * made.probability[i]), round(1000 * made.entropy[i])) if known else (0, 0))
    for entry in index["topics"]:
        part = rows[entry["start"] : entry["start"] + entry["size"]]
        assert {made.names[i] for i in np.flatnonzero(topic == entry["id"])} == {row[0] for row in part}
        assert entry["label"] == (None if entry["id"] < 0 else "coast")
    titles = {entry["id"]: (entry["title"], entry["page"]) for entry in index["topics"]}
    assert titles[2] == ("By the <sea>", "topic-002.html")
    assert titles[-1] == ("Without a topic", "index.html#without-topic")
    slots = [row[5] for row in rows if row[5] is not None]
    assert slots == list(range(25)), "cells in the order of the rows"
    assert index["labels"] == [["coast", 40]] and index["unlabelled"] == 20 and index["labelled"]
    for number, (lowest, highest, least, most) in enumerate(index["chunks"]):
        part = rows[number * chunk : (number + 1) * chunk]
        assert (lowest, highest) == (min(r[2] for r in part), max(r[2] for r in part))
        assert (least, most) == (min(r[3] for r in part), max(r[3] for r in part))
    doubted = np.sum([row[3] >= index["uncertain"] for row in rows])
    assert 0.08 * 54 <= doubted <= 0.2 * 54


def test_addresses_of_odd_names(tmp_path):
    """Each leads back to its file, to the byte, whether the name or the address itself stands in the data."""
    names = [*HOSTILE, "plain.jpg", "sub/%41 \\ b.jpg", "sub/ü.jpg"]
    n = len(names)
    made = content(n, 1, names=names, ids=[str(i) for i in range(n)], locate=lambda i: Path("/x y/ü", names[i]))
    report = report_of(made, tmp_path / "report")
    rows = {row[0]: row[1] for row in rows_of(report)}
    assert set(rows) == set(map(wording.printable, names))
    for name in names:
        path = urllib.parse.unquote_to_bytes(rows[wording.printable(name)].removeprefix("file://"))
        assert path == os.fsencode(f"/x y/ü/{name}")
    assert report.data("rows-0000")["base"] == "file:///x%20y/%C3%BC/"


def test_several_roots_and_no_files(tmp_path):
    roots = [Path("/a/000.jpg"), Path("/b/001.jpg"), None, Path("/a/003.jpg"), Path("/b/other.jpg")]
    names = [f"{i:03d}.jpg" for i in range(5)]
    made = content(5, 1, probability=np.arange(9, 4, -1) / 9, names=names, ids=names, locate=roots.__getitem__)
    rows = {row[0]: row[1] for row in rows_of(report_of(made, tmp_path / "report"))}
    assert [rows[name] for name in names] == [
        "file:///a/000.jpg",
        "file:///b/001.jpg",
        None,
        "file:///a/003.jpg",
        "file:///b/other.jpg",
    ]
    made = content(5, 1, names=names, ids=names, locate=lambda i: None)
    report = report_of(made, tmp_path / "other")
    assert [row[1] for row in rows_of(report)] == [None] * 5 and report.data("rows-0000")["hrefs"] == {}
    relative = content(5, 1, names=names, ids=names, locate=lambda i: Path("photographs", names[i]))
    rows = {row[0]: row[1] for row in rows_of(report_of(relative, tmp_path / "relative"))}
    assert rows["003.jpg"] == (Path.cwd() / "photographs" / "003.jpg").as_uri()


def test_without_labels_and_without_photographs(tmp_path):
    report = report_of(content(), tmp_path / "report")
    assert "label" not in report.data("rows-0000") and not report.data("index")["labelled"]
    index = report_of(content(0, 2), tmp_path / "empty").data("index")
    assert (index["n"], index["chunks"], index["topics"]) == (0, [], [])


def test_labels_without_end_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(browse_page, "MOST_LABELS", 5)
    labels = [f"label {i % 9}" for i in range(60)]
    report = report_of(content(labels=labels), tmp_path / "report")
    assert report.data("index")["labels"] == [[f"label {i}", 7] for i in range(5)]
    assert {row[4] for row in rows_of(report)} == set(labels), "the search finds them all"
