"""A made-up report whose words have known colours and places: four kinds of words, four topics."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastvbow.report.content import ReportContent
from fastvbow.report.evidence import Evidence, PhotographTokens, Tokens

WIDTH, HEIGHT, PER_TOPIC, N_TOPICS = 320, 240, 6, 4
COLOURS = np.array([(220, 40, 40), (40, 180, 60), (50, 70, 220), (230, 190, 40)], np.uint8)
KINDS = {"sift": (0, 8), "conv": (8, 12), "pooled": (12, 16)}
"""Words 2t and 2t + 1 of SIFT, 8 + t of the map and 12 + t of whole photographs are those of topic t."""
GRID = 3, 4
POINTS = np.array([(60.0, 60.0, 8.0, 30.0), (275.0, 200.0, 3.0, -1.0), (5.0, 5.0, 6.0, 0.0)], np.float32)


def pixels(index: int) -> np.ndarray:
    """Grey with a square of the topic's colour around each keypoint, and the cell (1, 2) of a darker one."""
    topic = index % N_TOPICS
    made = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    made[80:160, 160:240] = COLOURS[topic] // 2
    for x, y, size, _ in POINTS:
        reach = int(size * 8)
        made[max(0, int(y) - reach) : int(y) + reach, max(0, int(x) - reach) : int(x) + reach] = COLOURS[topic]
    return made


def certain(topics: list[int]) -> np.ndarray:
    """Rows that say so of each token's topic."""
    rows = np.full((len(topics), N_TOPICS), 0.01)
    rows[np.arange(len(topics)), topics] = 0.97
    return rows


def tokens(index: int) -> PhotographTokens:
    topic, other = index % N_TOPICS, (index + 1) % N_TOPICS
    own = [2 * topic, 2 * topic + 1, 2 * topic]
    rows, columns = GRID
    cell = np.full(rows * columns, 8 + other)
    cell[1 * columns + 2] = 8 + topic
    centres = [((c + 0.5) * 80 - 0.5, (r + 0.5) * 80 - 0.5) for r in range(rows) for c in range(columns)]
    places = np.array([(x, y, 80, -1) for x, y in centres], np.float32)
    return PhotographTokens(
        WIDTH,
        HEIGHT,
        [
            Tokens("sift", np.array(own), certain([topic, topic, topic]), POINTS),
            Tokens("conv", cell, certain([int(word) - 8 for word in cell]), places, GRID),
            Tokens("pooled", np.full(20, 12 + topic), certain([topic] * 20)),
        ],
    )


def evidence(**changes: object) -> Evidence:
    counts = np.full((N_TOPICS, 16), 0.5)
    for topic in range(N_TOPICS):
        counts[topic, [2 * topic, 2 * topic + 1]] = 20, 10
        counts[topic, 8 + topic] = 30
        counts[topic, 12 + topic] = 120
    columns: dict = {"kinds": KINDS, "counts": counts, "weights": np.ones(16), "tokens": tokens}
    return Evidence(**(columns | changes))


def planted(**changes: object) -> ReportContent:
    n = N_TOPICS * PER_TOPIC
    names = [f"photograph {i}.png" for i in range(n)]
    columns: dict = {
        "title": "Planted",
        "source": "/planted",
        "n_topics": N_TOPICS,
        "ids": names,
        "names": names,
        "topic": np.arange(n) % N_TOPICS,
        "probability": np.linspace(0.95, 0.4, n),
        "entropy": np.linspace(0.1, 1.2, n),
        "read_photograph": pixels,
        "locate": lambda i: Path("/planted", names[i]),
        "evidence": evidence(),
    }
    return ReportContent(**(columns | changes))
