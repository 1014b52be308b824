"""Register tiles of the nearest-centre search, written as LLVM vectors for Numba.

Numba's own loops vectorise, but leave their accumulators in memory: about half of what a core can do. A tile is one
function that holds `POINTS` x n vectors of accumulators in registers over the whole length of the descriptors, for as
many vector registers as the CPU has. Everything is addressed by integers, so one compiled function serves every layout.

Element (centre c, dimension k) of a packed table of centres stands at ``[c // LANES][k][c % LANES]``, so a tile reads
it front to back. The tables hold *negated* centres: score = ||c||^2 / 2 - x.c then is one chain of fused additions,
started at the norm, in the order of the dimensions: the same number wherever the point or the centre stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastvbow.words._target import detect

__all__ = [
    "CANDIDATES",
    "CHAINS",
    "DOT",
    "LANES",
    "POINTS",
    "SEED_VECTORS",
    "VECTORS",
    "copy_bytes",
    "difference_tile",
    "float_tile",
    "int8_tile",
    "lanes_within",
    "lowest_float",
    "lowest_int",
    "score_chains",
]

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
CHAINS = 8


LANES, REGISTERS, DOT = detect()
# Accumulators, a vector of centres each and one for the point have to fit; the shapes are the fastest of those tried.
POINTS, VECTORS = (8, 3) if REGISTERS == 32 else (4, 3)
CANDIDATES, SEED_VECTORS = (4, 6) if REGISTERS == 32 else (4, 2)


def _at(b: Any, base: Any, index: Any, size: int) -> Any:
    return b.add(base, b.mul(index, I64(size)))


def _load(b: Any, kind: Any, address: Any, align: int) -> Any:
    value = b.load(b.inttoptr(address, kind.as_pointer()))
    value.align = align
    return value


def _store(b: Any, value: Any, address: Any, align: int) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer())).align = align


def _splat(b: Any, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = b.insert_element(undefined, value, I32(0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _call(b: Any, name: str, result: Any, *args: Any) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), args)


def _loop(b: Any, count: Any, start: list[Any], step: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Run `step` for k = 0 .. count - 1, count >= 1, carrying values in registers; return the last ones."""
    entry, body, done = b.block, b.append_basic_block("body"), b.append_basic_block("done")
    b.branch(body)
    b.position_at_end(body)
    k = b.phi(I64)
    k.add_incoming(I64(0), entry)
    carried = [b.phi(value.type) for value in start]
    for phi, value in zip(carried, start, strict=True):
        phi.add_incoming(value, entry)
    values = step(k, carried)
    for phi, value in zip(carried, values, strict=True):
        phi.add_incoming(value, body)
    after = b.add(k, I64(1))
    k.add_incoming(after, body)
    b.cbranch(b.icmp_unsigned("<", after, count), body, done)
    b.position_at_end(done)
    return values


def _float_type(kind: Any) -> tuple[Any, Any, int, int]:
    """LLVM's scalar and index types, bytes, and lanes for Numba's float32 or float64."""
    size = kind.bitwidth // 8
    return (ir.FloatType() if size == 4 else ir.DoubleType()), ir.IntType(8 * size), size, LANES * 4 // size


def float_tile(points: int, vectors: int) -> Any:
    """Make ``tile(x, x_stride, table, norms, best, index, d, group, zero)``.

    It scores `points` rows against `vectors` vectors of centres, the first of which has number `group`, and keeps for
    every row and lane the lowest score in `best` and the number of its vector in `index`; equal scores keep the
    earlier.

    x : address of (points, >= d) floats, x_stride of them apart; table, norms : addresses in the packed tables;
    best, index : addresses of (points, lanes) floats and integers of the same size; d >= 1; zero : 0 of the float type.
    """

    @intrinsic
    def tile(typingctx, x, x_stride, table, norms, best, index, d, group, zero):  # type: ignore[no-untyped-def]
        scalar, integer, size, lanes = _float_type(zero)
        vector, width = ir.VectorType(scalar, lanes), lanes * size

        def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
            x, x_stride, table, norms, best, index, d, group, _ = args
            rows = [_at(b, x, b.mul(x_stride, I64(p)), size) for p in range(points)]
            runs = [_at(b, table, b.mul(d, I64(v)), width) for v in range(vectors)]
            norm = [_load(b, vector, b.add(norms, I64(v * width)), width) for v in range(vectors)]

            def step(k, acc):  # type: ignore[no-untyped-def]
                c = [_load(b, vector, _at(b, run, k, width), width) for run in runs]
                out = []
                for p in range(points):
                    value = _splat(b, _load(b, scalar, _at(b, rows[p], k, size), size), lanes)
                    for v in range(vectors):
                        # fused where the CPU can, two operations where it cannot: never a call to a library
                        name = f"llvm.fmuladd.v{lanes}f{8 * size}"
                        out.append(_call(b, name, vector, value, c[v], acc[p * vectors + v]))
                return out

            scores = _loop(b, d, norm * points, step)
            for p in range(points):
                s_at, i_at = b.add(best, I64(p * width)), b.add(index, I64(p * width))
                s = _load(b, vector, s_at, width)
                i = _load(b, ir.VectorType(integer, lanes), i_at, width)
                for v in range(vectors):
                    score, number = scores[p * vectors + v], b.add(group, I64(v))
                    lower = b.fcmp_ordered("<", score, s)
                    s = b.select(lower, score, s)
                    i = b.select(lower, _splat(b, b.trunc(number, integer) if size == 4 else number, lanes), i)
                _store(b, s, s_at, width)
                _store(b, i, i_at, width)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8, zero), codegen

    return tile


