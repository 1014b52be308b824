"""Rows to measure K-Means on: SIFT descriptors of photographs, and clustered floats of any width."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fastvbow.project import replace_file

__all__ = ["clustered", "load", "perturbed", "sift_file"]

SETS = ("sun8", "corel1k", "scene15")
FOLDER = Path(tempfile.gettempdir()) / "fastvbow-bench"


def data_folder() -> Path:
    """Return the folder of labelled photographs."""
    return Path(os.environ.get("FASTVBOW_DATA", Path(__file__).parents[2] / "shared" / "data"))


def sift_file(n: int) -> tuple[Path, str]:
    """Return a .npy file of (n, 128) uint8, and what it holds; it is written once and kept in `FOLDER`.

    All SIFT descriptors of the photographs of `SETS`, taken in random order until there are n, then shuffled (fewer
    where the photographs have no more); synthetic ones where none of the folders is there.
    """
    root = data_folder()
    paths = sorted(p for name in SETS for p in (root / name).rglob("*.jpg"))
    names = "\n".join(f"{p.relative_to(root).as_posix()} {p.stat().st_size}" for p in paths)
    kind = "SIFT of " + ", ".join(name for name in SETS if (root / name).is_dir()) if paths else "synthetic"
    file = FOLDER / f"{'sift' if paths else 'synthetic'}-{n}-{hashlib.sha256(names.encode()).hexdigest()[:8]}.npy"
    if not file.exists():
        rng = np.random.default_rng(0)
        rows = _sift([paths[i] for i in rng.permutation(len(paths))], n) if paths else _synthetic(n)
        with replace_file(file) as temporary, temporary.open("wb") as out:
            np.save(out, rows[rng.permutation(len(rows))[:n]])
    return file, kind


def load(file: Path, n: int | None = None) -> np.ndarray:
    """Return the first n rows, in memory."""
    return np.array(np.load(file, mmap_mode="r")[:n])


def _sift(paths: list[Path], n: int) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)

    def one(path: Path) -> np.ndarray:
        sift = cv2.SIFT_create(
            nfeatures=0, nOctaveLayers=3, contrastThreshold=0.04, edgeThreshold=10, sigma=1.6, descriptorType=cv2.CV_8U
        )
        found = sift.detectAndCompute(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), None)[1]
        return np.empty((0, 128), np.uint8) if found is None else found

    parts: list[np.ndarray] = []
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for start in range(0, len(paths), 64):
            parts += executor.map(one, paths[start : start + 64])
            if sum(map(len, parts)) >= n:
                break
    return np.concatenate(parts)


def _synthetic(n: int) -> np.ndarray:
    """Non-negative, sparse and correlated like SIFT; of length 512."""
    rng = np.random.default_rng(0)
    basis, out = rng.gamma(0.3, 1, (16, 128)), np.empty((n, 128), np.uint8)
    for start in range(0, n, 1 << 16):
        rows = min(1 << 16, n - start)
        block = rng.gamma(0.3, 1, (rows, 16)) @ basis + rng.gamma(0.3, 0.5, (rows, 128))
        block *= 512 / np.linalg.norm(block, axis=1, keepdims=True)
        out[start : start + rows] = np.minimum(np.rint(block), 255)
    return out


def clustered(n: int, d: int, n_clusters: int = 1000) -> np.ndarray:
    """Return (n, d) float32 around `n_clusters` centres; the variance falls with the column, as after PCA."""
    rng = np.random.default_rng(0)
    scale = (np.arange(1, d + 1, dtype=np.float32) ** -0.5)[None]
    centers = rng.standard_normal((n_clusters, d), np.float32) * scale
    out = centers[rng.integers(0, n_clusters, n)]
    for start in range(0, n, 1 << 16):
        part = out[start : start + (1 << 16)]
        part += 0.7 * scale * rng.standard_normal(part.shape, np.float32)
    return out


def perturbed(rows: np.ndarray, n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield blocks of n uint8 rows in all: `rows` in random order, again and again, each element moved by up to 4."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, 1 << 17):
        some = rows[rng.integers(0, len(rows), min(1 << 17, n - start))]
        noise = rng.integers(-4, 5, some.shape, np.int8)
        yield np.clip(some + noise.astype(np.int16), 0, 255).astype(np.uint8)
