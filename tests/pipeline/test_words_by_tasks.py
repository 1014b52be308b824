"""The vocabulary by tasks over shards: the same bytes for every executor, small tasks, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from conftest import snapshot
from counting import CountingExecutor
from hypothesis import given
from hypothesis import strategies as st

from fastvbow import pipeline
from fastvbow.cancelling import cancelling
from fastvbow.config import VocabularyConfig
from fastvbow.errors import Cancelled, StoreCorruptError, UsageError
from fastvbow.pipeline import learning_words
from fastvbow.pipeline.vocabularies import learn_vocabulary
from fastvbow.pipeline.word_tasks import Sampling, StoredRows, in_runs
from fastvbow.places import SharedFolder
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary

ALL, JOINT = {"train": "all"}, {"fusion": "joint"}


def words(project: Path, executor=None, jobs=1, listener=lambda event: None, **config) -> bytes:
    """Those that are learned, whatever stands."""
    shutil.rmtree(project / "vocabulary", ignore_errors=True)
    pipeline.vocabulary(project, VocabularyConfig(words=60, **config), jobs=jobs, executor=executor, listener=listener)
    assert not (project / "learning").exists()
    return (project / "vocabulary" / "vocabulary.safetensors").read_bytes()


@given(st.lists(st.integers(0, 20)), st.integers(1, 40), st.integers(1, 7))
def test_runs_hold_all_and_not_too_much(sizes, enough, most):
    runs = list(in_runs(sizes, enough, most))
    assert [i for start, stop in runs for i in range(start, stop)] == list(range(len(sizes)))
    for start, stop in runs:
        assert 0 < stop - start <= most
        assert sum(sizes[start : stop - 1]) < enough
        assert stop == len(sizes) or stop - start == most or sum(sizes[start:stop]) >= enough


@pytest.mark.parametrize("config", [{"sample": 3000}, {"sample": 3000, **JOINT}], ids=["separate", "joint"])
def test_a_sample_that_tasks_have_drawn(config, small_copy, monkeypatch):
    plain = words(small_copy, **config)
    with ThreadPoolExecutor(2) as executor:
        assert words(small_copy, executor, **config) == plain
        monkeypatch.setattr(learning_words, "SAMPLED_ROWS", 700)
        monkeypatch.setattr(learning_words, "SAMPLED_SHARDS", 2)
        assert words(small_copy, executor, jobs=2, **config) == plain
    assert words(small_copy, seed=1, **config) != plain


@pytest.mark.parametrize("config", [ALL, {**ALL, **JOINT}], ids=["separate", "joint"])
def test_all_descriptors(config, small_copy, monkeypatch, recorder):
    monkeypatch.setattr(learning_words, "LEAST_BYTES", 1 << 15)
    plain = words(small_copy, **config, listener=recorder)
    assert words(small_copy, jobs=2, **config) == plain
    with ThreadPoolExecutor(2) as executor:
        assert words(small_copy, executor, **config) == plain
    assert words(small_copy, seed=1, **config) != plain
    told = [event for event in recorder.events if event.unit == "passes"]
    kinds = 2 if config.get("fusion") else 3
    assert {event.total for event in told} == {kinds * (5 + 1 + 50)}
    assert [event.done for event in told] == sorted(event.done for event in told)
    assert told[-1].done == told[-1].total
    card = json.loads((small_copy / "stages" / "vocabulary.json").read_text())
    assert card["parameters"]["train"] == "all"
    assert card["outputs"]["words"] == 60
    pipeline.encode(small_copy, jobs=1)


def test_all_sift_descriptors_however_they_are_cut(sift_copy, monkeypatch):
    """Sums of whole numbers: another cut gives the same words."""
    found = set()
    for least in (1 << 12, 1 << 17, 1 << 22):
        monkeypatch.setattr(learning_words, "LEAST_BYTES", least)
        found.add(words(sift_copy, **ALL))
    assert len(found) == 1


def test_all_descriptors_lower_the_inertia_of_a_small_sample(sift_copy):
    shards = [np.load(path) for path in sorted(sift_copy.glob("features/shard-*/sift.descriptors.npy"))]

    def inertia(**config):
        words(sift_copy, **config)
        centers = Vocabulary.load(sift_copy / "vocabulary").codebooks["sift"].centers
        X = np.concatenate(shards).astype(np.float32)
        return sum(
            float(((block[:, None] - centers) ** 2).sum(axis=2).min(axis=1).sum()) for block in np.split(X, [900])
        )

    assert inertia(**ALL) < 0.97 * inertia(sample=400)


def test_the_default_is_not_told(sift_project):
    card = json.loads((sift_project / "stages" / "vocabulary.json").read_text())
    assert set(card["parameters"]) == {"words", "sample", "seed"}
    assert VocabularyConfig(train="all").parameters.keys() == {"words", "sample", "seed", "train"}
    assert VocabularyConfig(train="all", fusion="joint").parameters["map_share"] == 0.25


class After:
    """Says to stop when a pass is finished for the so manieth time."""

    def __init__(self, number: int) -> None:
        self.left, self.passes = number, []

    def hear(self, event) -> None:
        if event.unit == "passes" and event.kind == "step":
            self.passes.append(event.done)

    def __call__(self) -> bool:
        return len(self.passes) >= self.left


def test_an_interrupted_training_goes_on_from_its_last_pass(sift_copy):
    whole, stopped, again, other = (After(10**9) for _ in range(4))
    plain = words(sift_copy, listener=whole.hear, **ALL)
    stopped.left = 8
    with pytest.raises(Cancelled), cancelling(stopped):
        words(sift_copy, listener=stopped.hear, **ALL)
    (kept,) = (sift_copy / "learning").glob("*/sift-state.safetensors")
    assert not (sift_copy / "vocabulary").exists()
    copy = Path(shutil.copytree(sift_copy, sift_copy.parent / "other"))
    assert words(sift_copy, listener=again.hear, **ALL) == plain
    assert stopped.passes + again.passes == whole.passes
    assert words(copy, listener=other.hear, **ALL, seed=1) != plain, "what was kept is of other parameters"
    assert other.passes[0] == 1
    with pytest.raises(Cancelled), cancelling(stopped):
        stopped.passes.clear()
        words(sift_copy, listener=stopped.hear, **ALL)
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(StoreCorruptError, match=r"sift-state.*delete learning/"):
        words(sift_copy, **ALL)


def test_a_projection_is_kept_too(small_copy, monkeypatch):
    """And so are the rows that were projected: a call that goes on draws no sample and projects nothing."""
    plain = words(small_copy, **ALL)
    stopped = After(60 + 3)  # in the passes over the map
    with pytest.raises(Cancelled), cancelling(lambda: bool(stopped.passes) and stopped.passes[-1] > 60):
        words(small_copy, listener=stopped.hear, **ALL)
    rows = {n: t for n, (t, _) in snapshot(small_copy / "learning").items() if "conv-rows" in n}
    assert rows
    seen = {}

    def projection(self, name, known=learning_words.LearningWords.projection):
        seen[name] = found = known(self, name)
        return found

    def end(self, known=learning_words.LearningWords.end):
        seen["rows"] = {n: t for n, (t, _) in snapshot(small_copy / "learning").items() if "conv-rows" in n}
        known(self)

    monkeypatch.setattr(learning_words.LearningWords, "projection", projection)
    monkeypatch.setattr(learning_words.LearningWords, "end", end)
    assert words(small_copy, **ALL) == plain
    assert seen["conv"] is not None
    assert seen["pooled"] is None
    assert seen["rows"] == rows


@pytest.mark.parametrize("left", ["vocabulary", "manifest"])
def test_half_a_projection_is_made_anew(small_copy, left):
    """As a call leaves it in an object store that is killed amid sending it."""
    plain = words(small_copy, **ALL)
    stopped = After(10**9)
    with pytest.raises(Cancelled), cancelling(lambda: bool(stopped.passes) and stopped.passes[-1] > 60):
        words(small_copy, listener=stopped.hear, **ALL)
    (folder,) = (small_copy / "learning").glob("*/conv-projection")
    for path in folder.iterdir():
        if not path.name.startswith(left):
            path.unlink()
    assert len(list(folder.iterdir())) == 1
    assert words(small_copy, **ALL) == plain


def test_what_travels(small_copy):
    """Names, numbers of rows, centres and sums."""
    with ThreadPoolExecutor(1) as one:
        counting = CountingExecutor(one)
        words(small_copy, counting, sample=3000)
        assert 3 <= len(counting.tasks) < 10
        assert max(counting.results) < 50
        assert max(counting.tasks) < 3000 * 4 + 2000
        counting.tasks.clear()
        words(small_copy, counting, **ALL)
        assert max(counting.tasks) < 60_000
        assert max(counting.results) < 30_000
    many = Sampling(
        SharedFolder(Path("/some/project/of/photographs")),
        "sift",
        0,
        np.zeros(64, np.uint32),
        np.zeros(64, np.uint32),
        np.zeros(8192, np.uint32),
        ("learning/" + "f" * 64 + "/sift-sample-00012.npy",),
    )
    assert len(cloudpickle.dumps(many)) < 4 * 8192 + 64 * 8 + 1000
    rows = StoredRows(many.place, ("features/shard-00012/sift.descriptors.npy",) * 256, (300_000,) * 256)
    assert len(cloudpickle.dumps(rows)) < 256 * 60 + 1000


def test_a_damaged_shard_is_named(small_copy):
    with ThreadPoolExecutor(1) as executor:
        for name, config in (("sift", {}), ("sift", ALL), ("conv", ALL)):
            path = next(small_copy.glob(f"features/shard-*/{name}.descriptors.npy"))
            whole = path.read_bytes()
            path.write_bytes(whole[:90])
            with pytest.raises(StoreCorruptError, match=f"{name}.descriptors"):
                words(small_copy, executor, **config)
            path.write_bytes(whole)
        path.write_bytes((small_copy / "features/shard-00001/sift.descriptors.npy").read_bytes())
        shutil.rmtree(small_copy / "learning")
        with pytest.raises(StoreCorruptError, match=r"conv.descriptors.* the array has shape .* delete that shard"):
            words(small_copy, executor, **ALL)


def test_fewer_features_than_words(sift_copy, recorder):
    sizes = [len(np.load(path)) for path in sift_copy.glob("features/shard-*/sift.descriptors.npy")]
    config = VocabularyConfig(words=sum(sizes) + 5, train="all")
    card = pipeline.vocabulary(sift_copy, config, jobs=1, listener=recorder)
    assert card.outputs["words"] == sum(sizes)
    assert "each is a word" in recorder.message("vocabulary", "warning")


def test_what_cannot_be_asked_for(sift_copy, cli):
    with pytest.raises(UsageError, match="--train is one of sample, all, not none"):
        VocabularyConfig(train="none")
    with pytest.raises(ValueError, match="those of a project"):
        learn_vocabulary([], VocabularyConfig(train="all"), sift_copy)
    assert "--train is one of" in cli("vocabulary", sift_copy, "--train", "some").complaint


def test_the_command_line(sift_copy, sift_folder, tmp_path, cli):
    outcome = cli("vocabulary", sift_copy, "--words", 60, "--train", "all")
    assert outcome.code == 0, outcome.err
    by_command = (sift_copy / "vocabulary" / "vocabulary.safetensors").read_bytes()
    assert words(sift_copy, **ALL) == by_command
    assert "train added" not in outcome.err.replace("train added", "", 1)
    outcome = cli("run", sift_folder, "-o", tmp_path / "p", "--from", sift_copy, "--refit", "--train", "sample")
    assert outcome.code != 0
    assert ProjectFolder.open(sift_copy).require("vocabulary").parameters["train"] == "all"
