import platform

import fastvbow.topics._gibbs as _gibbs
import naive
import numpy as np
import pytest
from scipy.stats import chisquare
from topics.planted import stream_of

from fastvbow.topics.chain import ALGORITHMS, Chain
from fastvbow.topics.joint_likelihood import STEPS

SEED = 0xDEADBEEFCAFEF00D


def corpus(rng, lengths, V):
    return [list(rng.integers(0, V, n)) for n in lengths]


CASES = {
    "plain": {"lengths": [7, 30, 12], "V": 9, "K": 4},
    "empty documents": {"lengths": [0, 9, 0, 0, 14, 0], "V": 9, "K": 4},
    "one document": {"lengths": [25], "V": 6, "K": 3},
    "one topic": {"lengths": [5, 8], "V": 6, "K": 1},
    "more topics than tokens": {"lengths": [2, 3], "V": 6, "K": 90},
    "uint16 topics": {"lengths": [40, 20], "V": 6, "K": 600},
    "asymmetric prior": {"lengths": [20, 30], "V": 9, "K": 4, "alpha": np.array([0.1, 3.0, 0.5, 1e-6])},
    "weights": {"lengths": [20, 0, 30], "V": 9, "K": 4, "weights": np.arange(1, 10) * 37 / 64},
    "groups": {"lengths": [20, 5, 30], "V": 9, "K": 4, "groups": np.array([3, -1, 0])},
    # numbers of vectors that have code of their own, and the first that has not; few tokens, since a draw that falls on
    # the border of two topics to seven digits may go to either
    **{f"{K} topics": {"lengths": [12] * 20, "V": 6, "K": K} for K in (20, 40, 64, 70, 96, 100, 128, 130)},
}


INSTRUCTIONS = ["baseline", "avx2", "avx512"]


def only_here(instructions):
    order = INSTRUCTIONS.index(instructions)
    if platform.machine() not in ("x86_64", "AMD64") and order:
        pytest.skip(f"{instructions} is of another CPU family")
    if order > INSTRUCTIONS.index(_gibbs.instructions()):
        pytest.skip(f"this CPU has no {instructions}")


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_its_twin(name, dtype, algorithm, instructions):
    only_here(instructions)
    case = CASES[name]
    K, V = case["K"], case["V"]
    documents = corpus(np.random.default_rng(3), case["lengths"], V)
    alpha, weights = case.get("alpha", np.full(K, 0.3)), case.get("weights", np.ones(V))
    groups, options = case.get("groups"), {"algorithm": algorithm, "instructions": instructions}
    chain = Chain.start([stream_of(documents, V, dtype)], alpha, 0.05, weights, SEED, groups, 0.6, **options)
    z = naive.initialise(documents, groups, 0.6, K, SEED)
    np.testing.assert_array_equal(chain.z[0], np.concatenate(z))
    nzw = naive.count(documents, z, weights, V, K)[0]
    width = 2 if algorithm == "lockstep" and K > 512 else ALGORITHMS[algorithm]
    for number in range(1, 6):
        chain.sweep(number)
        if algorithm == "sparse":
            naive.sparse_sweep(documents, z, weights, alpha, 0.05, SEED, number, nzw)
        else:
            naive.sweep(documents, z, weights, alpha, 0.05, SEED, number, nzw, width=width, exact=algorithm == "exact")
        np.testing.assert_array_equal(chain.z[0], np.concatenate(z))
        np.testing.assert_array_equal(chain.word_topics(), nzw)
        assert not chain.nzw[:, K:].any() and not chain.nz[K:].any()
        rounded = len(documents) / (2 * STEPS * nzw.sum())  # half a step a document at most
        wanted = naive.log_joint(documents, z, weights, alpha, 0.05, V)
        np.testing.assert_allclose(chain.log_likelihood(), wanted, rtol=1e-12, atol=rounded)
    assert chain.z[0].dtype == (np.uint8 if K <= 256 else np.uint16)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_lists_longer_than_a_vector(instructions):
    """Twice as many documents as a list has topics, weights, and words that come and go."""
    only_here(instructions)
    rng = np.random.default_rng(9)
    V, K = 12, 70
    documents = corpus(rng, rng.integers(1, 40, 60), V)
    alpha, weights = np.full(K, 0.2), np.where(np.arange(V) % 3, 1.0, 2.5)
    options = {"algorithm": "sparse", "instructions": instructions}
    chain = Chain.start([stream_of(documents, V)], alpha, 0.02, weights, SEED, None, 0.9, **options)
    z = naive.initialise(documents, None, 0.9, K, SEED)
    nzw = naive.count(documents, z, weights, V, K)[0]
    assert np.count_nonzero(nzw, axis=1).max() > 32
    for number in range(1, 8):
        chain.sweep(number)
        naive.sparse_sweep(documents, z, weights, alpha, 0.02, SEED, number, nzw)
        np.testing.assert_array_equal(chain.z[0], np.concatenate(z))
    assert np.count_nonzero(nzw, axis=1).min() < 32


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_draws_that_nothing_can_move_are_those_of_the_sequential_chain(instructions):
    """With thousands of tokens a topic few draws are made again; those that are not must be right too."""
    only_here(instructions)
    rng = np.random.default_rng(8)
    V, K = 40, 5
    phi, theta = rng.dirichlet(np.full(V, 0.1), K), rng.dirichlet(np.full(K, 0.2), 120)
    documents = [list(rng.choice(V, rng.integers(20, 150), p=t @ phi)) for t in theta]
    alpha, weights = np.full(K, 0.1), np.ones(V)
    chain = Chain.start([stream_of(documents, V)], alpha, 0.05, weights, SEED, None, 0.9, instructions=instructions)
    z = naive.initialise(documents, None, 0.9, K, SEED)
    nzw = naive.count(documents, z, weights, V, K)[0]
    for number in range(1, 6):
        chain.sweep(number)
        naive.sweep(documents, z, weights, alpha, 0.05, SEED, number, nzw, width=8, exact=True)
        np.testing.assert_array_equal(chain.z[0], np.concatenate(z))


