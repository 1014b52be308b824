"""Slow twins: what each compiled kernel computes, in plain NumPy and Python. The tests compare the two.

First the K-Means kernels of ``fastvbow/words/_kmeans_kernels.py``, in float64 and with the whole distance matrix; then
the Gibbs kernels of ``src_ext``, with the same random numbers.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import gammaln


def squared_distances(X, centers):
    X, centers = np.asarray(X, np.float64), np.asarray(centers, np.float64)
    return np.array([[np.sum((x - c) ** 2) for c in centers] for x in X]).reshape(len(X), len(centers))


def nearest_centers(X, centers):
    D = squared_distances(X, centers)
    labels = D.argmin(axis=1)
    return labels, D[np.arange(len(X)), labels]


def center_sums(X, labels, weights, n_clusters):
    sums, counts = np.zeros((n_clusters, X.shape[1])), np.zeros(n_clusters)
    for x, label, w in zip(np.asarray(X, np.float64), labels, weights, strict=True):
        sums[label] += w * x
        counts[label] += w
    return sums, counts


def mini_batch_step(batch, weights, centers, counts):
    """Sculley (2010), algorithm 1, row by row: the centre moves by w / count towards each of its rows."""
    labels, _ = nearest_centers(batch, centers)
    centers, counts = np.array(centers, np.float64), counts.copy()
    for x, w, label in zip(np.asarray(batch, np.float64), weights, labels, strict=True):
        counts[label] += w
        centers[label] += w / counts[label] * (x - centers[label])
    return centers, counts


def lloyd(X, weights, centers, max_iter, tol):
    """Lloyd (1982), pass by pass; a centre without weight goes to the farthest row. Centres and number of passes."""
    X, centers, before = np.asarray(X, np.float64), np.array(centers, np.float64), None
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        labels, sqdist = nearest_centers(X, centers)
        sums, counts = center_sums(X, labels, weights, len(centers))
        far = iter(np.argsort(-np.where(weights > 0, sqdist, 0), kind="stable"))
        moved = centers.copy()
        for k in range(len(centers)):
            if counts[k] > 0:
                moved[k] = sums[k] / counts[k]
            else:
                row = next(far)
                if weights[row] > 0 and sqdist[row] > 0:
                    moved[k] = X[row]
        movement, centers = np.sum((moved - centers) ** 2), moved
        if movement <= tol or (before is not None and (labels == before).all()):
            break
        before = labels
    return centers, n_iter


def mini_batches(X, centers, random_state, batch_size, max_iter, tol=0.0, max_no_improvement=None):
    """Sculley's steps on rows drawn with replacement, ended by scikit-learn's rules. Centres and number of steps."""
    n, counts, smoothed, least, waited = len(X), np.zeros(len(centers)), None, np.inf, 0
    alpha = min(1, 2 * batch_size / (n + 1))
    for n_steps in range(1, max_iter * n // batch_size + 1):
        batch = X[np.sort(random_state.randint(0, n, batch_size))]
        before, inertia = centers, nearest_centers(batch, centers)[1].mean()
        centers, counts = mini_batch_step(batch, np.ones(batch_size), centers, counts)
        if n_steps == 1:
            continue
        smoothed = inertia if smoothed is None else (1 - alpha) * smoothed + alpha * inertia
        if tol > 0 and np.sum((centers - before) ** 2) <= tol:
            break
        waited = 0 if smoothed < least else waited + 1
        least = min(least, smoothed)
        if max_no_improvement is not None and waited >= max_no_improvement:
            break
    return centers, n_steps


MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def document_key(seed, sweep, document):
    key = mix((seed + GAMMA) & MASK)
    key = mix((key + GAMMA * (sweep + 1)) & MASK)
    return mix((key + GAMMA * (document + 1)) & MASK)


def uniform(key, position):
    return (mix((key + GAMMA * (position + 1)) & MASK) >> 11) * 2.0**-53


def initialise(documents, groups, fraction, K, seed):
    z = []
    for d, words in enumerate(documents):
        key = document_key(seed, 0, d)
        z.append([])
        for position in range(len(words)):
            u = uniform(key, position)
            if groups is not None and groups[d] >= 0:
                if u < fraction:
                    z[-1].append(int(groups[d]))
                    continue
                u = (u - fraction) / (1 - fraction)
            z[-1].append(min(int(u * K), K - 1))
    return z


def count(documents, z, weights, V, K):
    nzw, ndz = np.zeros((V, K)), np.zeros((len(documents), K))
    for d, words in enumerate(documents):
        for w, k in zip(words, z[d], strict=True):
            nzw[w, k] += weights[w]
            ndz[d, k] += weights[w]
    return nzw, ndz


def draw(key, position):
    """24 bits of a token, in [0, 1)."""

    def scramble(x):  # lowbias32
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
            x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
        return x

    x = scramble((key + 0x9E3779B9 * position) & 0xFFFFFFFF)
    return (scramble(x ^ (key >> 32)) >> 8) / 2**24


def sweep(documents, z, weights, alpha, eta, seed, number, nzw, *, width, exact):
    """Change z and nzw in place: `width` documents at a time, a token each a round.

    Exact: one token after the other, each from the counts of all the rest. Lockstep: the tokens of a round from the
    counts without any of them, with the topics' totals as they were at most 32 rounds ago.
    """
    (V, K), nz = nzw.shape, nzw.sum(axis=0)
    topics = [k for lane in range(16) for k in range(lane, K, 16)]  # the order in which a draw passes them
    waiting = [d for d, words in enumerate(documents) if len(words)]
    lanes = [[waiting.pop(0), 0] for _ in range(min(width, len(waiting)))]  # document, position
    ndz = count(documents, z, weights, V, K)[1]

    def change(d, i, sign):
        w, k = documents[d][i], z[d][i]
        for counts in (nzw[w], nz, ndz[d]):
            counts[k] += sign * weights[w]

    def sample(d, i, total):
        p = ((ndz[d] + alpha) * (nzw[documents[d][i]] + eta) / total)[topics].cumsum()
        u = draw(document_key(seed, number, d), i) * p[-1]
        return topics[min(int(np.searchsorted(p, u, side="right")), K - 1)]

    n_rounds = 0
    while lanes:
        if not exact:
            for d, i in lanes:
                change(d, i, -1)
            if n_rounds % 32 == 0:
                total = nz + V * eta
        found = []
        for d, i in lanes:
            if exact:
                change(d, i, -1)
                z[d][i] = sample(d, i, nz + V * eta)
                change(d, i, 1)
            else:
                found.append(sample(d, i, total))
        for (d, i), k in zip(lanes, found, strict=False):
            z[d][i] = k
            change(d, i, 1)
        n_rounds += 1
        for lane in lanes:
            lane[1] += 1
            if lane[1] == len(documents[lane[0]]) and waiting:
                lane[:] = [waiting.pop(0), 0]
        for at in range(len(lanes) - 1, -1, -1):
            if lanes[at][1] == len(documents[lanes[at][0]]):
                last = lanes.pop()
                if at < len(lanes):
                    lanes[at] = last


def sparse_sweep(documents, z, weights, alpha, eta, seed, number, nzw):
    """Change z and nzw in place: the sequential chain, a draw from the word's list of topics, or else from all."""
    (V, K), nz = nzw.shape, nzw.sum(axis=0)
    lists = [list(np.flatnonzero(row)) for row in nzw]

    def by_lane(items):
        return [items[i] for lane in range(16) for i in range(lane, len(items), 16)]

    for d, words in enumerate(documents):
        ndz = np.bincount(z[d], np.array(weights)[words], minlength=K) if len(words) else None
        for i, w in enumerate(words):
            for counts in (nzw[w], nz, ndz):
                counts[z[d][i]] -= weights[w]
            if nzw[w, z[d][i]] == 0:
                at, last = lists[w].index(z[d][i]), lists[w].pop()
                if at < len(lists[w]):
                    lists[w][at] = last
            share = (ndz + alpha) / (nz + V * eta)
            topics = by_lane(lists[w])
            p = (nzw[w] * share)[topics].cumsum()
            by_word = p[-1] if len(p) else 0.0
            u = (mix((document_key(seed, number, d) + GAMMA * (i + 1)) & MASK) >> 40) / 2**24
            left = u * (by_word + eta * share.sum())
            if left < by_word:
                k = topics[int(np.searchsorted(p, left, side="right"))]
            else:
                every = by_lane(range(K))
                at = int(np.searchsorted(share[every].cumsum(), (left - by_word) / eta, side="right"))
                k = every[min(at, K - 1)]
                if k not in lists[w]:
                    lists[w].append(k)
            z[d][i] = int(k)
            for counts in (nzw[w], nz, ndz):
                counts[k] += weights[w]


