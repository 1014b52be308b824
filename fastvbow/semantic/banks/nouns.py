"""Banks of nouns, of WordNet or of a plain list, and the prompts that they are put into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.semantic.banks.lines import text_lines
from fastvbow.semantic.banks.wordnet import WordNet

__all__ = ["PLACES", "SIC_PROMPTS", "TAC_PROMPTS", "NounBank", "nouns_of_wordnet", "place_kinds", "read_noun_list"]

TAC_PROMPTS = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""A noun's embedding is the mean of these prompts' embeddings before they are scaled to unit length (TAC)."""
SIC_PROMPTS = ("a photo of a {}",)
PLACES = {
    "structure": "a thing constructed; a complex entity constructed of many parts",
    "area": "a part of a structure having some specific characteristic or function",
    "geological formation": "(geology) the geological features of the earth",
    "location": "a point or extent in space",
    "way": "any artifact consisting of a road or path affording passage from one place to another",
    "facility": "a building or place that provides a particular service or is used for a particular industry",
    "body of water": "the part of the earth's surface covered with water (such as a river or lake or ocean)",
}
"""The synsets of places: first word and definition, which WordNet 3.0 and 3.1 have in common, unlike the names."""


@dataclass(frozen=True)
class NounBank:
    """Nouns, one a row.

    Attributes
    ----------
    words : tuple of str
        Not always different: a noun of two meanings may have two rows.
    definitions : tuple of str
        Of each row; empty where there is none.
    synsets : tuple of str
        The name of each row's synset in WordNet; empty where there is none.
    """

    words: tuple[str, ...]
    definitions: tuple[str, ...]
    synsets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    def described(self) -> tuple[str, ...]:
        """Each noun with its definition: "windmill, a mill that is powered by the wind"."""
        return tuple(
            f"{word}, {text}" if text else word for word, text in zip(self.words, self.definitions, strict=True)
        )


def nouns_of_wordnet(
    wordnet: WordNet, *, words: str = "first", instances: bool = True, under: Sequence[str] | None = None
) -> NounBank:
    """The nouns of WordNet.

    Parameters
    ----------
    wordnet : WordNet
    words : {"first", "all"}, default="first"
        The usual word of each synset (SIC: 82,115 rows of WordNet 3.0), or each of its words (146,347 rows, as
        many as TAC's bank has).
    instances : bool, default=True
        Also the single things that have names of their own: persons, cities, rivers.
    under : sequence of str, optional
        Names of synsets: only they and their kinds, such as ("n00027167",) for locations.

    Raises
    ------
    UsageError
        `words` is none of these, a synset is unknown, or no noun is left.
    """
    if words not in ("first", "all"):
        raise UsageError(f"words is 'first' or 'all', not {words!r}")
    _check_known(wordnet, under or ())
    wanted = set(wordnet.by_name) if under is None else wordnet.hyponyms(under)
    rows = [
        (word, synset.definition, synset.name)
        for synset in wordnet.synsets
        if synset.name in wanted and (instances or not synset.is_instance)
        for word in (synset.words if words == "all" else synset.words[:1])
    ]
    if not rows:
        raise UsageError("no noun is left: take in instances, or more synsets")
    return NounBank(*(tuple(column) for column in zip(*rows, strict=True)))


def place_kinds(wordnet: WordNet, bank: NounBank, places: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Which nouns name a place and which a thing, for `fastvbow.semantic.naming.suggest_names`.

    Parameters
    ----------
    wordnet : WordNet
    bank : NounBank
        With synsets; a noun without one is a thing.
    places : sequence of str, optional
        Names of synsets: they and their kinds are places. None: those of `PLACES`.

    Returns
    -------
    ndarray of shape (len(bank),), int64
        1 for a place, 0 for any other thing.

    Raises
    ------
    UsageError
        A synset is unknown, or this WordNet has none of `PLACES`.
    """
    if places is None:
        places = [s.name for s in wordnet.synsets if PLACES.get(s.words[0]) == s.definition]
        if not places:
            raise UsageError("this WordNet has none of the synsets of places: take WordNet 3.0 or 3.1")
    _check_known(wordnet, places)
    below = wordnet.hyponyms(places)
    return np.array([synset in below for synset in bank.synsets], np.int64)


def _check_known(wordnet: WordNet, names: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(wordnet.by_name))
    if unknown:
        raise UsageError(f"this WordNet has no synset {unknown[0]}: names differ from version to version")


def read_noun_list(path: Path) -> NounBank:
    """Nouns from a text file, one a line; what follows a tab is the definition.

    Parameters
    ----------
    path : Path
        UTF-8. Empty lines do not count.

    Raises
    ------
    UsageError
        It cannot be read, or holds no noun.
    """
    rows: Sequence[tuple[str, str, str]] = [line.partition("\t") for line in text_lines(path, "nouns")]
    return NounBank(tuple(a.strip() for a, _, _ in rows), tuple(b.strip() for _, _, b in rows), ("",) * len(rows))
