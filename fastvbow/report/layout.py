"""What the pages say of each photograph and of each topic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastvbow.report import wording
from fastvbow.report.choice import Choice, TopicChoice
from fastvbow.report.content import ReportContent, Suggestion
from fastvbow.report.thumbnails import Thumbnail

__all__ = ["Layout", "Sheet", "Tile", "topic_page"]

MAX_LABELS = 8
RATIOS = 0.6, 2.4  # width over height of a tile
MIN_SHOWN = 0.6  # of a photograph that is cropped to them; a strip, of which less would be seen, is shown whole


def topic_page(topic: int) -> str:
    """The address of a topic's page, relative to all others."""
    return f"topic-{topic:03d}.html"


@dataclass(frozen=True)
class Tile:
    """One photograph on a page.

    Attributes
    ----------
    index : int
        Its position in the columns of `ReportContent`.
    thumbnail : Thumbnail or None
        None: it can no longer be read.
    href : str or None
        The original's address; None where it is no file of its own.
    name : str
        Path as the person knows it.
    file_name : str
        The name's last part.
    detail : str
        A line that tells all that is known.
    probability : str
        Of its topic, two decimals.
    topic : int
        Its topic, -1: none.
    other_label : str or None
        Its label where the topic's most frequent one is another.
    suggested : bool
        Whether the topic's title is but suggested.
    """

    index: int
    thumbnail: Thumbnail | None
    href: str | None
    name: str
    file_name: str
    detail: str
    probability: str
    topic: int
    other_label: str | None
    suggested: bool

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
class Sheet:
    """One topic: its card in the overview, and its page.

    Attributes
    ----------
    topic : int
        Topic id.
    page : str
        Address of its page.
    title : str
        The name that a person gave, else the one that is suggested, with a question mark, else ``Topic 3``.
    name : str
        The name that a person gave, or nothing.
    suggested : bool
        Whether the title is but suggested.
    suggestion : Suggestion or None
    bars : list of float
        The scores of its nouns over the highest one, 0 to 1.
    numbers : str
        ``topic 3``, or of merged ones ``topics 3, 7``.
    size : int
        Its photographs.
    share : float
        Of all photographs, those without a topic included.
    bar : float
        Its size over the largest topic's.
    mean : str
        Mean probability of its photographs.
    labels : list of (str, int)
        The most frequent labels of its photographs, and of how many.
    n_more_labels : int
        Further labels.
    n_unlabelled : int
        Photographs without a label, where others have one.
    mosaic, typical, uncertain, random : list of Tile
        The photographs on its card; on its page those of the highest probability, of the lowest, and some of the rest.
    """

    topic: int
    page: str
    title: str
    name: str
    suggested: bool
    suggestion: Suggestion | None
    bars: list[float]
    numbers: str
    size: int
    share: float
    bar: float
    mean: str
    labels: list[tuple[str, int]]
    n_more_labels: int
    n_unlabelled: int
    mosaic: list[Tile]
    typical: list[Tile]
    uncertain: list[Tile]
    random: list[Tile]

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


def _bars(suggestion: Suggestion | None) -> list[float]:
    """How long the bar of each noun's score is, of that of the highest one."""
    scores = [] if suggestion is None else [max(0.0, score) for _, score, _ in suggestion.nouns]
    return [score / max(scores) if max(scores) > 0 else 0.0 for score in scores]


class Layout:
    """Lays out the photographs that were chosen.

    Parameters
    ----------
    content : ReportContent
        The columns.
    choice : Choice
        Which photographs are shown.
    made : mapping of int to (Thumbnail or None)
        Their thumbnails.
    """

    def __init__(self, content: ReportContent, choice: Choice, made: Mapping[int, Thumbnail | None]) -> None:
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
        """The name that a person gave to a topic, else the one that is suggested, as ``kitchen?``, else ``Topic 3``."""
        if self.suggested(topic):
            return f"{self.content.suggestions[topic].best}?"
        return self.content.topic_names.get(topic) or self.numbers(topic).capitalize()

    def suggested(self, topic: int) -> bool:
        """Whether a topic's title is one that nobody gave, but that is suggested."""
        found = self.content.suggestions.get(topic)
        return found is not None and bool(found.best) and not self.content.topic_names.get(topic)

    def numbers(self, topic: int) -> str:
        """``topic 3``, or of merged ones ``topics 3, 7``."""
        members = self.content.merged.get(topic, [topic])
        return f"topic{'s' if len(members) > 1 else ''} {wording.ranges(members)}"

    def tile(self, index: int) -> Tile:
        """One photograph."""
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
        return Tile(
            index=index,
            thumbnail=thumbnail,
            href=self._href(index) if thumbnail else None,
            name=name,
            file_name=name.rstrip("/").rsplit("/", 1)[-1],
            detail=" · ".join(detail),
            probability=_decimal(content.probability[index]) if topic >= 0 else "",
            topic=topic,
            other_label=label if common and label != common[0][0] else None,
            suggested=self.suggested(topic),
        )

    def tiles(self, indices: Sequence[int]) -> list[Tile]:
        """Several photographs."""
        return [self.tile(index) for index in indices]

    def sheets(self) -> list[Sheet]:
        """All topics in use, largest first."""
        n_grouped = len(self.content.ids)  # those without a feature count: the shares and they make up the whole
        sheets = []
        for chosen in self.choice.topics:
            size, labels = len(chosen.members), self.labels_of[chosen.topic]
            typical = self.tiles(chosen.typical)
            sheets.append(
                Sheet(
                    topic=chosen.topic,
                    page=topic_page(chosen.topic),
                    title=self.title(chosen.topic),
                    name=self.content.topic_names.get(chosen.topic, ""),
                    suggested=self.suggested(chosen.topic),
                    suggestion=self.content.suggestions.get(chosen.topic),
                    bars=_bars(self.content.suggestions.get(chosen.topic)),
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
                    random=self.tiles(chosen.random),
                )
            )
        return sheets
