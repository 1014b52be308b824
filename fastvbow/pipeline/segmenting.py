"""Command ``segments``: a project's topics against the masks of its photographs, one photograph at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ImageError, UsageError
from fastvbow.evaluation.overlap import Overlap, independent, overlap, rows_to_one
from fastvbow.evaluation.segments import (
    CellMass,
    PhotographCounts,
    PointMass,
    SegmentCounts,
    TopicMap,
    count_photograph,
    token_posterior,
    topic_map,
)
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.images.annotations import class_names
from fastvbow.images.decode import silence_decoders
from fastvbow.images.mask_files import find_masks
from fastvbow.images.masks import read_mask
from fastvbow.images.objects import ClassNames
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.mixtures import load_shares
from fastvbow.pipeline.placed_tokens import PlacedTokens
from fastvbow.project import ProjectFolder
from fastvbow.topics.lda import GibbsLDA

__all__ = ["MaskEvaluation", "PlacedTopics", "segments"]

_AHEAD = 4


@dataclass(frozen=True)
class MaskEvaluation:
    """Topics against the classes of masks: K topics, the C classes that have a pixel.

    Attributes
    ----------
    layout : str
        Where the masks were found: see `fastvbow.images.mask_files`.
    classes : ndarray of shape (C,), int64
        Their numbers in the masks, ascending.
    names : list of str
        What they are called.
    n_images : int
        Photographs that were held against their masks.
    counts : SegmentCounts
        The raw sums, whose columns are all numbers up to the largest class: take ``[:, classes]``.
    topic_segments : ndarray of shape (K, C), float64
        Shares of the classes in the mass of each topic's tokens; rows sum to 1 (0: the topic has none).
    image_segments : ndarray of shape (K, C), float64
        The same from whole-image mixtures, theta_i outer f_i summed over photographs.
    best, matched : Overlap
        The pixel-level topic map, each topic standing for the class that it lies on most, and one to one.
    image_best, image_matched : Overlap
        The same where all pixels of a photograph have its most probable topic.
    shuffled_best, shuffled_matched : Overlap
        Chance: the same where each photograph has the topic map of another one, which keeps the maps' shapes, and that
        the sky is above; NaN where there is a single photograph.
    independent_best : Overlap
        Chance without any tie, not even of places: every topic stands for the most frequent class.
    placed_tokens, unplaced_tokens : int
        Tokens that have a place, and those of whole photographs, which were left out.
    unlabelled_pixels : float
        The share of pixels without a class, which count nowhere.
    problems : list of (str, str)
        Photographs' paths, and what is wrong with their masks, or with the names of their classes.
    """

    layout: str
    classes: NDArray[np.int64]
    names: list[str]
    n_images: int
    counts: SegmentCounts
    topic_segments: NDArray[np.float64]
    image_segments: NDArray[np.float64]
    best: Overlap
    matched: Overlap
    image_best: Overlap
    image_matched: Overlap
    shuffled_best: Overlap
    shuffled_matched: Overlap
    independent_best: Overlap
    placed_tokens: int
    unplaced_tokens: int
    unlabelled_pixels: float
    problems: list[tuple[str, str]]


class PlacedTopics:
    """The topics of a project's tokens, at their places in the photographs. Threads may share it.

    Parameters
    ----------
    project : ProjectFolder
        Its topics have to be finished.

    Raises
    ------
    StageMissingError, StoreCorruptError
    """

    def __init__(self, project: ProjectFolder) -> None:
        self.theta = load_shares(project, "topics")
        model = GibbsLDA.load(project.topics / "model")
        self._phi, self._weights = np.ascontiguousarray(model.topic_word_.T), model.word_weights_
        self._tokens = PlacedTokens(project)
        self.read, self.widths, self.heights = self._tokens.read, self._tokens.widths, self._tokens.heights

    def of(self, index: int) -> tuple[list[PointMass], list[CellMass], int]:
        """A photograph's tokens that have a place, and how many have none.

        Parameters
        ----------
        index : int
            Its row in the image table.

        Raises
        ------
        StoreCorruptError
            Tokens and features do not belong together.
        """
        points: list[PointMass] = []
        cells: list[CellMass] = []
        unplaced = 0
        for run in self._tokens.of(index):
            if run.keypoints is None:
                unplaced += len(run.words)
                continue
            mass = token_posterior(run.words, self.theta[index], self._phi) * self._weights[run.words][:, None]
            if run.grid is None:
                points.append(PointMass(run.keypoints[:, 0], run.keypoints[:, 1], mass))
            else:
                cells.append(CellMass(*run.grid, mass))
        return points, cells, unplaced

    def map_of(self, index: int) -> TopicMap:
        """The pixel-level topic map of a photograph, by its row in the image table."""
        points, cells, _ = self.of(index)
        return topic_map(int(self.heights[index]), int(self.widths[index]), self.theta[index], points, cells)


def segments(
    project: Path,
    masks: str = "auto",
    *,
    part_level: int = 0,
    names: Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    listener: Listener = log_events,
) -> MaskEvaluation:
    """Hold a project's topics against the masks of its photographs. The model has not seen them.

    One photograph is looked at at a time (one a thread), so memory does not grow with the corpus. A mask that is
    missing, damaged, or of another size than its photograph is reported and left out.

    Parameters
    ----------
    project : Path
    masks : str, default="auto"
        Where they are: see `fastvbow.images.mask_files.find_masks`.
    part_level : int, default=0
        Of the full ADE20K: 0 for objects, 1 for their parts, 2 for the parts of these.
    names : Path, optional
        A table of the classes' names: see `fastvbow.images.annotations.class_names`. Without it those of ADE20K are
        read from its own files, others are numbered.
    seed : int, default=0
        Of the shuffling.
    jobs : int, optional
        Threads; None or -1: all processors. The result is the same for any number.
    listener : Listener, optional

    Raises
    ------
    StageMissingError
        There are no topics yet.
    UsageError
        No photograph has a mask that can be used, or `masks`, `part_level` or `names` cannot be used.
    """
    workers, folder = effective_jobs(jobs), ProjectFolder.open(project)
    placed = PlacedTopics(folder)
    table = ImageTable.load(folder.images, folder.image_root)
    files = find_masks(table, masks, part_level=part_level)
    shown = ClassNames(files.layout, None if names is None else class_names(names))
    problems: list[tuple[str, str]] = []
    chosen = [i for i, path in enumerate(files.paths) if path is not None and placed.read[i]]
    problems += [
        (table.names[i], reason) for i, reason in enumerate(files.reasons) if reason is not None and placed.read[i]
    ]
    # Each photograph gets the map of the next one in a random cycle, so that none gets its own.
    cycle = np.random.default_rng(seed).permutation(chosen)
    other = dict(zip(cycle.tolist(), np.roll(cycle, 1).tolist(), strict=True)) if len(cycle) > 1 else {}
    listener(Event("evaluate", "begin", f"{len(chosen)} masks"))

    def look(index: int) -> tuple[PhotographCounts, int, int] | str:
        path = files.paths[index] or b""
        try:
            mask = read_mask(path, files.layout, int(placed.widths[index]), int(placed.heights[index]))
        except ImageError as error:
            return error.reason
        points, cells, unplaced = placed.of(index)
        shuffled = placed.map_of(other[index]) if other else None
        n_placed = sum(len(part.mass) for part in points) + sum(len(part.mass) for part in cells)
        return count_photograph(mask, placed.theta[index], points, cells, shuffled), n_placed, unplaced

    counts, n_placed, n_unplaced = SegmentCounts(placed.theta.shape[1]), 0, 0
    silence_decoders()
    with one_thread_each(), make_executor(workers) as executor:
        results: Iterator[tuple[PhotographCounts, int, int] | str]
        results = run_tasks(executor, look, chosen, ahead=_AHEAD * workers)
        for done, (index, result) in enumerate(zip(chosen, results, strict=True), 1):
            listener(Event("evaluate", "step", done=done, total=len(chosen)))
            if isinstance(result, str):
                problems.append((table.names[index], result))
                continue
            part, with_place, without = result
            counts.add(part)
            n_placed, n_unplaced = n_placed + with_place, n_unplaced + without
            if problem := shown.learn(files.paths[index] or b"", part.classes.tolist()):
                problems.append((table.names[index], problem))
    if not counts.n_images:
        first = f": the first, {problems[0][0]}: {problems[0][1]}" if problems else ""
        raise UsageError(f"no photograph of {project} has a mask that can be used{first}")
    listener(Event("evaluate", "end", f"{counts.n_images} photographs held against their masks"))
    return _evaluation(files.layout, shown, counts, n_placed, n_unplaced, problems)


def _evaluation(
    layout: str,
    names: ClassNames,
    counts: SegmentCounts,
    n_placed: int,
    n_unplaced: int,
    problems: list[tuple[str, str]],
) -> MaskEvaluation:
    classes = counts.classes
    pixels, of_images, shuffled = (
        found[:, classes] for found in (counts.pixels, counts.image_pixels, counts.shuffled_pixels)
    )
    return MaskEvaluation(
        layout=layout,
        classes=classes,
        names=names.shown(classes.tolist()),
        n_images=counts.n_images,
        counts=counts,
        topic_segments=rows_to_one(counts.token_mass[:, classes]),
        image_segments=rows_to_one(counts.image_mass[:, classes]),
        best=overlap(pixels),
        matched=overlap(pixels, one_to_one=True),
        image_best=overlap(of_images),
        image_matched=overlap(of_images, one_to_one=True),
        shuffled_best=overlap(shuffled),
        shuffled_matched=overlap(shuffled, one_to_one=True),
        independent_best=overlap(independent(pixels)),
        placed_tokens=n_placed,
        unplaced_tokens=n_unplaced,
        unlabelled_pixels=counts.unlabelled_pixels / (counts.unlabelled_pixels + int(pixels.sum()) or 1),
        problems=sorted(problems),
    )