def walks(documents, z, weights, alpha, eta, seed, n_sweeps, V, *, edges, merges, algorithm):
    """Change z in place: runs of documents from `edges`, each sampled from its own counts until all merge theirs."""
    K = len(alpha)
    runs = list(itertools.pairwise(edges))
    own = [count(documents, z, weights, V, K)[0] for _ in runs]
    for number in range(1, n_sweeps + 1):
        for (begin, end), nzw in zip(runs, own, strict=True):
            # documents outside the run are empty, so that each keeps its number
            inside = [words if begin <= d < end else [] for d, words in enumerate(documents)]
            topics = [z[d] if words else [] for d, words in enumerate(inside)]
            if algorithm == "sparse":
                sparse_sweep(inside, topics, weights, alpha, eta, seed, number, nzw)
            else:
                width = {"exact": 8, "lockstep": 16}[algorithm]
                how = {"width": width, "exact": algorithm == "exact"}
                sweep(inside, topics, weights, alpha, eta, seed, number, nzw, **how)
        if number in merges:
            own = [count(documents, z, weights, V, K)[0] for _ in runs]


def log_joint(documents, z, weights, alpha, eta, V):
    """log p(w, z) per token, every cell of every table."""
    nzw, ndz = count(documents, z, weights, V, len(alpha))
    value = np.sum(gammaln(V * eta) - gammaln(nzw.sum(axis=0) + V * eta))
    value += np.sum(gammaln(nzw + eta) - gammaln(eta))
    value += np.sum(gammaln(alpha.sum()) - gammaln(ndz.sum(axis=1) + alpha.sum()))
    value += np.sum(gammaln(ndz + alpha) - gammaln(alpha))
    return value / nzw.sum()


