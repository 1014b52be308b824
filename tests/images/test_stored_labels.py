"""The labels that were imported into a project, as a file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastvbow.errors import ProjectError, StoreCorruptError, UsageError
from fastvbow.images.labels import read_labels
from fastvbow.images.stored_labels import StoredLabels, read_stored_labels, write_stored_labels

LABELS = StoredLabels({"02": "Küche 猫", "01": "<b>", "99": "gone"}, {"01": "a.json", "02": "b.xml"})


def test_to_disk_and_back(tmp_path):
    path, again = tmp_path / "labels.parquet", tmp_path / "again.parquet"
    write_stored_labels(path, LABELS)
    assert read_stored_labels(path) == LABELS
    assert pq.read_table(path)["image_id"].to_pylist() == ["01", "02", "99"]
    write_stored_labels(again, StoredLabels(dict(sorted(LABELS.labels.items())), LABELS.origins))
    assert again.read_bytes() == path.read_bytes()
    assert read_labels("project", ["a", "b", "c"], ["00", "01", "02"], stored=path) == [None, "<b>", "Küche 猫"]


@pytest.mark.parametrize("stored", [None, "missing.parquet"])
def test_without_a_file_there_are_no_labels(tmp_path, stored):
    with pytest.raises(UsageError, match="fastvbow labels import"):
        read_labels("project", ["a"], ["00"], stored=stored and tmp_path / stored)


def test_files_that_are_not_labels_are_refused(tmp_path):
    path = tmp_path / "labels.parquet"
    write_stored_labels(path, LABELS)
    table, good = pq.read_table(path), path.read_bytes()
    head = {"format": "fastvbow-labels", "version": "1"}
    broken = [
        table.drop_columns("label").replace_schema_metadata(head),
        pa.table({"image_id": ["1"], "label": pa.array([None], pa.string())}).replace_schema_metadata(head),
        table.replace_schema_metadata({"format": "x", "version": "1"}),
        table.replace_schema_metadata({"format": "fastvbow-labels", "version": "one"}),
    ]
    for one in broken:
        pq.write_table(one, path)
        with pytest.raises(StoreCorruptError, match=r"labels\.parquet.*fastvbow labels import"):
            read_stored_labels(path)
    for length in (0, 4, len(good) // 2):
        path.write_bytes(good[:length])
        with pytest.raises(StoreCorruptError):
            read_stored_labels(path)
    pq.write_table(table.replace_schema_metadata(head | {"version": "12"}), path)
    with pytest.raises(ProjectError, match="version 12"):
        read_stored_labels(path)
    pq.write_table(table.drop_columns("origin").replace_schema_metadata(head), path)
    assert read_stored_labels(path) == StoredLabels(LABELS.labels, {})