def test_generator_is_splitmix64():
    # the reference outputs for seed 1234567 (Vigna's splitmix64.c)
    outputs = [naive.mix((1234567 + naive.GAMMA * i) & naive.MASK) for i in range(1, 4)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_read_only_memory_map(tmp_path):
    documents = corpus(np.random.default_rng(4), [30, 20], 8)
    plain = stream_of(documents, 8)
    np.save(tmp_path / "words.npy", plain.words)
    mapped = type(plain)(np.load(tmp_path / "words.npy", mmap_mode="r"), plain.offsets, 8)
    assert not mapped.words.flags.writeable
    chains = [Chain.start([s], np.full(3, 0.1), 0.1, np.ones(8), SEED, None, 0.9) for s in (plain, mapped)]
    for chain in chains:
        chain.sweep(1)
    np.testing.assert_array_equal(chains[0].z[0], chains[1].z[0])


@pytest.mark.parametrize("n_walks", [1, 3, 60])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_counts_keep_summing_to_the_tokens(algorithm, n_walks):
    rng = np.random.default_rng(5)
    weights = np.round(rng.uniform(0.1, 5, 30) * 64) / 64
    documents = corpus(rng, rng.integers(0, 60, 50), 30)
    stream = stream_of(documents, 30)
    options = {"algorithm": algorithm, "n_walks": n_walks, "n_threads": 2}
    chain = Chain.start([stream], np.full(6, 0.2), 0.1, weights, SEED, None, 0.9, **options)
    per_word = np.bincount(stream.words, minlength=30) * weights
    for number in range(1, 20):
        chain.sweep(number)
        np.testing.assert_array_equal(chain.word_topics().sum(axis=1), per_word)
        np.testing.assert_array_equal(chain.nzw.sum(axis=0), chain.nz)
        assert chain.nzw.min() == 0
        swept = chain.nzw.copy()
        chain.count()
        np.testing.assert_array_equal(chain.nzw, swept)


@pytest.mark.parametrize("algorithm", ["exact", "sparse"])
@pytest.mark.parametrize("alpha", [np.array([0.5, 0.5]), np.array([0.3, 1.2])])
def test_chain_samples_the_exact_posterior(alpha, algorithm):
    documents = [[0, 1, 0], [1, 2], [2, 0]]
    states, p = naive.posterior(documents, alpha, 0.4, 3)
    chain = Chain.start([stream_of(documents, 3)], alpha, 0.4, np.ones(3), SEED, None, 0.9, algorithm=algorithm)
    seen = np.zeros(len(states))
    thin, n = 8, 12_000
    for number in range(1, thin * n + 1):
        chain.sweep(number)
        if number % thin == 0:
            seen[int("".join(map(str, chain.z[0])), 2)] += 1
    assert chisquare(seen, p * n).pvalue > 1e-3
    # and the test can tell: the same counts are far from the posterior of another eta
    _, other = naive.posterior(documents, alpha, 0.6, 3)
    assert chisquare(seen, other * n).pvalue < 1e-6


@pytest.mark.skipif(not _gibbs.DEBUG, reason="not built with FASTVBOW_DEBUG=1; make debug does")
def test_the_debug_build_notices_counts_that_do_not_fit():
    chain = Chain.start([stream_of([[0, 1], [1]], 2)], np.full(2, 0.1), 0.1, np.ones(2), SEED, None, 0.9)
    chain.sweep(1)
    chain.nzw[0, 0] += 1
    with pytest.raises(RuntimeError, match="do not agree"):
        chain.sweep(2)
