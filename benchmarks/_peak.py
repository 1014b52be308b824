"""What one core can do at most: multiply-adds on registers alone, with the vectors that the package's kernels use."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastvbow.words import _simd

__all__ = ["KINDS", "peak"]

KINDS = ("float32", "uint8") if _simd.DOT else ("float32",)
CHAINS = 3 * _simd.REGISTERS // 4  # independent sums: more than latency x throughput, and they fit into the registers
I64, I32, F32 = ir.IntType(64), ir.IntType(32), ir.FloatType()


def _burst(of_bytes: bool) -> Any:
    @intrinsic
    def burst(typingctx, n, a, b):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            n, a, b = args
            scalar = I32 if of_bytes else F32
            vector = ir.VectorType(scalar, _simd.LANES)
            # Factors that the compiler does not know, or it would multiply by nothing.
            x, y = (_simd._splat(builder, builder.trunc(v, I32), _simd.LANES) for v in (a, b))
            if not of_bytes:
                x, y = builder.sitofp(x, vector), builder.sitofp(y, vector)

            def step(k, sums):  # type: ignore[no-untyped-def]
                if of_bytes:
                    return [_simd._dot4(builder, s, x, y) for s in sums]
                return [_simd._call(builder, f"llvm.fmuladd.v{_simd.LANES}f32", vector, x, y, s) for s in sums]

            starts = [ir.Constant(vector, [i] * _simd.LANES) for i in range(CHAINS)]  # no two sums are one
            sums = _simd._loop(builder, n, starts, step)
            total = sums[0]
            for s in sums[1:]:
                total = builder.add(total, s) if of_bytes else builder.fadd(total, s)
            lane = cgutils.alloca_once_value(builder, builder.extract_element(total, I32(0)))
            return builder.zext(builder.load(builder.bitcast(lane, I32.as_pointer())), I64)

        return types.intp(types.intp, types.intp, types.intp), codegen

    @njit
    def run(n: int, a: int, b: int) -> int:
        return burst(n, a, b)

    return run


_bursts: dict[str, Any] = {}


def peak(kind: str, seconds: float = 0.1) -> tuple[float, float]:
    """Return seconds and GFLOP/s (a multiplication and an addition are two) of a burst of about `seconds`.

    Parameters
    ----------
    kind : {"float32", "uint8"}
        "uint8" is products of bytes summed in int32; not in `KINDS` where the CPU has no instruction for that.
    seconds : float, default=0.1
    """
    if kind not in _bursts:
        _bursts[kind] = _burst(kind == "uint8")
        _bursts[kind](1, 1, 1)
    run, n = _bursts[kind], 10_000
    a, b = np.random.default_rng(0).integers(1, 3, 2)
    while True:
        start = time.perf_counter()
        run(n, a, b)
        spent = time.perf_counter() - start
        if spent >= seconds / 2:
            return spent, n * CHAINS * _simd.LANES * (8 if kind == "uint8" else 2) / spent / 1e9
        n = int(n * min(10, seconds / max(spent, 1e-6)))