def posterior(documents, alpha, eta, V):
    """Every assignment of all tokens and its probability under the collapsed posterior."""
    lengths = [len(words) for words in documents]
    flat = list(itertools.product(range(len(alpha)), repeat=sum(lengths)))
    cuts = np.cumsum(lengths)[:-1]
    logs = [sum(lengths) * log_joint(documents, np.split(np.array(z), cuts), np.ones(V), alpha, eta, V) for z in flat]
    p = np.exp(np.array(logs) - np.max(logs))
    return flat, p / p.sum()


def infer(words, weights, alpha, phi, max_iter, tol):
    """CVB0 for one document; phi of shape (V, K)."""
    if len(words) == 0:
        return alpha / alpha.sum()
    bag, counts = np.unique(words, return_counts=True)
    mass = counts * weights[bag]
    gamma = alpha * phi[bag]
    gamma /= gamma.sum(axis=1, keepdims=True)
    ndz = mass @ gamma
    for _ in range(max_iter):
        before = ndz.copy()
        for j, w in enumerate(bag):
            new = (ndz - weights[w] * gamma[j] + alpha) * phi[w]
            new /= new.sum()
            ndz += mass[j] * (new - gamma[j])
            gamma[j] = new
        if np.abs(ndz - before).sum() <= tol * mass.sum():
            break
    return (ndz + alpha) / (ndz + alpha).sum()


