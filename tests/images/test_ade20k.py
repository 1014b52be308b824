"""ADE20K's two layouts: photographs are found, masks are not taken for photographs, other folders stay as they are."""

import pytest

from fastvbow.images.sources import scan


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def full(stem, scene="training/b/bedroom", **_):
    return [f"images/{scene}/{stem}{end}" for end in (".jpg", "_seg.png", "_parts_1.png", "_parts_2.png", "_atr.txt")]


def test_the_full_data_set_of_2016(tmp_path):
    stems = ["ADE_train_00000001", "ADE_train_00000002"]
    names = [name for stem in stems for name in full(stem)] + full("ADE_val_00000003", "validation/misc")
    table = scan(fill(tmp_path, [*names, "index_ade20k.mat"]))
    assert table.names == [name for name in sorted(names) if name.endswith(".jpg")]
    assert table.n_others == 9 + 3 + 1
    assert table.is_file(0)
    below = scan(tmp_path / "images" / "training" / "b" / "bedroom")
    assert below.names == [f"{stem}.jpg" for stem in stems]


def test_the_full_data_set_of_2021(tmp_path):
    stem, place = "ADE_frame_00000001", "images/ADE/training/urban/street"
    masks = [f"{place}/{stem}/instance_{i:03d}_{stem}.png" for i in range(3)]
    table = scan(fill(tmp_path, [*full(stem, "ADE/training/urban/street"), f"{place}/{stem}.json", *masks]))
    assert table.names == [f"{place}/{stem}.jpg"]


def test_a_mask_whose_photograph_is_missing_is_still_a_mask(tmp_path):
    names = [*full("ADE_train_00000001"), *full("ADE_train_00000002")[1:]]
    assert scan(fill(tmp_path, names)).names == ["images/training/b/bedroom/ADE_train_00000001.jpg"]


@pytest.mark.parametrize("place", ["", "data/ADEChallengeData2016/"])
@pytest.mark.parametrize("masks", ["annotations", "annotations_instance"])
def test_the_scene_parsing_benchmark(tmp_path, place, masks):
    stems = ["training/ADE_train_00000001", "training/ADE_train_00000002", "validation/ADE_val_00000001"]
    photographs = [f"{place}images/{stem}.jpg" for stem in stems]
    table = scan(
        fill(tmp_path, [*photographs, *(f"{place}{masks}/{s}.png" for s in stems[:2]), f"{place}sceneCategories.txt"])
    )
    assert table.names == photographs
    assert table.n_others == 3


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "a_seg.png", "a_parts_1.png"],
        ["dog.jpg", "dog/instance_000_dog.png"],
        ["ADE_train_00000001_seg.png", "ADE_train_00000002.jpg"],
        ["ADE_train_00000001.jpg", "ADE_train_00000001.png"],
        ["annotations/1.png", "images/2.jpg"],
        ["annotations/1.png", "annotations/2.jpg", "images/1.jpg"],
        ["my annotations/1.png", "images/1.jpg"],
        ["annotations/1.png", "1.jpg"],
    ],
)
def test_other_folders_stay_as_they_are(tmp_path, names):
    table = scan(fill(tmp_path, names))
    assert table.names == sorted(names)
    assert table.n_others == 0


@pytest.mark.data
def test_real_samples(data_folder):
    samples = data_folder / "ade20k_samples"
    parsing = scan(samples / "sampleData")
    assert parsing.names == [f"images/ADE_val_0000000{i}.jpg" for i in (1, 2, 3)]
    stems = [f"ADE_train_000{number}" for number in (16869, 16900, 16964)]
    street = "images/ADE/training/urban/street"
    table = scan(samples / "dataset" / "ADE20K_2021_17_01")
    assert table.names == [f"{street}/{stem}.jpg" for stem in stems]
    both = scan(samples)
    assert len(both) == 6 and all(both.read(i).startswith(b"\xff\xd8\xff") for i in range(6))
