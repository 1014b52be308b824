"""Register tiles for every kind of vector: what this CPU runs, and what the compiler makes of them for others."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys

import llvmlite.binding as llvm
import naive_kmeans as naive
import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.core import config

from fastvbow.memory import aligned
from fastvbow.words import _packing, _simd
from fastvbow.words._simd import detect
from fastvbow.words._target import Target

X86 = llvm.get_process_triple().startswith("x86_64")
HOST = {name for name, on in llvm.get_host_cpu_features().items() if on}
on_x86 = pytest.mark.skipif(not X86, reason="names and instructions of x86")


def features(*names):
    return dict.fromkeys(names, True)


# --- what is chosen


@on_x86
@pytest.mark.parametrize(
    ("cpu", "listed", "wanted"),
    [
        ("generic", (), Target(4, 16, "")),
        ("x86-64", (), Target(4, 16, "")),
        ("nehalem", (), Target(4, 16, "")),
        ("sandybridge", (), Target(8, 16, "")),
        ("haswell", (), Target(8, 16, "")),
        ("x86-64-v3", (), Target(8, 16, "")),
        ("znver3", (), Target(8, 16, "")),
        ("alderlake", ("avxvnni",), Target(8, 16, "vpdpbusd")),
        ("skylake-avx512", (), Target(16, 32, "")),
        ("x86-64-v4", (), Target(16, 32, "")),
        ("cascadelake", ("avx512vnni",), Target(16, 32, "vpdpbusd")),
        ("icelake-server", ("avx512vnni",), Target(16, 32, "vpdpbusd")),
        ("sapphirerapids", ("avx512vnni", "avxvnni"), Target(16, 32, "vpdpbusd")),
        ("znver4", ("avx512vnni",), Target(16, 32, "vpdpbusd")),
        ("znver5", ("avx512vnni", "avxvnni"), Target(16, 32, "vpdpbusd")),
    ],
)
def test_cpus_by_name(cpu, listed, wanted):
    assert detect(cpu, features(*listed)) == wanted


@on_x86
def test_features_count_beside_the_name():
    assert detect("haswell", features("avx512f", "avx512vnni")).dot == "vpdpbusd"
    assert detect("znver5", {"avx512f": False, "avxvnni": True}) == Target(8, 16, "vpdpbusd")
    assert detect("znver5", {"avx512f": False, "avx512vnni": False, "avxvnni": False}) == Target(8, 16, "")
    assert detect("haswell", {"avx": False}) == Target(4, 16, "")


@on_x86
@pytest.mark.parametrize(
    ("cpu", "listed", "wanted"),
    [
        ("haswell", None, Target(8, 16, "")),
        ("haswell", "", Target(8, 16, "")),
        ("generic", "", Target(4, 16, "")),
        ("alderlake", "+avxvnni", Target(8, 16, "vpdpbusd")),
        ("alderlake", " +avx2, +avxvnni ,-avx512f,", Target(8, 16, "vpdpbusd")),
        ("alderlake", "-avxvnni", Target(8, 16, "")),
    ],
)
def test_numbas_settings_are_followed(monkeypatch, cpu, listed, wanted):
    monkeypatch.setattr(config, "CPU_NAME", cpu)
    monkeypatch.setattr(config, "CPU_FEATURES", listed)
    assert detect() == wanted


@on_x86
def test_avx_can_be_switched_off(monkeypatch):
    """NUMBA_ENABLE_AVX=0, and what Numba itself does on Sandy and Ivy Bridge: no AVX instruction may be asked for."""
    monkeypatch.setattr(config, "ENABLE_AVX", 0)
    assert detect().dot == ""


@pytest.mark.parametrize(
    ("listed", "dot"), [((), ""), (("dotprod",), "sdot"), (("dotprod", "i8mm"), "usdot"), (("neon",), "")]
)
@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin23.0.0"])
def test_arm(monkeypatch, triple, listed, dot):
    monkeypatch.setattr(llvm, "get_process_triple", lambda: triple)
    assert detect("neoverse-n1", features(*listed)) == Target(4, 32, dot)


def test_this_process_is_compiled_for_what_was_detected():
    assert detect() == (_simd.LANES, _simd.REGISTERS, _simd.DOT)
    # Accumulators, a vector of centres each and one of the row fit into the registers.
    for points, vectors in ((_simd.POINTS, _simd.VECTORS), (_simd.CANDIDATES, _simd.SEED_VECTORS)):
        assert points * vectors + vectors + 1 <= _simd.REGISTERS


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_aligned(dtype):
    for shape in (1, 63, (3, 5), (0, 4), (7, 64)):
        array = aligned(shape, dtype)
        assert (array.ctypes.data % 64 == 0 or array.size == 0) and array.dtype == dtype and not array.any()
        assert array.shape == ((shape,) if isinstance(shape, int) else shape)


# --- what the compiler makes of a tile


class Context:
    """As much of Numba's context as the tiles ask for."""

    def get_dummy_value(self):
        return None


