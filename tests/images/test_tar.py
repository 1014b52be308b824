"""Images inside tar files: which are listed, that their bytes are the right ones, and what is passed over and why."""

import gzip
import io
import os
import tarfile

import pytest

from fastvbow.errors import ImageError, NoImagesError, UsageError
from fastvbow.images.decode import MOST_BYTES
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable, image_id_of

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def member(name, data=b"x", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(data)
    return info, data


def write_tar(path, members, form=tarfile.GNU_FORMAT):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if data else None)
    return path


def contents(table):
    return {name: table.read(i) for i, name in enumerate(table.names)}


@pytest.mark.parametrize("form", FORMATS)
def test_bytes_are_those_that_tarfile_reads(tmp_path, form):
    names = [
        "b.jpg",
        "a.jpg",
        "deep/" * 25 + "long.png",
        "Grüße/猫.webp",
        "n" * 95 + ".jpg",
        "latin-\udce9.jpg",
        "UP.JPG",
    ]
    if form != tarfile.USTAR_FORMAT:
        names.append("e" * 200 + "/" + "f" * 240 + ".jpg")
    path = write_tar(
        tmp_path / "s.tar", [member(name, os.urandom(37 * i % 2000 + 1)) for i, name in enumerate(names)], form
    )
    table = scan(path)
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as archive:
        wanted = [(m.name, m.offset_data, archive.extractfile(m).read()) for m in archive]
    assert table.raw_paths == [b"s.tar/" + os.fsencode(name) for name, _, _ in wanted]
    assert [table.read(i) for i in range(len(table))] == [data for _, _, data in wanted]
    assert table.places.offsets.tolist() == [offset for _, offset, _ in wanted]
    assert table.image_ids == [image_id_of(raw) for raw in table.raw_paths]
    assert table.warnings == [] and table.n_others == 0


def test_a_webdataset_sample_is_its_image(tmp_path):
    members = [
        member(f"{key}{suffix}")
        for key in ("000", "a/001")
        for suffix in (".cls", ".jpg", ".json", ".seg.png", ".depth.exr")
    ]
    table = scan(write_tar(tmp_path / "s.tar", [*members, member("lone.seg.png"), member("folder/", b"", b"5")]))
    assert table.names == ["s.tar/000.jpg", "s.tar/a/001.jpg", "s.tar/lone.seg.png"]
    assert table.n_others == 6
    (told,) = table.warnings
    assert told.startswith("2 members passed over: further images") and "'000.seg.png' in s.tar" in told


def test_shards_of_a_folder_keep_their_ids_alone_and_together(tmp_path):
    for name in ("b/2.tar", "a.tar", "b/10.tar"):
        write_tar(tmp_path / name, [member("z.jpg", name.encode()), member("a.jpg", b"a")])
    (tmp_path / "notes.md").write_text("x")
    table = scan(tmp_path)
    wanted = [f"{shard}/{name}" for shard in ("a.tar", "b/10.tar", "b/2.tar") for name in ("z.jpg", "a.jpg")]
    assert table.names == wanted, "by shard, then as they lie there"
    assert table.read(2) == b"b/10.tar" and table.n_others == 1
    assert not table.is_file(0) and str(table.path(0)) == f"{tmp_path.resolve()}/a.tar/z.jpg"
    assert scan(tmp_path / "a.tar").image_ids == table.image_ids[:2]
    (tmp_path / "single.jpg").write_bytes(b"x")
    mixed = scan(tmp_path)
    assert mixed.names == ["single.jpg"]
    assert "3 files were passed over" in mixed.warnings[0] and "'a.tar'" in mixed.warnings[0]


def test_members_that_are_not_to_be_read(tmp_path):
    sparse = member("sparse.jpg")
    sparse[0].pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    members = [
        member("good.jpg", b"good"),
        member("/etc/abs.jpg"),
        member("../up.jpg"),
        member("a/../../up.jpg"),
        member("hard.jpg", b"", tarfile.LNKTYPE, "good.jpg"),
        member("soft.jpg", b"", tarfile.SYMTYPE, "/etc/passwd"),
        member("fifo.jpg", b"", tarfile.FIFOTYPE),
        member("device.jpg", b"", tarfile.CHRTYPE),
        sparse,
        member("._hidden.jpg"),
        member("__/.x/hidden.jpg"),
        member("./dot//last.jpg", b"last"),
    ]
    table = scan(write_tar(tmp_path / "s.tar", members, tarfile.PAX_FORMAT))
    assert contents(table) == {"s.tar/good.jpg": b"good", "s.tar/dot/last.jpg": b"last"}
    told = {line.split(": ")[1].split(" (")[0]: int(line.split()[0]) for line in table.warnings}
    assert told == {"names that lead out of the tar": 3, "links": 2, "no regular files": 2, "sparse files": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / "s.tar"], "nothing is unpacked"