def difference_tile(candidates: int, vectors: int) -> Any:
    """Make ``tile(candidate, packed, closest, out, out_stride, d, zero)``: squared distances for seeding.

    From differences, not from products: a row that is a centre already has distance 0, not the rounding of 0.

    candidate : address of (candidates, d) floats; packed : address of `vectors` vectors of rows, laid out as centres
    are; closest : address of a value a row; out : address of the first of `candidates` rows of results, out_stride
    bytes apart: min(closest, ||x - candidate||^2).
    """

    @intrinsic
    def tile(typingctx, candidate, packed, closest, out, out_stride, d, zero):  # type: ignore[no-untyped-def]
        scalar, _, size, lanes = _float_type(zero)
        vector, width = ir.VectorType(scalar, lanes), lanes * size

        def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
            candidate, packed, closest, out, out_stride, d, _ = args
            rows = [_at(b, candidate, b.mul(d, I64(t)), size) for t in range(candidates)]
            runs = [_at(b, packed, b.mul(d, I64(v)), width) for v in range(vectors)]

            def step(k, acc):  # type: ignore[no-untyped-def]
                x = [_load(b, vector, _at(b, run, k, width), width) for run in runs]
                new = []
                for t in range(candidates):
                    value = _splat(b, _load(b, scalar, _at(b, rows[t], k, size), size), lanes)
                    for v in range(vectors):
                        diff = b.fsub(x[v], value)
                        new.append(
                            _call(b, f"llvm.fmuladd.v{lanes}f{8 * size}", vector, diff, diff, acc[t * vectors + v])
                        )
                return new

            zeros = ir.Constant(vector, [0.0] * lanes)
            found = _loop(b, d, [zeros] * (candidates * vectors), step)
            for v in range(vectors):
                near = _load(b, vector, b.add(closest, I64(v * width)), width)
                for t in range(candidates):
                    value = found[t * vectors + v]
                    value = b.select(b.fcmp_ordered("<", value, near), value, near)
                    _store(b, value, b.add(_at(b, out, b.mul(out_stride, I64(t)), 1), I64(v * width)), width)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6, zero), codegen

    return tile


def _dot4(b: Any, acc: Any, x: Any, c: Any) -> Any:
    """acc + the sum of four products of unsigned and signed bytes, in every lane; all are vectors of int32."""
    if DOT == "vpdpbusd":
        return _call(b, f"llvm.x86.avx512.vpdpbusd.{32 * LANES}", acc.type, acc, x, c)
    bytes_ = ir.VectorType(I8, 4 * LANES)
    if DOT == "sdot":  # signed x signed: the caller corrects for the 128 that is taken off here
        x = b.xor(x, ir.Constant(x.type, [-0x7F7F7F80] * LANES))
    name = f"llvm.aarch64.neon.{DOT}.v{LANES}i32.v{4 * LANES}i8"
    return _call(b, name, acc.type, acc, b.bitcast(x, bytes_), b.bitcast(c, bytes_))


def int8_tile(points: int, vectors: int, second: bool) -> Any:
    """Make ``tile(x, x_stride, table, norms, best, runner_up, index, quads, group)``, `float_tile` on bytes.

    x : address of (points, >= 4 * quads) uint8, x_stride of them apart; table : int8, [vector][quad][lane][4];
    norms, best, index : int32. With `second`, the second lowest score of every lane is kept in `runner_up`.
    """
    vector, width = ir.VectorType(I32, LANES), 4 * LANES

    @intrinsic
    def tile(typingctx, x, x_stride, table, norms, best, runner_up, index, quads, group):  # type: ignore[no-untyped-def]
        def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
            x, x_stride, table, norms, best, runner_up, index, quads, group = args
            rows = [b.add(x, b.mul(x_stride, I64(p))) for p in range(points)]
            runs = [_at(b, table, b.mul(quads, I64(v)), width) for v in range(vectors)]
            norm = [_load(b, vector, b.add(norms, I64(v * width)), width) for v in range(vectors)]

            def step(k, acc):  # type: ignore[no-untyped-def]
                c = [_load(b, vector, _at(b, run, k, width), width) for run in runs]
                out = []
                for p in range(points):
                    value = _splat(b, _load(b, I32, _at(b, rows[p], k, 4), 1), LANES)
                    out += [_dot4(b, acc[p * vectors + v], value, c[v]) for v in range(vectors)]
                return out

            scores = _loop(b, quads, norm * points, step)
            low, high = f"llvm.smin.v{LANES}i32", f"llvm.smax.v{LANES}i32"
            for p in range(points):
                s_at, i_at, r_at = (b.add(a, I64(p * width)) for a in (best, index, runner_up))
                s, i = _load(b, vector, s_at, width), _load(b, vector, i_at, width)
                r = _load(b, vector, r_at, width) if second else None
                for v in range(vectors):
                    score = scores[p * vectors + v]
                    lower = b.icmp_signed("<", score, s)
                    if second:
                        r = _call(b, low, vector, r, _call(b, high, vector, s, score))
                    s = _call(b, low, vector, s, score)
                    i = b.select(lower, _splat(b, b.trunc(b.add(group, I64(v)), I32), LANES), i)
                _store(b, s, s_at, width)
                _store(b, i, i_at, width)
                if second:
                    _store(b, r, r_at, width)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), codegen

    return tile


