"""Write ``efficientnet_lite0_int8.onnx`` and its card: EfficientNet-Lite0 in 8 bits, from the file beside this script.

Run it from anywhere, in an environment of its own (fastvbow itself needs no onnx)::

    pip install onnx onnxruntime numpy opencv-python-headless
    python onnx_models/quantise_efficientnet_lite0.py --calibration DATA/sun8 DATA/scene15 DATA/corel1k

Static quantisation in ONNX's QDQ form (Jacob et al., arXiv:1712.05877): weights int8 with a scale for each output
channel, activations uint8 with a scale for each tensor, which covers 99.99 % of the values that the calibration
photographs gave. Of the network's outputs the two that fastvbow uses are kept. Three things differ from ONNX Runtime's
own tool, and each is in the file's numbers:

- The 1x1 convolutions have weights from -64 to 64. Their products are summed in pairs, in 16 bits, on processors with
  AVX2 and no VNNI: from -127 to 127 such sums overflow there, and the pooled vectors' cosine to the float network fell
  to .92 (Haswell, emulated). So limited the integers are the same on every processor. Depthwise convolutions are not
  computed that way and keep all 8 bits.
- The first convolution stays in float: it alone caused half of the error, and takes 3 % of the products.
- What the rounding of a layer's weights changes in the mean of its outputs, on the calibration photographs, goes into
  its bias (Nagel et al., arXiv:1906.04721, section 4.2). Without that the cosines are .991, with it .997. GPTQ
  (arXiv:2210.17323) brought them to .998 and the groups nothing.

Nothing appears under its final name unless both outputs have a cosine of at least 0.99 to the float network's on
average over the photographs of ``--photographs``. Exit status: 0 written, 1 the check failed, 2 usage.
"""

# ruff: noqa: T201 - this is a script: its prints are its results.

import argparse
import datetime
import hashlib
import importlib.metadata
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from export_efficientnet_lite0 import Origin, card_text, cosine, photographs, prepare, write_files

HERE = Path(__file__).parent
SOURCE = HERE / "efficientnet_lite0.onnx"
NAME = "efficientnet_lite0_int8"
KEPT = ("block14", "pooled")
PERCENTILE = 99.99
DEPTHWISE, DENSE = 127, 64  # the largest integer of such a weight
LEAST_COSINE = 0.99


def open_session(model: bytes) -> Any:
    """A session on one CPU thread.

    Parameters
    ----------
    model : bytes
        A serialised ONNX model.

    Returns
    -------
    onnxruntime.InferenceSession
        The session.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def float_model(folder: Path) -> Any:
    """The float network with the two outputs alone, float32 weights and every constant folded.

    Parameters
    ----------
    folder : Path
        For temporary files: ONNX Runtime's tool works on files.

    Returns
    -------
    onnx.ModelProto
        The model.
    """
    import onnx
    import onnx.utils
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.utils.extract_model(str(SOURCE), str(folder / "kept.onnx"), ["image"], list(KEPT))
    quant_pre_process(str(folder / "kept.onnx"), str(folder / "folded.onnx"), skip_symbolic_shape=True)
    return onnx.load(folder / "folded.onnx")


def convolutions(model: Any) -> list[Any]:
    """The convolutions that are quantised: all but the first.

    Parameters
    ----------
    model : onnx.ModelProto
        The float network.

    Returns
    -------
    list of onnx.NodeProto
        In the order of the network.
    """
    return [node for node in model.graph.node if node.op_type == "Conv"][1:]


def input_means(model: Any, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The mean over all places of what goes into each convolution.

    Parameters
    ----------
    model : onnx.ModelProto
        The float network.
    images : list of ndarray of shape (height, width, 3), uint8
        Calibration photographs, RGB.

    Returns
    -------
    dict of str to ndarray of shape (channels,)
        By the input's name.
    """
    import onnx

    inputs = sorted({node.input[0] for node in convolutions(model)})
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    known = {output.name for output in shown.graph.output}
    for name in inputs:
        if name not in known:
            shown.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = open_session(shown.SerializeToString())
    means = dict.fromkeys(inputs, np.zeros(1))
    for image in images:
        for name, values in zip(inputs, session.run(inputs, {"image": prepare(image)}), strict=True):
            means[name] = means[name] + values[0].mean(axis=(1, 2), dtype=np.float64) / len(images)
    return means


