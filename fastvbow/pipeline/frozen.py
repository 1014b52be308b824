"""What a finished project makes of a further photograph: the features it wants of it, and their shares of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ProjectError
from fastvbow.features.base import Extractor, ImmediateExtractor, LocalFeatures, Modality, whole_keypoint
from fastvbow.pipeline.clustering import LEAST
from fastvbow.pipeline.describing import LEAST_SIDE, check_same_model, config_of, decoded_side, make_extractors
from fastvbow.pipeline.mixtures import grouped_by, model_of
from fastvbow.pipeline.spaces import Space, open_space
from fastvbow.project import ProjectFolder
from fastvbow.semantic.persistence import load_estimator
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.stream import TokenStream
from fastvbow.words.joint import Located, features_for
from fastvbow.words.tokens import encode
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["Frozen", "FrozenClusters", "FrozenTopics", "Words", "open_frozen"]


Words = tuple[NDArray[Any], NDArray[np.int32]]
"""The words of a photograph, and how many each kind has: see `fastvbow.words.tokens.encode`."""


class FrozenTopics:
    """A vocabulary and a topic model. Threads may share it.

    Parameters
    ----------
    project : ProjectFolder
        Its topics have to be finished.
    device : {"auto", "cpu", "cuda"}
        Where the CNN runs.

    Attributes
    ----------
    model : GibbsLDA
    vocabulary : Vocabulary
    n_groups : int
    least_side : int or None
        See `fastvbow.images.decode.examine`.
    asked : mapping
        What the features depend on (`fastvbow.pipeline.describing.parameters_of`).
    """

    def __init__(self, project: ProjectFolder, device: str) -> None:
        project.require("topics")
        self.asked = project.require("extract").parameters
        if "cnn" in self.asked:
            check_same_model(self.asked["cnn"])
        self._config, self._device = config_of(self.asked), device
        self.least_side = decoded_side(self._config)
        self.vocabulary: Vocabulary = Vocabulary.load(project.vocabulary)
        self._encoding = dict(project.require("encode").parameters)
        self.model = GibbsLDA.load(project.topics / "model")
        self.n_groups = self.model.n_components

    def make_extractors(self) -> Sequence[Extractor]:
        """Extractors of what is wanted of a photograph, with sessions of their own."""
        return make_extractors(self._config, self._device)

    def shares(self, found: Mapping[str, LocalFeatures]) -> tuple[NDArray[np.float64], Words | None]:
        """The mixture of topics of a photograph with these features, (n_groups,), and its words."""

        def located(name: str) -> Located:
            of = found[name]
            return Located(of.descriptors, of.keypoints, np.array([0, len(of.descriptors)]))

        features = features_for(self.vocabulary.codebooks, located)
        words, counts = encode(self.vocabulary, features, **self._encoding)
        stream = TokenStream(words, np.array([0, int(counts.sum())], dtype=np.int64), self.vocabulary.n_words)
        return self.model.transform(stream)[0], (words, counts)


class FrozenClusters:
    """Clusters of vectors. Threads may share it.

    Parameters
    ----------
    project : ProjectFolder
        Its clusters have to be finished.
    device : {"auto", "cpu", "cuda"}
        Where the encoder runs.

    Attributes
    ----------
    model : an estimator of `fastvbow.semantic`
    vocabulary : None
    n_groups : int
    least_side : int or None
    asked : mapping
        See `FrozenTopics`; empty where a space's own encoder looks at photographs.
    """

    vocabulary: Vocabulary | None = None

    def __init__(self, project: ProjectFolder, device: str) -> None:
        parameters = project.require("cluster").parameters
        self.model = load_estimator(model_of(project, "cluster"))
        self.n_groups, self._device = int(parameters["clusters"]), device
        name, _, known = str(parameters["space"]).partition(" ")
        self._space = name if known and parameters["images"] == "encode" else ""
        if self._space:
            space = open_space(name, device=device)
            if not space.fingerprint.startswith(known):
                raise ProjectError(
                    f"the space {name} is another one than that of the clusters of {project.root}: add the former one "
                    "again, or run 'fastvbow cluster' anew"
                )
            self.asked: Mapping[str, Any] = {}
            self.least_side: int | None = max(LEAST_SIDE, space.card.image.side if space.card.image else 0)
            return
        extracted = project.require("extract").parameters
        self.asked = {name: of for name, of in extracted.items() if name in {"cnn", "embeddings"}}
        if "cnn" in self.asked:
            check_same_model(self.asked["cnn"])
        self._config = config_of(self.asked)
        # as all kinds together were decoded: the pooled vector must be that of the project, to the last bit
        self.least_side = decoded_side(config_of(extracted))

    def make_extractors(self) -> Sequence[Extractor]:
        """Extractors of what is wanted of a photograph, with sessions of their own."""
        if self._space:
            return [_SpaceExtractor(open_space(self._space, device=self._device))]
        return make_extractors(self._config, self._device)

    def shares(self, found: Mapping[str, LocalFeatures]) -> tuple[NDArray[np.float64], Words | None]:
        """The estimator's probabilities, as `fastvbow.pipeline.clustering` keeps them, (n_groups,), and no words."""
        vector = found["space" if self._space else "pooled"].descriptors[:1].astype(np.float32)
        if not vector.any():
            return np.full(self.n_groups, 1 / self.n_groups), None
        shares = self.model.predict_proba(vector)[0].astype(np.float64) + LEAST
        return shares / shares.sum(), None


class _SpaceExtractor(ImmediateExtractor):
    """A photograph's vector in a space, as a feature of its own."""

    def __init__(self, space: Space) -> None:
        self._space = space

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """See `Extractor.modalities`."""
        return (Modality("space", self._space.width, "float32"),)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """See `Extractor.parameters`."""
        return {"space": self._space.fingerprint}

    def begin(self, image: NDArray[np.uint8]) -> Any:
        """See `Extractor.begin`."""
        found = {"space": LocalFeatures(whole_keypoint(*image.shape[:2]), self._space.describe(image)[None])}
        return lambda: found


Frozen = FrozenTopics | FrozenClusters


def open_frozen(project: ProjectFolder, device: str) -> Frozen:
    """What a project's photographs are grouped by, ready for further ones.

    Parameters
    ----------
    project : ProjectFolder
    device : {"auto", "cpu", "cuda"}
        Where encoders run.

    Raises
    ------
    StageMissingError, StoreCorruptError, ProjectError
        It is not finished, damaged, or another model or space has the name of its own now.
    """
    return FrozenTopics(project, device) if grouped_by(project) == "topics" else FrozenClusters(project, device)
