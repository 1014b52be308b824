"""The words that mark each topic, with the patches and photographs that show them.

::

    report/words/topic-003.jpg   a sheet of patches: a row for each word, at most `PATCHES` in it

Words are ranked within their kind by relevance (`fastvbow.report.marking_words`), and the first of them are shown of
which the topic's most typical photographs have enough tokens that most probably are the topic's own. Patches are cut
from these photographs alone, which the page shows anyway. A word of whole photographs is shown by those of them that
have the most tokens of it. A sheet is about 50 kB.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.report.choice import Choice
from fastvbow.report.evidence import WHOLE, Evidence, PhotographTokens
from fastvbow.report.marking_words import kind_parts, lifts, ranked_words
from fastvbow.report.patches import SIDE, Place, cell_place, cut_patches, encode_sheet, keypoint_place
from fastvbow.report.pieces import Cut, Piece

__all__ = ["PATCHES", "KindWords", "Patch", "ShownWord", "TopicWords", "WordPatches"]

PATCHES = 8
"""The most that a word is shown by."""
WORDS = 4
"""Words of each kind that are shown of a topic."""
ENOUGH = 3
"""Patches, or photographs, that a word has at least; one where the topic has no more photographs."""


@dataclass
class Patch:
    """One patch.

    Attributes
    ----------
    index : int
        Position of its photograph in the columns of the report.
    place : Place
        In that photograph.
    column : int
        In the topic's sheet.
    cut : bool
        Whether it has been cut: its photograph could be read.
    """

    index: int
    place: Place
    column: int
    cut: bool = False


@dataclass
class ShownWord:
    """A word that marks a topic.

    Attributes
    ----------
    word : int
        Its number in the vocabulary.
    lift : float
        So many times as frequent as in all photographs.
    share : float
        Of the topic's tokens, 0 to 1.
    row : int
        In the topic's sheet; -1 for a word that is shown by whole photographs.
    patches : list of Patch
    photographs : list of int
        Positions in the columns of the report.
    """

    word: int
    lift: float
    share: float
    row: int = -1
    patches: list[Patch] = field(default_factory=list)
    photographs: list[int] = field(default_factory=list)


@dataclass
class KindWords:
    """The words of one kind that mark a topic.

    Attributes
    ----------
    kind : str
        See `fastvbow.report.evidence.Evidence.kinds`.
    part : float
        Of what tells the topic from the others, 0 to 1.
    words : list of ShownWord
        The most relevant first.
    """

    kind: str
    part: float
    words: list[ShownWord]

    @property
    def lift(self) -> float:
        """The greatest of its words; 0 where none is shown."""
        return max((word.lift for word in self.words), default=0.0)


@dataclass
class TopicWords:
    """The words that mark a topic.

    Attributes
    ----------
    topic : int
    kinds : list of KindWords
        In the order of the part that they have.
    sheet : ndarray of shape (rows, PATCHES, SIDE, SIDE, 3), uint8, or None
        While patches are coming in.
    address : str or None
        Of the sheet, relative to the pages; None: there is no patch.
    rows : int
        Of the sheet.
    """

    topic: int
    kinds: list[KindWords]
    sheet: NDArray[np.uint8] | None = None
    address: str | None = None
    rows: int = 0


class WordPatches:
    """Chooses the words of all topics and cuts their patches; a `fastvbow.report.photographs.PhotographUse`.

    Parameters
    ----------
    evidence : Evidence
    choice : Choice
        Whose typical photographs the patches are cut from.
    folder : pathlib.Path
        Folder of the pages; ``words`` in it is made.

    Attributes
    ----------
    topics : dict of int to TopicWords
        By topic.
    wanted : collection of int
        The photographs that patches are cut from.
    n_bytes : int
        Of the sheets that have been written.
    """

    def __init__(self, evidence: Evidence, choice: Choice, folder: Path) -> None:
        self._folder = folder / "words"
        self._folder.mkdir()
        self._of: dict[int, list[tuple[TopicWords, int, Patch]]] = {}
        self._left: dict[int, set[int]] = {}
        self.topics: dict[int, TopicWords] = {}
        self.n_bytes = 0
        self.wanted: Collection[int] = self._of.keys()
        for chosen in choice.topics:
            found = _topic_words(evidence, chosen.topic, chosen.typical)
            self.topics[chosen.topic] = found
            for word in (word for kind in found.kinds for word in kind.words):
                for patch in word.patches:
                    self._of.setdefault(patch.index, []).append((found, word.row, patch))
                    self._left.setdefault(chosen.topic, set()).add(patch.index)

    def cutter(self, index: int) -> Cut:
        """What cuts all patches of one photograph, each of shape (SIDE, SIDE, 3), uint8."""
        return partial(cut_patches, tuple(patch.place for _, _, patch in self._of[index]))

    def keep(self, index: int, piece: Piece | None) -> None:
        """Put the patches of one photograph into their sheets, and write those that are whole.

        Parameters
        ----------
        index : int
        piece : sequence of ndarray, or None
            What was cut; None: the photograph can no longer be read.
        """
        cuts = piece or ()
        for (topic, row, patch), pixels in zip(self._of[index], cuts, strict=piece is not None):
            if topic.sheet is None:
                topic.sheet = np.full((topic.rows, PATCHES, SIDE, SIDE, 3), 128, np.uint8)
            topic.sheet[row, patch.column] = pixels
            patch.cut = True
        for topic in {id(topic): topic for topic, _, _ in self._of[index]}.values():
            left = self._left[topic.topic]
            left.discard(index)
            if not left and topic.sheet is not None:
                self._write(topic, topic.sheet)
                topic.sheet = None

    def _write(self, topic: TopicWords, sheet: NDArray[np.uint8]) -> None:
        data = encode_sheet(sheet.transpose(0, 2, 1, 3, 4).reshape(topic.rows * SIDE, PATCHES * SIDE, 3))
        name = f"topic-{topic.topic:03d}.jpg"
        (self._folder / name).write_bytes(data)
        topic.address = f"words/{name}"
        self.n_bytes += len(data)


def _topic_words(evidence: Evidence, topic: int, typical: Sequence[int]) -> TopicWords:
    counts, tokens = evidence.counts, [evidence.tokens(index) for index in typical]
    lift, share = lifts(counts, topic), counts[topic] / counts[topic].sum()
    parts = kind_parts(counts, topic, evidence.kinds)
    kinds: list[KindWords] = []
    rows = 0
    for kind, bounds in evidence.kinds.items():
        found = _Found(kind, topic, typical, tokens)
        words: list[ShownWord] = []
        for word in map(int, ranked_words(counts, topic, bounds)):
            if len(words) == WORDS:
                break
            shown = ShownWord(word, float(lift[word]), float(share[word]))
            if kind in WHOLE:
                shown.photographs = found.photographs(word)
            else:
                shown.patches = found.patches(word)
                shown.row = rows + len(words)
            if max(len(shown.patches), len(shown.photographs)) >= min(ENOUGH, len(typical)):
                words.append(shown)
        rows += 0 if kind in WHOLE else len(words)
        kinds.append(KindWords(kind, parts[kind], words))
    kinds.sort(key=lambda kind: -kind.part)
    return TopicWords(topic, kinds, rows=rows)


class _Found:
    """Tokens of one kind in a topic's typical photographs, by word, those that most probably are the topic's own."""

    def __init__(self, kind: str, topic: int, typical: Sequence[int], tokens: Sequence[PhotographTokens]) -> None:
        self._typical = typical
        self._tokens = tokens
        self._cell = kind == "conv"
        self._places = {
            rank: part.places
            for rank, photograph in enumerate(tokens)
            for part in photograph.kinds
            if part.kind == kind and part.places is not None
        }
        columns = [
            (part.words[own], np.full(len(own), rank), own)
            for rank, photograph in enumerate(tokens)
            for part in photograph.kinds
            if part.kind == kind and len(own := np.flatnonzero(part.topics.argmax(axis=1) == topic))
        ]
        words, ranks, at = (
            np.concatenate([np.asarray(column[i], np.int64) for column in columns] or [np.zeros(0, np.int64)])
            for i in range(3)
        )
        order = np.argsort(words, kind="stable")
        self._words, self._ranks, self._at = words[order], ranks[order], at[order]

    def _run(self, word: int) -> slice:
        return slice(*np.searchsorted(self._words, [word, word + 1]))

    def photographs(self, word: int) -> list[int]:
        """Those with the most tokens of a word, of equal ones the more typical."""
        count = np.bincount(self._ranks[self._run(word)], minlength=len(self._typical))
        best = np.argsort(-count, kind="stable")[:PATCHES]
        return [self._typical[rank] for rank in best if count[rank]]

    def patches(self, word: int) -> list[Patch]:
        """Patches of a word, of as many photographs as there are; of each the largest first that lie in it."""
        run = self._run(word)
        candidates = sorted(self._candidates(self._ranks[run].tolist(), self._at[run].tolist()), key=lambda c: c[:4])
        turn: dict[int, int] = {}
        rounds = []
        for outside, size, rank, at, place in candidates:
            turn[rank] = turn.get(rank, -1) + 1
            rounds.append((turn[rank], outside, rank, size, at, place))
        rounds.sort(key=lambda c: c[:5])
        return [
            Patch(self._typical[rank], place, column)
            for column, (_, _, rank, _, _, place) in enumerate(rounds[:PATCHES])
        ]

    def _candidates(self, ranks: list[int], at: list[int]) -> Iterator[tuple[bool, float, int, int, Place]]:
        for rank, token in zip(ranks, at, strict=True):
            photograph = self._tokens[rank]
            make = cell_place if self._cell else keypoint_place
            place = make(self._places[rank][token], photograph.width, photograph.height)
            yield not place.inside, -place.side, rank, token, place
