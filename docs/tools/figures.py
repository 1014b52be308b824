"""Draw the figures of docs/explanation/method.md, of crops of the bundled photographs.

    python docs/tools/figures.py [FOLDER]

FOLDER, `build/figures` if left out, gets the crops and their project, the same as in the tutorial; docs/figures/ gets
the figures. They are made anew when the method or the demonstration changes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
from matplotlib.collections import PatchCollection
from matplotlib.patches import Circle
from numpy.typing import NDArray

from fastvbow import pipeline
from fastvbow.demo.crops import make_crops
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.mixtures import load_shares
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary

matplotlib.use("Agg")
FIGURES = Path(__file__).parents[1] / "figures"
KEPT = 10  # crops of each photograph that the project has
SHOWN = "raccoon-06.jpg"
MIXED = ("cat-03.jpg", "dahlia-04.jpg", "fig-02.jpg")
BLUE, ORANGE = "#2f5d8a", "#c46a2b"
TITLES = {"sift": "SIFT keypoints", "conv": "cells of the CNN's map", "pooled": "the pooled vector"}


def main(scratch: Path) -> None:
    """Make the project and the figures."""
    make_crops(scratch / "demo", crops_per_photograph=KEPT)
    photographs = scratch / "photographs"
    photographs.mkdir(exist_ok=True)
    for path in (scratch / "demo").rglob("*.jpg"):
        (photographs / path.name).write_bytes(path.read_bytes())
    pipeline.run(photographs, scratch / "project")
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "fastvbow", "svg.fonttype": "none"})
    FIGURES.mkdir(exist_ok=True)
    for name, figure in {
        "features.jpg": features(scratch),
        "words.svg": words(scratch),
        "mixtures.jpg": mixtures(scratch),
    }.items():
        more = {"metadata": {"Date": None}} if name.endswith("svg") else {"pil_kwargs": {"quality": 85}, "dpi": 130}
        figure.savefig(FIGURES / name, bbox_inches="tight", facecolor="white", **more)


def photograph(scratch: Path, name: str) -> NDArray[np.uint8]:
    """The pixels, in RGB."""
    return cv2.imread(str(scratch / "photographs" / name))[:, :, ::-1]


def place_of(scratch: Path, name: str) -> tuple[int, int]:
    """The shard that a photograph is in, and its row there."""
    names = pq.read_table(scratch / "project" / "images.parquet")["path"].to_pylist()
    shards = open_shards(ProjectFolder.open(scratch / "project"))
    row = names.index(name)
    for index, shard in enumerate(shards):
        if row < shard.card.n_images:
            return index, row
        row -= shard.card.n_images
    raise ValueError(name)


def features(scratch: Path) -> plt.Figure:
    """A photograph, its keypoints, and the cells of the map in the colours of their words."""
    project = ProjectFolder.open(scratch / "project")
    index, row = place_of(scratch, SHOWN)
    shard, tokens = open_shards(project)[index], open_tokens(project)[index]
    image = photograph(scratch, SHOWN)
    height, width = image.shape[:2]
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2))
    for axis in axes:
        axis.imshow(image)
        axis.axis("off")
    axes[0].set_title("a photograph")
    start, stop = shard.offsets("sift")[row : row + 2]
    keypoints = np.asarray(shard.keypoints("sift")[start:stop])
    circles = [Circle((x, y), size / 2) for x, y, size, _ in keypoints]
    axes[1].add_collection(PatchCollection(circles, facecolor="none", edgecolor="#ffd23f", linewidth=0.8))
    axes[1].set_title(f"{len(keypoints)} SIFT keypoints, each with its size")
    ours = tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]
    n_sift, n_conv = tokens.counts[row][:2]
    cells = ours[n_sift : n_sift + n_conv]
    kinds, which = np.unique(cells, return_inverse=True)
    side = round(n_conv**0.5)
    colours = plt.get_cmap("tab20")(np.arange(len(kinds)) % 20)[which.reshape(side, side)]
    axes[2].imshow(colours, extent=(0, width, height, 0), alpha=0.45, aspect="auto")
    axes[2].set_title(f"{side} x {side} cells of the CNN's map,\na colour for each of {len(kinds)} words")
    for axis in axes:
        axis.set_xlim(0, width)
        axis.set_ylim(height, 0)
    figure.tight_layout()
    return figure


def words(scratch: Path) -> plt.Figure:
    """How often each word occurs in one photograph."""
    project = ProjectFolder.open(scratch / "project")
    index, row = place_of(scratch, SHOWN)
    tokens = open_tokens(project)[index]
    ours = tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]
    books = Vocabulary.load(scratch / "project" / "vocabulary").codebooks
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.1), width_ratios=[1, 1, 2])
    first = 0
    for axis, (name, book) in zip(axes, books.items(), strict=True):
        counts = np.bincount(ours, minlength=first + book.n_words)[first : first + book.n_words]
        used = np.flatnonzero(counts)
        axis.bar(first + used, counts[used], width=1, color=BLUE)
        axis.set_xlim(first - 1, first + book.n_words)
        axis.set_title(f"{TITLES[name]}: {counts.sum()} tokens")
        axis.set_xlabel(f"words {first} to {first + book.n_words - 1}")
        axis.spines[["top", "right"]].set_visible(False)
        first += book.n_words
    axes[0].set_ylabel("tokens")
    figure.tight_layout()
    return figure


def mixtures(scratch: Path) -> plt.Figure:
    """Three photographs beside their mixtures of topics."""
    groups = pq.read_table(scratch / "project" / "groups.parquet").to_pylist()
    theta = load_shares(ProjectFolder.open(scratch / "project"), "topics")
    names = [group["path"] for group in groups]
    figure, axes = plt.subplots(1, 6, figsize=(12, 1.7), width_ratios=[1.5, 1] * 3)
    for name, (left, right) in zip(MIXED, axes.reshape(3, 2), strict=True):
        group, mixture = groups[names.index(name)], theta[names.index(name)]
        left.imshow(photograph(scratch, name))
        left.axis("off")
        top = np.argsort(mixture)[::-1][:2]
        right.barh(range(len(top)), mixture[top], color=[BLUE, ORANGE], height=0.6)
        right.set_yticks(range(len(top)), [f"topic {k}" for k in top])
        right.set_xlim(0, 1)
        right.invert_yaxis()
        right.spines[["top", "right"]].set_visible(False)
        right.set_title(f"probability {group['probability']:.2f}\nentropy {group['entropy']:.2f}", fontsize=9)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/figures"))
