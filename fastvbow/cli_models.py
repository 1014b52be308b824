"""The commands ``fastvbow models``: they translate words into calls of `fastvbow.pipeline.models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Json, Quiet, numbers_of
from fastvbow.cli_spaces import add_space, added_space_json, added_space_lines, check_way, listed_spaces

if TYPE_CHECKING:
    from fastvbow.features.anatomy import Anatomy, Place
    from fastvbow.features.models import ModelCard
    from fastvbow.pipeline.models import Added

__all__ = ["models_app", "numbers_of"]

models_app = typer.Typer(
    help="The CNNs that describe photographs: those there are, and your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(metavar="FILE.onnx", help="Any ONNX classifier or encoder; only read.")]
Side = Annotated[int, typer.Option(help="Pixels a side, where the graph leaves them open; 0: 224.")]
Layout = Annotated[str, typer.Option(help="NCHW or NHWC, where the graph does not show it.")]
Pooled = Annotated[str, typer.Option(metavar="TENSOR", help="The vector of the photograph, if not what is found.")]
Conv = Annotated[str, typer.Option(metavar="TENSOR", help="The map of places, if not what is found.")]
Name = Annotated[str, typer.Option(help="Its name from now on; the file's if empty, of a space conse.")]
Licence = Annotated[str, typer.Option(help="The licence of the weights, for the card.")]
Source = Annotated[str, typer.Option(help="Where the weights come from, for the card.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace your own model of that name.")]


@models_app.command("list")
def list_(as_json: Json = False) -> None:
    """Show every model that --model can name, and every space of photographs and texts."""
    with working(quiet=True):
        from fastvbow.pipeline.listing_spaces import list_spaces
        from fastvbow.pipeline.models import list_models

        found, spaces = list_models(), list_spaces()
    rows, lines = [], []
    for model in found:
        rows.append({"name": model.name, "where": str(model.path), "problem": model.problem or None})
        if model.card is None:
            lines.append(f"{model.name:<24} cannot be used: {model.problem}")
            continue
        card = model.card
        rows[-1] |= _card_json(card)
        lines += [
            f"{model.name:<24} {card.side} x {card.side} {card.layout} {card.colour}, pooled {card.pooled.channels}, "
            f"map {card.conv.channels}; {card.licence}",
            f"{'':<24} {model.path}",
        ]
    space_rows, space_lines = listed_spaces(spaces)
    finish(as_json, {"models": rows, "spaces": space_rows}, lines + space_lines)


@models_app.command()
def inspect(
    file: File,
    side: Side = 0,
    layout: Layout = "",
    pooled: Pooled = "",
    conv: Conv = "",
    as_json: Json = False,
) -> None:
    """Find the vector and the maps of a network, and write nothing."""
    with working(quiet=True):
        from fastvbow.pipeline.models import inspect_model

        found = inspect_model(file, side=side, layout=layout, pooled=pooled, conv=conv)
    finish(as_json, _anatomy_json(found), _anatomy_lines(found))


@models_app.command()
def add(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE.onnx", help="Any ONNX classifier or encoder; only read. Or one of these:"),
    ] = None,
    clip: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(metavar="IMAGE.onnx TEXT.onnx TOKENIZER.json", help="Two encoders that were trained together."),
    ] = None,
    conse: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="TEXT.onnx TOKENIZER.json", help="A text encoder, for a space by a classifier's classes."),
    ] = None,
    text: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="TEXT.onnx TOKENIZER.json", help="A text encoder, for projects with --embeddings."),
    ] = None,
    name: Name = "",
    normalise: Annotated[
        str, typer.Option(help="How the input is scaled: imagenet, half, tf, clip, unit or none; --clip: clip.")
    ] = "",
    mean: Annotated[str, typer.Option(help="Of the input, 0 to 255: a number, or three with commas.")] = "",
    std: Annotated[str, typer.Option(help="What the input is divided by then: a number, or three with commas.")] = "",
    layout: Layout = "",
    colour: Annotated[str, typer.Option(help="The order of the input's channels: RGB or BGR.")] = "RGB",
    side: Side = 0,
    licence: Licence = "",
    source: Source = "",
    pooled: Pooled = "",
    conv: Conv = "",
    resize: Annotated[
        str, typer.Option(help="Of a space: crop (the square in the middle; --clip's) or squash (--conse's).")
    ] = "",
    filter: Annotated[
        str, typer.Option(help="Of a space: bicubic (--clip's), bilinear or linear (OpenCV's; --conse's).")
    ] = "",
    image_output: Annotated[
        str, typer.Option(metavar="TENSOR", help="The photographs' vectors in a space, if not what is found.")
    ] = "",
    image_pooling: Annotated[
        str, typer.Option(help="How --image-output becomes one vector: cls or mean, where it has many.")
    ] = "",
    text_output: Annotated[
        str, typer.Option(metavar="TENSOR", help="The texts' vectors in a space, if not what is found.")
    ] = "",
    pooling: Annotated[
        str, typer.Option(help="How the tokens' vectors become a text's: cls (BGE), mean (MiniLM, E5) or eot (CLIP).")
    ] = "",
    tokens: Annotated[int, typer.Option(help="The most tokens of a text; 0: what model or tokenizer say.", min=0)] = 0,
    padded: Annotated[bool, typer.Option("--padded", help="Pad every text to --tokens, as SigLIP wants it.")] = False,
    pad: Annotated[int, typer.Option(help="The padding token's number; -1: what the tokenizer says.", min=-1)] = -1,
    model: Annotated[
        str, typer.Option(help="With --conse: the model whose class scores are read.")
    ] = "efficientnet_lite0",
    classifier: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="With --conse: another classifier than --model.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --conse: the classes' names, one a line; else ImageNet's 1000."),
    ] = None,
    prompt: Annotated[str, typer.Option(help="With --conse: what a class's name is put into.")] = "a photo of {}",
    top: Annotated[int, typer.Option(help="With --conse: classes that count for a photograph.", min=1)] = 10,
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy a network into your models, or encoders of photographs and texts, and try it on the bundled photographs."""
    with working(quiet) as display:
        check_way(context)
        if file is None:
            done_space = add_space(context.params, display)
        else:
            from fastvbow.pipeline.models import add_model

            done = add_model(
                file,
                name=name,
                preset=normalise,
                mean=numbers_of("--mean", mean),
                std=numbers_of("--std", std),
                layout=layout,
                colour=colour,
                side=side,
                licence=licence,
                source=source,
                pooled=pooled,
                conv=conv,
                replacing=replace,
                listener=display,
            )
    if file is None:
        finish(as_json, added_space_json(done_space), added_space_lines(done_space))
    else:
        finish(as_json, _added_json(done), _added_lines(done))


@models_app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Your own model or space, as 'models list' shows it.")],
    as_json: Json = False,
) -> None:
    """Remove a model or a space of your own; projects made with it stay, but take no new photographs without it."""
    with working(quiet=True):
        from fastvbow.pipeline.listing_spaces import remove_space
        from fastvbow.pipeline.models import remove_model
        from fastvbow.pipeline.space_cards import known_spaces

        gone = remove_space(name) if name in known_spaces() else remove_model(name)
    finish(as_json, {"removed": [str(path) for path in gone]}, [f"removed: {path}" for path in gone])


@models_app.command()
def export(
    network: Annotated[str, typer.Argument(metavar="NAME", help="A network, as the library calls it: resnet50.")],
    library: Annotated[str, typer.Option("--from", help="Whose network: torchvision or timm.")] = "torchvision",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its weights; else those the library has on this machine.")
    ] = None,
    classes: Annotated[int, typer.Option(help="Classes of the weights; 0: the library's own.", min=0)] = 0,
    side: Annotated[int, typer.Option(help="Pixels a side; 0: what it was trained with.")] = 0,
    name: Annotated[str, typer.Option(help="The model's name from now on; the network's if empty.")] = "",
    licence: Licence = "",
    pooled: Pooled = "",
    conv: Conv = "",
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a model of a PyTorch network, and hold it against its source; nothing is downloaded."""
    with working(quiet) as display:
        from fastvbow.pipeline.exporting import export_model

        done = export_model(
            network,
            library=library,
            weights=weights,
            classes=classes,
            side=side,
            name=name,
            licence=licence,
            pooled=pooled,
            conv=conv,
            replacing=replace,
            listener=display,
        )
    finish(as_json, _added_json(done), _added_lines(done))


def _card_json(card: ModelCard) -> dict[str, Any]:
    return {
        "side": card.side,
        "layout": card.layout,
        "colour": card.colour,
        "mean": card.mean,
        "std": card.std,
        "pooled": card.pooled.channels,
        "conv": card.conv.channels,
        "licence": card.licence,
        "source": card.source,
        "sha256": card.sha256,
        "file": str(card.path),
    }


def _place_json(place: Place) -> dict[str, Any]:
    return {"tensor": place.tensor, "shape": place.shape, "layout": place.layout, "leading": place.leading}


def _anatomy_json(found: Anatomy) -> dict[str, Any]:
    image = found.image
    return {
        "input": {"tensor": image.tensor, "layout": image.layout, "side": image.side, "fixed": image.fixed},
        "scores": found.scores or None,
        "pooled": _place_json(found.pooled),
        "maps": [_place_json(place) for place in found.maps],
        "conv": _place_json(found.conv),
    }


def _place_line(role: str, place: Place) -> str:
    more = ""
    if place.layout == "TC" and place.leading:
        more = f", {place.leading} leading and {place.cells} of the picture"
    shape = " x ".join(map(str, place.shape))
    return f"{role:<16} {place.tensor}  {shape} ({place.layout}{more})"


def _anatomy_lines(found: Anatomy) -> list[str]:
    image = found.image
    held = "" if image.fixed else ", which the graph leaves open"
    roles = ("last map", "the one before")
    return [
        f"{'input':<16} {image.tensor}  {image.layout}, {image.side} x {image.side} pixels{held}",
        f"{'class scores':<16} {found.scores or 'none: an encoder'}",
        _place_line("pooled", found.pooled),
        *(_place_line(role, place) for role, place in zip(roles, found.maps, strict=False)),
        f"{'taken as conv':<16} {found.conv.tensor}",
    ]


def _added_json(done: Added) -> dict[str, Any]:
    return {
        "name": done.card.name,
        **_card_json(done.card),
        "graph": _anatomy_json(done.anatomy),
        "batch": done.batch,
        "cosine": {"mirrored": done.mirrored, "others": done.others},
        "better_normalisation": done.better or None,
    }


def _added_lines(done: Added) -> list[str]:
    return [
        *_anatomy_lines(done.anatomy),
        f"tried: cosine {done.mirrored:.3f} of a photograph and its mirror image, {done.others:.3f} of two photographs",
        f"added: {done.card.path.with_name(done.card.name + '.toml')}; use it with --model {done.card.name}",
    ]
