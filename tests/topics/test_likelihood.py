import itertools
import math
import signal
import threading
import time
from types import SimpleNamespace

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from topics.planted import draw, stream_of

from fastvbow.memory import aligned
from fastvbow.topics import TokenStream, _gibbs, _particles, left_to_right, likelihood

BEST = _gibbs.instructions()
INSTRUCTIONS = ["baseline", "avx2", "avx512"][: ["baseline", "avx2", "avx512"].index(BEST) + 1]


def log_marginal(words, phi, alpha):
    """log sum_z p(w, z | phi, alpha), all z one by one: the Dirichlet-multinomial of z times phi."""
    K, total = len(alpha), 0.0
    for z in itertools.product(range(K), repeat=len(words)):
        log_p = math.lgamma(sum(alpha)) - math.lgamma(sum(alpha) + len(words))
        for k in range(K):
            log_p += math.lgamma(z.count(k) + alpha[k]) - math.lgamma(alpha[k])
        total += math.exp(log_p) * math.prod(phi[k][w] for k, w in zip(z, words, strict=True))
    return math.log(total)


def algorithm_3(words, phi, alpha):
    """What algorithm 3 tends to for ever more particles: the distribution of a particle, followed exactly."""
    K, log_p, particles = len(alpha), 0.0, {(): 1.0}
    for n, word in enumerate(words):
        for i in range(n):
            moved = {}
            for z, mass in particles.items():
                rest = z[:i] + z[i + 1 :]
                p = np.array([phi[k][words[i]] * (rest.count(k) + alpha[k]) for k in range(K)])
                for k in range(K):
                    new = (*z[:i], k, *z[i + 1 :])
                    moved[new] = moved.get(new, 0) + mass * p[k] / p.sum()
            particles = moved
        mean, grown = 0.0, {}
        for z, mass in particles.items():
            p = np.array([phi[k][word] * (z.count(k) + alpha[k]) for k in range(K)]) / (n + sum(alpha))
            mean += mass * p.sum()
            for k in range(K):
                grown[(*z, k)] = mass * p[k] / p.sum()
        log_p, particles = log_p + math.log(mean), grown
    return log_p


K, V = 3, 5
PHI = np.random.default_rng(0).dirichlet(np.full(V, 0.3), K)
ALPHA = np.array([0.1, 0.3, 0.05])
DOCUMENTS = [[0, 1, 2, 3, 4, 0, 2], [2], [1, 1, 1, 4], [], [4, 3, 2, 1, 0], [3, 3, 0, 0, 4, 4], [1, 0]]
EXACT = np.array([log_marginal(words, PHI, ALPHA) for words in DOCUMENTS])


def test_the_enumeration_is_a_probability():
    for n in (1, 3):
        every = [math.exp(log_marginal(words, PHI, ALPHA)) for words in itertools.product(range(V), repeat=n)]
        assert sum(every) == pytest.approx(1, rel=1e-12)


def test_many_particles_find_the_marginal():
    found = left_to_right(stream_of(DOCUMENTS, V), PHI, ALPHA, n_particles=100_000, random_state=0)
    assert found.shape == (7,)
    assert found.dtype == np.float64
    assert found[3] == 0
    np.testing.assert_allclose(found, EXACT, rtol=0, atol=0.02)  # standard deviations .005
    np.testing.assert_allclose(found[[2, 6]], EXACT[[2, 6]], rtol=0, atol=0.003)  # .0005
    assert found[1] == pytest.approx(EXACT[1], rel=1e-10)


@pytest.mark.parametrize("n_particles, resample", [(1, True), (1, False), (2, True), (5, True)])
def test_the_estimate_of_p_is_unbiased(n_particles, resample):
    n_runs = 1500
    stream = stream_of(DOCUMENTS, V)
    p = np.empty((n_runs, len(DOCUMENTS)))
    for seed in range(n_runs):
        p[seed] = np.exp(
            left_to_right(stream, PHI, ALPHA, n_particles=n_particles, resample=resample, random_state=seed) - EXACT
        )
    error = p.std(axis=0) / math.sqrt(n_runs)
    assert error[0] < 0.06
    assert (np.abs(p.mean(axis=0) - 1) < 3.5 * error + 1e-12).all()
    # a document of one word has nothing to draw
    np.testing.assert_allclose(p[:, 1], 1, rtol=1e-12)
    assert p[:, 0].std() > 0.01


