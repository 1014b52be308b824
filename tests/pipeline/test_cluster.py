"""`fastvbow cluster` on a project: groups by vectors in the place of topics."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import PHOTOGRAPHS, Recorder, snapshot

from fastvbow import Project, pipeline
from fastvbow.cli_cluster import options_of
from fastvbow.config import ClusterConfig, ExtractConfig
from fastvbow.errors import ProjectError, StageMissingError, UsageError
from fastvbow.memory import array_on_disk
from fastvbow.pipeline.clustering import LEAST
from fastvbow.pipeline.mixtures import grouped_by, load_shares
from fastvbow.pipeline.spaces import own_vectors
from fastvbow.pipeline.text_banks import bank_identity
from fastvbow.project import ProjectFolder
from fastvbow.semantic import SphericalKMeans

KMEANS = ClusterConfig(clusters=PHOTOGRAPHS)


@pytest.fixture(scope="session")
def clustered_project(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_project` with clusters by K-Means in the place of its topics; to be read only."""
    project = tmp_path_factory.mktemp("clustered") / "project"
    shutil.copytree(small_project, project)
    pipeline.cluster(project, KMEANS, jobs=1)
    return project


@pytest.fixture
def clustered(clustered_project: Path, tmp_path: Path) -> Path:
    """A copy of `clustered_project` that a test may change."""
    return Path(shutil.copytree(clustered_project, tmp_path / "clustered"))


def groups_of(project: Path) -> dict:
    return pq.read_table(project / "groups.parquet").to_pydict()


def test_clusters_are_those_of_the_estimator(clustered_project):
    folder = ProjectFolder.open(clustered_project)
    vectors = own_vectors(folder)
    model = SphericalKMeans(PHOTOGRAPHS, random_state=0).fit(vectors)
    found = groups_of(clustered_project)
    assert found["topic"] == model.labels_.tolist()
    wanted = model.probabilities_.astype(float) + LEAST
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["probability"], wanted.max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(load_shares(folder, "cluster"), wanted)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_labels_of_the_groups_stay_and_the_crops_are_found(clustered_project, small_project):
    found, before = groups_of(clustered_project), groups_of(small_project)
    assert {k: found[k] for k in ("image_id", "path", "label")} == {k: before[k] for k in ("image_id", "path", "label")}
    scores = pipeline.evaluate(clustered_project).scores
    assert scores["acc"] > 0.9, "crops of five photographs"
    assert np.isnan(scores["perplexity"]) and np.isnan(scores["npmi"]), "of topics, which these are not"
    assert scores["symkl_ratio"] < 0.5 and scores["words_l1_ratio"] < 1


def test_topics_come_back_with_their_names(small_copy):
    pipeline.name(small_copy, 1, "harbour")
    topics = groups_of(small_copy)
    pipeline.cluster(small_copy, KMEANS, report=False)
    assert set(groups_of(small_copy)["name"]) == {None}, "a topic's name is no cluster's"
    pipeline.name(small_copy, 0, "cluster of mine")
    assert "cluster of mine" in groups_of(small_copy)["name"]
    heard = Recorder()
    pipeline.groups(small_copy, labels="parent", listener=heard)
    assert heard.stages("reused") == ["groups"], "auto: as they are"
    pipeline.groups(small_copy, by="topics")
    assert groups_of(small_copy) == topics, "labels too"
    pipeline.groups(small_copy, by="cluster")
    assert "cluster of mine" in groups_of(small_copy)["name"]


def test_run_groups_by_topics(clustered, small_folder, small_project):
    from fastvbow.config import TopicsConfig

    pipeline.run(small_folder, clustered, topics_config=TopicsConfig(topics=PHOTOGRAPHS), labels="parent", jobs=1)
    assert groups_of(clustered) == groups_of(small_project)
    assert grouped_by(ProjectFolder.open(clustered)) == "topics"


def test_merged_clusters_count_as_one(clustered):
    before = groups_of(clustered)["topic"]
    pipeline.merge(clustered, [0, 3])
    assert groups_of(clustered)["topic"] == [0 if topic == 3 else topic for topic in before]


