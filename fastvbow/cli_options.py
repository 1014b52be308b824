"""The options that several commands of `fastvbow.cli` share, with what their help says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from fastvbow.config import ExtractConfig, ExtractOptions, TopicsConfig
from fastvbow.errors import UsageError

__all__ = [
    "asked_for",
    "bytes_of",
    "extract_config",
    "extract_options",
    "features_of",
    "numbers_of",
    "topics_config",
    "topics_of",
    "weights_of",
    "weights_text",
]

Source = Annotated[Path, typer.Argument(help="Folder of photographs, list of paths, .tar or Parquet; only read.")]
ProjectArgument = Annotated[Path, typer.Argument(help="Project folder, made by 'run' or 'extract'.")]
ProjectOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="PROJECT", help="Project folder; made if missing.")
]
Origin = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="PROJECT",
        help="Train nothing: take the words, the model and the options behind them from this finished project.",
    ),
]
Refit = Annotated[bool, typer.Option("--refit", help="With --from: take the words alone and train topics anew.")]
Features = Annotated[
    str, typer.Option(help="Which features: sift, cnn or sift,cnn; cnn means the embeddings where such are given.")
]
Embeddings = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Vectors of the photographs, .parquet or .npy, that take the CNN's place."),
]
Model = Annotated[str, typer.Option(help="The CNN; 'fastvbow models list' shows which there are.")]
Keypoints = Annotated[int, typer.Option(help="At most so many SIFT keypoints an image.")]
Side = Annotated[int, typer.Option(help="Longest side, in pixels, at which SIFT looks.")]
Fusion = Annotated[
    str, typer.Option(help="separate: words for SIFT and for the CNN's map; joint: for both at a keypoint's place.")
]
Train = Annotated[str, typer.Option(help="What words are learned from: a sample of the descriptors, or all.")]
Words = Annotated[int, typer.Option(help="Visual words in all.")]
TopicCount = Annotated[
    str,
    typer.Option(
        "--topics", metavar="NUMBER|auto", help="Topics, hence groups at most; auto: proposed from the photographs."
    ),
]
MostTopics = Annotated[int, typer.Option(help="The most topics that auto proposes.")]
Sweeps = Annotated[int, typer.Option(help="Gibbs sweeps over the corpus.")]
Walks = Annotated[
    int, typer.Option(help="Parts of the corpus that are sampled side by side; 0: by its size, 16 at most.")
]
MergeEvery = Annotated[int, typer.Option(help="Sweeps after which these parts put their counts together.")]
Weights = Annotated[str, typer.Option(help="How much a word of each modality counts.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same groups.")]
ChoiceSeed = Annotated[int, typer.Option(help="The same seed chooses the same photographs.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Threads; -1: one a processor. Changes no result.")]
Device = Annotated[str, typer.Option(help="Where the CNN runs: auto, cpu or cuda.")]
Labels = Annotated[
    str,
    typer.Option(
        help="Known labels: parent (the folder's name), scene or object (of ADE20K's files, or masks), project (those "
        "imported into it), none, or a CSV file with path,label."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")]
Executor = Annotated[str, typer.Option(help="What the workers are: threads, processes (which only extract) or dask.")]
Scheduler = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS|FILE",
        help="Dask's scheduler, by its address or file; a cluster of this machine's processes if empty.",
    ),
]
MaxMemory = Annotated[
    str, typer.Option(help="Memory for decoded photographs, as 800M or 4G; half of the machine's if empty.")
]
Retry = Annotated[str, typer.Option(help="failed: look at skipped photographs again.")]
MaxErrorRate = Annotated[float, typer.Option(help="Stop where a larger share of the photographs cannot be read.")]
Limit = Annotated[int, typer.Option(help="Only the first so many photographs; 0: all.")]
Batch = Annotated[int, typer.Option(help="Photographs that the CNN takes at a time; 0: 32 on a GPU, else 1.")]
LogJson = Annotated[Path | None, typer.Option(help="Append every event to a file, a JSON object a line.")]


def bytes_of(text: str) -> int:
    """``800M`` or ``4G`` as bytes; 0 for nothing."""
    if not text:
        return 0
    factor = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}.get(text[-1].upper(), 0)
    try:
        return int(float(text[:-1] if factor else text) * (factor or 1))
    except (ValueError, OverflowError):
        raise UsageError(f"--max-memory takes bytes, as 800M or 4G, not {text}") from None


def topics_of(text: str) -> int | Literal["auto"]:
    """``20`` as a number, ``auto`` as it is."""
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--topics takes a number or auto, not {text}") from None


def asked_for(context: typer.Context) -> list[str]:
    """The names of the options that are not left at their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]


def features_of(text: str) -> tuple[str, ...]:
    """``sift,cnn`` as names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def extract_config(features: str, keypoints: int, side: int, model: str, embeddings: Path | None) -> ExtractConfig:
    """What the options say of features."""
    return ExtractConfig(
        features=features_of(features), keypoints=keypoints, side=side, model=model, embeddings=embeddings
    )


def extract_options(
    executor: str, max_memory: str, retry: str, max_error_rate: float, limit: int, batch: int
) -> ExtractOptions:
    """What the options of extraction say; Dask's workers are the function's ``executor``."""
    return ExtractOptions(
        executor="threads" if executor == "dask" else executor,
        max_memory=bytes_of(max_memory),
        retry=retry,
        max_error_rate=max_error_rate,
        limit=limit,
        batch=batch,
    )


def topics_config(
    topics: str, most_topics: int, sweeps: int, weights: str, seed: int, walks: int, merge_every: int
) -> TopicsConfig:
    """What the options of topics say."""
    return TopicsConfig(
        topics=topics_of(topics),
        most_topics=most_topics,
        sweeps=sweeps,
        weights=weights_of(weights),
        seed=seed,
        walks=walks,
        merge_every=merge_every,
    )


def weights_of(text: str) -> dict[str, float]:
    """``sift=1,conv=2`` as numbers; what is not named keeps its default."""
    known = TopicsConfig().weights
    try:
        return known | {n.strip(): float(w) for n, w in (part.split("=") for part in text.split(",") if part)}
    except ValueError:
        raise UsageError(f"--weights takes name=number, as in {weights_text(known)}, not {text}") from None


def weights_text(weights: Mapping[str, float]) -> str:
    """What `weights_of` reads: ``sift=1,conv=2``."""
    return ",".join(f"{name}={weight:g}" for name, weight in weights.items())


def numbers_of(option: str, text: str) -> float | tuple[float, float, float] | None:
    """``127.5`` or ``123.7,116.3,103.5`` as numbers; None for nothing.

    Raises
    ------
    UsageError
        It is neither a number nor three.
    """
    if not text:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    if len(numbers) != 1:
        raise UsageError(f"{option} takes a number or three with commas, as 123.7,116.3,103.5, not {text}")
    return numbers[0]
