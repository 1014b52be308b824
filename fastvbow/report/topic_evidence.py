"""What the page of a topic shows besides photographs: the words that mark it, and drawings over some photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastvbow.report.evidence import Evidence
from fastvbow.report.layout import Layout, Sheet, Tile
from fastvbow.report.overlays import MOST_COLOURS, Overlay, draw_overlay
from fastvbow.report.patches import SIDE
from fastvbow.report.topic_words import PATCHES, WordPatches

__all__ = ["ShownOverlay", "topic_evidence"]

TYPICAL = 2
"""Most typical photographs with a drawing on a topic's page."""
UNCERTAIN = 4
"""Least certain ones."""
WEAK_LIFT = 2.0
"""Words that are not even so many times as frequent in a topic as in all are said not to mark it."""

KIND_NAMES = {
    "sift": "Keypoints (SIFT)",
    "conv": "Cells of the CNN’s map",
    "joint": "Keypoints with the CNN’s map around them",
    "pooled": "Whole photographs, by the CNN’s vector",
    "embeddings": "Whole photographs, by the given vectors",
}
PATCH_NAMES = {"sift": "Keypoint", "conv": "Cell", "joint": "Keypoint"}
SHARE_NAMES = {
    "sift": "keypoints",
    "conv": "cells",
    "joint": "keypoints",
    "pooled": "whole photograph",
    "embeddings": "whole photograph",
}


@dataclass(frozen=True)
class ShownOverlay:
    """A drawing with its photograph.

    Attributes
    ----------
    tile : Tile
    overlay : Overlay
    """

    tile: Tile
    overlay: Overlay


def topic_evidence(
    layout: Layout, sheet: Sheet, evidence: Evidence | None, patches: WordPatches | None
) -> Mapping[str, Any]:
    """What the templates ``topic_words.html.j2`` and, but for clusters, ``topic_overlays.html.j2`` show.

    Parameters
    ----------
    layout : Layout
    sheet : Sheet
        Of the topic.
    evidence : Evidence or None
    patches : WordPatches or None
        With all photographs handed out. Without the two nothing is shown.

    Returns
    -------
    mapping of str to object
    """
    if evidence is None or patches is None:
        return {}
    # clusters take a photograph as a whole: nothing is known of its parts
    chosen = [] if layout.content.made_by else [*sheet.typical[:TYPICAL], *sheet.uncertain[:UNCERTAIN]]
    drawn = [
        ShownOverlay(tile, overlay)
        for tile in chosen
        if tile.thumbnail
        and (overlay := draw_overlay(evidence, tile.index, tile.thumbnail.width, tile.thumbnail.height))
        and overlay.n_points + overlay.n_cells
    ]
    return {
        "words": patches.topics[sheet.topic],
        "overlays": drawn,
        "signs": _signs(drawn),
        "kind_names": KIND_NAMES,
        "patch_names": PATCH_NAMES,
        "share_names": SHARE_NAMES,
        "weak_lift": WEAK_LIFT,
        "side": SIDE,
        "most_patches": PATCHES,
        "most_colours": MOST_COLOURS,
        "tiles": layout.tiles,
        "title_of": layout.title,
    }


def _signs(drawn: list[ShownOverlay]) -> str:
    """What the drawings consist of."""
    signs = ["Circles are keypoints"] if any(shown.overlay.n_points for shown in drawn) else []
    if any(shown.overlay.n_cells for shown in drawn):
        signs.append(f"{'squares' if signs else 'Squares'} are cells of the CNN’s map")
    return ", ".join(signs)
