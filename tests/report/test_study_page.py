"""The report of a study: every table and figure, with the numbers that were handed over, the same bytes each time."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from fastvbow.report.study_content import StudyContent, method_name, setting_name, summary
from fastvbow.report.study_figures import draw_figures, for_page
from fastvbow.report.study_findings import findings
from fastvbow.report.study_page import build_study_page

LABELS = ("forest <b>", "street", "kitchen $x^2$")
FIGURES = {"methods", "symkl", "ratio", "mixtures", "histograms", "bars", "curves", "stability"}


def row(part, method, features, seed, keypoints, words, topics, acc, symkl, ratio, aligned=True):
    return {
        "key": f"{part}{method}{seed}",
        "part": part,
        "method": method,
        "features": features,
        "keypoints": keypoints,
        "words": words,
        "topics": topics,
        "seed": seed,
        "seconds": 2.0 + seed,
        "seconds_topics": 1.5,
        "aligned": aligned,
        "independence_p": 0.001 if aligned else 0.61,
        **dict.fromkeys(("acc", "nmi", "ami", "ari", "v_measure", "purity"), acc),
        "symkl_global": symkl,
        "symkl_within": symkl * ratio,
        "symkl_ratio": ratio,
        "validation_symkl_global": 9 - symkl,
        "validation_symkl_within": (9 - symkl) * (1 - ratio),
        "validation_symkl_ratio": 1 - ratio,
        "perplexity": 40.0 + topics,
        "stability_ari": 0.7,
        "stability_topics": 0.8,
    }


def content(**changed) -> StudyContent:
    """A small study: 6 settings, the least training divergence at 300/300/20, the least ratio held out elsewhere."""
    rows, per_label = [], []
    symkl = {(200, 200, 20): 4.6, (300, 300, 20): 4.5, (300, 300, 50): 6.0}
    symkl |= {(200, 200, 50): 6.1, (200, 300, 20): 4.7, (200, 300, 50): 6.3}
    for (keypoints, words, topics), value in symkl.items():
        for seed in (0, 1):
            made = row("grid", "fastvbow", "sift,cnn", seed, keypoints, words, topics, 0.5, value, value / 8)
            rows.append(made)
            for number, label in enumerate(LABELS):
                for share in ("training", "validation"):
                    of_label = {"label": label, "share": share, "n_images": 9, "symkl": value / 2 + number}
                    per_label.append(
                        {**{k: made[k] for k in ("part", "keypoints", "words", "topics", "seed")}, **of_label}
                    )
    compared = [("fastvbow", "sift,cnn", 0.9), ("fastvbow", "sift", 0.4), ("lda-variational", "sift", 0.3)]
    compared += [("pca-pixels", "", 0.2), ("kmeans-embeddings", "cnn", 0.8), ("vae-conv", "", 0.25)]
    for method, features, acc in compared:
        for seed in (0, 1):
            aligned = method != "vae-conv"
            made = row("comparison", method, features, seed, 300, 300, 3, acc + seed / 100, 5.0, 0.3, aligned)
            rows.append(made)
    keys = [(method, features) for method, features, _ in compared]
    given = StudyContent(
        title="scenes & more",
        source="/photographs/scenes",
        n_images=30,
        n_validation=6,
        n_skipped=1,
        labels=LABELS,
        label_sizes=(12, 10, 8),
        grid={"features": ("sift", "cnn"), "seeds": (0, 1), "words": (200, 300)},
        rows=rows,
        per_label=per_label,
        left_out={"vae-paper": "PyTorch is not installed"},
        seconds_extraction=12.5,
        version="0.0",
        reference={"keypoints": 300, "words": 300, "seed": 0},
        tables=dict.fromkeys(keys, np.array([[10, 1, 1], [0, 9, 1], [2, 0, 6]])),
        mixtures=np.array([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.05, 0.05, 0.9]]),
        histograms=np.full((3, 12), 1 / 12, np.float32),
        curves={"vae-conv": {"training loss": [9.0, 7.0, 6.5], "held-out loss": [9.5, 8.0, 7.9]}},
    )
    return replace(given, **changed)


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_page_has_every_table_and_figure(tmp_path):
    page = build_study_page(content(), tmp_path).read_text(encoding="utf-8")
    assert set(re.findall(r'<figure id="figure-(\w+)"', page)) == FIGURES
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == FIGURES
    for section in ("findings", "methods", "divergence", "labels", "topics", "stability", "run"):
        assert f'<section id="{section}"' in page
    text = text_of(page)
    assert "4.500 | 4.500 " in text, "the paper's table: training | validation"
    assert "0.905 ± 0.007" in text, "mean and spread of the route"
    assert "vae-paper is not here: PyTorch is not installed" in text
    assert "Not aligned." in text and "p = 0.610" in text
    assert "forest &lt;b&gt;" in page and "forest <b>" not in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page), "nothing outside the page"
    assert "<script" not in page


def test_the_least_of_a_column_is_marked(tmp_path):
    page = build_study_page(content(), tmp_path).read_text(encoding="utf-8")
    table = page[page.index('<table class="numbers paired">') :].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">([\d/]+)</th><td>(.*?)</td><td>(.*?)</td>', table)
    assert len(rows) == 6
    assert [name for name, overall, _ in rows if overall.startswith("<b>")] == ["300/300/20"]
    assert [name for name, overall, _ in rows if overall.endswith("</b>")] == ["200/300/50"]


def test_figures_are_svg_that_repeats():
    figures = draw_figures(content())
    assert figures == draw_figures(content())
    for svg in figures.values():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "<dc:date>" not in svg
        shown = for_page(svg)
        assert shown.startswith("<svg") and "var(--" in shown and "#1c1c1a" not in shown
        assert re.search(r'style="max-width:\d+px"', shown[:400])
        ElementTree.fromstring(shown)
    labels = "".join(ElementTree.fromstring(figures["bars"]).itertext())
    assert all(label in labels for label in LABELS), "text stays text, dollar signs too"


def test_losses_that_fall_by_orders_of_magnitude():
    curves = {"vae-paper": {"training loss": [3e8, 2e6, 4e4], "held-out loss": [5e7, 1e6, 5e4]}}
    svg = draw_figures(content(curves=curves))["curves"]
    assert "10⁸" in svg
    assert "mathdefault" not in svg


def test_what_there_is_nothing_of_is_left_out(tmp_path):
    grid = [made for made in content().rows if made["part"] == "grid"]
    bare = content(
        rows=grid, reference=None, tables={}, mixtures=None, histograms=None, curves={}, labels=(), label_sizes=()
    )
    assert set(draw_figures(bare)) == {"stability"}
    page = build_study_page(bare, tmp_path).read_text(encoding="utf-8")
    assert 'id="methods"' not in page and 'id="divergence"' in page
    one_seed = [made | {"stability_ari": None} for made in grid if made["seed"] == 0]
    assert draw_figures(replace(bare, rows=one_seed)) == {}
    assert 'id="stability"' not in build_study_page(replace(bare, rows=one_seed), tmp_path).read_text(encoding="utf-8")


def test_findings_follow_from_the_numbers():
    said = {finding.claim[:20]: finding.answer for finding in findings(content())}
    best, smooth, sift, methods, aligned = said.values()
    assert "300/300/20 (4.500) on the photographs learned from" in best
    assert "200/300/50 (2.700) on those held out" in best
    assert "least on photographs held out with 200/300/50" in best
    assert "comes 1st of 6 by training divergence and 6th by the ratio" in best
    assert "With 20 topics the one over all is 4.60 in the mean, lower than with 50 (6.13)" in smooth
    assert "SIFT alone reaches an accuracy of 0.405 ± 0.007" in sift
    assert "PCA of the pixels, K-Means: 0.205 ± 0.007, less." in sift
    assert "K-Means of the CNN's vectors: 0.805 ± 0.007, more." in sift
    assert "reaches an accuracy of 0.905 ± 0.007; the most accurate baseline, K-Means of the CNN's vectors" in methods
    assert "rejected in 22 (chi-square, 5 %). It is not in 2: convolutional VAE" in aligned

    # other numbers, other words
    better = [{**made, "acc": 0.95} if made["method"] == "pca-pixels" else made for made in content().rows]
    said = " ".join(finding.answer for finding in findings(content(rows=better)))
    assert "PCA of the pixels, K-Means: 0.950 ± 0.000, more." in said
    close = [{**made, "acc": 0.9} if made["method"] == "kmeans-embeddings" else made for made in content().rows]
    assert "not told apart by these seeds" in " ".join(finding.answer for finding in findings(content(rows=close)))
    assert findings(content(rows=[])) == []


def test_summary():
    assert str(summary([{"a": 1.0}, {"a": 3.0}, {"a": float("nan")}, {}], "a")) == "2.000 ± 1.414"
    assert str(summary([{"a": 1.0}], "a")) == "1.000"
    assert str(summary([{}], "a")) == "–"


@pytest.mark.parametrize(("numbers", "name"), [((20, 300, 150), "300/150/20"), ((20, 0, 150), "150/20")])
def test_settings_are_named_as_in_the_paper(numbers, name):
    assert setting_name(*numbers) == name


def test_methods_are_named():
    assert method_name("lda-variational", "sift") == "variational LDA, SIFT alone"
    assert method_name("pca-pixels", "") == "PCA of the pixels, K-Means"
