"""Photographs and texts in one space: pairs of encoders, ConSE, texts alone, and what projects keep."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("tokenizers", reason="tokenizers is not installed")

from small_networks import both_encoders, image_encoder, save, text_encoder, tokenizer_file  # noqa: E402

from fastvbow import pipeline  # noqa: E402
from fastvbow.config import ExtractConfig  # noqa: E402
from fastvbow.errors import ProjectError, StageMissingError, StoreCorruptError, UsageError  # noqa: E402
from fastvbow.features.cnn import open_session  # noqa: E402
from fastvbow.features.image_encoder import ImageEncoder  # noqa: E402
from fastvbow.images.decode import decode  # noqa: E402
from fastvbow.images.table import ImageTable  # noqa: E402
from fastvbow.pipeline import space_vectors  # noqa: E402
from fastvbow.pipeline.adding_spaces import add_conse, add_pair, add_texts  # noqa: E402
from fastvbow.pipeline.listing_spaces import list_spaces, remove_space  # noqa: E402
from fastvbow.pipeline.space_trial import TextOptions  # noqa: E402
from fastvbow.pipeline.spaces import Space, open_space, own_vectors, texts_folder  # noqa: E402
from fastvbow.pipeline.text_banks import caption_vectors, noun_vectors  # noqa: E402
from fastvbow.project import ProjectFolder  # noqa: E402

TEXTS = ["a photo of a cat", "a dog", "fig"]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """A user's models and texts, which are not there yet."""
    monkeypatch.setenv("FASTVBOW_MODELS", str(tmp_path / "own"))
    monkeypatch.setenv("FASTVBOW_TEXTS", str(tmp_path / "texts"))
    return tmp_path


@pytest.fixture
def files(tmp_path):
    return (
        save(image_encoder(), tmp_path / "image.onnx"),
        save(text_encoder(), tmp_path / "text.onnx"),
        tokenizer_file(tmp_path / "tokenizer.json"),
    )


@pytest.fixture
def pair(files):
    add_pair(*files, name="pair")
    return open_space("pair", device="cpu")


@pytest.fixture
def project(sift_copy):
    return ProjectFolder.open(sift_copy)


def pixels_of(project):
    table = ImageTable.load(project.images, project.image_root)
    return [decode(table.read(i)) for i in range(len(table))]


def test_a_pair(pair, files, recorder):
    assert (pair.name, pair.width, len(pair.fingerprint)) == ("pair", 6, 64)
    table = onnx.numpy_helper.to_array(onnx.load(files[1]).graph.initializer[0])
    wanted = np.array([table[[1, *ids, 2]].sum(axis=0) for ids in ([4, 5, 6, 4, 8], [4, 9], [12])])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = pair.text_vectors(TEXTS, jobs=1, listener=recorder)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found.dtype == np.float32 and recorder.stages("end") == ["texts"]
    assert any(event.unit == "texts" and event.done == event.total == 3 for event in recorder.events)
    again = pair.text_vectors(TEXTS, listener=recorder)
    assert again.tobytes() == found.tobytes() and recorder.stages("reused") == ["texts"]
    assert list(texts_folder().glob("*.npy")), "kept in the user's cache"


def test_photographs_of_a_project(pair, project, recorder):
    rows = pair.image_vectors(project, jobs=2, listener=recorder)
    assert isinstance(rows, np.memmap) and not rows.flags.writeable and rows.dtype == np.float32
    assert rows.tobytes() == np.array([pair.describe(pixels) for pixels in pixels_of(project)]).tobytes()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    steps = [event for event in recorder.events if event.kind == "step"]
    assert [event.done for event in steps] == list(range(1, 21)) and steps[-1].total == 20
    (folder,) = (project.root / "spaces").iterdir()
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".npy"]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert pair.image_vectors(project, listener=recorder).tobytes() == rows.tobytes()
    assert recorder.stages("reused") == ["space"]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    shutil.rmtree(folder)
    assert pair.image_vectors(project, jobs=1).tobytes() == rows.tobytes(), "the same for any number of jobs"


def test_skipped_and_grey_and_turned_photographs(pair, photographs, tmp_path):
    some = sorted(photographs.rglob("*.jpg"))
    some[3].write_bytes(b"no photograph")
    cv2.imwrite(str(some[4]), cv2.imread(str(some[4]), cv2.IMREAD_GRAYSCALE))
    pipeline.extract(photographs, tmp_path / "project", ExtractConfig(features=("sift",)))
    project = ProjectFolder.open(tmp_path / "project")
    rows = pair.image_vectors(project)
    assert not rows[3].any() and np.linalg.norm(np.delete(rows, 3, axis=0), axis=1).min() > 0.999
    np.testing.assert_array_equal(rows[4], pair.describe(decode(some[4].read_bytes())))


