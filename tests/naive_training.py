"""The losses of the trained methods in plain float64 NumPy, by loops."""

from __future__ import annotations

import numpy as np


def naive_mmd(x, y, spread=None):
    """The V-statistic by three double loops; the spread by a fourth over the pairs of different rows."""
    rows = np.concatenate([x, y]).astype(float)
    if spread is None:
        pairs = [((a - b) ** 2).sum() for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
        spread = np.mean(pairs)

    def kernel(a, b):
        return sum(np.exp(-((a - b) ** 2).sum() / (factor * spread)) for factor in (1 / 4, 1 / 2, 1, 2, 4))

    def mean(first, second):
        return np.mean([[kernel(a, b) for b in second] for a in first])

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def naive_entropy(p):
    mean = p.mean(axis=0)
    return -sum(share * np.log(share) for share in mean if share > 0)


def naive_agreement(p, q):
    return -np.mean([np.log(a @ b) for a, b in zip(p, q, strict=True)])


def naive_contrast(p, q, temperature):
    """InfoNCE column by column: the positive first, then all columns but itself and the positive."""
    K = p.shape[1]
    columns = [column / np.linalg.norm(column) for column in [*p.T, *q.T]]
    losses = []
    for i, column in enumerate(columns):
        positive = (i + K) % (2 * K)
        negatives = [j for j in range(2 * K) if j not in (i, positive)]
        logits = np.array([column @ columns[j] / temperature for j in [positive, *negatives]])
        losses.append(-logits[0] + np.log(np.exp(logits).sum()))
    return np.mean(losses)


def naive_distillation(g, f, near_g, near_f, temperature, weight):
    contrast = naive_contrast(g, near_f, temperature) + naive_contrast(f, near_g, temperature)
    return contrast + naive_agreement(f, g) - weight * (naive_entropy(f) + naive_entropy(g))


def naive_cosine(z, other):
    return np.mean([1 - a @ b for a, b in zip(z, other, strict=True)])


def naive_nearest_point(z, points):
    return np.mean([1 - max(row @ point for point in points) for row in z])


def naive_cross_entropy(p, labels):
    return -np.mean([np.log(row[label]) for row, label in zip(p, labels, strict=True)])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def naive_semantic_space(nouns, centers, nearest, uniqueness):
    nouns = np.asarray(nouns, float)
    mean = unit(nouns.mean(axis=0))
    near = {int(j) for center in centers for j in np.argsort(-(nouns @ center), kind="stable")[:nearest]}
    return sorted(j for j in near if nouns[j] @ mean < 1 - uniqueness)


def naive_mean_of_nearest(row, nouns, n_nouns):
    order = sorted(range(len(nouns)), key=lambda j: -float(nouns[j] @ row))
    return np.mean([nouns[j] for j in order[:n_nouns]], axis=0)


def naive_adjusted_centers(images, logits, nouns, share, n_nouns):
    """Cluster by cluster: the surest images, their mean, its nouns, their mean."""
    n, K = logits.shape
    found = []
    for k in range(K):
        surest = sorted(range(n), key=lambda i: -logits[i, k])[: max(1, int(share * (n // K)))]
        center = unit(np.mean([images[i] for i in surest], axis=0))
        found.append(unit(naive_mean_of_nearest(center, nouns, n_nouns)))
    return np.array(found)


def naive_noun_centers(nouns, centers):
    home = [int(np.argmax(centers @ noun)) for noun in nouns]
    found = []
    for k, center in enumerate(centers):
        own = [noun for noun, where in zip(nouns, home, strict=True) if where == k]
        found.append(unit(np.mean(own, axis=0)) if own else unit(nouns[np.argmax(nouns @ center)]))
    return np.array(found)


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def naive_sic(logits, near_logits, labels, entropy_weight, semantic_weight):
    own, near = softmax(logits), softmax(near_logits)
    semantic = semantic_weight * naive_cross_entropy(own, labels)
    return naive_agreement(own, near) - entropy_weight * naive_entropy(own) + semantic


def naive_latent(z, changed, near, points, target, weights):
    parts = naive_cosine(z, changed), naive_cosine(z, near), naive_nearest_point(z, points), naive_mmd(z, target)
    return sum(weight * part for weight, part in zip(weights, parts, strict=True))


def broad_and_close(seed=0, per_cluster=60, width=24, noise=0.15):
    """Two clusters along wide arcs and two pairs of clusters close together, all of one size.

    K-Means cuts the arcs and joins the pairs; neighbours and equal sizes tell the clusters.
    """
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0].T
    parts = []
    for k in range(2):
        angle = rng.uniform(-1.1, 1.1, per_cluster)[:, None]
        parts.append(np.cos(angle) * axes[2 * k] + np.sin(angle) * axes[2 * k + 1])
    for k in (4, 6):
        for side in (-0.28, 0.28):
            parts.append(np.repeat((np.cos(side) * axes[k] + np.sin(side) * axes[k + 1])[None], per_cluster, axis=0))
    rows = np.concatenate(parts) + noise * rng.normal(size=(6 * per_cluster, width)) / width**0.5
    return unit(rows).astype(np.float32), np.repeat(np.arange(6), per_cluster)
