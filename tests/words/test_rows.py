"""Rows to cluster: shards, blocks, memory that is given back, values that are refused."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvbow.errors import UsageError
from fastvbow.words._rows import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    Shards,
    as_block,
    check_finite,
    checked_weights,
    float_dtype,
    is_shards,
    mean_variance,
    release,
    row_blocks,
)

FLOATS = [np.float16, np.float32, np.float64]


def numbered(lengths, dtype=np.float32):
    whole = np.arange(2 * sum(lengths), dtype=dtype).reshape(-1, 2)
    return whole, Shards(np.split(whole, np.cumsum(lengths)[:-1]))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=7), st.data())
@settings(max_examples=100, deadline=None)
def test_shards_are_indexed_as_one_matrix(lengths, data):
    whole, shards = numbered(lengths)
    n = len(whole)
    assert (shards.shape, shards.dtype, shards.ndim, len(shards)) == (whole.shape, whole.dtype, 2, n)
    bound = st.none() | st.integers(-n - 2, n + 2)
    step = st.sampled_from([None, 1, 2, 3, -1, -2])
    cut = slice(data.draw(bound), data.draw(bound), data.draw(step))
    np.testing.assert_array_equal(shards[cut], whole[cut])
    rows = np.array(data.draw(st.lists(st.integers(0, max(0, n - 1)), max_size=9 if n else 0)), np.int64)
    for order in (rows, np.sort(rows), np.sort(rows).astype(np.int32)):
        np.testing.assert_array_equal(shards[order], whole[order])
        assert shards[order].dtype == whole.dtype


def test_a_slice_within_a_shard_is_no_copy():
    whole, shards = numbered([5, 0, 5])
    assert np.shares_memory(shards[6:9], whole) and np.shares_memory(shards[:5], whole)
    assert not np.shares_memory(shards[4:6], whole)


def test_shards_of_memory_maps_stay_on_disk(tmp_path):
    whole, _ = numbered([40])
    np.save(tmp_path / "a.npy", whole)
    one = np.load(tmp_path / "a.npy", mmap_mode="r")
    shards = Shards([one, one])
    assert all(isinstance(shard, np.memmap) for shard in shards.shards)
    np.testing.assert_array_equal(shards[30:50], np.concatenate([whole[30:], whole[:10]]))


@pytest.mark.parametrize("rows", [[10], [-1], [0, 9, 10], [-11]])
def test_shards_refuse_rows_that_they_do_not_have(rows):
    _, shards = numbered([4, 0, 6])
    with pytest.raises(IndexError):
        shards[np.array(rows)]


@pytest.mark.parametrize(
    "shards",
    [
        [],
        [np.ones((2, 2)), np.ones((2, 3))],
        [np.ones((2, 2)), np.ones((2, 2), np.float32)],
        [np.ones((2, 2)), np.ones(2)],
        [np.ones(2)],
    ],
)
def test_shards_that_do_not_agree_are_refused(shards):
    with pytest.raises(UsageError, match="shard"):
        Shards(shards)


def test_what_counts_as_shards():
    one = np.ones((2, 2))
    assert is_shards([one]) and is_shards((one, one))
    for other in (one, [], [[1, 2], [3, 4]], [np.ones(2)], [one, [1]], "ab", None):
        assert not is_shards(other)


# --- blocks


@given(st.integers(0, 200_000), st.sampled_from([0, 1, 3, 128, 1280, 10**5]), st.sampled_from([np.uint8, np.float64]))
@settings(max_examples=60, deadline=None)
def test_blocks_cover_the_rows(n, d, dtype):
    X = np.broadcast_to(np.zeros((1, d), dtype), (n, d))
    blocks = list(row_blocks(X))
    assert [b.start for b in blocks] == [0, *(b.stop for b in blocks[:-1])][: len(blocks)]
    assert blocks[-1].stop == n if blocks else n == 0
    sizes = {b.stop - b.start for b in blocks[:-1]}
    assert len(sizes) <= 1
    for size in sizes:
        assert 1 <= size <= BLOCK_ROWS and (size == 1 or size * d * X.itemsize <= BLOCK_BYTES)
    # The threads have something to do, unless blocks would be too small for the kernels.
    assert len(blocks) >= 8 or n <= 8 * 1024


def test_blocks_depend_on_shape_and_dtype_alone(tmp_path):
    X = np.zeros((20_000, 3), np.float32)
    np.save(tmp_path / "X.npy", X)
    wanted = list(row_blocks(X))
    assert len(wanted) > 2
    shards = Shards([X[:7], X[7:]])
    for other in (np.asfortranarray(X), X[::-1], np.load(tmp_path / "X.npy", mmap_mode="r"), shards, X + 9):
        assert list(row_blocks(other)) == wanted


@pytest.mark.parametrize(
    ("dtype", "block", "arithmetic"),
    [
        (np.uint8, np.uint8, np.float32),
        (np.float16, np.float32, np.float32),
        (np.float32, np.float32, np.float32),
        (np.float64, np.float64, np.float64),
        (">f4", np.float64, np.float32),
        (np.int32, np.float64, np.float32),
    ],
)
def test_blocks_are_what_kernels_read(dtype, block, arithmetic):
    X = np.arange(60).reshape(10, 6).astype(dtype)
    for rows in (slice(2, 5), slice(1, 9, 3), np.array([7, 0])):
        unaligned = np.frombuffer(b"." + X.tobytes(), np.uint8)[1:].view(dtype).reshape(X.shape)
        for layout in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], unaligned):
            got = as_block(layout, rows)
            assert got.dtype == block and got.dtype.isnative and got.flags.c_contiguous and got.flags.aligned
            np.testing.assert_array_equal(got, X[rows].astype(block))
    assert np.shares_memory(as_block(X, slice(2, 5)), X) == (X.dtype == block)
    assert dtype == np.int32 or float_dtype(X) == arithmetic


def test_float64_anywhere_is_float64():
    one, two = np.ones(1, np.float32), np.ones(1)
    assert (float_dtype(one, one), float_dtype(one, two), float_dtype(two, one)) == (np.float32, np.float64, np.float64)


# --- memory maps


@pytest.fixture
def file(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (20_000, 37)).astype(np.uint8)
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy", X


CUTS = [None, slice(0, 0), slice(0, 1), slice(0, 20_000), slice(7, 9000), slice(19_999, 20_000), slice(500, 500)]


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_release_changes_nothing(file, mode):
    path, X = file
    mapped = np.load(path, mmap_mode=mode)
    if mode != "r":
        mapped[::3] += 1
        X[::3] += 1
    views = [mapped, mapped[100:], mapped[5:6], mapped[::-1], mapped[::2], mapped[:, 3:], mapped.T, np.asarray(mapped)]
    for view in views:
        for rows in CUTS:
            if rows is None or rows.stop <= len(view):
                release(view, rows)
    release(Shards([mapped[:0], mapped, mapped[:100], mapped[:0]]))
    release(Shards([mapped[:0], mapped, mapped[:100]]), slice(19_000, 20_050))
    np.testing.assert_array_equal(mapped, X)


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_release_keeps_what_was_written_under_a_read_only_view(file, mode):
    mapped = np.load(file[0], mmap_mode=mode)
    mapped[:] = 1
    frozen = mapped[:]
    frozen.flags.writeable = False
    release(frozen)
    release(frozen, slice(0, 15_000))
    assert np.all(frozen == 1)


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="no private anonymous memory here")
def test_release_keeps_memory_that_no_file_backs():
    memory = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    X = np.ndarray((4096, 16), np.uint8, memory)
    X[:] = 7
    frozen = X[:]
    frozen.flags.writeable = False
    release(frozen)
    assert np.all(X == 7)


def test_release_of_what_is_no_map():
    frozen = np.arange(40_000).reshape(-1, 4)
    frozen.flags.writeable = False
    for X in (
        frozen,
        frozen[1:],
        np.broadcast_to(np.ones((1, 4)), (9, 4)),
        np.frombuffer(b"ab" * 9000, np.uint8)[:, None],
    ):
        before = X.copy()
        release(X)
        release(X, slice(0, len(X)))
        np.testing.assert_array_equal(X, before)


def test_release_gives_only_whole_pages_of_these_rows(file, monkeypatch):
    path, X = file
    calls = []

    class Map(mmap.mmap):
        def madvise(self, option, start, length):
            calls.append((start, length))
            return super().madvise(option, start, length)

    monkeypatch.setattr(mmap, "mmap", Map)
    rows = np.load(path, mmap_mode="r")
    offset = path.stat().st_size - X.size
    for view, before in ((rows, 0), (rows[1000:], 1000)):
        for start, stop in ((0, 5000), (5000, 12_000), (12_000, len(view))):
            calls.clear()
            release(view, slice(start, stop))
            ((first, length),) = calls
            low, high = offset + (before + start) * 37, offset + (before + stop) * 37
            assert low <= first < low + mmap.PAGESIZE and high - mmap.PAGESIZE < first + length <= high
            assert first % mmap.PAGESIZE == length % mmap.PAGESIZE == 0
    np.testing.assert_array_equal(rows, X)


MEMORY = """
import sys, threading, time
import numpy as np
from fastvbow.words import _lloyd, _rows, _sweep