def test_without_resampling_it_is_algorithm_3():
    off = []
    for words in (DOCUMENTS[0], DOCUMENTS[5], DOCUMENTS[0][:5]):
        stream = stream_of([words], V)
        order = likelihood._generator(_seed(0), np.sort(stream.words)).permutation(np.sort(stream.words))
        limit = algorithm_3([int(w) for w in order], PHI, ALPHA)
        found = left_to_right(stream, PHI, ALPHA, n_particles=100_000, resample=False, random_state=0)
        assert found[0] == pytest.approx(limit, abs=0.015)
        off.append(abs(limit - log_marginal(words, PHI, ALPHA)))
    assert max(off) > 0.05  # it tends to something else than log p(w)


def _seed(random_state):
    return int(np.random.RandomState(random_state).randint(0, 2**64, dtype=np.uint64))


def test_more_particles_are_nearer():
    stream = stream_of(DOCUMENTS[:1], V)
    spread = []
    for n_particles in (1, 10, 100):
        runs = [left_to_right(stream, PHI, ALPHA, n_particles=n_particles, random_state=s)[0] for s in range(60)]
        spread.append(np.sqrt(np.mean((np.array(runs) - EXACT[0]) ** 2)))
    assert spread[0] > 1.5 * spread[1] > 1.5 * 1.5 * spread[2]


@pytest.mark.parametrize("n_particles", [1, 20])
def test_a_uniform_model_and_a_single_topic_are_exact(n_particles):
    documents = [[0, 1, 2], [7] * 30, [], list(range(50))]
    uniform = left_to_right(stream_of(documents, 50), np.ones((4, 50)), 0.1, n_particles=n_particles)
    np.testing.assert_allclose(uniform, [-n * math.log(50) for n in (3, 30, 0, 50)], rtol=1e-12)
    phi = np.random.default_rng(1).dirichlet(np.ones(50))
    single = left_to_right(stream_of(documents, 50), phi[None], 0.1, n_particles=n_particles)
    np.testing.assert_allclose(single, [np.log(phi[words]).sum() for words in documents], rtol=1e-12)


def longer(seed=5, n_words=300, n_topics=6):
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.full(n_words, 0.1), n_topics)
    documents = [list(rng.integers(0, n_words, n)) for n in (20, 0, 1, 7, 33, 0, 20, 12, 40)]
    return phi, documents


def test_a_figure_depends_on_nothing_but_the_seed_and_the_document_s_words(monkeypatch):
    phi, documents = longer()
    how = {"n_particles": 4, "random_state": 7}
    stream = stream_of(documents, 300)
    whole = left_to_right(stream, phi, 0.2, **how)
    assert len(np.unique(whole)) == 8  # the two empty ones are alike
    order = np.random.default_rng(0).permutation(len(documents))
    permuted = stream_of([documents[d] for d in order], 300)
    np.testing.assert_array_equal(left_to_right(permuted, phi, 0.2, **how), whole[order])
    backwards = stream_of([words[::-1] for words in documents], 300, np.uint32)
    np.testing.assert_array_equal(left_to_right(backwards, phi, 0.2, **how), whole)
    np.testing.assert_array_equal(left_to_right(stream_of(documents * 3, 300), phi, 0.2, **how), np.tile(whole, 3))
    for d, words in enumerate(documents):
        assert left_to_right(stream_of([words], 300), phi, 0.2, **how)[0] == whole[d]
    parts = [stream_of(part, 300) for part in ([], documents[:2], documents[2:3], documents[3:])]
    np.testing.assert_array_equal(left_to_right(parts, phi, 0.2, **how), whole)
    counts = np.array([np.bincount(np.array(words, int), minlength=300) for words in documents])
    for X in (counts, sp.csr_matrix(counts), counts.tolist()):
        np.testing.assert_array_equal(left_to_right(X, phi, 0.2, **how), whole)
    for budget, block in ((1, 1), (5000, 2**40), (2**40, 30_000)):
        monkeypatch.setattr(likelihood, "BUDGET", budget)
        monkeypatch.setattr(likelihood, "BLOCK", block)
        np.testing.assert_array_equal(left_to_right(stream, phi, 0.2, **how), whole)


