"""Texts through an ONNX text encoder: CLIP's, or a sentence encoder's.

Which tensors hold what is read from the model: `describe_encoder` finds the inputs by their names and types, takes an
output that is one vector a text where there is such, and otherwise asks how the tokens' vectors become one. The session
is handed in by the caller, who knows on which device it runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import MissingExtraError, StoreCorruptError, UsageError

__all__ = ["MAX_TOKENS", "POOLINGS", "TextEncoder", "TextEncoderCard", "describe_encoder"]

POOLINGS = ("none", "cls", "mean", "eot")
"""How the tokens' vectors become one: the output has one already, the first token's, their mean, the last token's."""
MAX_TOKENS = 77
"""CLIP's, where neither model nor tokenizer says how many there may be; longer texts are cut."""
BATCH = 64

_IDS = ("input_ids", "text", "tokens", "ids")
_MASK = ("attention_mask", "mask")
_TYPES = ("token_type_ids",)
_VECTORS = ("text_embeds", "text_features", "text_embedding", "sentence_embedding")
_TOKENS = ("last_hidden_state", "token_embeddings")
_TYPE_NAMES = {"tensor(int64)": "int64", "tensor(int32)": "int32"}


@dataclass(frozen=True)
class TextEncoderCard:
    """What a text encoder is, and how it wants its input.

    Attributes
    ----------
    model_sha256, tokenizer_sha256 : str
        Hex, of the two files.
    ids : str
        The input of token numbers.
    mask, types : str or None
        The inputs that tell tokens from padding, and first from second sentences, where there are such.
    dtype : {"int64", "int32"}
        Of all inputs.
    output : str
    pooling : {"none", "cls", "mean", "eot"}
        See `POOLINGS`.
    tokens : int
        The most tokens of a text.
    fixed : bool
        Every text is padded to so many tokens.
    batch : int or None
        The number of texts that the model always takes at once, if it takes no other.
    pad : int
        The number of the padding token.
    """

    model_sha256: str
    tokenizer_sha256: str
    ids: str
    mask: str | None
    types: str | None
    dtype: str
    output: str
    pooling: str
    tokens: int
    fixed: bool
    batch: int | None
    pad: int


def describe_encoder(
    session: Any,
    model: Path,
    tokenizer: Path,
    *,
    output: str | None = None,
    pooling: str | None = None,
    tokens: int | None = None,
    padded: bool = False,
    pad: int | None = None,
) -> TextEncoderCard:
    """Find out how a text encoder is used.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of the model.
    model, tokenizer : Path
        The ``.onnx`` file, and the ``tokenizer.json`` of the ``tokenizers`` package.
    output : str, optional
        By default one that is named like a vector of a text (text_embeds, sentence_embedding, ...), else the only one,
        else the tokens' (last_hidden_state, token_embeddings), for which pooling has to be given.
        ``pooler_output`` is never taken by itself: of SigLIP it is the embedding, of CLIP and BERT it is not.
    pooling : {"none", "cls", "mean", "eot"}, optional
        By default "none" for outputs of shape (texts, width). Others do not say, and it has to be given: BGE is "cls",
        MiniLM and E5 are "mean", CLIP is "eot".
    tokens : int, optional
        The most tokens of a text; by default what the model's shape says, else the tokenizer, else 77.
    padded : bool, default=False
        Every text is padded to so many tokens, as SigLIP was trained. By default it is so where the model's shape says
        it, or the model takes no mask and the tokenizer pads to a length of its own.
    pad : int, optional
        The number of the padding token; by default what the tokenizer says, else 0.

    Raises
    ------
    MissingExtraError
        The ``tokenizers`` package is not installed.
    UsageError
        The tokenizer cannot be read, the model has other inputs than these, or pooling or output have to be given.
    """
    inputs = {found.name: found for found in session.get_inputs()}
    outputs = {found.name: found for found in session.get_outputs()}
    ids, mask, types = (_one_of(names, inputs) for names in (_IDS, _MASK, _TYPES))
    unknown = set(inputs) - {ids, mask, types}
    kinds = {_TYPE_NAMES.get(found.type) for found in inputs.values()}
    if ids is None or unknown or len(kinds) != 1 or None in kinds:
        shown = ", ".join(f"{found.name} ({found.type})" for found in inputs.values())
        raise UsageError(
            f"{model} has the inputs {shown}; a text encoder has {_IDS[0]}, and maybe {_MASK[0]} and {_TYPES[0]}, of "
            "int64 or int32: export the text part alone"
        )
    if output is None:
        output = _one_of(_VECTORS, outputs) or (next(iter(outputs)) if len(outputs) == 1 else None)
        output = output or _one_of(_TOKENS, outputs)
    if output is None or output not in outputs:
        raise UsageError(f"{model} has the outputs {', '.join(outputs)}: say which one holds the texts' vectors")
    rank = len(outputs[output].shape) or 2  # no shape: the model leaves all of it open
    if pooling is None and rank == 2:
        pooling = "none"
    if pooling is None or pooling not in POOLINGS or rank != (2 if pooling == "none" else 3):
        raise UsageError(
            f"the output {output} of {model} has {rank} axes: say by pooling how it becomes one vector a text "
            f"(none for 2 axes, {', '.join(POOLINGS[1:])} for 3), not {pooling}"
        )
    shape = [axis if isinstance(axis, int) else None for axis in inputs[ids].shape]
    if len(shape) != 2:
        raise UsageError(f"the input {ids} of {model} has {len(shape)} axes, not 2 (texts, tokens): export it anew")
    read = _tokenizer(tokenizer)
    padding = read.padding or {}
    own = None if mask else padding.get("length")  # with a mask, what is padded makes no difference
    limit = shape[1] or tokens or own or (read.truncation or {}).get("max_length") or MAX_TOKENS
    return TextEncoderCard(
        _sha256(model),
        _sha256(tokenizer),
        ids,
        mask,
        types,
        str(kinds.pop()),
        output,
        pooling,
        int(limit),
        shape[1] is not None or padded or (own is not None and tokens in (None, own)),
        shape[0],
        int(padding.get("pad_id", 0)) if pad is None else pad,
    )


