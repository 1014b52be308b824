"""What a person is told of how a project's clusters were made."""

from __future__ import annotations

from fastvbow.project import StageCard

__all__ = ["described"]

_METHODS = {
    "kmeans": "K-Means",
    "tac": "TAC (text-aided clustering)",
    "tac-trained": "TAC with trained heads (text-aided clustering)",
    "cae": "CAE (hierarchical semantic alignment)",
    "sic": "SIC (semantic-enhanced clustering)",
    "icbpl": "ICBPL (latent distribution optimisation)",
}


def described(card: StageCard) -> str:
    """The method, the vectors and the texts, for a sentence.

    Parameters
    ----------
    card : StageCard
        Of ``cluster``.
    """
    known = card.parameters
    space = str(known["space"]).partition(" ")[0]
    vectors = "their own vectors" if " " not in str(known["space"]) else f"their vectors in the space {space}"
    texts = " and ".join(
        f"the {what} of {str(known[what]).rpartition(' ')[0]}" for what in ("nouns", "captions") if what in known
    )
    return f"{_METHODS.get(known['method'], known['method'])} of {vectors}" + (f", with {texts}" if texts else "")
