"""Baselines of real projects: rows are the project's, seeds repeat, caches serve, and what is wrong is told."""

from __future__ import annotations

import shutil
import subprocess
import sys

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from scipy.stats import chi2_contingency
from sklearn.metrics.cluster import contingency_matrix

from fastvbow.errors import MissingExtraError, NoImagesError, ProjectError, StageMissingError, StoreCorruptError
from fastvbow.errors import UsageError as Usage
from fastvbow.groups.baselines.clusters import unit_length
from fastvbow.images.decode import decode
from fastvbow.pipeline import baseline_inputs
from fastvbow.pipeline.baseline_inputs import kept_images, pixel_rows, pooled_rows, word_counts
from fastvbow.pipeline.baseline_vectors import Learnt, kept_vectors
from fastvbow.pipeline.baselines import BASELINES, run_baseline
from fastvbow.project import ProjectFolder

SMALL = {
    "kmeans-embeddings": {},
    "lda-variational": {},
    "pca-embeddings": {"components": 10},
    "pca-pixels": {"side": 32, "components": 10, "batch": 20},
    "vae-conv": {"side": 16, "epochs": 12, "batch": 8},
    "vae-paper": {"side": 16, "epochs": 12, "batch": 8},
}
TORCHLESS = [name for name in SMALL if not name.startswith("vae")]


def run(project, name, n_groups=5, **more):
    if name.startswith("vae"):
        pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")
    return run_baseline(project, name, n_groups, parameters=SMALL[name], jobs=1, **more)


def labels_of(project, ids):
    table = pq.read_table(project / "groups.parquet")
    known = dict(zip(table["image_id"].to_pylist(), table["path"].to_pylist(), strict=True))
    return [known[image_id].split("/")[0] for image_id in ids]


def independence(labels, groups):
    """The p-value of the chi-square test that groups have nothing to do with labels."""
    return chi2_contingency(contingency_matrix(labels, groups)).pvalue


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", SMALL)
def test_groups_go_with_labels(name, small_project, cache):
    """Crops of five photographs: chi-square rejects that rows and images were parted, as they are when shuffled."""
    found = run(small_project, name, cache=cache)
    table = pq.read_table(small_project / "groups.parquet")
    assert found.image_ids == table["image_id"].to_pylist()
    labels = labels_of(small_project, found.image_ids)
    assert independence(labels, found.groups) < 1e-4
    shuffled = np.random.default_rng(0).permutation(found.groups)
    assert independence(labels, shuffled) > 1e-3
    assert found.groups.dtype == np.int32
    assert found.groups.shape == (60,)
    assert 0 <= found.groups.min() <= found.groups.max() < 5
    assert found.seconds > 0
    assert (found.name, found.n_groups, found.seed) == (name, 5, 0)
    assert found.parameters == {**BASELINES[name], **SMALL[name]}
    kinds = ("theta", "explained_variance", "train_loss", "held_out_loss")
    has = {key for key in kinds if getattr(found, key) is not None}
    wanted = {"lda": {"theta"}, "pca": {"explained_variance"}, "vae": {"train_loss", "held_out_loss"}, "kmeans": set()}
    assert has == wanted[name.split("-")[0]]
    assert set(found.quality) == (
        {"reconstruction_error", "mean_image_error", "active_dimensions"} if name.startswith("vae") else set()
    )


@pytest.mark.parametrize("name", SMALL)
def test_with_a_cache_or_without(name, small_project, cache, tmp_path, monkeypatch):
    """A seed gives the same groups; what the cache has is not made again; the project is only read."""
    before = sorted(path.stat().st_mtime_ns for path in small_project.rglob("*"))
    first, alone = run(small_project, name, cache=cache), run(small_project, name)
    np.testing.assert_array_equal(first.groups, alone.groups)
    assert sorted(path.stat().st_mtime_ns for path in small_project.rglob("*")) == before
    monkeypatch.setattr(baseline_inputs, "decode_photograph", lambda *_: pytest.fail("decoded again"))
    again, others = run(small_project, name, cache=cache), run(small_project, name, n_groups=3, cache=cache)
    np.testing.assert_array_equal(again.groups, first.groups)
    assert len(set(others.groups)) == 3
    for key in ("explained_variance", "train_loss", "held_out_loss"):
        if getattr(first, key) is not None:
            assert getattr(again, key).tobytes() == getattr(alone, key).tobytes()
    assert again.quality == alone.quality
    if name != "lda-variational" and name != "kmeans-embeddings":
        assert any(path.name.startswith(name) for path in cache.iterdir())


