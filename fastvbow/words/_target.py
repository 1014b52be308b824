"""The CPU that kernels are compiled for."""

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.binding as llvm
from numba.core import config
from numba.core.codegen import get_host_cpu_features

__all__ = ["Target", "detect"]


class Target(NamedTuple):
    """What the code is compiled for."""

    lanes: int  # float32 in a vector
    registers: int
    dot: str  # how four products of 8 bits are summed in one instruction; "" where there is no such


def detect(cpu: str | None = None, features: dict[str, bool] | None = None) -> Target:
    """Choose vectors for the CPU that Numba compiles for: this one, or that of NUMBA_CPU_NAME and NUMBA_CPU_FEATURES.

    Parameters
    ----------
    cpu, features : str and dict of str to bool, optional
        LLVM's name of a CPU and its features; None is Numba's choice.
    """
    settings: Any = config
    if features is None:
        listed = settings.CPU_FEATURES
        if listed is None:
            same = (cpu or settings.CPU_NAME or llvm.get_host_cpu_name()) == llvm.get_host_cpu_name()
            listed = get_host_cpu_features() if same else ""  # the latter minds NUMBA_ENABLE_AVX
        features = {f.strip()[1:]: f.strip()[0] == "+" for f in listed.split(",") if f.strip()}
    cpu = cpu or settings.CPU_NAME or llvm.get_host_cpu_name()
    if llvm.get_process_triple().startswith(("aarch64", "arm64")):
        dot = "usdot" if features.get("i8mm") else "sdot" if features.get("dotprod") else ""
        return Target(4, 32, dot)
    # How wide its registers are, the compiler knows best: it is asked to add two vectors.
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(
        "define void @f(ptr %p) {\n %a = load <16 x float>, ptr %p\n %b = fadd <16 x float> %a, %a\n"
        " store <16 x float> %b, ptr %p\n ret void\n}"
    )
    switches = ",".join(("+" if on else "-") + name for name, on in features.items())
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=switches)
    assembly = machine.emit_assembly(module)
    lanes = 16 if "zmm" in assembly else 8 if "ymm" in assembly else 4
    if lanes == 16 and features.get("avx512vnni"):
        return Target(16, 32, "vpdpbusd")
    return Target(lanes, 32 if lanes == 16 else 16, "vpdpbusd" if lanes == 8 and features.get("avxvnni") else "")
