"""Writes a report: a small site of pages that lie side by side in one folder, and the pictures they show.

::

    report/index.html      the facts, all topics as mosaics, the photographs to look at first
    report/topic-003.html  a page for each topic: most typical, least certain and random photographs
    report/browse.html     all photographs: search, filters, sorting
    report/map.html        all photographs on a map, similar ones close to each other
    report/skipped.html    the files that could not be used, by reason (skipped-2.html, ... where they are many)
    report/run.html        parameters, times, scores, and how large the report is
    report/assets/         style sheet and scripts
    report/data/*.js       names and numbers of all photographs, for browse.html alone
    report/thumbs/*.jpg    a thumbnail of each photograph that the overview and the topics' pages show
    report/sheets/*.jpg    small thumbnails, a hundred a file, for browsing
    report/words/*.jpg     patches of the words that mark a topic, a file for each

The pages open from disk without a network. Equal content gives equal bytes.

Of n images in K topics at most ``K * (per_topic + 2 * max(4, per_topic // 3)) + 2 * n_uncertain`` have a thumbnail,
about 10 kB each: with the defaults 40 a topic, and fewer of more than 200 topics (see `fitting`). At most
`n_thumbnails` have a small one, about 4 kB each; of the others there are names and numbers alone. With a million
synthetic images in 50 topics, half of them labelled: 53 MB, of these 33 MB in 100 chunks of data, 19 MB of pictures and
1.1 MB of pages; written in 34 s on 2 shared cores with 69 MB beyond the columns. In Chromium ``index.html`` shows after
0.24 s and ``browse.html`` after 0.1 s, with its first photographs after 0.3 s; a topic or a page of it comes in 0.1 s,
and so do the first photographs of a label (all of them take up to 2 s); a name is looked for among all in 2 s, all are
put in order by entropy in 1.5 s and by name in 9 s.

Where there is `ReportContent.evidence`, a topic's page has 55 kB more of HTML and 90 kB of patches; `positions` bring a
map with at most 0.9 MB of data, which for the same million (principal components) are written in 3 s of one processor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs
from fastvbow.project import replace_folder
from fastvbow.report.browse_page import write_browse
from fastvbow.report.choice import choose, fitting, on_a_page
from fastvbow.report.content import ReportContent
from fastvbow.report.layout import Layout
from fastvbow.report.map_page import write_map
from fastvbow.report.pages import write_overview, write_run, write_skipped, write_topics
from fastvbow.report.photographs import PhotographUse, hand_out
from fastvbow.report.pieces import Elsewhere
from fastvbow.report.rows import choose_sample, order_rows
from fastvbow.report.site import Site
from fastvbow.report.sprites import Sprites
from fastvbow.report.thumbnails import Thumbnails
from fastvbow.report.topic_evidence import topic_evidence
from fastvbow.report.topic_words import WordPatches

__all__ = ["build_report"]

MAP = "map.html", "Map"
PAGES = [
    ("index.html", "Topics"),
    ("browse.html", "Browse"),
    ("skipped.html", "Skipped"),
    ("run.html", "The run"),
]
ASSETS = ["evidence.css", "report.css", "report.js", "rows.js", "browse.js"]
MAP_ASSETS = ["map.css", "map_view.js", "map.js"]


def build_report(
    content: ReportContent,
    folder: Path,
    *,
    per_topic: int = 24,
    n_uncertain: int = 24,
    n_thumbnails: int = 4000,
    progress: Callable[[int, int], None] | None = None,
    jobs: int = 1,
    elsewhere: Elsewhere | None = None,
    lost: Callable[[int], object] | None = None,
) -> Path:
    """Write the report of a project.

    The folder is built beside its final place and swapped in whole: a reader sees no mixture of the old report and the
    new one, and an error or an interrupt leaves the old one as it was.

    Parameters
    ----------
    content : ReportContent
        What to show.
    folder : pathlib.Path
        The report's folder; one that exists is replaced.
    per_topic : int, default 24
        Typical photographs on each topic's page. A third as many (at least four) uncertain ones stand below them, and
        as many random ones. Fewer where topics are so many that their pages would show more than 8000 (`fitting`).
    n_uncertain : int, default 24
        Photographs in the list of the most uncertain of all topics; also the most that are shown of those without a
        topic.
    n_thumbnails : int, default 4000
        Photographs with a small thumbnail for browsing, see `choose_sample`; at most 4.5 kB each, of pure noise 12 kB.
    progress : callable (done, total), optional
        Called after every photograph, from the calling thread.
    jobs : int, default 1
        Threads that read photographs and make thumbnails; -1: one a processor. Changes no byte of the report.
    elsewhere : Elsewhere, optional
        Who reads photographs and makes thumbnails instead of threads; changes no byte either. Sheets are put together,
        and pages written, here: a report shows at most some 12,000 photographs, however many there are.
    lost : callable (int), optional
        Called with each photograph that can no longer be read.

    Returns
    -------
    pathlib.Path
        The first page, ``folder / "index.html"``.

    Raises
    ------
    UsageError
        If `per_topic` is below 1, `n_uncertain` below 0 or `jobs` 0, or if a photograph is not a uint8 (H, W, 3) array.
    """
    if per_topic < 1 or n_uncertain < 0:
        raise UsageError(
            f"a report needs per_topic >= 1 and n_uncertain >= 0, not per_topic={per_topic}, n_uncertain={n_uncertain}"
        )
    if n_thumbnails < 0:
        raise UsageError(f"the number of thumbnails is 0 or more, not {n_thumbnails}")
    effective_jobs(jobs)
    per_topic = fitting(per_topic, int(np.unique(content.topic[content.topic >= 0]).size))
    choice = choose(content, per_topic, n_uncertain)
    rows = order_rows(content, choice)
    shown = list(choice.shown())
    sample = choose_sample(rows, shown, n_thumbnails)
    with replace_folder(folder) as temporary:
        site = Site(content, temporary, PAGES if content.positions is None else [*PAGES[:2], MAP, *PAGES[2:]])
        thumbnails, sprites = Thumbnails(shown, temporary), Sprites(sample, temporary)
        uses: list[PhotographUse] = [thumbnails, sprites]  # all that is cut from photographs, from one decode of each
        patches = WordPatches(content.evidence, choice, temporary) if content.evidence else None
        uses += [patches] if patches else []
        wanted = sorted({index for use in uses for index in use.wanted}, key=lambda index: int(rows.row_of[index]))
        gone = hand_out(content, wanted, uses, jobs=jobs, progress=progress, elsewhere=elsewhere)
        if lost is not None:
            for index in gone:
                lost(index)
        for name in ASSETS:
            site.asset(name)
        layout = Layout(content, choice, thumbnails.made)
        sheets = layout.sheets()
        write_overview(site, layout, sheets)
        write_topics(site, sheets, lambda sheet: topic_evidence(layout, sheet, content.evidence, patches))
        write_browse(site, layout, rows, sprites)
        if content.positions is not None:
            for name in MAP_ASSETS:
                site.asset(name)
            write_map(site, layout, rows, sprites, content.positions)
        write_skipped(site)
        most = max(content.n_topics * on_a_page(per_topic) + 2 * n_uncertain, n_thumbnails)
        picture_bytes = thumbnails.n_bytes + sprites.n_bytes + (patches.n_bytes if patches else 0)
        write_run(site, len(wanted), most, picture_bytes)
    return folder / "index.html"
