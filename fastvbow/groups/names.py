"""Names that a person gave to topics, and topics that a person merged into one group.

Format ``fastvbow-names``, version 1
------------------------------------
``names/HEX.json``, where HEX are the first 16 digits of the SHA-256 of the topic model's tensors
(``topics/model/manifest.json`` has it). Names belong to one model: those of a former one stay in a file of their own,
are never applied to another, and count again once the same model is back. The file MUST hold ``format``, ``version``
(an integer), ``topics`` (the whole SHA-256), ``n_topics``, ``names`` (topic number, as a string, to name) and
``merged`` (lists of at least two topic numbers, rising, no number in two lists). A reader MUST refuse a greater version
than its own, and numbers that are not below ``n_topics``.

A group is a topic, or several merged ones; it goes by its lowest topic number and has the name of the first of its
topics that has one. No two groups have one name. Names are in Unicode's form NFC, without control characters, line
separators or surrogates, not blank, at most `LONGEST` characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.groups._document import read_document
from fastvbow.project import fingerprint_of, replace_file

__all__ = ["LONGEST", "TopicNames", "checked_name", "read_names", "write_names"]

FORMAT = "fastvbow-names"
VERSION = 1
LONGEST = 500
"""Characters of a name."""

_FORBIDDEN = {"Cc", "Cs", "Zl", "Zp"}
_STANDARD = re.compile(r"topic_(\d+)")


class TopicNames(msgspec.Struct, frozen=True):
    """The names and merged groups of one model's topics; every change gives another instance.

    Attributes
    ----------
    topics : str
        SHA-256 (hex) of the model's tensors.
    n_topics : int
    names : dict of int to str, default={}
        By topic; of merged topics, that of the first one that has a name counts.
    merged : tuple of tuple of int, default=()
        Topics that form one group, rising.
    """

    topics: str
    n_topics: int
    names: dict[int, str] = {}
    merged: tuple[tuple[int, ...], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Changes when a name or a merged group does; empty where there is neither."""
        if not self.names and not self.merged:
            return ""
        return fingerprint_of([{str(k): v for k, v in self.names.items()}, self.merged])[:16]

    def group_of(self) -> NDArray[np.int32]:
        """The group of each topic, (n_topics,): the lowest topic number in it."""
        groups = np.arange(self.n_topics, dtype=np.int32)
        for topics in self.merged:
            groups[list(topics)] = topics[0]
        return groups

    def members(self, topic: int) -> tuple[int, ...]:
        """All topics of a topic's group, rising."""
        return next((topics for topics in self.merged if topic in topics), (topic,))

    def name(self, topic: int) -> str | None:
        """The name of a topic's group."""
        return next((self.names[member] for member in self.members(topic) if member in self.names), None)

    def by_group(self) -> dict[int, str]:
        """The names of all groups that have one."""
        found = ((int(group), self.name(int(group))) for group in np.unique(self.group_of()))
        return {group: name for group, name in found if name is not None}

    def labels(self) -> list[str]:
        """What each topic's group is called where a label is needed: its name, else ``topic_07``."""
        width = max(3, len(str(self.n_topics - 1)))
        names, groups = self.by_group(), self.group_of().tolist()
        return [names.get(group, f"topic_{group:0{width}d}") for group in groups]

    def with_name(self, topic: int, name: str | None, *, merge: bool = False) -> TopicNames:
        """Give a topic's group a name, or take it away.

        Parameters
        ----------
        topic : int
        name : str or None
            None: no name any more.
        merge : bool, default=False
            Where another group has the name, the two become one.

        Raises
        ------
        UsageError
            There is no such topic; the name cannot be one; or another group has it and `merge` is False.
        """
        self._check([topic])
        members = self.members(topic)
        kept = {number: old for number, old in self.names.items() if number not in members}
        if name is None:
            return msgspec.structs.replace(self, names=kept)
        name = checked_name(name)
        standard = _STANDARD.fullmatch(name)
        if standard and int(standard[1]) != members[0]:
            raise UsageError(f"{name!r} is what topic {int(standard[1])} is called without a name: choose another")
        others = [group for group, taken in self.by_group().items() if taken == name and group != members[0]]
        if not others:
            return msgspec.structs.replace(self, names={**kept, members[0]: name})
        if not merge:
            raise UsageError(
                f"topic {others[0]} has the name {name!r} already: make the two one group with 'fastvbow merge PROJECT "
                f"{others[0]} {topic}' (or --merge), or choose another name"
            )
        return msgspec.structs.replace(self, names=kept).with_merged([others[0], topic])

    def with_merged(self, topics: Iterable[int]) -> TopicNames:
        """Make the groups of several topics one.

        Raises
        ------
        UsageError
            There is no such topic, or they are fewer than two.
        """
        asked = sorted(set(topics))
        self._check(asked)
        if len(asked) < 2:
            raise UsageError("merging takes at least two different topics, as in 'fastvbow merge PROJECT 3 7'")
        whole = tuple(sorted({member for topic in asked for member in self.members(topic)}))
        others = [group for group in self.merged if group[0] not in whole]
        return msgspec.structs.replace(self, merged=tuple(sorted([*others, whole])))

    def without_merged(self, topics: Iterable[int]) -> TopicNames:
        """Make each of some merged topics a group of its own again.

        Each has the name back that it had before; one that another group has got meanwhile is dropped.

        Raises
        ------
        UsageError
            There is no such topic, or it is not merged.
        """
        asked = sorted(set(topics))
        self._check(asked)
        alone = [topic for topic in asked if len(self.members(topic)) == 1]
        if alone or not asked:
            raise UsageError(
                f"topic {alone[0]} is not merged with another"
                if alone
                else "name the topics that shall stand alone again, as in 'fastvbow merge PROJECT 3 7 --undo'"
            )
        rest = [tuple(topic for topic in group if topic not in asked) for group in self.merged]
        parted = msgspec.structs.replace(self, merged=tuple(sorted(group for group in rest if len(group) > 1)))
        names, held = dict(self.names), set(self.by_group().values())
        regained = set(parted.by_group()) - set(self.by_group())
        for group in sorted(regained):
            name = parted.name(group)
            if name in held:
                for member in parted.members(group):
                    names.pop(member, None)
            elif name is not None:
                held.add(name)
        return msgspec.structs.replace(parted, names=names)

    def _check(self, topics: Iterable[int]) -> None:
        for topic in topics:
            if not 0 <= topic < self.n_topics:
                raise UsageError(f"there is no topic {topic}: they run from 0 to {self.n_topics - 1}")


