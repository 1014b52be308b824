"""What ``fastvbow models`` does about spaces: they are added, listed and told of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastvbow.cli_options import numbers_of
from fastvbow.errors import UsageError

if TYPE_CHECKING:
    import typer

    from fastvbow.events import Listener
    from fastvbow.pipeline.listing_spaces import ListedSpace
    from fastvbow.pipeline.space_cards import SpaceCard
    from fastvbow.pipeline.space_trial import AddedSpace

__all__ = ["add_space", "added_space_json", "added_space_lines", "check_way", "listed_spaces"]

_ALWAYS = {"name", "licence", "source", "replace", "as_json", "quiet"}
_SCALING = {"normalise", "mean", "std", "colour", "side"}
_TEXTS = {"text_output", "pooling", "tokens", "padded", "pad"}
_PICTURES = {"resize", "filter", "image_output"}
_WAYS = {
    "file": {*_SCALING, "layout", "pooled", "conv"},
    "clip": {*_SCALING, *_PICTURES, "image_pooling", *_TEXTS},
    "conse": {*_TEXTS, "model", "classes", "prompt", "top"},
    "conse with classifier": {*_TEXTS, *_SCALING, *_PICTURES, "classifier", "classes", "prompt", "top"},
    "text": _TEXTS,
}


def check_way(context: typer.Context) -> None:
    """Make sure that one way to add a model or a space is taken, with its own options only.

    Parameters
    ----------
    context : typer.Context
        Of the command ``add``.

    Raises
    ------
    UsageError
        No way is given, or several, or an option that does not go with it.
    """
    given = {name for name in context.params if _is_given(context, name)}
    ways = given & {"file", "clip", "conse", "text"}
    if len(ways) != 1:
        told = ", ".join("FILE.onnx" if way == "file" else f"--{way}" for way in sorted(ways)) or "none"
        raise UsageError(
            f"one of FILE.onnx, --clip, --conse and --text says what is added, not {told}: give one of them"
        )
    way = ways.pop()
    kind = f"{way} with classifier" if way == "conse" and "classifier" in given else way
    strange = sorted(given - ways - {way} - _ALWAYS - _WAYS[kind])
    if strange:
        what = "a file alone" if way == "file" else f"--{kind.replace(' with ', ' and --')}"
        raise UsageError(f"--{strange[0].replace('_', '-')} does not go with {what}: leave it out")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def add_space(given: Mapping[str, Any], listener: Listener) -> AddedSpace:
    """Add a space as the options of ``add`` say.

    Parameters
    ----------
    given : mapping
        The command's options by name.
    listener : Listener

    Raises
    ------
    FastvbowError
        See `fastvbow.pipeline.adding_spaces`.
    """
    from fastvbow.pipeline.adding_spaces import add_conse, add_pair, add_texts
    from fastvbow.pipeline.space_trial import TextOptions

    options = TextOptions(given["text_output"], given["pooling"], given["tokens"], given["padded"], given["pad"])
    common: dict[str, Any] = {name: given[name] for name in ("licence", "source")}
    common |= {"options": options, "replacing": given["replace"], "listener": listener}
    if given["name"] or not given["conse"]:
        common["name"] = given["name"]
    if given["text"]:
        text, tokenizer = map(Path, given["text"])
        return add_texts(text, tokenizer, **common)
    picture = {name: given[name] for name in ("resize", "filter") if given[name]}
    picture |= {name: given[name] for name in ("colour", "side", "image_output")}
    picture |= {name: numbers_of(f"--{name}", given[name]) for name in ("mean", "std")}
    if given["normalise"]:
        picture["preset"] = given["normalise"]
    if given["clip"]:
        image, text, tokenizer = map(Path, given["clip"])
        return add_pair(image, text, tokenizer, **picture, image_pooling=given["image_pooling"], **common)
    if given["classifier"]:
        picture["classifier"] = Path(given["classifier"])
    classes = Path(given["classes"]) if given["classes"] else None
    named = {name: given[name] for name in ("model", "prompt", "top")}
    text, tokenizer = map(Path, given["conse"])
    return add_conse(text, tokenizer, classes=classes, **picture, **named, **common)


def _card_json(card: SpaceCard) -> dict[str, Any]:
    image = card.image
    return {
        "kind": card.kind,
        "width": card.width,
        "fingerprint": card.fingerprint,
        "licence": card.licence,
        "source": card.source,
        "text": {"output": card.text.output, "pooling": card.text.pooling, "tokens": card.text.tokens},
        "image": None
        if image is None
        else {
            "side": image.side,
            "resize": image.resize,
            "filter": image.filter,
            "mean": image.mean,
            "std": image.std,
            "output": image.output,
            "pooling": image.pooling,
        },
    }


def _card_lines(card: SpaceCard) -> list[str]:
    image, text = card.image, card.text
    licence = "licence not stated" if card.licence == "not stated" else card.licence
    seen = "by no encoder" if image is None else f"{image.side} x {image.side} {image.resize}, {image.output}"
    return [
        f"space of {card.width} numbers ({card.kind}); {licence}",
        f"photographs {seen}",
        f"texts {text.output}, {text.tokens} tokens at most",
    ]


def listed_spaces(spaces: Sequence[ListedSpace]) -> tuple[list[dict[str, Any]], list[str]]:
    """All spaces, for machines and for a person.

    Parameters
    ----------
    spaces : sequence of ListedSpace
    """
    rows: list[dict[str, Any]] = []
    lines = []
    for space in spaces:
        rows.append({"name": space.name, "where": str(space.path), "problem": space.problem or None})
        if space.card is None:
            lines.append(f"{space.name:<24} cannot be used: {space.problem}")
        else:
            rows[-1] |= _card_json(space.card)
            told = [*_card_lines(space.card), str(space.path)]
            lines += [f"{name:<24} {line}" for name, line in zip([space.name, "", "", ""], told, strict=True)]
    return rows, lines


def added_space_json(done: AddedSpace) -> dict[str, Any]:
    """What was added, for machines.

    Parameters
    ----------
    done : AddedSpace
    """
    return {
        "name": done.card.name,
        **_card_json(done.card),
        "cosine": {"photographs": done.photographs, "texts": done.texts},
        "nearest": {name: {"text": text, "cosine": cosine} for name, (text, cosine) in done.best.items()},
    }


def added_space_lines(done: AddedSpace) -> list[str]:
    """What was added, for a person.

    Parameters
    ----------
    done : AddedSpace
    """
    lines = _card_lines(done.card)
    if not math.isnan(done.photographs):
        lines.append(f"tried: cosine {done.photographs:.3f} of two photographs, {done.texts:.3f} of two texts")
        lines.append(f"photographs that are nearest to their own name: {done.hits} of {len(done.best)}")
        lines += [f"  {name:<14} {text} ({cosine:.3f})" for name, (text, cosine) in done.best.items()]
    else:
        lines.append(f"tried: cosine {done.texts:.3f} of two texts")
    return [
        *lines,
        f"added: {done.card.files['text'].parent}; its name is {done.card.name}",
        f"  group by it: fastvbow cluster PROJECT --method tac --space {done.card.name} --nouns PATH",
    ]
