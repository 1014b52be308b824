"""The parameters of each stage and their defaults: the one place where a default stands.

The command line shows these, the functions of `fastvbow.pipeline` take them, the stage cards record them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from fastvbow.errors import UsageError

__all__ = [
    "EXECUTORS",
    "FEATURES",
    "FUSIONS",
    "MODALITIES",
    "TRAININGS",
    "ClusterConfig",
    "EncodeConfig",
    "ExtractConfig",
    "ExtractOptions",
    "StudyGrid",
    "TopicsConfig",
    "VocabularyConfig",
]

MODALITIES = {"sift": ("sift",), "cnn": ("conv", "pooled"), "embeddings": ("pooled",)}
"""What each kind of feature gives: keypoints; the locations of a CNN's map and its pooled vector; a vector that another
program has made."""
FEATURES = ("sift", "cnn")
EXECUTORS = ("threads", "processes")
_MODEL = "efficientnet_lite0_int8"
FUSIONS = ("separate", "joint")
TRAININGS = ("sample", "all")
_MOST = 2**31 - 1
_MOST_SEED = 2**32 - 1
_MOST_TOPICS = 50


class ExtractConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Photographs to local features.

    Attributes
    ----------
    features : tuple of {"sift", "cnn", "embeddings"}, default=("sift", "cnn")
        Where `embeddings` are given, "cnn" means these.
    keypoints : int, default=300
        At most so many SIFT keypoints a photograph.
    side : int, default=256
        Longest side, in pixels, at which SIFT looks.
    model : str, default="efficientnet_lite0_int8"
        The CNN, by the name of its card.
    embeddings : Path, optional
        A file of the photographs' vectors, which take the CNN's place (see `fastvbow.features.embeddings`).
    decoded_side : int or None, default=0
        Pixels that the longer side of a large photograph is shrunk to at least when it is decoded; 0 follows from
        `side`, None decodes all whole, as the first projects did.
    """

    features: tuple[str, ...] = FEATURES
    keypoints: int = 300
    side: int = 256
    model: str = _MODEL
    embeddings: Path | None = None
    decoded_side: int | None = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.features if name not in MODALITIES]
        if self.embeddings is not None:
            named = tuple("embeddings" if name == "cnn" else name for name in self.features)
            msgspec.structs.force_setattr(self, "features", named)
        if unknown or not self.features or len(set(self.features)) != len(self.features):
            raise UsageError(
                f"--features takes {', '.join(FEATURES)} or both, not {','.join(self.features) or 'nothing'}"
            )
        if self.embeddings is not None and "embeddings" not in self.features:
            raise UsageError(
                f"--embeddings takes the place of the CNN, which --features {','.join(self.features)} leaves out: add "
                "embeddings there, or leave the file out"
            )
        if self.embeddings is not None and self.model != _MODEL:
            raise UsageError("--model names a CNN, whose place --embeddings takes: leave out one of them")
        _within("--keypoints", self.keypoints, 1, _MOST)
        _within("--side", self.side, 32, _MOST)
        _within("decoded_side", self.decoded_side or 0, 0, _MOST)


class ExtractOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How extraction goes about it. Nothing here, but for `batch`, changes what is found in a photograph.

    Attributes
    ----------
    executor : {"threads", "processes"}, default="threads"
        What the workers are.
    max_memory : int, default=0
        Bytes that decoded photographs may take at once, over all workers; a photograph that needs more is skipped. 0 is
        half of the machine's memory.
    retry : {"", "failed"}, default=""
        "failed" looks again at photographs that were skipped.
    max_error_rate : float, default=1.0
        Extraction stops where more than this share of the photographs, 100 at least, cannot be read.
    limit : int, default=0
        Only the first so many photographs, in the order of their paths; 0 is all.
    batch : int, default=0
        Photographs that the CNN takes at a time, a power of two; 0 is 32 on a GPU, and one on the CPU, where batches
        are slower. The CNN's features may depend on it in their last bits.
    """

    executor: str = "threads"
    max_memory: int = 0
    retry: str = ""
    max_error_rate: float = 1.0
    limit: int = 0
    batch: int = 0

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise UsageError(f"--executor is one of {', '.join(EXECUTORS)}, not {self.executor}")
        if self.retry not in ("", "failed"):
            raise UsageError(f"--retry takes failed, not {self.retry}")
        if not 0 <= self.max_error_rate <= 1:
            raise UsageError(f"--max-error-rate is from 0 to 1, not {self.max_error_rate:g}")
        _within("--limit", self.limit, 0, _MOST)
        if self.batch < 0 or self.batch > 4096 or self.batch & (self.batch - 1):
            raise UsageError(f"--batch is 0 or a power of two up to 4096, not {self.batch}")
        if self.max_memory and self.max_memory < 2**24:
            raise UsageError(f"--max-memory is at least 16M, not {self.max_memory} bytes")


class VocabularyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Local features to a vocabulary.

    Attributes
    ----------
    words : int, default=300
        Visual words in all, split over the modalities (see `fastvbow.words.shares.share_words`).
    sample : int, default=200_000
        At most so many descriptors of a modality train its words; they are drawn evenly over the corpus.
    seed : int, default=0
    fusion : {"separate", "joint"}, default="separate"
        Words of their own for keypoints and for the CNN's map, or joint ones, of a keypoint and the map at its place
        (see `fastvbow.words.joint`).
    map_share : float, default=0.25
        Part of the map in a joint word's squared distance, between 0 and 1.
    train : {"sample", "all"}, default="sample"
        What the words are learned from: the sample, or every descriptor of every photograph, shard by shard (see
        `fastvbow.words.sharded`; the projection of CNN vectors is that of the sample all the same).
    """

    words: int = 300
    sample: int = 200_000
    seed: int = 0
    fusion: str = "separate"
    map_share: float = 0.25
    train: str = "sample"

    @property
    def parameters(self) -> dict[str, Any]:
        """What the words depend on: without `fusion` where they are separate, and without `train` where that is the
        sample, as in projects that did not know them."""
        known = msgspec.structs.asdict(self)
        left_out: tuple[str, ...] = ("fusion", "map_share") if self.fusion != "joint" else ()
        left_out += ("train",) if self.train == "sample" else ()
        return {name: value for name, value in known.items() if name not in left_out}

    def __post_init__(self) -> None:
        _within("--words", self.words, 1, _MOST)
        _within("--sample", self.sample, 1, _MOST)
        _within("--seed", self.seed, 0, _MOST_SEED)
        if self.fusion not in FUSIONS:
            raise UsageError(f"--fusion is one of {', '.join(FUSIONS)}, not {self.fusion}")
        if self.train not in TRAININGS:
            raise UsageError(f"--train is one of {', '.join(TRAININGS)}, not {self.train}")
        if not 0 < self.map_share < 1:
            raise UsageError(f"map_share is between 0 and 1, not {self.map_share}")


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Vectors to clusters, without words and topics.

    Attributes
    ----------
    method : {"kmeans", "tac", "tac-trained", "cae", "sic", "icbpl"}, default="kmeans"
        See `fastvbow.semantic.methods.METHODS`.
    clusters : int, default=20
    seed : int, default=0
    options : dict, default={}
        Parameters of the method's estimator in `fastvbow.semantic`, by their names there.
    """

    method: str = "kmeans"
    clusters: int = 20
    seed: int = 0
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        _within("--clusters", self.clusters, 1, 65535)
        _within("--seed", self.seed, 0, _MOST_SEED)


class EncodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Local features to words.

    Attributes
    ----------
    pooled_tokens : int, default=300
        A photograph's pooled vector is spread over so many tokens.
    pooled_neighbours : int, default=8
        They fall on so many of the nearest words.
    pooled_temperature : float, default=0.4
        In proportion to softmax(-d^2 / temperature), d the distance between unit vectors.
    """

    pooled_tokens: int = 300
    pooled_neighbours: int = 8
    pooled_temperature: float = 0.4

    def __post_init__(self) -> None:
        _within("pooled_tokens", self.pooled_tokens, 1, _MOST)
        _within("pooled_neighbours", self.pooled_neighbours, 1, _MOST)
        if not 0 < self.pooled_temperature < float("inf"):
            raise UsageError(f"pooled_temperature is above 0, not {self.pooled_temperature}")


