"""Vectors that another program has made take the CNN's place, from the command line to the groups."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import KILL, PHOTOGRAPHS, Recorder, contents, snapshot
from odd_files import busy, encoded, with_exif

from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, ExtractOptions, TopicsConfig, VocabularyConfig
from fastvbow.errors import ProjectError, UsageError
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary

STAGES = ["extract", "vocabulary", "encode", "topics", "groups", "report"]
QUICK = ("--topics", "4", "--words", "60", "--sweeps", "40")


def write(file, names, vectors, /, key="path"):
    """A Parquet file of float32, in an order of its own."""
    order = np.random.default_rng(7).permutation(len(names))
    array = pa.array([None if vectors[i] is None else np.float32(vectors[i]) for i in order])
    pq.write_table(pa.table({key: [names[i] for i in order], "embedding": array}), file)
    return file


def names_of(source: Path) -> list[str]:
    return sorted(path.relative_to(source).as_posix() for path in source.rglob("*.*"))


def card(project: Path, stage: str = "extract") -> dict:
    return json.loads((project / "stages" / f"{stage}.json").read_text())


def groups(project: Path) -> list[int]:
    return pq.read_table(project / "groups.parquet")["topic"].to_pylist()


@pytest.fixture(scope="module")
def pooled(small_project, small_folder) -> dict[str, np.ndarray]:
    """The CNN's own vectors."""
    shards = open_shards(ProjectFolder.open(small_project))
    return dict(zip(names_of(small_folder), np.concatenate([s.descriptors("pooled") for s in shards]), strict=True))


@pytest.fixture(scope="module")
def vectors(sift_folder) -> dict[str, np.ndarray]:
    """Some vectors of `sift_folder`: photographs of one folder are near one another."""
    rng = np.random.default_rng(0)
    names = names_of(sift_folder)
    centres = {name.split("/")[0]: rng.standard_normal(24) for name in names}
    return {name: centres[name.split("/")[0]] + 0.2 * rng.standard_normal(24) for name in names}


@pytest.fixture(scope="module")
def file(vectors, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("vectors") / "vectors.parquet", list(vectors), list(vectors.values()))


@pytest.fixture(scope="module")
def made(sift_folder, file, cli, tmp_path_factory) -> Path:
    """A project of `sift_folder` and the vectors, SIFT beside them; to be read only."""
    project = tmp_path_factory.mktemp("made") / "project"
    outcome = cli("run", sift_folder, "-o", project, "--embeddings", file, *QUICK)
    assert outcome.code == 0, outcome.err
    return project


def config(file, features=("sift", "cnn")) -> ExtractConfig:
    return ExtractConfig(features=features, embeddings=file)


def test_the_vectors_of_the_cnn_by_way_of_a_file(small_folder, small_project, pooled, cli, tmp_path):
    """The same words of the same photographs, to the last bit, and the same groups."""
    file = write(tmp_path / "v.parquet", list(pooled), list(pooled.values()))
    project = tmp_path / "project"
    words = ["--features", "cnn", "--topics", PHOTOGRAPHS]
    outcome = cli("run", small_folder, "-o", project, "--embeddings", file, *words, "--labels", "parent")
    assert outcome.code == 0, outcome.err
    usual, found = (Vocabulary.load(root / "vocabulary") for root in (small_project, project))
    assert list(found.codebooks) == ["pooled"]
    for name in ("centers", "mean", "components"):
        values = [getattr(vocabulary.codebooks["pooled"], name) for vocabulary in (usual, found)]
        np.testing.assert_array_equal(*values)
    first = usual.first_word["pooled"]
    for old, new in zip(*(open_tokens(ProjectFolder.open(p)) for p in (small_project, project)), strict=True):
        assert (new.counts == 300).all()
        for i, end in enumerate(old.offsets[1:]):
            words = old.words[end - 300 : end].astype(int) - first
            np.testing.assert_array_equal(words, new.words[300 * i : 300 * (i + 1)])
    same = {(a, b) for a, b in zip(groups(small_project), groups(project), strict=True)}
    assert len(same) == PHOTOGRAPHS, "the same groups, whatever their numbers"


def test_every_way_to_write_them_down(sift_folder, vectors, made, tmp_path):
    names, array = list(vectors), np.array(list(vectors.values()), np.float32)
    ids = pq.read_table(made / "images.parquet")["image_id"].to_pylist()
    files = [write(tmp_path / "ids.parquet", ids, array, "image_id"), tmp_path / "a.npy", tmp_path / "b.npy"]
    np.save(files[1], array)
    np.save(files[2], array[::-1])
    files[2].with_suffix(".txt").write_text("\n".join(names[::-1]))
    for place, file in enumerate(files):
        recorder = Recorder()
        project = tmp_path / f"project {place}"
        pipeline.extract(sift_folder, project, config(file), listener=recorder)
        wanted = contents(made)
        found = {name: data for name, data in contents(project).items() if "card.json" not in name}
        assert found == {name: wanted[name] for name in found}
        assert found.keys() >= {n for n in wanted if n.startswith("features/") and "card.json" not in n}
        note = f"{file.name} has no paths: its first row is taken for {names[0]}, its last one for {names[-1]}"
        assert recorder.message("extract", "note") == (note if place == 1 else "")


@pytest.mark.parametrize("features", ["sift,cnn", "cnn"])
def test_without_onnxruntime(features, sift_folder, file, hooked, tmp_path):
    hook = "import sys\nsys.modules['onnxruntime'] = None\n"
    words = ["--features", features, "--embeddings", file, *QUICK]
    done = hooked(hook, "run", sift_folder, "-o", tmp_path / "project", *words)
    assert done.returncode == 0, done.stderr
    known = card(tmp_path / "project")
    assert list(known["parameters"]) == ["sift", "embeddings"][features == "cnn" :]
    assert known["outputs"]["embeddings from"] == str(file)
    page = (tmp_path / "project" / "report" / "run.html").read_text()
    assert "dimension 24" in page
    assert pipeline.verify(tmp_path / "project").problems == []


def test_groups_are_those_of_the_vectors(sift_folder, file, tmp_path):
    pipeline.run(
        sift_folder,
        tmp_path / "project",
        extract_config=config(file, ("embeddings",)),
        vocabulary_config=VocabularyConfig(words=20),
        topics_config=TopicsConfig(topics=4),
        labels="parent",
    )
    assert pipeline.evaluate(tmp_path / "project").scores["acc"] == 1
    pipeline.assign(tmp_path / "project", sift_folder, tmp_path / "new.parquet", embeddings=file)
    known, found = (pq.read_table(tmp_path / name) for name in ("project/groups.parquet", "new.parquet"))
    assert found.drop_columns("label") == known.drop_columns("label")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_the_same_bytes_from_any_workers(jobs, executor, sift_folder, file, made, tmp_path):
    options = ExtractOptions(executor=executor)
    pipeline.extract(sift_folder, tmp_path / "project", config(file), options=options, jobs=jobs)
    found, wanted = contents(tmp_path / "project"), contents(made)
    assert found == {name: wanted[name] for name in found}
    assert not list((tmp_path / "project" / "features").glob(".*"))


def test_the_same_file_is_reused(sift_folder, vectors, file, made, looked, cli, tmp_path):
    project = Path(shutil.copytree(made, tmp_path / "project"))
    run = ["run", sift_folder, "-o", project, *QUICK, "--embeddings"]
    before = snapshot(project)
    moved = shutil.copy(file, tmp_path / "moved.parquet")
    outcome = cli(*run, moved)
    assert outcome.err.count("stands from an earlier call") == len(STAGES)
    assert snapshot(project) == before
    write(moved, list(vectors), list(vectors.values())[::-3] + list(vectors.values())[:13])  # those of others
    outcome = cli(*run, moved)
    assert outcome.code == 0
    assert re.search(r"extract: done again, for embeddings sha256: \w+ -> \w+", outcome.err)
    assert looked == [], "SIFT's features are taken over"
    assert contents(project)["tokens/shard-00000/words.npy"] != before["tokens/shard-00000/words.npy"][1]
    assert cli(*run, file).code == 0
    assert contents(project) == contents(made)


def test_photographs_without_a_vector_are_skipped(sift_folder, vectors, made, looked, cli, tmp_path):
    names, found = list(vectors), [vector.copy() for vector in vectors.values()]
    found[2], found[5], found[6][3] = None, np.zeros(24), np.nan
    file = write(tmp_path / "v.parquet", [*names[:-1], "other.jpg"], found)
    project = tmp_path / "project"
    run = ["run", sift_folder, "-o", project, *QUICK, "--embeddings"]
    outcome = cli(*run, file)
    assert outcome.code == 3
    assert outcome.out.startswith("20 images: 16 grouped, 4 skipped")
    assert "1 of 20 rows of v.parquet name no photograph of the source, the first of them 'other.jpg'" in outcome.err
    skipped = pq.read_table(project / "skipped.parquet").to_pylist()
    assert {row["path"]: row["reason"] for row in skipped} == {
        names[2]: "its embedding is null",
        names[5]: "its embedding is all zeros",
        names[6]: "its embedding has numbers that are not finite",
        names[19]: "no embedding",
    }
    assert looked == ["sift"] * 16
    assert cli(*run, file, "--retry", "failed").code == 3, "a second look changes nothing"
    assert cli(*run, file).err.count("stands from an earlier call") == len(STAGES)
    looked.clear()
    whole = write(tmp_path / "whole.parquet", names, list(vectors.values()))
    assert cli(*run, whole).code == 0
    assert looked == ["sift"] * 4, "those that were skipped"
    assert contents(project) == contents(made)