def test_a_sparse_member_of_old_gnu_tar_is_stepped_over(tmp_path):
    info, data = member("sparse.jpg", b"S" * 700)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157], block[482] = b"S", 1  # one more block of the map follows
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    rest = write_tar(tmp_path / "rest.tar", [member("good.jpg", b"good")]).read_bytes()
    (tmp_path / "rest.tar").unlink()
    (tmp_path / "s.tar").write_bytes(bytes(block) + bytes(512) + data.ljust(1024, b"\0") + rest)
    table = scan(tmp_path)
    assert contents(table) == {"s.tar/good.jpg": b"good"}
    assert "sparse files" in table.warnings[0]


def test_a_member_of_unreasonable_size_is_refused_unread(tmp_path):
    info, _ = member("a.jpg")
    info.size = MOST_BYTES + 1
    with (tmp_path / "s.tar").open("wb") as handle:
        handle.write(info.tobuf(tarfile.GNU_FORMAT))
        handle.truncate(MOST_BYTES + 4096)  # sparse: takes no place
    with pytest.raises(ImageError, match="are refused"):
        scan(tmp_path).read(0)


def test_links_and_folders_have_no_bytes_whatever_they_say(tmp_path):
    members = [member("hard.jpg", b"", tarfile.LNKTYPE, "a.jpg"), member("folder", b"", tarfile.DIRTYPE)]
    for info, _ in members:
        info.size = 1000
    table = scan(write_tar(tmp_path / "s.tar", [*members, member("good.jpg", b"good")]))
    assert contents(table) == {"s.tar/good.jpg": b"good"}


def test_a_size_that_only_the_pax_header_tells(tmp_path):
    info, data = member("big.jpg", b"b" * 700)
    info.pax_headers = {"size": "700"}
    head = bytearray(info.tobuf(tarfile.PAX_FORMAT))
    head[-512 + 124 : -512 + 136], head[-512 + 148 : -512 + 156] = b"0" * 11 + b"\0", b" " * 8
    head[-512 + 148 : -512 + 156] = b"%06o\0 " % sum(head[-512:])
    rest = write_tar(tmp_path / "s.tar", [member("good.jpg", b"good")]).read_bytes()
    (tmp_path / "s.tar").write_bytes(bytes(head) + data.ljust(1024, b"\0") + rest)
    assert contents(scan(tmp_path)) == {"s.tar/big.jpg": data, "s.tar/good.jpg": b"good"}


def test_the_last_of_one_name_counts(tmp_path):
    members = [member("a.jpg", b"old"), member("b.jpg", b"b"), member("./a.jpg", b"new")]
    table = scan(write_tar(tmp_path / "s.tar", members))
    assert contents(table) == {"s.tar/b.jpg": b"b", "s.tar/a.jpg": b"new"}
    assert "a later member of the same name" in table.warnings[0]


def test_a_truncated_tar(tmp_path):
    path = write_tar(tmp_path / "s.tar", [member("a.jpg", b"a" * 600), member("b.jpg", b"b" * 600)])
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 + 1024 + 512 + 100])
    table = scan(path)
    assert table.names == ["s.tar/a.jpg", "s.tar/b.jpg"] and table.sizes.tolist() == [600, -1]
    assert table.read(0) == b"a" * 600
    with pytest.raises(ImageError, match="cut short"):
        table.read(1)
    assert "is cut short: 'b.jpg'" in table.warnings[0].replace('"', "'")
    path.write_bytes(whole[: 512 + 1024])
    assert "without its end mark" in scan(path).warnings[0]
    path.write_bytes(whole[: 512 + 1024] + b"rubbish" * 100)
    table = scan(path)
    assert table.names == ["s.tar/a.jpg"] and "damaged header at byte 1536" in table.warnings[0]
    path.write_bytes(whole[:400])
    with pytest.raises(UsageError, match=r"s\.tar.*no tar file"):
        scan(path)