def test_what_reads_groups_reads_clusters(clustered, tmp_path):
    assert len(pipeline.select(clustered, number=7)) == 7
    assert pipeline.hints(clustered).n_topics == PHOTOGRAPHS
    done = pipeline.export(clustered, tmp_path / "csv", to="csv")
    assert done.images == len(groups_of(clustered)["path"])
    page = (clustered / pipeline.report(clustered).outputs["page"]).read_text()
    assert "clusters, made by K-Means from the photographs’ own vectors." in page
    run = (clustered / "report" / "run.html").read_text()
    assert f'cluster: number of clusters</th><td dir="auto">{PHOTOGRAPHS}<' in run and "cluster: options" not in run
    topic = (clustered / "report" / "topic-000.html").read_text()
    assert 'id="words"' in topic and 'id="overlays"' not in topic
    assert pipeline.verify(clustered).problems == []


def test_without_words_and_topics(small_folder, tmp_path):
    project = tmp_path / "project"
    pipeline.extract(small_folder, project, ExtractConfig(features=("cnn",)))
    with pytest.raises(StageMissingError, match="not grouped yet: run 'fastvbow run', or 'fastvbow cluster'"):
        pipeline.groups(project)
    found = pipeline.cluster(project, KMEANS, labels="parent")
    assert found.grouped == len(groups_of(project)["path"]) and found.page is not None and found.page.is_file()
    assert pipeline.evaluate(project).scores["acc"] > 0.9
    assert np.isnan(pipeline.evaluate(project).scores["words_l1_ratio"])
    assert len(pipeline.select(project, number=5)) == 5
    assert pipeline.hints(project).n_topics == PHOTOGRAPHS
    assert len(pipeline.export(project, tmp_path / "coco", to="coco").files) >= 1
    assert pipeline.verify(project).problems == []


def test_the_same_bytes_for_any_number_of_jobs(clustered_project, small_copy):
    pipeline.cluster(small_copy, KMEANS, jobs=2)
    for name in ("clusters/theta.npy", "clusters/model/model.safetensors"):
        assert (clustered_project / name).read_bytes() == (small_copy / name).read_bytes()
    assert (clustered_project / "groups.parquet").read_bytes() == (small_copy / "groups.parquet").read_bytes()


def test_a_second_call_reuses_and_another_seed_does_not(clustered):
    heard = Recorder()
    pipeline.cluster(clustered, KMEANS, listener=heard)
    assert heard.stages("reused") == ["cluster", "groups", "report"]
    heard = Recorder()
    pipeline.cluster(clustered, ClusterConfig(clusters=PHOTOGRAPHS, seed=1), report=False, listener=heard)
    assert "cluster" in heard.stages("end")


def test_assign_gives_the_clusters_of_the_project(clustered_project, small_folder):
    table = pq.read_table(clustered_project / "groups.parquet").to_pydict()
    paths = [small_folder / path for path in table["path"]][::7]
    opened = Project.open(clustered_project)
    found = opened.assign(paths, drift=True)
    assert found.topic.tolist() == table["topic"][::7]
    np.testing.assert_array_equal(found.probability, np.float32(table["probability"][::7]))
    assert found.drift is None and opened.vocabulary is None
    assert isinstance(opened.model, SphericalKMeans)


def test_assign_writes_names_of_clusters(clustered, small_folder, tmp_path, cli):
    pipeline.name(clustered, 2, "the third")
    outcome = cli("assign", clustered, small_folder, "-o", tmp_path / "new.parquet")
    assert outcome.code == 0, outcome.err
    found = pq.read_table(tmp_path / "new.parquet").to_pydict()
    assert found["topic"] == groups_of(clustered)["topic"]
    assert found["name"] == groups_of(clustered)["name"]


def test_add_is_refused(clustered, small_folder):
    before = snapshot(clustered)
    with pytest.raises(UsageError, match=r"grouped by clusters.*groups --by topics"):
        pipeline.add(clustered, small_folder)
    assert snapshot(clustered) == before