def test_a_kill_loses_no_more_than_a_shard(pair, project):
    wanted = np.array(pair.image_vectors(project))
    shutil.rmtree(project.root / "spaces")
    seen = []

    def dying(self, pixels, describe=Space.describe):
        if len(seen) == 18:  # the first shard has 16
            raise KeyboardInterrupt
        seen.append(1)
        return describe(self, pixels)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Space, "describe", dying)
        pair.image_vectors(project, jobs=1)
    (folder,) = (project.root / "spaces").iterdir()
    assert [path.name[:5] for path in folder.iterdir()] == ["part-"]
    done = []
    again = pair.image_vectors(project, jobs=1, listener=lambda event: done.append(event.done))
    assert again.tobytes() == wanted.tobytes() and min(n for n in done if n) == 17


def test_added_photographs_cost_no_more_than_themselves(pair, project, photographs, tmp_path):
    before = np.array(pair.image_vectors(project))
    new = tmp_path / "new"
    new.mkdir()
    for path in sorted(photographs.rglob("*.jpg"))[:3]:
        cv2.imwrite(str(new / f"flipped-{path.name}"), cv2.imread(str(path))[:, ::-1])
    pipeline.add(project.root, new)
    done = []
    rows = pair.image_vectors(ProjectFolder.open(project.root), listener=lambda event: done.append(event.done))
    assert rows.shape == (23, 6) and rows[:20].tobytes() == before.tobytes()
    assert sorted(n for n in done if n) == [21, 22, 23]


def test_photographs_that_have_gone(pair, photographs, tmp_path):
    pipeline.extract(photographs, tmp_path / "project", ExtractConfig(features=("sift",)))
    project = ProjectFolder.open(tmp_path / "project")
    victim = sorted(photographs.rglob("*.jpg"))[5]
    content = victim.read_bytes()
    victim.unlink()
    with pytest.raises(ProjectError, match=f"{victim.name} was read when the project was made, and is not any more"):
        pair.image_vectors(project)
    victim.write_bytes(sorted(photographs.rglob("*.jpg"))[6].read_bytes())
    with pytest.raises(ProjectError, match=r"it is another file now.*put it back"):
        pair.image_vectors(project)
    victim.write_bytes(content)
    assert pair.image_vectors(project).shape == (20, 6)


def test_verify_knows_the_vectors(pair, project):
    pair.image_vectors(project)
    assert pipeline.verify(project.root).problems == []
    (kept,) = (project.root / "spaces").glob("*/vectors-*.npy")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x7f")
    (problem,) = pipeline.verify(project.root, repair=True).problems
    assert "its checksum is not the one on the card" in problem
    assert not kept.parent.exists() and pipeline.verify(project.root).problems == []
    assert pair.image_vectors(project).shape == (20, 6)


