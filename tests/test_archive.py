"""A project of each format version, as that version wrote it, has to open for ever.

``tests/archive/project-1`` was made from 12 crops of four bundled photographs (SIFT alone, 30 keypoints, 20 words, 4
topics) by fastvbow 0.1.0; its source folder is not there any more, as with a project that was moved to another machine.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastvbow import Project, pipeline
from fastvbow.demo.crops import photograph_files

ARCHIVE = sorted((Path(__file__).parent / "archive").iterdir())


@pytest.fixture(params=ARCHIVE, ids=lambda path: path.name)
def archived(request, tmp_path):
    """A copy: opening may lock, and so write."""
    return shutil.copytree(request.param, tmp_path / "project")


def test_there_is_one_of_each_version():
    assert [path.name for path in ARCHIVE] == ["project-1"]


def test_it_groups_new_photographs(archived):
    found = Project.open(archived).assign([file.read_bytes() for file in photograph_files()[:4]])
    assert len(found) == 4
    assert found.theta.shape == (4, 4)
    np.testing.assert_allclose(found.theta.sum(axis=1), 1)


def test_its_groups_and_scores_can_be_read(archived):
    groups = pq.read_table(archived / "groups.parquet")
    assert groups.column_names == ["image_id", "path", "topic", "probability", "entropy", "label"]
    assert groups.num_rows == pipeline.evaluate(archived).n_images == 12


def test_it_can_be_worked_on(archived):
    pipeline.groups(archived, labels="parent")
    assert pq.read_table(archived / "groups.parquet")["label"].null_count == 0
    page = archived / pipeline.report(archived).outputs["page"]
    assert page.is_file(), "the photographs are gone, the page is not"
