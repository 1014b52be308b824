"""Labels that come back from annotation tools, also from files that mean harm."""

import json
import zipfile

import pytest
from exports.sample import PATHS, grouped_images

from fastvbow.errors import UsageError
from fastvbow.exports import cvat, label_studio, tables

IMAGES = grouped_images()
WANTED = [(label,) if (label := IMAGES.label(i)) else () for i in range(len(PATHS))]


def annotated(task, *chosen, **more):
    result = [{"from_name": "group", "to_name": "image", "type": "choices", "value": {"choices": [c]}} for c in chosen]
    return task | {"id": 7, "annotations": [{"id": 3, "completed_by": 1, "result": result, **more}]}


def test_label_studio(tmp_path):
    label_studio.write(IMAGES, tmp_path)
    tasks = json.loads((tmp_path / "tasks-00001.json").read_text())
    tasks[0] = annotated(tasks[0], "Küche")
    tasks[1] = annotated(tasks[1], "a", was_cancelled=True)
    tasks[2] = annotated(tasks[2], "a")
    tasks[2]["annotations"] += annotated(tasks[2], "b")["annotations"]
    tasks[3] = annotated(tasks[3])
    tasks[4]["annotations"] = None
    tasks[5] = annotated(tasks[5], result=None)
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    found = list(label_studio.read(tmp_path / "export.json"))
    assert [c.labels for c in found] == [("Küche",), (), ("a", "b"), (), (), (), (), ()], "suggestions are no labels"
    assert [c.image_id for c in found] == IMAGES.image_ids
    assert [c.path for c in found] == IMAGES.names


def test_label_studio_with_another_configuration(tmp_path):
    path = tmp_path / "export.json"
    task = annotated({"data": {"image": "/x.jpg"}}, "a")
    task["annotations"][0]["result"] += [{"from_name": "box", "type": "rectanglelabels", "value": {"x": 1}}]
    task["annotations"][0]["result"][0]["from_name"] = "mine"
    path.write_text(json.dumps([task]))
    (found,) = label_studio.read(path)
    assert (found.image_id, found.path, found.labels) == (None, "/x.jpg", ("a",))
    other = annotated({"data": {"image": "/y.jpg"}}, "b")
    other["annotations"][0]["result"][0]["from_name"] = "quality"
    path.write_text(json.dumps([task, other]))
    with pytest.raises(UsageError, match="mine, quality"):
        list(label_studio.read(path))


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '[{"image": "a.jpg", "group": "x"}]', '["a"]', "\ud800", "[" * 100_000]
)
def test_what_label_studio_did_not_write(tmp_path, text):
    (tmp_path / "e.json").write_text(text, errors="surrogatepass")
    with pytest.raises(UsageError, match=r"e\.json"):
        list(label_studio.read(tmp_path / "e.json"))


def test_cvat(tmp_path):
    cvat.write(IMAGES, tmp_path)
    xml = tmp_path / "annotations-00001.xml"
    found = list(cvat.read(xml))
    assert [c.labels for c in found] == WANTED
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(xml, "annotations.xml")
        archive.writestr("images/a.jpg", b"no XML")
    assert list(cvat.read(tmp_path / "a.zip")) == found


def test_cvat_tags_that_contradict_one_another(tmp_path):
    text = '<image id="0" name="a.jpg"><tag label="x"/><tag label="y"/><tag label="x"/></image>'
    (tmp_path / "a.xml").write_text(f'<annotations><image id="1" name="b"><box label="z"/></image>{text}</annotations>')
    assert [c.labels for c in cvat.read(tmp_path / "a.xml")] == [(), ("x", "y")]


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotations>&b;</annotations>'
FETCH = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations>&a;</annotations>'
REMOTE = '<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd"><annotations/>'


@pytest.mark.parametrize("text", [BOMB, FETCH, REMOTE])
def test_entities_are_refused(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(UsageError, match="declares a document type"):
        list(cvat.read(tmp_path / "a.xml"))


@pytest.mark.parametrize(
    "text",
    ["", "<a", "<a/>", "<annotations>", "<annotations><track/></annotations>", "PK\x03\x04"]
    + [f'<?xml version="1.0" encoding="{encoding}"?><annotations/>' for encoding in ("foo", "shift_jis")],
)
def test_what_cvat_did_not_write(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(UsageError, match=r"a\.xml"):
        list(cvat.read(tmp_path / "a.xml"))


def test_an_archive_is_read_up_to_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(cvat, "MOST_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"{number}.xml", "<annotations>" + " " * 600_000 + "</annotations>")
    assert (tmp_path / "a.zip").stat().st_size < 10_000
    with pytest.raises(UsageError, match="more than 1000000 bytes"):
        list(cvat.read(tmp_path / "a.zip"))
    monkeypatch.setattr(cvat, "MOST_BYTES", 2_000_000)
    assert list(cvat.read(tmp_path / "a.zip")) == []


def test_damaged_archives(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", f"<annotations>{''.join(map(str, range(9999)))}</annotations>")
    good = path.read_bytes()
    path.write_bytes(good[:500] + bytes(100) + good[600:])
    with pytest.raises(UsageError, match=r"a\.zip"):
        list(cvat.read(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(UsageError, match="no XML"):
        list(cvat.read(path))


def test_csv(tmp_path):
    tables.write(IMAGES, tmp_path)
    found = list(tables.read(tmp_path / "groups.csv"))
    assert [c.labels for c in found] == WANTED
    assert [c.image_id for c in found] == IMAGES.image_ids
    assert [c.path for c in found] == [*IMAGES.names[:-1], "./=1+1,2;3.jpg"]
    (tmp_path / "l.csv").write_text("\ufeffpath,label\na.jpg,x\nb.jpg\n")
    assert [(c.image_id, c.path, c.labels) for c in tables.read(tmp_path / "l.csv")] == [
        (None, "a.jpg", ("x",)),
        (None, "b.jpg", ()),
    ]
    for text in ("", "path,group\n", "label,name\n"):
        (tmp_path / "l.csv").write_text(text)
        with pytest.raises(UsageError, match="wanted"):
            list(tables.read(tmp_path / "l.csv"))
    (tmp_path / "l.csv").write_bytes(b"path,label\n\xff,x\n")
    with pytest.raises(UsageError, match="cannot read"):
        list(tables.read(tmp_path / "l.csv"))
