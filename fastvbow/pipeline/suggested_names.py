"""Where the suggested names of a project's groups lie, and which of them count."""

from __future__ import annotations

from pathlib import Path

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.events import Event, Listener
from fastvbow.groups.names import TopicNames
from fastvbow.groups.suggestions import TopicSuggestions, read_suggestions
from fastvbow.pipeline.topic_names import SUGGESTED, names_path
from fastvbow.project import ProjectFolder

__all__ = ["load_proposals", "load_suggestions", "require_suggestions", "suggestions_path"]


def suggestions_path(project: ProjectFolder, topics: str) -> Path:
    """The file of the suggested names of a model; `topics` is the SHA-256 of its tensors."""
    return names_path(project, topics).with_suffix(SUGGESTED)


def load_suggestions(
    project: ProjectFolder, names: TopicNames, listener: Listener | None = None
) -> TopicSuggestions | None:
    """The suggested names of a project's topics, or None where nothing was suggested for them.

    Parameters
    ----------
    project : ProjectFolder
    names : TopicNames
        Of the topics as they are now.
    listener : Listener, optional
        Hears where names were suggested for other topics, or for groups that are not there any more.

    Raises
    ------
    ProjectError, StoreCorruptError
        The file cannot be read.
    """
    path = suggestions_path(project, names.topics)
    if not path.exists():
        if listener is not None and any(project.names.glob(f"[!.]*{SUGGESTED}")):
            listener(
                Event(
                    "names",
                    "warning",
                    "names were suggested for other topics than these, and are not shown: 'fastvbow suggest' suggests "
                    "names for the new ones",
                )
            )
        return None
    found = read_suggestions(path)
    if (found.topics, found.n_topics) != (names.topics, names.n_topics):
        raise StoreCorruptError(
            f"{path} holds suggestions for other topics than its own name says: delete it, and run 'fastvbow suggest' "
            "again"
        )
    changed = found.changed(names)
    if changed and listener is not None:
        listener(
            Event(
                "names",
                "warning",
                f"groups were merged or parted since names were suggested ({', '.join(map(str, changed[:5]))}"
                f"{', ...' if len(changed) > 5 else ''}): they have no suggestions until 'fastvbow suggest' runs again",
            )
        )
    return found


def require_suggestions(
    project: ProjectFolder, names: TopicNames, listener: Listener | None = None
) -> TopicSuggestions:
    """The suggested names of a project's topics, where somebody asks for them.

    Parameters
    ----------
    project : ProjectFolder
    names : TopicNames
        Of the topics as they are now.
    listener : Listener, optional
        See `load_suggestions`.

    Raises
    ------
    UsageError
        Nothing was suggested for these topics.
    ProjectError, StoreCorruptError
        The file cannot be read.
    """
    found = load_suggestions(project, names, listener)
    if found is None:
        raise UsageError(
            f"no names are suggested for the groups of {project.root}: run 'fastvbow suggest {project.root} --space "
            "SPACE --nouns FILE' first"
        )
    return found


def load_proposals(project: ProjectFolder, names: TopicNames) -> dict[int, str]:
    """The name that is suggested for each group without one: see `TopicSuggestions.proposals`.

    Parameters
    ----------
    project : ProjectFolder
    names : TopicNames
        Of the topics as they are now.
    """
    found = load_suggestions(project, names)
    return {} if found is None else found.proposals(names)