def split_topic(words, edges, numbers, weights, alpha, eta, seed, n_sweeps, together=4):
    """Halves of a topic's tokens and p(first half), as ``src_ext/split.c``: documents advance together."""
    n_docs, n_words = len(numbers), len(weights)
    z, nzw, share = np.zeros(len(words), int), np.zeros((n_words, 2)), np.zeros(len(words))
    for d in range(n_docs):
        key = document_key(seed, 0, int(numbers[d]))
        for i in range(edges[d], edges[d + 1]):
            z[i] = mix((key + GAMMA * int(i)) & MASK) >> 63
            nzw[words[i], z[i]] += weights[words[i]]
    totals = nzw.sum(axis=0)

    def count(d):
        here = slice(edges[d], edges[d + 1])
        return np.bincount(z[here], weights[words[here]], minlength=2)

    for sweep in [*range(1, n_sweeps + 1), 0]:
        waiting, visits = iter(range(n_docs)), []
        while True:
            visits += [[d, edges[d], count(d), count(d)] for d in itertools.islice(waiting, together - len(visits))]
            if not visits:
                break
            used = totals.copy()
            for _ in range(min(edges[d + 1] - at for d, at, _, _ in visits)):
                for visit in visits:
                    d, i, n, _ = visit
                    own = np.zeros(2)
                    own[z[i]] = c = weights[words[i]]
                    p = (n - own + alpha) * ((nzw[words[i]] - own + eta) / (used - own + n_words * eta))
                    visit[1] += 1
                    if sweep == 0:
                        share[i] = p[0] / p.sum()
                        continue
                    key = document_key(seed, sweep, int(numbers[d]))
                    u = (mix((key + GAMMA * int(i)) & MASK) >> 11) * 2.0**-53
                    z[i] = u * p.sum() >= p[0]
                    new = np.zeros(2)
                    new[z[i]] = c
                    n += new - own
                    nzw[words[i]] += new - own
            # a document that is done is replaced in its place; where none is left the last one moves there
            v = 0
            while v < len(visits):
                d, at, n, before = visits[v]
                if at < edges[d + 1]:
                    v += 1
                    continue
                totals += n - before
                follower = next(waiting, None)
                if follower is not None:
                    visits[v] = [follower, edges[follower], count(follower), count(follower)]
                    v += 1
                else:
                    last = visits.pop()
                    if v < len(visits):
                        visits[v] = last
    return z, share


def fold_in(words, weights, alpha, phi, n_sweeps, seed):
    """Mean theta of the second half of the sweeps for one document; phi of shape (V, K)."""
    bag = sorted(int(w) for w in words)
    if not bag:
        return alpha / alpha.sum()
    text = 0
    for w, n in sorted((w, bag.count(w)) for w in set(bag)):
        text = mix((mix((text + GAMMA * (w + 1)) & MASK) + n) & MASK)
    ndz, z, kept = np.zeros(len(alpha)), [0] * len(bag), []
    for sweep in range(n_sweeps):
        key = document_key(seed, sweep, text)
        for i, w in enumerate(bag):
            if sweep:
                ndz[z[i]] -= weights[w]
            p = ((ndz + alpha) * phi[w]).cumsum()
            z[i] = min(int(np.searchsorted(p, p[-1] * uniform(key, i), side="right")), len(alpha) - 1)
            ndz[z[i]] += weights[w]
        if sweep >= n_sweeps // 2:
            kept.append((ndz + alpha) / (ndz + alpha).sum())
    return np.mean(kept, axis=0)


def left_to_right(words, phi, alpha, n_particles, resample, key):
    """Sums over particles of (n + sum alpha) p(word | words before), as ``src_ext/particles.c``; phi is (V, K)."""
    particles, totals = [[] for _ in range(n_particles)], []

    def uniforms(n, i):
        row = n * (n + 3) // 2 + i
        numbers = range(row * n_particles + 1, (row + 1) * n_particles + 1)
        return np.array([mix((key + GAMMA * number) & MASK) >> 12 for number in numbers]) * 2.0**-52

    def cumulated(word, z):
        return np.cumsum([(z.count(k) + alpha[k]) * phi[word][k] for k in range(len(alpha))])

    def draw(word, z, u):
        p = cumulated(word, z)
        return int(np.searchsorted(p[:-1], u * p[-1], side="right"))

    for n, word in enumerate(words):
        for i in range(n):
            for z, u in zip(particles, uniforms(n, i), strict=True):
                z[i] = draw(words[i], z[:i] + z[i + 1 :], u)
        weights = np.cumsum([cumulated(word, z)[-1] for z in particles])
        totals.append(weights[-1])
        if resample and n_particles > 1:
            points = (uniforms(n, n + 1)[0] + np.arange(n_particles)) / n_particles * weights[-1]
            chosen = np.searchsorted(weights[:-1], points, side="right")
            particles = [list(particles[c]) for c in chosen]
        for z, u in zip(particles, uniforms(n, n), strict=True):
            z.append(draw(word, z, u))
    return np.array(totals)
