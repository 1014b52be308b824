"""Extension modules only; everything else about the build stands in ``pyproject.toml``.

The kernels take typed memoryviews, so they need neither NumPy's headers nor its ABI, and nothing is compiled for
the build machine alone (no ``-march=native``): a wheel built here runs on any CPU of the same family, and chooses the
samplers for its instructions when it runs. Multiply and add stay two roundings (``-ffp-contract=off``), so that every
compiler and CPU samples the same topics.

With FASTVBOW_DEBUG=1 in the environment the kernels check bounds and counts, and undefined behaviour ends the process.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("FASTVBOW_DEBUG") == "1"
SANITIZE = ["-fsanitize=undefined", "-fno-sanitize-recover=all"] if DEBUG else []


def extension(name: str, sources: list[str], depends: list[str]) -> Extension:
    """A module of kernels; all of them are compiled alike."""
    return Extension(
        name,
        sources,
        depends=["src_ext/sampler.h", "src_ext/every_set.h", *depends],
        include_dirs=["src_ext"],
        define_macros=[("FASTVBOW_DEBUG", "1")] if DEBUG else [],
        extra_compile_args=["-O1" if DEBUG else "-O3", "-ffp-contract=off", *SANITIZE],
        extra_link_args=SANITIZE,
    )


setup(
    ext_modules=cythonize(
        [
            extension("fastvbow.topics._gibbs", ["src_ext/_gibbs.pyx", "src_ext/instructions.c"], []),
            extension(
                "fastvbow.topics._samplers",
                ["src_ext/_samplers.pyx", "src_ext/sampler.c", "src_ext/sparse.c", "src_ext/instructions.c"],
                [
                    "src_ext/sampler_kernels.h",
                    "src_ext/sampler_vectors.h",
                    "src_ext/sparse.h",
                    "src_ext/sparse_kernels.h",
                ],
            ),
            extension("fastvbow.topics._moves", ["src_ext/_moves.pyx", "src_ext/split.c"], ["src_ext/split.h"]),
            extension(
                "fastvbow.topics._particles",
                ["src_ext/_particles.pyx", "src_ext/particles.c", "src_ext/instructions.c"],
                ["src_ext/particles.h", "src_ext/particles_kernels.h"],
            ),
        ],
        build_dir="build/cython-debug" if DEBUG else None,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
        },
    )
)
