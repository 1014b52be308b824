"""What a study found about the reference paper's claims, in plain words that follow from the numbers.

The paper (spatial_LDA) grouped ADE20K scenes by SIFT words and variational LDA. It called 300 keypoints, 300 words and
20 topics best, as they had the least symmetric KL divergence on the training photographs, and SIFT better than PCA and
a CNN, whose rows had been shuffled on the way (every published PCA table is what chance gives).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from fastvbow.report.study_content import StudyContent, method_name, setting_name, summary

__all__ = ["Finding", "findings"]

_CLAIMED = (300, 300, 20)


@dataclass(frozen=True)
class Finding:
    """A claim, or a question, and what this study says of it.

    Attributes
    ----------
    claim, answer : str
    """

    claim: str
    answer: str


def findings(content: StudyContent) -> list[Finding]:
    """All that the study can say something about.

    Parameters
    ----------
    content : StudyContent
    """
    found = [_best_setting(content), _smoothness(content), _sift(content), _methods(content), _aligned(content)]
    return [finding for finding in found if finding is not None]


def _means(content: StudyContent, column: str) -> dict[tuple[int, int, int], float]:
    """A score of each setting of the grid, the mean over seeds."""
    means = {s: summary(content.grid_rows(*s), column).mean for s in content.settings()}
    return {setting: value for setting, value in means.items() if not np.isnan(value)}


def _least(means: Mapping[tuple[int, int, int], float]) -> str:
    best = min(means, key=lambda setting: (means[setting], setting))
    return f"{setting_name(*best)} ({means[best]:.3f})"


def _best_setting(content: StudyContent) -> Finding | None:
    train = _means(content, "symkl_global")
    if len(train) < 2:
        return None
    sentences = [f"By that measure, here the least of {len(train)} settings has {_least(train)}"]
    if content.n_validation:
        sentences[0] += (
            f" on the photographs learned from, {_least(_means(content, 'validation_symkl_global'))} on those held out"
        )
    sentences[0] += "."
    prefix = "validation_" if content.n_validation else ""
    ratio = _means(content, f"{prefix}symkl_ratio")
    if ratio:
        where = " on photographs held out" if content.n_validation else ""
        sentences.append(
            "The ratio of the divergence within labels to that over all, which smoother mixtures do not lower, is "
            f"least{where} with {_least(ratio)}."
        )
    keypoints, words, topics = _CLAIMED
    own = topics, keypoints, words
    if own in train:
        rank = sorted(train.values()).index(train[own]) + 1
        said = (
            f"The paper's choice, {setting_name(*own)}, comes {_ordinal(rank)} of {len(train)} by training divergence"
        )
        if own in ratio:
            said += f" and {_ordinal(sorted(ratio.values()).index(ratio[own]) + 1)} by the ratio"
        sentences.append(said + ".")
    return Finding(
        "The paper: 300 keypoints, 300 words and 20 topics are best, by the least mean symmetric KL divergence of "
        "mixtures on the training photographs (its own validation photographs preferred 200/200/20).",
        " ".join(sentences),
    )


def _smoothness(content: StudyContent) -> Finding | None:
    overall, within = _means(content, "symkl_global"), _means(content, "symkl_within")
    both = sorted(overall.keys() & within.keys())
    numbers = sorted({setting[0] for setting in both})
    if len(both) < 5 or len(numbers) < 2:
        return None
    few = [overall[s] for s in both if s[0] == numbers[0]]
    many = [overall[s] for s in both if s[0] == numbers[-1]]
    rho = float(spearmanr([overall[s] for s in both], [within[s] for s in both]).statistic)
    how = "rise and fall together" if rho > 0.5 else "do not move together" if rho > -0.5 else "move against each other"
    lower = "lower" if np.mean(few) < np.mean(many) else "higher"
    return Finding(
        "Does a low divergence mean that labels are kept together?",
        f"Over the settings, the divergence within labels and that over all photographs {how} (rank correlation "
        f"{rho:.2f}). "
        f"With {numbers[0]} topics the one over all is {np.mean(few):.2f} in the mean, {lower} than with {numbers[-1]} "
        f"({np.mean(many):.2f}): much of it is a matter of how many topics a mixture is spread over, not of labels. "
        "Compare the ratio.",
    )


def _sift(content: StudyContent) -> Finding | None:
    methods = content.methods()
    sift = methods.get(("fastvbow", "sift"))
    papers = methods.get(("lda-variational", "sift"))
    others = {
        key: rows
        for key, rows in methods.items()
        if key[0] in ("pca-pixels", "pca-embeddings", "kmeans-embeddings") or key == ("fastvbow", "cnn")
    }
    if not sift or not others:
        return None
    own = summary(sift, "acc")
    sentences = [f"On rows that are aligned, SIFT alone reaches an accuracy of {own}."]
    if papers:
        sentences.append(
            f"The paper's own method, variational LDA on these SIFT words, reaches {summary(papers, 'acc')}."
        )
    for key, rows in others.items():
        other = summary(rows, "acc")
        sentences.append(f"{_capital(method_name(*key))}: {other}, {_against(other, own)}.")
    return Finding(
        "The paper: SIFT words are better than PCA and than a CNN. (There, the rows of PCA and CNN had been shuffled "
        "before they were compared; the published tables are independent of the labels, p from .07 to .94.)",
        " ".join(sentences),
    )


def _methods(content: StudyContent) -> Finding | None:
    methods = content.methods()
    kinds = ",".join(content.grid["features"])
    route = methods.pop(("fastvbow", kinds), None)
    others = {key: rows for key, rows in methods.items() if key[0] != "fastvbow"}
    if not route or not others or not content.reference:
        return None
    own = summary(route, "acc")
    best = max(others, key=lambda key: (summary(others[key], "acc").mean, key))
    theirs = summary(others[best], "acc")
    return Finding(
        "How does the route compare with the baselines?",
        f"With as many groups as labels, {method_name('fastvbow', kinds)} reaches an accuracy of {own}; the most "
        f"accurate baseline, {method_name(*best)}, {theirs}, {_against(theirs, own)}.",
    )


def _against(other: Any, own: Any) -> str:
    """Whether two means are told apart: by more than both standard deviations together."""
    if max(other.n, own.n) < 2:
        return (
            "more (one seed)" if other.mean > own.mean else "less (one seed)" if other.mean < own.mean else "the same"
        )
    if abs(other.mean - own.mean) <= other.sd + own.sd:
        return "not told apart by these seeds"
    return "more" if other.mean > own.mean else "less"


def _aligned(content: StudyContent) -> Finding | None:
    tested = [row for row in content.rows if row.get("aligned") is not None]
    if not tested:
        return None
    flagged = [row for row in tested if not row["aligned"]]
    rejected = len(tested) - len(flagged)
    answer = f"Of {len(tested)} results, independence of labels and groups is rejected in {rejected} (chi-square, 5 %)."
    if flagged:
        names = sorted({method_name(row["method"], row["features"]) for row in flagged})
        answer += (
            f" It is not in {len(flagged)}: {', '.join(names)}; their scores are no better than a shuffled order's."
        )
    return Finding("Are the rows aligned?", answer)


def _ordinal(n: int) -> str:
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