def correct_biases(model: Any, images: list[np.ndarray]) -> dict[str, int]:
    """Add to each bias, in place, what the rounding of the weights takes from the mean of the outputs.

    Parameters
    ----------
    model : onnx.ModelProto
        The float network.
    images : list of ndarray of shape (height, width, 3), uint8
        Calibration photographs.

    Returns
    -------
    dict of str to int
        The largest integer of a weight, by its name.
    """
    from onnx import numpy_helper

    means = input_means(model, images)
    stored = {item.name: item for item in model.graph.initializer}
    largest = {}
    for node in convolutions(model):
        source, name, bias = node.input
        weights = numpy_helper.to_array(stored[name]).astype(np.float64)
        is_depthwise = weights.shape[1] == 1
        largest[name] = DEPTHWISE if is_depthwise else DENSE
        scales = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / largest[name]
        scales[scales == 0] = 1
        lost = (weights - np.round(weights / scales) * scales).sum(axis=(2, 3))
        shift = lost[:, 0] * means[source] if is_depthwise else lost @ means[source]
        corrected = numpy_helper.to_array(stored[bias]).astype(np.float64) + shift
        stored[bias].CopyFrom(numpy_helper.from_array(corrected.astype(np.float32), bias))
    return largest


def quantise(images: list[np.ndarray]) -> bytes:
    """The network in 8 bits.

    Parameters
    ----------
    images : list of ndarray of shape (height, width, 3), uint8
        Calibration photographs, RGB.

    Returns
    -------
    bytes
        The serialised model.

    Raises
    ------
    RuntimeError
        ONNX Runtime's tool has scaled weights otherwise than the biases were corrected for.
    """
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"image": prepare(image)}

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = float_model(folder)
        first = next(node.name for node in model.graph.node if node.op_type == "Conv")
        largest = correct_biases(model, images)
        onnx.save(model, folder / "corrected.onnx")
        overrides = {
            name: [{"quant_type": QuantType.QInt8, "axis": 0, "reduce_range": most == DENSE}]
            for name, most in largest.items()
        }
        quantize_static(
            folder / "corrected.onnx",
            folder / "int8.onnx",
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[first],
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE, "TensorQuantOverrides": overrides},
        )
        result = onnx.load(folder / "int8.onnx")
    items = {item.name: numpy_helper.to_array(item) for item in result.graph.initializer}
    for name, most in largest.items():
        if np.abs(items[f"{name}_quantized"].astype(int)).max() != most:
            raise RuntimeError(f"{name}: its integers do not go to {most}: this needs another ONNX Runtime")
    onnx.checker.check_model(result, full_check=True)
    return result.SerializeToString(deterministic=True)


def compare(model: bytes, images: list[np.ndarray]) -> dict[str, float]:
    """The mean cosine of each output to the float network's.

    Parameters
    ----------
    model : bytes
        The network in 8 bits.
    images : list of ndarray of shape (height, width, 3), uint8
        Photographs, RGB.

    Returns
    -------
    dict of str to float
        By the output's name.
    """
    wanted, came = open_session(SOURCE.read_bytes()), open_session(model)
    found = []
    for image in images:
        pair = [session.run(list(KEPT), {"image": prepare(image)}) for session in (wanted, came)]
        found.append([cosine(a, b) for a, b in zip(*pair, strict=True)])
    return dict(zip(KEPT, np.mean(found, axis=0), strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Quantise, check, and only then write.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name; the process's own by default.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(description="Write efficientnet_lite0_int8.onnx and its card, and check them.")
    parser.add_argument("--calibration", type=Path, nargs="+", required=True, help="folders of photographs")
    parser.add_argument("--limit", type=int, default=86, help="photographs of each folder at most (default: 86)")
    parser.add_argument(
        "--photographs",
        type=Path,
        default=HERE.parent / "fastvbow" / "demo" / "photographs",
        help="folder of photographs to check with, none of them calibrated on (default: those of the demonstration)",
    )
    parser.add_argument("--output", type=Path, default=HERE, help="folder to write to (default: here)")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error(f"--limit must be at least 1, not {options.limit}")
    try:
        images = [image for folder in options.calibration for image in photographs(folder, options.limit)]
        held_out = list(photographs(options.photographs, 24))
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    model = quantise(images)
    cosines = compare(model, held_out)
    for name, mean in cosines.items():
        print(f"{name:8} mean cosine {mean:.6f} over {len(held_out)} photographs")
    # Written so that a cosine of nan fails as well.
    failed = [name for name, mean in cosines.items() if not mean >= LEAST_COSINE]
    if failed:
        print(f"error: cosine below {LEAST_COSINE} in {', '.join(failed)}; nothing is written", file=sys.stderr)
        return 1
    check: dict[str, object] = {
        "date": datetime.date.today().isoformat(),
        "calibration_photographs": len(images),
        "photographs": len(held_out),
        **{name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime", "numpy")},
    }
    origin = Origin(
        Path(__file__).name,
        NAME,
        f"{SOURCE.name}, quantised to 8 bits",
        hashlib.sha256(SOURCE.read_bytes()).hexdigest(),
        "The network in 8 bits against the float one.",
        "The mean over the photographs tried",
    )
    card = card_text(origin, model, check, cosines)
    write_files(options.output, {f"{NAME}.onnx": model, f"{NAME}.toml": card.encode()})
    print(f"{options.output / NAME}.onnx: {len(model) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
