"""Files of embeddings: each photograph gets its own row or a reason, whatever the order and the type."""

import os
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastvbow.errors import UsageError
from fastvbow.features import embeddings as module
from fastvbow.features.aligned import AlignedVectors, aligned
from fastvbow.features.embeddings import EmbeddingFile

NAMES = [f"folder/{i:02d} ä.jpg" for i in range(12)]
IDS = [f"{i:020x}" for i in range(12)]
VECTORS = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float16)
SHUFFLED = np.random.default_rng(1).permutation(12)


def write(file, vectors, /, **columns):
    table = {"embedding": vectors if isinstance(vectors, pa.Array) else pa.array(list(vectors))}
    pq.write_table(pa.table(columns | table), file)
    return file


def fixed(vectors):
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def read(path, names=NAMES, ids=IDS, root="/photographs"):
    """What each photograph gets."""
    file = EmbeddingFile(path)
    found = file.match(names, ids, root)
    with path.with_suffix(".aligned").open("w+b", buffering=0) as aside:
        out = AlignedVectors.create(aside, file.dimension, len(names))
        found.align(out)
        return [out.of(i) for i in range(len(names))]


def same(rows, vectors=VECTORS):
    np.testing.assert_array_equal(rows, aligned(vectors)[:, 1:])


PARQUET = {
    "list of double": lambda v: pa.array(list(v.astype(np.float64))),
    "list of float": lambda v: pa.array(list(v.astype(np.float32))),
    "list of half": lambda v: pa.array(list(v)),
    "large list": lambda v: pa.array(list(v.astype(np.float32)), pa.large_list(pa.float32())),
    "fixed": lambda v: fixed(v.astype(np.float32)),
    "fixed half": fixed,
    "tensor": lambda v: pa.FixedShapeTensorArray.from_numpy_ndarray(v.astype(np.float32)),
}


