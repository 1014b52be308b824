"""What a person is told of how clusters were made: one sentence, and the parameters."""

import pytest

from fastvbow.pipeline.clusters_told import described, parameters_told
from fastvbow.project import StageCard
from fastvbow.semantic.methods import METHODS

SPACE = {"space": "clip 0123456789abcdef", "images": "encode"}
NOUNS = {"nouns": "my nouns.txt 0123456789abcdef"}
CAPTIONS = {"captions": "captions.txt 0123456789abcdef"}


def card(method: str, **more: object) -> StageCard:
    known = {"method": method, "clusters": 10, "seed": 0, "options": {}, "space": "own"}
    return StageCard("cluster", known | more, {}, {}, 1.0)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (card("kmeans"), "K-Means from the photographs’ own vectors"),
        (card("icbpl"), "ICBPL (latent distribution optimisation) from the photographs’ own vectors"),
        (card("kmeans", **SPACE), "K-Means from the photographs’ vectors in the space clip"),
        (
            card("tac", **SPACE, **NOUNS),
            "TAC (text-aided clustering) from the photographs’ vectors in the space clip, with the nouns of "
            "my nouns.txt",
        ),
        (
            card("cae", **SPACE, **NOUNS, **CAPTIONS),
            "CAE (hierarchical semantic alignment) from the photographs’ vectors in the space clip, with the nouns of "
            "my nouns.txt and the captions of captions.txt",
        ),
    ],
)
def test_the_sentence(made, told):
    assert described(made) == told


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_name(method):
    assert not described(card(method)).startswith(f"{method} "), "as a person calls it"


def test_the_parameters():
    told = parameters_told(card("cae", **SPACE, **NOUNS, **CAPTIONS, options={"epsilon": 0.1, "fusion": "mean"}))
    assert told == {
        "method": "cae",
        "number of clusters": "10",
        "seed": "0",
        "--set epsilon": "0.1",
        "--set fusion": "mean",
        "space": "clip",
        "photographs’ vectors": "made by the space’s image encoder",
        "nouns": "my nouns.txt",
        "captions": "captions.txt",
    }
    assert parameters_told(card("kmeans")) == {
        "method": "kmeans",
        "number of clusters": "10",
        "seed": "0",
        "space": "none: the photographs’ own vectors",
    }
