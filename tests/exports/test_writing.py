"""Each format read back by a parser that is not ours, with equal counts and labels."""

import csv
import json
import os
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from exports.sample import LABELS, PATHS, grouped_images

from fastvbow.exports import coco, cvat, fiftyone, folders, label_studio, tables
from fastvbow.exports.columns import xml_text

IMAGES = grouped_images()
WANTED = [IMAGES.label(i) for i in range(len(PATHS))]


def test_the_sample_is_hard():
    assert WANTED[1] is None
    assert len(IMAGES.classes()) == 4 < len(LABELS), "two topics have one name"


def test_label_studio(tmp_path):
    found = label_studio.write(IMAGES, tmp_path, split=3, version="run 1")
    assert found.files == ["config.xml", "tasks-00001.json", "tasks-00002.json", "tasks-00003.json"]
    assert (found.n_images, found.n_labelled) == (8, 7)
    parts = [json.loads((tmp_path / name).read_text()) for name in found.files[1:]]
    assert [len(part) for part in parts] == [3, 3, 2]
    tasks = [task for part in parts for task in part]
    for index, task in enumerate(tasks):
        address = urlsplit(task["data"]["image"])
        assert address.path == "/data/local-files/"
        assert not address.fragment
        query = address.query.encode().decode("latin-1")
        assert parse_qs(query, encoding="latin-1")["d"][0].encode("latin-1") == PATHS[index], "the very bytes"
        assert task["data"]["image_id"] == IMAGES.image_ids[index]
        assert task["data"]["entropy"] == pytest.approx(IMAGES.entropy[index], abs=1e-6)
    suggested = [task.get("predictions", [None])[0] for task in tasks]
    assert suggested[1] is None, "to be labelled by hand"
    for index, prediction in enumerate(suggested):
        if prediction is not None:
            (result,) = prediction["result"]
            assert result["value"]["choices"] == [WANTED[index]]
            assert prediction["score"] == pytest.approx(IMAGES.probability[index], abs=1e-6)
            assert prediction["model_version"] == "run 1"
    config = ElementTree.parse(tmp_path / "config.xml").getroot()
    assert [choice.get("value") for choice in config.iter("Choice")] == IMAGES.classes()
    (choices,) = config.iter("Choices")
    (image,) = config.iter("Image")
    names = {(p["result"][0]["from_name"], p["result"][0]["to_name"]) for p in suggested if p}
    assert names == {(choices.get("name"), choices.get("toName"))}
    assert choices.get("toName") == image.get("name")
    assert image.get("value") == "$image"
    assert choices.get("name") not in tasks[0]["data"], "else an export of it overwrites the data"


def test_cvat(tmp_path):
    found = cvat.write(IMAGES, tmp_path, split=5)
    assert found.files == ["labels.json", "annotations-00001.xml", "annotations-00002.xml"]
    roots = [ElementTree.parse(tmp_path / name).getroot() for name in found.files[1:]]
    parts = [list(root.iter("image")) for root in roots]
    assert [[int(image.get("id")) for image in part] for part in parts] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    images = [image for part in parts for image in part]
    assert [image.get("name") for image in images] == [xml_text(name) for name in IMAGES.names]
    assert images[0].get("name") == "a/plain.jpg"
    assert images[3].get("name") == "two\nlines\\x01\t.jpg"
    assert [(int(i.get("width")), int(i.get("height"))) for i in images] == [(100 + k, 50 + k) for k in range(8)]
    tags = [[tag.get("label") for tag in image.iter("tag")] for image in images]
    assert tags == [[] if label is None else [label] for label in WANTED]
    attributes = {a.get("name"): a.text for a in images[2].iter("attribute")}
    assert attributes == {"topic": "2", "probability": "0.500000", "entropy": f"{IMAGES.entropy[2]:.6f}"}
    for root in roots:
        assert [label.findtext("name") for label in root.iter("label")] == IMAGES.classes()
        assert root.findtext("version") == "1.1"
    specification = json.loads((tmp_path / "labels.json").read_text())
    assert [label["name"] for label in specification] == IMAGES.classes()
    assert {a["name"] for a in specification[0]["attributes"]} == set(attributes)
    assert found.warnings == []
    long = cvat.write(grouped_images(labels=["x" * 65] * 5), tmp_path)
    assert "64" in long.warnings[0]


def test_coco(tmp_path):
    coco.write(IMAGES, tmp_path, prefix="p/")
    found = json.loads((tmp_path / "annotations" / "labels_all.json").read_text())
    assert [c["id"] for c in found["categories"]] == [1, 2, 3, 4]
    names = {c["id"]: c["name"] for c in found["categories"]}
    assert [i["file_name"] for i in found["images"]] == ["p/" + name for name in IMAGES.names]
    by_image = {a["image_id"]: names[a["category_id"]] for a in found["annotations"]}
    assert [by_image.get(image["id"]) for image in found["images"]] == WANTED
    assert [a["id"] for a in found["annotations"]] == list(range(1, 8))
    assert found["annotations"][0]["score"] == pytest.approx(0.3)


