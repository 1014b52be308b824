"""Command warmup: afterwards nothing is compiled any more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FIT = """
import sys, numpy as np
from numba.core.dispatcher import Dispatcher
compiled = []
load = Dispatcher.compile
def compile(self, signature):
    found = load(self, signature)
    if self.stats.cache_misses:
        compiled.append(self.py_func.__name__)
    return found
Dispatcher.compile = compile
from fastvbow import KMeans, MiniBatchKMeans
rng = np.random.default_rng(0)
for dtype in ("u1", "f2", "f4", "f8"):
    X = rng.integers(0, 200, (3000, 40)).astype(dtype)
    for model in (KMeans(6), MiniBatchKMeans(200), MiniBatchKMeans(9, batch_size=500), KMeans(3, precision="fast")):
        model.fit(X, sample_weight=np.ones(3000)).score(X)
        model.fit(X).predict(X)
print([name for name in compiled if name != "impl"])
"""


def test_nothing_is_compiled_after_it(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [Path(sys.executable).parent / "fastvbow", "warmup", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert Path(found["cache"]).is_relative_to(tmp_path / "cache") and any(Path(found["cache"]).iterdir())
    assert found["seconds"] > 0 and "float32" in found["instructions"]
    done = subprocess.run([sys.executable, "-c", FIT], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout
