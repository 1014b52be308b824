"""Which images a worker reads together."""

import itertools

import pytest

from fastvbow.pipeline import shard_work


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([1] * 3, [3]),
        ([1] * 64, [32, 32]),
        ([1] * 65, [32, 32, 1]),
        ([8 << 20] * 3, [1, 1, 1]),
        ([9 << 20, 1, 1], [1, 2]),  # larger than the bound: by itself
        ([4 << 20, 4 << 20, 1], [2, 1]),
        ([-1] * 40, [32, 8]),  # of unknown size
    ],
)
def test_images_read_together_are_few_and_not_large(sizes, lengths):
    runs = list(shard_work._runs(sizes))
    assert [len(run) for run in runs] == lengths
    assert list(itertools.chain(*runs)) == list(range(len(sizes)))