def test_newer_vectors_are_refused(pair, project):
    pair.image_vectors(project)
    (card,) = (project.root / "spaces").glob("*/card.json")
    card.write_bytes(card.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(StoreCorruptError, match="reads fastvbow-space-vectors up to 1"):
        pair.image_vectors(project)
    assert space_vectors.VERSION == 1


def test_own_vectors(small_project, sift_project, tmp_path):
    project = ProjectFolder.open(small_project)
    rows = own_vectors(project)
    assert rows.shape == (60, 1280) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    with pytest.raises(UsageError, match="has no vectors of whole photographs"):
        own_vectors(ProjectFolder.open(sift_project))
    empty = ProjectFolder.create(tmp_path / "empty", tmp_path / "nothing", "test")
    with pytest.raises(StageMissingError):
        own_vectors(empty)


def test_texts_alone(files, photographs, tmp_path):
    """The photographs' vectors were made elsewhere."""
    done = add_texts(*files[1:], name="texts")
    assert np.isnan(done.photographs) and done.best == {}
    with pytest.raises(UsageError, match="has texts only"):
        open_space("texts")
    given = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    np.save(tmp_path / "given.npy", given)
    some = sorted(photographs.rglob("*.jpg"))
    (tmp_path / "given.txt").write_text("".join(f"{path.relative_to(photographs)}\n" for path in some))
    config = ExtractConfig(features=("embeddings",), embeddings=tmp_path / "given.npy")
    pipeline.extract(photographs, tmp_path / "project", config)
    space = open_space("texts", images="project")
    rows = space.image_vectors(ProjectFolder.open(tmp_path / "project"))
    np.testing.assert_allclose(rows, given / np.linalg.norm(given, axis=1, keepdims=True), atol=1e-3)
    assert space.text_vectors(TEXTS).shape == (3, 6)
    with pytest.raises(UsageError, match="its vectors come from projects"):
        space.describe(np.zeros((9, 9, 3), np.uint8))
    narrow = save(text_encoder(width=5), tmp_path / "narrow.onnx")
    add_texts(narrow, files[2], name="narrow")
    with pytest.raises(UsageError, match="have 6 numbers, the space narrow 5"):
        open_space("narrow", images="project").image_vectors(ProjectFolder.open(tmp_path / "project"))
    with pytest.raises(UsageError, match="'encode' or 'project'"):
        open_space("texts", images="none")


def test_conse_with_a_classifier(files, tmp_path, project):
    (tmp_path / "classes.txt").write_text("n1\tcat\nn2\tdog\nn3\tdrum\nn4\tfig\nn5\tastronaut\nphoto\n")
    scores = save(image_encoder("logits"), tmp_path / "scores.onnx")
    how = {"classifier": scores, "classes": tmp_path / "classes.txt", "preset": "half", "options": TextOptions()}
    done = add_conse(*files[1:], top=2, **how)
    assert (done.card.kind, done.card.image.filter, done.card.image.resize) == ("conse", "linear", "squash")
    space = open_space("conse", device="cpu")
    names = ["cat", "dog", "drum", "fig", "astronaut", "photo"]
    classes = space.text_vectors(names, prompts=("a photo of {}",))
    rows = space.image_vectors(project)
    for row, pixels in zip(rows, pixels_of(project), strict=True):
        scores_of_it = ImageEncoder(done.card.image, open_session(scores, "cpu")).encode(pixels).astype(np.float64)
        first, second = np.argsort(-scores_of_it)[:2]
        wanted = classes[first] + np.exp(scores_of_it[second] - scores_of_it[first]) * classes[second]
        np.testing.assert_allclose(row, wanted / np.linalg.norm(wanted), atol=1e-5)
    with pytest.raises(UsageError, match="give two different ones at least"):
        space.text_vectors(["cat", "cat"])
    with pytest.raises(UsageError, match="names 6 classes, the classifier has 6 scores, and top is 9"):
        add_conse(*files[1:], top=9, name="b", **how)
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(UsageError, match="names 1 classes"):
        add_conse(*files[1:], top=1, name="b", **how)
    with pytest.raises(UsageError, match="has 6 scores, ImageNet 1000"):
        add_conse(*files[1:], name="b", **{**how, "classes": None})
    with pytest.raises(UsageError, match=r"the prompt 'a photo' has to hold \{\} once"):
        add_conse(*files[1:], name="b", prompt="a photo")


def test_the_same_encoders_are_the_same_space(pair, files, tmp_path):
    add_pair(*files, name="again", licence="MIT")
    assert open_space("again").fingerprint == pair.fingerprint
    assert open_space("again", images="project").fingerprint != pair.fingerprint
    add_pair(*files, name="squashed", resize="squash")
    add_pair(*files, name="other", preset="half")
    whole = save(both_encoders(), tmp_path / "whole.onnx")
    add_pair(whole, whole, files[2], name="whole")
    spaces = [open_space(name) for name in ("pair", "squashed", "other", "whole")]
    assert len({space.fingerprint for space in spaces}) == 4
    np.testing.assert_array_equal(spaces[3].text_vectors(TEXTS), pair.text_vectors(TEXTS))


def test_what_cannot_be_a_space(files, tmp_path):
    image, text, tokenizer = files
    with pytest.raises(UsageError, match="vectors of 6 numbers and texts of 5"):
        add_pair(image, save(text_encoder(width=5), tmp_path / "t.onnx"), tokenizer, name="a")
    with pytest.raises(UsageError, match="an image encoder has one"):
        add_pair(text, text, tokenizer, name="a")
    with pytest.raises(UsageError, match="a text encoder has input_ids"):
        add_pair(image, image, tokenizer, name="a")
    with pytest.raises(UsageError, match="cannot read the tokenizer"):
        add_pair(image, text, tmp_path / "none.json", name="a")
    with pytest.raises(UsageError, match="there is no file"):
        add_pair(tmp_path / "none.onnx", text, tokenizer, name="a")
    with pytest.raises(UsageError, match="is a model's name already"):
        add_pair(*files, name="efficientnet_lite0")
    with pytest.raises(UsageError, match="letters, digits"):
        add_pair(*files, name="../a")
    flat = image_encoder()
    flat.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.zeros((48, 6), np.float32), "image_embeds.weight")
    )
    with pytest.raises(UsageError, match="gives zeros for a photograph"):
        add_pair(save(flat, tmp_path / "flat.onnx"), text, tokenizer, name="a")
    assert list_spaces() == [], "nothing was added"


