"""Encoding by tasks: a shard of tokens that is not whole is made again."""

from __future__ import annotations

import pytest

from fastvbow.config import EncodeConfig
from fastvbow.marks import marked
from fastvbow.pipeline.encoding import EncodeTask, encode_tokens
from fastvbow.project import ProjectFolder


@pytest.mark.parametrize("missing", ["words.npy", "counts.npy"])
def test_half_a_shard_is_made_again(sift_copy, missing):
    """As a worker leaves it that was killed while it sent the two files to a store."""
    shard = sift_copy / "tokens" / "shard-00000"
    wanted = {path.name: path.read_bytes() for path in shard.iterdir()}
    (shard / missing).unlink()
    place = ProjectFolder.open(sift_copy).place
    with marked(place, "tokens", "made") as mark:
        n_tokens = encode_tokens(EncodeTask(place, 0, EncodeConfig(), mark))
        assert {path.name: path.read_bytes() for path in shard.iterdir()} == wanted
        assert encode_tokens(EncodeTask(place, 0, EncodeConfig(), mark)) == n_tokens > 0
