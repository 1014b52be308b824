"""The semantic engines in plain float64 NumPy, all at once and by loops."""

from __future__ import annotations

import numpy as np


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def naive_best_by_posterior(texts, centers, per_center, temperature=1.0):
    """TAC's nouns, one centre after the other."""
    posterior = softmax(np.asarray(texts, np.float64) @ np.asarray(centers, np.float64).T / temperature)
    kept = []
    for k in range(len(centers)):
        own = [i for i in range(len(texts)) if posterior[i].argmax() == k]
        kept += sorted(own, key=lambda i: -posterior[i, k])[:per_center]
    return sorted(kept)


def naive_best_by_similarity(texts, centers, per_center):
    kept = set()
    for center in np.asarray(centers, np.float64):
        kept |= set(np.argsort(-(np.asarray(texts, np.float64) @ center), kind="stable")[:per_center].tolist())
    return sorted(kept)


def naive_counterparts(images, texts, temperature):
    images, texts = np.asarray(images, np.float64), np.asarray(texts, np.float64)
    return np.array([unit(softmax(texts @ x / temperature) @ texts) for x in images])


def naive_lloyd(X, centers, max_iter):
    """Spherical k-means from given centres, by loops over the clusters."""
    X, centers, before = unit(X), unit(centers), None
    for _ in range(max_iter):
        labels = (X @ centers.T).argmax(axis=1)
        if before is not None and (labels == before).all():
            break
        centers, before = np.array([unit(X[labels == k].sum(axis=0)) for k in range(len(centers))]), labels
    labels = (X @ centers.T).argmax(axis=1)
    return centers, labels, float((X @ centers.T).max(axis=1).sum())


def naive_transport(cosines, epsilon, n_iter):
    """The entropic plan of cost -cosine between uniform marginals, dense, by Sinkhorn's scalings of logarithms."""
    S = np.asarray(cosines, np.float64) / epsilon
    n, m = S.shape
    f, g = np.zeros(n), np.zeros(m)

    def logsum(a, axis):
        top = a.max(axis=axis, keepdims=True)
        return (top + np.log(np.exp(a - top).sum(axis=axis, keepdims=True))).squeeze(axis)

    for _ in range(n_iter):
        f = -np.log(n) - logsum(S + g, 1)
        g = -np.log(m) - logsum(S + f[:, None], 0)
    return np.exp(S + f[:, None] + g)


def gap_fixture(
    seed=0,
    n_classes=10,
    per_class=60,
    width=64,
    gap=1.0,
    noise=1.0,
    nuisance_size=0.7,
    texts_a_class=6,
    distractors=300,
):
    """Images of classes, noisy and of few dimensions that mean nothing, and nouns on the far side of a modality gap.

    Images share an offset, nouns another one; the nouns of a class are near its direction, the distractors anywhere.
    """
    rng = np.random.default_rng(seed)
    classes = unit(rng.normal(size=(n_classes, width)))
    offset = unit(rng.normal(size=(2, width)))
    labels = np.repeat(np.arange(n_classes), per_class)
    nuisance = unit(rng.normal(size=(3, width)))
    images = classes[labels] + gap * offset[0] + noise * rng.normal(size=(len(labels), width)) / width**0.5
    images += nuisance_size * rng.normal(size=(len(labels), 3)) @ nuisance
    nouns = np.repeat(classes, texts_a_class, axis=0)
    nouns = nouns + 0.3 * rng.normal(size=nouns.shape) / width**0.5
    nouns = np.concatenate([nouns, unit(rng.normal(size=(distractors, width)))]) + gap * offset[1]
    return unit(images).astype(np.float32), unit(nouns).astype(np.float32), labels


def naive_concentration(vectors, labels, scores, few=5):
    """The likeliest kappa of the neighbours' clusters, by thirds, of loops over all images; no sampling."""
    vectors, scores = np.asarray(vectors, np.float64), np.asarray(scores, np.float64)
    n, K = scores.shape
    targets = np.zeros((n, K))
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: -(vectors[i] @ vectors[j]))
        for j in others[: min(few, max(1, n // K))]:
            targets[i, labels[j]] += 1
    targets += 1 / (n * K)
    targets /= targets.sum(axis=1, keepdims=True)

    def likelihood(kappa):
        return (targets * np.log(softmax(kappa * scores))).sum()

    low, high = 0.0, 400.0
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (a, high) if likelihood(a) < likelihood(b) else (low, b)
    return (low + high) / 2
