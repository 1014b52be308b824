"""The image table on disk, and the ids."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvbow.errors import StoreCorruptError
from fastvbow.images.joining import chosen
from fastvbow.images.table import ImageTable, Places, image_id_of, readable

RAW = [b"a.jpg", "Grüße 猫/🐈.jpg".encode(), b"latin-\xe9\xff.jpg", b"two\nlines.jpg"]


def table(**changes):
    return ImageTable.from_paths(
        **{"root": b"/photos", "raw_paths": RAW, "sizes": [1, 2, -1, 0], "mtimes": [5, 6, -1, 2**60]} | changes
    )


def test_an_id_is_the_hash_of_the_path():
    assert image_id_of(b"a/b.jpg") == hashlib.blake2b(b"a/b.jpg", digest_size=10).hexdigest()
    assert len(image_id_of(b"")) == 20


@given(st.lists(st.binary(max_size=30), unique=True, max_size=30))
def test_ids_are_unique_and_names_can_always_be_printed(paths):
    assert len({image_id_of(path) for path in paths}) == len(paths)
    for path in paths:
        readable(path).encode("utf-8")


def test_readable():
    assert [readable(raw) for raw in RAW] == ["a.jpg", "Grüße 猫/🐈.jpg", "latin-\\xe9\\xff.jpg", "two\nlines.jpg"]


def test_paths_are_the_file_systems_own_bytes():
    found = table()
    assert bytes(found.path(2)) == b"/photos/latin-\xe9\xff.jpg"
    assert found.path(0) == Path("/photos/a.jpg")


def test_what_was_written_is_read(tmp_path):
    table().write(tmp_path / "images.parquet")
    back = ImageTable.load(tmp_path / "images.parquet", Path("/moved"))
    assert back.root == b"/moved"
    assert (back.raw_paths, back.names, back.image_ids) == (RAW, table().names, table().image_ids)
    assert back.sizes.tolist() == [1, 2, -1, 0]
    assert back.mtimes.tolist() == [5, 6, -1, 2**60]
    assert back.fingerprint() == table().fingerprint()


def places(**changes):
    given = {"which": [-1, 0, 1, 1], "offsets": [-1, 512, -1, -1], "rows": [-1, -1, 0, 7]} | changes
    arrays = {name: np.array(value, np.int32 if name == "which" else np.int64) for name, value in given.items()}
    return Places(**{"containers": [b"\xe9.tar", b"b.parquet"], "container_sizes": [9000, 7000], **arrays})


def test_images_in_containers_are_written_and_read(tmp_path):
    mixed = table(places=places())
    mixed.write(tmp_path / "images.parquet")
    back = ImageTable.load(tmp_path / "images.parquet", Path("/moved"))
    assert [back.is_file(i) for i in range(4)] == [True, False, False, False]
    for name in ("which", "offsets", "rows"):
        np.testing.assert_array_equal(getattr(back.places, name), getattr(mixed.places, name))
        assert getattr(back.places, name).dtype == getattr(mixed.places, name).dtype
    assert back.places.containers == mixed.places.containers
    assert back.places.container_sizes == [9000, 7000]
    assert back.fingerprint() == mixed.fingerprint() != table().fingerprint()
    table().write(tmp_path / "images.parquet")
    assert ImageTable.load(tmp_path / "images.parquet", Path("/moved")).places is None


@pytest.mark.parametrize(
    "changes",
    [
        {"offsets": [-1, 1024, -1, -1]},
        {"rows": [-1, -1, 0, 8]},
        {"rows": [-1, -1, 7, 0]},
        {"container_sizes": [9001, 7000]},
        {"which": [-1, 1, 1, 1]},
    ],
)
def test_the_fingerprint_changes_with_any_place(changes):
    whole = table(places=places())
    sizes = changes.pop("container_sizes", [9000, 7000])
    other = table(places=dataclasses.replace(places(**changes), container_sizes=sizes))
    assert other.fingerprint() != whole.fingerprint()
    assert other.fingerprint(0, 1) == whole.fingerprint(0, 1)


def test_a_part_keeps_its_places():
    whole = table(places=places(), warnings=["w"])
    part = whole.part(1, 3)
    assert len(part) == 2 and part.warnings == []
    assert part.fingerprint() == whole.fingerprint(1, 3)
    assert part.identity(1) == whole.identity(2) != table().identity(2)
    assert [part.is_file(i) for i in range(2)] == [False, False] and whole.part(0, 1).is_file(0)


def test_a_table_without_the_columns_of_containers_is_one_of_files(tmp_path):
    table().write(tmp_path / "new.parquet")
    older = pq.read_table(tmp_path / "new.parquet").select(["image_id", "path", "raw_path", "size", "mtime_ns"])
    pq.write_table(older, tmp_path / "older.parquet")
    back = ImageTable.load(tmp_path / "older.parquet", Path("/photos"))
    assert back.places is None and back.is_file(0) and back.fingerprint() == table().fingerprint()


@pytest.mark.parametrize(
    "bad",
    [
        {"which": [-1, -1, 1, 1]},
        {"offsets": [-1, -1, -1, -1]},
        {"offsets": [-1, 512, 512, -1]},
        {"rows": [3, -1, 0, 7]},
    ],
)
def test_places_that_contradict_one_another_are_refused(bad, tmp_path):
    table(places=places(**bad)).write(tmp_path / "images.parquet")
    with pytest.raises(StoreCorruptError, match=r"images\.parquet.*contradict"):
        ImageTable.load(tmp_path / "images.parquet", tmp_path)
    table(places=places()).write(tmp_path / "images.parquet")
    pq.write_table(pq.read_table(tmp_path / "images.parquet").drop_columns("row"), tmp_path / "images.parquet")
    with pytest.raises(StoreCorruptError, match=r"images\.parquet"):
        ImageTable.load(tmp_path / "images.parquet", tmp_path)


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        table().write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"raw_paths": [b"b.jpg", *RAW[1:]]},
        {"sizes": [3, 2, -1, 0]},
        {"mtimes": [4, 6, -1, 2**60]},
        {"raw_paths": [RAW[1], RAW[0], *RAW[2:]]},
        {"raw_paths": RAW[:3], "sizes": [1, 2, -1], "mtimes": [5, 6, -1]},
    ],
)
def test_the_fingerprint_changes_with_any_file(changes):
    assert table(**changes).fingerprint() != table().fingerprint()


def test_the_fingerprint_leaves_the_place_out():
    assert table(root=b"/elsewhere").fingerprint() == table().fingerprint()
    assert dataclasses.replace(table(), n_others=7).fingerprint() == table().fingerprint()


def test_the_fingerprint_of_a_run():
    assert table(sizes=[9, 2, -1, 0]).fingerprint(1, 4) == table().fingerprint(1, 4)
    assert table().fingerprint(0, 2) != table().fingerprint(0, 3)
    # Where one path ends and the next begins counts.
    two = ImageTable.from_paths(b"/", [b"ab", b"c"], [1, 1], [1, 1])
    for raw in (b"ab0 1 1 c", b"ab1 1 1 c"):
        assert ImageTable.from_paths(b"/", [raw], [1], [1]).fingerprint() != two.fingerprint()


def test_damaged_tables_are_refused_by_name(tmp_path):
    path = tmp_path / "images.parquet"
    table().write(path)
    good = path.read_bytes()
    for length in (0, 3, 50, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(StoreCorruptError, match=r"images\.parquet.*fastvbow extract"):
            ImageTable.load(path, tmp_path)
    for at in range(4, len(good), 3):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :])
        try:
            ImageTable.load(path, tmp_path)
        except StoreCorruptError as error:
            assert str(path) in str(error)


def test_missing_and_foreign_tables_are_refused(tmp_path):
    with pytest.raises(StoreCorruptError, match=r"none\.parquet"):
        ImageTable.load(tmp_path / "none.parquet", tmp_path)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(StoreCorruptError, match=r"other\.parquet"):
        ImageTable.load(tmp_path / "other.parquet", tmp_path)
    good = {"image_id": ["0"], "path": ["a"], "raw_path": [b"a"], "size": [1], "mtime_ns": [1]}
    pq.write_table(pa.table(good), tmp_path / "types.parquet")
    assert len(ImageTable.load(tmp_path / "types.parquet", tmp_path)) == 1
    gap = pa.array([None], pa.binary())
    for bad in ({"raw_path": ["a"]}, {"size": [1.5]}, {"raw_path": gap}, {"size": pa.array([None], pa.int64())}):
        pq.write_table(pa.table(good | bad), tmp_path / "types.parquet")
        with pytest.raises(StoreCorruptError, match=r"types\.parquet"):
            ImageTable.load(tmp_path / "types.parquet", tmp_path)


def test_names_alone(tmp_path):
    table().write(tmp_path / "images.parquet")
    found = ImageTable.load_names(tmp_path / "images.parquet")
    assert found["path"].to_pylist() == table().names and found["image_id"].to_pylist() == table().image_ids
    with pytest.raises(StoreCorruptError, match=r"cannot read the image table .*none.parquet"):
        ImageTable.load_names(tmp_path / "none.parquet")
    pq.write_table(pa.table({"image_id": ["a"], "path": [None]}), tmp_path / "gaps.parquet")
    with pytest.raises(StoreCorruptError, match="cannot read the image table"):
        ImageTable.load_names(tmp_path / "gaps.parquet")


def test_chosen_images_have_the_containers_of_these_alone():
    places = Places(
        [b"a.tar", b"b.tar", b"c.tar"],
        [10, 20, 30],
        np.array([0, 1, -1, 2, 1], np.int32),
        np.array([5, 6, -1, 7, 8]),
        np.full(5, -1),
    )
    raw = [b"a.tar/1", b"b.tar/2", b"3", b"c.tar/4", b"b.tar/5"]
    whole = ImageTable.from_paths(b"/", raw, [1, 2, 3, 4, 5], [0] * 5, places=places)
    for rows in ([3, 4, 2], [4, 1], [2], []):
        some = chosen(whole, rows)
        assert some.raw_paths == [raw[row] for row in rows]
        for i, row in enumerate(rows):
            assert some.fingerprint(i, i + 1) == whole.fingerprint(row, row + 1)
            if places.which[row] >= 0:
                name = some.places.containers[some.places.which[i]]
                assert name == places.containers[places.which[row]]
        used = {places.containers[places.which[row]] for row in rows if places.which[row] >= 0}
        assert set(some.places.containers) == used