def test_seeds_share_what_does_not_depend_on_them(small_project, tmp_path):
    for seed in range(3):
        run(small_project, "pca-pixels", cache=tmp_path, seed=seed)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy", ".safetensors"]


def test_a_vae_of_each_seed(small_project, tmp_path):
    losses = []
    for seed in range(2):
        found = run(small_project, "vae-conv", cache=tmp_path, seed=seed)
        losses.append(found.held_out_loss[-1])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy", ".safetensors", ".safetensors"]
    assert losses[0] != losses[1]


def test_theta_is_the_mixture_of_its_image(small_project):
    found = run(small_project, "lda-variational")
    np.testing.assert_allclose(found.theta.sum(axis=1), 1)
    np.testing.assert_array_equal(found.theta.argmax(axis=1), found.groups)


def test_word_counts_by_hand(small_project):
    project = ProjectFolder.open(small_project)
    counts = word_counts(project, kept_images(project)).toarray()
    row = 0
    for shard in sorted((small_project / "tokens").iterdir()):
        words, lengths = np.load(shard / "words.npy"), np.load(shard / "counts.npy").sum(axis=1)
        for tokens in np.split(words, np.cumsum(lengths)[:-1]):
            np.testing.assert_array_equal(counts[row], np.bincount(tokens, minlength=counts.shape[1]))
            row += 1
    assert row == len(counts) == 60


def test_word_counts_are_weighted_as_the_route_weights_them(small_copy, cli, small_folder):
    project = ProjectFolder.open(small_copy)
    plain = word_counts(project, kept_images(project)).toarray()
    assert cli("topics", small_copy, "--topics", 5, "--sweeps", 5, "--weights", "sift=0.5,conv=2,pooled=1").code == 0
    weighted = word_counts(project, kept_images(project)).toarray()
    ratio = np.unique(np.round(weighted[plain > 0] / plain[plain > 0], 6))
    assert ratio.tolist() == [0.5, 1, 2]


def test_pictures_and_vectors_are_those_of_their_images(small_project, small_folder, tmp_path):
    """Each row against the file that its id stands for."""
    project = ProjectFolder.open(small_project)
    kept = kept_images(project)
    rows = pixel_rows(kept, "padded-grey", 40, tmp_path, jobs=2, listener=lambda event: None)
    for index in (0, 17, 59):
        name = kept.table.names[kept.rows[index]]
        pixels = decode((small_folder / name).read_bytes())
        height, width = pixels.shape[:2]
        size = (round(width * 40 / max(height, width)), round(height * 40 / max(height, width)))
        grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        difference = np.abs(rows[index, : size[1], : size[0], 0].astype(int) - grey)  # JPEGs are decoded in part
        assert difference.mean() < 2
        others = np.abs(rows.astype(int) - rows[index].astype(int)).mean(axis=(1, 2, 3))
        assert sorted(others)[1] > 2 * difference.mean(), "no other photograph is as near"
        assert not rows[index, size[1] :].any()
        assert not rows[index, :, size[0] :].any()
    again = pixel_rows(kept, "padded-grey", 40, tmp_path / "other", jobs=1, listener=lambda event: None)
    np.testing.assert_array_equal(again, rows)
    stored = np.concatenate([np.load(path) for path in sorted((small_project / "features").glob("*/pooled.desc*.npy"))])
    np.testing.assert_array_equal(pooled_rows(project, kept), unit_length(stored))


