"""Drift: how often photographs of the same kind are misfits and batches alarm, and which changes are noticed.

    D=../shared/data; python benchmarks/bench_drift.py --keep FOLDER $D/sun8 $D/scene15 $D/corel1k/dataset

A project of each set is kept in FOLDER, with features of every fourth photograph blurred, noisy, darkened, grey and
turned upside down. For each of several seeds half of the photographs of a set (of half of its classes) are the
reference, and others are held against them: the other half, the other classes, the other sets, the degraded ones of the
other half. The keypoints' words are learned from the reference's photographs; topics have no part in it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from fastvbow import pipeline
from fastvbow.groups.drift import LEVEL, DriftReference
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.drift import views_of
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.words.shares import share_words
from fastvbow.words.tokens import encode
from fastvbow.words.vocabulary import Vocabulary, train_codebook

BATCHES = 1, 10, 30, 100, 300
DRAWS = 200
Pixels = np.ndarray


def degradations() -> dict[str, Callable[[Pixels], Pixels]]:
    rng = np.random.default_rng(0)
    return {
        "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), max(image.shape) / 120),
        "noisy": lambda image: np.clip(image + rng.normal(0, 40, image.shape), 0, 255).astype(np.uint8),
        "a fifth as bright": lambda image: (image * 0.2).astype(np.uint8),
        "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
        "upside down": lambda image: cv2.rotate(image, cv2.ROTATE_180),
    }


@dataclass
class Set:
    """The features of a set."""

    names: np.ndarray
    classes: np.ndarray
    features: dict[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, source: Path, project: Path) -> Set:
        pipeline.extract(source, project, jobs=1)
        folder = ProjectFolder.open(project)
        names = np.array(ImageTable.load(folder.images, folder.image_root).names)
        shards, features = open_shards(folder), {}
        for kind in ("sift", "conv", "pooled"):
            counts = [np.diff(shard.offsets(kind)) for shard in shards]
            rows = np.concatenate([shard.descriptors(kind) for shard in shards])
            features[kind] = rows, np.concatenate([[0], *counts]).cumsum()
        return cls(names, np.array([Path(name).parent.name for name in names]), features)

    def part(self, rows: np.ndarray, kinds: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        found = {}
        for kind in kinds:
            values, offsets = self.features[kind]
            taken = [values[offsets[i] : offsets[i + 1]] for i in rows]
            found[kind] = np.concatenate(taken), np.concatenate([[0], *([len(t)] for t in taken)]).cumsum()
        return found


class Trial:
    """A reference, and its words of keypoints."""

    def __init__(self, own: Set, rows: np.ndarray, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds
        sift = own.part(rows, ("sift",))["sift"][0]
        sample = np.ascontiguousarray(sift[:: -(-len(sift) // 100_000)])
        n_words = share_words(300, kinds)["sift"]
        self.words = Vocabulary({"sift": train_codebook(sample, n_words, project=False, seed=0, n_jobs=1)})
        self.reference = DriftReference.fit(self.views(own, rows))

    def views(self, other: Set, rows: np.ndarray) -> dict[str, np.ndarray]:
        features = other.part(rows, self.kinds)
        how = {"pooled_tokens": 1, "pooled_neighbours": 1, "pooled_temperature": 1.0}
        tokens = encode(self.words, {"sift": features["sift"]}, n_jobs=1, **how)
        return views_of(self.words, features, *tokens)

    def tails(self, other: Set, rows: np.ndarray) -> np.ndarray:
        return self.reference.tails(self.views(other, rows))


def degraded(source: Path, name: str, keep: Path) -> Iterator[tuple[str, Set]]:
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[::4]
    for kind, change in degradations().items():
        folder = keep / f"{name}, {kind}"
        for path in paths if not folder.exists() else ():
            file = (folder / path.relative_to(source)).with_suffix(".jpg")
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), change(cv2.imread(str(path))), [cv2.IMWRITE_JPEG_QUALITY, 90])
        yield kind, Set.of(folder, keep / f"{name}, {kind}.project")


def batches(tails: np.ndarray, reference: DriftReference, n: int, rng: np.random.Generator) -> float:
    """The share of draws of so many that alarm."""
    draws = [rng.choice(len(tails), n, replace=False) for _ in range(DRAWS)]
    return float(np.mean([reference.report(tails[rows]).drifted for rows in draws]))


def measure(sources: list[Path], keep: Path, seeds: int, kinds: tuple[str, ...]) -> None:
    names = [source.parent.name if source.name == "dataset" else source.name for source in sources]
    sets = {name: Set.of(source, keep / f"{name}.project") for name, source in zip(names, sources, strict=True)}
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    alarms: dict[tuple[str, str, int], list[float]] = defaultdict(list)

    def note(name: str, what: str, trial: Trial, tails: np.ndarray, rng: np.random.Generator) -> None:
        shares[name, what].append(trial.reference.report(tails).n_misfits / len(tails))
        for n in BATCHES:
            if n <= len(tails) / 1.5:
                alarms[name, what, n].append(batches(tails, trial.reference, n, rng))

    for name, source in zip(names, sources, strict=True):
        own, changed = sets[name], dict(degraded(source, name, keep))
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(own.names))
            rest = np.sort(order[len(order) // 2 :])
            trial = Trial(own, np.sort(order[: len(order) // 2]), kinds)
            same = trial.tails(own, rest)
            note(name, "the same kind", trial, same, rng)
            for other in names:
                if other != name:
                    foreign = trial.tails(sets[other], np.arange(0, len(sets[other].names), 3))
                    note(name, f"all of {other}", trial, foreign, rng)
                    for share in (0.1, 0.3):
                        few = rng.permutation(foreign)[: round(len(same) * share / (1 - share))]
                        note(name, f"{share:.0%} of {other}", trial, np.concatenate([same, few]), rng)
            stems = {str(Path(own.names[i]).with_suffix("")) for i in rest}
            for kind, bad in changed.items():
                held_out = [i for i, n in enumerate(bad.names) if str(Path(n).with_suffix("")) in stems]
                note(name, kind, trial, trial.tails(bad, np.array(held_out)), rng)
            known = rng.permutation(np.unique(own.classes))
            inside = rng.permutation(np.flatnonzero(np.isin(own.classes, known[: len(known) // 2])))
            trial = Trial(own, np.sort(inside[: len(inside) * 2 // 3]), kinds)
            note(name, "the same, half of the classes", trial, trial.tails(own, inside[len(inside) * 2 // 3 :]), rng)
            unknown = np.flatnonzero(~np.isin(own.classes, known[: len(known) // 2]))
            note(name, "the other classes", trial, trial.tails(own, unknown), rng)
    print(
        f"\n{', '.join(kinds)}\n\n| reference | held against it | misfits | "
        + " | ".join(f"{n}" for n in BATCHES)
        + " |"
    )
    print("|---|---|---|" + "---|" * len(BATCHES))
    for (name, what), found in shares.items():
        told = [f"{np.mean(a):.3f}" if (a := alarms.get((name, what, n))) else "" for n in BATCHES]
        print(f"| {name} | {what} | {np.mean(found):.3f} ± {np.std(found):.3f} | " + " | ".join(told) + " |")


def main() -> None:
    """Print the tables: the share of misfits, and of batches of each size that alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    print(f"misfits: p <= {LEVEL}; the share of {DRAWS} batches of so many that alarm; {given.seeds} seeds")
    with threadpool_limits(1):
        for kinds in (("sift", "conv", "pooled"), ("sift",)):
            measure(given.sources, given.keep, given.seeds, kinds)


if __name__ == "__main__":
    main()
