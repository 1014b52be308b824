"""Scores of a project, against a computation from its files by brute force."""

from __future__ import annotations

import functools
import itertools
import json
import shutil

import naive_metrics
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2_contingency

from fastvbow import pipeline
from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.executors import make_executor
from fastvbow.pipeline import evaluating
from fastvbow.pipeline.scoring import ShardWork
from fastvbow.pipeline.shard_scores import above_chance
from fastvbow.project import ProjectFolder

MEASURES = ["symkl", "l2", "js", "words_l1", "words_l2", "words_kl"]
SCORES = ["n_images", "acc", "nmi", "ari", "purity", "ami", "homogeneity", "completeness", "v_measure"]
SCORES += [f"{name}_{part}" for name in MEASURES for part in ("within", "global", "ratio")]
SCORES += ["silhouette", "npmi", "umass", "diversity", "perplexity", "independence_p", "cramers_v"]
TABLES = ["n_unlabelled", "problems", "held_out", "distances", "labels", "groups", "confusion", "alignment"]


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


@pytest.fixture(scope="module")
def histograms(sift_project):
    """The words of each photograph, counted one by one from the files."""
    counts = []
    for shard in sorted((sift_project / "tokens").iterdir()):
        words, lengths = np.load(shard / "words.npy").tolist(), np.load(shard / "counts.npy").sum(axis=1).tolist()
        for length in lengths:
            counts.append([words[:length].count(word) for word in range(60)])
            words = words[length:]
    return np.array(counts)


def write_labels(folder, paths, labels):
    path = folder / "labels.csv"
    path.write_text("path,label\n" + "".join(f"{p},{v}\n" for p, v in zip(paths, labels, strict=True)))
    return path


def asked(cli, *words):
    outcome = cli("evaluate", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def section(text, title):
    """The lines of one table of the printed text."""
    (part,) = [part for part in text.split("\n\n") if part.startswith(title)]
    return part.splitlines()[1:]


def test_parent(sift_project, known, histograms, cli):
    paths, topics, theta = known
    labels = [path.split("/")[0] for path in paths]
    scores = asked(cli, sift_project, "--labels", "parent")
    assert list(scores) == SCORES + TABLES
    wanted = brute_force(labels, topics, theta)
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)
    for name, rows, smoothing in [("l2", theta, None), ("js", theta, None)] + [
        (f"words_{measure}", histograms, 0.5) for measure in ("l1", "l2", "kl")
    ]:
        within, mean, overall, ratio = naive_metrics.pair_scores(rows, labels, name.split("_")[-1], smoothing)
        assert [scores[f"{name}_{part}"] for part in ("within", "global", "ratio")] == pytest.approx(
            [mean, overall, ratio]
        )
        assert {row["label"]: row[f"{name}_within"] for row in scores["labels"]} == pytest.approx(within)
        assert scores["distances"][name]["ratio_error"] == 0
    frequencies = histograms / histograms.sum(axis=1, keepdims=True)
    assert scores["silhouette"] == pytest.approx(naive_metrics.silhouette(np.sqrt(frequencies), topics))
    assert 0 < scores["symkl_ratio"] < 0.7, "photographs of one label are more alike than any two"
    assert asked(cli, sift_project) == scores, "parent is the default"
    assert asked(cli, sift_project, "--jobs", "1") == scores


def test_the_tables(sift_project, known, cli):
    paths, topics, _ = known
    labels = [path.split("/")[0] for path in paths]
    found = asked(cli, sift_project)
    confusion = found["confusion"]
    assert confusion["labels"] == sorted(set(labels))
    for i, label in enumerate(confusion["labels"]):
        for j, group in enumerate(confusion["groups"]):
            assert confusion["counts"][i][j] == list(zip(labels, topics, strict=True)).count((label, group))
    matched = sum(row["matched_recall"] * row["images"] for row in found["labels"])
    assert matched / len(labels) == pytest.approx(found["acc"])
    pure = sum(row["purity"] * row["images"] for row in found["groups"])
    assert pure / len(labels) == pytest.approx(found["purity"])
    assert {row["matched_label"] for row in found["groups"]} <= {*labels, None}
    assert found["alignment"]["statistic"] == pytest.approx(
        chi2_contingency(confusion["counts"], correction=False).statistic
    )
    assert found["alignment"]["method"] == "permutation", "20 images are few"
    assert found["alignment"]["independence_rejected"]
    assert found["independence_p"] == found["alignment"]["p_value"] == 0.001


