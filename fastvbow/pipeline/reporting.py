"""Stage ``report``: the HTML pages of a project."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow import __version__
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs
from fastvbow.groups.grouping import read_table
from fastvbow.groups.names import TopicNames
from fastvbow.groups.suggestions import TopicSuggestions
from fastvbow.images.decode import decode_photograph
from fastvbow.images.joining import chosen
from fastvbow.images.table import ImageTable, readable
from fastvbow.pipeline.clusters_told import described, parameters_told
from fastvbow.pipeline.encoding import are_encoded
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import require_groups
from fastvbow.pipeline.mixtures import MAKERS, grouped_by
from fastvbow.pipeline.placed_tokens import PlacedTokens
from fastvbow.pipeline.report_evidence import report_evidence
from fastvbow.pipeline.report_positions import report_positions
from fastvbow.pipeline.stage import run_stage
from fastvbow.pipeline.suggested_names import load_suggestions
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import STAGES, ProjectFolder, StageCard
from fastvbow.report.build import build_report
from fastvbow.report.content import ReportContent, Skipped, Suggestion
from fastvbow.report.pieces import Elsewhere
from fastvbow.report.positions import map_method
from fastvbow.report.thumbnails import MAX_WIDTH

__all__ = ["report"]

_ON_THE_PAGES = {("groups", "names"), ("groups", "suggested")}  # themselves; their checksums tell nobody anything


def report(
    project: Path,
    *,
    per_topic: int = 24,
    uncertain: int = 24,
    thumbnails: int = 4000,
    layout: str = "auto",
    jobs: int | None = None,
    executor: Executor | None = None,
    listener: Listener = log_events,
) -> StageCard:
    """Write ``PROJECT/report/``, pages that open from disk without a network, the first of them ``index.html``.

    Parameters
    ----------
    project : Path
    per_topic : int, default=24
        Most typical photographs shown on each topic's page.
    uncertain : int, default=24
        Most uncertain photographs of all, shown on the first page.
    thumbnails : int, default=4000
        Photographs with a small thumbnail for browsing; of the others the originals are shown, where they are files.
    layout : {"auto", "umap", "pca"}, default="auto"
        Of the map: UMAP where it is installed (extra ``viz``) and there are 100 photographs, else PCA.
    jobs : int, optional
        Threads that make thumbnails; None or -1: all processors.
    executor : concurrent.futures.Executor, optional
        Where photographs are read and thumbnails made, such as Dask's ``client.get_executor()``; None: `jobs` threads
        of this process. Changes no byte of the result.
    listener : Listener, optional

    Returns
    -------
    StageCard
        ``outputs["page"]`` is the page's path inside the project.

    Raises
    ------
    StageMissingError
        There are no groups yet, or they are older than the topics or their names.
    UsageError, MissingExtraError
        `layout` is none of these, or cannot be had.
    """
    folder, workers, shown = ProjectFolder.open(project), effective_jobs(jobs), None
    if (groups := folder.card("groups")) is not None:
        require_groups(folder)
        layout = map_method(layout, int(groups.outputs["grouped"]))
        shown = load_suggestions(folder, load_names(folder), listener)
    parameters = {"per_topic": per_topic, "uncertain": uncertain, "thumbnails": thumbnails, "layout": layout}
    if shown is not None:
        parameters["suggested"] = shown.fingerprint
    return run_stage(
        folder,
        "report",
        parameters=parameters,
        after="groups",
        outputs=[folder.report / "index.html"],
        listener=listener,
        body=lambda: _build(folder, per_topic, uncertain, thumbnails, layout, workers, executor, listener),
    )


def _build(
    project: ProjectFolder,
    per_topic: int,
    uncertain: int,
    thumbnails: int,
    layout: str,
    jobs: int,
    executor: Executor | None,
    listener: Listener,
) -> dict[str, Any]:
    images = ImageTable.load(project.images, project.image_root)
    groups, skipped = read_table(project.groups), read_table(project.skipped)
    placed = PlacedTokens(project) if are_encoded(project) else None
    rows = np.flatnonzero(np.concatenate([shard.read for shard in open_shards(project)]))
    by = grouped_by(project)
    cards = {stage: project.require(stage) for stage in _stages(by, encoded=placed is not None)}
    labels = groups["label"].to_pylist()
    topic = groups["topic"].to_numpy()
    # A photograph without a single word has the prior's mixture: the page must not pass it off as a member of a topic.
    shown = np.where(placed.n_tokens[rows] > 0, topic, -1) if placed and by == "topics" else topic
    names = load_names(project)
    suggestions = load_suggestions(project, names)
    known = [i for i, label in enumerate(labels) if label is not None]
    source = readable(os.fsencode(project.source))
    missing: list[int] = []

    read_photograph = _Photographs(images, rows)
    merged = {topics[0]: topics for topics in names.merged}
    content = ReportContent(
        title=source.rstrip("/").rpartition("/")[2] or source,
        source=source,
        n_topics=names.n_topics,
        ids=groups["image_id"].to_pylist(),
        names=groups["path"].to_pylist(),
        topic=shown,
        probability=groups["probability"].to_numpy(),
        entropy=groups["entropy"].to_numpy(),
        read_photograph=read_photograph,
        locate=lambda i: images.path(rows[i]) if images.is_file(rows[i]) else None,
        in_sequence=images.places is not None and bool((images.places.rows >= 0).any()),
        labels=labels if known else None,
        skipped=[Skipped(s["path"], s["reason"]) for s in skipped.to_pylist()],
        parameters=_parameters(cards) | ({} if suggestions is None else {"suggest: texts": _suggested_by(suggestions)}),
        suggestions={} if suggestions is None else _suggestions(suggestions, names),
        suggested_by="" if suggestions is None else _suggested_by(suggestions),
        seconds={stage: card.seconds for stage, card in cards.items()},
        version=__version__,
        topic_names=names.by_group(),
        merged=merged,
        evidence=report_evidence(project, placed, rows, merged) if placed else None,
        positions=report_positions(project, rows, layout),
        made_by="" if by == "topics" else described(cards[by]),
        silhouettes=[(int(number), float(value)) for number, value in cards[by].outputs.get("silhouettes", [])],
        metrics=_metrics([labels[i] for i in known], topic[known]) if known else None,
    )

    def tell(done: int, total: int) -> None:
        listener(Event("report", "step", done=done, total=total))

    page = build_report(
        content,
        project.report,
        per_topic=per_topic,
        n_uncertain=uncertain,
        n_thumbnails=thumbnails,
        progress=tell,
        jobs=jobs,
        elsewhere=None if executor is None else Elsewhere(executor, project.place, read_photograph.some),
        lost=missing.append,
    )
    found: dict[str, Any] = {"page": page.relative_to(project.root).as_posix()}  # the project may be moved
    if missing:
        listener(
            Event(
                "report",
                "warning",
                f"{len(missing)} photographs of the report can no longer be read, as "
                f"{images.names[rows[min(missing)]]} in {source}: when they are back, 'fastvbow report' makes it again",
            )
        )
        found["missing"] = len(missing)
    return found


@dataclass(frozen=True)
class _Photographs:
    """Decodes photographs of an image table, those in `rows` of it; some of them can be sent to another process."""

    images: ImageTable
    rows: NDArray[np.integer]

    def __call__(self, index: int) -> NDArray[np.uint8]:
        # a large one at a part of its size
        return decode_photograph(self.images.read(self.rows[index]), MAX_WIDTH).pixels

    def some(self, indices: Sequence[int]) -> _Photographs:
        """Those, with no more of the table than leads to their files."""
        return _Photographs(
            chosen(self.images, np.asarray(self.rows, np.int64)[list(indices)]), np.arange(len(indices))
        )


def _stages(by: str, *, encoded: bool) -> list[str]:
    """The stages that the groups come from, in their order."""
    left_out = {"report", *(stage for stage in MAKERS if stage != by), *(() if encoded else ("vocabulary", "encode"))}
    return [stage for stage in STAGES if stage not in left_out]


def _suggestions(found: TopicSuggestions, names: TopicNames) -> dict[int, Suggestion]:
    """What the groups that are there now may be called."""
    proposals = found.proposals(names)
    return {
        group: Suggestion(
            proposals.get(group),
            [(noun.noun, noun.score, noun.definition) for noun in one.nouns],
            one.caption,
            one.caption_cosine,
        )
        for group, one in found.current(names).items()
    }


def _suggested_by(found: TopicSuggestions) -> str:
    """``the 82,115 nouns of wordnet and the 40,460 captions of Flickr8k.token.txt, compared in the space conse``."""
    origin = found.origin
    texts = [f"the {origin.nouns.rows:,} nouns of {origin.nouns.name}"]
    if origin.captions is not None:
        texts.append(f"the {origin.captions.rows:,} captions of {origin.captions.name}")
    return f"{' and '.join(texts)}, compared in the space {origin.space}"


def _parameters(cards: dict[str, StageCard]) -> dict[str, str]:
    """All parameters of all stages, one line each."""
    lines: dict[str, str] = {}
    for stage, card in cards.items():
        if stage == "cluster":
            lines |= {f"{stage}: {name}": value for name, value in parameters_told(card).items()}
            continue
        for name, value in ((n, v) for n, v in card.parameters.items() if (stage, n) not in _ON_THE_PAGES):
            if isinstance(value, dict):
                value = ", ".join(f"{k} {v}" for k, v in value.items() if k not in {"sha256", "order"})
            # of what was taken over a person wants to know the place, not the fingerprint
            lines[f"{stage}: {name}"] = str(card.outputs.get("taken from", value) if name == "origin" else value)
    return lines


def _metrics(labels: list[str], topic: NDArray[np.int32]) -> dict[str, float]:
    """The scores under the names that a person knows."""
    scores = clustering_scores(labels, topic)
    return {"accuracy": scores["acc"], "NMI": scores["nmi"], "ARI": scores["ari"], "purity": scores["purity"]}
