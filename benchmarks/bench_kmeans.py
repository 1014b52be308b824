"""K-Means beside scikit-learn: ``pytest benchmarks/bench_kmeans.py --benchmark-enable``.

100,000 uint8 descriptors of 128 dimensions, K = 300 and 1000, one thread on either side; the peer's float32 copy is
made outside the clock. Real RootSIFT where FASTVBOW_DATA (or ``../shared/data``) holds photographs, synthetic ones
otherwise; ``extra_info`` says which, and carries the inertia per row. Ours and the peer's rounds alternate: each round
times both, so that a busy machine slows both.

OpenBLAS serves the peer: unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE (both) where they are set, or it is crippled.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans as PeerLloyd
from sklearn.cluster import MiniBatchKMeans as Peer
from threadpoolctl import threadpool_limits

from fastvbow.words import _kmeans_kernels as kernels
from fastvbow.words.kmeans import MiniBatchKMeans, nearest_centers

N_ROWS = 100_000
ROUNDS = 7


def real_descriptors(folder):
    import cv2

    cv2.setNumThreads(1)
    sift, found, n = cv2.SIFT_create(nfeatures=300), [], 0
    paths = sorted(folder.rglob("*.jpg"))
    for path in np.random.default_rng(0).permutation(np.array(paths, dtype=object)):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image = cv2.resize(image, (256, 256 * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_AREA)
        descriptors = sift.detectAndCompute(image, None)[1]
        if descriptors is not None:
            found.append(descriptors)
            n += len(descriptors)
        if n >= N_ROWS:
            break
    D = np.concatenate(found)[:N_ROWS]
    root = 512 * np.sqrt(D / np.maximum(D.sum(axis=1, keepdims=True), 1e-9))
    return np.minimum(np.rint(root), 255).astype(np.uint8)


def synthetic_descriptors():
    rng = np.random.default_rng(0)
    D = rng.gamma(0.3, 1, (N_ROWS, 16)) @ rng.gamma(0.3, 1, (16, 128)) + rng.gamma(0.3, 0.5, (N_ROWS, 128))
    return np.minimum(np.rint(512 * np.sqrt(D / D.sum(axis=1, keepdims=True))), 255).astype(np.uint8)


@pytest.fixture(scope="module")
def descriptors():
    folder = Path(os.environ.get("FASTVBOW_DATA", Path(__file__).parents[2] / "shared" / "data")) / "sun8"
    kernels.warmup()
    X, kind = (
        (real_descriptors(folder), "RootSIFT, sun8") if folder.is_dir() else (synthetic_descriptors(), "synthetic")
    )
    return X, X.astype(np.float32), kind


_rounds: dict[tuple[str, int], dict[str, list[tuple[float, float]]]] = {}


def alternated(group, K, runs):
    """Run all of `runs` ROUNDS times in turn, once per group; keep (seconds, inertia per row) of every run."""
    if (group, K) not in _rounds:
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        with threadpool_limits(1):
            for seed in range(ROUNDS):
                for name, run in runs.items():
                    start = time.perf_counter()
                    value = run(seed)
                    seconds = time.perf_counter() - start
                    results[name].append((seconds, value() / N_ROWS))
        _rounds[group, K] = results
    return _rounds[group, K]


def report(benchmark, name, results, kind):
    """Hand the clocked rounds of `name` to pytest-benchmark, with quality and ratio beside."""
    seconds = [s for s, _ in results[name]]
    benchmark.extra_info["data"] = kind
    benchmark.extra_info["inertia_per_row"] = round(float(np.median([q for _, q in results[name]])), 2)
    peer = np.median([s for s, _ in results["scikit-learn"]])
    benchmark.extra_info["times_scikit_learn"] = round(float(peer / np.median(seconds)), 2)
    benchmark.pedantic(lambda: None, rounds=1)
    if benchmark.stats is None:  # --benchmark-disable
        return
    benchmark.stats.stats.data[:] = seconds


@pytest.mark.parametrize("K", [300, 1000])
@pytest.mark.parametrize("name", ["fastvbow", "scikit-learn"])
def test_assignment(benchmark, descriptors, name, K):
    benchmark.group = f"assignment K={K}"
    X, Xf, kind = descriptors
    centers = Xf[np.random.default_rng(0).choice(N_ROWS, K, replace=False)]
    with threadpool_limits(1):  # scikit-learn remembers the number of threads of fit
        peer = PeerLloyd(K, init=Xf[:K], n_init=1, max_iter=1).fit(Xf[:K])
    peer.cluster_centers_ = centers

    def ours(seed):
        found = nearest_centers(X, centers)
        return lambda: found[1].sum(dtype=np.float64)

    def theirs(seed):
        labels = peer.predict(Xf)
        return lambda: np.square(Xf - centers[labels]).sum(dtype=np.float64)

    report(benchmark, name, alternated("assignment", K, {"fastvbow": ours, "scikit-learn": theirs}), kind)


@pytest.mark.parametrize("K", [300])
@pytest.mark.parametrize("name", ["fastvbow", "fastvbow, 10 Lloyd", "scikit-learn", "scikit-learn b=1024"])
def test_training(benchmark, descriptors, name, K):
    benchmark.group = f"training K={K}"
    X, Xf, kind = descriptors

    def trained(model, rows):
        model.fit(rows)
        return lambda: model.inertia_

    runs = {
        "fastvbow": lambda seed: trained(MiniBatchKMeans(K, random_state=seed), X),
        "fastvbow, 10 Lloyd": lambda seed: trained(MiniBatchKMeans(K, lloyd_iter=10, random_state=seed), X),
        "scikit-learn": lambda seed: trained(Peer(K, batch_size=4096, random_state=seed), Xf),
        "scikit-learn b=1024": lambda seed: trained(Peer(K, random_state=seed), Xf),
    }
    report(benchmark, name, alternated("training", K, runs), kind)
