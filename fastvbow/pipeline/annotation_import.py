"""Command ``labels import``: what a person corrected in an annotation tool becomes the project's labels."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.exports import cvat, label_studio, tables
from fastvbow.exports.columns import Correction, is_address, xml_text
from fastvbow.groups.names import checked_name
from fastvbow.images.stored_labels import StoredLabels, read_stored_labels, write_stored_labels
from fastvbow.images.table import ImageTable, readable
from fastvbow.project import ProjectFolder

__all__ = ["READERS", "Imported", "import_labels"]

READERS = {".csv": tables.read, ".json": label_studio.read, ".xml": cvat.read, ".zip": cvat.read}
"""Who reads a file, by the end of its name."""


@dataclass(frozen=True)
class Imported:
    """What `import_labels` found.

    Attributes
    ----------
    entries : int
        Photographs that the file names, as often as it does.
    labelled : int
        Photographs that have their label from it now.
    changed : int
        Those of them whose stored label was another one before.
    without_label : int
        Entries that nobody gave a label.
    conflicts : list of str
        Photographs with labels that contradict one another, which are not taken; a sentence each.
    refused : list of str
        Photographs whose label can be none (`fastvbow.groups.names.checked_name`): control characters, line breaks.
    unknown : list of str
        Paths or ids that name no photograph of the project, or more than one.
    stored : int
        Photographs that have a label in the project now.
    """

    entries: int
    labelled: int
    changed: int
    without_label: int
    conflicts: list[str]
    refused: list[str]
    unknown: list[str]
    stored: int


def import_labels(
    project: Path, file: Path, *, prefix: str = "", replace: bool = False, listener: Listener = log_events
) -> Imported:
    """Read labels that were corrected elsewhere into ``labels.parquet`` of a project.

    From then on ``--labels project`` means them. A photograph is known by the id that the export gave it, else by its
    path; blanks around a label do not count, and it is kept as a name is, in Unicode's form NFC. Labels that are there
    already stay, but for those of photographs that the file labels anew.

    Parameters
    ----------
    project : Path
    file : Path
        ``.json`` of Label Studio, ``.xml`` or ``.zip`` of CVAT ("CVAT for images 1.1"), or ``.csv``; see the modules of
        `fastvbow.exports`.
    prefix : str, default=""
        What stands before the photographs' paths in the file, as at the export.
    replace : bool, default=False
        Forget all labels that were imported before.
    listener : Listener, optional

    Returns
    -------
    Imported

    Raises
    ------
    UsageError
        The file cannot be read or is of another kind, or labels no photograph of the project; nothing is stored then.
    StageMissingError, StoreCorruptError, ProjectError
    """
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise UsageError(
            f"labels come from .json (Label Studio), .xml or .zip (CVAT) and .csv files, not from {file.name or file}"
        )
    folder = ProjectFolder.open(project)
    with folder.lock():
        folder.require("extract")
        matcher = _Matcher(ImageTable.load(folder.images, folder.image_root), prefix)
        before = StoredLabels({}, {})
        if folder.labels.exists() and not replace:
            before = read_stored_labels(folder.labels)
        found: dict[str, tuple[str, ...]] = {}
        refused: list[str] = []
        entries = without_label = 0
        unknown: list[str] = []
        for correction in reader(file):
            entries += 1
            image_id = matcher.find(correction)
            given = [label for label in correction.labels if label.strip()]
            if image_id is None:
                unknown.append(correction.path or correction.image_id or "")
                continue
            try:
                named = [checked_name(label) for label in given]
            except UsageError as error:
                refused.append(f"{matcher.name(image_id)}: {error}")
                continue
            if not named:
                without_label += 1
            else:
                found[image_id] = tuple(dict.fromkeys((*found.get(image_id, ()), *named)))
        conflicts = [
            f"{matcher.name(i)}: {', '.join(map(repr, named))}" for i, named in found.items() if len(named) > 1
        ]
        labels = {image_id: named[0] for image_id, named in found.items() if len(named) == 1}
        if not labels:
            raise UsageError(
                f"{file} labels no photograph of {project}: of {entries} entries {len(unknown)} are unknown, "
                f"{without_label} without a label, {len(conflicts)} with several"
                + (f", {len(refused)} with one that cannot be ({refused[0]})" if refused else "")
                + (f"; unknown is for instance {unknown[0]!r}: perhaps --prefix helps" if unknown else "")
            )
        changed = sum(before.labels.get(image_id, label) != label for image_id, label in labels.items())
        whole = StoredLabels(
            {**before.labels, **labels}, {**before.origins, **dict.fromkeys(labels, readable(bytes(Path(file.name))))}
        )
        write_stored_labels(folder.labels, whole)
        stored = sum(image_id in whole.labels for image_id in matcher.table.image_ids)
    _tell(listener, conflicts, "contradict one another and were not taken")
    _tell(listener, refused, "have a label that cannot be")
    _tell(listener, unknown, "name no photograph of the project, or more than one")
    listener(Event("labels", "end", f"{len(labels)} labels from {file.name}, {stored} in the project"))
    return Imported(entries, len(labels), changed, without_label, conflicts, refused, unknown, stored)


def _tell(listener: Listener, found: Sequence[str], what: str) -> None:
    if found:
        listener(Event("labels", "warning", f"{len(found)} entries {what}: {'; '.join(found[:3])}"))


class _Matcher:
    """Finds the photograph that an entry is about."""

    def __init__(self, table: ImageTable, prefix: str) -> None:
        self.table = table
        self.prefix = prefix
        self._ids = {image_id: row for row, image_id in enumerate(table.image_ids)}
        self._rows: dict[str, int] = {}
        for row, name in enumerate(table.names):
            for text in {name, xml_text(name)}:
                self._rows[text] = -1 if text in self._rows else row  # two names that look alike as text

    def name(self, image_id: str) -> str:
        return self.table.names[self._ids[image_id]]

    def find(self, correction: Correction) -> str | None:
        if correction.image_id in self._ids:
            return correction.image_id
        for text in self._candidates(correction.path):
            row = self._rows.get(text, -1)
            if row >= 0:
                return self.table.image_ids[row]
        return None

    def _candidates(self, path: str) -> Iterator[str]:
        rest = path.removeprefix(self.prefix)
        yield rest
        if is_address(self.prefix):
            yield readable(unquote_to_bytes(rest))
        elif not self.prefix and path.startswith(label_studio.PREFIX):
            yield readable(unquote_to_bytes(path.removeprefix(label_studio.PREFIX)))
        if rest:
            yield posixpath.normpath(rest)  # ./a/b.jpg and a//b.jpg are the photograph a/b.jpg
