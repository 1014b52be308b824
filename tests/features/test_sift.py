"""SIFT: how many, which, where, and the same ones every time."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from odd_files import busy

from fastvbow.features.sift import SiftExtractor, root_sift
from fastvbow.images.decode import decode, read_bytes


def naive_root_sift(descriptors):
    """Arandjelović & Zisserman 2012, one number after the other."""
    found = np.zeros(descriptors.shape, np.uint8)
    for i, row in enumerate(descriptors.tolist()):
        mass = sum(row)
        for j, value in enumerate(row):
            found[i, j] = min(round(512 * (value / mass) ** 0.5), 255) if mass else 0
    return found


def blob(height, width, x, y, sigma):
    """A bright Gaussian spot on black."""
    rows, columns = np.mgrid[:height, :width]
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.repeat(spot.astype(np.uint8)[..., None], 3, axis=2)


def tiled():
    """A picture whose keypoints come in many exact ties of response."""
    return np.tile(busy(40, 40), (8, 8, 1))


def found_in(image, keypoints=300, side=320):
    return SiftExtractor(keypoints, side).extract(image)["sift"]


def by_opencv(image, keypoints):
    return cv2.SIFT_create(nfeatures=keypoints).detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)


@pytest.mark.parametrize("keypoints", [1, 10, 50])
def test_exactly_as_many_as_asked_for_though_some_tie(keypoints):
    assert len(by_opencv(tiled(), keypoints)[0]) > keypoints, "this OpenCV cuts ties itself: the test shows nothing"
    found = found_in(tiled(), keypoints)
    assert found.keypoints.shape == (keypoints, 4)
    assert found.descriptors.shape == (keypoints, 128)


def test_which_of_the_ties_is_kept_does_not_depend_on_their_order(monkeypatch):
    make = cv2.SIFT_create

    class Shuffled:
        def __init__(self, **options):
            self.sift = make(**options)

        def detectAndCompute(self, image, mask):  # noqa: N802
            points, descriptors = self.sift.detectAndCompute(image, mask)
            order = np.random.default_rng().permutation(len(points))
            return tuple(points[i] for i in order), descriptors[order]

    wanted = found_in(tiled(), 20)
    monkeypatch.setattr(cv2, "SIFT_create", Shuffled)
    for _ in range(5):
        found = found_in(tiled(), 20)
        assert found.keypoints.tobytes() == wanted.keypoints.tobytes()
        assert found.descriptors.tobytes() == wanted.descriptors.tobytes()


def test_the_strongest_are_kept():
    image = busy(240, 320)
    points, _ = by_opencv(image, 0)
    assert len(points) > 100
    strongest = sorted(points, key=lambda point: -point.response)[:20]
    # OpenCV's places are a quarter of a pixel too far: see test_a_blob_is_found_where_it_is.
    wanted = {(round(p.pt[0] - 0.25, 2), round(p.pt[1] - 0.25, 2)) for p in strongest}
    assert {(round(float(x), 2), round(float(y), 2)) for x, y in found_in(image, 20).keypoints[:, :2]} == wanted


def test_more_keypoints_contain_fewer():
    image = busy(240, 320)
    few, many = found_in(image, 20), found_in(image, 90)
    np.testing.assert_array_equal(few.keypoints, many.keypoints[:20])
    np.testing.assert_array_equal(few.descriptors, many.descriptors[:20])


def test_fewer_are_all_kept():
    image = busy(48, 48)
    points, _ = by_opencv(image, 0)
    assert 0 < len(points) < 300
    assert len(found_in(image).keypoints) == len(points)


@pytest.mark.parametrize("shape", [(240, 320), (1, 1), (1, 700), (700, 1), (2, 3), (3, 5000)])
def test_none_in_a_flat_or_tiny_photograph(shape):
    found = found_in(np.full((*shape, 3), 128, np.uint8))
    assert found.keypoints.shape == (0, 4)
    assert found.keypoints.dtype == np.float32
    assert found.descriptors.shape == (0, 128)
    assert found.descriptors.dtype == np.uint8


def test_dtypes_and_shapes():
    extractor = SiftExtractor(40)
    found = extractor.extract(busy(200, 300))
    (modality,) = extractor.modalities
    assert list(found) == [modality.name] == ["sift"]
    assert found["sift"].keypoints.dtype == np.float32
    assert found["sift"].descriptors.dtype == np.dtype(modality.dtype)
    assert found["sift"].descriptors.shape == (40, modality.dimension)
    assert (found["sift"].keypoints[:, 2] > 0).all()
    assert ((found["sift"].keypoints[:, 3] >= 0) & (found["sift"].keypoints[:, 3] <= 360)).all()


def test_the_same_bytes_from_several_threads_and_repeated_calls():
    images = [busy(200 + 10 * i, 300, seed=i) for i in range(4)] + [tiled()]
    wanted = [found_in(image, 50) for image in images]
    shared = SiftExtractor(50, 320)
    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(lambda i: shared.extract(images[i % 5])["sift"], range(40)))
    for i, found in enumerate(together):
        assert found.keypoints.tobytes() == wanted[i % 5].keypoints.tobytes()
        assert found.descriptors.tobytes() == wanted[i % 5].descriptors.tobytes()


@pytest.mark.parametrize(
    ("height", "width", "x", "y", "sigma"),
    [
        (240, 320, 100, 60, 5),  # as it is
        (100, 60, 40, 30, 3),
        (1200, 1600, 400, 300, 40),  # shrunk five times
        (1200, 1600, 1200, 900, 25),
        (1600, 1200, 300, 1300, 30),
        (1001, 1333, 700, 333, 27),
        (3000, 800, 400, 2500, 45),  # nine times and not square
    ],
)
def test_a_blob_is_found_where_it_is(height, width, x, y, sigma):
    found = found_in(blob(height, width, x, y, sigma))
    assert len(found.keypoints)
    place, size = found.keypoints[0, :2], found.keypoints[0, 2]
    shrink = max(1, max(height, width) / 320)
    assert np.abs(place - (x, y)).max() < min(2, 0.15 * shrink)
    # The scale at which the Laplacian of a blob is greatest is its sigma; OpenCV's size is twice that.
    assert 1.4 * sigma < size < 2.2 * sigma


def test_both_axes_are_stretched_by_what_they_were_shrunk_by():
    # 2000 x 9 pixels become 256 x 1: rounding makes the axes' factors differ a lot.
    seen = {}

    class Recorder:
        def detectAndCompute(self, grey, mask):  # noqa: N802
            seen["shape"] = grey.shape
            return (cv2.KeyPoint(10.25, 0.25, 2.0, 30.0, 1.0),), np.ones((1, 128), np.float32)

    extractor = SiftExtractor()
    extractor._sift = Recorder
    x, y, size, angle = extractor.extract(np.zeros((9, 2000, 3), np.uint8))["sift"].keypoints[0]
    assert seen["shape"] == (1, 256)
    assert x == pytest.approx(10.5 * 2000 / 256 - 0.5)
    assert y == pytest.approx(0.5 * 9 / 1 - 0.5)  # the centre of the only row is the middle of the nine
    assert size == pytest.approx(2 * 2000 / 256)
    assert angle == 30


@pytest.mark.parametrize(("side", "wanted"), [(320, (100, 150)), (150, (100, 150)), (75, (50, 75))])
def test_shrunk_but_never_enlarged(side, wanted):
    seen = []

    class Recorder:
        def detectAndCompute(self, grey, mask):  # noqa: N802
            seen.append(grey.shape)
            return (), None

    extractor = SiftExtractor(side=side)
    extractor._sift = Recorder
    extractor.extract(busy(100, 150))
    assert seen == [wanted]


@settings(deadline=None, max_examples=60)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=6).map(lambda shape: (shape[0], 128)),
        elements=st.integers(0, 255).map(float),
        fill=st.just(0.0),
    )
)
def test_root_sift_against_the_plain_formula(descriptors):
    difference = root_sift(descriptors).astype(int) - naive_root_sift(descriptors)
    assert np.abs(difference).max() <= 1  # float32 against float64 at a half
    assert (difference != 0).mean() < 0.01


def test_root_sift_by_hand():
    row = np.zeros((3, 128), np.float32)
    row[0, :4] = 25  # each a quarter of the mass: 512 * 0.5 = 256, clipped
    row[1, :] = 3  # 512 * sqrt(1 / 128) = 45.25
    found = root_sift(row)
    assert found.dtype == np.uint8
    assert found[0].tolist() == [255] * 4 + [0] * 124
    assert set(found[1].tolist()) == {45}
    assert not found[2].any()


def test_stored_descriptors_are_those_of_opencv_as_root_sift():
    image = busy(48, 48)
    points, descriptors = by_opencv(image, 0)
    order = sorted(range(len(points)), key=lambda i: (-points[i].response, points[i].pt[::-1], points[i].angle))
    wanted = naive_root_sift(descriptors[order]).astype(int)
    assert np.abs(found_in(image).descriptors - wanted).max() <= 1


def test_what_the_features_depend_on():
    base = dict(SiftExtractor(300, 256).parameters)
    assert dict(SiftExtractor(200, 256).parameters) != base
    assert dict(SiftExtractor(300, 240).parameters) != base
    assert dict(SiftExtractor().parameters) == base


@pytest.mark.data
def test_real_photographs(data_folder):
    for path in sorted((data_folder / "sun8").rglob("*.jpg"))[::200]:
        image = decode(read_bytes(path))
        found = found_in(image)
        assert 0 < len(found.keypoints) <= 300
        height, width = image.shape[:2]
        assert (found.keypoints[:, :2] > -0.5).all()
        assert (found.keypoints[:, :2] < (width - 0.5, height - 0.5)).all()
