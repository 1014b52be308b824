"""Scores of a project, against a computation from its files by brute force."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

KEYS = ["n_images", "acc", "nmi", "ari", "purity", "symkl_within", "symkl_global", "symkl_ratio"]


def entropy(counts) -> float:
    share = np.array([count for count in counts if count]) / sum(counts)
    return float(-(share * np.log(share)).sum())


def brute_force(labels: list[str], topics: list[int], theta: np.ndarray) -> dict[str, float]:
    names, n = sorted(set(labels)), len(labels)
    groups = sorted(set(topics))
    table = {(a, b): 0 for a in names for b in groups}
    for pair in zip(labels, topics, strict=True):
        table[pair] += 1
    sides = (names, groups) if len(names) <= len(groups) else (groups, names)
    acc = max(
        sum(table[(a, b) if sides[0] is names else (b, a)] for a, b in zip(sides[0], chosen, strict=True)) / n
        for chosen in itertools.permutations(sides[1], len(sides[0]))
    )
    of_labels, of_groups = entropy([labels.count(a) for a in names]), entropy([topics.count(b) for b in groups])
    mutual = of_labels + of_groups - entropy(table.values())
    pairs = list(itertools.combinations(range(n), 2))
    both = sum(labels[i] == labels[j] and topics[i] == topics[j] for i, j in pairs)
    in_label = sum(labels[i] == labels[j] for i, j in pairs)
    in_group = sum(topics[i] == topics[j] for i, j in pairs)
    chance = in_label * in_group / len(pairs)

    def symmetric(i: int, j: int) -> float:
        return float(((theta[i] - theta[j]) * (np.log(theta[i]) - np.log(theta[j]))).sum() / 2)

    within = [
        np.mean([symmetric(i, j) for i, j in pairs if labels[i] == labels[j] == name])
        for name in names
        if labels.count(name) > 1
    ]
    overall = np.mean([symmetric(i, j) for i, j in pairs])
    return {
        "n_images": n,
        "acc": acc,
        "nmi": mutual / ((of_labels + of_groups) / 2),
        "ari": (both - chance) / ((in_label + in_group) / 2 - chance),
        "purity": sum(max(table[a, b] for a in names) for b in groups) / n,
        "symkl_within": float(np.mean(within)),
        "symkl_global": float(overall),
        "symkl_ratio": float(np.mean(within) / overall),
    }


@pytest.fixture(scope="module")
def known(sift_project):
    table = pq.read_table(sift_project / "groups.parquet")
    return table["path"].to_pylist(), table["topic"].to_pylist(), np.load(sift_project / "topics" / "theta.npy")


def test_parent(sift_project, known, cli):
    paths, topics, theta = known
    outcome = cli("evaluate", sift_project, "--labels", "parent", "--json")
    assert outcome.code == 0
    scores = json.loads(outcome.out)
    assert list(scores) == KEYS
    assert scores == pytest.approx(brute_force([path.split("/")[0] for path in paths], topics, theta))
    assert 0 < scores["symkl_ratio"] < 0.7, "photographs of one label are more alike than any two"
    assert json.loads(cli("evaluate", sift_project, "--json").out) == scores, "parent is the default"
    assert [line.split()[0] for line in cli("evaluate", sift_project).out.splitlines()] == KEYS


def test_labels_from_a_file(sift_project, known, cli, tmp_path):
    """Three labels for some of the images, at random: the groups are not good then, and the scores say so."""
    paths, topics, theta = known
    given = {i: "xyz"[v] for i, v in enumerate(np.random.default_rng(0).integers(0, 3, 20)) if i % 5}
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{paths[i]},{v}\n" for i, v in given.items()))
    outcome = cli("evaluate", sift_project, "--labels", tmp_path / "labels.csv", "--json")
    wanted = brute_force(list(given.values()), [topics[i] for i in given], theta[list(given)])
    assert json.loads(outcome.out) == pytest.approx(wanted)
    assert wanted["acc"] < 0.8


def test_one_image_a_label(sift_project, known, cli, tmp_path):
    """No pairs within a label: null, for JSON has no NaN."""
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{p},{i}\n" for i, p in enumerate(known[0])))
    outcome = cli("evaluate", sift_project, "--labels", tmp_path / "labels.csv", "--json")
    scores = json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert scores["symkl_within"] is None
    assert scores["symkl_ratio"] is None


@pytest.mark.parametrize("labels", ["none", "missing.csv"])
def test_no_labels(labels, sift_project, cli):
    outcome = cli("evaluate", sift_project, "--labels", labels, "--json")
    assert outcome.code == 2
    assert labels in outcome.complaint
    assert outcome.out == ""
