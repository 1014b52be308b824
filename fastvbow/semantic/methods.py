"""The methods of this room by their names, and what each wants beside photographs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from fastvbow.errors import UsageError

__all__ = ["METHODS", "Method", "make_estimator"]


@dataclass(frozen=True)
class Method:
    """A way to cluster photographs.

    Attributes
    ----------
    estimator : str
        Its class in `fastvbow.semantic`.
    nouns, captions : bool
        Whether it wants embeddings of such texts, in the space of the photographs.
    trains : bool
        Whether PyTorch is needed, and epochs are told of.
    fixed : mapping
        Parameters of the estimator that make it this method.
    nested : str
        The parameter, a mapping, that holds those of the training.
    """

    estimator: str
    nouns: bool = False
    captions: bool = False
    trains: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    nested: str = ""


METHODS: dict[str, Method] = {
    "kmeans": Method("SphericalKMeans"),
    "tac": Method("TAC", nouns=True),
    "tac-trained": Method("TAC", nouns=True, trains=True, fixed={"trained": True}, nested="training"),
    "cae": Method("CAE", nouns=True, captions=True),
    "sic": Method("SIC", nouns=True, trains=True),
    "icbpl": Method("ICBPL", trains=True),
}
"""K-Means; text-aided clustering without and with training; hierarchical semantic alignment; semantic-enhanced
clustering; latent distributions with fixed centres."""

_NOT_SET = {"n_clusters", "random_state", "n_jobs", "trained", "training"}


def make_estimator(
    name: str, n_clusters: int, seed: int, options: Mapping[str, Any] | None = None, *, n_jobs: int | None = None
) -> Any:
    """An estimator that is not fitted yet.

    Parameters
    ----------
    name : str
        One of `METHODS`.
    n_clusters : int
    seed : int
        Its ``random_state``.
    options : mapping, optional
        Further parameters of the estimator, by their names there; lists count as tuples.
    n_jobs : int, optional
        Threads, where the estimator takes them.

    Raises
    ------
    UsageError
        There is no such method, it has no such parameter, or one cannot be used.
    """
    if name not in METHODS:
        raise UsageError(f"--method takes {', '.join(METHODS)}, not {name}")
    method = METHODS[name]
    cls = getattr(import_module("fastvbow.semantic"), method.estimator)
    known = set(inspect.signature(cls).parameters) - _NOT_SET
    inner = _training_options() if method.nested else frozenset()
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in (options or {}).items()}
    unknown = sorted(given.keys() - known - inner)
    if unknown:
        raise UsageError(
            f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known | inner))} (in Python: "
            f"fastvbow.semantic.{method.estimator})"
        )
    outer = {key: value for key, value in given.items() if key not in inner}
    if inner & given.keys():
        outer[method.nested] = {key: value for key, value in given.items() if key in inner}
    if "n_jobs" in inspect.signature(cls).parameters:
        outer["n_jobs"] = n_jobs
    made = cls(n_clusters, random_state=seed, **dict(method.fixed), **outer)
    made._check()  # before anything is done for it
    return made


def _training_options() -> frozenset[str]:
    from fastvbow.semantic.tac_trained import TRAINING  # nothing else here needs it

    return frozenset(TRAINING)
