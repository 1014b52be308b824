"""Labelled photographs, nouns and captions in one space (ConSE), by what the data folder and WordNet have."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fastvbow.features.cnn import open_session
from fastvbow.features.models import find_model
from fastvbow.features.tensors import input_maker
from fastvbow.images.decode import decode
from fastvbow.semantic.banks.captions import read_captions
from fastvbow.semantic.banks.encoder import TextEncoder, describe_encoder
from fastvbow.semantic.banks.nouns import SIC_PROMPTS, nouns_of_wordnet
from fastvbow.semantic.banks.store import embed_texts
from fastvbow.semantic.banks.wordnet import read_wordnet
from fastvbow.semantic.conse import centred, conse

__all__ = ["ConseSpace", "Photographs"]

SETS = {"sun8": "sun8", "scene15": "scene15", "corel1k": "corel1k/dataset"}


@dataclass
class Photographs:
    """A labelled set."""

    name: str
    labels: np.ndarray
    conse: np.ndarray  # (n, 384)
    pooled: np.ndarray  # (n, 1280), at unit length

    @property
    def n_classes(self) -> int:
        return len(np.unique(self.labels))


class ConseSpace:
    """The space; what takes long is kept in the scratch folder."""

    def __init__(self, data: Path, wordnet: Path, scratch: Path) -> None:
        self.data, self.scratch = data, scratch
        self.wordnet = read_wordnet(wordnet)
        scratch.mkdir(parents=True, exist_ok=True)

    @cached_property
    def encoder(self) -> TextEncoder:
        model, tokenizer = (self.data / "bge_small_en" / name for name in ("model.onnx", "tokenizer.json"))
        session = open_session(model, "cpu")
        return TextEncoder(describe_encoder(session, model, tokenizer, pooling="cls"), session, tokenizer)

    def texts(self, texts: Sequence[str], prompts: Sequence[str] = ("{}",)) -> np.ndarray:
        """Centred embeddings."""
        return centred(embed_texts(self.encoder, texts, self.scratch / "texts", prompts=prompts))

    @cached_property
    def class_texts(self) -> np.ndarray:
        """The 1000 classes of ImageNet, whose names in their order timm has."""
        timm = importlib.util.find_spec("timm")  # not imported: it would want PyTorch
        if timm is None or timm.origin is None:
            raise SystemExit("the order of ImageNet's classes is read from timm: pip install --no-deps timm")
        listed = Path(timm.origin).parent / "data" / "_info" / "imagenet_synsets.txt"
        names = [self.wordnet.by_name[name].words[0] for name in listed.read_text().split()]
        return self.texts(names, ("a photo of {}",))

    @cached_property
    def nouns(self) -> np.ndarray:
        """SIC's bank: the first word of every noun synset."""
        return self.texts(nouns_of_wordnet(self.wordnet).words, SIC_PROMPTS)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        return read_captions(self.data / "flickr8k_captions" / "Flickr8k.token.txt")

    @cached_property
    def caption_rows(self) -> np.ndarray:
        return self.texts(self.captions)

    def photographs(self, name: str) -> Photographs:
        """A set, with the outputs of EfficientNet-Lite0 in floating point."""
        kept = self.scratch / f"{name}.npz"
        if not kept.exists():
            self._extract(self.data / SETS[name], kept)
        found = np.load(kept)
        pooled = found["pooled"] / np.linalg.norm(found["pooled"], axis=1, keepdims=True)
        return Photographs(name, found["labels"], conse(found["logits"], self.class_texts), pooled)

    def _extract(self, folder: Path, kept: Path) -> None:
        card = find_model("efficientnet_lite0")
        session, make = open_session(card.path, "cpu"), input_maker(card)
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        logits, pooled = [], []
        for path in files:
            found = session.run(["logits", "pooled"], {card.input: make(decode(path.read_bytes()))})
            logits.append(found[0][0])
            pooled.append(found[1][0])
        labels = [path.parent.name for path in files]
        np.savez(kept, logits=np.array(logits), pooled=np.array(pooled), labels=np.array(labels))
