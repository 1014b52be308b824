"""Whether new photographs are like those that a model was made from.

How well a photograph fits is a question about held-out photographs: those that words and topics were learned from fit
too well. (On the SUN, Scene-15 and Corel-1k sets 30 to 71 % of photographs of the same kind, held out, lay farther from
the principal components than 95 % of those these were fitted to; 9 to 25 % had a higher entropy of their mixture.)
So a score is taken here for which leaving a photograph out is exact and costs nothing. Photographs are unit vectors in
some *views* (a CNN's vector; its map, on average; frequencies of SIFT words), and the score of a vector x is its ridge
leverage (Cohen, Musco & Musco 2017, definition 1), how badly the reference's vectors X span its direction:

    h(x) = x' (X'X + lambda I)^-1 x,    lambda = RIDGE trace(X'X) / (d + 1)

where each vector, of d numbers, has a 1 beside them: else x and -x would be alike.

A vector of the reference itself has h / (1 - h), which is its score against all others (Sherman & Morrison 1950). A
photograph's p-value is the share of the reference's photographs that score as high (a conformal p-value: Vovk,
Gammerman & Shafer 2005, section 2.2); of several views the least counts, ranked once more among the least ones of the
reference.

How many of n new photographs have p <= LEVEL follows, where they are drawn like the m photographs of the reference, a
beta-binomial law with parameters n, k and m + 1 - k, k = floor(LEVEL (m + 1)): the reference is no larger than it is.
Photographs of one occasion resemble one another, and are no such draw. `DriftReport.drifted` therefore wants both: so
many that chance has them with p < ALARM, and at least TIMES as many as expected.

Figures (``benchmarks/README.md``, *drift*): of photographs of the same kind 4 to 6 % are misfits, and of batches of 1
to 300 of them at most one in a thousand alarms. Of another set 47 to 82 % are misfits; of classes left out 68 % (SUN),
90 % (Corel-1k) and 22 % (Scene-15, whose classes are alike); of blurred ones 50 to 77 %, noisy ones 36 to 76 %, dark
ones 93 to 97 %, and 4 to 37 % of grey ones, which the CNN sees nearly as it sees coloured ones. Of batches of 100 in
which 30 % come from another set 80 to 100 % alarm, with 10 % 4 to 33 %. SIFT words alone tell blur and darkness, but
hardly what a photograph shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from fastvbow.errors import UsageError

__all__ = ["ALARM", "LEAST_IMAGES", "LEVEL", "TIMES", "DriftReference", "DriftReport"]

RIDGE = 0.1
LEVEL = 0.05
"""A photograph with this p-value or less is a misfit."""
ALARM = 1e-3
TIMES = 2.0
_LEAST_CHANCE = 1e-9  # as near as the sums come
LEAST_IMAGES = 20
"""Fewer photographs say nothing of what is rare: none could have a p-value of LEVEL."""


@dataclass(frozen=True, eq=False)
class DriftReport:
    """New photographs held against the reference.

    Attributes
    ----------
    p_values : ndarray of shape (n,), float64
        Of each photograph: the share of the reference that is as unlike the rest of it.
    n_misfits : int
        Photographs with a p-value of at most `LEVEL`.
    expected : float
        How many there would be if they were drawn like the reference.
    p_value : float
        The chance of so many then.
    by_view : dict of str to int
        How many are misfits by each view alone.
    """

    p_values: NDArray[np.float64]
    n_misfits: int
    expected: float
    p_value: float
    by_view: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.p_values)

    @property
    def drifted(self) -> bool:
        """Whether there are both significantly and far too many misfits."""
        return self.p_value < ALARM and self.n_misfits >= TIMES * self.expected

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        share = f"{100 * (1 - LEVEL):g} %"
        chance = f"= {self.p_value:.1g}" if self.p_value > _LEAST_CHANCE else f"< {_LEAST_CHANCE:g}"
        found = (
            f"{self.n_misfits} of {len(self)} new photographs are less like the project's own than {share} of these "
            f"are like one another ({self.expected:.1f} expected, p {chance})"
        )
        if not self.drifted:
            return found
        most = max(self.by_view, key=self.by_view.__getitem__)
        return (
            f"{found}, {self.by_view[most]} by their {most}: its words and topics were not learned for such "
            "photographs; look at their groups before you trust them, and train anew on old and new ones together"
        )


@dataclass(frozen=True, eq=False)
class DriftReference:
    """What new photographs are held against.

    Attributes
    ----------
    inverses : dict of str to ndarray of shape (d + 1, d + 1), float32
        (X'X + lambda I)^-1 of each view.
    scores : dict of str to ndarray of shape (n,), float64
        Those of the reference in each view, each against all others, ascending.
    least : ndarray of shape (n,), float64
        The least tail of each photograph of the reference over its views (see `tails`), ascending.
    """

    inverses: Mapping[str, NDArray[np.float32]]
    scores: Mapping[str, NDArray[np.float64]]
    least: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.least)

    @classmethod
    def fit(cls, views: Mapping[str, NDArray[np.float32]]) -> DriftReference:
        """Learn what is usual.

        Parameters
        ----------
        views : dict of str to ndarray of shape (n, d), float32
            Unit vectors; a zero row is a photograph that has no such vector, which is as odd as can be.

        Raises
        ------
        UsageError
            There is no view, they have different numbers of photographs, or fewer than `LEAST_IMAGES`.
        """
        n_images = {len(rows) for rows in views.values()}
        if len(n_images) != 1 or min(n_images) < LEAST_IMAGES:
            raise UsageError(
                f"what is usual is learned from views of {LEAST_IMAGES} photographs or more, the same ones in each, "
                f"not from {', '.join(f'{len(rows)} ({name})' for name, rows in views.items()) or 'none'}"
            )
        inverses, scores, tails = {}, {}, []
        for name, rows in views.items():
            X = _with_one(rows).astype(np.float64)
            gram = X.T @ X
            gram[np.diag_indices_from(gram)] += RIDGE * gram.trace() / len(gram)
            inverse = np.linalg.inv(gram)
            leverage = np.einsum("nd,nd->n", X @ inverse, X)
            found = leverage / (1 - leverage)  # it is below 1, thanks to the ridge
            found[~rows.any(axis=1)] = np.inf
            inverses[name], scores[name] = inverse.astype(np.float32), np.sort(found)
            tails.append(_tail(scores[name], found))
        return cls(inverses, scores, np.sort(np.min(tails, axis=0)))

    def tails(self, views: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        """The share of the reference with as high a score, (n, n_views); a photograph's do not depend on the others.

        Parameters
        ----------
        views : dict of str to ndarray of shape (n, d), float32
            Those that the reference was learned from.
        """
        columns = []
        for name, inverse in self.inverses.items():
            found = np.array([row @ inverse @ row for row in _with_one(views[name])], np.float64)
            found[~views[name].any(axis=1)] = np.inf
            columns.append(_tail(self.scores[name], found))
        return np.column_stack(columns)

    def report(self, tails: NDArray[np.float64]) -> DriftReport:
        """Judge new photographs together.

        Parameters
        ----------
        tails : ndarray of shape (n, n_views), float64
            See `tails`.
        """
        n_reference, n = len(self), len(tails)
        least = tails.min(axis=1)
        p_values = (1 + np.searchsorted(self.least, least, side="right")) / (1 + n_reference)
        n_misfits = int((p_values <= LEVEL).sum())
        k = int(LEVEL * (n_reference + 1))
        chance = float(betabinom.sf(n_misfits - 1, n, k, n_reference + 1 - k)) if n_misfits else 1.0
        by_view = (tails + 1 / (1 + n_reference) <= LEVEL).sum(axis=0).tolist()
        return DriftReport(
            p_values,
            n_misfits,
            n * k / (n_reference + 1),
            min(1.0, max(0.0, chance)),
            dict(zip(self.inverses, by_view, strict=True)),
        )


def _with_one(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.column_stack((rows, np.ones(len(rows), np.float32)))


def _tail(reference: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of ascending scores that are as high as each of some.

    A photograph of the reference is among them itself, a new one is not. So one that lies between the third and the
    fourth highest has the tail of the third: ahead of it are those with the same tail or less, of which `report` counts
    one more, the new one.
    """
    return (len(reference) - np.searchsorted(reference, found, side="left")) / (1 + len(reference))
