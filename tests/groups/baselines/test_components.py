"""Components learnt in batches, against scikit-learn's full PCA."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fastvbow.errors import UsageError
from fastvbow.groups.baselines.components import principal_components


def same_up_to_sign(found, wanted, atol):
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, atol=atol)


@pytest.mark.parametrize("batch", [8, 20, 500])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16])
def test_equal_to_full_pca(batch, dtype):
    """Of rows with 5 components and no more, batches lose nothing."""
    random = np.random.default_rng(0)
    rows = random.integers(0, 2, (90, 5)) @ random.integers(0, 50, (5, 40))
    rows = rows.astype(dtype)
    found = principal_components([f"{i:03d}" for i in range(90)], rows, 5, batch=batch)
    full = PCA(5, svd_solver="full")
    scale = 255 if dtype is np.uint8 else 1
    wanted = full.fit_transform(rows.astype(float) / scale)
    same_up_to_sign(found.vectors, wanted, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_allclose(found.explained_variance, full.explained_variance_ratio_, rtol=1e-3)
    assert found.vectors.dtype == np.float32
    assert found.explained_variance.sum() == pytest.approx(1, abs=1e-4)


def test_near_to_full_pca_where_batches_do_lose():
    random = np.random.default_rng(1)
    rows = (random.normal(size=(400, 30)) * np.geomspace(9, 0.1, 30)).astype(np.float32)
    found = principal_components([str(1000 + i) for i in range(400)], rows, 4, batch=40)
    full = PCA(4).fit(rows)
    assert found.explained_variance.sum() == pytest.approx(full.explained_variance_ratio_.sum(), rel=0.02)
    assert (np.diff(found.explained_variance) <= 0).all()


def test_memory_maps_and_what_is_left_over(tmp_path):
    """43 rows in batches of 10: the last 3, fewer than components, go with the batch before."""
    rows = np.random.default_rng(2).integers(0, 256, (43, 3, 3, 1), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    ids = [f"{i:02d}" for i in range(43)]
    found = principal_components(ids, np.load(tmp_path / "rows.npy", mmap_mode="r"), 5, batch=10)
    np.testing.assert_array_equal(found.vectors, principal_components(ids, rows, 5, batch=10).vectors)
    assert found.vectors.shape == (43, 5)


@pytest.mark.parametrize(("n_components", "batch"), [(0, 10), (10, 9), (10, 50), (41, 50), (-1, 9)])
def test_more_components_than_there_are(n_components, batch):
    rows = np.zeros((40, 9), np.float32)
    with pytest.raises(UsageError, match=rf"^{n_components} components: from 1 to 9 .* 40 images with 9 numbers"):
        principal_components([str(10 + i) for i in range(40)], rows, n_components, batch=batch)
