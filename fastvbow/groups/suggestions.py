"""Names that are suggested for groups: nouns of a text bank, the best first, and the caption nearest to each group.

Format ``fastvbow-suggestions``, version 1
------------------------------------------
``names/HEX.suggested.json`` lies beside ``names/HEX.json`` (`fastvbow.groups.names`) and belongs to the same model. It
is made by a command and MAY be removed: nothing in it was said by a person. The file MUST hold

- ``format``, ``version`` (an integer), ``topics`` (the whole SHA-256 of the model's tensors) and ``n_topics``;
- ``origin``: ``space`` and ``fingerprint``, the name and state of the space in which photographs and texts were
  compared; ``nouns`` and ``captions``, each with the ``name`` of a file, its ``sha256`` and the number of its ``rows``
  (``captions`` MAY be null); ``prompts``, into which each noun was put; ``under``, the synsets of whose
  kinds the nouns are (empty: of all); ``rule``, the numbers by which nouns were chosen;
- ``groups``: of each group its ``topics`` (rising), the number of ``images`` that counted, ``nouns`` (each with
  ``noun``, ``score`` and ``definition``, which MAY be empty), the best first, and ``caption`` and ``caption_cosine``,
  which are null where there is none.

A reader MUST refuse a greater version than its own, topics that are not below ``n_topics``, and a topic in two groups.

A group's suggestions count as long as it consists of the same topics. Those of groups that were merged or parted since
are not shown, and those of another model neither. Photographs that were added since change no suggestion; the command
computes all anew.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.groups._document import read_document
from fastvbow.groups.names import TopicNames, checked_name
from fastvbow.project import fingerprint_of, replace_file

__all__ = [
    "GroupSuggestion",
    "Noun",
    "Origin",
    "TextFile",
    "TopicSuggestions",
    "read_suggestions",
    "with_proposals",
    "write_suggestions",
]

FORMAT = "fastvbow-suggestions"
VERSION = 1


class Noun(msgspec.Struct, frozen=True):
    """A noun that fits a group.

    Attributes
    ----------
    noun : str
    score : float
        Compares within one run of the command alone.
    definition : str, default=""
    """

    noun: str
    score: float
    definition: str = ""


class GroupSuggestion(msgspec.Struct, frozen=True):
    """What one group may be called.

    Attributes
    ----------
    topics : tuple of int
        All topics of the group, rising.
    images : int
        Photographs that were looked at; without one there are no nouns.
    nouns : tuple of Noun
        The best first.
    caption : str or None
        The one nearest to the group's photographs.
    caption_cosine : float or None
    """

    topics: tuple[int, ...]
    images: int
    nouns: tuple[Noun, ...]
    caption: str | None
    caption_cosine: float | None


class TextFile(msgspec.Struct, frozen=True):
    """Where texts came from.

    Attributes
    ----------
    name : str
        Of the file, without its folder.
    sha256 : str
        Of its bytes, hex.
    rows : int
        Texts in it.
    """

    name: str
    sha256: str
    rows: int


class Origin(msgspec.Struct, frozen=True):
    """What suggestions were computed from.

    Attributes
    ----------
    space, fingerprint : str
        Name and state of the space.
    nouns : TextFile
    captions : TextFile or None
    prompts : tuple of str
    under : tuple of str
        Synsets of whose kinds the nouns are; empty: all nouns.
    rule : dict of str to float
    """

    space: str
    fingerprint: str
    nouns: TextFile
    captions: TextFile | None
    prompts: tuple[str, ...]
    under: tuple[str, ...]
    rule: dict[str, float]


class TopicSuggestions(msgspec.Struct, frozen=True):
    """Suggested names of the groups of one model's topics.

    Attributes
    ----------
    topics : str
        SHA-256 (hex) of the model's tensors.
    n_topics : int
    origin : Origin
    groups : tuple of GroupSuggestion
        As the topics were merged when the names were suggested.
    """

    topics: str
    n_topics: int
    origin: Origin
    groups: tuple[GroupSuggestion, ...]

    @property
    def fingerprint(self) -> str:
        """Changes when anything does that is shown."""
        return fingerprint_of(msgspec.to_builtins(self))[:16]

    def current(self, names: TopicNames) -> dict[int, GroupSuggestion]:
        """The suggestions of those groups that consist of the same topics now, by the numbers they go by.

        Parameters
        ----------
        names : TopicNames
            Says which topics are merged.
        """
        return {group.topics[0]: group for group in self.groups if names.members(group.topics[0]) == group.topics}

    def changed(self, names: TopicNames) -> list[int]:
        """The groups that were merged or parted since, rising; they have no suggestions.

        Parameters
        ----------
        names : TopicNames
        """
        return sorted(set(names.group_of().tolist()) - set(self.current(names)))

    def proposals(self, names: TopicNames) -> dict[int, str]:
        """The name that each group without one may get, no two alike and none that a person has given.

        Of two groups that want the same noun the one where its score is higher has it (where they are equal, the one of
        the lower number), and the other one goes on to its next: a stable matching (Gale & Shapley 1962). Capitals make
        no difference. Nouns that cannot be names are passed over. A group whose nouns are all taken gets none.

        Parameters
        ----------
        names : TopicNames
            Names that a person gave, and merged groups.

        Returns
        -------
        dict of int to str
            By group.
        """
        given = names.by_group()
        taken = {name.casefold() for name in given.values()}
        wishes = {
            group: [(text, noun.score) for noun in found.nouns if (text := _usable(names, group, noun.noun))]
            for group, found in self.current(names).items()
            if group not in given
        }
        held: dict[str, tuple[float, int, str]] = {}
        waiting = sorted(wishes, reverse=True)
        while waiting:
            group = waiting.pop()
            while wishes[group]:
                text, score = wishes[group].pop(0)
                key = text.casefold()
                other = held.get(key)
                if key in taken or (other is not None and (other[0], -other[1]) > (score, -group)):
                    continue
                held[key] = (score, group, text)
                if other is not None:
                    waiting.append(other[1])
                break
        return dict(sorted((group, text) for _, group, text in held.values()))


def _usable(names: TopicNames, group: int, noun: str) -> str | None:
    """A noun as the name of a group, or None if it cannot be one."""
    try:
        names.with_name(group, noun)
    except UsageError:
        return None
    return checked_name(noun)


def with_proposals(names: TopicNames, proposals: dict[int, str]) -> TopicNames:
    """Names, and those that are proposed where there is none.

    Parameters
    ----------
    names : TopicNames
    proposals : dict of int to str
        See `TopicSuggestions.proposals`.
    """
    for group, text in proposals.items():
        names = names.with_name(group, text)
    return names


class _File(msgspec.Struct, frozen=True):
    """What ``names/HEX.suggested.json`` holds."""

    format: str
    version: int
    topics: str
    n_topics: int
    origin: Origin
    groups: tuple[GroupSuggestion, ...]


def write_suggestions(path: Path, suggestions: TopicSuggestions) -> None:
    """Write the suggested names of a model's topics."""
    whole = _File(FORMAT, VERSION, suggestions.topics, suggestions.n_topics, suggestions.origin, suggestions.groups)
    with replace_file(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(whole)))


def read_suggestions(path: Path) -> TopicSuggestions:
    """Read what `write_suggestions` wrote.

    Raises
    ------
    ProjectError
        A newer fastvbow wrote it.
    StoreCorruptError
        It cannot be read, or does not hold what it should.
    """
    remedy = "delete it, and run 'fastvbow suggest' again"
    found: _File = read_document(
        path, _File, format_name=FORMAT, version=VERSION, what="suggested names", remedy=remedy
    )
    flat = [topic for group in found.groups for topic in group.topics]
    problems = [
        found.format != FORMAT,
        any(not 0 <= topic < found.n_topics for topic in flat),
        len(set(flat)) != len(flat),
        any(not group.topics or list(group.topics) != sorted(group.topics) for group in found.groups),
    ]
    if any(problems):
        raise StoreCorruptError(f"{path} contradicts itself (topics out of range, or in two groups): {remedy}")
    return TopicSuggestions(found.topics, found.n_topics, found.origin, found.groups)
