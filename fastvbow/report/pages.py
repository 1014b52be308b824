"""The pages that are whole without a script: overview, topics, skipped files, the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastvbow.report.content import ReportContent, Skipped
from fastvbow.report.curve import draw_curve
from fastvbow.report.layout import Layout, Sheet
from fastvbow.report.site import Site

__all__ = ["MAX_SKIPPED", "write_overview", "write_run", "write_skipped", "write_topics"]

MAX_SKIPPED = 10_000
SKIPPED_PER_PAGE = 1000


def write_overview(site: Site, layout: Layout, sheets: Sequence[Sheet]) -> None:
    """Write ``index.html``: the facts, all topics as mosaics, the photographs to look at first.

    Parameters
    ----------
    site : Site
    layout : Layout
    sheets : sequence of Sheet
        All topics in use.
    """
    content, choice = site.content, layout.choice
    site.page(
        "index.html",
        "index.html.j2",
        n_images=len(content.ids) + len(content.skipped),
        n_grouped=len(content.ids),
        sheets=sheets,
        linked=layout.linked(),
        empty=choice.empty,
        uncertain=layout.tiles(choice.uncertain),
        title_of=layout.title,
        without_topic=layout.tiles(choice.without_topic),
        n_without_topic=choice.n_without_topic,
        seconds=sum(content.seconds.values()),
        metrics=dict(content.metrics or {}),
    )


def write_topics(
    site: Site, sheets: Sequence[Sheet], evidence: Callable[[Sheet], Mapping[str, Any]] = lambda sheet: {}
) -> None:
    """Write a page for each topic in use.

    Parameters
    ----------
    site : Site
    sheets : sequence of Sheet
        In the order of previous and next.
    evidence : callable (Sheet) -> mapping, optional
        What the templates that the page includes show besides: see `fastvbow.report.topic_evidence`.
    """
    for i, sheet in enumerate(sheets):
        site.page(
            sheet.page,
            "topic.html.j2",
            sheet=sheet,
            previous=sheets[i - 1] if i else None,
            following=sheets[i + 1] if i + 1 < len(sheets) else None,
            **evidence(sheet),
        )


def _by_reason(skipped: Sequence[Skipped]) -> list[tuple[str, list[str]]]:
    """Reasons, the most frequent first, with their names in order."""
    names: dict[str, list[str]] = {}
    for one in skipped:
        names.setdefault(one.reason, []).append(one.name)
    return [(reason, sorted(names[reason])) for reason in sorted(names, key=lambda r: (-len(names[r]), r))]


def _skipped_page(number: int) -> str:
    return "skipped.html" if number == 1 else f"skipped-{number}.html"


def write_skipped(site: Site) -> None:
    """Write ``skipped.html``: the files that could not be used, by reason.

    `SKIPPED_PER_PAGE` names stand on a page, further ones on ``skipped-2.html`` and so on, up to `MAX_SKIPPED` names.

    Parameters
    ----------
    site : Site
    """
    reasons = _by_reason(site.content.skipped)
    pages: list[list[dict[str, Any]]] = [[]]
    room, left = SKIPPED_PER_PAGE, MAX_SKIPPED
    for reason, names in reasons:
        begin = 0
        while begin < len(names):
            if not room and left:
                pages.append([])
                room = SKIPPED_PER_PAGE
            part = names[begin : begin + min(room, left)]
            room, left = room - len(part), left - len(part)
            end = begin + len(part)
            n_more = 0 if left else len(names) - end
            pages[-1].append({"reason": reason, "n": len(names), "first": begin + 1, "names": part, "n_more": n_more})
            begin = end if left else len(names)
    for number, parts in enumerate(pages, start=1):
        site.page(
            _skipped_page(number),
            "skipped.html.j2",
            reasons=[(reason, len(names)) for reason, names in reasons],
            parts=parts,
            number=number,
            n_pages=len(pages),
            page_of=_skipped_page,
        )


def write_run(site: Site, n_pictured: int, most_pictured: int, picture_bytes: int) -> None:
    """Write ``run.html``: times, scores, parameters, the curve of the number of topics, and the report's own size.

    Parameters
    ----------
    site : Site
        With all other pages and all data written.
    n_pictured, most_pictured : int
        Photographs that have a picture, and how many can have one with these settings.
    picture_bytes : int
        Bytes of all pictures.
    """
    content: ReportContent = site.content
    site.page(
        "run.html",
        "run.html.j2",
        seconds=sum(content.seconds.values()),
        metrics=dict(content.metrics or {}),
        curve=draw_curve(content.silhouettes, content.n_topics),
        n_pictured=n_pictured,
        most_pictured=most_pictured,
        picture_bytes=picture_bytes,
        page_bytes=site.n_bytes["pages"],
        data_bytes=site.n_bytes["data"],
    )