path, how = sys.argv[1:]
small, centers = np.ones((3000, 64), np.uint8), np.eye(3, 64, dtype=np.float32)
_sweep.nearest_centers(small, centers)
X = np.load(path, mmap_mode="r")
if how == "keep":
    _rows.release = _sweep.release = lambda *_: None

def resident():  # pages of files in memory
    return int(open("/proc/self/statm").read().split()[2])

def watch():
    while not stop.wait(0.002):
        seen.append(resident())

stop, seen = threading.Event(), [resident()]
threading.Thread(target=watch, daemon=True).start()
_sweep.nearest_centers(X, centers, n_jobs=2)
if how != "keep":
    shards = [X[:300_000], X[300_000:]]
    _sweep.nearest_centers(shards, centers)
    for rows in (X, _rows.Shards(shards)):
        _rows.mean_variance(rows)
        with _sweep.pool_of(2) as pool:
            _lloyd._drawn(rows, None, [200_000, 400_000], np.random.RandomState(0), pool)
stop.set()
print((max(seen) - seen[0]) * 4096 >> 20)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="/proc tells the resident memory on Linux only")
@pytest.mark.parametrize("how", ["release", "keep"])
def test_a_pass_over_a_map_holds_a_few_blocks(tmp_path, how):
    # 100 MB without a byte on disk; "keep" shows that this way of measuring sees what is kept.
    np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.uint8, (1_600_000, 64))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "X.npy", how],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    assert grown > 90 if how == "keep" else grown < 45