def test_spaces_are_listed_and_removed(pair, files, tmp_path):
    folder = tmp_path / "own" / "spaces"
    with pytest.raises(UsageError, match="there is a space pair"):
        add_pair(*files, name="pair")
    add_pair(*files, name="pair", replacing=True)
    add_texts(*files[1:], name="damaged")
    (folder / "damaged" / "card.toml").write_text("nonsense")
    add_texts(*files[1:], name="lost")
    (folder / "lost" / "text.onnx").unlink()
    found = {space.name: space.problem for space in list_spaces()}
    assert list(found) == ["damaged", "lost", "pair"] and not found["pair"]
    assert "cannot read the card" in found["damaged"] and "is missing" in found["lost"]
    assert remove_space("damaged") == [folder / "damaged"] and not (folder / "damaged").exists()
    with pytest.raises(UsageError, match="there is no space 'damaged'"):
        open_space("damaged")
    with pytest.raises(UsageError, match="there is no space 'damaged'"):
        remove_space("damaged")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("version = 1", "version = 2", "reads fastvbow-space up to 1"),
        ('kind = "pair"', 'kind = "text"', "has not these of"),
        ('resize = "crop"', 'resize = "pad"', "resize of the image encoder"),
        ('file = "image.onnx"', 'file = "../image.onnx"', "have to lie beside it"),
        ("width = 6", "width = 0", "0 numbers"),
        ("width = 6", "width = 6\nmore = 1", "more"),
        ('name = "pair"', 'name = "other"', "names the space 'other'"),
    ],
)
def test_damaged_cards(pair, tmp_path, before, after, message):
    card = tmp_path / "own" / "spaces" / "pair" / "card.toml"
    text = card.read_text()
    assert before in text
    card.write_text(text.replace(before, after, 1))
    with pytest.raises(StoreCorruptError, match=message):
        open_space("pair")


def test_other_files_than_the_card_names(pair, project, tmp_path):
    folder = tmp_path / "own" / "spaces" / "pair"
    for name, use in (
        ("image.onnx", lambda: pair.image_vectors(project)),
        ("text.onnx", lambda: pair.text_vectors(TEXTS)),
    ):
        with (folder / name).open("ab") as file:
            file.write(b" ")
        with pytest.raises(StoreCorruptError, match=f"{name} has the SHA-256"):
            use()


def test_banks(pair, tmp_path):
    (tmp_path / "nouns.txt").write_text("cat\tan animal\ndog\n")
    nouns = noun_vectors(pair, tmp_path / "nouns.txt", prompts=("a photo of a {}",))
    assert nouns.bank.words == ("cat", "dog") and nouns.bank.definitions == ("an animal", "")
    np.testing.assert_array_equal(nouns.vectors, pair.text_vectors(["a photo of a cat", "a photo of a dog"]))
    (tmp_path / "data.noun").write_text(
        "00000001 03 n 01 fig 0 000 | a fruit\n00000002 03 n 02 cat 0 tom_cat 0 001 @ 00000001 n 0000 | an animal\n"
    )
    assert noun_vectors(pair, tmp_path).bank.words == ("fig", "cat")
    assert noun_vectors(pair, tmp_path / "data.noun", words="all", under=["n00000002"]).bank.words == ("cat", "tom cat")
    with pytest.raises(UsageError, match="is said of WordNet only"):
        noun_vectors(pair, tmp_path / "nouns.txt", instances=False)
    with pytest.raises(UsageError, match="there is nothing at"):
        noun_vectors(pair, tmp_path / "none")
    for name, content in (
        ("flickr.token.txt", "1.jpg#0\ta cat\n1.jpg#1\ta dog\n"),
        ("plain.txt", "a cat\na dog\n"),
        ("coco.json", json.dumps({"annotations": [{"caption": "a cat"}, {"caption": "a dog"}]})),
    ):
        (tmp_path / name).write_text(content)
        captions = caption_vectors(pair, tmp_path / name)
        assert captions.texts == ("a cat", "a dog"), name
        np.testing.assert_array_equal(captions.vectors, pair.text_vectors(["a cat", "a dog"]))


