"""The stage ``topics`` on other processes: the same bytes, and what becomes of it when something dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import contents
from counting import CountingExecutor

from fastvbow import pipeline
from fastvbow.cancelling import cancelling
from fastvbow.config import TopicsConfig
from fastvbow.errors import Cancelled
from fastvbow.executors import make_executor
from fastvbow.pipeline.topic_shards import ShardTask, take_landmarks
from fastvbow.places import SharedFolder
from fastvbow.topics.shards import ShardTokens
from fastvbow.words.vocabulary import Vocabulary

CONFIG = TopicsConfig(topics=4, sweeps=12, walks=3, merge_every=2)


def topics_of(project: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(project).items() if name.startswith("topics/")}


def anew(project: Path, config: TopicsConfig = CONFIG, **how) -> dict[str, bytes]:
    """What the stage writes; nothing else is left."""
    shutil.rmtree(project / "topics", ignore_errors=True)
    pipeline.topics(project, config, **how)
    assert not (project / "training").exists()
    return topics_of(project)


@pytest.mark.parametrize("config", [CONFIG, TopicsConfig(topics="auto", most_topics=5, sweeps=6)], ids=["set", "auto"])
def test_of_words(sift_copy, client, config):
    wanted = anew(sift_copy, config, jobs=1)
    with make_executor(1) as alone:
        assert anew(sift_copy, config, executor=alone, jobs=1) == wanted
    assert anew(sift_copy, config, executor=client.get_executor()) == wanted
    assert len(wanted) == 4 + 1, "model, mixtures, and topics of two shards"


def test_of_vectors(small_copy, client, recorder):
    wanted = anew(small_copy, TopicsConfig(topics=4, sweeps=5), jobs=1)
    config = TopicsConfig(topics=4, sweeps=5)
    assert anew(small_copy, config, executor=client.get_executor(), listener=recorder) == wanted
    steps = [(event.unit, event.done) for event in recorder.events if event.kind == "step"]
    assert [done for unit, done in steps if unit == "sweeps"] == [1, 2, 3, 4, 5]
    n_shards = len(list((small_copy / "tokens").iterdir()))
    assert [done for unit, done in steps if unit == "shards"] == [*range(1, n_shards + 1)] * 3


def test_a_worker_that_dies(sift_copy, client):
    wanted, killed = anew(sift_copy, jobs=1), []

    def kill(event) -> None:
        if event.unit == "sweeps" and event.done == 4 and not killed:
            killed.extend(client.run(os.getpid).values())
            os.kill(killed[0], signal.SIGKILL)

    assert anew(sift_copy, executor=client.get_executor(retries=3), listener=kill) == wanted
    assert killed


def test_a_caller_that_is_killed(sift_copy):
    wanted = anew(sift_copy, jobs=1)
    shutil.rmtree(sift_copy / "topics")
    program = """
import sys, time
from pathlib import Path
from fastvbow import pipeline
from fastvbow.config import TopicsConfig
from fastvbow.executors import make_executor
from fastvbow.topics import walks

walks.SAVE_EVERY = 0.0

def tell(event):
    if event.unit == "sweeps":
        print(event.done, flush=True)
        time.sleep(60 if event.done >= 6 else 0)

with make_executor(1) as executor:
    config = TopicsConfig(topics=4, sweeps=12, walks=3, merge_every=2)
    pipeline.topics(Path(sys.argv[1]), config, executor=executor, jobs=1, listener=tell)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(sift_copy)], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if int(line) >= 6:
                break
        process.send_signal(signal.SIGKILL)
    assert (sift_copy / "training").is_dir() and not (sift_copy / "topics").exists()
    sweeps = []
    with make_executor(1) as executor:
        listen = lambda event: sweeps.append(event.done) if event.unit == "sweeps" else None  # noqa: E731
        pipeline.topics(sift_copy, CONFIG, executor=executor, jobs=1, listener=listen)
    assert sweeps[0] > 6 and sweeps[-1] == 12
    assert topics_of(sift_copy) == wanted


def test_a_removal_that_was_ended_leaves_nothing_to_go_on_from(sift_copy, monkeypatch):
    """As in a store, where the files of a folder go one by one."""
    wanted, whole = anew(sift_copy, jobs=1), SharedFolder.remove

    def remove(place, name: str) -> None:
        if name != "training" or not (sift_copy / "topics").is_dir():
            return whole(place, name)
        for path in (sift_copy / "training").rglob("counts.*"):
            path.unlink()
        raise KeyboardInterrupt

    shutil.rmtree(sift_copy / "topics")
    with make_executor(1) as executor:
        monkeypatch.setattr(SharedFolder, "remove", remove)
        with pytest.raises(KeyboardInterrupt):
            pipeline.topics(sift_copy, CONFIG, executor=executor, jobs=1)
        monkeypatch.undo()
        assert [*(sift_copy / "training").rglob("state.json")]
        assert anew(sift_copy, executor=executor) == wanted


