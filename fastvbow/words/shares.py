"""How the words of a vocabulary are split over the modalities."""

from __future__ import annotations

from collections.abc import Sequence

from fastvbow.errors import UsageError

__all__ = ["fused", "share_words"]

_PARTS = {"pooled": 8, "joint": 8}


def fused(names: Sequence[str], fusion: str) -> list[str]:
    """The modalities that get words of their own.

    Parameters
    ----------
    names : sequence of str
        Those that the photographs have features of.
    fusion : {"separate", "joint"}
        "joint" puts ``joint`` in the place of ``sift`` and ``conv`` (see `fastvbow.words.joint`).

    Raises
    ------
    UsageError
        "joint", and one of the two is not there.
    """
    if fusion == "separate":
        return list(names)
    if missing := [name for name in ("sift", "conv") if name not in names]:
        raise UsageError(
            f"--fusion joint joins SIFT keypoints with the CNN's map, and there are no features of "
            f"{' and '.join(missing)}: extract both with --features sift,cnn, or leave out --fusion joint"
        )
    return ["joint", *(name for name in names if name not in ("sift", "conv"))]


def share_words(words: int, modalities: Sequence[str]) -> dict[str, int]:
    """Split a number of words over the modalities: a part for each, eight for the pooled vectors and for joint words.

    The pooled vectors tell most about what a photograph shows. Of 300 words they had 100, 150, 200 and 240: with each
    step kinds were told apart a little better (`benchmarks/README.md`). What is left over goes to
    those with the most parts, the first of them first; each modality has a word at least.

    Raises
    ------
    UsageError
        There are fewer words than modalities.
    """
    if words < len(modalities):
        raise UsageError(
            f"--words {words} cannot be split over {', '.join(modalities)}: pass at least {len(modalities)}"
        )
    parts = [_PARTS.get(name, 1) for name in modalities]
    shares = [max(1, words * part // sum(parts)) for part in parts]
    most = [i for i, part in enumerate(parts) if part == max(parts)]
    left = words - sum(shares)
    for i in range(left):
        shares[most[i % len(most)]] += 1
    shares[most[0]] += min(left, 0)  # where the others needed their one word
    return dict(zip(modalities, shares, strict=True))
