"""The command ``fastvbow segments``: topics against masks, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Jobs, Json, ProjectArgument, Quiet
from fastvbow.cli_tables import ROWS, count, cut, number, rest, share, table

if TYPE_CHECKING:
    from fastvbow.pipeline.segmenting import MaskEvaluation

__all__ = ["mask_json", "mask_lines", "segments"]

Masks = Annotated[
    str,
    typer.Option(
        metavar="auto|LAYOUT|FOLDER",
        help="Where the masks are: ade20k, sceneparsing, parallel, beside, or a folder; auto: whichever there is.",
    ),
]
Parts = Annotated[int, typer.Option(help="Of ADE20K's masks: 0 objects, 1 their parts, 2 the parts of these.")]
ClassNames = Annotated[Path | None, typer.Option(metavar="CSV", help="The classes' names, in the columns id and name.")]
Seed = Annotated[int, typer.Option(help="Of the shuffled maps that show chance.")]
TOP = 3  # classes of a topic that are printed


def segments(
    project: ProjectArgument,
    masks: Masks = "auto",
    part_level: Parts = 0,
    names: ClassNames = None,
    seed: Seed = 0,
    jobs: Jobs = -1,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Hold a project's topics against the masks of its photographs."""
    with working(quiet) as listener:
        from fastvbow import pipeline

        found = pipeline.segments(
            project, masks, part_level=part_level, names=names, seed=seed, jobs=jobs, listener=listener
        )
    finish(as_json, mask_json(found), list(mask_lines(found)), len(found.problems))


def mask_json(found: MaskEvaluation) -> dict[str, Any]:
    """All that was found, for machines.

    Parameters
    ----------
    found : MaskEvaluation

    Returns
    -------
    dict
        ``scores`` of each kind of map (``mean_iou``, ``accuracy``), the tables ``topic_segments`` and
        ``image_segments`` (a row a topic, a column a class, rows sum to 1), and what they were counted from.
    """
    kinds = ("best", "matched", "image_best", "image_matched", "shuffled_best", "shuffled_matched", "independent_best")
    scores = {kind: getattr(found, kind) for kind in kinds}
    return {
        "layout": found.layout,
        "n_images": found.n_images,
        "classes": [{"class": int(n), "name": name} for n, name in zip(found.classes, found.names, strict=True)],
        "scores": {kind: {"mean_iou": o.mean_iou, "accuracy": o.accuracy} for kind, o in scores.items()},
        "iou": found.best.iou.tolist(),
        "topic_class": [int(found.classes[i]) if i >= 0 else None for i in found.best.label],
        "topic_segments": found.topic_segments.tolist(),
        "image_segments": found.image_segments.tolist(),
        "placed_tokens": found.placed_tokens,
        "unplaced_tokens": found.unplaced_tokens,
        "unlabelled_pixels": found.unlabelled_pixels,
        "problems": [{"path": path, "reason": reason} for path, reason in found.problems],
    }


def mask_lines(found: MaskEvaluation) -> Iterator[str]:
    """All that was found, for a person; long tables are cut and say so.

    Parameters
    ----------
    found : MaskEvaluation

    Yields
    ------
    str
        A line.
    """
    yield (
        f"{count(found.n_images, 'photograph')} with a mask ({found.layout}): {count(len(found.classes), 'class')}, "
        f"{count(len(found.topic_segments), 'topic')}; "
        f"{found.unlabelled_pixels:.1%} of the pixels have no class"
    )
    yield from ("", "TOPICS AGAINST CLASSES, PIXEL BY PIXEL  (higher is better, 1 is perfect)")
    kinds = [
        ("map of each photograph's topics", found.best, found.matched),
        ("whole photographs, each of one topic", found.image_best, found.image_matched),
        ("chance: another photograph's map", found.shuffled_best, found.shuffled_matched),
    ]
    rows = [
        [name, *(number(x) for x in (best.mean_iou, best.accuracy, matched.mean_iou, matched.accuracy))]
        for name, best, matched in kinds
    ]
    yield from table(["", "mean IoU", "accuracy", "one to one: IoU", "accuracy"], rows, (0,))
    yield (
        f"  each topic stands for the class that it lies on most, so mean IoU is at most "
        f"{min(1.0, len(found.topic_segments) / max(1, len(found.classes))):.3f} here"
    )
    yield from _topics(found)
    yield from _classes(found)
    if found.problems:
        yield from ("", f"LEFT OUT  ({count(len(found.problems), 'photograph')})")
        yield from (f"  {cut(path)}: {reason}" for path, reason in found.problems[:ROWS])
        yield from rest(len(found.problems), "photograph")


def _topics(found: MaskEvaluation) -> Iterator[str]:
    placed = found.placed_tokens + found.unplaced_tokens
    yield ("")
    yield (
        "TOPICS  (of the mass of their tokens, the share on each class; in brackets from whole-image mixtures; "
        f"{found.placed_tokens / max(1, placed):.0%} of the tokens have a place)"
    )
    rows = []
    for topic, shares in enumerate(found.topic_segments[:ROWS]):
        order = (-shares).argsort(kind="stable")[:TOP]
        cells = [f"{cut(found.names[i])} {shares[i]:.2f} ({found.image_segments[topic, i]:.2f})" for i in order]
        rows.append([str(topic), *cells, *[""] * (TOP - len(cells))])
    yield from table(["topic", *["class"] * TOP], rows, range(1, TOP + 1))
    yield from rest(len(found.topic_segments), "topic")


def _classes(found: MaskEvaluation) -> Iterator[str]:
    pixels = found.counts.pixels[:, found.classes].sum(axis=0)
    order = sorted(range(len(pixels)), key=lambda i: (-pixels[i], i))
    topics_of: dict[int, list[str]] = {}
    for topic, i in enumerate(found.best.label.tolist()):
        topics_of.setdefault(i, []).append(str(topic))
    rows = [
        [cut(found.names[i]), f"{pixels[i] / max(1, pixels.sum()):.3f}", ",".join(topics_of.get(i, ["-"])), share(iou)]
        for i in order[:ROWS]
        for iou in [float(found.best.iou[i])]
    ]
    yield from ("", "CLASSES  (most frequent first; IoU with the topics that stand for them)")
    yield from table(["class", "of pixels", "topics", "IoU"], rows, (0, 2))
    yield from rest(len(order), "class")
