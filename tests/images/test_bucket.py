"""Photographs in a bucket: the same images, ids and groups as of a folder."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest

from fastvbow import pipeline, stores
from fastvbow.config import ExtractConfig, ExtractOptions, TopicsConfig, VocabularyConfig
from fastvbow.errors import ImageError, NoImagesError, StoreError, UsageError
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable
from fastvbow.stores import url_of


def test_urls_and_paths():
    assert url_of("s3://bucket/a b/") == "s3://bucket/a b"
    assert url_of(Path("s3://bucket/a")) == "s3://bucket/a", "a Path loses one of the slashes"
    assert url_of(b"gs://bucket") == "gs://bucket"
    assert url_of("s3://b/a?region=eu-west-1") == "s3://b/a?region=eu-west-1"
    for given in ("photographs", "C:/x", "./s3:/b", Path("a/s3:/b"), "file:///tmp", "s3:/b", "/s3://b", "s3://", ""):
        assert url_of(given) is None, given


def test_a_folder_named_as_a_scheme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:/bucket").mkdir(parents=True)
    assert url_of(Path("s3:/bucket")) is None
    assert url_of("s3://bucket") == "s3://bucket"


@pytest.mark.parametrize(
    ("url", "told"),
    [("s3://key:secret@bucket/a", "AWS_ACCESS_KEY_ID"), ("s3://bucket//a", "empty step")],
)
def test_refused_urls(url, told):
    with pytest.raises(UsageError, match=told) as caught:
        url_of(url)
    assert "secret@" not in str(caught.value)


def test_unknown_kinds_of_stores():
    with pytest.raises(UsageError, match="nostore"):
        scan("nostore://bucket/a")
    with pytest.raises(UsageError, match="cannot use s3://bucket"):
        scan("s3://bucket/a?no_such_option=1")


@pytest.fixture(scope="module")
def odd_folder(sift_folder, tmp_path_factory) -> Path:
    """Photographs with names that are easily mistaken, and files beside them."""
    folder = tmp_path_factory.mktemp("odd") / "some photographs"
    shutil.copytree(sift_folder, folder)
    first = next(folder.rglob("*.jpg")).read_bytes()
    for name in ("a%20b.JPG", "ü?#&+.jpg", "a/b c.jpg", "a.jpg", "a-b.jpg", ".hidden.jpg", ".cache/x.jpg", "z.tar"):
        path = folder / "more" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(first)
    (folder / "more" / "notes.txt").write_text("no image")
    (folder / "more" / "empty.jpg").touch()
    return folder


def test_the_same_table_as_of_a_folder(odd_folder, store_server):
    url = store_server.upload(odd_folder, store_server.bucket(), "some photographs")
    there, here = scan(f"{url}/"), scan(odd_folder)
    assert there.raw_paths == here.raw_paths
    assert there.image_ids == here.image_ids
    assert there.sizes.tolist() == here.sizes.tolist()
    assert (there.mtimes > 0).all()
    assert there.fingerprint() == scan(Path(url)).fingerprint(), "it is stable"
    assert there.n_others == here.n_others + 1, "the tar is no kind of source there"
    assert there.root == os.fsencode(url)
    sent = pickle.loads(pickle.dumps(there.part(3, 9)))
    for index, row in enumerate(range(3, 9)):
        assert sent.read(index) == here.read(row)
        assert not sent.is_file(index)


def test_what_is_gone_is_skipped_and_what_is_unreachable_is_not(sift_folder, store_server, tmp_path):
    bucket = store_server.bucket()
    url = store_server.upload(sift_folder, bucket, "p")
    table = scan(url)
    store_server.client().delete_object(Bucket=bucket, Key=f"p/{table.names[0]}")
    store_server.client().put_object(Bucket=bucket, Key=f"p/{table.names[1]}", Body=b"")
    with pytest.raises(ImageError, match="No such file"):
        table.read(0)
    with pytest.raises(ImageError, match="empty file"):
        table.read(1)
    with pytest.raises(StoreError, match="no bucket as s3://no-such"):
        ImageTable.from_paths(b"s3://no-such-bucket-here/p", [b"a.jpg"], [1], [1]).read(0)
    with pytest.raises(StoreError, match="no bucket as s3://no-such-bucket-here/p "):
        scan("s3://no-such-bucket-here/p")


def test_a_server_that_is_away(store_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"cannot reach s3://away/p.*check its name, the network"):
        scan("s3://away/p?region=us-east-1")
    stores._file_system.cache_clear()


def test_what_cannot_be_read_there(store_server, tmp_path, cli):
    bucket = store_server.bucket()
    (tmp_path / "a.tar").write_bytes(b"x")
    url = store_server.upload(tmp_path, bucket, "packed")
    with pytest.raises(UsageError, match=r"a\.tar.*read from a disk only"):
        scan(url)
    with pytest.raises(UsageError, match="single object"):
        scan(f"{url}/a.tar")
    with pytest.raises(NoImagesError, match="nothing in"):
        scan(f"s3://{bucket}/none")
    told = cli("extract", f"s3://{bucket}/none", "-o", tmp_path / "p")
    assert (told.code, "nothing in" in told.complaint) == (1, True)


SMALL = {
    "extract_config": ExtractConfig(features=("sift",)),
    "vocabulary_config": VocabularyConfig(words=60),
    "topics_config": TopicsConfig(topics=4, sweeps=5),
    "labels": "parent",
}


def test_the_same_groups_as_of_a_folder(sift_folder, store_server, tmp_path, recorder):
    url = store_server.upload(sift_folder, store_server.bucket(), "photographs")
    there = pipeline.run(url, tmp_path / "there", jobs=2, **SMALL)
    here = pipeline.run(sift_folder, tmp_path / "here", jobs=2, **SMALL)
    assert (there.images, there.grouped) == (here.images, here.grouped)
    for name in ("topics/theta.npy", "groups.parquet", "vocabulary/vocabulary.safetensors"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name
    page = (tmp_path / "there" / "report" / "index.html").read_text()
    assert url in page
    assert "file:///" not in page
    pipeline.run(Path(url), tmp_path / "there", jobs=2, listener=recorder, **SMALL)
    assert recorder.stages("begin") == []
    table = ImageTable.load(tmp_path / "there" / "images.parquet", url)
    assert table.read(0) == (sift_folder / table.names[0]).read_bytes()
    assert pipeline.verify(tmp_path / "there").problems == []


def test_in_processes(sift_folder, store_server, tmp_path):
    url = store_server.upload(sift_folder, store_server.bucket(), "photographs")
    options = ExtractOptions(executor="processes")
    card = pipeline.extract(url, tmp_path / "p", SMALL["extract_config"], options=options, jobs=2)
    assert (card.outputs["images"], card.outputs["skipped"]) == (20, 0)


def test_what_wants_files_says_so(sift_folder, store_server, tmp_path, cli):
    url = store_server.upload(sift_folder, store_server.bucket(), "photographs")
    project = tmp_path / "project"
    assert cli("run", url, "-o", project, "--features", "sift", "--topics", "4", "--words", "60", "-q").code == 0
    assert "fastvbow run" in cli("add", project, url).complaint
    assert "no link can lead" in cli("export", project, "--to", "folders", "-o", tmp_path / "out").complaint
    assert "bucket" in cli("subset", url, "-o", tmp_path / "list.txt", "--labels", "parent").complaint
    assert cli("export", project, "--to", "csv", "-o", tmp_path / "csv").code == 0
    assert cli("assign", project, url, "-o", tmp_path / "new.parquet").code == 0
    assert "mask" in cli("groups", project, "--labels", "object").complaint
