"""PyTorch networks of torchvision and timm as ONNX files, held against their source.

Weights come from a file or from where the two libraries keep what they once downloaded; nothing is downloaded here.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.features.graphs import DEFAULT_SIDE, brief
from fastvbow.features.models import NORMALISATIONS, Channels

__all__ = ["LEAST_COSINE", "LIBRARIES", "Network", "build_network", "least_cosines", "write_onnx"]

LIBRARIES = ("torchvision", "timm")
LEAST_COSINE = 0.999
"""Of an output of the export and of its source, for every photograph tried."""
_WRAPPERS = ("state_dict_ema", "state_dict", "model_ema", "model")


@dataclass(frozen=True)
class Network:
    """A PyTorch network with its weights.

    Attributes
    ----------
    module : torch.nn.Module
        In eval mode.
    side : int
        Pixels.
    mean, std : float or tuple of three floats
        Of its input, in units of 0 to 255.
    licence : str
        As the library states it; empty if it does not.
    source : str
        Which library, version, network and file.
    """

    module: Any
    side: int
    mean: Channels
    std: Channels
    licence: str
    source: str


def _load(library: str) -> Any:
    """torch, torchvision or timm."""
    try:
        return import_module(library)
    except ImportError:
        raise MissingExtraError("exporting networks", library, "export") from None
    except RuntimeError as error:  # torchvision beside a torch that it was not built for
        raise UsageError(
            f"{library} does not load ({brief(error)}): install a torch and a torchvision that match"
        ) from None


def build_network(
    name: str, library: str = "torchvision", *, weights: Path | None = None, classes: int = 0, side: int = 0
) -> Network:
    """Build a network and load its weights.

    Parameters
    ----------
    name : str
        As the library calls it.
    library : {"torchvision", "timm"}, default="torchvision"
    weights : Path, optional
        A state dictionary, ``.safetensors`` or PyTorch's own, of tensors alone; None: the library's weights, if they
        are on this machine.
    classes : int, default=0
        Classes of the weights, where they are not the library's own; 0: they are.
    side : int, default=0
        Pixels; 0: what the network was trained with.

    Raises
    ------
    UsageError
        There is no such network, its weights are not on this machine, or they do not fit it.
    MissingExtraError
    """
    if library not in LIBRARIES:
        raise UsageError(f"--from is one of {', '.join(LIBRARIES)}, not {library}")
    torch, module = _load("torch"), _load(library)
    own = {"num_classes": classes} if classes else {}
    build = _from_torchvision if library == "torchvision" else _from_timm
    network, trained, scale, licence, known = build(torch, module, name, own, side)
    file = weights or known
    if file is None or not file.is_file():
        raise UsageError(
            f"the weights of {name} are not on this machine{f' ({file})' if file else ''}, and nothing is downloaded: "
            "give --weights FILE"
        )
    _fill(torch, network, file)
    network.eval()
    source = f"{library} {module.__version__}: {name}, weights {file.name}"
    return Network(network, side or trained, *scale, licence, source)


Built = tuple[Any, int, tuple[Channels, Channels], str, Path | None]


def _from_torchvision(torch: Any, torchvision: Any, name: str, own: dict[str, Any], side: int) -> Built:
    try:
        network = torchvision.models.get_model(name, weights=None, **own, **_sized(name, side))
        best = torchvision.models.get_model_weights(name).DEFAULT
    except Exception as error:  # whatever the library raises for a name or a size
        raise UsageError(f"torchvision builds no network {name!r}: {brief(error)}") from None
    preset = best.transforms()
    if not (hasattr(preset, "mean") and hasattr(preset, "crop_size")):
        raise UsageError(f"torchvision's {name} does not classify photographs: choose another network")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    scale = _of_255(preset.mean), _of_255(preset.std)
    return network, int(preset.crop_size[0]), scale, "", folder / Path(urlparse(best.url).path).name


def _sized(name: str, side: int) -> dict[str, Any]:
    return {"image_size": side} if side and name.startswith("vit_") else {}


def _from_timm(torch: Any, timm: Any, name: str, own: dict[str, Any], side: int) -> Built:
    sized = {"img_size": side} if side and "vit" in name else {}
    try:
        network = timm.create_model(name, pretrained=False, **own, **sized)
    except Exception as error:  # whatever the library raises for a name or a size
        raise UsageError(f"timm builds no network {name!r}: {brief(error)}") from None
    given = network.pretrained_cfg
    usual = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    scale = _of_255(given.get("mean", usual[0])), _of_255(given.get("std", usual[1]))
    known = None
    if given.get("url"):
        known = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(given["url"]).path).name
    if (known is None or not known.is_file()) and given.get("hf_hub_id"):
        with contextlib.suppress(ImportError):
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(given["hf_hub_id"], "model.safetensors")
            known = Path(cached) if isinstance(cached, str) else known
    trained = int(given.get("input_size", (3, DEFAULT_SIDE, DEFAULT_SIDE))[-1])
    return network, trained, scale, str(given.get("license") or ""), known


def _of_255(values: Sequence[float]) -> Channels:
    """A mean or standard deviation in units of 0 to 1 in those of 0 to 255."""
    first, second, third = (round(255 * float(value), 6) for value in values)
    for known in (scale for pair in NORMALISATIONS.values() for scale in pair):
        if np.allclose(known, (first, second, third), rtol=1e-5):
            return known
    return first, second, third


def _fill(torch: Any, network: Any, file: Path) -> None:
    """Load weights into a network; no code is executed."""
    try:
        if file.suffix == ".safetensors":
            state: Any = import_module("safetensors.torch").load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        for wrapper in _WRAPPERS:
            if isinstance(state.get(wrapper), dict):
                state = state[wrapper]
        named = {name.removeprefix("module."): value for name, value in state.items()}
    except Exception as error:  # the file's, PyTorch's and safetensors' own kinds
        raise UsageError(
            f"{file} cannot be read as weights ({type(error).__name__}): give a state dictionary of tensors alone, as "
            "torch.save(network.state_dict()) or safetensors writes it"
        ) from None
    try:
        network.load_state_dict(named)
    except Exception as error:  # RuntimeError, and what odd values raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = "; ".join(lines[1:3] or lines[:1])[:300]
        raise UsageError(
            f"the weights {file} do not fit the network: {told} (--classes tells how many classes they have)"
        ) from None


def write_onnx(network: Network, path: Path) -> None:
    """Write a network as an ONNX file that takes any number of photographs.

    Raises
    ------
    UsageError
        PyTorch cannot export it.
    """
    torch = _load("torch")
    example = torch.zeros(2, 3, network.side, network.side)
    example[1] = 1.0
    try:
        # the exporter prints and warns of what its user cannot change
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network.module,
                (example,),
                str(path),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                external_data=False,
                verbose=False,
            )
    except ImportError:
        raise MissingExtraError("exporting networks", "onnxscript", "export") from None
    except Exception as error:  # the exporter's own kinds
        raise UsageError(f"PyTorch cannot export this network to ONNX: {brief(error)}") from None


def least_cosines(
    network: Network, inputs: Sequence[NDArray[np.float32]], outputs: Sequence[Sequence[NDArray[np.float32]]]
) -> list[float]:
    """How alike the outputs of an export are to those layers of its source that they are most like.

    Every layer's output and input is looked at that has the shape; the export does not tell which one an output is.

    Parameters
    ----------
    network : Network
    inputs : sequence of ndarray of shape (1, 3, side, side), float32
        Photographs.
    outputs : sequence of sequences of ndarray
        For each photograph what the export gives.

    Returns
    -------
    list of float
        For each output the least cosine over the photographs; -1 where no layer has its shape.
    """
    torch = _load("torch")
    least: list[dict[str, float]] = [{} for _ in outputs[0]]
    seen: dict[str, NDArray[np.float32]] = {}

    def look(name: str) -> Any:
        def hook(module: Any, given: Any, found: Any) -> None:
            for what, value in (("input", given[0] if given else None), ("output", found)):
                if isinstance(value, torch.Tensor) and value.is_floating_point():
                    seen[f"{name} {what}"] = value.detach().numpy().ravel().copy()

        return hook

    hooks = [layer.register_forward_hook(look(name)) for name, layer in network.module.named_modules()]
    try:
        for one, wanted in zip(inputs, outputs, strict=True):
            seen.clear()
            with torch.inference_mode():
                network.module(torch.from_numpy(one))
            for known, array in zip(least, wanted, strict=True):
                flat = array.ravel()
                for name, value in seen.items():
                    if value.size == flat.size:
                        known[name] = min(known.get(name, 1.0), _cosine(value, flat))
    finally:
        for hook in hooks:
            hook.remove()
    return [max(known.values(), default=-1.0) for known in least]


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(a @ b) / max(float(np.linalg.norm(a)) * float(np.linalg.norm(b)), 1e-30)
