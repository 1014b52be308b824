"""The command ``fastvbow evaluate``: the figures of `fastvbow.pipeline.evaluate` as JSON and as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastvbow.cli_frame import finish
from fastvbow.cli_options import Executor, Jobs, Json, Labels, ProjectArgument, Scheduler
from fastvbow.cli_tables import ROWS, count, cut, number, rest, share, table
from fastvbow.cli_workers import working_with

if TYPE_CHECKING:
    from fastvbow.evaluation.distributions import PairScores
    from fastvbow.pipeline.evaluating import Evaluation

__all__ = ["evaluate", "evaluation_json", "evaluation_lines"]

COLUMNS = 12
"""Groups up to which the confusion table is printed."""

_SCORES = {
    "acc": ("accuracy (ACC)", "share in the right group, groups and labels matched one to one"),
    "nmi": ("normalised mutual information (NMI)", "rises with the number of groups"),
    "ami": ("adjusted mutual information (AMI)", "0 is chance"),
    "ari": ("adjusted Rand index (ARI)", "0 is chance"),
    "purity": ("purity", "rises with the number of groups"),
    "homogeneity": ("homogeneity", "a group holds one label alone"),
    "completeness": ("completeness", "a label is in one group alone"),
    "v_measure": ("V-measure", "harmonic mean of these two, the same as NMI"),
}
_DISTANCES = {
    "symkl": "mixtures, symmetric KL (nats)",
    "l2": "mixtures, squared L2",
    "js": "mixtures, Jensen-Shannon (nats)",
    "words_l1": "word histograms, L1",
    "words_l2": "word histograms, squared L2",
    "words_kl": "word histograms, KL (nats)",
}


def evaluate(
    project: ProjectArgument,
    labels: Labels = "parent",
    jobs: Jobs = -1,
    executor: Executor = "threads",
    scheduler: Scheduler = "",
    as_json: Json = False,
) -> None:
    """Hold a project's groups against labels."""
    with working_with(executor, scheduler, jobs, quiet=True) as (_, workers):
        from fastvbow import pipeline

        found = pipeline.evaluate(project, labels=labels, jobs=jobs, executor=workers)
    finish(as_json, evaluation_json(found), list(evaluation_lines(found)))


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """All that was found, for machines.

    Parameters
    ----------
    found : Evaluation

    Returns
    -------
    dict
        Each of ``Evaluation.scores`` under its name, ``n_unlabelled``, ``problems``, and as tables ``distances``,
        ``labels``, ``groups``, ``confusion`` and ``alignment``. A label or group without a partner, and an
        undefined figure, is None or NaN.
    """
    tables, coherence = found.tables, found.topics.npmi.tolist()
    names, sizes, held = tables.labels.tolist(), tables.counts.sum(axis=1), tables.counts.sum(axis=0)
    by_label = {name: _by_label(pairs) for name, pairs in found.distances.items()}
    label_rows = [
        {
            "label": label,
            "images": int(sizes[i]),
            "group": int(tables.label_group[i]),
            "recall": float(tables.label_recall[i]),
            "matched_group": int(tables.matched_group[i]) if tables.matched_group[i] >= 0 else None,
            "matched_recall": float(tables.matched_recall[i]),
            "entropy": float(tables.label_entropy[i]),
            **{f"{name}_within": within.get(label) for name, within in by_label.items()},
        }
        for i, label in enumerate(names)
    ]
    group_rows = [
        {
            "group": int(group),
            "name": found.names.get(int(group)),
            "images": int(held[j]),
            "label": str(tables.group_label[j]),
            "purity": float(tables.group_purity[j]),
            "matched_label": names[tables.group_match[j]] if tables.group_match[j] >= 0 else None,
            "entropy": float(tables.group_entropy[j]),
            "npmi": coherence[group],
        }
        for j, group in enumerate(tables.groups)
    ]
    distances = {
        name: {
            "within": pairs.mean_within,
            "within_error": pairs.mean_within_error,
            "global": pairs.overall,
            "global_error": pairs.overall_error,
            "ratio": pairs.ratio,
            "ratio_error": pairs.ratio_error,
            "exact": pairs.exact,
            "labels_of_one_image": pairs.n_single,
        }
        for name, pairs in found.distances.items()
    }
    test = found.alignment
    return {
        **found.scores,
        "n_unlabelled": found.n_unlabelled,
        "problems": [{"path": path, "reason": reason} for path, reason in found.problems],
        "held_out": found.topics.held_out,
        "distances": distances,
        "labels": label_rows,
        "groups": group_rows,
        "confusion": {"labels": names, "groups": tables.groups.tolist(), "counts": tables.counts.tolist()},
        "alignment": {
            "method": test.method,
            "statistic": test.statistic,
            "degrees": test.degrees,
            "p_value": test.p_value,
            "cramers_v": test.cramers_v,
            "least_expected": test.least_expected,
            "independence_rejected": test.rejected,
        },
    }


