"""Principal components of pixels or of vectors, learnt batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import IncrementalPCA
from sklearn.utils import gen_batches

from fastvbow.errors import UsageError
from fastvbow.groups.baselines.alignment import by_id, given_order

__all__ = ["Components", "principal_components"]


@dataclass(frozen=True)
class Components:
    """Rows in their principal components.

    Attributes
    ----------
    vectors : ndarray of shape (n, n_components), float32
        In the order of the images that were given.
    explained_variance : ndarray of shape (n_components,), float64
        The share of the rows' variance that each component has, in falling order.
    """

    vectors: NDArray[np.float32]
    explained_variance: NDArray[np.float64]


def principal_components(image_ids: Sequence[str], rows: NDArray[Any], n_components: int, *, batch: int) -> Components:
    """Project rows onto their principal components (scikit-learn's IncrementalPCA; Ross et al. 2008).

    Memory is bounded by the batch: `rows` may be a memory map.

    Parameters
    ----------
    image_ids : sequence of str
        One each a row.
    rows : ndarray of shape (n, ...), uint8 or floating
        Are flattened; bytes are taken as 0 to 1.
    n_components : int
    batch : int
        Rows that are read at once, at least `n_components`.

    Raises
    ------
    UsageError
        More components are asked for than a batch, the images or the columns give, or the ids do not fit the rows.

    References
    ----------
    D. A. Ross, J. Lim, R.-S. Lin and M.-H. Yang, "Incremental learning for robust visual tracking", International
    Journal of Computer Vision 77, 2008.
    """
    order = by_id(image_ids, len(rows))
    columns = int(np.prod(rows.shape[1:]))
    most = min(len(rows), columns, batch)
    if not 1 <= n_components <= most:
        raise UsageError(
            f"{n_components} components: from 1 to {most} can be had of {len(rows)} images with {columns} numbers each "
            f"in batches of {batch}"
        )
    pca = IncrementalPCA(n_components)
    batches = list(gen_batches(len(rows), batch, min_batch_size=n_components))
    for part in batches:
        pca.partial_fit(_block(rows, order[part]))
    vectors = np.empty((len(rows), n_components), np.float32)
    for part in batches:
        vectors[part] = pca.transform(_block(rows, order[part]))
    return Components(
        np.asarray(given_order(order, vectors), np.float32), np.asarray(pca.explained_variance_ratio_, np.float64)
    )


def _block(rows: NDArray[Any], which: NDArray[np.int64]) -> NDArray[np.float32]:
    block = np.asarray(rows[which])
    scale = np.float32(1 / 255 if block.dtype == np.uint8 else 1)
    return block.reshape(len(which), -1).astype(np.float32) * scale
