"""Command ``doctor``: what this machine offers, what is wrong with the installation, and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from fastvbow import __version__
from fastvbow.executors import effective_jobs

__all__ = ["Diagnosis", "Problem", "doctor"]

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "pyarrow",
    "safetensors",
)
CPU_FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vnni", "avxvnni", "neon", "dotprod")
NVIDIA = Path("/proc/driver/nvidia/version")
LOW_DISK, LOW_MEMORY = 5 << 30, 2 << 30


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do."""

    problem: str
    fix: str


@dataclass
class Diagnosis:
    """What `doctor` found; plain values, fit for JSON."""

    facts: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    cpu_features: list[str] = field(default_factory=list)
    providers: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def doctor(folder: Path = Path()) -> Diagnosis:
    """Examine the installation and the machine.

    Parameters
    ----------
    folder : Path, default=the working directory
        Whose disk is looked at.

    Returns
    -------
    Diagnosis
        ``providers`` says of each ONNX Runtime provider whether the default CNN really ran there, by running it.
    """
    found = Diagnosis()
    found.facts = {
        "fastvbow": __version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "processors": str(effective_jobs(None)),
    }
    for name in PACKAGES:
        try:
            found.packages[name] = version(name)
        except PackageNotFoundError:
            found.packages[name] = "not installed"
    _look_at_kernels(found)
    _look_at_onnxruntime(found)
    _look_at_opencv(found)
    _look_at_room(found, folder)
    return found


def _look_at_kernels(found: Diagnosis) -> None:
    try:
        from llvmlite import binding

        features = binding.get_host_cpu_features()
        found.facts["CPU"] = binding.get_host_cpu_name()
        found.cpu_features = [name for name in CPU_FEATURES if features.get(name)]
        found.facts["K-Means"] = import_module("fastvbow.words.warming").instructions()
    except (ImportError, RuntimeError) as error:
        found.problems.append(
            Problem(f"Numba's compiler does not load: {error}", "pip install --force-reinstall numba")
        )
    try:
        import_module("fastvbow.topics._gibbs")
    except ImportError as error:
        found.problems.append(
            Problem(
                f"the compiled sampler is missing: {error}", "install again where there is a C compiler: pip install ."
            )
        )


def _look_at_onnxruntime(found: Diagnosis) -> None:
    owners = _owners(found, "onnxruntime", f"pip install 'fastvbow[{_extra()}]'")
    if not owners:
        found.problems.append(
            Problem(
                "no ONNX Runtime: the CNN cannot run, only --features sift",
                f"pip install 'fastvbow[{_extra()}]'",
            )
        )
        return
    try:
        import onnxruntime

        available = onnxruntime.get_available_providers()
    except (ImportError, AttributeError) as error:
        found.problems.append(
            Problem(f"ONNX Runtime does not import: {error}", f"pip install --force-reinstall {owners[0]}")
        )
        return
    devices = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
    for provider in available:
        if provider not in devices:
            found.providers[provider] = "not used by fastvbow"
            continue
        try:
            _run_model(devices[provider])
            found.providers[provider] = "runs the default CNN"
        except Exception as error:  # whatever ONNX Runtime raises: this is the place to tell it
            found.providers[provider] = "does not run"
            found.problems.append(Problem(f"{provider}: {error}", "mend what it names, or work with --device cpu"))
    if NVIDIA.exists() and "CUDAExecutionProvider" not in available:
        found.problems.append(
            Problem(
                "there is an NVIDIA driver, but this ONNX Runtime has no CUDA",
                "pip uninstall -y onnxruntime && pip install 'fastvbow[gpu]'",
            )
        )


def _owners(found: Diagnosis, module: str, install: str) -> list[str]:
    """The installed packages that bring a module; more than one is a problem."""
    owners = sorted(set(packages_distributions().get(module, [])))
    if len(owners) > 1:
        problem = f"{' and '.join(owners)} are both installed and overwrite each other's files"
        found.problems.append(Problem(problem, f"pip uninstall -y {' '.join(owners)} && {install}"))
    return owners


def _extra() -> str:
    """The extra that brings the ONNX Runtime for this machine."""
    return "gpu" if NVIDIA.exists() else "cpu"


def _run_model(device: str) -> None:
    """Run the default CNN on a grey square."""
    import numpy as np

    from fastvbow.config import ExtractConfig
    from fastvbow.features.cnn import CnnExtractor
    from fastvbow.features.models import find_model

    CnnExtractor(find_model(ExtractConfig().model), device).extract(np.full((32, 32, 3), 128, np.uint8))


def _look_at_opencv(found: Diagnosis) -> None:
    _owners(found, "cv2", "pip install opencv-python-headless")
    try:
        cv2: Any = import_module("cv2")
        cv2.SIFT_create()
    except (ImportError, AttributeError) as error:
        found.problems.append(
            Problem(f"OpenCV has no SIFT: {error}", "pip install --force-reinstall opencv-python-headless")
        )


def _look_at_room(found: Diagnosis, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    found.facts["free disk"] = f"{free / 2**30:.1f} GiB at {folder.resolve()}"
    if free < LOW_DISK:
        found.problems.append(
            Problem(
                f"only {free / 2**30:.1f} GiB of disk are free at {folder.resolve()}",
                "features take about 60 kB a photograph: put the project (-o) on a larger disk",
            )
        )
    memory = _free_memory()
    if memory is not None:
        found.facts["free memory"] = f"{memory / 2**30:.1f} GiB"
        if memory < LOW_MEMORY:
            found.problems.append(
                Problem(f"only {memory / 2**30:.1f} GiB of memory are free", "close other programs, or pass --jobs 1")
            )


def _free_memory() -> int | None:
    """Bytes that programs can still have: on Linux with what caches would give back."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
