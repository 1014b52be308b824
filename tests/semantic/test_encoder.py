"""Text encoders of the structures that transformers and open_clip export, small, and the store of their vectors."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="tokenizers is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from fastvbow.errors import StoreCorruptError, UsageError  # noqa: E402
from fastvbow.semantic.banks import store  # noqa: E402
from fastvbow.semantic.banks.encoder import TextEncoder, describe_encoder  # noqa: E402
from fastvbow.semantic.banks.store import embed_texts  # noqa: E402

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "photo", "of", "dog", "cat", "big"]
TABLE = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)


def make_tokenizer(path, **padding):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    if padding:
        tokenizer.enable_padding(**padding)
    tokenizer.save(str(path))
    return path


def make_model(
    path, *, ids="input_ids", shape=("n", "t"), dtype=TensorProto.INT64, extra=(), output="last_hidden_state"
):
    """A table of words, and the place of each token added to a channel, so that order and padding show."""
    inputs = [helper.make_tensor_value_info(name, dtype, shape) for name in (ids, *extra)]
    table = [numpy_helper.from_array(TABLE, "table")]
    nodes = [helper.make_node("Gather", ["table", ids], ["looked_up"])]
    if extra:  # what is masked is far away
        nodes += [
            helper.make_node("Cast", [extra[0]], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["as_float", "axis"], ["mask"]),
            helper.make_node("Mul", ["looked_up", "mask"], ["tokens"]),
        ]
        table.append(numpy_helper.from_array(np.array([2], np.int64), "axis"))
    else:
        nodes.append(helper.make_node("Identity", ["looked_up"], ["tokens"]))
    if output == "last_hidden_state":
        nodes.append(helper.make_node("Identity", ["tokens"], [output]))
        axes = [*shape, 6]
    else:
        nodes.append(helper.make_node("ReduceSum", ["tokens", "first"], [output], keepdims=0))
        table.append(numpy_helper.from_array(np.array([1], np.int64), "first"))
        axes = [shape[0], 6]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, axes)]
    if output == "text_embeds":
        outputs.append(helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [*shape, 6]))
    graph = helper.make_graph(nodes, "text", inputs, outputs, table)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


class Counting:
    """A session that counts what goes through it."""

    def __init__(self, path):
        self._session, self.rows = ort.InferenceSession(path, providers=["CPUExecutionProvider"]), 0
        self.get_inputs, self.get_outputs = self._session.get_inputs, self._session.get_outputs

    def run(self, names, feeds):
        self.rows += len(next(iter(feeds.values())))
        return self._session.run(names, feeds)


def make_encoder(folder, *, pooling=None, tokens=None, padding=None, **how):
    tokenizer, model = (
        make_tokenizer(folder / "tokenizer.json", **(padding or {})),
        make_model(folder / "m.onnx", **how),
    )
    session = Counting(model)
    return TextEncoder(describe_encoder(session, model, tokenizer, pooling=pooling, tokens=tokens), session, tokenizer)


TEXTS = ["a dog", "cat", "a big dog", "a photo of a big cat", "dog"]


def words(text):
    return TABLE[[1, *(WORDS.index(word) for word in text.split()), 2]]


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [("cls", lambda rows: rows[0]), ("mean", lambda rows: rows.mean(axis=0)), ("eot", lambda r: r[-1])],
)
def test_sentence_encoders(tmp_path, pooling, wanted):
    """transformers: dynamic axes, a mask, types."""
    encoder = make_encoder(tmp_path, pooling=pooling, extra=("attention_mask", "token_type_ids"))
    assert encoder.card.mask == "attention_mask" and encoder.card.types == "token_type_ids"
    assert (encoder.card.tokens, encoder.card.fixed, encoder.card.dtype) == (77, False, "int64")
    np.testing.assert_allclose(encoder.encode(TEXTS), [wanted(words(text)) for text in TEXTS], atol=1e-6)


def test_clip_of_transformers(tmp_path):
    """The projected vector is taken, not the tokens beside it."""
    encoder = make_encoder(tmp_path, output="text_embeds", extra=("attention_mask",), dtype=TensorProto.INT32)
    assert (encoder.card.output, encoder.card.pooling, encoder.card.dtype) == ("text_embeds", "none", "int32")
    np.testing.assert_allclose(encoder.encode(TEXTS), [words(text).sum(axis=0) for text in TEXTS], atol=1e-5)


def test_clip_of_open_clip(tmp_path):
    """One input of 77 tokens, padded, no mask; the vector has a name of its own."""
    encoder = make_encoder(tmp_path, ids="text", shape=("n", 12), output="vector", padding={"pad_id": 3})
    assert (encoder.card.tokens, encoder.card.fixed, encoder.card.pad, encoder.card.mask) == (12, True, 3, None)
    wanted = [words(text).sum(axis=0) + (12 - len(words(text))) * TABLE[3] for text in TEXTS]
    np.testing.assert_allclose(encoder.encode(TEXTS), wanted, atol=1e-5)
    fixed = make_encoder(tmp_path, ids="text", shape=(2, 12), output="vector", padding={"pad_id": 3})
    assert fixed.card.batch == 2
    np.testing.assert_allclose(fixed.encode(TEXTS), wanted, atol=1e-5)


def test_long_texts_are_cut(tmp_path):
    encoder = make_encoder(tmp_path, pooling="eot", tokens=4)
    np.testing.assert_allclose(encoder.encode(["a photo of a dog", "a photo"]), [TABLE[2]] * 2)
    assert make_encoder(tmp_path, pooling="mean", tokens=4).encode(["dog " * 500]).shape == (1, 6)


def test_what_is_no_text_encoder(tmp_path):
    with pytest.raises(UsageError, match="say by pooling"):
        make_encoder(tmp_path)
    with pytest.raises(UsageError, match="say by pooling"):
        make_encoder(tmp_path, pooling="max")
    with pytest.raises(UsageError, match=r"has the inputs pixel_values \(tensor\(int64\)\)"):
        make_encoder(tmp_path, ids="pixel_values", pooling="cls")
    with pytest.raises(UsageError, match=r"has the inputs .*position_ids"):
        make_encoder(tmp_path, extra=("attention_mask", "position_ids"), pooling="cls")
    tokenizer, model = make_tokenizer(tmp_path / "tokenizer.json"), make_model(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="has the outputs last_hidden_state"):
        describe_encoder(Counting(model), model, tokenizer, output="nothing")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot read the tokenizer"):
        describe_encoder(Counting(model), model, tmp_path / "other.json", pooling="cls")
    encoder = make_encoder(tmp_path, pooling="cls")
    with pytest.raises(UsageError, match="' ' has no tokens"):
        encoder.encode(["dog", " "])
    make_tokenizer(tmp_path / "tokenizer.json", pad_id=2)
    with pytest.raises(StoreCorruptError, match="not the tokenizer"):
        TextEncoder(encoder.card, encoder._session, tmp_path / "tokenizer.json")


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PART", 2)
    return make_encoder(tmp_path, pooling="mean")


def test_embeddings_are_kept(encoder, tmp_path):
    seen = []
    found = embed_texts(encoder, [*TEXTS, "cat"], tmp_path / "kept", progress=lambda *at: seen.append(at))
    assert isinstance(found, np.memmap) and found.dtype == np.float32 and not found.flags.writeable
    np.testing.assert_allclose(found, [words(text).mean(axis=0) for text in [*TEXTS, "cat"]], atol=1e-6)
    assert encoder._session.rows == 5 and seen == [(2, 5), (4, 5), (5, 5)]
    again = embed_texts(encoder, [*TEXTS, "cat"], tmp_path / "kept")
    assert encoder._session.rows == 5 and again.tobytes() == found.tobytes()
    assert sorted(path.suffix for path in (tmp_path / "kept").iterdir()) == [".json", ".npy"]


def test_what_counts_for_the_key(encoder, tmp_path):
    keys = {
        store.bank_key(encoder, TEXTS, ["{}"]),
        store.bank_key(encoder, TEXTS[::-1], ["{}"]),
        store.bank_key(encoder, TEXTS, ["a {}"]),
        store.bank_key(make_encoder(tmp_path, pooling="cls"), TEXTS, ["{}"]),
        store.bank_key(make_encoder(tmp_path, pooling="mean", padding={"pad_id": 1}), TEXTS, ["{}"]),
    }
    assert len(keys) == 5
    assert store.bank_key(make_encoder(tmp_path, pooling="mean"), tuple(TEXTS), ("{}",)) in keys


def test_prompts_are_averaged_as_they_are(encoder, tmp_path):
    prompts = ["a {}", "a photo of a {}"]
    found = embed_texts(encoder, ["dog", "cat"], tmp_path / "kept", prompts=prompts)
    for row, word in zip(found, ["dog", "cat"], strict=True):
        each = [words(prompt.format(word)).mean(axis=0) for prompt in prompts]
        np.testing.assert_allclose(row, np.mean(each, axis=0), atol=1e-6)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_broken_off_and_gone_on(encoder, tmp_path, n_jobs):
    whole = embed_texts(encoder, TEXTS, tmp_path / "whole")

    def stop(done, total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_texts(encoder, TEXTS, tmp_path / "kept", progress=stop)
    assert not list((tmp_path / "kept").glob("*.json")) and not list((tmp_path / "kept").glob("*.npy"))
    before = encoder._session.rows
    again = embed_texts(encoder, TEXTS, tmp_path / "kept", n_jobs=n_jobs)
    assert encoder._session.rows - before <= 1 and again.tobytes() == whole.tobytes()
    assert not list((tmp_path / "kept").glob("*.parts"))


def test_damage_is_told(encoder, tmp_path):
    embed_texts(encoder, TEXTS, tmp_path)
    (array,) = (path for path in tmp_path.glob("*.npy"))
    (card,) = (path for path in tmp_path.glob("*.json") if path.name != "tokenizer.json")
    sound = card.read_bytes()
    for damage in (b"{", sound.replace(b'"n":5', b'"n":6'), sound.replace(b'"version":1', b'"version":2')):
        card.write_bytes(damage)
        with pytest.raises(StoreCorruptError, match="remove"):
            embed_texts(encoder, TEXTS, tmp_path)
    card.write_bytes(sound)
    array.write_bytes(array.read_bytes()[:-4])
    with pytest.raises(StoreCorruptError, match="remove"):
        embed_texts(encoder, TEXTS, tmp_path)
    card.unlink()  # as the message says
    np.testing.assert_allclose(embed_texts(encoder, TEXTS, tmp_path)[1], words("cat").mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("how", [{"texts": []}, {"prompts": []}, {"prompts": ["a photo"]}, {"prompts": ["{} or {}"]}])
def test_what_cannot_be_embedded(encoder, tmp_path, how):
    with pytest.raises(UsageError, match="give texts, and prompts"):
        embed_texts(encoder, **{"texts": TEXTS, "folder": tmp_path, **how})


def test_a_folder_that_cannot_be_written(encoder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot keep embeddings in"):
        embed_texts(encoder, TEXTS, tmp_path / "file")


@pytest.mark.data
def test_a_real_encoder(data_folder, tmp_path):
    folder = data_folder / "bge_small_en"
    if not folder.is_dir():
        pytest.skip(f"no text encoder at {folder}: set FASTVBOW_DATA")
    session = Counting(folder / "model.onnx")
    card = describe_encoder(session, folder / "model.onnx", folder / "tokenizer.json", pooling="cls")
    encoder = TextEncoder(card, session, folder / "tokenizer.json")
    found = embed_texts(encoder, ["dog", "puppy", "motorway"], tmp_path, prompts=("a photo of a {}",))
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert found.shape == (3, 384) and unit[0] @ unit[1] > unit[0] @ unit[2] + 0.05
