"""Where the names of a project's topics or clusters lie, and which of them count."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fastvbow.errors import StoreCorruptError
from fastvbow.events import Event, Listener
from fastvbow.groups.names import TopicNames, read_names
from fastvbow.pipeline.mixtures import grouped_by, model_of, n_groups_of
from fastvbow.project import ProjectFolder

__all__ = ["SUGGESTED", "load_names", "names_path"]

SUGGESTED = ".suggested.json"
"""How the files of suggested names end (`fastvbow.pipeline.suggested_names`), which lie among the names."""


class _Manifest(msgspec.Struct):
    """What has to be known of a model's ``manifest.json``."""

    sha256: str


def names_path(project: ProjectFolder, topics: str) -> Path:
    """The file of the names of a model; `topics` is the SHA-256 of its tensors."""
    return project.names / f"{topics[:16]}.json"


def load_names(project: ProjectFolder, listener: Listener | None = None, by: str | None = None) -> TopicNames:
    """The names and merged groups of what a project's photographs are grouped by, as they are now.

    Parameters
    ----------
    project : ProjectFolder
    listener : Listener, optional
        Hears where there are none, but some of former topics.
    by : {"topics", "cluster"}, optional
        None: `fastvbow.pipeline.mixtures.grouped_by`.

    Raises
    ------
    StageMissingError
        There are no topics or clusters yet.
    ProjectError, StoreCorruptError
        The file of the names, or the model's manifest, cannot be read.
    """
    stage = by or grouped_by(project)
    n_topics = n_groups_of(project.require(stage))
    model = model_of(project, stage)
    manifest = model / "manifest.json"
    try:
        topics = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).sha256
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorruptError(
            f"cannot read {manifest}: {error}: delete {model.parent} and run 'fastvbow {stage}' again"
        ) from None
    path = names_path(project, topics)
    if not path.exists():
        files = (file.name for file in project.names.glob("[!.]*.json"))
        former = sorted(name for name in files if not name.endswith(SUGGESTED))
        if former and listener is not None:
            listener(
                Event(
                    "names",
                    "warning",
                    f"the topics are others than those that were named: the former names stay in {project.names} "
                    f"({', '.join(former[:3])}{', ...' if len(former) > 3 else ''}) and count again once those topics "
                    "are back; 'fastvbow name' names the new ones",
                )
            )
        return TopicNames(topics, n_topics)
    found = read_names(path)
    if (found.topics, found.n_topics) != (topics, n_topics):
        raise StoreCorruptError(f"{path} holds the names of other topics than its own name says: move it away")
    return found
