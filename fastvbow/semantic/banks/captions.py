"""Captions, from the files in which they come.

- Flickr8k and Flickr30k (``Flickr8k.token.txt``): ``PHOTOGRAPH.jpg#NUMBER``, a tab, the caption.
- COCO (``captions_train2017.json``): ``{"annotations": [{"image_id": 1, "caption": "..."}, ...]}``.
- Plain text: one caption a line.

Which it is is seen from the contents: JSON begins with a brace, and Flickr's lines all have their tab and number.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.errors import UsageError
from fastvbow.semantic.banks.lines import read_text, text_lines

__all__ = ["read_captions"]

_TOKEN_LINE = re.compile(r"[^\t]+#\d+(?:\t(.*))?")


class _Annotation(msgspec.Struct):
    caption: str


class _Coco(msgspec.Struct):
    annotations: list[_Annotation]


def read_captions(path: Path) -> tuple[str, ...]:
    """Captions, each once, in the order of the file.

    Parameters
    ----------
    path : Path
        UTF-8; see the module for the formats.

    Raises
    ------
    UsageError
        It cannot be read, holds no caption, or is JSON of another kind.
    """
    text = read_text(path, "captions")
    if text.lstrip()[:1] == "{":
        captions = [annotation.caption for annotation in _coco(path, text).annotations]
    else:
        lines = text_lines(path, "captions")
        tokens = [_TOKEN_LINE.fullmatch(line) for line in lines]
        captions = lines if not all(tokens) else [token.group(1) or "" for token in tokens if token]
    stripped = (" ".join(caption.split()) for caption in captions)
    found = tuple(dict.fromkeys(caption for caption in stripped if caption))
    if not found:
        raise UsageError(f"{path} holds no captions: give a file with one a line, of Flickr8k's format, or COCO's JSON")
    return found


def _coco(path: Path, text: str) -> Any:
    try:
        return msgspec.json.decode(text, type=_Coco)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{path} is not JSON of COCO's captions: {error}: an object with 'annotations', each with a 'caption', is "
            "needed"
        ) from None
