"""The route: one function per command of the command line, and nothing that computes.

Each stage has a module of its own, which opens what the stage before wrote, hands plain arrays to the engines and
writes what they return. The functions are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastvbow.pipeline.adding import add
    from fastvbow.pipeline.annotation_export import export
    from fastvbow.pipeline.assigning import assign
    from fastvbow.pipeline.clustering import cluster
    from fastvbow.pipeline.demonstration import demo
    from fastvbow.pipeline.diagnosis import doctor
    from fastvbow.pipeline.encoding import encode
    from fastvbow.pipeline.estimating import estimate
    from fastvbow.pipeline.evaluating import evaluate
    from fastvbow.pipeline.extraction import extract
    from fastvbow.pipeline.grouping import groups
    from fastvbow.pipeline.hinting import hints
    from fastvbow.pipeline.naming import merge, name
    from fastvbow.pipeline.reporting import report
    from fastvbow.pipeline.route import run
    from fastvbow.pipeline.segmenting import segments
    from fastvbow.pipeline.selecting import select
    from fastvbow.pipeline.studying import study
    from fastvbow.pipeline.subsetting import subset
    from fastvbow.pipeline.suggesting import suggest
    from fastvbow.pipeline.topic_modelling import topics
    from fastvbow.pipeline.verifying import verify
    from fastvbow.pipeline.vocabularies import vocabulary
    from fastvbow.pipeline.warming import warmup

__all__ = [
    "add",
    "assign",
    "cluster",
    "demo",
    "doctor",
    "encode",
    "estimate",
    "evaluate",
    "export",
    "extract",
    "groups",
    "hints",
    "merge",
    "name",
    "report",
    "run",
    "segments",
    "select",
    "study",
    "subset",
    "suggest",
    "topics",
    "verify",
    "vocabulary",
    "warmup",
]

_HOMES = {
    "add": "adding",
    "assign": "assigning",
    "cluster": "clustering",
    "demo": "demonstration",
    "doctor": "diagnosis",
    "encode": "encoding",
    "estimate": "estimating",
    "evaluate": "evaluating",
    "export": "annotation_export",
    "extract": "extraction",
    "groups": "grouping",
    "hints": "hinting",
    "merge": "naming",
    "name": "naming",
    "report": "reporting",
    "run": "route",
    "segments": "segmenting",
    "select": "selecting",
    "study": "studying",
    "subset": "subsetting",
    "suggest": "suggesting",
    "topics": "topic_modelling",
    "verify": "verifying",
    "vocabulary": "vocabularies",
    "warmup": "warming",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"fastvbow.pipeline.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fastvbow.pipeline' has no attribute {name!r}")