class StudyGrid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a study: every combination of words, keypoints, topics and seeds is a cell.

    Attributes
    ----------
    words : tuple of int, default=(150, 200, 300)
    keypoints : tuple of int, default=(150, 200, 300, 400)
    topics : tuple of (int or "labels"), default=(20, 50, 100)
        "labels" stands for the number of labels.
    seeds : tuple of int, default=(0, 1, 2)
        Each is the seed of the words and of the topics.
    features : tuple of {"sift", "cnn"}, default=("sift", "cnn")
    validation : float, default=0.2
        Share of the photographs of each label that neither words nor topics are learned from; 0: none.
    sweeps : int, default=200
        Gibbs sweeps over the corpus.
    """

    words: tuple[int, ...] = (150, 200, 300)
    keypoints: tuple[int, ...] = (150, 200, 300, 400)
    topics: tuple[int | Literal["labels"], ...] = (20, 50, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    features: tuple[str, ...] = FEATURES
    validation: float = 0.2
    sweeps: int = 200

    def __post_init__(self) -> None:
        for name in ("words", "keypoints", "topics", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                given = ",".join(map(str, values)) or "nothing"
                raise UsageError(f"--{name} takes one or more different numbers with commas, not {given}")
        ExtractConfig(features=self.features)
        for count in self.keypoints:
            _within("--keypoints", count, 1, _MOST)
        for count in self.words:
            _within("--words", count, 1, _MOST)
        for number in self.topics:
            if number != "labels":
                _within("--topics", number, 2, 65535)
        for seed in self.seeds:
            _within("--seeds", seed, 0, _MOST_SEED)
        _within("--sweeps", self.sweeps, 1, _MOST)
        if not 0 <= self.validation <= 0.9:
            raise UsageError(f"--validation is a share from 0 to 0.9, not {self.validation:g}")


class TopicsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words to topics.

    Attributes
    ----------
    topics : int or "auto", default=20
        "auto" proposes a number from the photographs (`fastvbow.topics.topic_number`).
    most_topics : int, default=50
        The most that "auto" proposes.
    sweeps : int, default=200
        Gibbs sweeps over the corpus.
    weights : dict of str to float, default={"sift": 1, "conv": 1, "pooled": 1, "joint": 1}
        How much a token of each modality counts (a multiple of 1/64). A photograph has up to 300 tokens of SIFT,
        49 of the map and 300 of the pooled vector; ``joint`` ones stand for the first two where these are fused.
    seed : int, default=0
    walks : int, default=0
        Parts of the corpus that are sampled side by side (`GibbsLDA.n_walks`); 0: one for 250,000 tokens, 16 at most.
    merge_every : int, default=5
        Sweeps after which they put their counts together (`GibbsLDA.merge_every`, whose default is 1: here walks may
        be on other machines, and no measure of the groups tells the two apart).
    """

    topics: int | Literal["auto"] = 20
    most_topics: int = _MOST_TOPICS
    sweeps: int = 200
    weights: dict[str, float] = msgspec.field(
        default_factory=lambda: {"sift": 1.0, "conv": 1.0, "pooled": 1.0, "joint": 1.0}
    )
    seed: int = 0
    walks: int = 0
    merge_every: int = 5

    @property
    def parameters(self) -> dict[str, Any]:
        """What the topics depend on: without what means nothing, or is as it was when no card told it."""
        known = msgspec.structs.asdict(self)
        left_out = {
            "most_topics": self.topics != "auto",
            "walks": self.walks == 0,
            "merge_every": self.merge_every == 1,
        }
        return {name: known[name] for name in known if not left_out.get(name)}

    def __post_init__(self) -> None:
        if isinstance(self.topics, int):
            _within("--topics", self.topics, 1, 65535)
        elif self.topics != "auto":
            raise UsageError(f"--topics takes a number or auto, not {self.topics}")
        _within("--most-topics", self.most_topics, 2, 65535)
        if self.topics != "auto" and self.most_topics != _MOST_TOPICS:
            raise UsageError("--most-topics bounds what --topics auto proposes: leave it out, or pass --topics auto")
        _within("--sweeps", self.sweeps, 1, _MOST)
        _within("--seed", self.seed, 0, _MOST_SEED)
        _within("--walks", self.walks, 0, 99_999)
        _within("--merge-every", self.merge_every, 1, _MOST)
        bad = [name for name, weight in self.weights.items() if not 1 / 64 <= weight <= 1 << 20]
        known = {name for names in MODALITIES.values() for name in names}
        if bad or known != self.weights.keys() - {"joint"}:
            raise UsageError(
                f"--weights takes numbers from 1/64 on for sift, conv, pooled and joint, not {self.weights}"
            )
        msgspec.structs.force_setattr(self, "weights", {**self.weights, "joint": self.weights.get("joint", 1.0)})


def _within(option: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        bound = f"at least {least}" if value < least else f"at most {most}"
        raise UsageError(f"{option} is {bound}, not {value}")