def test_another_training_starts_anew(sift_copy):
    other = TopicsConfig(topics=4, sweeps=12, walks=3, seed=1)
    wanted = anew(sift_copy, other, jobs=1)

    def stop(event) -> None:
        if event.unit == "sweeps":
            raise KeyboardInterrupt

    with make_executor(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            anew(sift_copy, executor=executor, listener=stop)
        assert len(list((sift_copy / "training").iterdir())) == 2, "run.json and one folder"
        assert anew(sift_copy, other, executor=executor) == wanted


def test_a_late_task_leaves_nothing(sift_copy):
    """Of a call that has ended, while none or another one is at work."""
    place, n_words = SharedFolder(sift_copy), Vocabulary.load(sift_copy / "vocabulary").n_words
    for name in ("of-mine", "of-another"):
        late = ShardTask(ShardTokens(place, 2, n_words), f"training/{name}", 0, 0, 60)
        with pytest.raises(Cancelled, match="training that this task belongs to has ended"):
            take_landmarks(late)
        (sift_copy / "training").mkdir(exist_ok=True)
        (sift_copy / "training/run.json").write_text('{"training": "of-mine"}')
    assert [path.name for path in (sift_copy / "training").iterdir()] == ["run.json"]
    mine = ShardTask(ShardTokens(place, 2, n_words), "training/of-mine", 0, 0, 60)
    assert take_landmarks(mine) == len(np.load(sift_copy / mine.name("landmarks")))


def test_cancelled_and_gone_on(sift_copy, client):
    config = TopicsConfig(topics=4, sweeps=2000, walks=2, merge_every=1)
    done = []

    def listen(event) -> None:
        if event.unit == "sweeps":
            done.append(event.done)

    shutil.rmtree(sift_copy / "topics")
    begun = time.monotonic()
    with pytest.raises(Cancelled), cancelling(lambda: len(done) > 1):
        pipeline.topics(sift_copy, config, executor=client.get_executor(), listener=listen)
    assert time.monotonic() - begun < 30 and done[-1] < 2000
    last = done[-1]
    with pytest.raises(Cancelled), cancelling(lambda: done[-1] > last):
        pipeline.topics(sift_copy, config, executor=client.get_executor(), listener=listen)
    assert done[done.index(last) + 1] in (last + 1, last + 2)


def test_a_model_that_is_taken_over(sift_copy, sift_folder, client, tmp_path):
    from fastvbow.events import log_events
    from fastvbow.pipeline.origin import Origin
    from fastvbow.pipeline.taking_over import take_model

    pipeline.run(sift_folder, tmp_path / "other", origin=sift_copy, jobs=1)
    from fastvbow.project import ProjectFolder

    project, taken = ProjectFolder.open(tmp_path / "other"), Origin.read(ProjectFolder.open(sift_copy)).model
    wanted = topics_of(tmp_path / "other")
    shutil.rmtree(tmp_path / "other/topics")
    take_model(project, taken, jobs=1, executor=client.get_executor(), listener=log_events)
    assert topics_of(tmp_path / "other") == wanted and len(wanted) == 5
    assert not (tmp_path / "other/training").exists()


def test_what_travels(sift_copy):
    with make_executor(1) as alone:
        executor = CountingExecutor(alone)
        anew(sift_copy, executor=executor, jobs=1)
    n_words = len(np.load(sift_copy / "tokens/shard-00000/counts.npy")) and 60
    assert max(executor.tasks) < 1000 + 4 * n_words, "that of measuring has the words' weights"
    assert max(executor.results) < max(4 * n_words * 4, 8 * n_words) + 1000


@pytest.mark.parametrize(("walks", "told"), [(0, None), (1, None), (2, 5)])
def test_the_card_tells_exchanges_of_several_walks(sift_copy, walks, told):
    """One has nobody to exchange counts with: its topics stand, whatever the default is."""
    anew(sift_copy, TopicsConfig(topics=4, sweeps=6, walks=walks), jobs=1)
    card = msgspec.json.decode((sift_copy / "stages/topics.json").read_bytes())
    assert card["parameters"].get("merge_every") == told