def test_seeds():
    phi, documents = longer()
    stream = stream_of(documents, 300)
    first, again, other = (left_to_right(stream, phi, 0.2, n_particles=4, random_state=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).sum() == 6  # not the empty ones, nor the one with a single word
    generators = [np.random.RandomState(1) for _ in range(2)]
    given = [left_to_right(stream, phi, 0.2, n_particles=4, random_state=g) for g in (*generators, generators[0])]
    np.testing.assert_array_equal(given[0], first)
    np.testing.assert_array_equal(given[1], first)
    assert (given[2] != first).any()


def test_topics_and_priors_in_other_forms():
    phi, documents = longer()
    stream, how = stream_of(documents, 300), {"n_particles": 4, "random_state": 7}
    whole = left_to_right(stream, phi, 1 / 6, **how)
    scaled = phi * np.array([2.0, 0.25, 1, 8, 64, 2**-20])[:, None]
    np.testing.assert_allclose(left_to_right(stream, scaled, 1 / 6, **how), whole, rtol=1e-9)
    for alpha in (None, np.full(6, 1 / 6), [1 / 6] * 6):
        np.testing.assert_array_equal(left_to_right(stream, phi, alpha, **how), whole)
    assert not np.allclose(left_to_right(stream, phi, [3, 0.1, 0.1, 0.1, 0.1, 0.1], **how), whole)


@pytest.mark.parametrize("n_topics", [255, 256, 257, 400])
def test_topics_beyond_a_byte(n_topics):
    """Each topic has a word of its own, so that the topics are known and p(w) is a product."""
    last = n_topics - 1
    documents = [[last, last, last, 5], [last - 256] * 3 if n_topics > 256 else [0] * 3, [254, 254, 1]]
    alpha = np.linspace(0.01, 0.02, n_topics)
    expected = []
    for words in documents:
        p = [(words[:n].count(w) + alpha[w]) / (n + alpha.sum()) for n, w in enumerate(words)]
        expected.append(np.log(p).sum())
    found = left_to_right(stream_of(documents, n_topics), np.eye(n_topics), alpha, n_particles=3, random_state=0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_impossible_and_rare_words():
    phi = np.array([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]])
    found = left_to_right(stream_of([[0, 1], [3], [1, 3, 1], [0, 2], []], 4), phi, 1.0, random_state=0)
    np.testing.assert_array_equal(np.isneginf(found), [False, True, True, False, False])
    # p(0, 1) = 1/2 1/2 (2/6 1/2 + 4/6 1/2) + ...: z of word 0 is known
    assert found[0] == pytest.approx(math.log(0.5 * 0.5 * 0.5), rel=1e-12)
    assert found[3] == pytest.approx(math.log(0.5 * 0.5 * (1 / 3) * 0.5), rel=1e-12)
    tiny = np.array([[1, 1e-320], [1, 1e-320]])
    assert left_to_right(stream_of([[1] * 9], 2), tiny, 1e-300)[0] == pytest.approx(9 * math.log(1e-320), rel=1e-3)


def test_the_model_that_drew_the_documents_is_likelier_than_another():
    rng = np.random.default_rng(8)
    phi = rng.dirichlet(np.full(60, 0.1), 4)
    words, _ = draw(phi, np.full(4, 0.2), 30, 25, rng)
    stream = TokenStream(words.ravel(), np.arange(31) * 25, 60)
    smooth = 0.99 * phi + 0.01 / 60
    true = left_to_right(stream, smooth, 0.2, random_state=0)
    other = left_to_right(stream, 0.99 * rng.permuted(phi, axis=1) + 0.01 / 60, 0.2, random_state=0)
    assert (true > other).mean() > 0.9
    assert true.sum() > left_to_right(stream, smooth, 20.0, random_state=0).sum()


# the kernel


def particles_of(words, phi, alpha, n_particles, resample, key, instructions=BEST, z=None):
    """The kernel's object, and the array that it writes."""
    lanes = (-(-n_particles // _particles.PARTICLES), _particles.PARTICLES)
    totals = np.empty(len(words))
    particles = _particles.Particles(
        np.array(words, np.uint32),
        phi,
        alpha,
        n_particles,
        resample,
        key,
        np.full((lanes[0], len(words), lanes[1]), -1, np.int32) if z is None else z,
        aligned((lanes[0], len(alpha), lanes[1]), np.float64),
        totals,
        aligned((len(alpha), _particles.SCRATCH), np.float64),
        aligned(lanes, np.float64),
        np.empty(lanes, np.int64),
        instructions.encode(),
    )
    return particles, totals


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("resample", [True, False])
@pytest.mark.parametrize("n_particles", [1, 3, 8, 13, 20, 30, 70])
def test_kernel_equals_its_twin(n_particles, resample, instructions):
    rng = np.random.default_rng(n_particles)
    phi, alpha, words = rng.random((9, 5)), rng.uniform(0.1, 1, 5), rng.integers(0, 9, 12)
    expected = naive.left_to_right(list(words), phi, alpha, n_particles, resample, 2**64 - 99)
    for budget in (1, 2000, 10**9):
        particles, totals = particles_of(words, phi, alpha, n_particles, resample, 2**64 - 99, instructions)
        calls = 1
        while particles.advance(budget):
            calls += 1
        assert {1: calls >= 12, 2000: calls > 1, 10**9: calls == 1}[budget]
        np.testing.assert_array_equal(totals, expected)


def test_one_topic_more_particles_than_fit_together_and_other_keys():
    phi, alpha = np.random.default_rng(0).random((9, 1)), np.ones(1)
    particles, totals = particles_of([3, 4, 3], phi, alpha, 50, True, 1)
    assert not particles.advance(10**9)
    np.testing.assert_allclose(totals, 50 * phi[[3, 4, 3], 0] * [1, 2, 3], rtol=1e-13)
    phi, alpha, found = np.random.default_rng(0).random((9, 4)), np.ones(4), []
    for key in (1, 1, 2):
        particles, totals = particles_of([3, 4, 3], phi, alpha, 2, True, key)
        particles.advance(10**9)
        found.append(totals)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_arrays_that_do_not_fit_are_refused():
    phi, alpha = np.ones((9, 4)), np.ones(4)
    with pytest.raises(ValueError, match="do not fit together"):
        particles_of([1, 2], phi, np.ones(3), 5, True, 0)
    with pytest.raises(ValueError, match="no mmx kernel"):
        particles_of([1, 2], phi, alpha, 5, True, 0, "mmx")


@pytest.mark.parametrize("resample", [True, False])
def test_particles_are_chosen_in_proportion(resample):
    """Two topics alike for word 0, of which 0 is likelier to have word 1: particles weigh 1.101 or .111."""
    n, phi, alpha = 4003, np.array([[1.0, 1.0], [1.0, 0.01]]), np.array([0.1, 0.1])
    lanes = (-(-n // _particles.PARTICLES), 2, _particles.PARTICLES)
    z = np.full(lanes, -1, np.int32)
    particles, totals = particles_of([0, 1], phi, alpha, n, resample, 5, z=z)
    particles.advance(10**9)
    before = (totals[1] - 0.111 * n) / (1.101 - 0.111)  # particles of topic 0 that gave these weights
    assert before == pytest.approx(n / 2, abs=3.5 * math.sqrt(n) / 2)
    after = np.sum(z[:, 0].ravel()[:n] == 0)
    assert after == pytest.approx(before * 1.101 / totals[1] * n if resample else before, abs=0.01 * n)
    assert (z[:, 0].ravel()[n:] == -1).all()  # the lanes behind the last particle


# threads


@pytest.mark.parametrize("n_jobs", [2, 5, -1])
def test_threads_change_no_byte(n_jobs, monkeypatch):
    phi, documents = longer()
    stream = stream_of(documents * 3, 300)
    one = left_to_right(stream, phi, 0.2, n_particles=4, random_state=7)
    monkeypatch.setattr(likelihood, "BLOCK", 1)
    monkeypatch.setattr(likelihood, "BUDGET", 1)
    used, estimate = set(), likelihood._estimate

    def noted(*arguments):
        used.add(threading.current_thread())
        return estimate(*arguments)

    monkeypatch.setattr(likelihood, "_estimate", noted)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    np.testing.assert_array_equal(left_to_right(stream, phi, 0.2, n_particles=4, random_state=7, n_jobs=n_jobs), one)
    assert threading.current_thread() not in used
    assert used


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interruption_within_a_document_ends_it(n_jobs, monkeypatch):
    """The documents would take minutes; a call of the kernel is interrupted, and no thread goes on."""
    calls, Kernel = [], _particles.Particles

    class Interrupted:
        def __init__(self, *arguments):
            self.kernel = Kernel(*arguments)

        def advance(self, budget):
            calls.append(budget)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return self.kernel.advance(min(budget, 10**6))

    replaced = SimpleNamespace(Particles=Interrupted, PARTICLES=_particles.PARTICLES, SCRATCH=_particles.SCRATCH)
    monkeypatch.setattr(likelihood, "_particles", replaced)
    stream = stream_of([[0, 1] * 10_000, [1, 0, 1] * 7_000], 2)
    before = set(threading.enumerate())  # some of another test may be ending
    with pytest.raises(KeyboardInterrupt):
        left_to_right(stream, np.ones((40, 2)), 0.1, n_jobs=n_jobs, random_state=0)
    assert set(threading.enumerate()) <= before
    assert len(calls) >= 3


def test_an_error_in_the_second_document_does_not_wait_for_the_first(monkeypatch):
    estimate, begun = likelihood._estimate, threading.Event()

    def failing(words, *rest):
        if len(words) == 20_000:
            assert begun.wait(20)
            raise KeyboardInterrupt
        begun.set()
        return estimate(words, *rest)

    monkeypatch.setattr(likelihood, "_estimate", failing)
    stream = stream_of([[0, 1] * 10_000, [1, 0, 1] * 7_000], 2)  # the longer one would take minutes
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        left_to_right(stream, np.ones((40, 2)), 0.1, n_jobs=2, random_state=0)
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_gets_through_within_a_second(n_jobs):
    stream = stream_of([[0, 1] * 20_000, [1, 0, 1] * 14_000], 2)
    main = threading.main_thread().ident
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    try:
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            left_to_right(stream, np.ones((40, 2)), 0.1, n_jobs=n_jobs, random_state=0)
        assert time.monotonic() - began < 1.3
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_call_of_the_kernel_is_short():
    """A long document is given back when the budget is spent, in the midst of a word's sweep too."""
    n_particles, n_topics = 20, 30
    particles, totals = particles_of(
        [0] * 3000, np.ones((1, n_topics)), np.ones(n_topics), n_particles, True, 0, "baseline"
    )
    totals[:] = np.nan
    assert particles.advance(10**7)
    done = int(np.isfinite(totals).sum())
    assert done == pytest.approx(math.sqrt(2 * 10**7 / (32 * n_topics)), rel=0.3)
    assert particles.advance(1)
    assert np.isfinite(totals).sum() <= done + 1


# errors


def test_unusable_numbers():
    X, ok = np.ones((3, 30), int), np.full((2, 30), 1 / 30)
    for n_particles in (0, -1, 2.5):
        with pytest.raises(ValueError, match="n_particles must be a whole number at least 1"):
            left_to_right(X, ok, 0.1, n_particles=n_particles)
    for alpha in (0, -1.0, np.nan, np.inf, [0.1, 0.0], [0.1] * 3):
        with pytest.raises(ValueError, match="alpha must be"):
            left_to_right(X, ok, alpha)
    with pytest.raises(ValueError, match="counts must be whole numbers"):
        left_to_right(X / 2, ok, 0.1)
    for n_jobs in (0, 1.5):
        with pytest.raises(ValueError, match="n_jobs"):
            left_to_right(X, ok, 0.1, n_jobs=n_jobs)