def checked_name(name: str) -> str:
    """A name as it is kept: in Unicode's form NFC, without blanks around it.

    Raises
    ------
    UsageError
        It is blank, too long, or holds characters that no name has.
    """
    text = unicodedata.normalize("NFC", name).strip()
    if not text:
        raise UsageError("a name cannot be blank; --remove takes a name away")
    if len(text) > LONGEST:
        raise UsageError(f"the name {text[:40]!r}... has {len(text)} characters, at most {LONGEST} are possible")
    bad = next((character for character in text if unicodedata.category(character) in _FORBIDDEN), None)
    if bad is not None:
        raise UsageError(f"the name {text!r} holds {bad!r}: control characters and line breaks are refused")
    return text


class _File(msgspec.Struct, frozen=True):
    """What ``names/HEX.json`` holds."""

    format: str
    version: int
    topics: str
    n_topics: int
    names: dict[int, str]
    merged: tuple[tuple[int, ...], ...]


def write_names(path: Path, names: TopicNames) -> None:
    """Write the names of a model's topics."""
    ordered = dict(sorted(names.names.items()))
    whole = _File(FORMAT, VERSION, names.topics, names.n_topics, ordered, names.merged)
    with replace_file(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(whole)))


def read_names(path: Path) -> TopicNames:
    """Read what `write_names` wrote.

    Raises
    ------
    ProjectError
        A newer fastvbow wrote it.
    StoreCorruptError
        It cannot be read, or does not hold what it should.
    """
    remedy = "mend or move it, and name the topics again"
    found: _File = read_document(path, _File, format_name=FORMAT, version=VERSION, what="names", remedy=remedy)
    flat = [topic for group in found.merged for topic in group]
    problems = [
        found.format != FORMAT,
        any(not 0 <= topic < found.n_topics for topic in [*flat, *found.names]),
        len(set(flat)) != len(flat),
        any(len(group) < 2 or list(group) != sorted(group) for group in found.merged),
    ]
    names = TopicNames(found.topics, found.n_topics, found.names, found.merged)
    if any(problems) or len(set(names.by_group().values())) != len(names.by_group()):
        raise StoreCorruptError(
            f"{path} contradicts itself (topics out of range, in two groups, or one name for two groups): {remedy}"
        )
    return names