def test_back_to_the_cnn(sift_folder, vectors, tmp_path, looked):
    """That a photograph had no vector is nothing that the CNN has to mind."""
    names = list(vectors)
    file = write(tmp_path / "v.parquet", names[3:], list(vectors.values())[3:])
    assert pipeline.extract(sift_folder, tmp_path / "project", config(file)).outputs["skipped"] == 3
    looked.clear()
    assert pipeline.extract(sift_folder, tmp_path / "project").outputs["skipped"] == 0
    assert looked.count("sift") == 3
    assert looked.count("cnn") == 20
    pipeline.extract(sift_folder, tmp_path / "fresh")
    assert contents(tmp_path / "project") == contents(tmp_path / "fresh")


def test_a_photograph_that_cannot_be_read(photographs, vectors, file, tmp_path):
    path = photographs / list(vectors)[4]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    for features in (("sift", "cnn"), ("cnn",)):
        project = tmp_path / "-".join(features)
        assert pipeline.extract(photographs, project, config(file, features)).outputs["skipped"] == 1
        (skipped,) = [r for s in open_shards(ProjectFolder.open(project)) for r in s.skipped]
        assert "ends before" in skipped or "JPEG" in skipped
    path.write_bytes(data)
    for features in (("sift", "cnn"), ("cnn",)):
        project, options = tmp_path / "-".join(features), ExtractOptions(retry="failed")
        assert pipeline.extract(photographs, project, config(file, features), options=options).outputs["skipped"] == 0


def test_photographs_that_come_and_go(photographs, vectors, tmp_path, looked):
    names = list(vectors)
    all_of_them = write(tmp_path / "v.parquet", names, list(vectors.values()))
    late = {name: (photographs / name).read_bytes() for name in names[3:6]}
    for name in late:
        (photographs / name).unlink()
    project = tmp_path / "project"
    pipeline.extract(photographs, project, config(all_of_them))
    for name, data in late.items():
        (photographs / name).write_bytes(data)
    looked.clear()
    assert pipeline.extract(photographs, project, config(all_of_them)).outputs["images"] == 20
    assert looked == ["sift"] * 3
    pipeline.extract(photographs, tmp_path / "fresh", config(all_of_them))
    assert contents(project) == contents(tmp_path / "fresh")


def test_rows_without_paths_never_fit_another_list(photographs, vectors, cli, tmp_path):
    file, project = tmp_path / "v.npy", tmp_path / "project"
    np.save(file, np.array(list(vectors.values())))
    extract = ["extract", photographs, "-o", project, "--embeddings", file]
    outcome = cli(*extract, "--limit", 9)
    assert outcome.code == 0, outcome.err
    assert cli(*extract).code == 0, "the limit does not count: the rows are those of the whole source"
    first, last = min(photographs.rglob("*.jpg")), max(photographs.rglob("*.jpg"))
    first.rename(last.with_name("zzz.jpg"))  # as many as before, and every row would be another's
    before = snapshot(project)
    outcome = cli(*extract)
    assert outcome.code == 2
    assert "the photographs are no longer the same" in outcome.complaint
    assert snapshot(project) == before
    last.unlink()
    outcome = cli(*extract)
    assert outcome.code == 2
    assert "has 20 rows, the source 19 images" in outcome.complaint


def test_killed_at_any_time(sift_folder, file, made, hooked, cli, tmp_path):
    """Nothing is left of the file beside, and the same command goes on."""
    extract = ["extract", sift_folder, "-o", tmp_path / "project", "--embeddings", file]
    for at in ("6", "12"):
        done = hooked(KILL, *extract, KILL_AT=at)
        assert done.returncode == -signal.SIGKILL
    (tmp_path / "project" / "features" / ".embeddings.0123456789ab.tmp").write_bytes(b"of a kill")
    assert cli(*extract).code == 0
    found, wanted = contents(tmp_path / "project"), contents(made)
    assert found == {name: wanted[name] for name in found}
    assert not list((tmp_path / "project" / "features").glob(".*"))


