"""The map's data: every photograph at its place, all of them counted, neighbours of different colours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report.sample import content

from fastvbow.report import map_page, positions
from fastvbow.report.build import build_report
from fastvbow.report.map_page import COLOURS, GRID, SIDE, choose_colours, count_cells
from fastvbow.report.positions import MapInput, Positions


def given(n: int, seed: int = 0) -> tuple[MapInput, np.ndarray]:
    rows = np.random.default_rng(seed).dirichlet(np.full(4, 0.4), n)
    return MapInput("pca", lambda i: rows[i], lambda i: rows[i]), rows


def value(path) -> dict:
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def built(folder, n: int = 80, **changes):
    layout, rows = given(n)
    topic = np.where(np.arange(n) % 20 == 3, -1, rows.argmax(axis=1))
    options = {"n_thumbnails": changes.pop("n_thumbnails", 30)}
    made = content(n, 5, topic=topic, positions=layout, **changes)
    build_report(made, folder, per_topic=3, n_uncertain=3, **options)
    return made, rows, value(folder / "data" / "map.js"), value(folder / "data" / "index.js")


def order_of(folder, index) -> list[str]:
    """The names of all photographs in the order of the rows."""
    names = []
    for number in range(len(index["chunks"])):
        chunk = value(folder / "data" / f"rows-{number:04d}.js")
        names += [chunk["folders"][f] + name for f, name in zip(chunk["folder"], chunk["name"], strict=True)]
    return names


def test_every_photograph_lies_at_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(positions, "EVENED", 0.0)
    made, rows, data, index = built(tmp_path / "report")
    drawn = np.cumsum(data["rows"])
    with_topic = np.flatnonzero(np.asarray(made.topic) >= 0)
    assert len(drawn) == len(with_topic) == 76 and data["density"] is None
    names = order_of(tmp_path / "report", index)
    photographs = np.array([list(made.names).index(names[row]) for row in drawn])
    assert set(photographs.tolist()) == set(with_topic.tolist()), "those without a topic have no place"
    centred = rows[photographs] - rows[photographs].mean(axis=0)
    wanted = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    found = np.column_stack([data["x"], -np.asarray(data["y"])]).astype(float)
    between = [np.linalg.norm(at[:, None] - at, axis=2) for at in (wanted, found)]
    scale = between[1].max() / between[0].max()
    np.testing.assert_allclose(between[0] * scale, between[1], atol=3)
    assert max(*data["x"], *data["y"]) == SIDE - 1 and min(*data["x"], *data["y"]) == 0


def test_pictures_are_those_of_the_sheets(tmp_path):
    _, _, data, index = built(tmp_path / "report")
    slots = {row: slot for row, slot in zip(np.cumsum(data["rows"]).tolist(), data["slot"], strict=True) if slot >= 0}
    chunk = value(tmp_path / "report" / "data" / "rows-0000.js")
    wanted = {row: chunk["slot"] + i for i, row in enumerate(chunk["pictured"])}
    assert slots == {row: slot for row, slot in wanted.items() if row in set(np.cumsum(data["rows"]).tolist())}
    assert len(data["sizes"]) == 2 * len(slots)
    assert index["sheet"]["pictured"] == 30


def test_labels_and_topics_have_their_middles(tmp_path):
    labels = [["sea", "town", None, "sea"][i % 4] for i in range(80)]
    _, _, data, index = built(tmp_path / "report", labels=labels)
    assert [name for name, _, _ in data["labels"]] == ["sea", "town"]
    label, x, y = (np.asarray(data[name]) for name in ("label", "x", "y"))
    for number, (_, count, (_, left, top)) in enumerate(data["labels"]):
        assert count == (label == number).sum()
        assert abs(np.median(x[label == number]) - left) <= 1 and abs(np.median(y[label == number]) - top) <= 1
    drawn = np.cumsum(data["rows"])
    for topic, place in zip(index["topics"], data["topics"], strict=False):
        inside = (drawn >= topic["start"]) & (drawn < topic["start"] + topic["size"])
        assert abs(np.median(x[inside]) - place[1]) <= 1 and abs(np.median(y[inside]) - place[2]) <= 1
    assert "label" not in built(tmp_path / "without")[2]


def test_many_photographs_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(map_page, "MOST_DRAWN", 40)
    _, _, data, index = built(tmp_path / "report", n=400)
    assert len(data["rows"]) == 40
    assert sum(data["density"]["counts"]) == 380, "all that have a topic"
    pictured = sum(slot >= 0 for slot in data["slot"])
    assert pictured >= 25, "first of all those with a picture"
    page = (tmp_path / "report" / "map.html").read_text(encoding="utf-8")
    assert "40 photographs are drawn one by one" in page and "density of all 380" in page
    assert "20 photographs without a topic have no place" in page
    assert index["n"] == 400


def test_cells_against_a_slow_count():
    rng = np.random.default_rng(0)
    places, group = rng.beta(0.4, 0.4, (3000, 2)), rng.integers(0, 3, 3000)
    places[0], places[1] = (0, 0), (1, 1)
    found = count_cells(places, group)
    wanted: dict[int, list[int]] = {}
    for (x, y), g in zip(places, group, strict=True):
        column, row = min(GRID - 1, int(x * GRID)), GRID - 1 - min(GRID - 1, int(y * GRID))
        wanted.setdefault(row * GRID + column, []).append(int(g))
    cells = np.cumsum(found["cells"]).tolist()
    assert cells == sorted(wanted)
    assert found["counts"] == [len(wanted[cell]) for cell in cells]
    for cell, topic in zip(cells, found["topics"], strict=True):
        counts = [wanted[cell].count(g) for g in range(3)]
        assert counts[topic] == max(counts) and counts.index(max(counts)) == topic


def test_colours_repeat_only_far_away():
    middles = np.random.default_rng(2).uniform(size=(40, 2))
    colours = choose_colours(middles)
    assert sorted(colours[:COLOURS]) == list(range(COLOURS)) and set(colours) == set(range(COLOURS))
    for number in range(COLOURS, 40):
        distance = np.linalg.norm(middles[:number] - middles[number], axis=1)
        nearest = {c: distance[np.asarray(colours[:number]) == c].min() for c in range(COLOURS)}
        assert nearest[colours[number]] == max(nearest.values())
    assert choose_colours(np.full((2, 2), np.nan)) == [0, 1]


def test_the_same_bytes_and_no_map_where_there_is_nothing_to_lay_out(tmp_path):
    for name in ("one", "two"):
        built(tmp_path / name)
    files = [{p.name: p.read_bytes() for p in (tmp_path / name / "data").iterdir()} for name in ("one", "two")]
    assert files[0] == files[1]
    build_report(content(20), tmp_path / "bare")
    assert not (tmp_path / "bare" / "map.html").exists()
    assert "map.html" not in (tmp_path / "bare" / "index.html").read_text(encoding="utf-8")
    build_report(content(4, topic=np.full(4, -1), positions=given(4)[0]), tmp_path / "none")
    assert value(tmp_path / "none" / "data" / "map.js")["rows"] == []


@pytest.mark.parametrize("method", ["umap", "pca"])
def test_the_page_says_by_what(tmp_path, method, monkeypatch):
    def laid(given, drawn, others):
        return Positions(method, np.zeros((len(drawn), 2)), np.zeros((0, 2)))

    monkeypatch.setattr(map_page, "lay_out", laid)
    built(tmp_path / "report")
    page = (tmp_path / "report" / "map.html").read_text(encoding="utf-8")
    assert ("Laid out by UMAP" in page, "principal components" in page) == (method == "umap", method == "pca")
