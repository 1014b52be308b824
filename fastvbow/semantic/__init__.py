"""From embeddings of photographs and of words to clusters that have names.

The estimators take plain arrays: embeddings of images, of nouns and of captions in one space. They are imported when
they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["CAE", "ICBPL", "SIC", "TAC", "ImageICBPL", "SphericalKMeans"]

if TYPE_CHECKING:
    from fastvbow.semantic.cae import CAE
    from fastvbow.semantic.icbpl import ICBPL
    from fastvbow.semantic.icbpl_images import ImageICBPL
    from fastvbow.semantic.sic import SIC
    from fastvbow.semantic.spherical_estimator import SphericalKMeans
    from fastvbow.semantic.tac import TAC

_HOMES = {
    "CAE": "fastvbow.semantic.cae",
    "ICBPL": "fastvbow.semantic.icbpl",
    "ImageICBPL": "fastvbow.semantic.icbpl_images",
    "SIC": "fastvbow.semantic.sic",
    "SphericalKMeans": "fastvbow.semantic.spherical_estimator",
    "TAC": "fastvbow.semantic.tac",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fastvbow.semantic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