class TextEncoder:
    """Vectors of texts.

    Parameters
    ----------
    card : TextEncoderCard
    session : onnxruntime.InferenceSession
        Of the model that the card tells of; ONNX Runtime's may be used from several threads.
    tokenizer : Path

    Raises
    ------
    MissingExtraError
        The ``tokenizers`` package is not installed.
    UsageError
        The tokenizer cannot be read.
    StoreCorruptError
        The tokenizer is not the card's.
    """

    def __init__(self, card: TextEncoderCard, session: Any, tokenizer: Path) -> None:
        self.card = card
        self._session = session
        self._tokenizer = _tokenizer(tokenizer)
        if _sha256(tokenizer) != card.tokenizer_sha256:
            raise StoreCorruptError(f"{tokenizer} is not the tokenizer that the encoder's card names: add it again")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(card.tokens)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of texts, as the model gives them: ndarray of shape (n, width), float32.

        Texts of as many tokens go through the model together, so there is no padding unless the model wants it. An
        encoder in 8 bits may scale its numbers by all of a batch: what it gives then depends on the other texts (of
        bge-small in 8 bits the same text in two batches had a cosine of .993 at the least).

        Parameters
        ----------
        texts : sequence of str

        Raises
        ------
        UsageError
            A text has no tokens, or the model gives NaN or infinity for one.
        """
        numbers = [found.ids for found in self._tokenizer.encode_batch(list(texts))]
        for text, ids in zip(texts, numbers, strict=True):
            if not ids or not text.strip():
                raise UsageError(f"the text {text!r} has no tokens: leave it out")
        out: NDArray[np.float32] | None = None
        for batch in self._batches(numbers):
            found = self._run([numbers[i] for i in batch])
            if not np.isfinite(found).all():
                bad = batch[int((~np.isfinite(found).all(axis=1)).argmax())]
                raise UsageError(f"the encoder gives NaN or infinity for the text {texts[bad]!r}: export it anew")
            if out is None:
                out = np.empty((len(texts), found.shape[1]), np.float32)
            out[batch] = found
        return np.empty((0, 0), np.float32) if out is None else out

    def _batches(self, numbers: list[list[int]]) -> Iterator[list[int]]:
        """Indexes of texts of the same length, in a fixed order."""
        order = sorted(range(len(numbers)), key=lambda i: len(numbers[i]))
        size = self.card.batch or BATCH
        start = 0
        while start < len(order):
            stop = start + 1
            while (
                stop < len(order)
                and stop - start < size
                and (self.card.fixed or len(numbers[order[stop]]) == len(numbers[order[start]]))
            ):
                stop += 1
            yield order[start:stop]
            start = stop

    def _run(self, numbers: list[list[int]]) -> NDArray[np.float32]:
        card = self.card
        rows = card.batch or len(numbers)
        longest = card.tokens if card.fixed else len(numbers[0])
        ids = np.full((rows, longest), card.pad, card.dtype)
        mask = np.zeros((rows, longest), card.dtype)
        for row, own in enumerate(numbers):
            ids[row, : len(own)] = own
            mask[row, : len(own)] = 1
        ids[len(numbers) :], mask[len(numbers) :] = ids[0], mask[0]  # a fixed batch is filled up
        feeds = {card.ids: ids}
        if card.mask:
            feeds[card.mask] = mask
        if card.types:
            feeds[card.types] = np.zeros_like(ids)
        found = np.asarray(self._session.run([card.output], feeds)[0], np.float32)[: len(numbers)]
        return _pooled(found, mask[: len(numbers)], card.pooling)


def _pooled(found: NDArray[np.float32], mask: NDArray[Any], pooling: str) -> NDArray[np.float32]:
    if pooling == "cls":
        return found[:, 0]
    if pooling == "eot":
        return found[np.arange(len(found)), mask.sum(axis=1) - 1]
    if pooling == "mean":
        weights = mask.astype(np.float32)
        return np.asarray(np.einsum("ntd,nt->nd", found, weights) / weights.sum(axis=1, keepdims=True), np.float32)
    return found


def _one_of(names: Sequence[str], there: Any) -> str | None:
    return next((name for name in names if name in there), None)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtraError("reading texts", "tokenizers", "semantic") from None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises bare Exceptions
        raise UsageError(f"cannot read the tokenizer {path}: {error}: a tokenizer.json is needed") from None
