"""What a person is told of how a project's clusters were made."""

from __future__ import annotations

from fastvbow.project import StageCard

__all__ = ["described", "parameters_told"]

_METHODS = {
    "kmeans": "K-Means",
    "tac": "TAC (text-aided clustering)",
    "tac-trained": "TAC with trained heads (text-aided clustering)",
    "cae": "CAE (hierarchical semantic alignment)",
    "sic": "SIC (semantic-enhanced clustering)",
    "icbpl": "ICBPL (latent distribution optimisation)",
}
_NAMES = {"clusters": "number of clusters", "images": "photographs’ vectors"}
_VECTORS = {"encode": "made by the space’s image encoder", "project": "the project’s own embeddings"}
_OWN = "the photographs’ own vectors"


def described(card: StageCard) -> str:
    """The method, the vectors and the texts, as a sentence ends: ``K-Means from the photographs’ own vectors``.

    Parameters
    ----------
    card : StageCard
        Of ``cluster``.
    """
    known = card.parameters
    space, _, fingerprint = str(known["space"]).partition(" ")
    vectors = f"the photographs’ vectors in the space {space}" if fingerprint else _OWN
    texts = " and ".join(f"the {what} of {_name(known[what])}" for what in ("nouns", "captions") if what in known)
    return f"{_METHODS.get(known['method'], known['method'])} from {vectors}" + (f", with {texts}" if texts else "")


def parameters_told(card: StageCard) -> dict[str, str]:
    """The parameters as a person knows them: without fingerprints, and only the options that were set.

    Parameters
    ----------
    card : StageCard
        Of ``cluster``.

    Returns
    -------
    dict of str to str
    """
    told: dict[str, str] = {}
    for name, value in card.parameters.items():
        if name == "options":
            told |= {f"--set {option}": str(chosen) for option, chosen in value.items()}
        elif name == "space":
            told[name] = _name(value) if " " in str(value) else f"none: {_OWN}"
        elif name in {"nouns", "captions"}:
            told[name] = _name(value)
        elif name == "images":
            told[_NAMES[name]] = _VECTORS.get(str(value), str(value))
        else:
            told[_NAMES.get(name, name)] = str(value)
    return told


def _name(known: object) -> str:
    """Of a space or a bank of texts, without the fingerprint behind it."""
    return str(known).rpartition(" ")[0]