def test_photographs_skipped_by_the_project_are_skipped_here(photographs, tmp_path, cli):
    """Rows keep to the ids of those that were read, in whatever place the others stood."""
    victims = sorted(photographs.rglob("*.jpg"))[2:12:3]
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    for victim in victims:
        victim.write_bytes(b"no photograph")
    options = ("--features", "sift", "--topics", 4, "--words", 60, "--sweeps", 5)
    assert cli("run", photographs, "-o", whole, *options).code == 3
    for victim in victims:
        victim.unlink()
    assert cli("run", photographs, "-o", rest, *options).code == 0
    for name in ("pca-pixels", "lda-variational"):
        found, wanted = (run(project, name, n_groups=4) for project in (whole, rest))
        assert found.image_ids == wanted.image_ids
        assert len(found.image_ids) == 20 - len(victims)
        np.testing.assert_array_equal(found.groups, wanted.groups)


def test_a_photograph_that_is_gone(photographs, tmp_path, cli):
    project = tmp_path / "project"
    options = ("--features", "sift", "--topics", 4, "--words", 60, "--sweeps", 5)
    assert cli("run", photographs, "-o", project, *options).code == 0
    lost = sorted(photographs.rglob("*.jpg"))[7]
    lost.unlink()
    with pytest.raises(ProjectError, match=rf"{lost.name}.*not any more.*put it back"):
        run(project, "pca-pixels", n_groups=4, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir()), "nothing half-written is left"


def test_projects_that_lack_what_is_needed(sift_copy, tmp_path):
    for name in ("kmeans-embeddings", "pca-embeddings"):
        with pytest.raises(Usage, match=r"no pooled vectors.*--features"):
            run(sift_copy, name, n_groups=4)
    (sift_copy / "stages" / "encode.json").unlink()
    with pytest.raises(StageMissingError, match="encode"):
        run(sift_copy, "lda-variational", n_groups=4)
    (sift_copy / "stages" / "extract.json").unlink()
    with pytest.raises(StageMissingError, match="extract"):
        run(sift_copy, "pca-pixels", n_groups=4)
    with pytest.raises(ProjectError, match="not a fastvbow project"):
        run(tmp_path / "nothing", "pca-pixels")


@pytest.mark.parametrize(
    ("name", "parameters", "complaint"),
    [
        ("umap", {}, "no baseline 'umap': it is one of kmeans-embeddings, lda-variational"),
        ("pca-pixels", {"epochs": 3}, "no parameter 'epochs': it has side, components, batch, starts"),
        ("pca-pixels", {"side": 0}, "side is a whole number above 0, not 0"),
        ("pca-pixels", {"side": 3.5}, "whole number"),
        ("pca-pixels", {"components": 70}, "70 components: from 1 to 60"),
        ("lda-variational", {"max_iter": True}, "whole number"),
        ("kmeans-embeddings", {"starts": -1}, "starts"),
    ],
)
def test_arguments(name, parameters, complaint, small_project):
    with pytest.raises(Usage, match=complaint):
        run_baseline(small_project, name, 5, parameters=parameters)


@pytest.mark.parametrize("n_groups", [0, 61])
def test_numbers_of_groups(n_groups, small_project):
    with pytest.raises(Usage, match=f"60 photographs cannot be put into {n_groups} groups"):
        run_baseline(small_project, "pca-pixels", n_groups)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 99])
def test_damaged_caches_are_named(suffix, damage, small_project, cache, tmp_path):
    run(small_project, "pca-pixels", cache=cache)
    for path in cache.iterdir():
        if path.name.startswith(("pca-pixels", "padded-grey-32")):
            shutil.copy(path, tmp_path)
    (victim,) = tmp_path.glob(f"*{suffix}")
    victim.write_bytes(damage(victim.read_bytes()))
    if suffix == ".npy":
        next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(StoreCorruptError, match=rf"{victim.name}.*delete it and run again"):
        run(small_project, "pca-pixels", cache=tmp_path)
    victim.unlink()
    found = run(small_project, "pca-pixels", cache=tmp_path)
    np.testing.assert_array_equal(found.groups, run(small_project, "pca-pixels", cache=cache).groups)


