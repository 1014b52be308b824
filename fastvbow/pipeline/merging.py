"""Images that wait in ``adding/`` become the last rows of all that a project holds, in one change.

What stands is not written again but for the tables of a row an image: the shards of the new images are linked behind
the others'. Small shards that many small additions leave behind are joined now and then (`layout`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastvbow.changes import complete_change, describe_change
from fastvbow.features.joining import join_shards
from fastvbow.features.store import FeatureShard
from fastvbow.groups.grouping import write_table
from fastvbow.groups.names import TopicNames, write_names
from fastvbow.groups.suggestions import write_suggestions
from fastvbow.images.joining import joined
from fastvbow.images.table import ImageTable
from fastvbow.memory import array_on_disk
from fastvbow.pipeline.additions import remembered
from fastvbow.pipeline.origin import Taken
from fastvbow.pipeline.shards import added_shards, shard_folder, shard_keys, shard_ranges
from fastvbow.pipeline.suggested_names import load_suggestions, suggestions_path
from fastvbow.pipeline.topic_names import names_path
from fastvbow.project import ProjectFolder, StageCard, replace_folder
from fastvbow.topics.lda import GibbsLDA

__all__ = ["Groups", "Learned", "layout", "merge_addition"]

FULL = 1024  # images of a shard at most
MOST_SMALL = 64  # shards of half as many images or fewer that may stand at the end
BLOCK = 1 << 16  # rows of theta that are copied at a time


@dataclass(frozen=True)
class Learned:
    """What has learned from the new images (``--update``).

    Attributes
    ----------
    model : GibbsLDA
    theta : ndarray of shape (n_images, n_topics), float64
        Of all images, under this model.
    z : callable
        Gives the topic of each token of a shard, by its number: those that stand come first, then the new images'.
    names : TopicNames
        Of the topics before.
    """

    model: GibbsLDA
    theta: NDArray[np.float64]
    z: Callable[[int], NDArray[Any]]
    names: TopicNames


@dataclass(frozen=True)
class Groups:
    """The two tables that the stage ``groups`` writes, of all images.

    Attributes
    ----------
    groups, skipped : Table
    labels : str
        What stands on the card for where the labels come from.
    """

    groups: pa.Table
    skipped: pa.Table
    labels: str


def layout(standing: Sequence[int], new: Sequence[int]) -> list[list[int]]:
    """How the shards of added images are put together.

    Where more than 64 shards of at most 512 images stand at the end, neighbours become one of up to 1024. So there are
    never many more shards than images need, and an image is copied a few times at most.

    Parameters
    ----------
    standing, new : sequence of int
        How many images the shards have, in their order: those of earlier additions, and those of this one.

    Returns
    -------
    list of list of int
        The shards to be, each as the numbers of the ones that it is made of, counted through both.
    """
    sizes = [*standing, *new]
    first = len(sizes)
    while first and sizes[first - 1] <= FULL // 2:
        first -= 1
    runs = [[i] for i in range(first)]
    if len(sizes) - first <= MOST_SMALL:
        return [[i] for i in range(len(sizes))]
    held = FULL
    for i in range(first, len(sizes)):
        if held + sizes[i] > FULL:
            runs.append([])
            held = 0
        runs[-1].append(i)
        held += sizes[i]
    return runs


def merge_addition(
    project: ProjectFolder,
    waiting: ProjectFolder,
    table: ImageTable,
    news: ImageTable,
    groups: Groups,
    taken: tuple[Taken, Taken],
    learned: Learned | None = None,
) -> None:
    """Make the images of `waiting`, whose topics are finished, the last ones of a project that is locked.

    Parameters
    ----------
    project, waiting : ProjectFolder
    table, news : ImageTable
        The images of each.
    groups : Groups
        Of all.
    taken : tuple of (Taken, Taken)
        The project's vocabulary and model, as the new images were described by them.
    learned : Learned, optional
        A model that takes the place of the project's.
    """
    with replace_folder(project.change) as folder:
        merge = _Merge(project, waiting, folder, joined(table, news))
        merge.put_shards(learned)
        merge.put("images.parquet", merge.table.write)
        merge.put("added.parquet", remembered(project, news).write)
        merge.put("groups.parquet", lambda path: write_table(groups.groups, path))
        merge.put("skipped.parquet", lambda path: write_table(groups.skipped, path))
        if learned is None:
            model = taken[1]
            merge.put("topics/theta.npy", merge.write_theta)
        else:
            merge.put("topics/theta.npy", lambda path: np.save(path, learned.theta))
            merge.put("topics/model", learned.model.save)
            model = Taken.read(folder / "topics" / "model", project.root, taken[1].parameters)
            merge.put_names(learned.names)
            merge.put_suggestions(learned.names)
        merge.put_cards(taken[0].parameters, model.parameters, groups, learned=learned is not None)
        describe_change(folder, merge.names, [*merge.removed, project.adding.name])
    complete_change(project.root)


class _Merge:
    """A change that is being prepared in a folder."""

    def __init__(self, project: ProjectFolder, waiting: ProjectFolder, folder: Path, table: ImageTable) -> None:
        self.project, self.waiting, self.folder, self.table = project, waiting, folder, table
        self.names: list[str] = []
        self.removed: list[str] = []
        self._cards = [(project.require(stage), waiting.require(stage)) for stage in ("extract", "encode", "topics")]
        outputs, theirs = (card.outputs for card in self._cards[0])
        known = added_shards(outputs)
        ranges = shard_ranges(int(outputs["images"]), known)
        self._n_first = len(ranges) - len(known)
        new = [stop - start for start, stop in shard_ranges(int(theirs["images"]))]
        self._homes = [(project, i) for i in range(len(ranges))] + [(waiting, i) for i in range(len(new))]
        sizes = [*known, *new]
        self._runs = layout(known, new)
        self._added = [sum(sizes[i] for i in run) for run in self._runs]
        self._n_before = len(ranges)

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Prepare a file or folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        self.names.append(name)

    def put_shards(self, learned: Learned | None) -> None:
        """Prepare the shards of the new images, and those that are joined, of features, tokens and topics."""
        n_images = len(self.table)
        ranges = shard_ranges(n_images, self._added)
        keys = shard_keys(self.table, self._cards[0][0].parameters, ranges[self._n_first :])
        for place, run in enumerate(self._runs, self._n_first):
            sources = [self._n_first + i for i in run]
            if sources != [place] or place >= self._n_before:
                self._put_shard(place, [self._homes[i] for i in sources], keys[place - self._n_first])
                if learned is None:
                    self._put_z(place, [_load_z(*self._homes[i]) for i in sources])
            if learned is not None:
                self._put_z(place, [learned.z(i) for i in sources])
        if learned is not None:
            for place in range(self._n_first):
                self._put_z(place, [learned.z(place)])
        for place in range(len(ranges), self._n_before):
            shard = f"shard-{place:05d}"
            self.removed += [f"features/{shard}", f"tokens/{shard}", f"topics/z/{shard}.npy"]

    def _put_shard(self, place: int, homes: Sequence[tuple[ProjectFolder, int]], key: str) -> None:
        shards = [FeatureShard(shard_folder(*home)) for home in homes]
        tokens = [home.tokens / f"shard-{i:05d}" for home, i in homes]
        name = f"shard-{place:05d}"
        if len(homes) == 1:
            self.put(f"features/{name}", lambda path: _link_shard(shards[0], path, key))
            self.put(f"tokens/{name}", lambda path: _link_folder(tokens[0], path))
        else:
            self.put(f"features/{name}", lambda path: join_shards(shards, path, key))
            self.put(f"tokens/{name}", lambda path: _join_tokens(tokens, path))

    def _put_z(self, place: int, parts: Sequence[NDArray[Any]]) -> None:
        self.put(f"topics/z/shard-{place:05d}.npy", lambda path: np.save(path, np.concatenate(parts)))

    def write_theta(self, path: Path) -> None:
        """The mixtures, those of the new images behind the others."""
        parts = [np.load(home.topics / "theta.npy", mmap_mode="r") for home in (self.project, self.waiting)]
        shape = (sum(len(part) for part in parts), parts[0].shape[1])
        whole, at = array_on_disk(path, parts[0].dtype, shape), 0
        for part in parts:
            for start in range(0, len(part), BLOCK):
                rows = part[start : start + BLOCK]
                whole[at : at + len(rows)] = rows
                at += len(rows)
        whole.flush()

    def put_names(self, names: TopicNames) -> None:
        """Names and merged groups belong to a model's bytes: these topics are those that were named, and keep them."""
        if not names.fingerprint:
            return
        topics = self._new_topics()
        final = names_path(self.project, topics)
        self.put(f"names/{final.name}", lambda path: write_names(path, msgspec.structs.replace(names, topics=topics)))

    def put_suggestions(self, names: TopicNames) -> None:
        """The names that were suggested for these topics stay suggested, as those that were given stay."""
        if (found := load_suggestions(self.project, names)) is not None:
            topics = self._new_topics()
            final = suggestions_path(self.project, topics)
            self.put(
                f"names/{final.name}",
                lambda path: write_suggestions(path, msgspec.structs.replace(found, topics=topics)),
            )

    def _new_topics(self) -> str:
        """SHA-256 of the model that takes the place of the project's."""
        manifest = self.folder / "topics" / "model" / "manifest.json"
        return str(msgspec.json.decode(manifest.read_bytes(), type=dict[str, Any])["sha256"])

    def put_cards(self, vocabulary: dict[str, Any], topics: dict[str, Any], groups: Groups, *, learned: bool) -> None:
        """Prepare the cards, each of which feeds the next one."""
        (extract, described), (encode, encoded), (modelled, inferred) = self._cards
        worded, grouped = self.project.require("vocabulary"), self.project.require("groups")
        place = {"taken from": "this project, before photographs were added"}
        # for how well others fit: what has learned from all anew says nothing of this
        before = {"vocabulary": worded.fingerprint, "images": extract.outputs["images"]}
        extract = msgspec.structs.replace(
            extract,
            inputs={"images": self.table.fingerprint()},
            outputs=self._extracted(extract.outputs, described.outputs),
            seconds=_sum(extract, described),
            content=self._content(),
        )
        worded = msgspec.structs.replace(
            worded,
            parameters=vocabulary,
            inputs={"extract": extract.fingerprint},
            outputs={**place, "before additions": before} | worded.outputs,
        )
        encode = msgspec.structs.replace(
            encode,
            inputs={"vocabulary": worded.fingerprint},
            outputs={**encode.outputs, "tokens": encode.outputs["tokens"] + encoded.outputs["tokens"]},
            seconds=_sum(encode, encoded),
        )
        modelled = msgspec.structs.replace(
            modelled,
            parameters=topics,
            inputs={"encode": encode.fingerprint},
            outputs=_learned(modelled.outputs) if learned else place | modelled.outputs,
            seconds=_sum(modelled, inferred),
        )
        grouped = msgspec.structs.replace(
            grouped,
            parameters={**grouped.parameters, "labels": groups.labels},
            inputs={"topics": modelled.fingerprint},
            outputs={
                "grouped": len(groups.groups),
                "skipped": len(groups.skipped),
                "groups": len(groups.groups["topic"].unique()),
                "labelled": len(groups.groups) - groups.groups["label"].null_count,
            },
        )
        for card in (extract, worded, encode, modelled, grouped):
            self.put(f"stages/{card.stage}.json", partial(_write_card, card))

    def _extracted(self, known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        counted = ["images", "skipped", *(name for name in known if name.endswith(" features"))]
        reasons = Counter(known.get("reasons", {})) + Counter(new.get("reasons", {}))
        sums = {name: known[name] + new.get(name, 0) for name in counted}
        return {**known, **sums, "reasons": dict(reasons), "added": self._added}

    def _content(self) -> str:
        """What the features of all images are, as `fastvbow.pipeline.extract` sums it up."""
        content = hashlib.sha256()
        for place in range(self._n_first + len(self._runs)):
            prepared = self.folder / "features" / f"shard-{place:05d}"
            home = prepared if prepared.exists() else shard_folder(self.project, place)
            content.update((home / "card.json").read_bytes())
        return content.hexdigest()


def _write_card(card: StageCard, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(card)))


