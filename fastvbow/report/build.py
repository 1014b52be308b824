"""Writes a report: one HTML page and the thumbnails it shows.

::

    report/index.html      everything but the thumbnails; no script, no address outside the folder and the originals
    report/thumbs/*.jpg    a thumbnail per shown photograph

The page opens from disk without a network. Of n images in K topics it shows at most
``K * (per_topic + max(4, per_topic // 3)) + 2 * n_uncertain`` whatever n is: with the defaults about 32 thumbnails or
0.3 MB per topic, and 0.6 kB of HTML per thumbnail. Equal content gives equal bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.project import replace_folder
from fastvbow.report import thumbnails, wording
from fastvbow.report.choice import Choice, TopicChoice, choose
from fastvbow.report.content import ReportContent, Skipped
from fastvbow.report.curve import draw_curve
from fastvbow.report.templating import environment
from fastvbow.report.thumbnails import Thumbnail

__all__ = ["MAX_SKIPPED", "build_report"]

MAX_SKIPPED = 500
MAX_LABELS = 8
RATIOS = 0.6, 2.4  # width over height of a tile
MIN_SHOWN = 0.6  # of a photograph that is cropped to them; a strip, of which less would be seen, is shown whole


@dataclass(frozen=True)
class _Tile:
    """One photograph on the page."""

    thumbnail: Thumbnail | None
    href: str | None
    name: str
    file_name: str
    detail: str
    probability: str
    topic: int
    other_label: str | None

    @property
    def strip(self) -> bool:
        """Whether the photograph is so long that it lies whole within a tile of common shape."""
        if self.thumbnail is None:
            return False
        own = self.thumbnail.width / self.thumbnail.height
        return min(RATIOS[1] / own, own / RATIOS[0]) < MIN_SHOWN

    @property
    def ratio(self) -> str:
        """Width over height in the sheet; panoramas and towers are cropped."""
        if self.thumbnail is None:
            return "1.333"
        own = self.thumbnail.width / self.thumbnail.height
        if self.strip:
            return "1.333" if own > 1 else "0.750"
        return f"{min(RATIOS[1], max(RATIOS[0], own)):.3f}"


@dataclass(frozen=True)
class _Sheet:
    """One topic on the page."""

    topic: int
    title: str
    name: str
    numbers: str
    size: int
    share: float
    bar: float
    mean: str
    labels: list[tuple[str, int]]
    n_more_labels: int
    n_unlabelled: int
    mosaic: list[_Tile]
    typical: list[_Tile]
    uncertain: list[_Tile]

    @property
    def label_share(self) -> float:
        """Share of the labelled photographs that bear the most frequent label; only for a sheet with labels."""
        return self.labels[0][1] / (self.size - self.n_unlabelled)


def _decimal(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _mean(values: Iterable[float]) -> str:
    column = np.asarray(values, dtype=np.float64)
    column = column[np.isfinite(column)]
    return _decimal(float(column.mean())) if column.size else "–"


class _Desk:
    """Lays out the photographs that were chosen."""

    def __init__(self, content: ReportContent, choice: Choice, made: dict[int, Thumbnail | None]) -> None:
        self.content = content
        self.choice = choice
        self.made = made
        self.labels_of = {t.topic: self._count_labels(t) for t in choice.topics}

    def _count_labels(self, topic: TopicChoice) -> list[tuple[str, int]]:
        labels = self.content.labels
        if labels is None:
            return []
        counts = Counter(label for i in topic.members.tolist() if (label := labels[i]) is not None)
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))

    def _href(self, index: int) -> str | None:
        path = self.content.locate(index)
        try:
            return None if path is None else path.absolute().as_uri()
        except (UnicodeEncodeError, ValueError):  # no file system could hold this name
            return None

    def linked(self) -> bool:
        """Whether any photograph is a file of its own that can be opened."""
        return any(self._href(index) for index, thumbnail in self.made.items() if thumbnail)

    def title(self, topic: int) -> str:
        return self.content.topic_names.get(topic) or self.numbers(topic).capitalize()

    def numbers(self, topic: int) -> str:
        """``topic 3``, or of merged ones ``topics 3, 7``."""
        members = self.content.merged.get(topic, [topic])
        return f"topic{'s' if len(members) > 1 else ''} {wording.ranges(members)}"

    def tile(self, index: int) -> _Tile:
        content, thumbnail = self.content, self.made[index]
        name, topic = content.names[index], int(content.topic[index])
        label = content.labels[index] if content.labels is not None else None
        detail = [name]
        if label is not None:
            detail.append(f"labelled {label}")
        if topic >= 0:
            probability, entropy = _decimal(content.probability[index]), _decimal(content.entropy[index])
            detail.append(f"{self.title(topic)}, probability {probability}, entropy {entropy} nats")
        common = self.labels_of.get(topic)
        return _Tile(
            thumbnail=thumbnail,
            href=self._href(index) if thumbnail else None,
            name=name,
            file_name=name.rstrip("/").rsplit("/", 1)[-1],
            detail=" · ".join(detail),
            probability=_decimal(content.probability[index]) if topic >= 0 else "",
            topic=topic,
            other_label=label if common and label != common[0][0] else None,
        )

    def tiles(self, indices: Sequence[int]) -> list[_Tile]:
        return [self.tile(index) for index in indices]

    def sheets(self) -> list[_Sheet]:
        n_grouped = len(self.content.ids)  # those without a feature count: the shares and they make up the whole
        sheets = []
        for chosen in self.choice.topics:
            size, labels = len(chosen.members), self.labels_of[chosen.topic]
            typical = self.tiles(chosen.typical)
            sheets.append(
                _Sheet(
                    topic=chosen.topic,
                    title=self.title(chosen.topic),
                    name=self.content.topic_names.get(chosen.topic, ""),
                    numbers=self.numbers(chosen.topic),
                    size=size,
                    share=size / n_grouped,
                    bar=size / len(self.choice.topics[0].members),
                    mean=_mean(self.content.probability[chosen.members]),
                    labels=labels[:MAX_LABELS],
                    n_more_labels=len(labels[MAX_LABELS:]),
                    n_unlabelled=size - sum(n for _, n in labels) if labels else 0,
                    mosaic=([tile for tile in typical if tile.thumbnail] or typical)[:4],
                    typical=typical,
                    uncertain=self.tiles(chosen.uncertain),
                )
            )
        return sheets


def _by_reason(skipped: Sequence[Skipped]) -> list[dict[str, Any]]:
    """Reasons, the most frequent first, with their names: at most `MAX_SKIPPED` names in all."""
    names: dict[str, list[str]] = {}
    for one in skipped:
        names.setdefault(one.reason, []).append(one.name)
    room, reasons = MAX_SKIPPED, []
    for reason, files in sorted(names.items(), key=lambda item: (-len(item[1]), item[0])):
        shown = sorted(files)[:room]
        room -= len(shown)
        reasons.append({"reason": reason, "n": len(files), "names": shown, "n_more": len(files) - len(shown)})
    return reasons


def build_report(
    content: ReportContent,
    folder: Path,
    *,
    per_topic: int = 24,
    n_uncertain: int = 24,
    progress: Callable[[int, int], None] | None = None,
    jobs: int = 1,
) -> Path:
    """Write the report of a project.

    The folder is built beside its final place and swapped in whole: a reader sees no mixture of the old report and the
    new one, and an error or an interrupt leaves the old one as it was.

    Parameters
    ----------
    content : ReportContent
        What to show.
    folder : pathlib.Path
        The report's folder; one that exists is replaced.
    per_topic : int, default 24
        Typical photographs on each topic's sheet. A third as many (at least four) uncertain ones stand below them.
    n_uncertain : int, default 24
        Photographs in the list of the most uncertain of all topics; also the most that are shown of those without a
        topic.
    progress : callable (done, total), optional
        Called after every thumbnail, from the calling thread.
    jobs : int, default 1
        Threads that read photographs and make thumbnails; -1: one a processor. Changes no byte of the report.

    Returns
    -------
    pathlib.Path
        The page, ``folder / "index.html"``.

    Raises
    ------
    UsageError
        If `per_topic` is below 1, `n_uncertain` below 0 or `jobs` 0, or if a photograph is not a uint8 (H, W, 3) array.
    """
    if per_topic < 1 or n_uncertain < 0:
        raise UsageError(
            f"a report needs per_topic >= 1 and n_uncertain >= 0, not per_topic={per_topic}, n_uncertain={n_uncertain}"
        )
    threads = effective_jobs(jobs)
    choice = choose(content, per_topic, n_uncertain)
    shown = list(choice.shown())
    with replace_folder(folder) as temporary:
        (temporary / "thumbs").mkdir()
        made: dict[int, Thumbnail | None] = {}

        def write(index: int) -> Thumbnail | None:
            return thumbnails.write(content, index, temporary)

        with (
            one_thread_each(),
            make_executor(threads) as executor,
            closing(run_tasks(executor, write, shown, ahead=4 * threads)) as results,
        ):
            for index, thumbnail in zip(shown, results, strict=True):
                made[index] = thumbnail
                if progress is not None:
                    progress(len(made), len(shown))
        desk = _Desk(content, choice, made)
        written = [thumbnail for thumbnail in made.values() if thumbnail]
        page = environment().get_template("report.html.j2")
        html = page.render(
            content=content,
            n_images=len(content.ids) + len(content.skipped),
            n_grouped=len(content.ids),
            sheets=desk.sheets(),
            linked=desk.linked(),
            empty=choice.empty,
            uncertain=desk.tiles(choice.uncertain),
            title_of=desk.title,
            without_topic=desk.tiles(choice.without_topic),
            n_without_topic=choice.n_without_topic,
            reasons=_by_reason(content.skipped),
            seconds=sum(content.seconds.values()),
            metrics=dict(content.metrics or {}),
            curve=draw_curve(content.silhouettes, content.n_topics),
            n_thumbnails=len(written),
            thumbnail_bytes=sum(thumbnail.n_bytes for thumbnail in written),
        )
        (temporary / "index.html").write_bytes(html.encode("utf-8"))
    return folder / "index.html"
