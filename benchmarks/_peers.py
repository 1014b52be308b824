"""scikit-learn, faiss and fastvbow itself, each in a process of its own, one timed operation a request.

Each brings its own OpenBLAS, which chooses its kernels when it is loaded, from OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE:
both variables are taken away here, whatever the caller's are. faiss's older copy does not know the newest CPUs and
falls back to a slow kernel, so it is told SkylakeX where there is AVX-512. Each process has one thread, inherits the
caller's CPU, and holds its rows as float32, converted outside the clock.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Peer"]

MODULES = {"scikit-learn": "sklearn", "faiss": "faiss", "fastvbow": "fastvbow"}


class Peer:
    """A process that runs one library.

    Parameters
    ----------
    name : {"scikit-learn", "faiss", "fastvbow"}

    Attributes
    ----------
    about : str
        Versions of the library and its BLAS, with the kernel that was chosen.
    """

    def __init__(self, name: str) -> None:
        env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
        env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if name == "faiss" and _has_avx512():
            env["OPENBLAS_CORETYPE"] = "SkylakeX"
        command = [sys.executable, __file__, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.about: str = self._ask("about")

    @staticmethod
    def installed(name: str) -> bool:
        """Whether the library is there."""
        return importlib.util.find_spec(MODULES[name]) is not None

    def load(self, file: Path, n: int) -> None:
        """Hold the first n rows of a .npy file."""
        self._ask("load", file, n)

    def assign(self, centers: np.ndarray, **options: Any) -> tuple[float, np.ndarray]:
        """Return seconds and labels: the nearest of `centers` for every row."""
        return self._ask("assign", centers, **options)

    def train(self, K: int, seed: int, **options: Any) -> tuple[float, np.ndarray]:
        """Return seconds and centres; `options` are the library's own."""
        return self._ask("train", K, seed, **options)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _ask(self, operation: str, *args: Any, **options: Any) -> Any:
        pickle.dump((operation, args, options), self._process.stdin)
        self._process.stdin.flush()
        done, value = pickle.load(self._process.stdout)
        if not done:
            raise RuntimeError(value)
        return value


def _has_avx512() -> bool:
    import llvmlite.binding as llvm

    return all(llvm.get_host_cpu_features().get(f"avx512{part}") for part in ("f", "bw", "dq", "vl"))


class _Server:
    """What both libraries share; they are imported only here, in their own process."""

    name: str

    def load(self, file: Path, n: int) -> None:
        self.X = np.load(file, mmap_mode="r")[:n].astype(np.float32)

    def about(self) -> str:
        from threadpoolctl import threadpool_info

        module = importlib.import_module(MODULES[self.name])
        blas = [
            f"{Path(i['filepath']).parent.name}: {i['internal_api']} {i['version']} {i.get('architecture', '')}"
            for i in threadpool_info()
            if i["user_api"] == "blas"
        ]
        return f"{self.name} {module.__version__} ({', '.join(sorted(blas)) or 'BLAS unknown'})"


class _ScikitLearn(_Server):
    name = "scikit-learn"

    def __init__(self) -> None:
        from sklearn import cluster

        self.cluster = cluster

    def assign(self, centers: np.ndarray) -> tuple[float, np.ndarray]:
        model = self.cluster.KMeans(len(centers), init=centers, n_init=1, max_iter=1).fit(centers)
        model.cluster_centers_ = centers
        start = time.perf_counter()
        labels = model.predict(self.X)
        return time.perf_counter() - start, labels

    def train(self, K: int, seed: int, **options: Any) -> tuple[float, np.ndarray]:
        model = self.cluster.MiniBatchKMeans(K, random_state=seed, **options)
        start = time.perf_counter()
        model.fit(self.X)
        return time.perf_counter() - start, model.cluster_centers_


class _Faiss(_Server):
    name = "faiss"

    def __init__(self) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.faiss = faiss

    def assign(self, centers: np.ndarray) -> tuple[float, np.ndarray]:
        index = self.faiss.IndexFlatL2(centers.shape[1])
        index.add(centers)
        start = time.perf_counter()
        labels = index.search(self.X, 1)[1]
        return time.perf_counter() - start, labels[:, 0].astype(np.int32)

    def train(self, K: int, seed: int, **options: Any) -> tuple[float, np.ndarray]:
        options |= {"min_points_per_centroid": 1, "max_points_per_centroid": 10**9}  # all rows, no warnings
        model = self.faiss.Kmeans(self.X.shape[1], K, seed=seed, **options)
        start = time.perf_counter()
        model.train(self.X)
        return time.perf_counter() - start, model.centroids


class _Ours(_Server):
    """For what two processes that share nothing reach beside one: the machine's share in the speed of two threads."""

    name = "fastvbow"

    def load(self, file: Path, n: int) -> None:
        super().load(file, n)
        self.rows = np.load(file, mmap_mode="r")[:n].copy()

    def assign(self, centers: np.ndarray, precision: str, dtype: str) -> tuple[float, np.ndarray]:
        from fastvbow import KMeans

        X = self.X if dtype == "float32" else self.rows
        model = KMeans(len(centers), init=centers, max_iter=1, precision=precision).fit(centers)
        model.cluster_centers_ = centers
        model.predict(X[:1000])
        start = time.perf_counter()
        labels = model.predict(X)
        return time.perf_counter() - start, labels


def _serve(server: _Server) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    while True:
        try:
            operation, args, options = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, getattr(server, operation)(*args, **options)
        except Exception as error:  # the caller raises it
            answer = False, f"{server.name}: {error!r}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve({"scikit-learn": _ScikitLearn, "faiss": _Faiss, "fastvbow": _Ours}[sys.argv[1]]())
