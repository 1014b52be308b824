"""Small ONNX networks of every kind that `fastvbow.features.anatomy` knows, with random weights."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Network:
    """A graph in the making; the input is ``image``."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def constant(self, values, name):
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weights(self, name, *shape):
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return self.constant(self.rng.normal(0, scale, shape).astype(np.float32), name)

    def add(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, before, after, name, kernel=3, stride=1):
        padding = (kernel - 1) // 2
        more = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
        return self.add("Conv", [x, self.weights(f"{name}.weight", after, before, kernel, kernel)], name, **more)

    def relu(self, x, name):
        return self.add("Relu", [x], name)

    def dense(self, x, before, after, name):
        return self.add("MatMul", [x, self.weights(f"{name}.weight", before, after)], name)

    def gemm(self, x, before, after, name):
        constants = [self.weights(f"{name}.weight", after, before), self.weights(f"{name}.bias", after)]
        return self.add("Gemm", [x, *constants], name, transB=1)

    def model(self, outputs, shape=("N", 3, 32, 32), opset=17, element=TensorProto.FLOAT, inputs=()):
        """The network as a model; `outputs` are declared without shapes."""
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("image", element, shape), *inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def body(net, x="image", residual=False):
    """Convolutions to ``first`` (8 x 8 x 8), ``second`` (12 x 4 x 4) and ``third`` (16 x 4 x 4, or 12 if residual)."""
    x = net.relu(net.conv(x, 3, 8, "first.conv", kernel=5, stride=4), "first")
    x = net.relu(net.conv(x, 8, 12, "second.conv", stride=2), "second")
    if not residual:
        return net.relu(net.conv(x, 12, 16, "third.conv"), "third")
    y = net.relu(net.conv(x, 12, 12, "third.a"), "third.a.relu")
    return net.relu(net.add("Add", [net.conv(y, 12, 12, "third.b"), x], "third.sum"), "third")


def classifier(head="gemm", residual=False, shape=("N", 3, 32, 32)):
    """A convolutional classifier of five classes."""
    net = Network()
    x, channels = body(net, residual=residual), 12 if residual else 16
    if head == "mean":
        x = net.add("ReduceMean", [x], "mean", axes=[2, 3], keepdims=0)
        x = net.add("Add", [net.dense(x, channels, 5, "product"), net.weights("bias", 5)], "sum")
        net.add("Softmax", [x], "scores", axis=1)
        return net.model(["scores"], shape)
    x = net.add("GlobalAveragePool", [x], "pool")
    if head == "conv":
        net.add("Flatten", [net.conv(x, channels, 5, "last", kernel=1)], "scores")
    elif head == "gemm":
        net.gemm(net.add("Flatten", [x], "flat"), channels, 5, "scores")
    elif head == "none":
        net.add("Flatten", [x], "scores")
    return net.model(["scores"], shape)


def channels_last(shape=("N", 32, 32, 3)):
    """A classifier that takes (n, rows, columns, colours) and goes on so, as exported from TensorFlow."""
    net = Network()
    x = net.add("Transpose", ["image"], "moved", perm=[0, 3, 1, 2])
    x = net.add("Transpose", [body(net, x)], "back", perm=[0, 2, 3, 1])
    x = net.relu(net.dense(x, 16, 20, "pointwise"), "fourth")
    x = net.add("ReduceMean", [x], "mean", axes=[1, 2], keepdims=0)
    net.gemm(x, 20, 5, "scores")
    return net.model(["scores"], shape)


