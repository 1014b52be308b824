"""Which files a scan finds, in which order, under which ids."""

import os
import re
from pathlib import Path

import pytest
from odd_files import make_odd_files

from fastvbow.errors import NoImagesError, UsageError
from fastvbow.images.sources import SUFFIXES, scan


def fill(folder, names, content=b"x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def ids(table):
    return dict(zip(table.names, table.image_ids, strict=True))


def test_the_odd_corpus_is_listed_by_names_alone(tmp_path):
    made = make_odd_files(tmp_path)
    table = scan(tmp_path)
    listed = {name for name, wanted in made.items() if wanted.status != "unlisted"}
    assert set(table.names) == listed
    assert len(table) == len(listed) == len(set(table.image_ids))
    assert table.raw_paths == sorted(made[name].raw for name in listed)
    assert table.n_others == 6  # among them no-image.txt and no-suffix; hidden ones are not even counted
    (link,) = table.unlisted
    assert link.endswith("link-to-folder.jpg': links to folders are not followed")
    size = dict(zip(table.names, table.sizes.tolist(), strict=True))
    assert size["empty.jpg"] == 0
    strange = {name for name, wanted in made.items() if re.search("regular file|such file|be read", wanted.reason)}
    assert {"fifo.jpg", "socket.jpg", "dangling.jpg", "loop.jpg", "endless.jpg"} < strange
    assert {name for name, n in size.items() if n == -1} == strange
    for name in listed - strange:
        path = table.path(table.names.index(name))
        assert path.stat().st_size == size[name]


def test_the_order_does_not_depend_on_that_of_creation(tmp_path):
    names = ["b/2.jpg", "a.jpg", "b/10.jpg", "Z.jpg", "b.jpg", "é.jpg", "b-c/1.jpg"]
    tables = [
        scan(fill(tmp_path / "forth", names)),
        scan(fill(tmp_path / "back", names[::-1])),
        scan(fill(tmp_path / "sorted", sorted(names))),
    ]
    wanted = sorted(name.encode() for name in names)
    for table in tables:
        assert table.raw_paths == wanted
        assert table.image_ids == tables[0].image_ids


def test_ids_stay_when_the_folder_moves(tmp_path):
    before = scan(fill(tmp_path / "old place", ["a/1.jpg", "2.png"]))
    (tmp_path / "old place").rename(tmp_path / "new")
    after = scan(tmp_path / "new")
    assert after.image_ids == before.image_ids
    assert after.root != before.root


def test_ids_stay_when_files_are_added_and_changed(tmp_path):
    fill(tmp_path, ["m.jpg", "n/o.jpg"])
    before = ids(scan(tmp_path))
    fill(tmp_path, ["a.jpg", "m0.jpg", "n/z.jpg"])
    fill(tmp_path, ["m.jpg"], b"other content")
    after = ids(scan(tmp_path))
    assert len(after) == 5
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == 5


def test_equal_names_in_different_folders_have_different_ids(tmp_path):
    table = scan(fill(tmp_path, ["a/1.jpg", "b/1.jpg"]))
    assert len(set(table.image_ids)) == 2


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_counts_in_either_case(tmp_path, suffix):
    table = scan(fill(tmp_path, ["a" + suffix, "b" + suffix.upper(), "c" + suffix + ".txt", "d" + suffix[1:]]))
    assert table.names == ["a" + suffix, "b" + suffix.upper()]
    assert table.n_others == 2


def test_hidden_files_and_folders_are_left_out(tmp_path):
    table = scan(fill(tmp_path, ["a.jpg", ".b.jpg", ".c/d.jpg", "e/.f/g.jpg", ".jpg"]))
    assert table.names == ["a.jpg"]


def test_a_hidden_source_is_scanned(tmp_path):
    assert scan(fill(tmp_path / ".photos", ["a.jpg"])).names == ["a.jpg"]


def test_links_to_files_count_and_links_to_folders_are_not_followed(tmp_path):
    fill(tmp_path / "elsewhere", ["x.jpg"])
    source = fill(tmp_path / "source", ["a.jpg"])
    (source / "link.jpg").symlink_to(tmp_path / "elsewhere" / "x.jpg")
    (source / "folder").symlink_to(tmp_path / "elsewhere")
    (source / "up").symlink_to(source)
    assert scan(source).names == ["a.jpg", "link.jpg"]


def test_a_linked_source_is_scanned_where_it_really_lies(tmp_path):
    fill(tmp_path / "real", ["a.jpg"])
    (tmp_path / "link").symlink_to("real")
    assert scan(tmp_path / "link").root == os.fsencode((tmp_path / "real").resolve())


def test_a_single_file_is_a_source(tmp_path):
    fill(tmp_path, ["a.jpg", "b.jpg"])
    table = scan(tmp_path / "b.jpg")
    assert table.names == ["b.jpg"]
    assert table.path(0) == (tmp_path / "b.jpg").resolve()
    assert table.image_ids == scan(tmp_path).image_ids[1:]


def test_a_relative_source(tmp_path, monkeypatch):
    fill(tmp_path / "photos", ["a.jpg"])
    monkeypatch.chdir(tmp_path)
    table = scan(Path("photos"))
    monkeypatch.chdir("/")
    assert table.path(0).read_bytes() == b"x"


def test_nothing_to_group(tmp_path):
    with pytest.raises(NoImagesError, match="0 other files"):
        scan(tmp_path)
    fill(tmp_path, ["a.txt", "b/c.pdf"])
    with pytest.raises(NoImagesError, match=r"2 other files.*\.jpg"):
        scan(tmp_path)


@pytest.mark.parametrize("name", ["missing", "file.txt/below", "n" * 300, "nul\0in it"])
def test_sources_that_cannot_be_listed(tmp_path, name):
    (tmp_path / "file.txt").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"there is no folder|cannot list"):
        scan(tmp_path / name)


def test_a_fifo_as_source(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="cannot list"):
        scan(tmp_path / "fifo")


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    fill(tmp_path, ["a.jpg", "locked/b.jpg", "locked/c.jpg", "open/d.jpg"])
    real = os.scandir

    def scandir(path):
        if os.fsencode(path).endswith(b"locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    table = scan(tmp_path)
    assert table.names == ["a.jpg", "open/d.jpg"]
    (line,) = table.unlisted
    assert "locked" in line
    assert "Permission denied" in line
    with pytest.raises(UsageError, match=r"cannot list.*Permission denied"):
        scan(tmp_path / "locked")


@pytest.mark.data
def test_real_folders(data_folder):
    table = scan(data_folder / "sun8")
    assert len(table) == len(set(table.image_ids)) == 1600
    assert (table.sizes > 0).all()


def test_a_new_permission_is_a_change(tmp_path, monkeypatch):
    fill(tmp_path, ["a.jpg", "b.jpg"])
    before = scan(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: not path.endswith(b"b.jpg"))
        refused = scan(tmp_path)
    assert refused.sizes.tolist()[1] == -1
    assert refused.fingerprint() != before.fingerprint() == scan(tmp_path).fingerprint()


def test_links_to_folders_are_named(tmp_path):
    fill(tmp_path / "real", ["a.jpg"])
    fill(tmp_path / "source", ["b.jpg"])
    (tmp_path / "source" / "kitchen").symlink_to(tmp_path / "real")
    table = scan(tmp_path / "source")
    assert table.names == ["b.jpg"]
    assert "kitchen" in table.unlisted[0] and "not followed" in table.unlisted[0]
    (tmp_path / "source" / "b.jpg").unlink()
    with pytest.raises(UsageError, match=r"kitchen.*not followed"):
        scan(tmp_path / "source")