def _by_label(pairs: PairScores) -> dict[str, float]:
    return dict(zip(pairs.labels.tolist(), pairs.within.tolist(), strict=True))


def evaluation_lines(found: Evaluation) -> Iterator[str]:
    """All that was found, for a person; long tables are cut and say so.

    Parameters
    ----------
    found : Evaluation

    Yields
    ------
    str
        A line.
    """
    tables = found.tables
    unlabelled = f", {found.n_unlabelled} more without" if found.n_unlabelled else ""
    yield (
        f"{count(found.n_images, 'image')} with a label{unlabelled}: "
        f"{count(len(tables.labels), 'label')}, {count(len(tables.groups), 'group')}"
    )
    if found.problems:
        (path, reason), more = found.problems[0], ", ..." if len(found.problems) > 1 else ""
        yield f"masks of {count(len(found.problems), 'image')} are of no use: {cut(path)}: {reason}{more}"
    yield from ("", "GROUPS AGAINST LABELS  (higher is better, 1 is perfect)")
    for key, (name, note) in _SCORES.items():
        yield f"  {name:<37} {found.scores[key]:>7.4f}  {note}"
    yield from _distance_lines(found)
    yield from _topic_lines(found)
    yield from _label_lines(found)
    yield from _group_lines(found)
    yield from _confusion_lines(found)
    yield from _alignment_lines(found)


def _distance_lines(found: Evaluation) -> Iterator[str]:
    yield from ("", "DISTANCES BETWEEN IMAGES  (lower ratios are better; at 1, labels make no difference)")
    rows = []
    for key, name in _DISTANCES.items():
        if key not in found.distances:  # of words, which the photographs of clusters need not have
            continue
        pairs = found.distances[key]
        error = f"±{pairs.ratio_error:.3f}" if pairs.ratio_error > 0 else ""
        rows.append([name, number(pairs.mean_within), number(pairs.overall), share(pairs.ratio), error])
    yield from table(["", "within labels", "all pairs", "ratio", ""], rows, (0,))
    if not all(pairs.exact for pairs in found.distances.values()):
        yield "  ± half of the 95 % confidence interval: pairs were drawn, as there are too many to look at each"
    pairs = found.distances["symkl"]
    if pairs.n_single:
        yield f"  {count(pairs.n_single, 'label')} of a single image left out: no pair within"


def _topic_lines(found: Evaluation) -> Iterator[str]:
    scores, seen = found.scores, "not trained on" if found.topics.held_out else "trained on"
    notes = {
        "npmi": ("coherence (NPMI)", "higher is better, -1 to 1"),
        "umass": ("coherence (UMass)", "higher is better, at most about 0"),
        "diversity": ("diversity of the top words", "1: no two topics share one"),
        "perplexity": ("perplexity by completion", f"lower is better; half of each image given the rest, {seen}"),
        "silhouette": ("silhouette by word histograms", "higher is better, -1 to 1"),
    }
    if all(math.isnan(scores[key]) for key in notes):  # clusters of photographs without words
        return
    yield from ("", "TOPICS AND GROUPS WITHOUT LABELS")
    for key, (name, note) in notes.items():
        if key == "silhouette" or not math.isnan(scores["diversity"]):  # which is known of any topics
            yield f"  {name:<34} {number(scores[key]):>10}  {note}"


