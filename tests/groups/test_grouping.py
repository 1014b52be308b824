"""Groups from mixtures, and their tables."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvbow.errors import StoreCorruptError
from fastvbow.groups.grouping import Skipped, group, groups_table, read_table, top_groups, write_table
from fastvbow.groups.names import TopicNames

NONE = Skipped([], [], [])


def grouped(theta, labels=None, skipped=NONE, called=None):
    theta = np.asarray(theta, float)
    names = [f"{i}.jpg" for i in range(len(theta))]
    return group(theta, [f"id{i}" for i in range(len(theta))], names, labels or [None] * len(theta), skipped, called)


def test_by_hand():
    found = grouped([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    assert found.topic.tolist() == [1, 0, 2]
    assert found.probability.tolist() == [np.float32(0.5), 1, 0.5]
    wanted = [-(0.2 * math.log(0.2) + 0.5 * math.log(0.5) + 0.3 * math.log(0.3)), 0, 1.5 * math.log(2)]
    np.testing.assert_allclose(found.entropy, wanted, rtol=1e-6)
    assert (found.topic.dtype, found.probability.dtype, found.entropy.dtype) == (np.int32, np.float32, np.float32)


def test_the_lowest_of_equal_topics_is_taken():
    found = grouped([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]])
    assert found.topic.tolist() == [0, 1]
    assert found.entropy[0] == pytest.approx(math.log(4))


def test_merged_topics_are_added_up():
    """Two topics that are one together outweigh a third that neither of them did."""
    called = TopicNames("0" * 64, 4, {3: "kitchen", 2: "street"}, ((1, 3),))
    found = grouped([[0.0, 0.3, 0.4, 0.3], [0.5, 0.2, 0.2, 0.1]], called=called)
    assert found.topic.tolist() == [1, 0]
    assert found.names == ["kitchen", None]
    assert found.probability.tolist() == [np.float32(0.6), 0.5]
    assert found.entropy[0] == pytest.approx(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    np.testing.assert_array_equal(found.theta[0], [0.0, 0.3, 0.4, 0.3])


def test_no_images_and_one_topic():
    assert len(grouped(np.zeros((0, 3)))) == 0
    assert grouped(np.zeros((0, 3))).to_table().num_rows == 0
    found = grouped(np.ones((2, 1)))
    assert found.topic.tolist() == [0, 0]
    assert found.entropy.tolist() == [0, 0]


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 99))
def test_bounds(n, n_topics, seed):
    theta = np.random.default_rng(seed).dirichlet([0.2] * n_topics, n)
    found = grouped(theta)
    assert (found.entropy >= 0).all()
    assert (found.entropy <= math.log(n_topics) + 1e-6).all()
    np.testing.assert_array_equal(found.probability, theta.max(axis=1).astype(np.float32))


def test_tables_and_back(tmp_path):
    skipped = Skipped(["idx"], ["two\nlines 猫.jpg"], ["empty file"])
    found = grouped([[0.2, 0.8], [0.9, 0.1]], labels=["cat", None], skipped=skipped)
    write_table(found.to_table(), tmp_path / "groups.parquet")
    write_table(found.skipped.to_table(), tmp_path / "skipped.parquet")
    table = read_table(tmp_path / "groups.parquet")
    assert table.schema == pa.schema(
        {
            "image_id": pa.string(),
            "path": pa.string(),
            "topic": pa.int32(),
            "probability": pa.float32(),
            "entropy": pa.float32(),
            "label": pa.string(),
            "name": pa.string(),
            "suggested": pa.string(),
        }
    )
    assert table["image_id"].to_pylist() == ["id0", "id1"]
    assert table["path"].to_pylist() == ["0.jpg", "1.jpg"]
    assert table["topic"].to_pylist() == [1, 0]
    assert table["label"].to_pylist() == ["cat", None]
    assert read_table(tmp_path / "skipped.parquet").to_pylist() == [
        {"image_id": "idx", "path": "two\nlines 猫.jpg", "reason": "empty file"}
    ]
    assert len(found) == 2
    assert len(found.skipped) == 1


def test_a_table_of_no_labels_and_no_rows_keeps_its_types(tmp_path):
    write_table(NONE.to_table(), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").schema.types == [pa.string()] * 3
    assert grouped([[1.0]]).to_table().schema.field("label").type == pa.string()


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_table(grouped([[0.2, 0.8]] * 9).to_table(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_damaged_tables_are_refused_by_name(tmp_path):
    path = tmp_path / "groups.parquet"
    with pytest.raises(StoreCorruptError, match=r"groups\.parquet.*fastvbow groups"):
        read_table(path)
    write_table(grouped([[0.2, 0.8]] * 9).to_table(), path)
    good = path.read_bytes()
    for length in (0, 3, 9, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(StoreCorruptError, match=r"groups\.parquet"):
            read_table(path)
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :])
        try:
            read_table(path)
        except StoreCorruptError as error:
            assert "groups.parquet" in str(error)


@pytest.mark.parametrize("merged", [(), ((0, 3), (1, 2, 5)), (tuple(range(9)),)])
def test_columns_are_the_same_table(merged, tmp_path, monkeypatch):
    """A block of rows at a time, and no object for a photograph: the same bytes."""
    n, n_topics = 50, 11
    theta = np.random.default_rng(0).dirichlet(np.full(n_topics, 0.2), n)
    names = TopicNames("x", n_topics, {0: "first", 4: "fourth"}, merged)
    ids, paths = [f"{i:020x}" for i in range(n)], [f"a/{i}.jpg" for i in range(n)]
    labels, suggested = ["a", None, "b", "", None] * 10, {1: "one", 7: "seven"}
    whole = group(theta, ids, paths, labels, Skipped([], [], []), names, suggested)
    monkeypatch.setattr("fastvbow.groups.grouping._BLOCK", 7)  # the last block is a single row
    texts = (pa.chunked_array([part[:20], part[20:]], pa.string()) for part in (ids, paths, labels))
    table = groups_table(top_groups(theta, names), *texts, names, suggested)
    assert table.equals(whole.to_table())
    write_table(table, tmp_path / "columns")
    write_table(whole.to_table(), tmp_path / "objects")
    assert (tmp_path / "columns").read_bytes() == (tmp_path / "objects").read_bytes()
