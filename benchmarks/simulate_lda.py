"""LDA of a corpus of planted topics that never is in memory, on a cluster of this machine's processes.

    python benchmarks/simulate_lda.py FOLDER [--shards 1000] [--walks 200] [--sweeps 10] [--merge-every 5]

Shards of 1000 documents of 300 tokens are drawn from 20 topics of 300 words, as tasks: 1000 shards are 10^6 documents
and 3x10^8 tokens. They are then trained through `fastvbow.topics.walks`, from groups of which one document in five is
wrong. Printed are seconds a sweep, the greatest memory of the caller and of each worker (MB, resident), the bytes that
the caller receives and the workers exchange, and the perplexity of document completion beside that of the planted
topics, on one shard. Measured on two processors (AMD EPYC of the third generation, quiet) with 1000 shards and 200
walks: 4.4 to 5.6 s a sweep, .3 MB sent a sweep by both workers, 210 MB at most for the caller and 238 MB for a worker,
1.5 GB of state beside the 600 MB of tokens; perplexity 96.8 after 10 sweeps. 100 shards and 200 walks: perplexity 93.86
and 92.79 after 10 and 40 sweeps with an exchange after each (1.0 s a sweep), 96.78, 92.97 and 92.80 after 10, 40 and
100 with one after every fifth (.5 s); of the planted topics 92.78. FOLDER keeps the shards, and the state of a call
that was ended: the same call goes on.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastvbow.config import TopicsConfig
from fastvbow.places import Place, SharedFolder
from fastvbow.topics import GibbsLDA
from fastvbow.topics.shards import ShardTokens, measure_shards, save_array
from fastvbow.topics.walks import fit_shards

K, V, DOCS, LENGTH, ALPHA = 20, 300, 1000, 300, 0.05


def planted() -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.full(V, 0.1), K)


@dataclass(frozen=True)
class Drawing:
    place: Place
    shard: int


def draw_shard(task: Drawing) -> int:
    """Write the tokens of a shard, and a group for each document."""
    rng = np.random.default_rng([1, task.shard])
    theta = rng.dirichlet(np.full(K, ALPHA), DOCS)
    # cumulated over all rows, so that one search serves all: row r takes r to r + 1
    sums = np.cumsum(theta, axis=1)
    sums[:, -1] = 1
    rows = np.arange(DOCS)
    z = np.searchsorted((sums + rows[:, None]).ravel(), rng.random((DOCS, LENGTH)).ravel() + np.repeat(rows, LENGTH))
    topics = np.minimum(z - np.repeat(rows, LENGTH) * K, K - 1)
    sums = np.cumsum(planted(), axis=1)
    sums[:, -1] = 1
    words = np.searchsorted((sums + np.arange(K)[:, None]).ravel(), rng.random(DOCS * LENGTH) + topics) - topics * V
    groups = np.where(rng.random(DOCS) < 0.2, rng.integers(0, K, DOCS), theta.argmax(axis=1))
    name = f"shard-{task.shard:05d}"
    save_array(task.place, f"tokens/{name}/counts.npy", np.full((DOCS, 1), LENGTH, np.int32))
    save_array(task.place, f"groups/{name}.npy", groups.astype(np.int32))
    save_array(task.place, f"tokens/{name}/words.npy", np.clip(words, 0, V - 1).astype(np.uint16))
    return DOCS * LENGTH


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def transferred(dask_worker) -> int:
    """Bytes that a worker has sent to others and to the caller."""
    return int(dask_worker.transfer_outgoing_bytes_total)


def main() -> None:
    import distributed

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--walks", type=int, default=200)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--merge-every", type=int, default=TopicsConfig().merge_every)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    place = SharedFolder(given.folder.absolute())
    how = {"threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1", "memory_limit": 0}
    with (
        distributed.LocalCluster(n_workers=given.workers, processes=True, **how) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor, begun = client.get_executor(retries=3), time.perf_counter()
        missing = [i for i in range(given.shards) if not (given.folder / f"tokens/shard-{i:05d}/words.npy").exists()]
        drawn = sum(client.gather(client.map(draw_shard, [Drawing(place, i) for i in missing], pure=False)))
        print(f"drawn: {drawn} tokens, {time.perf_counter() - begun:.0f} s", flush=True)

        tokens, begun = ShardTokens(place, given.shards, V), time.perf_counter()
        measured = measure_shards(executor, given.workers, tokens, np.ones(V, np.int32))
        print(f"measured: {measured.tokens.sum()} tokens, {time.perf_counter() - begun:.0f} s", flush=True)
        model = GibbsLDA(
            K,
            doc_topic_prior=ALPHA,
            max_iter=given.sweeps,
            burn_in=given.sweeps - 1,
            thin=10,
            n_walks=given.walks,
            merge_every=given.merge_every,
            random_state=0,
        )
        state, last = f"training/{given.walks}-{given.merge_every}-{given.sweeps}", [time.perf_counter(), 0]
        before = sum(client.run(transferred).values())

        def tell(sweep: int, total: int) -> None:
            seconds = (time.perf_counter() - last[0]) / (sweep - last[1])
            sent = (sum(client.run(transferred).values()) - before) / sweep
            print(f"sweep {sweep}/{total}: {seconds:.1f} s a sweep, {sent / 1e6:.2f} MB sent a sweep", flush=True)
            last[:] = [time.perf_counter(), sweep]

        fit_shards(
            model, tokens, executor, folder=state, groups="groups", jobs=given.workers, measured=measured, callback=tell
        )
        workers = ", ".join(f"{value:.0f}" for value in client.run(peak).values())
        print(f"peak memory: caller {peak():.0f} MB, workers {workers} MB", flush=True)
        size = sum(path.stat().st_size for path in (given.folder / state).rglob("*") if path.is_file())
        print(f"state on disk: {size / 1e6:.0f} MB", flush=True)
        stream = tokens.open(0)
        found, model.topic_word_ = model.perplexity(stream), planted()
        print(
            f"perplexity {found:.3f}, of the planted topics {model.perplexity(stream):.3f}, of chance {V}", flush=True
        )
        shutil.rmtree(given.folder / state)


if __name__ == "__main__":
    main()
