"""Activations of an ImageNet CNN, from an ONNX model through ONNX Runtime.

Two layers are used: the penultimate one (pooled: one vector for the photograph) and an antepenultimate convolutional
map, each *location* of which is a local feature (not each channel: a channel is one number spread over the picture).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import (
    FastvbowError,
    MissingExtraError,
    ProviderUnavailableError,
    StoreCorruptError,
    UsageError,
)
from fastvbow.features.base import Features, LocalFeatures, Modality, whole_keypoint
from fastvbow.features.batching import Batcher
from fastvbow.features.models import ModelCard
from fastvbow.features.tensors import check_outputs, check_session, input_maker, input_shape, map_rows

__all__ = ["DEVICES", "CnnExtractor", "cnn_parameters", "open_session"]

DEVICES = ("auto", "cpu", "cuda")
GPU_BATCH = 32
"""Photographs at a time on a GPU. On the CPU it is one: a batch of 8 took 1.14 times as long an image."""


def open_session(model: Path, device: str) -> Any:
    """An ONNX Runtime session that really runs where it was asked to.

    Parameters
    ----------
    model : Path
        The ``.onnx`` file.
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where ONNX Runtime can run it, else the CPU; ``cuda`` takes nothing else.

    Raises
    ------
    UsageError
        `device` is none of these.
    MissingExtraError
        No ONNX Runtime is installed.
    ProviderUnavailableError
        ``cuda`` was asked for and the session does not run there (ONNX Runtime itself would go on, on the CPU).
    """
    if device not in DEVICES:
        raise UsageError(f"device is one of {', '.join(DEVICES)}, not {device!r}")
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("the CNN", "ONNX Runtime", "cpu") from None
    available = onnxruntime.get_available_providers()
    cuda = "CUDAExecutionProvider" in available and device != "cpu"
    if device == "cuda" and not cuda:
        raise ProviderUnavailableError(
            f"--device cuda: the installed ONNX Runtime offers only {', '.join(available)}; "
            "pip uninstall onnxruntime, then pip install 'fastvbow[gpu]', or use --device cpu"
        )
    if cuda and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    # One thread inside: photographs are spread over threads outside, which measured 1.7 times faster on two cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4 if device == "auto" else 3
    # TensorFloat-32 would round each product to ten bits: a photograph's features must hardly depend on the device.
    wanted = [("CUDAExecutionProvider", {"use_tf32": 0})] if cuda else []
    session = onnxruntime.InferenceSession(model, options, providers=[*wanted, "CPUExecutionProvider"])
    if device == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise ProviderUnavailableError(
            "--device cuda: ONNX Runtime could not start CUDA (is the driver, CUDA or cuDNN missing?) and would "
            "run on the CPU; 'fastvbow doctor' tells more, --device cpu goes on without"
        )
    return session


class CnnExtractor:
    """Location and whole-image features of one CNN.

    Parameters
    ----------
    card : ModelCard
        Which model, and how it wants its input.
    device : {"auto", "cpu", "cuda"}, default="auto"
        See `open_session`.
    batch : int, default=0
        Photographs at a time, a power of two; 0: `GPU_BATCH` on a GPU, one on the CPU. A model whose input has room
        for one alone takes one. The last bits of the features may depend on it.

    Raises
    ------
    StoreCorruptError
        The model's file is missing, is not the one that the card names, cannot be run, or has not the inputs and
        outputs that the card says.
    """

    def __init__(self, card: ModelCard, device: str = "auto", batch: int = 0) -> None:
        self.card = card
        try:
            digest = hashlib.sha256(card.path.read_bytes()).hexdigest()
        except OSError as error:
            raise StoreCorruptError(f"cannot read the model {card.path}: {error.strerror}: install it again") from None
        if digest != card.sha256:  # before ONNX Runtime parses it
            raise StoreCorruptError(
                f"{card.path} has the SHA-256 {digest}, its card says {card.sha256}: install the model again"
            )
        try:
            self._session = open_session(card.path, device)
        except FastvbowError:
            raise
        except Exception as error:  # ONNX Runtime's own kinds share no better base
            raise StoreCorruptError(
                f"ONNX Runtime cannot open the model {card.path}: {error}: try a newer ONNX Runtime, or another model"
            ) from None
        self._on_gpu = self.provider == "CUDAExecutionProvider"
        self._prepare = input_maker(card)
        if not check_session(self._session, card):
            self._try()
        self._batcher = self._make_batcher(batch)

    def _try(self) -> None:
        """Run a model that leaves shapes open: it may not take this side, or give what the card does not say."""
        try:
            conv, pooled = self._run(np.zeros(input_shape(self.card, 1), np.float32))
        except Exception as error:  # ONNX Runtime's own kinds share no better base
            raise StoreCorruptError(
                f"the model {self.card.path} does not run on {self.card.side} x {self.card.side} pixels: {error}: add "
                "it again with another --side"
            ) from None
        check_outputs(self.card, conv.shape, pooled.shape)

    def _make_batcher(self, batch: int) -> Batcher | None:
        most = batch or (GPU_BATCH if self._on_gpu else 1)
        if most == 1 or isinstance(self._session.get_inputs()[0].shape[0], int):
            return None
        for size in (1 << i for i in range(most.bit_length())) if self._on_gpu else ():
            self._run(np.zeros(input_shape(self.card, size), np.float32))  # a GPU prepares for each shape
        return Batcher(self._run, most)

    @property
    def provider(self) -> str:
        """Where ONNX Runtime runs this model."""
        return str(self._session.get_providers()[0])

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """``conv`` (one feature a location) and ``pooled`` (one a photograph)."""
        return (
            Modality("conv", self.card.conv.channels, "float16"),
            Modality("pooled", self.card.pooled.channels, "float16"),
        )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """See `Extractor.parameters`."""
        return cnn_parameters(self.card)

    @property
    def ahead(self) -> int:
        """See `Extractor.ahead`: as many as fill a batch, where there are batches."""
        return self._batcher.most if self._batcher else 0

    def extract(self, image: NDArray[np.uint8]) -> Features:
        """See `Extractor.extract`. The keypoint of a location is the centre and the mean side of its cell."""
        return self.begin(image)()

    def begin(self, image: NDArray[np.uint8]) -> Callable[[], Features]:
        """See `Extractor.begin`: one photograph at a time is through the network when it returns, a batch is not."""
        height, width = image.shape[:2]
        prepared = self._prepare(image)
        if self._batcher is None:
            found = self._run(prepared)
            return lambda: self._features(found, height, width)
        future = self._batcher.submit(prepared)
        return lambda: self._features(future.result(), height, width)

    def close(self) -> None:
        """See `Extractor.close`."""
        if self._batcher is not None:
            self._batcher.close()

    def _run(self, inputs: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """The maps and the pooled vectors, as the card says, of inputs (n, ...)."""
        names = [self.card.conv.tensor, self.card.pooled.tensor]
        found: Sequence[NDArray[np.float32]]
        if self._on_gpu:
            # bound to the device, so that only these two come back from it, once all is computed
            binding = self._session.io_binding()
            binding.bind_cpu_input(self.card.input, inputs)
            for name in names:
                binding.bind_output(name, "cuda")
            self._session.run_with_iobinding(binding)
            found = binding.copy_outputs_to_cpu()
        else:
            found = self._session.run(names, {self.card.input: inputs})
        return found

    def _features(self, outputs: Sequence[NDArray[np.float32]], height: int, width: int) -> Features:
        """What one photograph of that size has given."""
        conv, pooled = outputs
        locations, rows, columns = map_rows(conv[0], self.card.conv.layout, self.card.conv.leading)
        keypoints, whole = _places(height, width, rows, columns)
        return {
            "conv": LocalFeatures(keypoints, _float16(locations)),
            "pooled": LocalFeatures(whole, _float16(pooled.reshape(1, -1))),
        }


@lru_cache(maxsize=256)  # photographs of one camera are of few sizes
def _places(height: int, width: int, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keypoints, read-only, of a map's cells in a photograph and of the photograph itself."""
    cells = np.empty((rows, columns, 4), np.float32)
    cells[..., 0] = (np.arange(columns, dtype=np.float32) + 0.5) * width / columns - 0.5
    cells[..., 1] = ((np.arange(rows, dtype=np.float32) + 0.5) * height / rows - 0.5)[:, None]
    cells[..., 2] = np.sqrt(height / rows * width / columns)
    cells[..., 3] = -1
    whole = whole_keypoint(height, width)
    cells.flags.writeable = whole.flags.writeable = False
    return cells.reshape(-1, 4), whole


def cnn_parameters(card: ModelCard) -> dict[str, Any]:
    """What a model's features depend on, known without opening it."""
    known = {"model": card.name, "sha256": card.sha256, "conv": card.conv.tensor, "pooled": card.pooled.tensor}
    use = [card.layout, card.colour, card.side, card.mean, card.std, card.conv.layout, card.conv.leading]
    # what was so for every model before cards could say it is left out: projects of that time stay as they are
    return known if use == ["NCHW", "RGB", 224, 127.0, 128.0, "CHW", 0] else known | {"use": _plain(use)}


def _plain(values: Sequence[Any]) -> list[Any]:
    """Tuples as lists, as they come back from JSON."""
    return [list(value) if isinstance(value, tuple) else value for value in values]


def _float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Half precision, clipped to its range: an activation beyond it must not become infinite."""
    return np.clip(values, -65504, 65504).astype(np.float16)
