"""EfficientNet-Lite0 in plain NumPy, from its description in the papers: the slow twin of the exported model.

It takes nothing from the model file but the folded weights, so a wrong stride, padding, activation or shortcut in the
export shows as a difference.
"""

import numpy as np

# Tan and Le, EfficientNet (arXiv:1905.11946), table 1, stages 2-8: kernel, stride, expansion, channels out, repeats.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def windows(x, kernel, stride):
    """Windows (channels, rows, columns, k, k) of a (channels, height, width) map padded as TensorFlow's "SAME"."""
    padding = [(0, 0)]
    for side in x.shape[1:]:
        total = max(kernel - stride, 0) if side % stride == 0 else max(kernel - side % stride, 0)
        padding.append((total // 2, total - total // 2))
    view = np.lib.stride_tricks.sliding_window_view(np.pad(x, padding), (kernel, kernel), axis=(1, 2))
    return view[:, ::stride, ::stride]


def convolve(x, weight, bias, stride=1):
    """A convolution that sums over all input channels; weight (out, in, k, k)."""
    return np.tensordot(weight, windows(x, weight.shape[-1], stride), ([1, 2, 3], [0, 3, 4])) + bias[:, None, None]


def convolve_depthwise(x, weight, bias, stride):
    """A convolution of each channel with its own kernel; weight (channels, 1, k, k)."""
    return np.einsum("crskl,ckl->crs", windows(x, weight.shape[-1], stride), weight[:, 0]) + bias[:, None, None]


def relu6(x):
    return np.minimum(np.maximum(x, 0), 6)


def efficientnet_lite0(image, weights):
    """All named outputs for one image.

    Parameters
    ----------
    image : ndarray of shape (3, 224, 224)
        Scaled RGB.
    weights : dict of str to ndarray
        ``<layer>.weight`` and ``<layer>.bias``, BatchNorm folded in.
    """

    def layer(name):
        return weights[f"{name}.weight"].astype(np.float64), weights[f"{name}.bias"].astype(np.float64)

    outputs = {}
    x = relu6(convolve(image.astype(np.float64), *layer("stem"), stride=2))
    number = 0
    for kernel, first_stride, expansion, channels, repeats in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            y = relu6(convolve(x, *layer(f"block{number}.expand"))) if expansion != 1 else x
            weight, bias = layer(f"block{number}.depthwise")
            assert weight.shape == (len(y), 1, kernel, kernel)
            y = relu6(convolve_depthwise(y, weight, bias, stride))
            y = convolve(y, *layer(f"block{number}.project"))
            assert len(y) == channels
            x = y + x if repeat > 0 else y
            outputs[f"block{number}"] = x
            number += 1
    outputs["head"] = relu6(convolve(x, *layer("head")))
    outputs["pooled"] = outputs["head"].mean(axis=(1, 2))
    weight, bias = layer("classifier")
    outputs["logits"] = weight @ outputs["pooled"] + bias
    return outputs
