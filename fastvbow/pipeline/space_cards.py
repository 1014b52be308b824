"""Cards of spaces: which encoders put photographs and texts into one space, and how they are used.

Format ``fastvbow-space``, version 1
------------------------------------
``spaces/NAME/`` in the models folder (`fastvbow.features.models.models_folder`) holds ``card.toml`` and the files that
it names. The card MUST hold ``format``, ``version``, ``name`` (its folder's), ``kind``, ``width`` (numbers of a
vector), ``licence``, ``source`` and ``[text]``: ``file`` (an ``.onnx`` encoder), ``tokenizer`` (a ``tokenizer.json``)
and the fields of `fastvbow.semantic.banks.encoder.TextEncoderCard`, of which ``mask``, ``types`` and ``batch`` are left
out where there is none. By ``kind``:

- ``pair``: texts and photographs have encoders that were trained together. ``[image]`` MUST be there: ``file`` and the
  fields of `fastvbow.features.image_encoder.ImageEncoderCard`, ``batch`` left out where there is none.
- ``conse``: ``[image]`` is a classifier's, whose output are scores, and ``[classes]`` MUST be there: ``file`` (UTF-8, a
  class a line in the classifier's order; what stands before a tab is no part of its name), ``sha256``, ``prompt``
  (holds ``{}`` once) and ``top`` (classes that count for a photograph). See `fastvbow.semantic.conse`.
- ``text``: there is no image encoder; photographs have embeddings from elsewhere.

It MUST NOT hold anything else. Files lie beside the card, and each MUST have the SHA-256 that the card says. A reader
MUST refuse a greater version. A folder is put in place by a rename, complete and flushed.

A space's fingerprint is the SHA-256 of all of this but ``name``, ``licence``, ``source`` and the files' names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.features.image_encoder import ImageEncoderCard
from fastvbow.features.models import known_models, models_folder
from fastvbow.project import fingerprint_of, replace_folder
from fastvbow.semantic.banks.encoder import POOLINGS, TextEncoderCard

__all__ = [
    "KINDS",
    "Classes",
    "SpaceCard",
    "check_space_name",
    "known_spaces",
    "read_space",
    "spaces_folder",
    "write_space",
]

FORMAT, VERSION = "fastvbow-space", 1
KINDS = ("pair", "conse", "text")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_CARD = "card.toml"


@dataclass(frozen=True)
class Classes:
    """What the classes of a classifier are called.

    Attributes
    ----------
    sha256 : str
        Hex, of the file of names.
    prompt : str
        What each name is put into, at ``{}``.
    top : int
        Classes that count for a photograph.
    """

    sha256: str
    prompt: str
    top: int


@dataclass(frozen=True)
class SpaceCard:
    """What is known of a space.

    Attributes
    ----------
    name : str
    kind : {"pair", "conse", "text"}
    width : int
        Numbers of a vector.
    licence, source : str
    text : TextEncoderCard
    image : ImageEncoderCard or None
    classes : Classes or None
    files : dict of str to Path
        ``text`` and ``tokenizer``, and where there are such ``image`` and ``classes``.
    """

    name: str
    kind: str
    width: int
    licence: str
    source: str
    text: TextEncoderCard
    image: ImageEncoderCard | None
    classes: Classes | None
    files: Mapping[str, Path]

    @property
    def fingerprint(self) -> str:
        """See the module."""
        parts = [asdict(part) if part is not None else None for part in (self.text, self.image, self.classes)]
        return fingerprint_of([FORMAT, VERSION, self.kind, self.width, *parts])


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: str
    tokenizer: str
    model_sha256: str
    tokenizer_sha256: str
    ids: str
    dtype: str
    output: str
    pooling: str
    tokens: int
    fixed: bool
    pad: int
    mask: str | None = None
    types: str | None = None
    batch: int | None = None


class _Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: str
    sha256: str
    input: str
    dtype: str
    layout: str
    colour: str
    side: int
    mean: float | tuple[float, float, float]
    std: float | tuple[float, float, float]
    resize: str
    filter: str
    output: str
    pooling: str
    batch: int | None = None


class _Classes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: str
    sha256: str
    prompt: str
    top: int


class _Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    name: str
    kind: str
    width: int
    licence: str
    source: str
    text: _Text
    image: _Image | None = None
    classes: _Classes | None = None


class _Head(msgspec.Struct, frozen=True):
    format: str
    version: int


def spaces_folder() -> Path:
    """Where the spaces that a user has added lie."""
    return models_folder() / "spaces"


def known_spaces() -> dict[str, Path]:
    """The folders of all spaces, by name."""
    found = sorted(spaces_folder().glob(f"*/{_CARD}"))
    return {path.parent.name: path.parent for path in found if not path.parent.name.startswith(".")}


def check_space_name(name: str, *, replacing: bool = False) -> None:
    """Make sure that a space can be added under a name.

    Parameters
    ----------
    name : str
    replacing : bool, default=False
        Whether the space of that name may go.

    Raises
    ------
    UsageError
        It is no file's name, a model's, or another space's.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"a space's name has letters, digits and . _ + -, not {name!r}: choose another --name")
    if name in known_models():
        raise UsageError(f"{name} is a model's name already: choose another --name")
    if not replacing and name in known_spaces():
        raise UsageError(f"there is a space {name} in {spaces_folder()}: choose another --name, or --replace it")


