"""A shared space of photographs and texts without a model that was trained for one (ConSE, Norouzi et al. 2014).

A classifier says which of its classes a photograph looks like, and a text encoder where their names lie: the
photograph's embedding is the mean of the names' embeddings, weighted by the classes' probabilities. So it knows of a
photograph what its classes can say, and no more: a stand-in for CLIP, not its like.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.semantic._rows import blocks, normalised, unit_rows

__all__ = ["centred", "conse"]


def centred(rows: Any, name: str = "texts") -> NDArray[np.float32]:
    """Embeddings at unit length, less their mean, at unit length again.

    Sentence encoders put all texts into one narrow cone; what a text says is how it differs from the others. Banks are
    centred one by one, because nouns and captions have cones of their own.

    Parameters
    ----------
    rows : array-like of shape (n, d)
        All of a bank.
    name : str, default="texts"
        What they are, for messages.

    Returns
    -------
    ndarray of shape (n, d), float32
        Zero where a row equals the mean.

    Raises
    ------
    UsageError
        See `fastvbow.semantic._rows.unit_rows`.
    """
    unit = unit_rows(rows, name)
    mean = sum((unit[part].sum(axis=0, dtype=np.float64) for part in blocks(*unit.shape)), np.zeros(unit.shape[1]))
    return normalised(unit - (mean / len(unit)).astype(np.float32))


def conse(logits: NDArray[np.floating], class_texts: NDArray[np.floating], *, top: int = 10) -> NDArray[np.float32]:
    """Photographs among texts: L2(sum of the `top` greatest probabilities times their classes' texts).

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes), floating
        Of a classifier, before the softmax.
    class_texts : ndarray of shape (n_classes, d), floating
        Embeddings of the classes' names, in the classifier's order, as `centred` gives them.
    top : int, default=10

    Returns
    -------
    ndarray of shape (n, d), float32

    Raises
    ------
    UsageError
        There are not as many texts as classes, `top` is not between 1 and their number, or logits are not finite.

    References
    ----------
    M. Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings", ICLR 2014.
    """
    if logits.ndim != 2 or class_texts.ndim != 2 or logits.shape[1] != len(class_texts):
        raise UsageError(
            f"logits of shape {logits.shape} and texts of shape {class_texts.shape} do not fit: a text for each class "
            "is needed"
        )
    if not 1 <= top <= len(class_texts):
        raise UsageError(f"top={top} of {len(class_texts)} classes cannot be taken: pass 1 to {len(class_texts)}")
    out = np.empty((len(logits), class_texts.shape[1]), np.float32)
    for part in blocks(*logits.shape):
        block = np.asarray(logits[part], np.float64)
        if not np.isfinite(block).all():
            row = part.start + int((~np.isfinite(block).all(axis=1)).argmax())
            raise UsageError(f"row {row} of the logits holds NaN or infinity: make it anew or leave it out")
        chosen = np.argsort(-block, axis=1, kind="stable")[:, :top]
        # the softmax's denominator is the same for all classes, and goes with the length
        weights = np.exp(np.take_along_axis(block, chosen, axis=1) - block.max(axis=1, keepdims=True))
        out[part] = normalised(np.einsum("nk,nkd->nd", weights, class_texts[chosen].astype(np.float64)))
    return out