def test_other_photographs_are_not_taken_from_the_cache(small_project, sift_project, tmp_path):
    run(small_project, "pca-pixels", n_groups=4, cache=tmp_path)
    assert len(run(sift_project, "pca-pixels", n_groups=4, cache=tmp_path).groups) == 20
    assert len(list(tmp_path.iterdir())) == 4


def test_without_pytorch(small_project, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(baseline_inputs, "decode_photograph", lambda *_: pytest.fail("told too late"))
    with pytest.raises(MissingExtraError, match=r"pip install 'fastvbow\[vae\]'"):
        run_baseline(small_project, "vae-conv", 5)


def test_pytorch_is_not_imported_until_it_is_wanted():
    code = (
        "import sys, fastvbow.cli, fastvbow.pipeline.baselines, fastvbow.groups.baselines.vae;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_events(small_project, recorder):
    found = run(small_project, "pca-pixels", listener=recorder)
    assert found.seconds_reading > 0
    assert recorder.message("baseline", "begin") == "pca-pixels, 5 groups, seed 0"
    steps = [event for event in recorder.events if event.kind == "step"]
    assert [(event.done, event.total) for event in steps] == [(i + 1, 60) for i in range(60)]
    assert recorder.stages("end") == ["baseline"]


@pytest.mark.data
def test_real_photographs(data_folder, tmp_path, cli):
    """Of 64 photographs of SUN, pixels tell little; but that little is there, and on scrambled rows it is not."""
    folder = tmp_path / "photographs"
    for kind in sorted((data_folder / "sun8").iterdir()):
        for path in sorted(kind.glob("*.jpg"))[:20]:
            (folder / kind.name).mkdir(parents=True, exist_ok=True)
            (folder / kind.name / path.name).symlink_to(path)
    project = tmp_path / "project"
    assert cli("extract", folder, "-o", project, "--features", "sift", "--keypoints", 10).code == 0
    found = run(project, "pca-pixels", n_groups=8)
    kept = kept_images(ProjectFolder.open(project))
    labels = [name.split("/")[0] for name in kept.table.names]
    assert independence(labels, found.groups) < 1e-3
    assert independence(labels, np.random.default_rng(1).permutation(found.groups)) > 0.01


def test_no_photograph_was_read(sift_copy, monkeypatch):
    monkeypatch.setattr(baseline_inputs.np, "concatenate", lambda parts: np.zeros(20, bool))
    with pytest.raises(NoImagesError, match="no photograph"):
        kept_images(ProjectFolder.open(sift_copy))


def test_what_was_learnt_comes_back_as_it_was(tmp_path):
    """Also where an array's memory is not in its order."""
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    learnt = Learnt(rows.T, {"train_loss": np.arange(6.0)[::2]}, {"active_dimensions": 3.0}, 1.5)
    kept_vectors(tmp_path / "x.safetensors", 4, lambda: learnt)
    back = kept_vectors(tmp_path / "x.safetensors", 4, lambda: pytest.fail("learnt again"))
    np.testing.assert_array_equal(back.vectors, rows.T)
    assert {name: curve.tolist() for name, curve in back.curves.items()} == {"train_loss": [0, 2, 4]}
    assert (back.quality, back.seconds) == ({"active_dimensions": 3.0}, 1.5)
    with pytest.raises(StoreCorruptError, match=r"shape \(4, 3\), wanted are 5 rows"):
        kept_vectors(tmp_path / "x.safetensors", 5, lambda: learnt)


def test_a_newer_cache_is_refused(tmp_path):
    about = {"format": "fastvbow-baseline", "version": "2", "about": "{}"}
    save_file({"vectors": np.zeros((1, 1), np.float32)}, tmp_path / "x.safetensors", about)
    with pytest.raises(ProjectError, match="format 2; this fastvbow reads up to 1"):
        kept_vectors(tmp_path / "x.safetensors", 1, lambda: pytest.fail("learnt"))