def _learned(outputs: dict[str, Any]) -> dict[str, Any]:
    """What the card of ``topics`` counts, without what was said of the model before."""
    kept = {name: value for name, value in outputs.items() if name != "log likelihood a token"}
    return kept | {"taken from": "this project, and trained further on photographs that were added"}


def _sum(one: StageCard, other: StageCard) -> float:
    return round(one.seconds + other.seconds, 3)


def _load_z(project: ProjectFolder, index: int) -> NDArray[Any]:
    z: NDArray[Any] = np.load(project.topics / "z" / f"shard-{index:05d}.npy", mmap_mode="r")
    return z


def _link_shard(shard: FeatureShard, folder: Path, key: str) -> None:
    """A shard under another name; where its vectors come from a file of their own, under the project's key."""
    _link_folder(shard.folder, folder)
    if shard.card.key != key:
        card = msgspec.structs.replace(shard.card, key=key)
        (folder / "card.json").unlink()  # which is the other one's, too
        (folder / "card.json").write_bytes(msgspec.json.format(msgspec.json.encode(card)))


def _link_folder(source: Path, folder: Path) -> None:
    """The files of a folder in another one as well, copied where the file system knows no links."""
    folder.mkdir()
    for path in sorted(source.iterdir()):
        try:
            os.link(path, folder / path.name)
        except OSError:
            shutil.copyfile(path, folder / path.name)


def _join_tokens(sources: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for name in ("words.npy", "counts.npy"):
        np.save(folder / name, np.concatenate([np.load(source / name, mmap_mode="r") for source in sources]))