def _label_lines(found: Evaluation) -> Iterator[str]:
    tables, symkl = found.tables, _by_label(found.distances["symkl"])
    order = sorted(range(len(tables.labels)), key=lambda i: (tables.matched_recall[i], tables.labels[i]))
    sizes = tables.counts.sum(axis=1)
    rows = [
        [
            cut(tables.labels[i]),
            str(sizes[i]),
            str(tables.matched_group[i]) if tables.matched_group[i] >= 0 else "-",
            share(tables.matched_recall[i]),
            str(tables.label_group[i]),
            share(tables.label_recall[i]),
            share(tables.label_entropy[i]),
            share(symkl.get(tables.labels[i], float("nan"))),
        ]
        for i in order[:ROWS]
    ]
    yield from ("", "LABELS  (worst first; entropy over groups in nats; symmetric KL of mixtures within)")
    yield from table(["label", "images", "matched", "recall", "largest in", "recall", "entropy", "sym. KL"], rows, (0,))
    yield from rest(len(order), "label")


def _group_lines(found: Evaluation) -> Iterator[str]:
    tables = found.tables
    held = tables.counts.sum(axis=0)
    order = sorted(range(len(tables.groups)), key=lambda j: (tables.group_purity[j], tables.groups[j]))
    rows = [
        [
            _group(found, int(tables.groups[j])),
            str(held[j]),
            cut(tables.group_label[j]),
            share(tables.group_purity[j]),
            cut(tables.labels[tables.group_match[j]]) if tables.group_match[j] >= 0 else "-",
            share(tables.group_entropy[j]),
            share(found.topics.npmi[tables.groups[j]]),
        ]
        for j in order[:ROWS]
    ]
    left = (0, 2, 4) if found.names else (2, 4)
    yield from ("", "GROUPS  (least pure first; entropy over labels in nats)")
    yield from table(["group", "images", "most frequent", "purity", "matched", "entropy", "NPMI"], rows, left)
    yield from rest(len(order), "group")


def _group(found: Evaluation, group: int) -> str:
    name = found.names.get(group)
    return str(group) if name is None else f"{group} {cut(name)}"


def _confusion_lines(found: Evaluation) -> Iterator[str]:
    tables = found.tables
    if len(tables.groups) > COLUMNS:
        return
    order = [*tables.group_match[tables.group_match >= 0], *(i for i, g in enumerate(tables.matched_group) if g < 0)]
    rows = [[cut(tables.labels[i]), *(str(n) if n else "." for n in tables.counts[i])] for i in order[:ROWS]]
    yield from ("", "IMAGES OF EACH LABEL IN EACH GROUP  (matched ones on the diagonal)")
    yield from table(["", *map(str, tables.groups)], rows, (0,), len(str(tables.counts.max())))
    yield from rest(len(order), "label")


def _alignment_lines(found: Evaluation) -> Iterator[str]:
    test = found.alignment
    yield from ("", "ARE THE ROWS ALIGNED?  (independence of labels and groups has to be rejected)")
    if test.method == "none":
        yield "  not to be told: there is one label or one group only"
        return
    source = "its distribution" if test.method == "chi-square" else "shuffled tables, as expected counts are small"
    p = f"p = {test.p_value:.2g}" if test.p_value > 1e-300 else "p < 1e-300"
    yield (
        f"  chi-square {number(test.statistic)}, {count(test.degrees, 'degree')} of freedom, {p} by {source}; "
        f"Cramér's V {test.cramers_v:.3f}"
    )
    yield (
        "  rejected: labels and groups belong together"
        if test.rejected
        else "  NOT REJECTED: groups are as good as random, the images too few, or the labels are in another order"
    )