def test_where_texts_are_kept(monkeypatch):
    monkeypatch.delenv("FASTVBOW_TEXTS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert texts_folder() == Path("/cache/fastvbow/texts")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert texts_folder() == Path("/home/someone/.cache/fastvbow/texts")


def test_the_command_line(cli, files, tmp_path):
    image, text, tokenizer = files
    outcome = cli("models", "add", "--clip", image, text, tokenizer, "--name", "tiny", "--licence", "MIT", "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert (told["name"], told["width"], told["image"]["resize"]) == ("tiny", 6, "crop")
    assert len(told["nearest"]) == 15 and -1 <= told["cosine"]["photographs"] <= 1
    assert cli("models", "add", "--text", text, tokenizer, "--name", "alone", "-q").code == 0
    listed = json.loads(cli("models", "list", "--json").out)
    assert [row["name"] for row in listed["spaces"]] == ["alone", "tiny"]
    shown = cli("models", "list").out
    (at,) = [i for i, line in enumerate(shown.splitlines()) if line.startswith("tiny ")]
    lines = shown.splitlines()[at : at + 4]
    assert lines[0] == "tiny                     space of 6 numbers (pair); MIT"
    assert [line[25:].split()[0] for line in lines[1:3]] == ["photographs", "texts"]
    assert lines[3] == f"{'':<24} {tmp_path / 'own' / 'spaces' / 'tiny'}" and max(map(len, lines[:3])) <= 80
    (alone,) = [i for i, line in enumerate(shown.splitlines()) if line.startswith("alone ")]
    assert shown.splitlines()[alone].endswith("; licence not stated")
    assert "photographs by no encoder" in shown.splitlines()[alone + 1]
    card = msgspec.toml.decode((tmp_path / "own" / "spaces" / "tiny" / "card.toml").read_bytes())
    assert card["image"]["mean"][0] == pytest.approx(122.77, abs=0.01), "CLIP's"
    outcome = cli("models", "remove", "tiny")
    assert outcome.code == 0 and "removed: " in outcome.out
    assert [row["name"] for row in json.loads(cli("models", "list", "--json").out)["spaces"]] == ["alone"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of FILE.onnx, --clip, --conse and --text says what is added, not none"),
        (["x.onnx", "--text", "TEXT", "TOKENIZER"], "not FILE.onnx, --text"),
        (["--clip", "IMAGE", "TEXT", "TOKENIZER"], "a space's name has letters"),
        (["--clip", "IMAGE", "TEXT", "TOKENIZER", "--name", "a", "--pooled", "x"], "--pooled does not go with --clip"),
        (["--text", "TEXT", "TOKENIZER", "--name", "a", "--side", "32"], "--side does not go with --text"),
        (["--conse", "TEXT", "TOKENIZER", "--normalise", "half"], "--normalise does not go with --conse"),
        (["--conse", "TEXT", "TOKENIZER", "--classifier", "IMAGE"], "--normalise NAME"),
        (["--conse", "TEXT", "TOKENIZER", "--model", "efficientnet_lite0_int8"], "keeps no class scores"),
        (
            ["--clip", "IMAGE", "TEXT", "TOKENIZER", "--name", "a", "--text-output", "x"],
            "say which one holds the texts",
        ),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_what_the_command_refuses(cli, files, words, message):
    places = dict(zip(("IMAGE", "TEXT", "TOKENIZER"), files, strict=True))
    outcome = cli("models", "add", *(places.get(word, word) for word in words), "-q")
    assert outcome.code == 2, outcome.err
    assert message in outcome.complaint


@pytest.mark.data
def test_conse_of_real_photographs(data_folder, tmp_path):
    """Zero-shot, by class names alone; of all 1000 photographs it is .73 (chance .10)."""
    folder = data_folder / "bge_small_en"
    done = add_conse(folder / "model.onnx", folder / "tokenizer.json", options=TextOptions(pooling="cls"))
    assert done.hits >= 8
    source, few = data_folder / "corel1k" / "dataset", tmp_path / "few"
    for group in sorted(path for path in source.iterdir() if path.is_dir()):
        (few / group.name).mkdir(parents=True)
        for path in sorted(group.iterdir())[::10]:
            (few / group.name / path.name).symlink_to(path)
    pipeline.extract(few, tmp_path / "project", ExtractConfig(features=("sift",), keypoints=10))
    project = ProjectFolder.open(tmp_path / "project")
    space = open_space("conse", device="cpu")
    rows = space.image_vectors(project)
    labels = [name.split("/")[0] for name in ImageTable.load(project.images, project.image_root).names]
    names = sorted(set(labels))
    texts = space.text_vectors(names, prompts=("a photo of {}",))
    right = np.mean([names[at] == label for at, label in zip((rows @ texts.T).argmax(axis=1), labels, strict=True)])
    assert len(labels) == 100 and right >= 0.65
