"""A finished project that another one takes its vocabulary and model from: read once, before any work, never locked.

What is taken over is held in memory from then on, so that the project may change or go while photographs are extracted
for hours: what its cards said is what is written.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.config import EncodeConfig, ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.errors import ProjectError, StoreCorruptError, UsageError
from fastvbow.features.embeddings import EmbeddingFile
from fastvbow.groups.names import TopicNames
from fastvbow.images.table import readable
from fastvbow.pipeline.describing import check_embeddings, config_of, parameters_of
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder, StageCard, fingerprint_of
from fastvbow.topics.lda import GibbsLDA
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["Origin", "Taken"]

_FIELDS = {"sift": ("keypoints", "side"), "cnn": ("model",), "embeddings": ()}
"""What a person says of each kind of feature."""


@dataclass(frozen=True)
class Taken:
    """What is taken over of a stage.

    Attributes
    ----------
    place : str
        The project that it comes from, for people: another project with the same files is as good.
    parameters : dict
        Those of its card there, and as ``origin`` the fingerprint of the files.
    files : dict of str to bytes
    """

    place: str
    parameters: dict[str, Any]
    files: dict[str, bytes]

    @classmethod
    def read(cls, folder: Path, root: Path, parameters: Mapping[str, Any]) -> Taken:
        """Take over the files of a folder of the project at `root`."""
        try:
            files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        except OSError as error:
            raise StoreCorruptError(f"cannot read {folder}: {error.strerror}") from None
        origin = fingerprint_of({name: sha256(content).hexdigest() for name, content in files.items()})
        return cls(readable(os.fsencode(root.absolute())), {**parameters, "origin": origin}, files)

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


@dataclass(frozen=True)
class Origin:
    """What another project takes over. Open it with `Origin.open`.

    Attributes
    ----------
    root : Path
    extract_config : ExtractConfig
    encode_config : EncodeConfig
    vocabulary : Taken
    model : Taken or None
        None where topics are trained anew.
    names : TopicNames or None
        Those of the model's topics.
    """

    root: Path
    extract_config: ExtractConfig
    encode_config: EncodeConfig
    vocabulary: Taken
    model: Taken | None
    names: TopicNames | None = None

    @classmethod
    def open(cls, root: Path, project: Path, *, refit: bool = False, embeddings: EmbeddingFile | None = None) -> Origin:
        """Read what is taken over.

        Parameters
        ----------
        root : Path
            The project that it is taken from.
        project : Path
            The one that takes it; it need not be there yet.
        refit : bool, default=False
            Take the vocabulary, not the model.
        embeddings : EmbeddingFile, optional
            Those of the photographs of `project`, where there are such.

        Raises
        ------
        UsageError
            `project` is the same, or lies inside; or its `embeddings` are lacking, too many, or do not fit.
        ProjectError, StageMissingError, StoreCorruptError
            `root` is no project, of a newer format, not finished, damaged, being worked on, or its photographs were
            described by what is not installed here.
        """
        if project.resolve() == root.resolve():
            raise UsageError(f"the project {project} cannot be made --from itself: choose another -o")
        if project.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"the project {project} lies inside {root}, which --from only reads: choose another -o")
        return cls.read(ProjectFolder.open(root), refit=refit, embeddings=embeddings)

    @classmethod
    def read(cls, folder: ProjectFolder, *, refit: bool = False, embeddings: EmbeddingFile | None = None) -> Origin:
        """Read what is taken over from an open project, by another one or for its own further photographs.

        Parameters
        ----------
        folder : ProjectFolder
        refit : bool, default=False
        embeddings : EmbeddingFile, optional
            As `open` takes them.

        Raises
        ------
        UsageError, ProjectError, StageMissingError, StoreCorruptError
            As `open`.
        """
        root = folder.root
        stages = ["extract", "vocabulary", "encode", *([] if refit else ["topics"])]
        cards = {stage: folder.require(stage) for stage in stages}
        described = cards["extract"].parameters
        check_embeddings(root, described, embeddings)
        config = _installed(root, described)
        if embeddings is not None:
            config = msgspec.structs.replace(config, embeddings=embeddings.path)
        words = Vocabulary.load(folder.vocabulary).n_words
        vocabulary = Taken.read(folder.vocabulary, root, cards["vocabulary"].parameters)
        model = None
        if not refit:
            path = folder.topics / "model"
            if (trained := GibbsLDA.load(path).n_features_in_) != words:
                raise StoreCorruptError(f"{path} knows {trained} words, {folder.vocabulary} has {words}: train it anew")
            model = Taken.read(path, root, _trained(cards["topics"]))
        # A writer takes a stage's card away before it touches the output: equal cards before and after, equal output.
        if any(folder.card(stage) != card for stage, card in cards.items()):
            raise ProjectError(f"another fastvbow process is working on {root}: wait for it to end")
        names = None if refit else load_names(folder, by="topics")
        return cls(root, config, _encoding(root, cards["encode"].parameters), vocabulary, model, names)

    def check(self, asked: Collection[str] | None, *configs: msgspec.Struct | None) -> None:
        """Raise a UsageError where something else is asked for than there is.

        Parameters
        ----------
        asked : collection of str or None
            The fields of `configs` that were asked for; None: all.
        *configs : ExtractConfig, VocabularyConfig, EncodeConfig, TopicsConfig or None
            None: nothing of that kind was asked for.
        """
        told, advice = [], "leave out what differs"
        for config in filter(None, configs):
            known = self._known(config)
            for name in config.__struct_fields__:
                value = getattr(config, name)
                if name in known and (asked is None or name in asked) and not _agree(value, known[name]):
                    told.append(f"--{name.replace('_', '-')} {_shown(known[name])}, not {_shown(value)}")
                    if isinstance(config, TopicsConfig):
                        advice = "leave out what differs, or add --refit to train topics anew"
        if told:
            raise UsageError(f"{self.root} was made with {'; '.join(dict.fromkeys(told))}: {advice}")

    def _known(self, config: msgspec.Struct) -> Mapping[str, Any]:
        """What the fields of a configuration of this kind have to be, as far as they mean anything here."""
        if isinstance(config, TopicsConfig):
            return {"walks": 0, **self.model.parameters} if self.model else {}
        if isinstance(config, VocabularyConfig):
            free = () if self.model else ("seed",)  # it is that of the topics, too, which are trained anew
            recorded = {"fusion": "separate", "train": "sample", **self.vocabulary.parameters}
            return {name: value for name, value in recorded.items() if name not in free}
        if isinstance(config, EncodeConfig):
            return msgspec.structs.asdict(self.encode_config)
        known: dict[str, Any] = {"features": self.extract_config.features}
        for feature in known["features"]:
            known |= {name: getattr(self.extract_config, name) for name in _FIELDS[feature]}
        return known


def _installed(root: Path, described: Mapping[str, Any]) -> ExtractConfig:
    """How the photographs of a project were described, once it is known that others can be described alike."""
    try:
        config = config_of(described)
        here = parameters_of(config)
    except UsageError as error:
        raise ProjectError(f"cannot describe photographs as {root} does: {error}") from None
    for feature, known in described.items():
        for name, value in known.items() if feature != "embeddings" else ():  # every corpus has its own
            if (found := here.get(feature, {}).get(name)) != value:
                what = f"{feature} with {name} {value}"
                raise ProjectError(f"cannot describe photographs as {root} does: it has {what}, installed is {found}")
    return config


def _trained(card: StageCard) -> dict[str, Any]:
    """The parameters of a model, with the number of its topics where that was proposed there."""
    parameters = {name: value for name, value in card.parameters.items() if name != "most_topics"}
    return parameters | {"topics": card.outputs["topics"]}


def _encoding(root: Path, parameters: Mapping[str, Any]) -> EncodeConfig:
    try:
        return msgspec.convert(dict(parameters), EncodeConfig)
    except msgspec.ValidationError as error:
        raise ProjectError(f"{root} gives features their words as this fastvbow cannot ({error}): upgrade it") from None


def _agree(asked: Any, known: Any) -> bool:
    if isinstance(known, Mapping):  # the weights of the modalities that there are
        return all(asked.get(name) == value for name, value in known.items())
    if isinstance(known, list | tuple):
        return set(asked) == set(known)
    return bool(asked == known)


def _shown(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={weight:g}" for name, weight in value.items())
    return ",".join(value) if isinstance(value, list | tuple) else str(value)
