"""The code by which the documentation exports open_clip's and transformers' models, with small networks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

try:
    import open_clip
    import torch
    import transformers
    from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection
except Exception as error:  # a torchvision of another release raises a RuntimeError
    pytest.skip(f"PyTorch, open_clip and transformers are needed: {error}", allow_module_level=True)

pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from small_networks import TEXT_WORDS, tokenizer_file

from fastvbow.pipeline.adding_spaces import add_pair
from fastvbow.pipeline.spaces import open_space

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "text-spaces.md"
TEXTS = ["a photo of a cat", "a dog", "fig"]
END = 2  # [END]


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Run a block of the page in a folder, add what it has written, and open the space."""
    monkeypatch.setenv("FASTVBOW_MODELS", str(tmp_path / "own"))
    monkeypatch.setenv("FASTVBOW_TEXTS", str(tmp_path / "texts"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)

    def export(first_line):
        (block,) = re.findall(rf"```text\n({first_line}\n.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
        names = {"__name__": "page"}
        exec(compile(block, str(PAGE), "exec"), names)
        tokenizer_file(Path("tokenizer.json"))
        add_pair(Path("image.onnx"), Path("text.onnx"), Path("tokenizer.json"), name="pair")
        return open_space("pair", device="cpu"), names

    return export


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def numbers(text):
    return [1, *(TEXT_WORDS.index(word) for word in text.split()), END]


def picture(space):
    """A photograph that needs no resizing, and the input that is made of it."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    card = space.card.image
    scaled = (pixels - np.array(card.mean)) / np.array(card.std)
    return pixels, torch.tensor(scaled.transpose(2, 0, 1)[None], dtype=torch.float32)


def test_open_clip(exported, monkeypatch):
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=16, image_size=64)
    # the end of a text is where the greatest number stands
    text = CLIPTextCfg(context_length=20, vocab_size=40, width=48, heads=3, layers=2)
    monkeypatch.setattr(open_clip, "create_model_and_transforms", lambda *_, **__: (CLIP(32, vision, text), None, None))
    space, names = exported("import open_clip")
    card = space.card
    assert (card.image.side, card.text.tokens, card.text.fixed, card.text.ids) == (64, 20, True, "text")
    ids = torch.zeros(len(TEXTS), 20, dtype=torch.int64)
    for row, one in enumerate(TEXTS):
        ids[row, : len(numbers(one))] = torch.tensor(numbers(one))
    pixels, given = picture(space)
    with torch.no_grad():
        wanted, image = names["model"].encode_text(ids).numpy(), names["model"].encode_image(given).numpy()[0]
    np.testing.assert_allclose(space.text_vectors(TEXTS), unit(wanted), atol=1e-4)
    np.testing.assert_allclose(space.describe(pixels), unit(image), atol=1e-4)


def test_transformers(exported, monkeypatch):
    sizes = {"intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 40}
    vision = transformers.CLIPVisionConfig(hidden_size=64, image_size=64, patch_size=16, **sizes)
    text = transformers.CLIPTextConfig(
        hidden_size=48, vocab_size=40, max_position_embeddings=20, eos_token_id=END, bos_token_id=1, **sizes
    )
    for kind, config in ((CLIPVisionModelWithProjection, vision), (CLIPTextModelWithProjection, text)):
        made = kind(config)
        monkeypatch.setattr(kind, "from_pretrained", lambda _, made=made: made)

    class Saved:
        def save_pretrained(self, folder):
            tokenizer_file(Path(folder) / "tokenizer.json")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda _: Saved())
    space, names = exported("import torch")
    card = space.card
    assert (card.text.fixed, card.text.mask, card.text.output) == (False, "attention_mask", "text_embeds")
    pixels, given = picture(space)
    with torch.no_grad():
        image = names["image"](given).numpy()[0]
        rows = [torch.tensor([numbers(one)]) for one in TEXTS]
        wanted = np.array([names["text"](row, torch.ones_like(row)).numpy()[0] for row in rows])
    np.testing.assert_allclose(space.text_vectors(TEXTS), unit(wanted), atol=1e-4)
    np.testing.assert_allclose(space.describe(pixels), unit(image), atol=1e-4)
