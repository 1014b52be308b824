"""Groups a folder of unlabelled photographs by what they show.

The heavy parts are imported when they are first asked for, so that ``import fastvbow`` and ``fastvbow --help`` are
quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("fastvbow")

__all__ = ["GibbsLDA", "KMeans", "MiniBatchKMeans", "Project", "__version__"]

if TYPE_CHECKING:
    from fastvbow.pipeline.assigning import Project
    from fastvbow.topics.lda import GibbsLDA
    from fastvbow.words.kmeans import KMeans
    from fastvbow.words.minibatch import MiniBatchKMeans

_HOMES = {
    "GibbsLDA": "fastvbow.topics.lda",
    "KMeans": "fastvbow.words.kmeans",
    "MiniBatchKMeans": "fastvbow.words.minibatch",
    "Project": "fastvbow.pipeline.assigning",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fastvbow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
