"""What the trained methods minimise, as functions of tensors.

All take the module `torch` first (see `fastvbow.pytorch.load_torch`) and give a tensor of shape () with a gradient.
"""

from __future__ import annotations

from typing import Any

__all__ = ["agreement_loss", "column_contrast", "cosine_loss", "mean_entropy", "nearest_point_loss"]

_LEAST_SHARE = 1e-9
_LEAST_PRODUCT = 1e-30


def mean_entropy(torch: Any, p: Any) -> Any:
    """Entropy of the mean of assignments, in nats: log K where the clusters are of equal size.

    Parameters
    ----------
    torch : module
    p : torch.Tensor of shape (n, K)
        Rows sum to 1.
    """
    mean = p.mean(dim=0).clamp_min(_LEAST_SHARE)
    return -(mean * mean.log()).sum()


def agreement_loss(torch: Any, p: Any, q: Any) -> Any:
    """-mean log <p_i, q_i>: 0 where both assign every row to the same cluster, without doubt (SCAN, equation 2).

    Parameters
    ----------
    torch : module
    p, q : torch.Tensor of shape (n, K)
        Rows sum to 1.

    References
    ----------
    W. Van Gansbeke, S. Vandenhende, S. Georgoulis, M. Proesmans and L. Van Gool, "SCAN: learning to classify images
    without labels", ECCV 2020.
    """
    return -(p * q).sum(dim=1).clamp_min(_LEAST_PRODUCT).log().mean()


def column_contrast(torch: Any, p: Any, q: Any, temperature: float) -> Any:
    """Contrast of clusters: InfoNCE over the 2K columns of two assignments of the same rows.

    Columns are brought to unit length. Column k of `p` and column k of `q` are each other's positive, all 2K - 2 others
    are negatives; the mean over the 2K columns of -log softmax(cosine / temperature) at the positive.

    Parameters
    ----------
    torch : module
    p, q : torch.Tensor of shape (n, K)
    temperature : float

    References
    ----------
    Y. Li, P. Hu, D. Peng, J. Lv, J. Fan and X. Peng, "Image clustering with external guidance" (TAC), ICML 2024.
    Y. Li, P. Hu, Z. Liu, D. Peng, J. T. Zhou and X. Peng, "Contrastive clustering", AAAI 2021.
    """
    columns = torch.nn.functional.normalize(torch.cat([p.T, q.T]), dim=1)
    n = len(columns)
    itself = torch.eye(n, dtype=torch.bool)
    similarity = (columns @ columns.T / temperature).masked_fill(itself, -torch.inf)
    return torch.nn.functional.cross_entropy(similarity, torch.arange(n).roll(n // 2))


def cosine_loss(torch: Any, z: Any, other: Any) -> Any:
    """1 - mean cosine of rows that belong together.

    Parameters
    ----------
    torch : module
    z, other : torch.Tensor of shape (n, d)
        At unit length.
    """
    return 1 - (z * other).sum(dim=1).mean()


def nearest_point_loss(torch: Any, z: Any, points: Any) -> Any:
    """1 - mean cosine of each row with the point that is nearest to it.

    Parameters
    ----------
    torch : module
    z : torch.Tensor of shape (n, d)
        At unit length.
    points : torch.Tensor of shape (K, d)
        At unit length.
    """
    return 1 - (z @ points.T).amax(dim=1).mean()