# --- what is refused


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", FLOATS)
def test_not_finite_is_found_anywhere(dtype, bad):
    n = 2100  # three blocks
    good = np.random.default_rng(0).normal(size=(n, 3)).astype(dtype)
    assert len(list(row_blocks(good))) == 3
    check_finite(good)
    for row in (0, 1, 1023, 1024, 2000, n - 1):
        for column in range(3):
            X = good.copy()
            X[row, column] = bad
            for other in (X, np.asfortranarray(X), Shards([X[:5], X[5:]])):
                with pytest.raises(ValueError, match=r"NaN|infinity"):
                    check_finite(other)


@pytest.mark.parametrize("name", ["X", "init"])
def test_the_message_names_the_array(name):
    with pytest.raises(ValueError, match=f"{name} contains NaN"):
        check_finite(np.full((2, 2), np.nan), name)
    with pytest.raises(UsageError, match=f"{name} holds 1e.30"):
        check_finite(np.full((2, 2), 1e30, np.float32), name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 100])
def test_values_whose_squares_overflow_are_refused(dtype, d):
    limit = np.sqrt(np.finfo(dtype).max / 16 / d)
    X = np.zeros((2000, d), dtype)
    for sign in (1, -1):
        X[1500, d - 1] = sign * limit * 0.99
        check_finite(X)
        X[1500, d - 1] = sign * limit * 1.01
        with pytest.raises(UsageError, match="scale the data"):
            check_finite(X)
    # Many values that are each allowed, whose sum of squares is too much for the quick test.
    X[:] = 0.5 * limit
    check_finite(X)
    # What is allowed has distances: nothing overflows on the way.
    far = np.stack([np.full(d, 0.99 * limit), np.full(d, -0.99 * limit)]).astype(dtype)
    assert np.isfinite(np.sum((far[0] - far[1]) ** 2))


def test_integers_and_empty_arrays_are_finite():
    for X in (np.ones((3, 2), np.uint8), np.empty((0, 2)), np.empty((2, 0)), np.full((2, 2), 2**62)):
        check_finite(X)


@pytest.mark.parametrize("dtype", [np.uint8, *FLOATS])
@pytest.mark.parametrize("far", [0, 100])
def test_mean_variance_equals_twin(dtype, far):
    X = (far + np.random.default_rng(0).integers(0, 100, (5000, 7))).astype(dtype)
    for rows in (X, Shards([X[:10], X[10:]]), X[:1]):
        wanted = np.mean(np.var(np.asarray(rows[:]).astype(np.float64), axis=0))
        assert mean_variance(rows) == pytest.approx(wanted, rel=1e-9)


def test_mean_variance_far_from_the_origin():
    X = 1e9 + np.random.default_rng(0).normal(size=(5000, 2))
    assert mean_variance(X) == pytest.approx(X.var(axis=0).mean(), rel=1e-6)


def test_weights():
    assert checked_weights(None, 3) is None
    for given_, wanted in (([1, 2, 0], [1, 2, 0]), (2, [2, 2, 2]), (np.array([1, 2, 3], np.uint8), [1, 2, 3])):
        weights = checked_weights(given_, 3)
        assert weights.dtype == np.float64 and weights.flags.c_contiguous and weights.tolist() == wanted
    assert checked_weights(np.arange(12.0)[::4], 3).flags.c_contiguous


@pytest.mark.parametrize("bad", [[1, 2], [1, -1e-9, 1], [0, 0, 0], [np.nan, 1, 1], [np.inf, 1, 1], 0, -1, [[1, 1, 1]]])
def test_unusable_weights_are_refused(bad):
    with pytest.raises(UsageError, match="sample_weight"):
        checked_weights(bad, 3)
