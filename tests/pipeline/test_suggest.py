"""`fastvbow suggest` on a project, and where its suggestions go: names, groups, report, exports."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import SIFT, Recorder, snapshot

from fastvbow import Project, pipeline
from fastvbow.config import ClusterConfig
from fastvbow.errors import StageMissingError, StoreCorruptError, UsageError
from fastvbow.groups.suggestions import read_suggestions
from fastvbow.images.table import ImageTable
from fastvbow.pipeline import suggesting
from fastvbow.pipeline.adding_spaces import add_conse
from fastvbow.pipeline.annotation_export import export
from fastvbow.pipeline.annotation_import import import_labels
from fastvbow.pipeline.naming import merge, name
from fastvbow.pipeline.space_trial import TextOptions
from fastvbow.pipeline.suggesting import suggest
from fastvbow.project import ProjectFolder
from fastvbow.semantic.banks.nouns import PLACES

NOUNS = {"coast": 0, "shore": 0, "kitchen": 1, "stove": 1, "street": 2, "=road": 2, "forest": 3, "tree": 3}
"""Nouns, and the topic whose photographs they stand for: the first of each lies nearer."""
HOSTILE = "<script>alert(\"1\")</script> & 'a meadow'"
WIDTH = 8
SHOWN = {
    "astronaut": "spacesuit",
    "cat": "cat",
    "coffee": "cup of coffee",
    "dahlia": "flower",
    "dandelion": "dandelion",
}
"""What the photographs of `small_folder` show."""
OTHERS = """
airport apple ball bed bicycle boat book bottle bridge car chair church clock cow door elephant
fence fish garden guitar horse house kitchen ladder lamp mountain piano river road ship shoe snow
street table tower train tree truck waterfall window
"""
"""What they do not, a word each."""


class Toy:
    """A space in which photographs lie at the axis of their topic, as it was when the project was made."""

    name, width, fingerprint = "toy", WIDTH, "f" * 64

    def __init__(self, topic_of):
        self.topic_of = topic_of
        self.asked = []

    def image_vectors(self, project, *, jobs=None, device=None, listener=None):
        table = ImageTable.load(project.images, project.image_root)
        rows = np.zeros((len(table), WIDTH), np.float32)
        for i, path in enumerate(table.names):
            if path in self.topic_of:
                rows[i] = np.eye(WIDTH)[self.topic_of[path]] + 0.1 * np.eye(WIDTH)[7]
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    def text_vectors(self, texts, *, prompts=("{}",), jobs=None, listener=None):
        self.asked.append((tuple(texts), tuple(prompts)))
        rows = []
        for text in texts:
            word = next((noun for noun in NOUNS if noun in text), None)
            first = word in dict.fromkeys(NOUNS) and list(NOUNS).index(word) % 2 == 0
            rows.append(np.eye(WIDTH)[NOUNS[word] if word else 6] + (0.2 if first else 1.3) * np.eye(WIDTH)[5])
        rows = np.array(rows, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def toy(sift_project, monkeypatch):
    groups = pq.read_table(sift_project / "groups.parquet").to_pydict()
    space = Toy(dict(zip(groups["path"], groups["topic"], strict=True)))
    opened = []

    def open_space(name, *, device="auto", images="encode"):
        opened.append((name, device, images))
        return space

    monkeypatch.setattr(suggesting, "open_space", open_space)
    space.opened = opened
    return space


@pytest.fixture
def banks(tmp_path):
    """A list of nouns and one of captions."""
    nouns, captions = tmp_path / "nouns.txt", tmp_path / "captions.txt"
    nouns.write_text("".join(f"{noun}\ta {noun} & <more>\n" for noun in NOUNS))
    captions.write_text(f"a coast at noon\na kitchen\nstreet of {HOSTILE}\nnothing\n")
    return nouns, captions


@pytest.fixture
def suggested(sift_copy, toy, banks):
    suggest(sift_copy, space="toy", nouns=banks[0], captions=banks[1])
    return sift_copy


def columns(project):
    return pq.read_table(project / "groups.parquet").to_pydict()


def kept(project):
    (path,) = (project / "names").glob("*.suggested.json")
    return path


BEST = {0: "coast", 1: "kitchen", 2: "street", 3: "forest"}


def test_what_is_suggested(sift_copy, toy, banks, cli):
    before = columns(sift_copy)
    assert set(before["suggested"]) == {None}
    words = ["--space", "toy", "--nouns", banks[0], "--captions", banks[1], "-n", 2]
    outcome = cli("suggest", sift_copy, *words, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert toy.opened == [("toy", "auto", "encode")]
    assert ("a photo of a {}",) in [prompts for _, prompts in toy.asked] or "a photo of a coast" in toy.asked[0][0]
    used = sorted(set(before["topic"]))
    groups = {group["topic"]: group for group in found["groups"]}
    assert sorted(groups) == [0, 1, 2, 3]
    for topic in used:
        group = groups[topic]
        assert group["images"] == before["topic"].count(topic)
        assert (group["suggested"], group["name"], len(group["nouns"])) == (BEST[topic], None, 2)
        assert group["nouns"][0]["noun"] == BEST[topic]
        assert group["nouns"][0]["definition"] == f"a {BEST[topic]} & <more>"
        assert group["nouns"][0]["score"] > group["nouns"][1]["score"]
    assert groups[0]["caption"] == "a coast at noon"
    assert 0.9 < groups[0]["caption_cosine"] < 1
    held = read_suggestions(kept(sift_copy))
    sha = hashlib.sha256(banks[0].read_bytes()).hexdigest()
    assert (held.origin.nouns.name, held.origin.nouns.sha256, held.origin.nouns.rows) == ("nouns.txt", sha, len(NOUNS))
    assert (held.origin.space, held.origin.fingerprint) == ("toy", "f" * 64)
    assert (held.origin.captions.name, held.origin.captions.rows) == ("captions.txt", 4)
    after = columns(sift_copy)
    assert after["suggested"] == [BEST[topic] for topic in after["topic"]]
    assert {k: v for k, v in after.items() if k != "suggested"} == {k: v for k, v in before.items() if k != "suggested"}
    again = cli("suggest", sift_copy, "--space", "toy", "--nouns", banks[0])
    assert again.code == 0, again.err
    assert "coast 0." in again.out
    assert "a coast at noon" not in again.out, "no captions were given"
    assert f"fastvbow name {sift_copy} --suggested" in again.out


@pytest.mark.parametrize("width", [30, 80, 120])
def test_the_table_fits_the_terminal(sift_copy, toy, banks, cli, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    banks[1].write_text(f"a coast at noon, {'with very many waves and gulls, ' * 9}\n")
    outcome = cli("suggest", sift_copy, "--space", "toy", "--nouns", banks[0], "--captions", banks[1])
    assert outcome.code == 0, outcome.err
    head, *lines, _ = outcome.out.splitlines()
    start = head.index("suggested")
    assert max(map(len, lines)) <= max(width, start + 30), "or what is suggested has 30 places"
    assert max(map(len, lines)) > max(width, start + 30) - 15, "and it is used"
    first = lines.index(next(line for line in lines if line.split()[0] == "0"))
    last = lines.index(next(line for line in lines if line.split()[0] == "1"))
    assert {line[:start].strip() for line in lines[first + 1 : last]} == {""}
    told = " ".join(line[start:].strip() for line in lines[first:last])
    assert re.match(r"coast 0\.\d{3}, ", told) and told.count(" 0.") + told.count(" -0.") >= 5
    assert "with very many waves and gulls, " * 9 in told.replace("”", " ") and "“a coast at noon" in told


def test_the_scores(suggested):
    """c·u - .8 mean c·u + .02 log(1 + n), by hand."""
    held = read_suggestions(kept(suggested))
    topics = sorted(set(columns(suggested)["topic"]))
    center = np.eye(WIDTH) + 0.1 * np.eye(WIDTH)[7]
    center /= np.linalg.norm(center, axis=1, keepdims=True)
    for group in held.groups:
        for noun in group.nouns:
            text = np.eye(WIDTH)[NOUNS[noun.noun]] + (0.2 if noun.noun in BEST.values() else 1.3) * np.eye(WIDTH)[5]
            text /= np.linalg.norm(text)
            mean = np.mean([center[k] @ text for k in topics])
            prior = 0.02 * np.log1p(noun.noun in {"coast", "kitchen", "street"})
            assert noun.score == pytest.approx(center[group.topics[0]] @ text - 0.8 * mean + prior, abs=1e-5)


def test_stages_keep_suggestions(suggested, sift_folder, cli):
    """What `suggest` wrote is what the stage would write: it is not done again."""
    written = (suggested / "groups.parquet").read_bytes()
    heard = Recorder()
    pipeline.groups(suggested, listener=heard)
    assert heard.stages("reused") == ["groups"]
    (suggested / "groups.parquet").unlink()
    pipeline.groups(suggested)
    assert (suggested / "groups.parquet").read_bytes() == written
    assert cli("run", sift_folder, "-o", suggested, *SIFT).code == 0
    assert (suggested / "groups.parquet").read_bytes() == written
    kept(suggested).unlink()
    with pytest.raises(StageMissingError, match="run 'fastvbow groups' again"):
        export(suggested, suggested.parent / "out", to="csv")
    pipeline.groups(suggested)
    assert set(columns(suggested)["suggested"]) == {None}


def test_an_old_table_stays_valid(sift_copy):
    """One without the column: nothing is suggested, nothing is done again."""
    table = pq.read_table(sift_copy / "groups.parquet").drop_columns(["suggested"])
    pq.write_table(table, sift_copy / "groups.parquet")
    heard = Recorder()
    pipeline.groups(sift_copy, listener=heard)
    assert heard.stages("reused") == ["groups"]
    export(sift_copy, sift_copy.parent / "out", to="csv")
    pipeline.report(sift_copy, jobs=1)
    name(sift_copy, 1, "kitchen")
    assert "suggested" in columns(sift_copy)


def test_a_person_accepts(suggested, cli):
    name(suggested, 1, "Küche")
    assert cli("name", suggested).out.splitlines()[0].split() == ["topics", "images", "name", "suggested"]
    assert [group.suggested for group in name(suggested)] == ["coast", None, "street", "forest"]
    outcome = cli("name", suggested, "--suggested", "--json")
    assert outcome.code == 0, outcome.err
    groups = json.loads(outcome.out)["groups"]
    assert [group["name"] for group in groups] == ["coast", "Küche", "street", "forest"]
    assert {group["suggested"] for group in groups} == {None}
    assert set(columns(suggested)["suggested"]) == {None}
    assert "coast" in columns(suggested)["name"]
    assert [group.name for group in name(suggested, suggested=True)] == ["coast", "Küche", "street", "forest"]


def test_a_name_that_is_given_is_suggested_no_more(suggested):
    name(suggested, 1, "Coast")
    assert [group.suggested for group in name(suggested)] == ["shore", None, "street", "forest"]
    assert "coast" not in columns(suggested)["suggested"]
    assert "shore" in columns(suggested)["suggested"]


def test_nothing_to_accept(sift_copy, tmp_path, cli):
    with pytest.raises(UsageError, match="run 'fastvbow suggest"):
        name(sift_copy, suggested=True)
    with pytest.raises(UsageError, match="run 'fastvbow suggest"):
        export(sift_copy, tmp_path / "o", to="csv", suggested=True)
    assert not (tmp_path / "o").exists()
    assert cli("name", sift_copy, 1, "x", "--suggested").code == 2
    assert cli("name", sift_copy).out.splitlines()[0].split() == ["topics", "images", "name"]


def test_merged_groups_have_no_suggestion(suggested, toy, banks, cli):
    """Until they are computed anew; the others keep theirs, and those of the parted ones come back."""
    outcome = cli("merge", suggested, 0, 3)
    assert "merged or parted since names were suggested (0)" in outcome.err
    assert [group.suggested for group in name(suggested)] == [None, "kitchen", "street"]
    after = columns(suggested)
    assert {s for s, topic in zip(after["suggested"], after["topic"], strict=True) if topic == 0} == {None}
    pipeline.report(suggested, jobs=1)
    page = (suggested / "report" / "topic-000.html").read_text()
    assert "coast" not in page
    found = suggest(suggested, space="toy", nouns=banks[0])
    assert [group.topics for group in found.groups] == [[0, 3], [1], [2]]
    assert found.groups[0].suggested in {"coast", "forest"}
    assert None not in columns(suggested)["suggested"]
    merge(suggested, [0, 3], undo=True)
    assert [group.suggested for group in name(suggested)] == [None, "kitchen", "street", None]


def test_other_topics_do_not_get_them(suggested, sift_folder, cli):
    outcome = cli("run", sift_folder, "-o", suggested, *SIFT[:-1], "41")
    assert outcome.code == 0, outcome.err
    assert "names were suggested for other topics" in outcome.err
    assert "former names stay" not in outcome.err, "nobody has given any"
    assert set(columns(suggested)["suggested"]) == {None}
    assert cli("run", sift_folder, "-o", suggested, *SIFT).code == 0
    assert "coast" in columns(suggested)["suggested"]


def test_new_photographs(suggested, sift_folder, tmp_path, photographs, cli):
    pipeline.assign(suggested, sift_folder, tmp_path / "new.parquet")
    new = pq.read_table(tmp_path / "new.parquet").to_pydict()
    assert new["suggested"] == columns(suggested)["suggested"]
    one = Project.open(suggested).assign([sift_folder / new["path"][3]])
    assert one.suggested == [new["suggested"][3]]
    for update in ([], ["--update"]):
        more = photographs.rename(photographs.parent / f"more{len(update)}")
        (more / "x").mkdir()
        for path in list(more.rglob("*.jpg"))[:3]:
            path.write_bytes(path.read_bytes() + b"\0" * (1 + len(update)))  # another file, the same picture
        assert cli("add", suggested, more, *update).code == 0
        found = columns(suggested)
        assert len(found["path"]) > 20
        assert found["suggested"] == [BEST[topic] for topic in found["topic"]]
        pipeline.groups(suggested, labels="none")
        assert columns(suggested)["suggested"] == found["suggested"]
        photographs = Path(shutil.copytree(sift_folder, tmp_path / f"again{len(update)}"))


def test_the_report_shows_them(suggested):
    name(suggested, 1, "Küche")
    heard = Recorder()
    pipeline.report(suggested, jobs=1, listener=heard)
    assert heard.stages("reused") == []
    folder = suggested / "report"
    index, page = (folder / "index.html").read_text(), (folder / "topic-002.html").read_text()
    assert '<span class="title suggested" dir="auto">street?</span> <span class="tag">suggested</span>' in index
    assert '<span class="title" dir="auto">Küche</span>' in index
    assert "kitchen?" not in index
    assert '<h1 dir="auto" class="suggested">street?</h1>' in page
    assert "topic 2 ·" in page
    assert "the 8 nouns of nouns.txt and the 4 captions of captions.txt, compared in the space toy" in page
    assert "a street &amp; &lt;more&gt;" in page
    assert "&lt;script&gt;alert(" in page
    assert "<script>alert" not in page
    assert page.count('<span class="noun"') == 5
    named = (folder / "topic-001.html").read_text()
    assert '<h1 dir="auto">Küche</h1>' in named
    assert "A person has named this topic" in named
    run = (folder / "run.html").read_text()
    assert "groups: suggested" not in run, "a checksum tells nobody anything"
    pipeline.report(suggested, jobs=1, listener=heard)
    assert heard.stages("reused") == ["report"]


def test_a_report_is_made_again_for_other_scores(suggested, toy, banks):
    """Where the best nouns are the same the groups stay, but the pages tell more of them."""
    pipeline.report(suggested, jobs=1)
    groups = (suggested / "groups.parquet").stat().st_mtime_ns
    suggest(suggested, space="toy", nouns=banks[0])
    assert (suggested / "groups.parquet").stat().st_mtime_ns == groups
    heard = Recorder()
    pipeline.report(suggested, jobs=1, listener=heard)
    assert heard.stages("begin") == ["report"]
    assert "Nearest caption" not in (suggested / "report" / "topic-000.html").read_text()


@pytest.mark.parametrize(("to", "file"), [("csv", "groups.csv"), ("cvat", "annotations-00001.xml")])
def test_exports_and_back(suggested, tmp_path, cli, to, file):
    name(suggested, 0, "Meer")
    export(suggested, tmp_path / "plain", to=to)
    assert "topic_001" in (tmp_path / "plain" / file).read_text()
    assert 'label="kitchen"' not in (tmp_path / "plain" / file).read_text()
    outcome = cli("export", suggested, "--to", to, "-o", tmp_path / "out", "--suggested")
    assert outcome.code == 0, outcome.err
    found = import_labels(suggested, tmp_path / "out" / file)
    assert (found.labelled, found.unknown, found.refused) == (20, [], [])
    pipeline.groups(suggested, labels="project")
    held = columns(suggested)
    assert held["label"] == [(BEST | {0: "Meer"})[topic] for topic in held["topic"]]


def test_csv_tells_what_is_suggested(suggested, tmp_path):
    name(suggested, 0, "Meer")
    export(suggested, tmp_path / "out", to="csv")
    with (tmp_path / "out" / "groups.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["suggested"] for row in rows] == [s or "" for s in columns(suggested)["suggested"]]
    assert {row["label"] for row in rows} <= {"Meer", "topic_001", "topic_002", "topic_003"}


def test_label_studio_knows_every_label(suggested, tmp_path):
    export(suggested, tmp_path / "out", to="label-studio", suggested=True)
    config = (tmp_path / "out" / "config.xml").read_text()
    assert all(f'value="{BEST[topic]}"' in config for topic in range(4))


def test_a_damaged_file(suggested, cli):
    path = kept(suggested)
    assert pipeline.verify(suggested).problems == []
    path.write_text("{")
    with pytest.raises(StoreCorruptError, match=path.name):
        name(suggested)
    assert any(path.name in problem for problem in pipeline.verify(suggested).problems)
    pipeline.verify(suggested, repair=True)
    assert not path.exists()
    pipeline.groups(suggested)
    assert set(columns(suggested)["suggested"]) == {None}


def test_suggestions_of_another_model_are_no_suggestions(suggested):
    path = kept(suggested)
    path.write_text(path.read_text().replace('"n_topics": 4', '"n_topics": 5'))
    with pytest.raises(StoreCorruptError, match="other topics"):
        name(suggested)


def test_wrong_calls_change_nothing(sift_copy, toy, banks, tmp_path, cli):
    before = snapshot(sift_copy)
    for words in (
        ["--nouns", tmp_path / "none.txt"],
        ["--nouns", banks[0], "--captions", tmp_path / "none.txt"],
        ["--nouns", banks[0], "-n", "0"],
    ):
        assert cli("suggest", sift_copy, "--space", "toy", *words).code == 2
    with pytest.raises(UsageError, match="1 name or more"):
        suggest(sift_copy, space="toy", nouns=banks[0], n=0)
    assert snapshot(sift_copy) == before


def test_photographs_without_words_do_not_count(sift_copy, toy, banks, monkeypatch):
    folder = ProjectFolder.open(sift_copy)
    counts = np.concatenate([np.diff(tokens.offsets) for tokens in suggesting.open_tokens(folder)])
    whole = suggesting._labels(folder, toy.image_vectors(folder))
    assert (whole >= 0).all()

    class Wordless:
        offsets = np.concatenate([[0, 0], np.cumsum(counts[1:])])

    monkeypatch.setattr(suggesting, "open_tokens", lambda _: [Wordless])
    toy.topic_of.pop(ImageTable.load(folder.images, folder.image_root).names[5])
    found = suggesting._labels(folder, toy.image_vectors(folder))
    assert np.flatnonzero(found < 0).tolist() == [0, 5], "one has no word, one no vector"
    assert np.array_equal(np.delete(found, [0, 5]), np.delete(whole, [0, 5]))


def test_clusters_get_names_of_their_own(small_copy, toy, banks):
    """And the topics have theirs back when the photographs are grouped by them again."""
    topics = columns(small_copy)
    toy.topic_of = {path: topic % 4 for path, topic in zip(topics["path"], topics["topic"], strict=True)}
    suggest(small_copy, space="toy", nouns=banks[0])
    before = columns(small_copy)
    pipeline.cluster(small_copy, ClusterConfig(clusters=4), report=False, jobs=1)
    clusters = columns(small_copy)
    assert set(clusters["suggested"]) == {None}
    toy.topic_of = dict(zip(clusters["path"], clusters["topic"], strict=True))
    found = suggest(small_copy, space="toy", nouns=banks[0])
    assert {group.topic: group.suggested for group in found.groups} == BEST
    assert columns(small_copy)["suggested"] == [BEST[cluster] for cluster in clusters["topic"]]
    assert len(list((small_copy / "names").glob("*.suggested.json"))) == 2
    pipeline.groups(small_copy, by="topics", labels="parent")
    assert columns(small_copy)["suggested"] == before["suggested"]


@pytest.mark.data
def test_real_photographs_and_texts(small_copy, data_folder, tmp_path, monkeypatch, cli):
    """Photographs of the demo in the ConSE space: what they show is among the first nouns of a list."""
    pytest.importorskip("tokenizers")
    encoder = data_folder / "bge_small_en"
    if not encoder.is_dir():
        pytest.skip(f"{encoder} is not there")
    monkeypatch.setenv("FASTVBOW_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("FASTVBOW_TEXTS", str(tmp_path / "texts"))
    add_conse(encoder / "model.onnx", encoder / "tokenizer.json", options=TextOptions(pooling="cls"))
    (tmp_path / "nouns.txt").write_text("\n".join([*SHOWN.values(), *OTHERS.split()]))
    outcome = cli("suggest", small_copy, "--space", "conse", "--nouns", tmp_path / "nouns.txt", "--json", "-n", 3)
    assert outcome.code == 0, outcome.err
    first = (small_copy / "groups.parquet").read_bytes()
    told = columns(small_copy)
    right = [
        SHOWN[label] in {noun["noun"] for noun in group["nouns"]}
        for group in json.loads(outcome.out)["groups"]
        for label, topic in zip(told["label"], told["topic"], strict=True)
        if topic == group["topic"]
    ]
    assert np.mean(right) > 0.7, "all but the portrait, of which no word here tells"
    assert cli("suggest", small_copy, "--space", "conse", "--nouns", tmp_path / "nouns.txt", "-n", 3, "-j", 1).code == 0
    assert (small_copy / "groups.parquet").read_bytes() == first


def test_an_archived_project(tmp_path, toy, banks):
    project = shutil.copytree(Path(__file__).parents[1] / "archive" / "project-1", tmp_path / "project")
    groups = pq.read_table(project / "groups.parquet").to_pydict()
    toy.topic_of = dict(zip(groups["path"], groups["topic"], strict=True))
    found = suggest(project, space="toy", nouns=banks[0])
    assert {group.topic: group.suggested for group in found.groups if group.images} == {
        topic: BEST[topic] for topic in set(groups["topic"])
    }
    name(project, suggested=True)
    assert set(columns(project)["name"]) == {BEST[topic] for topic in set(groups["topic"])}


def test_names_of_things_and_of_places(sift_copy, toy, tmp_path):
    """Of WordNet two of five names are of things and three of places; single things and makes are none."""
    words = ["boat", "ball", "lamp", "coast", "kitchen", "street", "forest", "shore"]
    folder = tmp_path / "wordnet"
    folder.mkdir()
    synsets = [
        "00000080 03 n 01 thing 0 000 | that which exists  ",
        f"00000090 15 n 01 location 0 001 @ 00000080 n 0000 | {PLACES['location']}  ",
        *(f"000001{i}0 06 n 01 {word} 0 001 @ 00000080 n 0000 | a thing  " for i, word in enumerate(words[:3])),
        *(f"000002{i}0 15 n 01 {word} 0 001 @ 00000090 n 0000 | a place  " for i, word in enumerate(words[3:])),
        "00000300 15 n 01 Street 0 001 @ 00000090 n 0000 | a make  ",
        "00000310 15 n 01 paris 0 001 @i 00000090 n 0000 | a city  ",
    ]
    (folder / "data.noun").write_text("\n".join(synsets) + "\n")
    found = suggest(sift_copy, space="toy", nouns=folder)
    places = {*words[3:], "location"}
    for group in found.groups:
        nouns = [noun.noun for noun in group.nouns]
        assert sum(noun not in places for noun in nouns) <= 2 and sum(noun in places for noun in nouns) <= 3
        assert not {"Street", "paris"} & set(nouns)
    assert {noun.noun for group in found.groups for noun in group.nouns} & {"boat", "ball", "lamp", "thing"}
    assert (found.origin.rule["things"], found.origin.rule["places"]) == (2, 3)
    one = suggest(sift_copy, space="toy", nouns=folder, n=1)
    assert all(len(group.nouns) == 1 for group in one.groups) and "things" not in one.origin.rule
    heard = Recorder()
    without = "\n".join(line for line in synsets if PLACES["location"] not in line)
    (folder / "data.noun").write_text(without.replace("00000090", "00000080") + "\n")
    suggest(sift_copy, space="toy", nouns=folder, listener=heard)
    assert "things and places are not told apart" in heard.message("suggest", "note")
