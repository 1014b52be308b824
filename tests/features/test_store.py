"""Feature shards: what goes in comes out, and what is damaged is refused by name."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.features.base import LocalFeatures, Modality
from fastvbow.features.store import VERSION, FeatureShard, ImageRecord
from fastvbow.features.writer import write_shard

SIFT, POOLED = Modality("sift", 128, "uint8"), Modality("pooled", 6, "float16")


def record(n_sift, seed):
    rng = np.random.default_rng(seed)
    features = {
        "sift": LocalFeatures(
            rng.random((n_sift, 4), dtype=np.float32), rng.integers(0, 256, (n_sift, 128)).astype(np.uint8)
        ),
        "pooled": LocalFeatures(rng.random((1, 4), dtype=np.float32), rng.random((1, 6)).astype(np.float16)),
    }
    return ImageRecord(features, None, 100 + seed, 50, f"hash{seed}")


SKIPPED = ImageRecord(None, "empty file", 0, 0, "")
RECORDS = [record(3, 0), SKIPPED, record(0, 1), record(5, 2), SKIPPED]


@pytest.fixture
def shard(tmp_path):
    write_shard(tmp_path / "shard-00000", "key", [SIFT, POOLED], RECORDS)
    return tmp_path / "shard-00000"


def test_what_went_in_comes_out(shard):
    opened = FeatureShard(shard)
    assert opened.card.n_images == 5
    assert opened.card.rows == {"sift": 8, "pooled": 3}
    assert opened.card.key == "key"
    assert opened.card.version == VERSION
    assert opened.offsets("sift").tolist() == [0, 3, 3, 3, 8, 8]
    assert opened.offsets("pooled").tolist() == [0, 1, 1, 2, 3, 3]
    for modality in (SIFT, POOLED):
        bounds = opened.offsets(modality.name)
        descriptors, keypoints = opened.descriptors(modality.name), opened.keypoints(modality.name)
        assert descriptors.dtype == np.dtype(modality.dtype)
        assert keypoints.dtype == np.float32
        for i, wanted in enumerate(RECORDS):
            rows = slice(bounds[i], bounds[i + 1])
            if wanted.features is None:
                assert bounds[i] == bounds[i + 1]
            else:
                np.testing.assert_array_equal(descriptors[rows], wanted.features[modality.name].descriptors)
                np.testing.assert_array_equal(keypoints[rows], wanted.features[modality.name].keypoints)


def test_arrays_are_read_only_memory_maps(shard):
    opened = FeatureShard(shard)
    for array in (opened.descriptors("sift"), opened.keypoints("sift"), opened.offsets("sift")):
        assert isinstance(array, np.memmap)
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_what_became_of_each_image(shard):
    opened = FeatureShard(shard)
    assert opened.read.tolist() == [True, False, True, True, False]
    assert opened.images["reason"].to_pylist() == [None, "empty file", None, None, "empty file"]
    assert opened.images["width"].to_pylist() == [100, 0, 101, 102, 0]
    assert opened.images["content"].to_pylist() == ["hash0", "", "hash1", "hash2", ""]


def test_a_shard_of_nothing_but_skipped_images(tmp_path):
    write_shard(tmp_path / "s", "key", [SIFT, POOLED], [SKIPPED, SKIPPED])
    opened = FeatureShard(tmp_path / "s")
    assert opened.descriptors("sift").shape == (0, 128)
    assert opened.descriptors("pooled").dtype == np.float16
    assert opened.keypoints("sift").shape == (0, 4)
    assert opened.offsets("sift").tolist() == [0, 0, 0]
    assert not opened.read.any()


def test_the_same_records_give_the_same_bytes(shard, tmp_path):
    write_shard(tmp_path / "again", "key", [SIFT, POOLED], RECORDS)
    names = sorted(path.name for path in shard.iterdir())
    assert len(names) == 8
    for name in names:
        assert (shard / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_writing_again_replaces_the_shard_whole(shard):
    write_shard(shard, "other", [POOLED], [record(0, 7)])
    assert FeatureShard(shard).card.key == "other"
    assert not (shard / "sift.offsets.npy").exists()
    assert [path.name for path in shard.parent.iterdir()] == [shard.name]


def test_an_exception_while_writing_leaves_nothing(tmp_path):
    bad = ImageRecord({"sift": RECORDS[0].features["sift"]}, None, 1, 1, "")  # its pooled features are missing
    with pytest.raises(KeyError):
        write_shard(tmp_path / "s", "key", [SIFT, POOLED], [RECORDS[0], bad])
    assert list(tmp_path.iterdir()) == []


def test_an_exception_while_writing_leaves_what_stood(shard):
    before = {path.name: path.read_bytes() for path in shard.iterdir()}
    with pytest.raises(AttributeError):
        write_shard(shard, "key", [SIFT], [None])
    assert {path.name: path.read_bytes() for path in shard.iterdir()} == before
    assert [path.name for path in shard.parent.iterdir()] == [shard.name]


def test_a_shard_without_a_card_counts_as_absent(shard):
    (shard / "card.json").unlink()
    assert FeatureShard.read_card(shard) is None
    assert FeatureShard.read_card(shard.parent / "never") is None
    with pytest.raises(StoreCorruptError, match="shard-00000 is not a finished shard"):
        FeatureShard(shard)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"version": 1}', b'{"key": "\xff"}', b"\xff"])
def test_a_damaged_card_is_refused_by_name(shard, text):
    (shard / "card.json").write_bytes(text)
    with pytest.raises(StoreCorruptError, match=r"shard-00000/card\.json"):
        FeatureShard(shard)


def test_a_newer_shard_is_refused_naming_both(shard):
    card = json.loads((shard / "card.json").read_text())
    (shard / "card.json").write_text(json.dumps(card | {"version": VERSION + 6}))
    with pytest.raises(ProjectError, match=f"format {VERSION + 6}; .* up to format {VERSION}: upgrade"):
        FeatureShard(shard)


def open_all(shard):
    opened = FeatureShard(shard)
    for name in opened.card.rows:
        opened.descriptors(name), opened.keypoints(name), opened.offsets(name)
    return opened.read


@pytest.mark.parametrize("name", ["sift.descriptors.npy", "sift.keypoints.npy", "sift.offsets.npy", "images.parquet"])
def test_a_cut_or_missing_file_is_refused_by_name(shard, name):
    path = shard / name
    good = path.read_bytes()
    for length in (0, 1, 7, 60, 127, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(StoreCorruptError, match=f"shard-00000/{name}".replace(".", r"\.")):
            open_all(shard)
    path.unlink()
    with pytest.raises(StoreCorruptError, match=name.replace(".", r"\.")):
        open_all(shard)
    path.write_bytes(good)
    open_all(shard)


@pytest.mark.parametrize("name", ["sift.offsets.npy", "images.parquet"])
def test_any_changed_byte_of_the_small_files_is_found(shard, name):
    path = shard / name
    good = path.read_bytes()
    for at in range(0, len(good), 5):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(StoreCorruptError, match=name.replace(".", r"\.")):
            open_all(shard)


def test_no_changed_byte_of_a_header_raises_anything_else(shard):
    path = shard / "sift.descriptors.npy"
    good = path.read_bytes()
    refused = 0
    for at in range(128):
        for value in (0, 10, 39, 40, 57, 255):
            path.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
            try:
                FeatureShard(shard).descriptors("sift")
            except StoreCorruptError as error:
                assert "sift.descriptors.npy" in str(error)
                refused += 1
    assert refused > 300


def test_an_array_of_another_length_is_refused(shard):
    np.save(shard / "sift.keypoints.npy", np.zeros((7, 4), np.float32))
    with pytest.raises(StoreCorruptError, match=r"sift\.keypoints\.npy.*shape \(7, 4\).*8 rows"):
        FeatureShard(shard).keypoints("sift")
    np.save(shard / "sift.keypoints.npy", np.float32(1))
    with pytest.raises(StoreCorruptError, match=r"sift\.keypoints\.npy"):
        FeatureShard(shard).keypoints("sift")


def test_no_pickle_is_ever_opened(shard):
    np.save(shard / "sift.descriptors.npy", np.array([{"a": 1}] * 8, dtype=object), allow_pickle=True)
    with pytest.raises(StoreCorruptError, match=r"sift\.descriptors\.npy"):
        FeatureShard(shard).descriptors("sift")


def test_another_table_in_the_tables_place_is_refused(shard):
    pq.write_table(pa.table({"reason": pa.array([None, None], pa.string())}), shard / "images.parquet")
    with pytest.raises(StoreCorruptError, match=r"images\.parquet.*checksum"):
        _ = FeatureShard(shard).read


def test_a_shard_may_be_moved(shard, tmp_path):
    shutil.move(shard, tmp_path / "elsewhere")
    assert FeatureShard(tmp_path / "elsewhere").descriptors("sift").shape == (8, 128)
