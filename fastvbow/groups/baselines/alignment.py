"""Rows and the ids that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError

__all__ = ["by_id", "given_order"]


def by_id(image_ids: Sequence[str], n_rows: int) -> NDArray[np.int64]:
    """The positions of the rows in the order of their ids.

    Ids are hashes of paths: in their order photographs of one folder do not follow one another, which suits what
    learns batch by batch.

    Parameters
    ----------
    image_ids : sequence of str
        One each a row.
    n_rows : int

    Returns
    -------
    ndarray of shape (n_rows,), int64
        ``rows[positions]`` are the rows in the order of their ids; see `given_order` for the way back.

    Raises
    ------
    UsageError
        There are no rows, more or fewer ids than rows, or two rows of one id.
    """
    if len(image_ids) != n_rows:
        raise UsageError(f"{len(image_ids)} image ids for {n_rows} rows: pass one id each a row")
    if not n_rows:
        raise UsageError("a baseline needs photographs, and was given none")
    positions = np.array(sorted(range(n_rows), key=image_ids.__getitem__), dtype=np.int64)
    for a, b in pairwise(positions):
        if image_ids[a] == image_ids[b]:
            raise UsageError(f"rows {a} and {b} both have the image id {image_ids[a]!r}: pass every image once")
    return positions


def given_order(positions: NDArray[np.int64], values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Rows computed in the order of the ids, back in the order in which the images were given.

    Parameters
    ----------
    positions : ndarray of shape (n,), int64
        From `by_id`.
    values : ndarray of shape (n, ...)
    """
    out = np.empty_like(values)
    out[positions] = values
    return out