def test_what_a_person_reads(sift_project, cli):
    found, outcome = asked(cli, sift_project), cli("evaluate", sift_project)
    assert outcome.code == 0
    first, text = outcome.out.splitlines()[0], outcome.out
    assert first == f"20 images with a label: 4 labels, {len(found['groups'])} groups"
    assert len(section(text, "GROUPS AGAINST LABELS")) == 8
    assert f"accuracy (ACC)                        {found['acc']:>7.4f}  share" in text
    lines = section(text, "DISTANCES")
    assert len(lines) == 7
    assert lines[1].split()[-1] == f"{found['symkl_ratio']:.3f}"
    rows = [line.split() for line in section(text, "LABELS")[1:]]
    assert [row[0] for row in rows] == [
        row["label"] for row in sorted(found["labels"], key=lambda row: (row["matched_recall"], row["label"]))
    ]
    assert [row[3] for row in rows] == sorted(row[3] for row in rows), "the worst first"
    assert len(section(text, "GROUPS  (")) == 1 + len(found["groups"])
    assert len(section(text, "IMAGES OF EACH")) == 1 + 4
    assert "rejected: labels and groups belong together" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "nan" not in text


def test_labels_from_a_file(sift_project, known, cli, tmp_path):
    """Three labels for some of the images, at random: the groups are not good then, and the scores say so."""
    paths, topics, theta = known
    given = {i: "xyz"[v] for i, v in enumerate(np.random.default_rng(0).integers(0, 3, 20)) if i % 5}
    file = write_labels(tmp_path, [paths[i] for i in given], given.values())
    scores = asked(cli, sift_project, "--labels", file)
    wanted = brute_force(list(given.values()), [topics[i] for i in given], theta[list(given)])
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)
    assert wanted["acc"] < 0.8
    assert scores["n_unlabelled"] == 4
    assert not scores["alignment"]["independence_rejected"]
    text = cli("evaluate", sift_project, "--labels", file).out
    assert text.startswith("16 images with a label, 4 more without: 3 labels")
    assert "NOT REJECTED" in text
    recalls = [float(line.split()[3]) for line in section(text, "LABELS")[1:]]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1], "the worst label first"
    purities = [float(line.split()[3]) for line in section(text, "GROUPS  (")[1:]]
    assert purities == sorted(purities)
    assert purities[0] < purities[-1]
    assert scores["npmi"] == asked(cli, sift_project)["npmi"], "topics are judged by all photographs"


def test_one_image_a_label(sift_project, known, cli, tmp_path):
    """No pairs within a label: null, for JSON has no NaN, and a dash for a person."""
    file = write_labels(tmp_path, known[0], range(20))
    scores = asked(cli, sift_project, "--labels", file)
    assert [scores[f"{name}_{part}"] for name in MEASURES for part in ("within", "ratio")] == [None] * 12
    assert scores["distances"]["symkl"]["labels_of_one_image"] == 20
    assert scores["labels"][0]["symkl_within"] is None
    text = cli("evaluate", sift_project, "--labels", file).out
    assert section(text, "DISTANCES")[-1] == "  20 labels of a single image left out: no pair within"
    assert section(text, "DISTANCES")[1].split()[-1] == "-"
    assert "nan" not in text


def test_a_single_label(sift_project, known, cli, tmp_path):
    file = write_labels(tmp_path, known[0], ["all"] * 20)
    scores = asked(cli, sift_project, "--labels", file)
    assert scores["purity"] == scores["homogeneity"] == 1
    assert scores["symkl_ratio"] == pytest.approx(1)
    assert scores["independence_p"] is None
    assert scores["cramers_v"] is None
    text = cli("evaluate", sift_project, "--labels", file).out
    assert "not to be told: there is one label or one group only" in text
    assert [line.split()[4] for line in section(text, "GROUPS  (")[1:]].count("-") == len(scores["groups"]) - 1


def test_a_single_group(sift_copy, known, cli):
    theta = np.tile([0.7, 0.1, 0.1, 0.1], (20, 1))
    np.save(sift_copy / "topics" / "theta.npy", theta)
    scores = asked(cli, sift_copy)
    assert scores["acc"] == pytest.approx(0.25)
    assert scores["nmi"] == scores["ari"] == 0
    assert [scores["symkl_global"], scores["symkl_ratio"], scores["silhouette"]] == [0, None, None]
    assert len(scores["groups"]) == 1
    assert [row["matched_group"] for row in scores["labels"]].count(None) == 3
    text = cli("evaluate", sift_copy).out
    assert "4 labels, 1 group\n" in text
    assert "not to be told" in text
    assert len(section(text, "IMAGES OF EACH")) == 5, "unmatched labels too"


