"""Images in a column of Parquet files: which column, under which names, and that every row gives its own bytes."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastvbow.errors import ImageError, NoImagesError, UsageError
from fastvbow.images import containers
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable, image_id_of

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def write(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def images(paths, contents=None):
    contents = contents or [b"bytes of %d" % i for i in range(len(paths))]
    return pa.array([{"bytes": data, "path": path} for data, path in zip(contents, paths, strict=True)], IMAGE)


def test_rows_as_hugging_face_stores_them(tmp_path):
    paths = ["cat/1.jpg", None, "./dog//2.jpg", "same.jpg", "same.jpg", "7", "../up.jpg", "/abs/3.jpg", ""]
    source = write(tmp_path / "train-0.parquet", {"label": list(range(9)), "image": images(paths)})
    table = scan(source)
    wanted = ["cat/1.jpg", "1", "dog/2.jpg", "3", "4", "5", "6", "abs/3.jpg", "8"]
    assert table.names == [f"train-0.parquet/{name}" for name in wanted]
    assert table.image_ids == [image_id_of(name.encode()) for name in table.names]
    assert [table.read(i) for i in range(9)] == [b"bytes of %d" % i for i in range(9)]
    assert not table.is_file(0) and table.warnings == []


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"image": pa.array([b"A"])}, b"A"),
        ({"mask": pa.array([b"B"]), "jpg": pa.array([b"A"])}, b"A"),
        ({"image": pa.array([b"A"], pa.large_binary())}, b"A"),
        ({"anything": pa.array([b"A"])}, b"A"),
        ({"photo": images([None], [b"A"]), "image": pa.array([b"B"])}, b"A"),
        ({"mask": images([None], [b"B"]), "image": images([None], [b"A"])}, b"A"),
        ({"a": images([None], [b"A"]), "b": images([None], [b"B"])}, b"A"),
    ],
)
def test_which_column(tmp_path, columns, wanted):
    assert scan(write(tmp_path / "s.parquet", columns)).read(0) == wanted


def test_a_binary_column_takes_names_from_a_column_of_paths(tmp_path):
    table = scan(write(tmp_path / "s.parquet", {"image": [b"A", b"B"], "file_name": ["b.jpg", "a.jpg"]}))
    assert table.names == ["s.parquet/b.jpg", "s.parquet/a.jpg"] and table.read(1) == b"B"


def test_files_of_a_folder_keep_their_ids_alone_and_together(tmp_path):
    for name in ("b/1.parquet", "a.parquet"):
        write(tmp_path / name, {"image": images(["x.jpg", None], [name.encode(), b"2"])})
    write(tmp_path / "meta.parquet", {"text": ["no image"]})
    (tmp_path / "README.md").write_text("x")
    table = scan(tmp_path)
    assert table.names == ["a.parquet/x.jpg", "a.parquet/1", "b/1.parquet/x.jpg", "b/1.parquet/1"]
    assert [table.read(i) for i in (2, 0)] == [b"b/1.parquet", b"a.parquet"]
    assert table.n_others == 2
    assert scan(tmp_path / "a.parquet").image_ids == table.image_ids[:2]


@pytest.mark.parametrize("nested", [True, False])
def test_any_order_and_any_threads_give_each_row_its_bytes(tmp_path, nested):
    rng = np.random.default_rng(0)
    contents = [rng.bytes(int(n)) for n in rng.integers(1, 3000, 300)]
    column = images([None] * 300, contents) if nested else pa.array(contents)
    table = scan(write(tmp_path / "s.parquet", {"image": column}, row_group_size=70, data_page_size=4096))
    orders = [range(300), range(299, -1, -1), rng.permutation(300).tolist(), [5, 5, 4, 299, 0, 69, 70, 71]]
    for order in orders:
        assert [table.read(i) for i in order] == [contents[i] for i in order]
    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(table.read, orders[2])) == [contents[i] for i in orders[2]]


def test_reading_forwards_decodes_each_row_once(tmp_path, monkeypatch):
    table = scan(write(tmp_path / "s.parquet", {"image": images([None] * 200)}, row_group_size=50))
    decoded = []
    real = pq.ParquetFile.iter_batches

    def counted(self, *args, **more):
        for batch in real(self, *args, **more):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    for i in range(200):
        table.read(i)
    assert sum(decoded) == 200 and max(decoded) <= containers.BATCH


def test_a_row_is_read_without_its_whole_row_group(tmp_path):
    rng = np.random.default_rng(0)
    contents = [rng.bytes(10_000) for _ in range(800)]
    options = {"use_dictionary": False, "data_page_size": 50_000, "write_batch_size": 5}
    path = write(tmp_path / "s.parquet", {"image": pa.array(contents)}, **options)

    class Counted(io.FileIO):
        total = 0

        def read(self, size=-1):
            data = super().read(size)
            self.total += len(data)
            return data

    with Counted(path) as handle:
        file = containers.open_parquet(handle)
        assert file.num_row_groups == 1
        batch = next(file.iter_batches(containers.BATCH, columns=["image"], use_threads=False))
        assert batch.column(0)[0].as_py() == contents[0]
        assert handle.total < 8_000_000 / 2


def test_after_a_failure_the_next_row_is_read(tmp_path, monkeypatch):
    table = scan(write(tmp_path / "s.parquet", {"image": images([None] * 60)}))
    assert table.read(0) == b"bytes of 0"
    broken = iter(())
    monkeypatch.setattr(containers._here.cursor, "_batches", broken)
    with pytest.raises(ImageError, match="fewer rows"):
        table.read(20)
    assert table.read(20) == b"bytes of 20"


def test_rows_without_bytes(tmp_path):
    contents = [b"good", None, b"", b"good"]
    column = pa.concat_arrays([images([None] * 4, contents), pa.array([None], IMAGE)])
    table = scan(write(tmp_path / "s.parquet", {"image": column}))
    for row, reason in ((1, "holds no image"), (2, "empty file"), (4, "holds no image")):
        with pytest.raises(ImageError, match=reason):
            table.read(row)
    assert table.read(3) == b"good"


def test_a_changed_or_missing_file_is_not_read(tmp_path):
    path = write(tmp_path / "s.parquet", {"image": images([None] * 40)}, row_group_size=10)
    table = scan(path)
    assert table.read(3) == b"bytes of 3"
    good = path.read_bytes()
    path.write_bytes(good + b"x")
    with pytest.raises(ImageError, match="has changed since it was scanned"):
        table.read(4)
    path.unlink()
    with pytest.raises(ImageError, match="No such file"):
        table.read(4)
    os.mkfifo(path)
    with pytest.raises(ImageError, match=r"has changed|not a regular file"):
        table.read(4)
    path.unlink()
    path.write_bytes(good)
    assert table.read(4) == b"bytes of 4"


def test_a_file_replaced_by_one_of_its_size_is_opened_again(tmp_path):
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    path = write(tmp_path / "s.parquet", {"image": [b"one"]}, **options)
    table = scan(path)
    assert table.read(0) == b"one"
    write(tmp_path / "new", {"image": [b"two"]}, **options).replace(path)
    assert path.stat().st_size == table.places.container_sizes[0]
    assert table.read(0) == b"two"


def test_no_damage_raises_anything_else(tmp_path):
    path = write(tmp_path / "s.parquet", {"image": images([f"{i}.jpg" for i in range(30)])}, row_group_size=10)
    whole = path.read_bytes()
    refused = unread = 0
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x91]) + whole[at + 1 :])
        try:
            table = scan(path)
        except (UsageError, NoImagesError) as error:
            assert "s.parquet" in str(error)
            refused += 1
            continue
        for i in range(len(table)):
            try:
                table.read(i)
            except ImageError as error:
                assert "\n" not in error.reason
                unread += 1
    assert refused and unread
    for length in (0, 3, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match=r"cannot read the Parquet file .*s\.parquet"):
            scan(path)


def test_a_damaged_file_of_a_folder_is_told(tmp_path):
    write(tmp_path / "a.parquet", {"image": images([None])})
    (tmp_path / "b.parquet").write_bytes(b"rubbish")
    table = scan(tmp_path)
    assert len(table) == 1 and "b.parquet' cannot be read" in table.warnings[0] and table.n_others == 0
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(UsageError, match=r"no images in .*b\.parquet"):
        scan(tmp_path)


def test_files_without_images(tmp_path):
    with pytest.raises(UsageError, match=r"has the columns \['x', 'y'\]; wanted"):
        scan(write(tmp_path / "s.parquet", {"x": [1], "y": ["a"]}))
    with pytest.raises(NoImagesError, match="no images"):
        scan(tmp_path)
    with pytest.raises(NoImagesError, match="have no rows"):
        scan(write(tmp_path / "s.parquet", {"image": images([])}))


def test_an_exhausted_machine_skips_nothing(tmp_path, not_skipped_when_exhausted):
    path = write(tmp_path / "s.parquet", {"image": images([None])})
    table = scan(path)
    not_skipped_when_exhausted(lambda: table.read(0), lambda: scan(path))


def test_the_table_on_disk_still_reads(tmp_path):
    write(tmp_path / "a.parquet", {"image": images(["x.jpg", None])})
    write(tmp_path / "b.parquet", {"image": images(["x.jpg", None], [b"3", b"4"])})
    table = scan(tmp_path)
    table.write(tmp_path / "images")
    back = ImageTable.load(tmp_path / "images", tmp_path)
    assert [back.read(i) for i in range(4)] == [b"bytes of 0", b"bytes of 1", b"3", b"4"]
    assert back.fingerprint() == table.fingerprint()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to see open files in")
def test_a_thread_that_ends_closes_its_file(tmp_path):
    table = scan(write(tmp_path / "s.parquet", {"image": images([None])}))

    def is_open():
        links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return any(str(path.readlink()) == str(table.path(0).parent) for path in links)

    during = []

    def read():
        table.read(0)
        during.append(is_open())

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert during == [True] and not is_open()