def written(tile, *kinds):
    """LLVM's assembly of a tile as a function named "tile" of so many 64-bit integers."""
    signature, codegen = tile._defn(None, *kinds)
    plain = [k for k in kinds if k is types.intp]
    module = ir.Module("tile")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(plain)), "tile")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    codegen(Context(), builder, signature, [*function.args, *[None] * (len(kinds) - len(plain))])
    builder.ret_void()
    return str(module)


def assembly(text, triple, cpu, listed):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this LLVM writes no code for {triple}")
    module = llvm.parse_assembly(text)
    module.verify()
    # Numba's level, so that registers are given out as they will be.
    return target.create_target_machine(cpu=cpu, features=listed, opt=3).emit_assembly(module)


INTEL, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
# lanes, points, triple, cpu, features, products of float32
FLOATS = [
    (4, 4, INTEL, "x86-64", "", r"mulps\s.*%xmm"),
    (8, 4, INTEL, "haswell", "", r"vfmadd\w+ps\s.*%ymm"),
    (16, 8, INTEL, "skylake-avx512", "", r"vfmadd\w+ps\s.*%zmm"),
    (4, 8, ARM, "neoverse-n1", "", r"fmla\s+v\d+\.4s"),
]
BYTES = [
    (8, 4, "vpdpbusd", INTEL, "alderlake", "+avxvnni", r"vpdpbusd\s+%ymm"),
    (16, 8, "vpdpbusd", INTEL, "cascadelake", "+avx512vnni", r"vpdpbusd\s+.*%zmm"),
    (16, 8, "vpdpbusd", INTEL, "znver4", "+avx512vnni", r"vpdpbusd\s+.*%zmm"),
    (4, 8, "sdot", ARM, "neoverse-n1", "+dotprod", r"\bsdot\s+v\d+\.4s, v\d+\.16b"),
    (4, 8, "usdot", ARM, "neoverse-v1", "+dotprod,+i8mm", r"\busdot\s+v\d+\.4s, v\d+\.16b"),
]


def check_loop(text, product, many):
    """The loop has as many products as the tile, no library is called, and nothing in it is kept on the stack.

    But for SSE2, which has no fused product: the extra register is one too many.
    """
    assert not re.search(r"^\s+(call|callq|bl)\s", text, re.MULTILINE)
    label = re.search(r"^(\.L\w+):", text, re.MULTILINE)
    loop = text[label.start() : re.search(rf"^\s+\S+\s.*{re.escape(label[1])}$", text, re.MULTILINE).end()]
    assert len(re.findall(product, loop)) == many
    assert product.startswith("mul") or not re.search(r"%rsp|%rbp|\[sp\b|\[x29\b", loop), loop


@pytest.mark.parametrize(("lanes", "points", "triple", "cpu", "listed", "product"), FLOATS)
@pytest.mark.parametrize("kind", [types.float32, types.float64], ids=str)
def test_float_tiles_for_other_cpus(monkeypatch, lanes, points, triple, cpu, listed, product, kind):
    monkeypatch.setattr(_simd, "LANES", lanes)
    text = assembly(written(_simd.float_tile(points, 3), *[types.intp] * 8, kind), triple, cpu, listed)
    check_loop(text, product if kind is types.float32 else product.replace("ps", "pd").replace("4s", "2d"), 3 * points)


@pytest.mark.parametrize(("lanes", "points", "dot", "triple", "cpu", "listed", "instruction"), BYTES)
@pytest.mark.parametrize("second", [False, True])
def test_byte_tiles_for_other_cpus(monkeypatch, lanes, points, dot, triple, cpu, listed, instruction, second):
    monkeypatch.setattr(_simd, "LANES", lanes)
    monkeypatch.setattr(_simd, "DOT", dot)
    text = assembly(written(_simd.int8_tile(points, 3, second), *[types.intp] * 9), triple, cpu, listed)
    check_loop(text, instruction, 3 * points)


