"""Command ``models export``: a network of torchvision or timm becomes one of the user's models."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.features.adding import check_name
from fastvbow.features.cnn import open_session
from fastvbow.features.exporting import LEAST_COSINE, Network, build_network, least_cosines, write_onnx
from fastvbow.features.graphs import import_onnx
from fastvbow.features.models import ModelCard
from fastvbow.features.tensors import input_maker
from fastvbow.pipeline.models import Added, add_model, bundled_photographs

__all__ = ["export_model"]

_HELD = 15
"""Bundled photographs that an export and its source are both run on."""


def export_model(
    network: str,
    *,
    library: str = "torchvision",
    weights: Path | None = None,
    classes: int = 0,
    side: int = 0,
    name: str = "",
    licence: str = "",
    pooled: str = "",
    conv: str = "",
    replacing: bool = False,
    listener: Listener = log_events,
) -> Added:
    """Export a PyTorch network to ONNX, hold it against its source, and add it to the user's models.

    Parameters
    ----------
    network : str
        As the library calls it.
    library : {"torchvision", "timm"}, default="torchvision"
    weights : Path, optional
    classes, side : int, default=0
        See `fastvbow.features.exporting.build_network`.
    name : str, default=""
        Of the model from now on; empty: the network's.
    licence : str, default=""
        For the card; empty: what the library says.
    pooled, conv : str, default=""
    replacing : bool, default=False
        See `fastvbow.pipeline.models.add_model`.
    listener : Listener, optional

    Raises
    ------
    UsageError
        The network, its weights or its export cannot be used; or an output of the export has a cosine below
        `fastvbow.features.exporting.LEAST_COSINE` to every layer of the source on some photograph. Nothing is added
        then.
    MissingExtraError
        The extras ``export`` and ``cpu`` are needed.
    """
    name = name or network
    check_name(name, replacing=replacing)
    import_onnx()
    source = build_network(network, library, weights=weights, classes=classes, side=side)
    listener(Event("models", "begin", f"exporting {source.source}"))

    with tempfile.TemporaryDirectory(prefix="fastvbow-") as folder:
        file = Path(folder) / "network.onnx"
        write_onnx(source, file)

        def check(card: ModelCard) -> Mapping[str, float]:
            return _held_against(source, file, card)

        return add_model(
            file,
            name=name,
            mean=source.mean,
            std=source.std,
            layout="NCHW",
            side=source.side,
            licence=licence or source.licence,
            source=source.source,
            pooled=pooled,
            conv=conv,
            replacing=replacing,
            check=check,
            listener=listener,
        )


def _held_against(source: Network, file: Path, card: ModelCard) -> dict[str, float]:
    """The least cosines of both outputs of what would be stored, and of the whole export's scores.

    Raises
    ------
    UsageError
        One is below `fastvbow.features.exporting.LEAST_COSINE`.
    """
    whole, stored, make = open_session(file, "cpu"), open_session(card.path, "cpu"), input_maker(card)
    inputs = [make(photograph) for photograph in bundled_photographs(_HELD)]
    names, given = [card.pooled.tensor, card.conv.tensor], whole.get_inputs()[0].name
    outputs = [[*stored.run(names, {card.input: one}), whole.run(None, {given: one})[0]] for one in inputs]
    found = dict(zip(("pooled", "conv", "scores"), least_cosines(source, inputs, outputs), strict=True))
    for role, cosine in found.items():
        if not cosine >= LEAST_COSINE:
            raise UsageError(
                f"the export is not its source: its {role} has a cosine of {cosine:.4f} to the layer that is most like "
                f"it, less than {LEAST_COSINE}; nothing was added: name another tensor with --pooled or --conv, or "
                "export it with another PyTorch"
            )
    return found
