"""The dominant object of a photograph: the class of most of its mask's pixels."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np

from fastvbow.errors import ImageError
from fastvbow.images.annotations import class_names, display_names, object_info, read_annotation
from fastvbow.images.header import image_size
from fastvbow.images.listing import stat_files
from fastvbow.images.mask_files import MaskFiles
from fastvbow.images.masks import UNLABELLED, read_mask
from fastvbow.images.table import ImageTable

__all__ = ["ClassNames", "Dominant", "dominant_objects", "fingerprint_of_masks"]


class ClassNames:
    """What the classes of masks are called: it grows with the masks that are looked at.

    Parameters
    ----------
    layout : str
        One of `fastvbow.images.mask_files.LAYOUTS`.
    names : dict of int to str, optional
        What is known from the start; else names come from the files of ADE20K beside the masks.
    """

    def __init__(self, layout: str, names: dict[int, str] | None = None) -> None:
        self._layout, self._names = layout, dict(names or {})
        self._looked = names is not None

    def learn(self, mask: bytes, classes: list[int]) -> str | None:
        """Look for names of a mask's classes that have none yet.

        Parameters
        ----------
        mask : bytes
            Its absolute path.
        classes : list of int

        Returns
        -------
        str or None
            Why the file that should have them cannot be used.

        Raises
        ------
        UsageError
            The table of scene parsing's classes cannot be used.
        """
        if self._layout == "sceneparsing" and not self._looked:
            self._looked = True
            if file := object_info(mask):
                self._names = class_names(file)
        if self._layout == "ade20k" and not self._names.keys() >= set(classes):
            path = _annotation(mask)
            try:
                self._names = read_annotation(path).names | self._names
            except ImageError as error:
                return f"classes without names, for {os.path.basename(path).decode()}: {error.reason}"
        return None

    def shown(self, classes: list[int]) -> list[str]:
        """A name for each class: see `fastvbow.images.annotations.display_names`."""
        return display_names(self._names, classes)


@dataclass(frozen=True)
class Dominant:
    """The labels of photographs by their dominant objects.

    Attributes
    ----------
    labels : list of str or None
        One per image of the table; None where its mask is missing or bad, or holds no class.
    problems : list of (str, str)
        Photographs' paths, and what is wrong with their masks.
    """

    labels: list[str | None]
    problems: list[tuple[str, str]]


def dominant_objects(table: ImageTable, masks: MaskFiles) -> Dominant:
    """Look into every mask for the class of the most pixels; what is unlabelled does not count.

    Of classes with as many pixels it is the one of the smallest number.

    Parameters
    ----------
    table : ImageTable
    masks : MaskFiles
        Of its images.

    Raises
    ------
    UsageError
        The table of scene parsing's classes cannot be used.
    """
    names, problems = ClassNames(masks.layout), list[tuple[str, str]]()
    largest: list[int | None] = []
    for index, path in enumerate(masks.paths):
        found = None
        try:
            if path is None:
                raise ImageError(masks.reasons[index] or "there is no mask")
            size = image_size(table.read(index))
            if size is None:
                raise ImageError("the photograph has no size that its mask could be held against")
            mask = read_mask(path, masks.layout, *size, turned=True)  # the size is as stored, whatever EXIF says
            pixels = np.bincount(mask[mask != UNLABELLED])
            if not len(pixels):
                raise ImageError("the mask holds no class")
            found = int(pixels.argmax())
            if problem := names.learn(path, [found]):
                problems.append((table.names[index], problem))
        except ImageError as error:
            problems.append((table.names[index], error.reason))
        largest.append(found)
    classes = sorted({number for number in largest if number is not None})
    shown = dict(zip(classes, names.shown(classes), strict=True))
    return Dominant([None if number is None else shown[number] for number in largest], problems)


def fingerprint_of_masks(masks: MaskFiles) -> str:
    """SHA-256 over the paths, sizes and times of masks and of the files that name their classes.

    Parameters
    ----------
    masks : MaskFiles
    """
    paths = [path for path in masks.paths if path is not None]
    if masks.layout == "ade20k":
        paths += [_annotation(path) for path in paths]
    if masks.layout == "sceneparsing" and paths and (file := object_info(paths[0])):
        paths.append(os.fsencode(file))
    digest = hashlib.sha256(masks.layout.encode())
    for path, size, mtime in zip(paths, *stat_files(b"", paths), strict=True):
        digest.update(b"%d %d %d " % (len(path), size, mtime) + path)
    return digest.hexdigest()


def _annotation(mask: bytes) -> bytes:
    """The JSON file beside a mask of the full data set: ``X.json`` for ``X_seg.png`` or ``X_parts_1.png``."""
    return mask.rsplit(b"_seg" if mask.endswith(b"_seg.png") else b"_parts_", 1)[0] + b".json"
