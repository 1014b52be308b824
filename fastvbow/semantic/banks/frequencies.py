"""How often nouns are said of photographs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["caption_counts"]

_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
LONGEST = 3
"""Words of a noun that is looked for at most."""


def caption_counts(words: Sequence[str], captions: Iterable[str]) -> NDArray[np.int64]:
    """The number of captions that have each noun, in any case, or its plural with -s or -es.

    Parameters
    ----------
    words : sequence of str
        Nouns of at most three words; longer ones count 0.
    captions : iterable of str

    Returns
    -------
    ndarray of shape (len(words),), int64
    """
    wanted = {" ".join(_WORD.findall(word.casefold())) for word in words}
    counts: Counter[str] = Counter()
    for caption in captions:
        tokens = _WORD.findall(caption.casefold())
        runs = {" ".join(tokens[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(tokens) - n + 1)}
        singular = {run[:-1] for run in runs if run.endswith("s")} | {run[:-2] for run in runs if run.endswith("es")}
        counts.update((runs | singular) & wanted)
    return np.array([counts[" ".join(_WORD.findall(word.casefold()))] for word in words], np.int64)
