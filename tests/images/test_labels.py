"""Labels from folders and from CSV files."""

import pyarrow as pa
import pytest

from fastvbow.errors import UsageError
from fastvbow.images.labels import label_column, read_labels

NAMES = ["top.jpg", "cat/1.jpg", "dog/old/2.jpg", "dog/a, b.jpg"]
IDS = ["id0", "id1", "id2", "id3"]


@pytest.fixture
def labels(tmp_path):
    def read(text, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return read_labels(str(path), NAMES, IDS)

    return read


def test_parent_is_the_folder_that_holds_the_image():
    assert read_labels("parent", NAMES, IDS) == [None, "cat", "old", "dog"]


def test_none():
    assert read_labels("none", NAMES, IDS) == [None] * 4


def test_by_path(labels):
    assert labels('path,label\ncat/1.jpg,Katze\n"dog/a, b.jpg",Hund\nelsewhere.jpg,x\n') == [
        None,
        "Katze",
        None,
        "Hund",
    ]


def test_by_id_in_any_column_order(labels):
    assert labels("note,label,image_id\n,a,id3\n,b,id0\n") == ["b", None, None, "a"]


def test_the_path_counts_where_both_are_given(labels):
    assert labels("image_id,path,label\nid0,cat/1.jpg,a\n") == [None, "a", None, None]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_with_and_without_a_byte_order_mark(labels, encoding):
    assert labels("path,label\ncat/1.jpg,Kätzchen 猫\n", encoding)[1] == "Kätzchen 猫"


def test_windows_line_ends(labels):
    assert labels("path,label\r\ncat/1.jpg,a\r\ntop.jpg,b\r\n") == ["b", "a", None, None]


def test_an_empty_or_missing_label_is_unknown(labels):
    assert labels("path,label\ntop.jpg,\ncat/1.jpg\ndog/old/2.jpg,c,more\n\n") == [None, None, "c", None]


@pytest.mark.parametrize(
    "text", ["", "path;label\ncat/1.jpg;a\n", "path\ncat/1.jpg\n", "label\na\n", "Path,label\nx,a\n"]
)
def test_missing_columns_are_named(labels, text):
    with pytest.raises(UsageError, match=r"labels\.csv has the columns \[.*wanted: 'path' or 'image_id', and 'label'"):
        labels(text)


@pytest.mark.parametrize("text", ["path,label\n", "path,label\nother.jpg,a\n", "image_id,label\ncat/1.jpg,a\n"])
def test_a_file_of_other_images_is_refused(labels, text):
    with pytest.raises(UsageError, match="names an image of this project"):
        labels(text)


@pytest.mark.parametrize("data", [b"path,label\ncat/1.jpg,K\xe4tzchen\n", "path,label\n".encode("utf-16")])
def test_another_encoding_is_refused(labels, data):
    with pytest.raises(UsageError, match=r"cannot read labels from .*labels\.csv"):
        labels(data)


@pytest.mark.parametrize("name", ["missing.csv", ".", "n" * 300])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(
        UsageError, match=r"cannot read labels from .*--labels takes parent, none, scene, object, project or a CSV file"
    ):
        read_labels(str(tmp_path / name), NAMES, IDS)


def test_a_field_beyond_all_bounds(labels):
    with pytest.raises(UsageError, match="cannot read labels"):
        labels("path,label\n" + "x" * 200_000 + ",a\n")


def test_paths_are_compared_in_their_plain_form(tmp_path):
    (tmp_path / "l.csv").write_text("path,label\n./a/b.jpg,x\nc//d.jpg,y\n")
    assert read_labels(str(tmp_path / "l.csv"), ["a/b.jpg", "c/d.jpg"], ["1", "2"]) == ["x", "y"]


def test_two_labels_of_one_image_are_refused_and_the_line_is_named(labels):
    with pytest.raises(UsageError, match=r"labels\.csv, line 4: cat/1\.jpg is labelled 'b', but 'a' above"):
        labels("path,label\ncat/1.jpg,a\ntop.jpg,c\n./cat//1.jpg,b\n")


def test_a_label_may_be_said_twice(labels):
    assert labels("path,label\ncat/1.jpg,a\n./cat/1.jpg,a\ncat/1.jpg,\n") == [None, "a", None, None]


@pytest.mark.parametrize("chunks", [1, 3])
def test_columns_have_the_same_labels(chunks, tmp_path):
    """Whatever a name holds: blank folders, line breaks, more than one of them, none at all."""
    names = ["a/b.jpg", "b.jpg", "x/y/z/c.jpg", "two\nlines/d.jpg", "//e.jpg", "Größe 猫/f.jpg", "", "g/", "a/b/\n.jpg"]
    ids = [str(i) for i in range(len(names))]
    columns = [pa.chunked_array([part[i::chunks] for i in range(chunks)], pa.string()) for part in (names, ids)]
    order = [int(i) for i in columns[1].to_pylist()]
    wanted = [names[i].split("/")[-2] if "/" in names[i] else None for i in order]
    assert label_column("parent", *columns).to_pylist() == wanted
    assert label_column("none", *columns).to_pylist() == [None] * len(names)
    file = tmp_path / "labels.csv"
    file.write_text("image_id,label\n3,three\n99,stranger\n0,nought\n")
    known = {0: "nought", 3: "three"}
    assert label_column(str(file), *columns).to_pylist() == [known.get(i) for i in order]
