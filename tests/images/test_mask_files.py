"""Where masks lie: every layout, what is missing, and folders that hold photographs beside masks."""

from __future__ import annotations

import os

import pytest

from fastvbow.errors import UsageError
from fastvbow.images.mask_files import find_masks
from fastvbow.images.sources import scan

ADE = "ADE_train_0000000"


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def found(folder, masks="auto", **more):
    """The layout, and each photograph's mask relative to the folder, or why there is none."""
    table = scan(folder)
    files = find_masks(table, masks, **more)
    shown = [None if path is None else os.path.relpath(path, os.fsencode(folder)).decode() for path in files.paths]
    assert [path is None for path in files.paths] == [reason is not None for reason in files.reasons]
    return files.layout, dict(zip(table.names, shown, strict=True)), [r for r in files.reasons if r]


def test_the_full_data_set(tmp_path):
    fill(tmp_path, f"t/{ADE}1.jpg", f"t/{ADE}1_seg.png", f"t/{ADE}1_parts_1.png", f"t/{ADE}2.jpg")
    layout, masks, reasons = found(tmp_path)
    assert layout == "ade20k"
    assert masks == {f"t/{ADE}1.jpg": f"t/{ADE}1_seg.png", f"t/{ADE}2.jpg": None}
    assert reasons == [f"there is no mask {tmp_path}/t/{ADE}2_seg.png"]
    assert found(tmp_path, part_level=1)[1][f"t/{ADE}1.jpg"] == f"t/{ADE}1_parts_1.png"
    with pytest.raises(UsageError, match=r"no photograph of .* has a mask .*_parts_2\.png"):
        found(tmp_path, "ade20k", part_level=2)
    with pytest.raises(UsageError, match="part_level is 0 or more, and only the layout ade20k has parts"):
        found(tmp_path, "beside", part_level=1)


def test_scene_parsing(tmp_path):
    fill(tmp_path, f"images/val/{ADE}1.jpg", f"annotations/val/{ADE}1.png", f"images/val/{ADE}2.jpg")
    layout, masks, reasons = found(tmp_path)
    assert layout == "sceneparsing"
    assert masks == {f"images/val/{ADE}1.jpg": f"annotations/val/{ADE}1.png", f"images/val/{ADE}2.jpg": None}
    assert reasons == [f"there is no mask {tmp_path}/annotations/val/{ADE}2.png"]


def test_other_names_in_these_folders_are_plain_masks(tmp_path):
    """There 0 is a class, and there may be more than 150."""
    fill(tmp_path, "images/a.jpg", "annotations/a.png")
    assert found(tmp_path)[:2] == ("parallel", {"images/a.jpg": "annotations/a.png"})
    assert found(tmp_path, "sceneparsing")[0] == "sceneparsing"


