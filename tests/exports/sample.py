"""Made-up grouped photographs with hostile names."""

from __future__ import annotations

import numpy as np

from fastvbow.exports.columns import GroupedImages
from fastvbow.images.table import image_id_of, readable

PATHS = [
    b"a/plain.jpg",
    "Größe 猫 שלום 🐈/b.jpg".encode(),
    b"sp ace/\"q\" 'q' & <b> 100%25+#?.jpg",
    b"two\nlines\x01\t.jpg",
    b"latin-\xe9\xff.jpg",
    b"x/" + b"n" * 251 + b".jpg",
    b"../outside.jpg",
    b"=1+1,2;3.jpg",
]
LABELS = ['Küche "2" & <b>', "topic_001", "猫\u202egpj", "a/b\\c", 'Küche "2" & <b>']


def grouped_images(**changes: object) -> GroupedImages:
    n = len(PATHS)
    columns: dict = {
        "root": b"/photo graphs",
        "image_ids": [image_id_of(raw) for raw in PATHS],
        "raw_paths": PATHS,
        "names": [readable(raw) for raw in PATHS],
        "containers": [None] * n,
        "topic": np.arange(n) % len(LABELS),
        "probability": np.linspace(0.3, 1, n).astype(np.float32),
        "entropy": np.linspace(1.2, 0, n).astype(np.float32),
        "labels": LABELS,
        "known": [None, "cat"] * (n // 2),
        "widths": np.arange(n) + 100,
        "heights": np.arange(n) + 50,
        "certain": np.arange(n) != 1,
    }
    return GroupedImages(**(columns | changes))