def _first_lane(b: Any, at_lowest: Any, index: Any, integer: Any, lanes: int) -> Any:
    """The lowest centre among those whose lane is set: lane + lanes * index."""
    kind = ir.VectorType(integer, lanes)
    center = b.add(b.mul(index, ir.Constant(kind, [lanes] * lanes)), ir.Constant(kind, list(range(lanes))))
    candidates = b.select(at_lowest, center, ir.Constant(kind, [-1] * lanes))
    first = _call(b, f"llvm.vector.reduce.umin.v{lanes}i{integer.width}", integer, candidates)
    return b.zext(first, I64) if integer.width < 64 else first


@intrinsic
def lowest_float(typingctx, best, index, zero):  # type: ignore[no-untyped-def]
    """The centre of the lowest score in a row's lanes (addresses as `float_tile` fills them); the lowest of equals."""
    scalar, integer, size, lanes = _float_type(zero)
    vector = ir.VectorType(scalar, lanes)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        s = _load(b, vector, args[0], lanes * size)
        i = _load(b, ir.VectorType(integer, lanes), args[1], lanes * size)
        reduce = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(scalar, [vector]), f"llvm.vector.reduce.fmin.v{lanes}f{8 * size}"
        )
        lowest = b.call(reduce, [s], fastmath=["nnan", "nsz"])  # scores compared with < are never NaN
        return _first_lane(b, b.fcmp_ordered("==", s, _splat(b, lowest, lanes)), i, integer, lanes)

    return types.intp(types.intp, types.intp, zero), codegen


@intrinsic
def lowest_int(typingctx, best, index):  # type: ignore[no-untyped-def]
    """`lowest_float` for `int8_tile`."""
    vector = ir.VectorType(I32, LANES)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        s, i = (_load(b, vector, a, 4 * LANES) for a in args)
        lowest = _call(b, f"llvm.vector.reduce.smin.v{LANES}i32", I32, s)
        return _first_lane(b, b.icmp_signed("==", s, _splat(b, lowest, LANES)), i, I32, LANES)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def lanes_within(typingctx, values, limit):  # type: ignore[no-untyped-def]
    """Bit l is set where lane l of the int32 vector at the address `values` is at most `limit`."""
    vector = ir.VectorType(I32, LANES)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        within = b.icmp_signed("<=", _load(b, vector, args[0], 4 * LANES), _splat(b, b.trunc(args[1], I32), LANES))
        return b.zext(b.bitcast(within, ir.IntType(LANES)), I64)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def copy_bytes(typingctx, to, source, count):  # type: ignore[no-untyped-def]
    """Copy `count` bytes from address to address."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        to, source = (b.inttoptr(a, I8.as_pointer()) for a in args[:2])
        cgutils.raw_memcpy(b, to, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3), codegen


@intrinsic
def score_chains(typingctx, x, x_stride, centers, out, d):  # type: ignore[no-untyped-def]
    """CHAINS scores of single centres, bit for bit those of `float_tile` on float32.

    x : address of (CHAINS, >= d) float32, x_stride apart; centers : address of CHAINS addresses of d negated float32;
    out : address of CHAINS float32: the norms on entry, the scores on return.
    """

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        x, x_stride, centers, out, d = args
        scalar = ir.FloatType()
        rows = [_at(b, x, b.mul(x_stride, I64(j)), 4) for j in range(CHAINS)]
        runs = [_load(b, I64, b.add(centers, I64(8 * j)), 8) for j in range(CHAINS)]

        def step(k, acc):  # type: ignore[no-untyped-def]
            pairs = zip(rows, runs, acc, strict=True)
            loaded = [
                (_load(b, scalar, _at(b, r, k, 4), 4), _load(b, scalar, _at(b, c, k, 4), 4), a) for r, c, a in pairs
            ]
            return [_call(b, "llvm.fmuladd.f32", scalar, *three) for three in loaded]

        scores = _loop(b, d, [_load(b, scalar, b.add(out, I64(4 * j)), 4) for j in range(CHAINS)], step)
        for j in range(CHAINS):
            _store(b, scores[j], b.add(out, I64(4 * j)), 4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen
