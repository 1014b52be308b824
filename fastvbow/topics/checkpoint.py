"""A training run on disk, so that one that was killed can go on where it was.

Format ``fastvbow-lda-checkpoint``, version 2: a folder as `fastvbow.model_folder` writes it, put in place whole. The
tensors are ``z.NNNNN`` (topics of a partition's tokens), ``total``, ``looks``, ``log_likelihood`` and ``alpha``. Random
numbers depend on seed, sweep, document and position alone, so the run that goes on ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.model_folder import read_model, write_model
from fastvbow.topics.stream import TokenStream
from fastvbow.topics.training import Training

__all__ = ["Checkpoint", "fingerprint"]

FORMAT, VERSION, WHAT = "fastvbow-lda-checkpoint", 2, "checkpoint of a topic model"


class Manifest(msgspec.Struct):
    """What ``manifest.json`` holds."""

    format: str
    version: int
    fingerprint: str
    n_sweeps: int
    burnt_in: int
    n_samples: int
    seed: int
    eta: float
    libraries: dict[str, str]
    sha256: str
    empty_rounds: int = 0  # since version 2; a run of version 1 goes on without further split-merge rounds
    settled: int = 0


def fingerprint(streams: list[TokenStream], parameters: Mapping[str, Any], *arrays: np.ndarray | None) -> str:
    """SHA-256 of all that decides a run: tokens, parameters, other arrays."""
    found = hashlib.sha256(repr(sorted((k, repr(v)) for k, v in parameters.items())).encode())
    for array in (*(a for s in streams for a in (s.words, s.offsets)), *arrays):
        found.update(repr(None if array is None else (array.dtype.str, array.shape)).encode())
        if array is not None:
            found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()


class Checkpoint:
    """A place for the state of a run.

    Parameters
    ----------
    folder : Path
    run : str
        `fingerprint` of the run.
    every : int
        Sweeps from one writing to the next.
    """

    def __init__(self, folder: Path, run: str, every: int) -> None:
        self.folder, self.run, self.every = folder, run, every
        self._rounds = 0  # of `every` sweeps, at the last writing

    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return self.folder.exists()

    def remove(self) -> None:
        """Delete it: training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def save_if_due(self, training: Training) -> None:
        """Write the state every `every` sweeps, or as soon after as the walks have put their counts together; an
        earlier one is replaced.

        Raises
        ------
        ProjectError
            The folder cannot be written, or holds something else.
        """
        if training.n_sweeps // self.every == self._rounds or not training.chain.merged:
            return
        tensors = {f"z.{i:05d}": z for i, z in enumerate(training.chain.z)}
        tensors |= {
            "total": training.total,
            "looks": np.array(training.looks, np.int64),
            "log_likelihood": np.array(training.log_likelihood),
            "alpha": training.chain.alpha,
        }
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.run,
            "n_sweeps": training.n_sweeps,
            "burnt_in": training.burnt_in,
            "n_samples": training.n_samples,
            "empty_rounds": training.empty_rounds,
            "settled": training.settled,
            "seed": training.chain.seed,
            "eta": training.chain.eta,
        }
        write_model(self.folder, manifest, tensors, what=WHAT)
        self._rounds = training.n_sweeps // self.every

    def restore(self, training: Training) -> None:
        """Bring a training to where this checkpoint was.

        Raises
        ------
        ProjectError
            The folder is not a checkpoint, or a newer fastvbow wrote it.
        StoreCorruptError
            A file does not hold what the manifest says.
        UsageError
            It is a checkpoint of other tokens or parameters.
        """
        manifest, tensors = read_model(self.folder, Manifest, what=WHAT, format_name=FORMAT, version=VERSION)
        if manifest.fingerprint != self.run:
            raise UsageError(
                f"the checkpoint {self.folder} is of other tokens or parameters: give those, or delete it to start anew"
            )
        chain = training.chain
        try:
            for i, z in enumerate(chain.z):
                stored = tensors[f"z.{i:05d}"]
                if stored.shape != z.shape or stored.dtype != z.dtype or (z.size and stored.max() >= chain.n_topics):
                    raise KeyError(f"z.{i:05d}")
                z[:] = stored
            training.total = tensors["total"]
            training.looks = tensors["looks"].tolist()
            training.log_likelihood = tensors["log_likelihood"].tolist()
            alpha = tensors["alpha"]
        except KeyError as error:
            raise StoreCorruptError(f"{self.folder} lacks the tensor {error}: delete it to start anew") from error
        training.n_sweeps, training.burnt_in = manifest.n_sweeps, manifest.burnt_in
        training.n_samples, chain.seed = manifest.n_samples, manifest.seed
        training.empty_rounds, training.settled = manifest.empty_rounds, manifest.settled
        self._rounds = training.n_sweeps // self.every
        chain.count()
        chain.set_priors(alpha, manifest.eta)
