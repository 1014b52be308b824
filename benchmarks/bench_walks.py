"""Perplexity and accuracy for several walks that put their counts together every so many sweeps.

    python benchmarks/bench_walks.py PROJECT... [--seeds 3]

Projects are those of labelled folders (``fastvbow run SOURCE -o PROJECT --topics K --labels parent``). The perplexity
is that of document completion of the trained documents, accuracy that of the likeliest topics matched one to one with
the labels. Looks at the likelihood are 10 sweeps apart, so that they put no counts together that are not to be.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from fastvbow.config import TopicsConfig
from fastvbow.executors import one_thread_each
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import load_grouping
from fastvbow.pipeline.topic_modelling import start_embedding, token_streams
from fastvbow.project import ProjectFolder
from fastvbow.topics import GibbsLDA
from fastvbow.topics.initial import initial_groups
from fastvbow.words.vocabulary import Vocabulary

WALKS, EVERY = (1, 2, 4, 16, 64), (1, 2, 5, 10)


def accuracy(groups: np.ndarray, classes: np.ndarray) -> float:
    table = np.zeros((groups.max() + 1, classes.max() + 1))
    np.add.at(table, (groups, classes), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(classes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    for seed in range(given.seeds):
        for path in given.projects:
            project = ProjectFolder.open(path)
            vocabulary, tokens = Vocabulary.load(project.vocabulary), open_tokens(project)
            streams = token_streams(project, tokens, vocabulary.n_words)
            n_topics = int(project.require("topics").outputs["topics"])
            grouping = load_grouping(project, "parent")
            classes = np.unique(np.array(grouping.labels), return_inverse=True)[1]
            with one_thread_each():
                start = initial_groups(start_embedding(open_shards(project), tokens, vocabulary), n_topics, seed=seed)
                for n_walks in WALKS:
                    for every in EVERY if n_walks > 1 else (1,):
                        model = GibbsLDA(
                            n_topics,
                            word_weights=vocabulary.per_word(TopicsConfig().weights),
                            thin=10,
                            n_walks=n_walks,
                            merge_every=every,
                            random_state=seed,
                        )
                        model.fit(streams, doc_groups=start)
                        found = accuracy(model.transform(streams).argmax(axis=1), classes)
                        said = f"perplexity {model.perplexity(streams):.3f} accuracy {found:.4f}"
                        likelihood = f"log p {model.log_likelihood_[-1]:.5f}"
                        print(f"{path.name} seed {seed} walks {n_walks} every {every}: {said} {likelihood}", flush=True)


if __name__ == "__main__":
    main()