def test_a_damaged_model_is_found(clustered, cli):
    path = clustered / "clusters" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert any("model.safetensors" in problem for problem in pipeline.verify(clustered).problems)
    outcome = cli("verify", clustered, "--repair")
    assert outcome.code == 0, outcome.err
    pipeline.cluster(clustered, KMEANS)
    assert pipeline.verify(clustered).problems == []


def test_the_command(small_copy, cli):
    outcome = cli("cluster", small_copy, "-k", "3", "--set", "n_init=2", "--no-report", "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out.splitlines()[-1])
    assert (told["method"], told["clusters"], told["used"], told["page"]) == ("kmeans", 3, 3, None)
    card = json.loads((small_copy / "stages" / "cluster.json").read_text())
    assert card["parameters"]["options"] == {"n_init": 2}
    outcome = cli("cluster", small_copy, "-k", "3", "--set", "n_init=2", "--no-report")
    assert outcome.out.splitlines()[-1] == (
        f"  name them: fastvbow name {small_copy} NUMBER NAME; back to topics: fastvbow groups {small_copy} --by topics"
    )
    shutil.rmtree(small_copy / "topics")
    (small_copy / "stages" / "topics.json").unlink()
    outcome = cli("cluster", small_copy, "-k", "3", "--set", "n_init=2", "--no-report")
    assert outcome.out.splitlines()[-1] == f"  name them: fastvbow name {small_copy} NUMBER NAME"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--method", "dbscan"], "--method takes kmeans, tac, tac-trained, cae, sic, icbpl, not dbscan"),
        (["-k", "1000"], "photographs cannot form 1000 clusters: pass -k"),
        (["--method", "tac"], "--method tac compares photographs with texts: pass --space NAME and --nouns PATH"),
        (["--method", "cae", "--space", "x", "--nouns", "y"], "pass --captions FILE"),
        (["--nouns", "list.txt"], "name it with --space"),
        (["--set", "epsilon=.1"], "kmeans has no parameter epsilon; it has"),
        (["--set", "n_init"], "--set takes NAME=VALUE"),
        (["--set", "tol=null"], "tol=None cannot be used; give a number of 0 or more"),
        (["--set", "tol=NaN"], "tol=nan cannot be used"),
        (["--method", "icbpl", "--set", "weights=3"], "weights=3 cannot be used; give four numbers"),
        (["--method", "tac-trained", "--set", "epochs=x"], "epochs='x' cannot be used; give a number"),
        (["--images", "both"], "--images takes encode or project, not both"),
        (["--labels", "lost.csv"], "cannot read labels from lost.csv"),
        (["--space", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments_change_nothing(clustered, cli, arguments, complaint):
    before = snapshot(clustered)
    outcome = cli("cluster", clustered, *arguments)
    assert outcome.code == 2
    assert complaint in outcome.complaint
    assert snapshot(clustered) == before


def test_sift_alone_has_no_vectors(sift_copy):
    with pytest.raises((UsageError, ProjectError), match="vectors"):
        pipeline.cluster(sift_copy, ClusterConfig(clusters=2))


def test_options():
    given = ["epsilon=0.1", "weights=[1, 1, 0.3, 5]", "init=centers", "max_seconds=null"]
    assert options_of(given) == {"epsilon": 0.1, "weights": [1, 1, 0.3, 5], "init": "centers", "max_seconds": None}
    with pytest.raises(UsageError, match="each name once"):
        options_of(["a=1", "a=2"])


def killed(project, argument_of, arguments):
    """Run a command in a process that ends, without clean-up, when the first call of `argument_of` returns."""
    module, name = argument_of.rsplit(".", 1)
    code = (
        "import importlib, os, sys\n"
        f"module = importlib.import_module({module!r})\n"
        f"former = module.{name}\n"
        f"def ending(*args, **kwargs):\n    former(*args, **kwargs)\n    os._exit(9)\n"
        f"module.{name} = ending\n"
        "from fastvbow import pipeline\nfrom fastvbow.config import ClusterConfig\nfrom pathlib import Path\n"
        f"pipeline.cluster(Path({str(project)!r}), {arguments}, report=False)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9


def test_what_was_asked_of_groups_outlives_a_kill(small_copy):
    """Killed while groups were made anew, it is still grouped by clusters, and the labels are not forgotten."""
    pipeline.cluster(small_copy, KMEANS, labels="parent", report=False)
    other = ClusterConfig(clusters=PHOTOGRAPHS, seed=1)
    killed(small_copy, "fastvbow.pipeline.grouping.write_table", f"ClusterConfig(clusters={PHOTOGRAPHS}, seed=1)")
    folder = ProjectFolder.open(small_copy)
    assert folder.card("groups") is None and folder.card("topics") is not None
    assert grouped_by(folder) == "cluster"
    pipeline.cluster(small_copy, other, report=False)
    assert None not in groups_of(small_copy)["label"]
    assert not list((small_copy / "stages").glob("*.former"))
    assert pipeline.verify(small_copy).problems == []


def test_a_damaged_card_that_was_taken_away_does_not_count(clustered):
    (clustered / "stages" / "groups.json").rename(clustered / "stages" / "groups.former")
    assert grouped_by(ProjectFolder.open(clustered)) == "cluster"
    (clustered / "stages" / "groups.former").write_text("{")
    assert grouped_by(ProjectFolder.open(clustered)) == "topics"


def test_clusters_outlive_a_call_that_fails(clustered, monkeypatch):
    before = snapshot(clustered)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastvbow.pipeline.clustering.save_estimator", full)
    with pytest.raises(OSError, match="No space"):
        pipeline.cluster(clustered, ClusterConfig(clusters=2))
    assert snapshot(clustered) == before


def test_vectors_lie_on_disk(clustered_project, small_project):
    """Memory need not hold them, and whoever only reads a project writes nothing there."""
    kept, made = own_vectors(ProjectFolder.open(clustered_project)), own_vectors(ProjectFolder.open(small_project))
    assert isinstance(kept, np.memmap) and not isinstance(made, np.memmap)
    np.testing.assert_array_equal(kept, made)
    assert not (small_project / "spaces").exists()


def test_vectors_of_another_extraction_are_kept_anew(clustered, small_folder):
    extracted = pipeline.extract(small_folder, clustered, ExtractConfig(features=("cnn",), model="efficientnet_lite0"))
    folder = ProjectFolder.open(clustered)
    fresh = own_vectors(folder)
    assert not isinstance(fresh, np.memmap), "those that are kept are of the other network"
    np.testing.assert_array_equal(own_vectors(folder, keep=True), fresh)
    assert len(fresh) == extracted.outputs["images"]
    assert len(list((clustered / "spaces").glob("*/*.npy"))) == 1
    damaged = next((clustered / "spaces").glob("*/*.npy"))
    damaged.write_bytes(b"")
    np.testing.assert_array_equal(own_vectors(folder), fresh)
    np.testing.assert_array_equal(own_vectors(folder, keep=True), fresh)


def test_a_bank_is_known_by_name_and_content(tmp_path):
    path = tmp_path / os.fsdecode(b"nouns\xff.txt")
    path.write_text("beach\n")
    name, sha256 = bank_identity(path, "nouns")
    assert name == "nouns\\xff.txt" and sha256 == hashlib.sha256(b"beach\n").hexdigest()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe or a device, and is read more than once"):
        bank_identity(tmp_path / "pipe", "nouns")
    with pytest.raises(UsageError, match="is a folder: give a file of captions"):
        bank_identity(tmp_path, "captions")
    with pytest.raises(UsageError, match=r"cannot read nouns from .*data.noun: No such file"):
        bank_identity(tmp_path, "nouns")


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    """A map of a file without room kills whoever writes to it: the room is asked for first."""

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: .*rows.npy"):
        array_on_disk(tmp_path / "rows.npy", np.float32, (3, 4))
    monkeypatch.undo()
    array_on_disk(tmp_path / "rows.npy", np.float32, (1000, 4))[:] = 7
    assert (tmp_path / "rows.npy").stat().st_blocks * 512 >= 16000
    assert (np.load(tmp_path / "rows.npy") == 7).all()