# --- what the tiles compute: run here, whatever they were written for


def emulated(text, dot, lanes):
    """The same with a plain function in place of the instruction, for CPUs that have it not."""
    name = re.search(r'@"?(llvm\.(?:x86|aarch64)\.[\w.]+)"?', text)[1]
    text = re.sub(rf'^declare .*@"?{re.escape(name)}"?.*$', "", text, flags=re.MULTILINE)
    text = re.sub(rf'@"?{re.escape(name)}"?', "@dot", text)
    wide, narrow, many = f"<{4 * lanes} x i32>", f"<{4 * lanes} x i8>", 4 * lanes
    of_ints = dot == "vpdpbusd"
    kind = f"<{lanes} x i32>" if of_ints else narrow
    lines = [f"define <{lanes} x i32> @dot(<{lanes} x i32> %acc, {kind} %x0, {kind} %c0) alwaysinline {{"]
    for one in "xc":
        lines.append(f"%{one} = bitcast {kind} %{one}0 to {narrow}")
        lines.append(f"%{one}w = {'zext' if one == 'x' and dot != 'sdot' else 'sext'} {narrow} %{one} to {wide}")
    lines.append(f"%p = mul {wide} %xw, %cw")
    total = "%acc"
    for j in range(4):
        mask = ", ".join(f"i32 {i}" for i in range(j, many, 4))
        lines.append(f"%q{j} = shufflevector {wide} %p, {wide} poison, <{lanes} x i32> <{mask}>")
        lines.append(f"%s{j} = add <{lanes} x i32> {total}, %q{j}")
        total = f"%s{j}"
    return text + "\n".join([*lines, f"ret <{lanes} x i32> {total}", "}"])


def run(text, *args):
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(text)
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten()
    )
    with llvm.create_mcjit_compiler(module, machine) as engine:
        engine.finalize_object()
        address = engine.get_function_address("tile")
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(args))(address)(
            *(a.ctypes.data if isinstance(a, np.ndarray) else a for a in args)
        )


DOTS = [(4, "sdot"), (4, "usdot"), (8, "vpdpbusd"), (16, "vpdpbusd")]


