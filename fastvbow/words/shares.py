"""How the words of a vocabulary are split over the modalities."""

from __future__ import annotations

from collections.abc import Sequence

from fastvbow.errors import UsageError

__all__ = ["share_words"]


def share_words(words: int, modalities: Sequence[str]) -> dict[str, int]:
    """Split a number of words evenly over the modalities; the first take what is left over.

    Raises
    ------
    UsageError
        There are fewer words than modalities.
    """
    if words < len(modalities):
        raise UsageError(
            f"--words {words} cannot be split over {', '.join(modalities)}: pass at least {len(modalities)}"
        )
    share, rest = divmod(words, len(modalities))
    return {name: share + (i < rest) for i, name in enumerate(modalities)}
