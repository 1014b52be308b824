"""Lists of paths: text, CSV and Parquet files."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastvbow.errors import ImageError, NoImagesError, UsageError
from fastvbow.images.sources import scan


@pytest.fixture
def photographs(tmp_path):
    """A folder with files to list, and one beside it."""
    for name in ("list/b.jpg", "list/a/1.jpg", "list/Grüße 猫.jpg", "list/no-suffix", "list/ end .jpg ", "beside.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "list"


def listed(folder, text, name="list.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return scan(path)


def test_paths_relative_and_absolute(photographs):
    text = f"b.jpg\na/1.jpg\n{photographs}/no-suffix\n../beside.png\n"
    table = listed(photographs, text)
    assert table.names == ["../beside.png", "a/1.jpg", "b.jpg", "no-suffix"]
    assert [table.read(i) for i in range(4)] == [b"beside.png", b"list/a/1.jpg", b"list/b.jpg", b"list/no-suffix"]
    assert table.root == os.fsencode(photographs.resolve()) and table.is_file(0)
    outside = listed(photographs.parent / "list" / "a", f"{photographs}/b.jpg\n")
    assert outside.names == [f"{photographs}/b.jpg"] and outside.read(0) == b"list/b.jpg"


def test_ids_are_those_of_the_folder_and_independent_of_the_order(photographs):
    names = ["b.jpg", "a/1.jpg", "Grüße 猫.jpg"]
    folder = scan(photographs)
    forth, back = (listed(photographs, "\n".join(order)) for order in (names, names[::-1]))
    assert forth.raw_paths == back.raw_paths == folder.raw_paths
    assert forth.image_ids == folder.image_ids and forth.fingerprint() == folder.fingerprint()


def test_line_ends_blank_lines_and_a_byte_order_mark(photographs):
    table = listed(photographs, b"\xef\xbb\xbfb.jpg\r\n\r\na/1.jpg\r\n end .jpg \n\n")
    assert table.names == [" end .jpg ", "a/1.jpg", "b.jpg"]
    assert table.warnings == []


def test_entries_of_one_file_count_once_and_are_told(photographs):
    table = listed(photographs, f"b.jpg\n./b.jpg\n{photographs}//b.jpg\na/./1.jpg\na/1.jpg\n")
    assert table.names == ["a/1.jpg", "b.jpg"]
    (told,) = table.warnings
    assert told.startswith("3 of its entries")


def test_missing_files_stay_as_rows(photographs):
    table = listed(photographs, "gone.jpg\nb.jpg\na\n")
    assert table.names == ["a", "b.jpg", "gone.jpg"]
    assert table.sizes.tolist() == [-1, len("list/b.jpg"), -1]
    for index, reason in ((0, "not a regular file"), (2, "No such file")):
        with pytest.raises(ImageError, match=reason):
            table.read(index)


def test_names_that_are_no_utf8(photographs):
    raw = b"latin-\xe9.jpg"
    (photographs / os.fsdecode(raw)).write_bytes(b"x")
    assert listed(photographs, raw + b"\n").read(0) == b"x"
    assert listed(photographs, b"path\n" + raw + b"\n", "l.csv").raw_paths == [raw]


@pytest.mark.parametrize("column", ["path", "file", "filename", "file_name", "filepath", "file_path", "image"])
def test_csv(photographs, column):
    text = f'\ufefflabel,{column}\nx,b.jpg\ny,a/1.jpg\n"z, z","Grüße 猫.jpg"\nshort\n,\n'
    assert listed(photographs, text, "l.CSV").names == ["Grüße 猫.jpg", "a/1.jpg", "b.jpg"]


def test_parquet(photographs):
    path = photographs / "l.parquet"
    pq.write_table(pa.table({"label": [1, 2, 3, 4], "path": ["b.jpg", None, "a/1.jpg", "gone"]}), path)
    table = scan(path)
    assert table.names == ["a/1.jpg", "b.jpg", "gone"] and table.read(1) == b"list/b.jpg"
    assert table.is_file(1)


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("l.txt", "", NoImagesError, "names no file"),
        ("l.txt", "\n\n", NoImagesError, "names no file"),
        ("l.txt", "x.jpg\ny/z.jpg\n", UsageError, r"none of the 2 files.*x\.jpg'\); relative paths count from"),
        ("l.txt", "b.jpg\n".encode("utf-16"), UsageError, "no list of paths in UTF-8"),
        ("l.csv", "path\n", NoImagesError, "names no file"),
        ("l.csv", "", UsageError, r"has the columns \[\]; wanted: one of path, file"),
        ("l.csv", "path;label\nb.jpg;x\n", UsageError, r"has the columns \['path;label'\]"),
        ("l.csv", "path\n" + "x" * 200_000, UsageError, "cannot read the list"),
    ],
)
def test_lists_that_are_none(photographs, name, text, error, message):
    with pytest.raises(error, match=message) as caught:
        listed(photographs, text, name)
    assert name in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="as root every file is readable, whatever its mode")
def test_a_list_without_permission(photographs):
    (photographs / "l.txt").write_text("b.jpg")
    (photographs / "l.txt").chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        scan(photographs / "l.txt")


def test_a_text_file_in_a_folder_is_no_list(photographs):
    (photographs / "list.txt").write_text("../beside.png")
    table = scan(photographs)
    assert table.names == ["Grüße 猫.jpg", "a/1.jpg", "b.jpg"]
    assert table.n_others == 3