def read_space(name: str) -> SpaceCard:
    """The card of a space.

    Parameters
    ----------
    name : str

    Raises
    ------
    UsageError
        There is no such space.
    StoreCorruptError
        Its card cannot be used, or was written by a newer version.
    """
    known = known_spaces()
    if name not in known:
        raise UsageError(
            f"there is no space {name!r}; known: {', '.join(sorted(known)) or 'none'}; 'fastvbow models add' with "
            "--clip, --conse or --text adds one"
        )
    path = known[name] / _CARD
    try:
        data = path.read_bytes()
        head = msgspec.toml.decode(data, type=_Head)
        if head.format == FORMAT and head.version > VERSION:
            raise StoreCorruptError(
                f"{path} is of version {head.version}; this fastvbow reads {FORMAT} up to {VERSION}: upgrade it"
            )
        card = msgspec.toml.decode(data, type=_Card)
    except OSError as error:
        raise StoreCorruptError(f"cannot read the card {path}: {error.strerror}") from None
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise StoreCorruptError(f"cannot read the card {path}: {error}: add the space again") from None
    wrong = _faults(card, name)
    if wrong:
        raise StoreCorruptError(f"the card {path} cannot be used: {wrong}: add the space again")
    return _as_card(card, path.parent)


def _as_card(card: _Card, folder: Path) -> SpaceCard:
    text = msgspec.structs.asdict(card.text)
    files = {"text": folder / text.pop("file"), "tokenizer": folder / text.pop("tokenizer")}
    image = classes = None
    if card.image is not None:
        fields = msgspec.structs.asdict(card.image)
        files["image"] = folder / fields.pop("file")
        image = ImageEncoderCard(**fields)
    if card.classes is not None:
        fields = msgspec.structs.asdict(card.classes)
        files["classes"] = folder / fields.pop("file")
        classes = Classes(**fields)
    return SpaceCard(
        card.name, card.kind, card.width, card.licence, card.source, TextEncoderCard(**text), image, classes, files
    )


def _faults(card: _Card, name: str) -> str:
    """What is wrong with a card's values, the first of it; nothing if all is well."""
    if card.format != FORMAT:
        return f"its format is {card.format!r}, not {FORMAT!r}"
    if card.name != name:
        return f"it names the space {card.name!r}, its folder is {name!r}"
    if card.kind not in KINDS:
        return f"its kind is {card.kind!r}, not one of {', '.join(KINDS)}"
    if (card.image is None) != (card.kind == "text") or (card.classes is None) != (card.kind != "conse"):
        return f"a space of the kind {card.kind} has not these of [image] and [classes]"
    if card.width < 1:
        return f"its vectors have {card.width} numbers"
    parts = [part for part in (card.text, card.image, card.classes) if part is not None]
    named = [card.text.tokenizer, *(part.file for part in parts)]
    if any(not file or Path(file).name != file for file in named):
        return f"its files have to lie beside it, not at {', '.join(named)}"
    if card.text.pooling not in POOLINGS or card.text.dtype not in ("int64", "int32") or card.text.tokens < 1:
        return "[text] has a pooling, a dtype or a number of tokens that cannot be"
    if card.classes is not None and (card.classes.prompt.count("{}") != 1 or card.classes.top < 1):
        return "[classes] has a prompt without one {}, or a top below 1"
    if card.image is not None:
        fields = msgspec.structs.asdict(card.image)
        del fields["file"]
        return ImageEncoderCard(**fields).faults
    return ""


def write_space(card: SpaceCard, files: Mapping[str, bytes], folder: Path) -> SpaceCard:
    """Put a space's folder in place: whole, or not at all.

    Parameters
    ----------
    card : SpaceCard
        Its files are those that are read from now on.
    files : mapping of str to bytes
        By what they are: ``text``, ``tokenizer``, ``image``, ``classes``.
    folder : Path
        Of all spaces; made if missing.

    Returns
    -------
    SpaceCard
        As it can be read from now on.

    Raises
    ------
    UsageError
        The folder cannot be written.
    """
    named = {what: folder / card.name / card.files[what].name for what in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replace_folder(folder / card.name) as temporary:
            for what, content in files.items():
                (temporary / named[what].name).write_bytes(content)
            (temporary / _CARD).write_bytes(_text(card).encode(errors="replace"))
    except OSError as error:
        raise UsageError(f"cannot write the folder {folder}: {error.strerror}: set FASTVBOW_MODELS") from None
    return SpaceCard(**{**vars(card), "files": named})


def _text(card: SpaceCard) -> str:
    """A card as TOML."""
    head = {"format": FORMAT, "version": VERSION, "name": card.name, "kind": card.kind, "width": card.width}
    lines = ["# Written by 'fastvbow models add'.", *_fields({**head, "licence": card.licence, "source": card.source})]
    named = {what: path.name for what, path in card.files.items()}
    texts = {"file": named["text"], "tokenizer": named["tokenizer"], **asdict(card.text)}
    lines += ["", "# Texts: token numbers in, a vector out.", "[text]", *_fields(texts)]
    if card.image is not None:
        lines += ["", "# Photographs: made a square by resize; then (x - mean) / std, x from 0 to 255."]
        lines += ["[image]", *_fields({"file": named["image"], **asdict(card.image)})]
    if card.classes is not None:
        lines += ["", "# What the classifier's scores mean.", "[classes]"]
        lines += _fields({"file": named["classes"], **asdict(card.classes)})
    return "\n".join(lines) + "\n"


def _fields(values: Mapping[str, Any]) -> list[str]:
    # JSON's escapes, numbers, lists and true are TOML's, but for DEL, which TOML wants escaped too
    written = {name: msgspec.json.encode(value).decode().replace("\x7f", "\\u007f") for name, value in values.items()}
    return [f"{name} = {written[name]}" for name, value in values.items() if value is not None]