@pytest.mark.parametrize(("lanes", "dot"), DOTS)
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize(("points", "vectors", "d"), [(8, 3, 128), (4, 2, 4), (1, 1, 12)])
def test_byte_tiles_equal_twin(monkeypatch, lanes, dot, second, points, vectors, d):
    monkeypatch.setattr(_simd, "LANES", lanes)
    monkeypatch.setattr(_simd, "DOT", dot)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (points, d + 4)).astype(np.uint8)
    x[0, :d] = 255
    K, first = vectors * lanes, 5
    centers = rng.choice([-127, 127, *range(-9, 9)], (K, d)).astype(np.int8)
    centers[-1] = centers[0]  # a tie
    table, norms = aligned((vectors, d // 4, lanes, 4), np.int8), aligned((vectors, lanes), np.int32)
    table[:] = naive.packed_bytes(centers, lanes)
    norms.reshape(-1)[:] = np.r_[rng.integers(-1000, 1000, K - 1), 0]
    norms.reshape(-1)[0] = 0
    best, runner, index = (aligned((points, lanes), np.int32) for _ in range(3))
    before = rng.integers(-300_000, 300_000, (points, lanes))
    best[:], runner[:], index[:] = before, 2**31 - 1, 2
    text = emulated(written(_simd.int8_tile(points, vectors, second), *[types.intp] * 9), dot, lanes)
    run(text, x, d + 4, table, norms, best, runner, index, d // 4, first)
    signed = x[:, :d].astype(np.int64) - (128 if dot == "sdot" else 0)
    scores = norms.reshape(-1) + signed @ centers.astype(np.int64).T
    lowest, next_, at = naive.two_lowest(np.concatenate([before, scores], axis=1), lanes)
    np.testing.assert_array_equal(best, lowest)
    np.testing.assert_array_equal(index, np.where(at == 0, 2, at - 1 + first))
    np.testing.assert_array_equal(runner, next_ if second else 2**31 - 1)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize(("kind", "dtype"), [(types.float32, np.float32), (types.float64, np.float64)])
@pytest.mark.parametrize(("points", "vectors", "d"), [(8, 3, 128), (4, 2, 1), (1, 1, 7)])
def test_float_tiles_equal_twin(monkeypatch, lanes, kind, dtype, points, vectors, d):
    monkeypatch.setattr(_simd, "LANES", lanes)
    of_kind = lanes * 4 // np.dtype(dtype).itemsize
    rng = np.random.default_rng(0)
    x = rng.integers(-50, 50, (points, d + 3)).astype(dtype)  # whole numbers: scores are exact
    K, first = vectors * of_kind, 7
    centers = rng.integers(-50, 50, (K, d)).astype(dtype)
    centers[-1] = centers[0]
    table, norms = aligned((vectors, d, of_kind), dtype), aligned((vectors, of_kind), dtype)
    table[:] = naive.packed(-centers, of_kind)
    norms.reshape(-1)[:] = 0.5 * np.sum(centers.astype(np.float64) ** 2, axis=1)
    best, index = aligned((points, of_kind), dtype), aligned((points, of_kind), f"i{np.dtype(dtype).itemsize}")
    before = np.where(rng.random((points, of_kind)) < 0.5, np.inf, rng.integers(-9999, 99_999, (points, of_kind)))
    best[:], index[:] = before, 3
    text = written(_simd.float_tile(points, vectors), *[types.intp] * 8, kind)
    run(text, x, d + 3, table, norms, best, index, d, first)
    scores = norms.reshape(-1) - x[:, :d].astype(np.float64) @ centers.T.astype(np.float64)
    lowest, _, at = naive.two_lowest(np.concatenate([before, scores], axis=1), of_kind)
    np.testing.assert_array_equal(best, lowest)
    np.testing.assert_array_equal(index, np.where(at == 0, 3, at - 1 + first))


@pytest.mark.parametrize(("lanes", "dot"), DOTS)
def test_rounded_scores_are_the_same_for_every_instruction(monkeypatch, lanes, dot):
    """`round_centers` and the tile belong together: the signed instruction needs other norms, and gives the same."""
    rng = np.random.default_rng(0)
    d, K = 30, 4 * lanes - 3
    x = np.zeros((8, 32), np.uint8)
    x[:, :d] = rng.integers(0, 256, (8, d))
    every = rng.uniform(0, 255, (61, d)).astype(np.float32)
    monkeypatch.setattr(_simd, "LANES", lanes)
    monkeypatch.setattr(_packing, "LANES", lanes)
    monkeypatch.setattr(_simd, "DOT", dot)
    rounded = _packing.round_centers(every[:K])
    best, runner, index = (aligned((8, lanes), np.int32) for _ in range(3))
    best[:] = runner[:] = 2**31 - 1
    tile = emulated(written(_simd.int8_tile(8, 4, True), *[types.intp] * 9), dot, lanes)
    run(tile, x, 32, rounded.table, rounded.norms, best, runner, index, 8, 0)
    monkeypatch.setattr(_simd, "DOT", "vpdpbusd")
    unsigned = _packing.round_centers(every[:K])
    scores = unsigned.norms.reshape(-1)[:K] + x.astype(np.int64) @ unsigned.rounded.astype(np.int64).T
    places = index * lanes + np.arange(lanes)
    np.testing.assert_array_equal(best, np.take_along_axis(scores, places, axis=1))
    np.testing.assert_array_equal(best.min(axis=1), scores.min(axis=1))
    # Near enough to the true ones, in units of the scale, but for what all centres share.
    C = every[:K].astype(np.float64)
    scale = np.abs(C - (C.max(axis=0) + C.min(axis=0)) / 2).max() / 127
    true = (np.sum(C**2, axis=1) / 2 - x[:, :d] @ C.T) / scale
    shift = np.median(scores - true, axis=1, keepdims=True)
    reach = np.linalg.norm(x[:, :d] - rounded.near.astype(np.float64), axis=1)[:, None]
    assert np.all(np.abs(scores - true - shift) <= 2 * (reach * rounded.radius + 1))
    assert np.std(scores - true - shift) < 0.05 * np.std(scores)


# --- whole processes for other targets

WORK = """
import sys
import numpy as np
from fastvbow import KMeans, MiniBatchKMeans
from fastvbow.words import _simd
from fastvbow.words._sweep import nearest_centers
from fastvbow.words.assignment import PackedCenters

def by(X, centers, precision, floats=False):
    packed = PackedCenters(centers, precision)
    packed._bytes = None if floats else packed._bytes
    labels = np.empty(len(X), np.int32)
    packed.assign(X, labels)
    return labels

def data():
    rng = np.random.default_rng(0)
    crowds = rng.integers(20, 230, (6, 20))
    X = (crowds[rng.integers(0, 6, 3000)] + rng.normal(0, 9, (3000, 20))).clip(0, 255).astype(np.uint8)
    return X, (X[:77] + rng.random((77, 20))).astype(np.float32)

def work(what):
    X, centers = data()
    found = {"uint8": nearest_centers(X, centers)[0], "fast": by(X, centers, "fast"), "trained": [], "mixed": 0}
    if "floats" in what:
        found["float32"] = nearest_centers(X.astype(np.float32) - 100, centers - 100)[0]
        found["float64"] = nearest_centers(X.astype(np.float64), centers.astype(np.float64))[0]
    # Of the same process, so to the bit; some of the hardest cases.
    for seed in range(60):
        rng = np.random.default_rng(seed)
        spread = 10.0 ** rng.integers(-5, 3)
        few = X[: rng.integers(1, 500), : rng.integers(1, 21)].copy()
        near = (few.mean(axis=0) + spread * rng.normal(size=(rng.integers(1, 90), few.shape[1]))).astype(np.float32)
        found["mixed"] += not np.array_equal(by(few, near, "exact"), by(few, near, "exact", floats=True))
    if "training" in what:
        found["trained"].append(KMeans(6, random_state=0).fit(X).inertia_)
        found["trained"].append(MiniBatchKMeans(6, random_state=0).fit(X).inertia_)
    return found

if __name__ == "__main__":
    np.savez(sys.argv[1], target=[_simd.LANES, _simd.REGISTERS], dot=_simd.DOT, **work(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def here():
    names = {"__name__": "here"}
    exec(WORK, names)
    return names["data"](), names["work"]("floats, training")


# Settings, what this CPU must have, lanes, instruction, and what is compared beside labels of uint8.
OTHERS = {
    "haswell beside this CPU's features": ({"NUMBA_CPU_NAME": "haswell"}, "avx2", 8, "", ""),
    "AVX2": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, "avx2", 8, "", "training"),
    "SSE2": ({"NUMBA_CPU_NAME": "generic"}, "sse2", 4, "", "floats, training"),
    "AVX-VNNI": ({"NUMBA_CPU_NAME": "alderlake", "NUMBA_CPU_FEATURES": "+avxvnni"}, "avxvnni", 8, "vpdpbusd", ""),
    "AVX switched off": ({"NUMBA_ENABLE_AVX": "0"}, "sse2", None, "", ""),
}


@on_x86
@pytest.mark.parametrize("name", OTHERS)
def test_other_targets_find_the_same(here, tmp_path, name):
    env, needed, lanes, dot, what = OTHERS[name]
    if needed not in HOST:
        pytest.skip(f"this CPU has no {needed}")
    (tmp_path / "work.py").write_text(WORK)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    env = {**clean, **env, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    words = [sys.executable, tmp_path / "work.py", tmp_path / "found.npz", what]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    assert str(found["dot"]) == dot
    assert lanes is None or found["target"][0] == lanes
    assert not found["mixed"]
    (X, centers), mine = here
    assert not mine["mixed"]
    D = naive.squared_distances(X, centers)
    for kind in {"uint8", "float32", "float64"} & set(found.files):
        a, b = (np.take_along_axis(D, labels[:, None], axis=1) for labels in (mine[kind], found[kind]))
        np.testing.assert_allclose(a, b, rtol=1e-5)
        assert np.mean(mine[kind] != found[kind]) < 0.002
    # Rounded scores are whole numbers, the same everywhere; without them, "fast" is "exact".
    if dot == "":
        np.testing.assert_array_equal(found["fast"], found["uint8"])
    elif _simd.DOT:
        np.testing.assert_array_equal(found["fast"], mine["fast"])
    if "training" in what:
        np.testing.assert_allclose(mine["trained"], found["trained"], rtol=1e-4)
