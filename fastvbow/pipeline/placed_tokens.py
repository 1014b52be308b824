"""The tokens of a project's photographs, each with its place: words read together with the keypoints that made them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["PlacedTokens", "TokenRun"]


@dataclass(frozen=True)
class TokenRun:
    """The tokens of one modality in one photograph.

    Attributes
    ----------
    modality : str
        ``sift``, ``conv``, ``joint`` or ``pooled``.
    words : ndarray of shape (n,), uint16 or uint32
        Numbered through the whole vocabulary.
    keypoints : ndarray of shape (n, 4), float32, or None
        x, y and size in pixels of the photograph's full size, angle in degrees (-1: none). None: the tokens stand for
        the photograph as a whole.
    grid : (int, int) or None
        Rows and columns of the CNN's map, row by row; None: the tokens are no cells of a map.
    """

    modality: str
    words: NDArray[Any]
    keypoints: NDArray[np.float32] | None = None
    grid: tuple[int, int] | None = None


class PlacedTokens:
    """The tokens of a project, a photograph at a time, from memory maps. Threads may share it.

    Parameters
    ----------
    project : ProjectFolder
        Its features have to be encoded.

    Attributes
    ----------
    modalities : list of str
        Those of the vocabulary, in its order.
    read : ndarray of shape (n_images,), bool
        Which photographs of the image table have been read.
    n_tokens : ndarray of shape (n_images,), int64
        How many tokens each has.
    widths, heights : ndarray of shape (n_images,), int32
        Their full size as they are seen, in pixels.

    Raises
    ------
    StageMissingError, StoreCorruptError
    """

    def __init__(self, project: ProjectFolder) -> None:
        self.modalities = list(Vocabulary.load(project.vocabulary).codebooks)
        self._shards, self._tokens = open_shards(project), open_tokens(project)
        self._offsets = [tokens.offsets for tokens in self._tokens]
        self._places: dict[tuple[int, str], tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        self._starts = [0, *accumulate(shard.card.n_images for shard in self._shards)]
        self.read = np.concatenate([shard.read for shard in self._shards])
        self.n_tokens = np.concatenate([np.diff(offsets) for offsets in self._offsets])
        columns = (np.concatenate([np.asarray(s.images[name]) for s in self._shards]) for name in ("width", "height"))
        self.widths, self.heights = columns

    def of(self, index: int) -> list[TokenRun]:
        """A photograph's tokens, a run for each modality that it has any of.

        Parameters
        ----------
        index : int
            Its row in the image table.

        Raises
        ------
        StoreCorruptError
            Tokens and features do not belong together.
        """
        number = bisect_right(self._starts, index) - 1
        shard, tokens, row = self._shards[number], self._tokens[number], index - self._starts[number]
        runs: list[TokenRun] = []
        at = self._offsets[number][row]
        for name, count in zip(self.modalities, tokens.counts[row].tolist(), strict=True):
            words = tokens.words[at : at + count]
            at += count
            if name == "pooled" or not count:
                runs += [TokenRun(name, words)] if count else []
                continue
            feature = "sift" if name == "joint" else name
            places, offsets = self._places_of(number, feature)
            keypoints = places[offsets[row] : offsets[row + 1]]
            columns = int(np.count_nonzero(keypoints[:, 1] == keypoints[0, 1])) if len(keypoints) else 0
            if len(keypoints) != count or (feature == "conv" and count % columns):
                raise StoreCorruptError(
                    f"{shard.folder}: an image has {count} words of {name} and {len(keypoints)} places: run 'fastvbow "
                    "encode' again"
                )
            runs.append(TokenRun(name, words, keypoints, (count // columns, columns) if feature == "conv" else None))
        return runs

    def _places_of(self, number: int, feature: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Keypoints and offsets of a shard, opened once; two threads may both open them, which does no harm."""
        key, shard = (number, feature), self._shards[number]
        if key not in self._places:
            self._places[key] = shard.keypoints(feature), shard.offsets(feature)
        return self._places[key]