def transformer(end="class", registers=0, blocks=2):
    """A vision transformer: 4 x 4 patches of 24 channels, a class token, `registers` and two blocks.

    end: "class" (a classifier on the class token), "mean" (on the patches' mean) or "tokens" (none: all tokens).
    """
    net, c = Network(), 24
    x = net.conv("image", 3, c, "patches", kernel=8, stride=8)  # 32 + 2 * 3 pixels: 4 patches
    x = net.add("Reshape", [x, net.constant(np.array([0, c, -1]), "to.rows")], "rows")
    x = net.add("Transpose", [x], "tokens", perm=[0, 2, 1])
    if end != "mean":
        # the exporters' way: as many class tokens as the input has photographs
        size = net.add("Shape", ["image"], "image.shape")
        n = net.add("Gather", [size, net.constant(np.array([0]), "zero")], "image.n")
        lengths = net.add("Concat", [n, net.constant(np.array([1 + registers, c]), "token.shape")], "lengths", axis=0)
        token = net.add("Expand", [net.weights("token", 1, 1 + registers, c), lengths], "token.all")
        x = net.add("Concat", [token, x], "with.token", axis=1)
    places = 16 + (end != "mean") * (1 + registers)
    x = net.add("Add", [x, net.weights("position", 1, places, c)], "placed")

    def norm(x, name):
        ones = net.constant(np.ones(c, np.float32), f"{name}.scale")
        return net.add("LayerNormalization", [x, ones], name, axis=-1)

    for block in range(blocks):
        name = f"block{block}"
        y = norm(x, f"{name}.norm1")
        q, k, v = (net.dense(y, c, c, f"{name}.{part}") for part in "qkv")
        likeness = net.add("MatMul", [q, net.add("Transpose", [k], f"{name}.kt", perm=[0, 2, 1])], f"{name}.qk")
        y = net.add("MatMul", [net.add("Softmax", [likeness], f"{name}.softmax", axis=-1), v], f"{name}.av")
        x = net.add("Add", [x, net.dense(y, c, c, f"{name}.out")], f"{name}.middle")
        y = net.relu(net.dense(norm(x, f"{name}.norm2"), c, 2 * c, f"{name}.up"), f"{name}.relu")
        x = net.add("Add", [x, net.dense(y, 2 * c, c, f"{name}.down")], f"{name}.end")
    x = norm(x, "norm")
    if end == "tokens":
        return net.model(["norm"])
    if end == "mean":
        x = net.add("ReduceMean", [x], "pooled", axes=[1], keepdims=0)
    else:
        x = net.add("Gather", [x, net.constant(np.array(0), "first")], "pooled", axis=1)
    net.gemm(x, c, 5, "scores")
    return net.model(["scores"])


def save(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def image_encoder(output="image_embeds", shape=("N", 3, 32, 32), width=6, tokens=False, element=TensorProto.FLOAT):
    """An image encoder: a photograph's colours in 16 places, mixed; or, with `tokens`, a vector for each place."""
    net = Network(3)
    x = "image"
    if element != TensorProto.FLOAT:
        x = net.add("Cast", [x], "as_float", to=TensorProto.FLOAT)
    x = net.add("AveragePool", [x], "places", kernel_shape=[8, 8], strides=[8, 8])
    if tokens:
        x = net.add("Reshape", [x, net.constant(np.array([0, 3, 16]), "to.rows")], "rows")
        net.dense(net.add("Transpose", [x], "tokens", perm=[0, 2, 1]), 3, width, output)
    else:
        net.dense(net.add("Flatten", [x], "flat"), 48, width, output)
    return net.model([output], shape, element=element)


TEXT_WORDS = ("[PAD]", "[START]", "[END]", "[UNK]", "a", "photo", "of", "an", "cat", "dog", "astronaut", "drum", "fig")
"""What the tokenizer of `tokenizer_file` knows."""


def text_encoder(output="text_embeds", shape=("N", "T"), width=6, element=TensorProto.INT64, tokens=False):
    """A text encoder: the sum of its words' vectors; or, with `tokens`, each of these
    and the mean of all."""
    net = Network(4)
    table = net.weights("table", len(TEXT_WORDS), width)
    x = net.add("Gather", [table, "input_ids"], "words")
    if tokens:
        net.add("Add", [x, net.add("ReduceMean", [x], "all", axes=[1], keepdims=1)], output)
    else:
        net.add("ReduceSum", [x, net.constant(np.array([1]), "axis")], output, keepdims=0)
    model = net.model([output], (1, 3, 8, 8))
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("input_ids", element, shape))
    return model


def both_encoders():
    """A whole CLIP: photographs and texts in, their likeness and the vectors out."""
    image, text = image_encoder(), text_encoder()
    nodes = [*image.graph.node, *text.graph.node]
    nodes.append(helper.make_node("Gemm", ["image_embeds", "text_embeds"], ["logits_per_image"], transB=1))
    graph = helper.make_graph(
        nodes,
        "clip",
        [*image.graph.input, *text.graph.input],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("logits_per_image", "text_embeds", "image_embeds")
        ],
        [*image.graph.initializer, *text.graph.initializer],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tokenizer_file(path):
    """Write the tokenizer of `text_encoder`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(TEXT_WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[START]", 1), ("[END]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[START] $A [END]", special_tokens=ends)
    tokenizer.save(str(path))
    return path