def test_a_full_disk(sift_folder, file, cli, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        outcome = cli("extract", sift_folder, "-o", tmp_path / "project", "--embeddings", file)
    assert outcome.code == 1
    assert "No space left on device" in outcome.complaint
    assert not list((tmp_path / "project" / "features").glob(".*"))


def test_alone_a_large_photograph_is_decoded_at_an_eighth(tmp_path, monkeypatch):
    """It is known that it can be, how large it is and how it is turned."""
    source = tmp_path / "photographs"
    source.mkdir()
    (source / "a.jpg").write_bytes(with_exif(encoded(".jpg", busy(401, 640)), 6))
    (source / "b.png").write_bytes(encoded(".png", busy(30, 50)))
    shapes = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *a: shapes.append((found := decode(*a)).shape[:2]) or found)
    file = write(tmp_path / "v.parquet", ["a.jpg", "b.png"], np.eye(2))
    pipeline.extract(source, tmp_path / "project", config(file, ("cnn",)))
    assert shapes == [(80, 51), (30, 50)]
    (shard,) = open_shards(ProjectFolder.open(tmp_path / "project"))
    assert shard.images["width"].to_pylist() == [401, 50]
    assert shard.images["height"].to_pylist() == [640, 30]
    places = [[200, 319.5, np.sqrt(401 * 640), -1], [24.5, 14.5, np.sqrt(1500), -1]]
    np.testing.assert_allclose(shard.keypoints("pooled"), places, rtol=1e-6)
    pipeline.extract(source, tmp_path / "project", config(file))
    pipeline.extract(source, tmp_path / "fresh", config(file))
    assert contents(tmp_path / "project") == contents(tmp_path / "fresh")


