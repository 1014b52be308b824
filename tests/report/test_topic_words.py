"""Words of a planted corpus are shown by patches of their own colour, cut from the photographs of their topic."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from report.planted import COLOURS, HEIGHT, N_TOPICS, WIDTH, evidence, pixels, planted, tokens

from fastvbow.report.build import build_report
from fastvbow.report.choice import choose
from fastvbow.report.evidence import PhotographTokens
from fastvbow.report.patches import SIDE
from fastvbow.report.photographs import hand_out
from fastvbow.report.topic_words import PATCHES, WordPatches

BLANK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def words_of(folder, content=None, **options):
    content = content or planted()
    choice = choose(content, 4, 0)
    made = WordPatches(content.evidence, choice, folder)
    hand_out(content, list(choice.shown()), [made], **options)
    return made, choice


def by_kind(found):
    return {kind.kind: kind for kind in found.kinds}


def test_patches_have_the_colours_of_their_words(tmp_path):
    made, choice = words_of(tmp_path)
    for chosen in choice.topics:
        topic = chosen.topic
        found = made.topics[topic]
        kinds = by_kind(found)
        assert [kind.kind for kind in found.kinds] == ["pooled", "conv", "sift"], "the most telling kind first"
        assert sum(kind.part for kind in found.kinds) == pytest.approx(1)
        assert [word.word for word in kinds["sift"].words] == [2 * topic, 2 * topic + 1]
        assert kinds["conv"].words[0].word == 8 + topic
        sheet = cv2.imread(str(tmp_path / found.address), cv2.IMREAD_COLOR_RGB)
        assert sheet.shape == (found.rows * SIDE, PATCHES * SIDE, 3)
        for kind, colour in (("sift", COLOURS[topic]), ("conv", COLOURS[topic] // 2)):
            word = kinds[kind].words[0]
            assert len(word.patches) >= 4 and all(patch.cut for patch in word.patches)
            assert {patch.index for patch in word.patches} == set(chosen.typical), "of every typical photograph"
            for patch in word.patches:
                if not patch.place.inside:
                    continue
                at = sheet[word.row * SIDE :, patch.column * SIDE :][20 : SIDE - 20, 20 : SIDE - 20]
                assert np.abs(at.reshape(-1, 3).mean(axis=0) - colour).max() < 12, (topic, kind)


def test_numbers_by_hand(tmp_path):
    made, _ = words_of(tmp_path)
    counts = evidence().counts
    word = by_kind(made.topics[1])["conv"].words[0]
    p = 30 / counts[1].sum()
    assert (word.share, word.lift) == (pytest.approx(p), pytest.approx(p / (counts[:, 9].sum() / counts.sum())))


def test_first_one_of_each_photograph_and_such_as_lie_within(tmp_path):
    made, choice = words_of(tmp_path)
    patches = by_kind(made.topics[0])["sift"].words[0].patches  # keypoints 0 and 2 of four photographs
    assert [patch.index for patch in patches] == choice_of(choice, 0) * 2
    assert [(patch.place.x, patch.place.y) for patch in patches[:4]] == [(60, 60)] * 4, "the larger, which lies within"
    assert [(patch.place.x, patch.place.y) for patch in patches[4:]] == [(5, 5)] * 4


def test_the_largest_of_a_photograph_comes_first(tmp_path):
    def given(index: int) -> PhotographTokens:
        found = tokens(index)
        sift = found.kinds[0]
        order = [1, 0, 2]  # the smaller one comes first in the features
        same = np.array([2 * (index % N_TOPICS)] * 3)
        return PhotographTokens(
            WIDTH, HEIGHT, [type(sift)("sift", same, sift.topics, sift.places[order]), *found.kinds[1:]]
        )

    made, _ = words_of(tmp_path, planted(evidence=evidence(tokens=given)))
    patches = by_kind(made.topics[0])["sift"].words[0].patches
    assert [(patch.place.x, patch.place.y) for patch in patches] == [(60, 60)] * 4 + [(275, 200)] * 4


def choice_of(choice, topic):
    return next(chosen.typical for chosen in choice.topics if chosen.topic == topic)


def test_whole_photographs_by_their_tokens(tmp_path):
    def given(index: int) -> PhotographTokens:
        """The third photograph of topic 0 has most tokens of its word, the first ones fewer."""
        found = tokens(index)
        whole = found.kinds[2]
        n = 19 if index == 8 else 6
        other = 12 + (index + 1) % N_TOPICS
        return PhotographTokens(
            WIDTH, HEIGHT, [type(whole)("pooled", np.where(np.arange(20) < n, whole.words, other), whole.topics)]
        )

    made, choice = words_of(tmp_path, planted(evidence=evidence(tokens=given)))
    word = by_kind(made.topics[0])["pooled"].words[0]
    assert word.word == 12 and choice_of(choice, 0) == [0, 4, 8, 12]
    assert word.photographs == [8, 0, 4, 12]
    assert not by_kind(made.topics[0])["sift"].words and made.topics[0].address is None
    assert not list((tmp_path / "words").iterdir()), "no sheet without a patch"


def test_only_tokens_of_the_topic_itself(tmp_path):
    def given(index: int) -> PhotographTokens:
        found = tokens(index)
        sift = found.kinds[0]
        foreign = np.roll(sift.topics, 1, axis=1)  # most probably of another topic
        return PhotographTokens(WIDTH, HEIGHT, [type(sift)("sift", sift.words, foreign, sift.places), *found.kinds[1:]])

    made, _ = words_of(tmp_path, planted(evidence=evidence(tokens=given)))
    assert not any(by_kind(found)["sift"].words for found in made.topics.values())


def test_photographs_that_are_gone_have_no_patch(tmp_path):
    made, choice = words_of(tmp_path, planted(read_photograph=lambda i: None if i % 8 == 0 else pixels(i)))
    gone = {i for i in choice_of(choice, 0) if i % 8 == 0}
    found = by_kind(made.topics[0])["sift"].words[0].patches
    assert gone and {patch.index for patch in found if not patch.cut} == gone
    assert made.topics[0].address and made.n_bytes == sum(p.stat().st_size for p in (tmp_path / "words").iterdir())
    (tmp_path / "second").mkdir()
    made, _ = words_of(tmp_path / "second", planted(read_photograph=lambda i: None))
    assert all(found.address is None for found in made.topics.values())


def test_threads_change_no_byte(tmp_path):
    sheets = []
    for jobs in (1, 2):
        (tmp_path / str(jobs)).mkdir()
        words_of(tmp_path / str(jobs), jobs=jobs)
        sheets.append({p.name: p.read_bytes() for p in (tmp_path / str(jobs) / "words").iterdir()})
    assert len(sheets[0]) == N_TOPICS and sheets[0] == sheets[1]


class Markup(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_a_topic_page_shows_them(tmp_path):
    reads: Counter[int] = Counter()

    def read(i: int) -> np.ndarray:
        reads[i] += 1
        return pixels(i)

    hostile = ['<b>"&.png', *(f"{i}.png" for i in range(1, 24))]
    content = planted(read_photograph=read, names=hostile)
    build_report(content, tmp_path / "report", per_topic=4)
    assert max(reads.values()) == 1, "no photograph is decoded twice"
    source = (tmp_path / "report" / "topic-000.html").read_text(encoding="utf-8")
    page = Markup(source)
    patches = [attrs for tag, attrs in page.tags if tag == "image"]
    assert patches and {attrs["href"] for attrs in patches} == {"words/topic-000.jpg"}
    views = [attrs["viewbox"] for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(views) == len(patches)
    assert all(re.fullmatch(r"\d+ \d+ 80 80", view) for view in views)
    labels = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and "aria-label" in attrs]
    assert 'Keypoint in <b>"&.png' in labels and "<b>" not in source.replace("<b>×", "")
    assert "Words that mark this topic" in source and "None of these words marks" not in source

    weak = evidence().counts.copy()
    weak[:, :8] = 5
    build_report(planted(evidence=evidence(counts=weak)), tmp_path / "weak", per_topic=4)
    source = (tmp_path / "weak" / "topic-000.html").read_text(encoding="utf-8")
    assert source.count("None of these words marks the topic") == 1
    assert source.index("Keypoints (SIFT)") < source.index("None of these words marks the topic")

    assert "that the model counts to it" in source and 'id="overlays"' in source

    build_report(planted(made_by="K-Means from <i>vectors</i>"), tmp_path / "clusters", per_topic=4)
    source = (tmp_path / "clusters" / "topic-000.html").read_text(encoding="utf-8")
    assert 'id="words"' in source and 'id="overlays"' not in source, "clusters know no parts"
    assert "made without these words" in source and "the model" not in source
    first = (tmp_path / "clusters" / "index.html").read_text(encoding="utf-8")
    assert "are clusters, made by K-Means from &lt;i&gt;vectors&lt;/i&gt;. Each" in first

    build_report(planted(evidence=None), tmp_path / "without", per_topic=4)
    source = (tmp_path / "without" / "topic-000.html").read_text(encoding="utf-8")
    assert 'id="words"' not in source and 'id="overlays"' not in source
