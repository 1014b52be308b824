"""One decode for all extractors: large JPEGs are decoded to less, and nobody further on can tell."""

import cv2
import numpy as np
import pytest
from odd_files import busy, encoded, with_exif

from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.features.base import ImmediateExtractor, LocalFeatures, Modality
from fastvbow.features.sift import SiftExtractor
from fastvbow.images.decode import decode, examine
from fastvbow.pipeline.describing import begin_description, decoded_side, make_extractors, parameters_of
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.report import thumbnails


class Corners(ImmediateExtractor):
    """Finds the first and the last pixel's centre, and notes what it was shown."""

    modalities = (Modality("corners", 1, "uint8"),)

    def begin(self, image):
        self.shape = image.shape
        height, width = image.shape[:2]
        keypoints = np.array([[0, 0, 1, 30], [width - 1, height - 1, 2, -1]], np.float32)
        return lambda: {"corners": LocalFeatures(keypoints, np.zeros((2, 1), np.uint8))}


def photograph(height: int, width: int) -> bytes:
    return encoded(".jpg", busy(height, width))


@pytest.mark.parametrize(
    ("size", "orientation", "seen", "shown"),
    [
        ((1600, 2600), 1, (1600, 2600), (800, 1300)),
        ((1600, 2600), 6, (2600, 1600), (1300, 800)),
        ((1601, 2561), 1, (1601, 2561), (801, 1281)),
        ((1600, 2500), 1, (1600, 2500), (1600, 2500)),  # a half would be less than four times 320
    ],
)
def test_places_are_those_of_the_full_photograph(size, orientation, seen, shown):
    corners = Corners()
    found = begin_description(examine(with_exif(photograph(*size), orientation), 320), [corners])()
    assert corners.shape[:2] == shown
    assert (found.height, found.width) == seen
    y, x = seen[0] / shown[0], seen[1] / shown[1]
    first, last = found.features["corners"].keypoints
    np.testing.assert_allclose(first, [x / 2 - 0.5, y / 2 - 0.5, np.sqrt(x * y), 30], rtol=1e-6)
    np.testing.assert_allclose(
        last, [seen[1] - 1 - (x / 2 - 0.5), seen[0] - 1 - (y / 2 - 0.5), 2 * np.sqrt(x * y), -1], rtol=1e-6
    )


def test_without_a_side_all_is_decoded():
    corners = Corners()
    begin_description(examine(photograph(1600, 2600), None), [corners])()
    assert corners.shape == (1600, 2600, 3)


def test_keypoints_of_the_reduced_decode_are_those_of_the_full_one():
    data = encoded(".jpg", cv2.resize(busy(400, 640), (2600, 1625), interpolation=cv2.INTER_CUBIC))
    extractor = SiftExtractor()
    whole = extractor.extract(decode(data))["sift"]
    reduced = begin_description(examine(data, 320), [extractor])().features["sift"]
    distance = np.linalg.norm(whole.keypoints[:, None, :2] - reduced.keypoints[None, :, :2], axis=2)
    nearest = distance.argmin(axis=1)
    close = distance.min(axis=1) < 2600 / 320 / 2  # half a pixel of the picture that SIFT sees
    assert close.mean() > 0.9
    alike = whole.descriptors.astype(int) - reduced.descriptors[nearest].astype(int)
    assert np.median(np.linalg.norm(alike, axis=1)[close]) < 40  # of 512


def test_the_features_say_what_they_were_decoded_to():
    usual = parameters_of(ExtractConfig())
    assert usual["sift"]["decoded side"] == usual["cnn"]["decoded side"] == 320
    assert parameters_of(ExtractConfig(features=("cnn",)))["cnn"] == usual["cnn"]
    assert parameters_of(ExtractConfig(side=200))["cnn"] == usual["cnn"]
    assert parameters_of(ExtractConfig(side=512))["cnn"] != usual["cnn"]


def test_the_extractors_have_parameters_in_their_order():
    config = ExtractConfig()
    for extractor, (name, known) in zip(make_extractors(config, "cpu"), parameters_of(config).items(), strict=True):
        assert {**extractor.parameters, "decoded side": decoded_side(config)} == known
        assert name in config.features


def test_large_photographs_through_the_route(tmp_path, monkeypatch):
    shapes = []
    shrink = thumbnails.shrink
    monkeypatch.setattr(thumbnails, "shrink", lambda pixels, *box: shapes.append(pixels.shape) or shrink(pixels, *box))
    source = tmp_path / "photographs"
    source.mkdir()
    for i in range(4):
        picture = cv2.resize(busy(400, 640, seed=i), (2600, 1625), interpolation=cv2.INTER_CUBIC)
        (source / f"{i}.jpg").write_bytes(encoded(".jpg", picture))
    project = tmp_path / "project"
    pipeline.run(
        source,
        project,
        extract_config=ExtractConfig(features=("sift",)),
        vocabulary_config=VocabularyConfig(words=20),
        topics_config=TopicsConfig(topics=2, sweeps=10),
    )
    (shard,) = open_shards(ProjectFolder.open(project))
    assert set(zip(*(shard.images[name].to_pylist() for name in ("width", "height")), strict=True)) == {(2600, 1625)}
    places = np.asarray(shard.keypoints("sift"))
    assert 2300 < places[:, 0].max() < 2600
    assert 1400 < places[:, 1].max() < 1625
    found = Project.open(project).assign(sorted(source.iterdir()))
    np.testing.assert_array_equal(found.theta, np.load(project / "topics" / "theta.npy"))
    assert set(shapes) == {(813, 1300, 3)}  # the report decodes to a half what it shows in 320 x 200
    assert {cv2.imread(str(path)).shape for path in (project / "report" / "thumbs").iterdir()} == {(200, 320, 3)}