def test_assign_gives_what_the_project_has(made, sift_folder, vectors, file, cli, tmp_path):
    known = pq.read_table(made / "groups.parquet").drop_columns("label")
    array, output = tmp_path / "v.npy", tmp_path / "new.parquet"
    np.save(array, np.array(list(vectors.values()), np.float32))
    for given, jobs in ((file, 1), (array, 2)):
        outcome = cli("assign", made, sift_folder, "-o", output, "--embeddings", given, "--jobs", jobs)
        assert outcome.code == 0, outcome.err
        assert pq.read_table(output).drop_columns("label") == known
    some = write(tmp_path / "v.parquet", list(vectors)[:15], list(vectors.values())[:15])
    outcome = cli("assign", made, sift_folder, "-o", output, "--embeddings", some)
    assert outcome.code == 3
    assert outcome.out.startswith("20 images: 15 grouped, 5 skipped")
    skipped = pq.read_table(tmp_path / "new.skipped.parquet").to_pylist()
    assert [(row["path"], row["reason"]) for row in skipped] == [(n, "no embedding") for n in list(vectors)[15:]]
    assert pq.read_table(output).drop_columns("label") == known.slice(0, 15)
    left = {"v.npy", "v.parquet", "new.parquet", "new.skipped.parquet"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_assign_from_python(made, sift_folder, vectors):
    project, theta = Project.open(made), np.load(made / "topics" / "theta.npy")
    paths, array = [sift_folder / name for name in vectors], np.array(list(vectors.values()))
    rgb = cv2.cvtColor(cv2.imread(str(paths[1])), cv2.COLOR_BGR2RGB)
    images = [paths[0], rgb, paths[2].read_bytes(), *map(str, paths[3:])]
    found = project.assign(iter(images), embeddings=array.astype(np.float32), jobs=2)
    np.testing.assert_array_equal(found.theta, theta)
    one = project.assign([paths[7]], embeddings=array[7:8] * 1e-30)
    np.testing.assert_allclose(one.theta[0], theta[7], atol=0.05)
    array[3] = np.nan
    found = project.assign(paths[:5], embeddings=array[:5])
    assert found.skipped.paths == [str(paths[3])]
    assert found.skipped.reasons == ["its embedding has numbers that are not finite"]
    for given in (paths[:4], iter(paths[:4]), paths[:6], iter(paths[:6])):
        with pytest.raises(UsageError, match="5 embeddings do not fit"):
            project.assign(given, embeddings=array[:5])
    for bad, said in (
        (None, "described by embeddings, of 24 numbers each: pass"),
        (array[:5, :23], "have 24 numbers, these 23"),
        (array[0], r"not float64 \(24,\)"),
        (array[:5].astype(str), "not <U32"),
    ):
        with pytest.raises(UsageError, match=said):
            project.assign(paths[:5], embeddings=bad)


def test_a_project_without_embeddings_takes_none(sift_project, sift_folder, file, cli, tmp_path):
    outcome = cli("assign", sift_project, sift_folder, "-o", tmp_path / "new.parquet", "--embeddings", file)
    assert outcome.code == 2
    assert "described by sift, not by embeddings: leave them out" in outcome.complaint
    outcome = cli("run", sift_folder, "-o", tmp_path / "new", "--from", sift_project, "--embeddings", file)
    assert outcome.code == 2
    assert "described by sift, not by embeddings" in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_what_assign_wants(made, sift_folder, vectors, cli, tmp_path):
    assign = ["assign", made, sift_folder, "-o", tmp_path / "new.parquet"]
    outcome = cli(*assign)
    assert outcome.code == 2
    assert "of 24 numbers each: pass those of the new ones" in outcome.complaint
    narrow = write(tmp_path / "v.parquet", list(vectors), [vector[:9] for vector in vectors.values()])
    outcome = cli(*assign, "--embeddings", narrow)
    assert outcome.code == 2
    assert "have 24 numbers, these 9" in outcome.complaint
    assert not (tmp_path / "new.parquet").exists()


def test_from_another_project(made, sift_folder, vectors, file, cli, tmp_path):
    """The very vectors: what the other one has. Others of the same kind are taken, others are not."""
    run = ["run", sift_folder, "-o", tmp_path / "new", "--from", made]
    outcome = cli(*run)
    assert outcome.code == 2
    assert "pass those of the new ones" in outcome.complaint
    narrow = write(tmp_path / "narrow.parquet", list(vectors), [vector[:9] for vector in vectors.values()])
    outcome = cli(*run, "--embeddings", narrow)
    assert outcome.code == 2
    assert "have 24 numbers, these 9" in outcome.complaint
    outcome = cli(*run, "--embeddings", file, "--features", "cnn")
    assert outcome.code == 2
    assert "made with --features sift,embeddings, not embeddings" in outcome.complaint
    assert not (tmp_path / "new").exists(), "before any work"
    outcome = cli(*run, "--embeddings", file)
    assert outcome.code == 0, outcome.err
    theta = [np.load(project / "topics" / "theta.npy") for project in (made, tmp_path / "new")]
    np.testing.assert_array_equal(*theta)
    other = write(tmp_path / "other.parquet", list(vectors)[4:], list(vectors.values())[4:])
    outcome = cli(*run, "--embeddings", other)
    assert outcome.code == 3, outcome.err
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "topics" / "theta.npy")[4:], theta[0][4:])


def test_an_estimate(sift_folder, file, cli, tmp_path):
    outcome = cli("extract", sift_folder, "-o", tmp_path / "new", "--embeddings", file, "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["images"], found["skipped"]) == (20, {})
    pipeline.extract(sift_folder, tmp_path / "project", config(file))
    shards = open_shards(ProjectFolder.open(tmp_path / "project"))
    wanted = sum(s.descriptors(m).nbytes + s.keypoints(m).nbytes for s in shards for m in ("sift", "pooled"))
    assert 0.7 < found["disk"] / wanted < 1.5
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--features", "sift"], "takes the place of the CNN, which --features sift leaves out"),
        (["--features", "cnn,embeddings"], "--features takes"),
        (["--model", "resnet50"], "--model names a CNN, whose place --embeddings takes"),
    ],
)
def test_options_that_contradict(words, said, sift_folder, file, cli, tmp_path):
    for command in ("run", "extract"):
        outcome = cli(command, sift_folder, "-o", tmp_path / "new", "--embeddings", file, *words)
        assert outcome.code == 2
        assert said in outcome.complaint
    assert not (tmp_path / "new").exists()


def test_embeddings_that_are_not_there(sift_folder, cli, tmp_path):
    for words, said in (
        (["--features", "embeddings"], "wants a file of them: name it with --embeddings"),
        (["--embeddings", tmp_path / "v.parquet"], "No such file"),
        (["--embeddings", tmp_path], "takes a file .npy or .parquet"),
    ):
        for command in (["run"], ["extract"], ["extract", "--dry-run"]):
            outcome = cli(*command, sift_folder, "-o", tmp_path / "new", *words)
            assert outcome.code == 2
            assert said in outcome.complaint
    with pytest.raises(ProjectError):
        ProjectFolder.open(tmp_path / "new")
