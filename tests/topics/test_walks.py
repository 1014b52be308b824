"""Walks as tasks of an executor: the same bytes as in one process, whoever does them, however often."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cloudpickle
import naive
import numpy as np
import pytest
from counting import CountingExecutor
from topics.planted import corpus

from fastvbow.errors import Cancelled, StoreCorruptError, StoreError, UsageError
from fastvbow.executors import make_executor
from fastvbow.places import SharedFolder
from fastvbow.topics import GibbsLDA, TokenStream, measuring, walk_tasks, walks
from fastvbow.topics.chain import Chain
from fastvbow.topics.shards import Run, ShardTokens, cut_runs, measure_shards
from fastvbow.topics.walk_tasks import WalkTask, draw_topics, sample_walk
from fastvbow.topics.walks import fit_shards

K, V, DOCS, LENGTH = 5, 40, 300, 30
CUTS = (0, 7, 100, 101, 101, 250, 300)
"""Where the corpus is cut: a shard of one document, one of none, and walks across all."""
N_SHARDS = len(CUTS) - 1
WEIGHTS = np.where(np.arange(V) < 20, 1.0, 2.5)
GROUPS = np.random.default_rng(0).integers(-1, K, DOCS)


@pytest.fixture(scope="module")
def streams() -> list[TokenStream]:
    whole = corpus(K, V, DOCS, LENGTH, 0.3)[2]
    parts = [whole.part(begin, end) for begin, end in pairwise(CUTS)]
    return [TokenStream(np.array(part.words), part.offsets, V) for part in parts]


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """Nothing here tells of power cuts, and flushing small files takes most of the time."""
    monkeypatch.setattr("fastvbow.replacing.flush", lambda path: None)


@pytest.fixture
def project(streams, tmp_path) -> Path:
    """The shards as a project has them, and a group for each document."""
    write(tmp_path, streams, GROUPS)
    return tmp_path


def write(root: Path, streams: list[TokenStream], groups: np.ndarray) -> None:
    first = 0
    (root / "groups").mkdir()
    for i, stream in enumerate(streams):
        folder = root / "tokens" / f"shard-{i:05d}"
        folder.mkdir(parents=True)
        np.save(folder / "words.npy", stream.words)
        np.save(folder / "counts.npy", np.diff(stream.offsets).astype(np.int32)[:, None])
        np.save(root / "groups" / f"shard-{i:05d}.npy", groups[first : first + stream.n_docs].astype(np.int32))
        first += stream.n_docs


def model_of(**how) -> GibbsLDA:
    how = {"max_iter": 7, "thin": 5, "random_state": 3, "word_weights": WEIGHTS, **how}
    return GibbsLDA(K, **how)


def train(project: Path, executor=None, folder="training/one", groups="groups", n_shards=N_SHARDS, **how):
    """What an executor makes of the shards: the model, and the topics of every token."""
    model, tokens = model_of(**how), ShardTokens(SharedFolder(project), n_shards, V)
    if executor is not None:
        return model, list(fit_shards(model, tokens, executor, folder=folder, groups=groups))
    with make_executor(1) as alone:
        return model, list(fit_shards(model, tokens, alone, folder=folder, groups=groups))


def assert_same(found: GibbsLDA, z: list[np.ndarray], wanted: GibbsLDA) -> None:
    assert len(z) == len(wanted.assignments_)
    for mine, theirs in zip(z, wanted.assignments_, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    for name in ("components_", "log_likelihood_", "log_likelihood_sweeps_", "doc_topic_prior_", "word_weights_"):
        assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name
    assert (found.seed_, found.n_iter_, found.n_features_in_) == (wanted.seed_, wanted.n_iter_, wanted.n_features_in_)


# The same bytes


@pytest.mark.parametrize("merge_every", [1, 3])
@pytest.mark.parametrize("n_walks", [1, 7])
@pytest.mark.parametrize("algorithm", ["exact", "lockstep", "sparse"])
def test_as_in_one_process(streams, project, algorithm, n_walks, merge_every):
    how = {"algorithm": algorithm, "n_walks": n_walks, "merge_every": merge_every}
    wanted = model_of(**how).fit(streams, doc_groups=GROUPS)
    assert_same(*train(project, **how), wanted)
    kept = sorted(path.name.split(".")[1] for path in (project / "training/one/z").glob("*sweep*"))
    assert len(set(kept)) == 3 and len(kept) == 3 * n_walks, "the first state, and two sweeps"


def test_topics_that_are_kept(streams, project, monkeypatch):
    """With a state after every sweep there are two of them at most, and what is killed loses nothing."""
    monkeypatch.setattr(walks, "SAVE_EVERY", 0.0)
    seen = []

    def look(sweep, total):
        folder = project / "training/one"
        state = json.loads((folder / "state.json").read_bytes())
        kept = {int(path.name.split(".")[1][6:]) for path in (folder / "z").glob("*sweep*")}
        assert state["n_sweeps"] == sweep and len(kept) == 2 and max(kept) == sweep and min(kept) >= state["before"]
        assert len(list(folder.glob("total.*"))) == 1 and len(list(folder.glob("counts.*"))) <= 2
        seen.append(sweep)

    wanted = model_of(n_walks=3).fit(streams, doc_groups=GROUPS)
    model, tokens = model_of(n_walks=3), ShardTokens(SharedFolder(project), len(streams), V)
    with make_executor(1) as executor:
        z = list(fit_shards(model, tokens, executor, folder="training/one", groups="groups", callback=look))
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert_same(model, z, wanted)


def test_other_processes(streams, project, pool):
    how = {"n_walks": 3, "merge_every": 2}
    assert_same(*train(project, pool, **how), model_of(**how).fit(streams, doc_groups=GROUPS))


def test_more_walks_than_documents(streams, project):
    few = streams[:1]
    n_docs = sum(stream.n_docs for stream in few)
    wanted = model_of(n_walks=12, max_iter=2).fit(few, doc_groups=GROUPS[:n_docs])
    assert_same(*train(project, n_walks=12, max_iter=2, n_shards=1), wanted)


def test_without_groups_and_with_many_topics(streams, project):
    how = {"n_components": 300, "n_walks": 2, "max_iter": 4, "split_merge": 0, "algorithm": "auto"}
    model, tokens = GibbsLDA(**how, random_state=1), ShardTokens(SharedFolder(project), len(streams), V)
    with make_executor(1) as executor:
        z = list(fit_shards(model, tokens, executor, folder="training/one"))
    wanted = GibbsLDA(**how, random_state=1).fit(streams)
    assert z[0].dtype == np.uint16
    assert_same(model, z, wanted)


def test_burn_in_that_ends_early(streams, project):
    how = {"n_walks": 2, "merge_every": 3, "max_iter": 60, "thin": 2, "tol": 0.2}
    found, z = train(project, **how)
    assert 30 < found.n_iter_ < 60
    assert_same(found, z, model_of(**how).fit(streams, doc_groups=GROUPS))


@pytest.mark.parametrize("seed", [0, 1])
def test_runs_are_the_walks_of_a_chain(streams, project, seed):
    tokens = ShardTokens(SharedFolder(project), len(streams), V)
    with make_executor(1) as executor:
        measured = measure_shards(executor, 1, tokens, np.ones(V, np.int32))
    assert measured.sizes.tolist() == [[stream.n_docs, stream.n_tokens] for stream in streams]
    assert measured.tokens.tolist() == np.bincount(np.concatenate([s.words for s in streams]), minlength=V).tolist()
    for n_walks in (1, 2, 7, 50):
        documents = []
        for run in cut_runs(tokens, measured.sizes, n_walks):
            n = sum(streams[i].n_docs for i in range(run.first, run.last)) + run.end - run.begin
            documents += range(run.first_document, run.first_document + n)
        assert documents == list(range(DOCS)), "each document once, in order"


# Against the twin


@pytest.mark.parametrize("merge_every", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["exact", "lockstep", "sparse"])
def test_a_naive_twin(project, streams, algorithm, merge_every):
    """Newman et al. (2009), in plain NumPy: each walk from its own counts, which are put together every few sweeps."""
    words = np.concatenate([stream.words for stream in streams[:2]])
    documents = [words[i : i + LENGTH].tolist() for i in range(0, len(words), LENGTH)]
    how = {"algorithm": algorithm, "n_walks": 4, "merge_every": merge_every, "max_iter": 4, "thin": 3}
    model, z = train(project, n_shards=2, **how)
    topics = naive.initialise(documents, GROUPS, 0.9, K, model.seed_)
    chain = model.seed_, 4, V
    merges = {*range(4, 0, -merge_every), 1, 4}  # a look is one too
    edges = [0, 25, 50, 75, 100]
    prior = np.full(K, 1 / K), 0.05
    naive.walks(documents, topics, WEIGHTS, *prior, *chain, edges=edges, merges=merges, algorithm=algorithm)
    np.testing.assert_array_equal(np.concatenate(z), np.concatenate(topics))


def test_looks_and_merges_come_together(streams, project, monkeypatch):
    """Where they are as many sweeps apart, however many sweeps there are."""
    merged, sweep = [], walks.WalkChain.sweep

    def noted(chain, number, *, merge, look):
        merged.append((number, look)) if merge else None
        return sweep(chain, number, merge=merge, look=look)

    monkeypatch.setattr(walks.WalkChain, "sweep", noted)
    model, _ = train(project, n_walks=3, merge_every=5, thin=5, max_iter=13, tol=0.0)
    assert merged == [(3, True), (8, True), (13, True)] == [(look, True) for look in model.log_likelihood_sweeps_]


def test_merging_seldom_is_another_chain(streams):
    often, seldom = (model_of(n_walks=4, merge_every=n).fit(streams, doc_groups=GROUPS) for n in (1, 5))
    assert not np.array_equal(often.components_, seldom.components_)
    one = [model_of(merge_every=n).fit(streams, doc_groups=GROUPS).components_ for n in (1, 5)]
    np.testing.assert_array_equal(*one)


def test_counts_that_are_asked_for_are_those_of_all_walks(streams):
    z = [np.zeros(stream.n_tokens, np.uint8) for stream in streams]
    chain = Chain(streams, np.full(K, 0.2), 0.05, WEIGHTS, 1, z, n_walks=3)
    chain.sweep(1, merge=False)
    assert not chain.merged
    found = chain.word_topics()
    assert chain.merged
    chain.count()
    np.testing.assert_array_equal(found, chain.word_topics())


# Tasks done twice, a training that goes on


def test_a_task_done_again_writes_the_same(project, streams):
    train(project, n_walks=3, max_iter=2, thin=1)
    tokens = ShardTokens(SharedFolder(project), len(streams), V)
    run = cut_runs(tokens, np.array([[s.n_docs, s.n_tokens] for s in streams]), 3)[1]
    file = project / "training/one/z/walk-00001.sweep-00002.npy"
    before = file.read_bytes()
    np.save(project / "training/one/counts.sweep-00001.npy", np.load(project / "training/one/counts.sweep-00002.npy"))
    task = WalkTask(tokens, "training/one", 1, run, 1, until=2)
    first = sample_walk(task)
    file.unlink()
    np.testing.assert_array_equal(sample_walk(task).counts, first.counts)
    assert file.read_bytes() != before, "from other counts: it was done anew"
    again = draw_topics(WalkTask(tokens, "training/one", 1, run, 0, groups="groups")).counts
    assert again.sum() == WEIGHTS[np.concatenate([s.words for s in streams])[3000:6000]].sum() * 2  # units of a half


@pytest.mark.parametrize("merge_every", [1, 3])
def test_goes_on_where_it_was(streams, project, merge_every):
    how = {"n_walks": 3, "merge_every": merge_every}

    class Gone(Exception):  # noqa: N818 - no fault
        pass

    for until in (2, 5):
        model, tokens = model_of(**how), ShardTokens(SharedFolder(project), len(streams), V)
        told = []

        def stop(sweep, total, until=until, told=told):
            told.append(sweep)
            if sweep >= until:
                raise Gone

        with make_executor(1) as executor, pytest.raises(Gone):
            fit_shards(model, tokens, executor, folder="training/one", groups="groups", callback=stop)
        assert until <= told[-1] < until + 3
    assert told[0] > 2, "what was done is not done again"
    unfinished = project / f"training/one/z/walk-00001.sweep-{told[-1] + 1:05d}.npy"
    unfinished.write_bytes(b"half a file of a sweep that was not ended")
    assert_same(*train(project, **how), model_of(**how).fit(streams, doc_groups=GROUPS))


def test_files_that_are_damaged(project, streams, monkeypatch):
    monkeypatch.setattr(walks, "SAVE_EVERY", 0.0)
    how = {"n_walks": 3}
    train(project, **how)
    z = project / "training/one/z/walk-00001.sweep-00007.npy"
    state = project / "training/one/state.json"
    whole = state.read_bytes()
    np.save(z, np.load(z)[:-1])
    with pytest.raises(StoreCorruptError, match="the topics in training/one are fewer than the tokens: delete"):
        train(project, **how)
    with pytest.raises(StoreCorruptError, match=r"sweep-00007.* does not hold topics of 3000 tokens"):
        train(project, **how, max_iter=30)
    state.write_bytes(whole.replace(b'"version":1', b'"version":2'))
    with pytest.raises(StoreCorruptError, match="version 2, not fastvbow-lda-walks 1: delete"):
        train(project, **how)
    state.write_bytes(whole[:-1])
    with pytest.raises(StoreCorruptError, match="delete"):
        train(project, **how)
    (project / "tokens/shard-00001/words.npy").write_bytes(b"nothing")
    with pytest.raises(StoreCorruptError, match="run 'fastvbow encode' again"):
        train(project, folder="training/two", **how)


# Limits


@pytest.mark.parametrize("how", [{"n_init": 2}, {"split_merge": 1}, {"optimize_priors": 5}])
def test_what_one_process_does_alone_is_refused(project, how):
    with pytest.raises(UsageError, match="leave n_init, split_merge and optimize_priors at their defaults"):
        train(project, **how)


def test_too_many_tokens_are_refused(project, monkeypatch):
    monkeypatch.setattr(measuring, "MOST_UNITS", 1000)
    with pytest.raises(UsageError, match=r"word \d+ has a mass of"):
        train(project)
    monkeypatch.setattr(measuring, "MOST_DOCUMENT", 100)
    with pytest.raises(UsageError, match=r"document \d+ has a mass of"):
        train(project)


def test_a_heavy_document_is_counted_from_the_first_shard(project, streams, monkeypatch):
    masses = [WEIGHTS[s.words[a:b]].sum() * 2 for s in streams for a, b in pairwise(s.offsets)]
    heaviest = int(np.argmax(masses))
    assert heaviest > CUTS[1] and masses.count(masses[heaviest]) == 1
    monkeypatch.setattr(measuring, "MOST_DOCUMENT", masses[heaviest])
    with pytest.raises(UsageError, match=f"document {heaviest} has a mass of {masses[heaviest] / 2:g} tokens"):
        train(project)


def test_no_tokens(tmp_path):
    write(tmp_path, [TokenStream(np.zeros(0, np.uint16), np.zeros(4, np.int64), V)], np.full(3, -1))
    with pytest.raises(ValueError, match="no tokens"):
        train(tmp_path, n_shards=1)


# What travels


@pytest.mark.parametrize(("jobs", "parts", "size"), [(1, 1, 1800), (2, 2, 1400), (4, 4, 1000)])
def test_what_travels(project, streams, jobs, parts, size):
    """Small walks go together, as many parts as there are threads."""
    model, tokens = model_of(n_walks=4, merge_every=2, thin=6, max_iter=6), ShardTokens(SharedFolder(project), 6, V)
    with make_executor(1) as alone:
        executor = CountingExecutor(alone)
        list(fit_shards(model, tokens, executor, folder="training/one", groups="groups", jobs=jobs))
    assert max(executor.tasks) < size, "with the name of the function"
    assert max(executor.results) < 4 * V * K + 400
    rounds = 1 + 3  # first topics, three merges, the last with a look
    assert len(streams) == 6
    assert len(executor.tasks) == {1: 1, 2: 2, 4: 3}[jobs] + parts * rounds


def test_a_task_does_not_grow(project):
    tokens = ShardTokens(SharedFolder(Path("/a/project/folder/of/some/length")), 10**5, V)
    run = Run(99_000, 900, 99_999, 1023, 10**8)
    folder = "training/0123456789abcdef"
    task = WalkTask(tokens, folder, 9999, run, 136, 137, (134, 135), look=True, groups=f"{folder}/groups")
    assert len(cloudpickle.dumps(task)) < 600


def test_a_late_task_does_not_bring_its_training_back(project, monkeypatch):
    """Of a call that has ended, whose folder the next one has removed."""
    place, late = SharedFolder(project), []

    def walk(*given, known=walk_tasks.walk):
        known(*given)
        if late:
            place.remove("training")

    def callback(sweep: int, n_sweeps: int) -> None:
        late.append(sweep)

    monkeypatch.setattr(walk_tasks, "walk", walk)
    with pytest.raises(Cancelled, match="training that this task belongs to has ended"):
        model, tokens = model_of(n_walks=2, max_iter=3), ShardTokens(place, N_SHARDS, V)
        with make_executor(1) as executor:
            fit_shards(model, tokens, executor, folder="training/one", groups="groups", callback=callback)
    assert late == [1]
    assert not (project / "training").exists()


def test_the_folder_of_another_training_is_left_alone(project):
    found = [train(project, folder=f"training/{name}", max_iter=n)[0] for name, n in (("a", 3), ("b", 4))]
    assert [model.n_iter_ for model in found] == [3, 4]
    assert walks.State.__struct_fields__[:2] == ("format", "version")


def test_what_stopped_it_is_told_though_nothing_can_be_saved(project, monkeypatch):
    """As where the object store of a project is away."""

    def away(*args, **how):
        raise StoreError("cannot reach s3://photographs")

    def stop(sweep: int, n_sweeps: int) -> None:
        monkeypatch.setattr(walks, "flush", away)
        raise KeyboardInterrupt

    model, tokens = GibbsLDA(K, max_iter=4, random_state=0), ShardTokens(SharedFolder(project), N_SHARDS, V)
    with make_executor(1) as executor, pytest.raises(KeyboardInterrupt):
        fit_shards(model, tokens, executor, folder="training/a", callback=stop)