def test_long_tables_are_cut_and_say_so(sift_project, known, cli, tmp_path, monkeypatch):
    for module in "cli_evaluation", "cli_tables":
        monkeypatch.setattr(f"fastvbow.{module}.ROWS", 3)
    file = write_labels(tmp_path, known[0], [f"a rather long name of a label number {i // 2}" for i in range(20)])
    text = cli("evaluate", sift_project, "--labels", file).out
    lines = section(text, "LABELS")
    assert len(lines) == 5
    assert lines[1].startswith("  a rather long name of a…  ")
    assert lines[-1] == "  ... and 7 labels more: --json has all"
    assert len(asked(cli, sift_project, "--labels", file)["labels"]) == 10
    monkeypatch.setattr("fastvbow.cli_evaluation.COLUMNS", 1)
    assert "IMAGES OF EACH" not in cli("evaluate", sift_project).out


def test_drawn_pairs_show_their_interval(sift_project, cli, monkeypatch):
    assert "±" not in cli("evaluate", sift_project).out
    drawn = functools.partial(evaluating.pair_scores, max_pairs=9)
    monkeypatch.setattr(evaluating, "pair_scores", drawn)
    found = asked(cli, sift_project)["distances"]
    assert [name for name in MEASURES if not found[name]["exact"]] == ["js"]
    lines = section(cli("evaluate", sift_project).out, "DISTANCES")
    assert lines[3].split()[-2:] == [f"{found['js']['ratio']:.3f}", f"±{found['js']['ratio_error']:.3f}"]
    assert lines[-1].startswith("  ± half of the 95 % confidence interval")


def test_labels_without_a_photograph_here_do_not_count(sift_project, known, cli, tmp_path):
    paths = [*known[0], "elsewhere/one.jpg", "elsewhere/two.jpg"]
    labels = [path.split("/")[0] for path in paths]
    assert asked(cli, sift_project, "--labels", write_labels(tmp_path, paths, labels)) == asked(cli, sift_project)


def test_names_that_a_terminal_cannot_take(sift_project, known, cli, tmp_path):
    file = write_labels(tmp_path, known[0], ["\x1b[31mred" if i < 10 else "b" for i in range(20)])
    assert "\x1b" not in cli("evaluate", sift_project, "--labels", file).out


@pytest.mark.parametrize("labels", ["none", "missing.csv"])
def test_no_labels(labels, sift_project, cli):
    outcome = cli("evaluate", sift_project, "--labels", labels, "--json")
    assert outcome.code == 2
    assert labels in outcome.complaint
    assert outcome.out == ""
    with pytest.raises(UsageError, match=labels):
        pipeline.evaluate(sift_project, labels=labels)


@pytest.mark.parametrize("value", [0.0, -0.5, np.nan, 2.0])
def test_damaged_mixtures(value, sift_copy, cli):
    theta = np.load(sift_copy / "topics" / "theta.npy")
    theta[3, 1] = value
    np.save(sift_copy / "topics" / "theta.npy", theta)
    with pytest.raises(StoreCorruptError, match=r"theta.npy holds rows that are no mixtures.*fastvbow topics"):
        pipeline.evaluate(sift_copy)
    assert cli("evaluate", sift_copy).code == 1


def counted(project, rows):
    with make_executor(1) as executor:
        return ShardWork(ProjectFolder.open(project), np.zeros(20, np.int32), executor, 1).histograms(np.array(rows))


@pytest.mark.parametrize("rows", [range(20), [3, 15, 16, 19], [16]])
def test_words_are_counted_from_the_tokens(rows, sift_project, histograms):
    found = counted(sift_project, rows)
    assert found.dtype == np.int32
    assert found.toarray().tolist() == histograms[list(rows)].tolist()


def test_what_chance_expects(histograms, sift_project):
    share = histograms.sum(axis=0) / histograms.sum()
    wanted = (histograms > histograms.sum(axis=1, keepdims=True) * share).tolist()
    found = counted(sift_project, range(20))
    assert above_chance(found).toarray().tolist() == wanted
    assert above_chance(found, share).toarray().tolist() == wanted


def test_a_project_that_took_its_model_over_is_held_out(sift_project, photographs, cli, tmp_path):
    outcome = cli("run", photographs, "-o", tmp_path / "taken", "--from", sift_project)
    assert outcome.code == 0, outcome.err
    taken, own = (asked(cli, project) for project in (tmp_path / "taken", sift_project))
    assert (taken["held_out"], own["held_out"]) == (True, False)
    assert taken["perplexity"] == pytest.approx(own["perplexity"]), "the same photographs and the same model"
    assert "not trained on" in cli("evaluate", tmp_path / "taken").out


def test_photographs_that_cannot_be_read_are_no_part(sift_project, photographs, cli, tmp_path):
    shutil.copy(__file__, next(photographs.iterdir()) / "broken.jpg")
    assert cli("run", photographs, "-o", tmp_path / "project", "--from", sift_project).code == 3
    assert asked(cli, tmp_path / "project")["n_images"] == 20