@pytest.mark.parametrize(
    ("photograph", "mask"),
    [
        ("val_img/a.jpg", "val_label/a.png"),
        ("img/deep/er/a.jpg", "mask/deep/er/a.png"),
        ("images2017/a.jpg", "labels2017/a.png"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png"),
        ("x_image/image/a.jpg", "x_image/annotations/a.png"),
    ],
)
def test_parallel_folders(tmp_path, photograph, mask):
    fill(tmp_path, photograph, mask, photograph.replace("a.jpg", "b.jpg"))
    layout, masks, reasons = found(tmp_path)
    assert layout == "parallel"
    assert masks == {photograph: mask, photograph.replace("a.jpg", "b.jpg"): None}
    assert len(reasons) == 1 and reasons[0].endswith("b.png")
    inside = tmp_path / photograph.partition("/")[0]  # the masks are found from inside, too
    assert next(iter(found(inside)[1].values())) is not None


@pytest.mark.parametrize("end", [".png", "_mask.png", "_label.png", "_labels.png", "_seg.png"])
def test_beside(tmp_path, end):
    fill(tmp_path, "x/a.jpg", f"x/a{end}", "x/b.jpg")
    layout, masks, reasons = found(tmp_path)
    assert layout == "beside"
    assert masks == {"x/a.jpg": f"x/a{end}", f"x/a{end}": None, "x/b.jpg": None}
    assert reasons.count("it is a mask itself") == 1, "no photograph, though it was listed as one"


def test_masks_of_masks(tmp_path):
    """a.png is the mask of a.jpg; that a_mask.png would be its own mask does not make it a photograph."""
    layout, masks, reasons = found(fill(tmp_path, "a.jpg", "a.png", "a_mask.png"))
    assert (layout, masks["a.jpg"], masks["a.png"]) == ("beside", "a.png", None)
    assert "it is a mask itself" in reasons


def test_a_folder_that_is_named(tmp_path):
    fill(tmp_path / "photos", "x/a.jpg", "x/b.jpg", "c.jpg")
    fill(tmp_path / "truth", "x/a.png", "b.png")
    layout, masks, reasons = found(tmp_path / "photos", str(tmp_path / "truth"))
    assert layout == "parallel"
    assert masks == {"c.jpg": None, "x/a.jpg": "../truth/x/a.png", "x/b.jpg": "../truth/b.png"}
    assert len(reasons) == 1
    with pytest.raises(UsageError, match=r"auto, ade20k, .* or a folder, and there is no folder"):
        found(tmp_path / "photos", str(tmp_path / "elsewhere"))


def test_no_masks_at_all(tmp_path):
    fill(tmp_path, "a/1.jpg", "a/2.jpg")
    with pytest.raises(UsageError, match=r"no photograph of .* has a mask .*instance .*/a/1\.png: say where they are"):
        found(tmp_path)


def test_two_layouts_are_not_counted_together(tmp_path):
    fill(tmp_path, f"t/{ADE}1.jpg", f"t/{ADE}1_seg.png", f"images/{ADE}2.jpg", f"annotations/{ADE}2.png")
    with pytest.raises(UsageError, match="1 in the layout sceneparsing and 1 in the layout ade20k"):
        found(tmp_path)
    assert found(tmp_path, "ade20k")[1] == {f"t/{ADE}1.jpg": f"t/{ADE}1_seg.png", f"images/{ADE}2.jpg": None}


def test_inside_a_tar(tmp_path):
    import tarfile

    fill(tmp_path, "a.jpg", "a.png")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tmp_path / "a.jpg", "a.jpg")
    with pytest.raises(UsageError, match=r"no photograph of .* has a mask"):
        find_masks(scan(tmp_path / "t.tar"))


def test_parallel_masks_are_no_photographs(tmp_path):
    fill(tmp_path, "val_img/a.jpg", "val_img/b.jpg", "val_label/a.png", "val_inst/a.png", "val_inst/b.png", "x.txt")
    table = scan(tmp_path)
    assert table.names == ["val_img/a.jpg", "val_img/b.jpg"]
    assert table.n_others == 4


@pytest.mark.parametrize(
    "names",
    [
        ["img/a.jpg", "label/a.png", "label/b.png"],
        ["img/a.jpg", "label/a.png", "label/a.jpg"],
        ["img/a.jpg", "labels of mine/a.png"],
        ["img/a.jpg", "x/label/a.png"],
        ["dog/a.jpg", "label/a.png"],
        ["imgs_or_else/a.jpg", "label/a.png"],
    ],
)
def test_folders_that_are_not_surely_masks_stay_photographs(tmp_path, names):
    assert scan(fill(tmp_path, *names)).names == sorted(names)


@pytest.mark.data
def test_real_samples(data_folder):
    whole = find_masks(scan(data_folder / "coco_stuff_spade"))
    assert (whole.layout, len(whole.paths), whole.reasons) == ("parallel", 21, [None] * 21)
    inside = find_masks(scan(data_folder / "coco_stuff_spade/datasets/coco_stuff/val_img"))
    assert len(inside.paths) == 8 and all(path and b"/val_label/" in path for path in inside.paths)
    samples = data_folder / "ade20k_samples"
    for place, layout in ("dataset", "ade20k"), ("sampleData", "sceneparsing"):
        files = find_masks(scan(samples / place))
        assert (files.layout, files.reasons) == (layout, [None] * 3)
    parts = find_masks(scan(samples / "dataset"), part_level=2)
    assert [path is not None for path in parts.paths] == [True, False, False]
