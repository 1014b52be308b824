"""Extension modules only; everything else about the build stands in ``pyproject.toml``.

The kernels take typed memoryviews, so they need neither NumPy's headers nor its ABI, and nothing is compiled for
the build machine alone (no ``-march=native``): a wheel built here runs on any CPU of the same family, and chooses the
samplers for its instructions when it runs. Multiply and add stay two roundings (``-ffp-contract=off``), so that every
compiler and CPU samples the same topics.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastvbow.topics._gibbs",
                ["src_ext/_gibbs.pyx", "src_ext/sampler.c"],
                depends=["src_ext/sampler.h", "src_ext/sampler_kernels.h"],
                include_dirs=["src_ext"],
                extra_compile_args=["-O3", "-ffp-contract=off"],
            )
        ],
        compiler_directives={"language_level": 3},
    )
)