@pytest.mark.parametrize("kind", PARQUET)
@pytest.mark.parametrize("block", [1, 7 * 6, 1 << 20])
def test_parquet(kind, block, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    shuffled = [NAMES[i] for i in SHUFFLED]
    same(read(write(tmp_path / "v.parquet", PARQUET[kind](VECTORS[SHUFFLED]), path=shuffled, noise=[0.5] * 12)))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_names_of_any_type(kind, tmp_path):
    same(read(write(tmp_path / "v.parquet", VECTORS, path=pa.array(NAMES).cast(kind))))


def test_by_id(tmp_path):
    same(read(write(tmp_path / "v.parquet", VECTORS[SHUFFLED], image_id=[IDS[i] for i in SHUFFLED])))


def test_the_path_counts_where_both_are_there(tmp_path):
    same(read(write(tmp_path / "v.parquet", VECTORS, path=NAMES, image_id=list(range(12)))))


def test_whole_numbers(tmp_path):
    vectors = np.arange(1, 73).reshape(12, 6)
    for kind in (pa.uint8(), pa.int64()):
        same(read(write(tmp_path / "v.parquet", pa.array(vectors.tolist(), pa.list_(kind)), path=NAMES)), vectors)


@pytest.mark.parametrize("spelt", ["./{}", "/photographs/{}", "/photographs//./{}"])
def test_other_spellings_of_a_path(spelt, tmp_path):
    same(read(write(tmp_path / "v.parquet", VECTORS, path=[spelt.format(name) for name in NAMES])))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block", [1, 30, 1 << 20])
def test_array(dtype, order, block, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    np.save(tmp_path / "v.npy", np.asarray(VECTORS, dtype, order=order))
    same(read(tmp_path / "v.npy"))
    (note,) = EmbeddingFile(tmp_path / "v.npy").match(NAMES, IDS, "/").notes
    assert NAMES[0] in note
    assert NAMES[-1] in note


def test_array_with_paths_beside_it(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS[SHUFFLED])
    alone = EmbeddingFile(tmp_path / "v.npy").sha256
    (tmp_path / "v.txt").write_text("\ufeff" + "".join(f"{NAMES[i]}\r\n" for i in SHUFFLED), "utf-8", newline="")
    file = EmbeddingFile(tmp_path / "v.npy")
    same(read(tmp_path / "v.npy"))
    assert not file.match(NAMES, IDS, "/").notes
    assert "order" not in file.match(NAMES, IDS, "/").parameters
    assert file.sha256 != alone
    (tmp_path / "v.txt").write_text("".join(f"{name}\n" for name in NAMES[1:]), "utf-8")
    with pytest.raises(UsageError, match=r"v\.txt has 11 lines, .*v\.npy 12 rows"):
        read(tmp_path / "v.npy")


def test_names_that_are_no_utf8(tmp_path):
    """As the table of images writes them."""
    np.save(tmp_path / "v.npy", VECTORS[:2])
    (tmp_path / "v.txt").write_bytes(b"b\xff.jpg\na.jpg\n")
    same(read(tmp_path / "v.npy", ["a.jpg", "b\\xff.jpg"], IDS[:2]), VECTORS[1::-1])


def test_what_a_project_remembers(tmp_path):
    file = EmbeddingFile(write(tmp_path / "v.parquet", VECTORS, path=NAMES))
    known = file.match(NAMES, IDS, "/").parameters
    assert known["dimension"] == 6
    assert len(known["sha256"]) == 64
    assert set(known) == {"sha256", "dimension"}
    np.save(tmp_path / "v.npy", VECTORS)
    array = EmbeddingFile(tmp_path / "v.npy")
    orders = {array.match(names, IDS, "/").parameters["order"] for names in (NAMES, NAMES[::-1], [*NAMES[:-1], "x"])}
    assert len(orders) == 3


def test_what_a_photograph_may_lack(tmp_path):
    vectors = VECTORS.astype(np.float32)
    vectors[2] = 0
    vectors[3, 1] = np.inf
    rows = [None if i == 1 else list(row) for i, row in enumerate(vectors)]
    rows[4] = [None, *rows[4][1:]]
    kinds = [pa.list_(pa.float64()), pa.list_(pa.float32(), 6), pa.list_(pa.float16())]
    for number, kind in enumerate(kinds):
        array = pa.array(
            [row and [x if x is None else kind.value_type.to_pandas_dtype()(x) for x in row] for row in rows], kind
        )
        found = read(write(tmp_path / f"{number}.parquet", array[:-1], path=NAMES[:-1]))
        assert [row for row in found if isinstance(row, str)] == [
            "its embedding is null",
            "its embedding is all zeros",
            "its embedding has numbers that are not finite",
            "its embedding has numbers that are not finite",
            "no embedding",
        ]
        same(found[5:11], VECTORS[5:11])
        same(found[:1], VECTORS[:1])


def test_rows_of_other_photographs_are_counted(tmp_path):
    path = write(tmp_path / "v.parquet", VECTORS, path=["other.jpg", None, *NAMES[2:]])
    (warning,) = EmbeddingFile(path).match(NAMES, IDS, "/").warnings
    assert warning == "2 of 12 rows of v.parquet name no photograph of the source, the first of them 'other.jpg'"
    assert [isinstance(row, str) for row in read(path)] == [True, True] + [False] * 10


def raw(path, data):
    path.write_bytes(data)
    return path


def npy(path, array, **how):
    np.save(path, array, **how)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda t: t / "v.npy", r"cannot read embeddings from .*v\.npy: No such file"),
        (lambda t: t / "v.csv", r"takes a file \.npy or \.parquet, not .*v\.csv"),
        (lambda t: raw(t / "v.npy", b"nonsense"), r"v\.npy: "),
        (lambda t: raw(t / "v.npy", b""), r"v\.npy: "),
        (lambda t: raw(t / "v.npy", npy(t / "w.npy", VECTORS).read_bytes()[:-9]), r"v\.npy: "),
        (lambda t: raw(t / "v.parquet", b"nonsense"), r"v\.parquet: "),
        (lambda t: npy(t / "v.npy", VECTORS[0]), r"shape \(6,\)"),
        (lambda t: npy(t / "v.npy", VECTORS[:0]), r"shape \(0, 6\)"),
        (lambda t: npy(t / "v.npy", VECTORS.astype("c8")), "type complex64"),
        (lambda t: npy(t / "v.npy", VECTORS.astype(object), allow_pickle=True), r"v\.npy: .*"),
        (lambda t: npy(t / "v.npy", VECTORS[1:]), r"has 11 rows, the source 12 images.*v\.txt"),
        (lambda t: write(t / "v.parquet", VECTORS, name=NAMES), r"columns \['name', 'embedding'\]; wanted: path or"),
        (lambda t: write(t / "v.parquet", VECTORS, path=[b"a"] * 12), "column path is binary"),
        (lambda t: write(t / "v.parquet", pa.array([1.0] * 12), path=NAMES), "column embedding is double"),
        (lambda t: write(t / "v.parquet", pa.array([["a"]] * 12), path=NAMES), "embedding is list<element: string>"),
        (lambda t: write(t / "v.parquet", pa.array([None, []] * 6, pa.list_(pa.float32())), path=NAMES), "no vector"),
        (lambda t: write(t / "v.parquet", VECTORS[:0], path=pa.array([], pa.string())), "embedding is null|no vector"),
        (lambda t: write(t / "v.parquet", VECTORS, path=NAMES[:11] + NAMES[:1]), "two vectors of '.*00.*rows 0 and 11"),
        (lambda t: write(t / "v.parquet", VECTORS, path=NAMES[:11] + ["./" + NAMES[0]]), "two vectors .* 0 and 11"),
        (lambda t: write(t / "v.parquet", VECTORS, path=[f"x/{n}" for n in NAMES]), "none of its 12 rows.*'x/fold"),
        (
            lambda t: write(t / "v.parquet", pa.array([[1.0, 2.0]] * 9 + [[1.0]] + [[1.0, 2.0]] * 2), path=NAMES),
            r"row 9 \(from 0\) has 1 numbers, the first one 2",
        ),
    ],
)
def test_what_cannot_be_used(make, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        read(make(tmp_path))


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.save(tmp_path / "v.npy", np.array([[Trap()]], object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"v\.npy"):
        EmbeddingFile(tmp_path / "v.npy")
    assert not (tmp_path / "executed").exists()


def test_paths_that_read_alike(tmp_path):
    names = ["a.jpg", "b\\xff.jpg", "b\\xff.jpg"]
    for start in ("", "./"):
        path = write(tmp_path / "v.parquet", VECTORS[:3], path=[start + name for name in names])
        with pytest.raises(UsageError, match="name them by image_id"):
            read(path, names, IDS[:3])
    same(read(write(tmp_path / "w.parquet", VECTORS[:3], image_id=IDS[:3]), names, IDS[:3]), VECTORS[:3])


def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = write(tmp_path / "v.parquet", VECTORS, path=NAMES)
    file = EmbeddingFile(path)
    found = file.match(NAMES, IDS, "/")
    write(path, VECTORS[SHUFFLED], path=NAMES)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    with (tmp_path / "out").open("w+b", buffering=0) as out, pytest.raises(UsageError, match="changed while"):
        found.align(AlignedVectors.create(out, 6, 12))


def test_some_photographs_alone(tmp_path):
    found = EmbeddingFile(write(tmp_path / "v.parquet", VECTORS, path=NAMES)).match(NAMES, IDS, "/")
    with (tmp_path / "out").open("w+b", buffering=0) as file:
        out = AlignedVectors.create(file, 6, 3)
        found.align(out, [7, 0, 11])
        same([out.of(i) for i in range(3)], VECTORS[[7, 0, 11]])
        out = AlignedVectors.create(file, 6, 5)
        found.align(out)
        same([out.of(i) for i in range(5)], VECTORS[:5])


MEASURE = """
import sys
from pathlib import Path
from fastvbow.features.aligned import AlignedVectors
from fastvbow.features.embeddings import EmbeddingFile
path, n = Path(sys.argv[1]), int(sys.argv[2])
file = EmbeddingFile(path)
found = file.match([str(i) for i in range(n)], [""] * n, "/")
file.sha256
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))  # not the parent's peak
before = peak()
with path.with_suffix(".out").open("w+b", buffering=0) as out:
    aligned = AlignedVectors.create(out, file.dimension, n)
    found.align(aligned)
    for i in range(n):
        aligned.of(i)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_memory_does_not_grow_with_the_file(kind, tmp_path):
    n, dimension = 120_000, 500  # 240 MB, in Parquet one group of rows
    path = tmp_path / f"v.{kind}"
    if kind == "npy":
        array = np.lib.format.open_memmap(path, "w+", np.float32, (n, dimension))
        array[:] = 1
        array.flush()
    else:
        part = fixed(np.ones((n, dimension), np.float32))
        names = np.random.default_rng(0).permutation(n).astype(str).tolist()
        pq.write_table(pa.table({"path": names, "embedding": part}), path, compression="none", use_dictionary=False)
    assert path.stat().st_size > 235e6
    done = subprocess.run([sys.executable, "-c", MEASURE, path, str(n)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120e6  # a block in several forms, and what Arrow keeps: as much for any file