def test_fiftyone(tmp_path):
    fiftyone.write(IMAGES, tmp_path)
    found = json.loads((tmp_path / "labels.json").read_text())
    assert list(found["labels"]) == ["/photo graphs/" + name for name in IMAGES.names]
    given = [entry and found["classes"][entry["label"]] for entry in found["labels"].values()]
    assert given == WANTED
    assert found["labels"]["/photo graphs/a/plain.jpg"]["confidence"] == pytest.approx(0.3)
    assert found["labels"]["/photo graphs/a/plain.jpg"]["attributes"]["entropy"] == pytest.approx(1.2)


def test_csv(tmp_path):
    tables.write(grouped_images(containers=[None] * 7 + ["shard é.tar"]), tmp_path, prefix="https://x/")
    with (tmp_path / "groups.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["path"] for row in rows] == [*IMAGES.names[:-1], "./=1+1,2;3.jpg"]
    assert [row["label"] or None for row in rows] == WANTED
    assert [row["known_label"] for row in rows][:2] == ["", "cat"]
    assert rows[4]["address"] == "https://x/latin-%E9%FF.jpg"
    assert rows[2]["address"] == "https://x/sp%20ace/%22q%22%20%27q%27%20%26%20%3Cb%3E%20100%2525%2B%23%3F.jpg"
    assert [row["container"] for row in rows][-2:] == ["", "shard é.tar"]
    tables.write(IMAGES, tmp_path)
    assert not {"address", "container"} & set((tmp_path / "groups.csv").read_text().splitlines()[0].split(","))


def test_folders_hold_links_to_the_photographs(tmp_path):
    source, output = tmp_path / "source", tmp_path / "output"
    output.mkdir()
    paths = [raw for raw in PATHS if not raw.startswith(b"..")]
    for raw in paths:
        path = source / os.fsdecode(raw)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    rows = [PATHS.index(raw) for raw in paths]
    part = {name: [getattr(IMAGES, name)[i] for i in rows] for name in ("image_ids", "names", "containers", "known")}
    part |= {name: getattr(IMAGES, name)[rows] for name in ("topic", "probability", "entropy", "certain")}
    found = folders.write(grouped_images(root=os.fsencode(source), raw_paths=paths, **part), output)
    assert (found.n_images, found.n_labelled) == (7, 6)
    links = [path for path in output.rglob("*") if not path.is_dir()]
    assert all(path.is_symlink() for path in links)
    linked = {path.read_bytes(): path.parent.name for path in links}
    assert set(linked) == set(paths)
    assert linked[b"a/plain.jpg"] == "Küche _2_ & _b_"
    assert linked[PATHS[1]] == folders.NO_LABEL
    assert {f"{path.name}/" for path in output.iterdir()} == set(found.files)


def test_links_of_one_name_get_ids(tmp_path):
    paths = [b"a/1.jpg", b"b/1.jpg", b"c/1.JPG", b"d/" + b"x" * 251 + b".jpg", b"e/" + b"x" * 251 + b".jpg"]
    n = len(paths)
    images = grouped_images(
        raw_paths=paths,
        image_ids=[f"{i:020x}" for i in range(n)],
        names=[raw.decode() for raw in paths],
        containers=[None] * n,
        topic=np.zeros(n, int),
        certain=np.ones(n, bool),
    )
    folders.write(images, tmp_path)
    (folder,) = tmp_path.iterdir()
    names = sorted(path.name for path in folder.iterdir())
    assert len({name.casefold() for name in names}) == n
    assert names[:3] == ["1.jpg", f"1~{1:020x}.jpg", f"1~{2:020x}.JPG"]
    assert max(map(len, names)) == 255


def test_photographs_in_containers_have_no_links(tmp_path):
    found = folders.write(grouped_images(containers=["s.tar"] * 7 + [None]), tmp_path)
    assert (found.n_images, found.n_labelled) == (1, 1)
    assert "7 photographs" in found.warnings[0]


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("../../etc", "_._.._etc"),
        ("..", "_"),
        (".hidden", "_hidden"),
        ("a/b\\c", "a_b_c"),
        ("end. ", "end"),
        ("\u202egpj", "\u202egpj"),
        ("_without_label", "_without_label (2)"),
        ("FASTVBOW-export.json", "FASTVBOW-export.json (2)"),
        ("猫" * 300, "猫" * 66),
    ],
)
def test_names_of_folders(label, wanted):
    assert folders.safe_names([label]) == [wanted]


def test_folders_differ_on_every_file_system():
    found = folders.safe_names(["A/b", "a:b", "a?B", "é", "e\u0301", "É", "A_b (2)"])
    assert found[:3] == ["A_b", "a_b (2)", "a_B (3)"]
    assert len({folders._folded(name) for name in found}) == 7


def test_xml_text_is_what_xml_can_hold():
    assert xml_text("a\x00\ufffe\x1b猫🐈\n") == "a\\x00\\ufffe\\x1b猫🐈\n"
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    ElementTree.fromstring(f"<a>{xml_text(every).replace('&', '').replace('<', '')}</a>")
