"""What a report is made of: plain columns, one entry per photograph, handed in by the caller.

The report knows no stage of the route. Whoever calls it fills these columns from wherever they lie; photographs are
asked for a few at a time, and only those that the page shows. Of any other image there is nothing but its entries in
the columns: two or three short strings and three numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.report.evidence import Evidence
from fastvbow.report.positions import MapInput

__all__ = ["ReportContent", "Skipped", "Suggestion"]


@dataclass(frozen=True)
class Skipped:
    """One file that could not be used.

    Parameters
    ----------
    name : str
        Path as the person knows it, usually relative to the source folder.
    reason : str
        One line, e.g. ``"not an image"``; equal reasons are counted together.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Suggestion:
    """What a topic may be called, as texts have it that fit its photographs.

    Parameters
    ----------
    best : str or None
        Stands, marked as suggested, where a name would; None: a person gave one, or none can be told.
    nouns : sequence of (str, float, str)
        Nouns, the best first, with their scores and definitions; the latter may be empty.
    caption : str, optional
        The one nearest to the photographs.
    caption_cosine : float, optional
    """

    best: str | None
    nouns: Sequence[tuple[str, float, str]]
    caption: str | None = None
    caption_cosine: float | None = None


@dataclass(frozen=True, eq=False)
class ReportContent:
    """All that `build_report` shows.

    The columns `ids`, `names`, `topic`, `probability`, `entropy` and, if given, `labels` have one entry per
    photograph, in the same order. Strings may hold anything a file name can hold (quotes, newlines, undecodable bytes
    as surrogates): they are escaped when the page is written.

    Parameters
    ----------
    title : str
        Heading of the page.
    source : str
        Where the photographs came from, as a person would recognise it.
    n_topics : int
        Topics of the model, the empty ones included.
    ids : sequence of str, length n_images
        Unique image ids. They break ties, so that the page does not depend on the order of the columns.
    names : sequence of str, length n_images
        Names to display, usually paths relative to the source.
    topic : ndarray of shape (n_images,), integer
        Top topic, 0 to `n_topics` - 1; -1 for a photograph without a topic (no feature was found in it).
    probability : ndarray of shape (n_images,), float
        Probability of that topic, 0 to 1; ignored where `topic` is -1.
    entropy : ndarray of shape (n_images,), float
        Entropy over all topics in nats; ignored where `topic` is -1.
    read_photograph : callable (int) -> ndarray of shape (height, width, 3), uint8, RGB, or None
        Decodes the i-th photograph, upright; None if it can no longer be read (an `ImageError` or `OSError` counts as
        None). Called at most once per photograph, in any order, only for photographs that are shown, and from several
        threads at once where `build_report` is given more than one job. A thumbnail or a reduced decode will do: 320 x
        200 pixels are all that is kept.
    locate : callable (int) -> pathlib.Path or None
        The file of the i-th original, which a click opens; None for a photograph that is no file of its own (in a tar
        or Parquet shard). A relative path is taken from the working directory.
    in_sequence : bool
        Whether photographs are read much faster in the order of the columns (the rows of a Parquet file), at the price
        of some memory; else they are read topic by topic.
    labels : sequence of (str or None), length n_images, optional
        Known labels, None where there is none.
    skipped : sequence of Skipped
        Files that could not be used.
    parameters : mapping of str to str
        Parameters of the run, shown in the given order.
    seconds : mapping of str to float
        Seconds per stage, shown in the given order; the sum is given as the run time.
    version : str
        Version of fastvbow that made the groups.
    metrics : mapping of str to float, optional
        Agreement with the labels, e.g. ``{"accuracy": 0.87}``; the first three stand in the heading.
    topic_names : mapping of int to str
        Names that a person gave to topics.
    merged : mapping of int to sequence of int
        Topics that a person made one group: the number in `topic` to all of them, rising.
    suggestions : mapping of int to Suggestion
        What topics may be called.
    suggested_by : str
        Where the suggestions come from, as the end of a sentence.
    silhouettes : sequence of (int, float)
        Where the number of topics was proposed: the numbers that were tried, and the mean silhouette of each.
    made_by : str
        Where the groups are no topics of a topic model: what made them, as a sentence ends ("K-Means from the
        photographs' own vectors"). The pages call them topics all the same, and the first one says so; drawings of
        which part of a photograph belongs to which topic are left out, as clusters know no parts.
    evidence : Evidence, optional
        Words and tokens, which the topics' pages then show.
    positions : MapInput, optional
        What the photographs are laid out by on a map; without it there is none.

    Raises
    ------
    UsageError
        If the columns differ in length or a topic lies outside -1 to `n_topics` - 1.
    """

    title: str
    source: str
    n_topics: int
    ids: Sequence[str]
    names: Sequence[str]
    topic: NDArray[np.integer]
    probability: NDArray[np.floating]
    entropy: NDArray[np.floating]
    read_photograph: Callable[[int], NDArray[np.uint8] | None]
    locate: Callable[[int], Path | None]
    in_sequence: bool = False
    labels: Sequence[str | None] | None = None
    skipped: Sequence[Skipped] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    version: str = ""
    metrics: Mapping[str, float] | None = None
    topic_names: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[int, Sequence[int]] = field(default_factory=dict)
    suggestions: Mapping[int, Suggestion] = field(default_factory=dict)
    suggested_by: str = ""
    silhouettes: Sequence[tuple[int, float]] = ()
    made_by: str = ""
    evidence: Evidence | None = None
    positions: MapInput | None = None

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together."""
        lengths = {name: len(getattr(self, name)) for name in ("ids", "names", "topic", "probability", "entropy")}
        if self.labels is not None:
            lengths["labels"] = len(self.labels)
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise UsageError(f"the columns of a report need one entry per photograph, but their lengths are: {found}")
        topic = np.asarray(self.topic)
        if topic.size and not (topic.min() >= -1 and topic.max() < self.n_topics):
            raise UsageError(
                f"topics run from {topic.min()} to {topic.max()}, but a report of {self.n_topics} topics takes "
                f"-1 (none) to {self.n_topics - 1}"
            )