def test_no_cut_and_no_damage_raises_anything_else(tmp_path):
    path = write_tar(tmp_path / "s.tar", [member("n" * 150 + f"{i}.jpg", b"x" * 300) for i in range(4)], FORMATS[2])
    whole = path.read_bytes()
    found = set()
    for at in [*range(0, 1600, 7), *range(1600, len(whole), 97)]:
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x91]) + whole[at + 1 :]):
            path.write_bytes(data)
            try:
                table = scan(path)
            except (UsageError, NoImagesError) as error:
                assert "s.tar" in str(error)
                continue
            found.add(len(table))
            for i in range(len(table)):
                try:
                    assert len(table.read(i)) == table.sizes[i]
                except ImageError as error:
                    assert "\n" not in error.reason
    assert {1, 2, 3, 4} <= found


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "field", [b"\xff" * 12, b"\xff" * 10 + b"\xfa\0", b"\x80" + b"\x7f" * 11, b"99999999999\0", b"77777777777\0"]
)
def test_sizes_that_lie(tmp_path, field):
    block = bytearray(member("a.jpg")[0].tobuf(tarfile.GNU_FORMAT))
    block[124:136], block[148:156] = field, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "s.tar").write_bytes(bytes(block) + bytes(2048))
    try:
        table = scan(tmp_path)
    except UsageError as error:
        assert "s.tar" in str(error)
    else:
        assert table.sizes.tolist() == [-1]


def test_a_long_extended_header_is_not_believed(tmp_path):
    info, _ = member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME)
    info.size = 8 << 30
    good = write_tar(tmp_path / "s.tar", [member("a.jpg")]).read_bytes()[:1024]
    with (tmp_path / "s.tar").open("wb") as handle:
        handle.write(good + info.tobuf(tarfile.GNU_FORMAT))
        handle.truncate(9 << 30)  # sparse: takes no place
    table = scan(tmp_path)
    assert len(table) == 1 and "damaged extended header" in table.warnings[0]


@pytest.mark.parametrize("name", ["s.tar.gz", "s.tgz", "s.TAR.GZ", "s.tar"])
def test_compressed_tars_are_refused_by_name_or_content(tmp_path, name):
    plain = write_tar(tmp_path / "plain.tar", [member("a.jpg")])
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(UsageError, match=r"is compressed.*gunzip"):
            scan(source)


def test_tars_without_images(tmp_path):
    write_tar(tmp_path / "a.tar", [member("a.txt"), member("b.jpg", b"", tarfile.SYMTYPE, "x")])
    with pytest.raises(NoImagesError, match=r"1 other members; 1 members passed over: links"):
        scan(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(UsageError, match="is empty: no tar file"):
        scan(tmp_path)
    write_tar(tmp_path / "b.tar", [member("c.jpg")])
    table = scan(tmp_path)
    assert table.names == ["b.tar/c.jpg"] and "is empty" in table.warnings[0]


def test_a_changed_or_missing_tar_is_not_read(tmp_path):
    path = write_tar(tmp_path / "s.tar", [member("a.jpg", b"one"), member("empty.jpg", b"")])
    table = scan(path)
    with pytest.raises(ImageError, match=r"^empty file$"):
        table.read(1)
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(ImageError, match="has changed since it was scanned"):
        table.read(0)
    path.unlink()
    with pytest.raises(ImageError, match="No such file"):
        table.read(0)
    os.mkfifo(path)
    with pytest.raises(ImageError, match="not a regular file"):
        table.read(0)


def test_an_exhausted_machine_skips_nothing(tmp_path, not_skipped_when_exhausted):
    path = write_tar(tmp_path / "s.tar", [member("a.jpg")])
    table = scan(path)
    not_skipped_when_exhausted(lambda: table.read(0), lambda: scan(path))


def test_the_table_on_disk_still_reads(tmp_path):
    for shard in ("a", "b"):
        write_tar(tmp_path / f"{shard}.tar", [member(f"{i}.jpg", f"{shard}{i}".encode()) for i in range(3)])
    table = scan(tmp_path)
    table.write(tmp_path / "images.parquet")
    back = ImageTable.load(tmp_path / "images.parquet", tmp_path)
    assert contents(back) == contents(table)
    assert back.fingerprint() == table.fingerprint()
    assert back.fingerprint(1, 4) == table.fingerprint(1, 4) != table.fingerprint(1, 5)


def test_the_fingerprint_tells_of_the_tar(tmp_path):
    path = write_tar(tmp_path / "s.tar", [member("a.jpg", b"1"), member("b.jpg", b"2")])
    before = scan(path).fingerprint()
    write_tar(path, [member("b.jpg", b"2"), member("a.jpg", b"1")])
    os.utime(path, ns=(1, 1))
    swapped = scan(path).fingerprint()
    os.utime(path, ns=(1, 2))
    touched = scan(path).fingerprint()
    path.write_bytes(path.read_bytes() + bytes(512))
    os.utime(path, ns=(1, 2))
    assert len({before, swapped, touched, scan(path).fingerprint()}) == 4
