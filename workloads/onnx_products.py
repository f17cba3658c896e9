"""The products of an ONNX graph as layers of one sample each: Conv, ConvTranspose, Gemm, MatMul."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nofm.kernels.errors import InputError
from nofm.workloads.layer import Convolution, Linear, MatMul
from nofm.workloads.onnx_graph import Growth, OnnxGraph, OnnxNode


@dataclass(frozen=True, slots=True)
class Product:
    """A product of a graph.

    Attributes:
        layer: its sizes for one sample, or for all where it does not grow with the batch.
        grows: whether it grows with the batch.
        first, second: the tensors of its operands; `second` is the weight of a weight layer.
        bias: the tensor that is added to the output, "" for none.
    """

    layer: Convolution | Linear | MatMul
    grows: bool
    first: str
    second: str
    bias: str = ""


def refusal(graph: OnnxGraph, node: OnnxNode, reason: str) -> InputError:
    """The error for a product that cannot be lowered."""
    return InputError(
        f"{graph.name}: every product must be lowered, but {node.operator} {node.name!r} {reason}"
    )


def _a_sample(graph: OnnxGraph, node: OnnxNode, growth: Growth) -> int:
    """What a count is for one sample, or at every batch where it does not grow."""
    if growth.each and growth.fixed:
        raise refusal(graph, node, "has a size that does not grow evenly with the batch")
    return growth.each or growth.fixed


def _integers(
    graph: OnnxGraph, node: OnnxNode, name: str, count: int, default: int
) -> tuple[int, ...]:
    values = node.attributes.get(name) or (default,) * count
    if not isinstance(values, tuple) or len(values) != count:
        raise refusal(graph, node, f"must have {count} {name}, not {values!r}"[:200])
    return values


def _convolution(graph: OnnxGraph, node: OnnxNode) -> Product:
    activation, weight, *bias = node.inputs
    if weight not in graph.constants:
        raise refusal(graph, node, "has a weight that is computed")
    transposed = node.operator == "ConvTranspose"
    inputs = graph.shape(node, activation)
    filters = graph.shape(node, weight)[0]
    rank = len(filters) - 2
    if rank < 1 or any(len(shape) != rank + 2 for shape in inputs):
        raise refusal(graph, node, f"has an input of shape {inputs[0]} and a weight of {filters}")
    if any(shape[1:] != inputs[0][1:] for shape in inputs):
        raise refusal(graph, node, "has channels or positions that grow with the batch")
    groups = node.attributes.get("group", 1)
    if not isinstance(groups, int):
        raise refusal(graph, node, f"must have a whole number of groups, not {groups!r}"[:200])
    in_channels, out_channels = (
        (filters[0], filters[1] * groups) if transposed else (filters[1] * groups, filters[0])
    )
    if in_channels != inputs[0][1]:
        raise refusal(
            graph, node, f"has {inputs[0][1]} input channels, but a weight for {in_channels}"
        )
    size, kernel = inputs[0][2:], filters[2:]
    outputs = graph.shape(node, node.outputs[0])[0][2:]
    stride = _integers(graph, node, "strides", rank, 1)
    dilation = _integers(graph, node, "dilations", rank, 1)
    extra = _integers(graph, node, "output_padding", rank, 0) if transposed else ()
    padding = _padding(graph, node, size, outputs, kernel, stride, dilation, extra)
    growth = graph.growth([shape[0] for shape in inputs])
    images = _a_sample(graph, node, growth)
    layer = Convolution(
        name=node.name,
        in_channels=in_channels,
        out_channels=out_channels,
        size=size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        transposed=transposed,
        output_padding=extra,
        bias=any(bias),
        batch=images,
        maps=images if growth.each else 1,
    )
    if layer.output_size != outputs:
        raise refusal(graph, node, f"gives {layer.output_size}, but {outputs} by shape inference")
    return Product(layer, growth.each > 0, activation, weight, bias[0] if bias else "")


def _padding(
    graph: OnnxGraph,
    node: OnnxNode,
    size: tuple[int, ...],
    outputs: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    extra: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """(before, after) by spatial dimension, as the operator's specification has it."""
    rank = len(size)
    automatic = node.attributes.get("auto_pad", "NOTSET")
    if automatic == "VALID":
        return ((0, 0),) * rank
    if automatic == "NOTSET" and not node.attributes.get("output_shape"):
        pads = _integers(graph, node, "pads", 2 * rank, 0)
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    padding = []
    for axis in range(rank):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        if node.operator == "Conv":
            total = (outputs[axis] - 1) * stride[axis] + span - size[axis]
        else:
            total = (size[axis] - 1) * stride[axis] + span + extra[axis] - outputs[axis]
        if node.operator == "Conv":
            # Windows that skip positions need no padding.
            total = max(total, 0)
        less, more = total // 2, total - total // 2
        padding.append((less, more) if automatic == "SAME_UPPER" else (more, less))
    return tuple(padding)


def _matrix(shape: tuple[int, ...], *, second: bool) -> tuple[int, ...]:
    """A MatMul operand's shape with the dimension that a vector lacks."""
    if len(shape) == 1:
        return (*shape, 1) if second else (1, *shape)
    return shape


def _gemm(graph: OnnxGraph, node: OnnxNode) -> Product:
    flips = node.attributes.get("transA", 0), node.attributes.get("transB", 0)
    shapes = [
        [shape[::-1] if flip else shape for shape in graph.shape(node, name)]
        for name, flip in zip(node.inputs[:2], flips, strict=True)
    ]
    if any(len(shape) != 2 for operand in shapes for shape in operand):
        raise refusal(graph, node, "has an operand that is no matrix")
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    return _product(graph, node, shapes[0], shapes[1], bias)


def _matmul(graph: OnnxGraph, node: OnnxNode) -> Product:
    first, second = node.inputs[:2]
    shapes = [graph.shape(node, first), graph.shape(node, second)]
    if any(not shape for operand in shapes for shape in operand):
        raise refusal(graph, node, "has an operand without dimensions")
    return _product(
        graph,
        node,
        [_matrix(shape, second=False) for shape in shapes[0]],
        [_matrix(shape, second=True) for shape in shapes[1]],
    )


def _product(
    graph: OnnxGraph,
    node: OnnxNode,
    first: list[tuple[int, ...]],
    second: list[tuple[int, ...]],
    bias: str = "",
) -> Product:
    """[..., m, k] by [..., k, n], at each measured batch; one operand may be a weight."""
    names = node.inputs[:2]
    if any(a[-1] != b[-2] for a, b in zip(first, second, strict=True)):
        raise refusal(graph, node, f"multiplies {first[0]} by {second[0]}")
    if names[1] in graph.constants:
        rows = [math.prod(shape[:-1]) for shape in first]
        return _linear(graph, node, names, rows, second, bias)
    if names[0] in graph.constants:
        rows = [math.prod(shape[:-2]) * shape[-1] for shape in second]
        weights = [(*shape[:-2], shape[-1], shape[-2]) for shape in first]
        return _linear(graph, node, names[::-1], rows, weights, bias)
    return _of_activations(graph, node, first, second)


def _of_activations(
    graph: OnnxGraph,
    node: OnnxNode,
    first: list[tuple[int, ...]],
    second: list[tuple[int, ...]],
) -> Product:
    """A product of two activations: one of its sizes may grow with the batch."""
    sizes = {
        "count": [_stack(graph, node, a, b) for a, b in zip(first, second, strict=True)],
        "m": [shape[-2] for shape in first],
        "k": [shape[-1] for shape in first],
        "n": [shape[-1] for shape in second],
    }
    growing = [name for name, values in sizes.items() if graph.growth(values).each]
    if graph.batch is not None:
        # Any size may be one that the batch only happens to divide.
        growing = [name for name in growing if name in ("count", "m")][:1]
    if len(growing) > 1 or "k" in growing:
        raise refusal(graph, node, f"has more than rows that grow with the batch: {growing}")
    each = {
        name: _a_sample(graph, node, graph.growth(values)) if name in growing else values[0]
        for name, values in sizes.items()
    }
    operands = node.inputs[0], node.inputs[1]
    if growing == ["n"]:
        each["m"], each["n"] = each["n"], each["m"]
        operands = operands[::-1]
    layer = MatMul(name=node.name, count=each["count"], m=each["m"], k=each["k"], n=each["n"])
    return Product(layer, bool(growing), *operands)


def _stack(graph: OnnxGraph, node: OnnxNode, a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many products [..., m, k] by [..., k, n] are, broadcast as in NumPy."""
    rank = max(len(a), len(b))
    count = 1
    for left, right in zip(
        (1,) * (rank - len(a)) + a[:-2], (1,) * (rank - len(b)) + b[:-2], strict=True
    ):
        if left != right and 1 not in (left, right):
            raise refusal(graph, node, f"multiplies {a} by {b}")
        count *= right if left == 1 else left
    return count


def _linear(
    graph: OnnxGraph,
    node: OnnxNode,
    operands: tuple[str, ...],
    rows: list[int],
    weights: list[tuple[int, ...]],
    bias: str,
) -> Product:
    """A product of an activation and a weight of shape [..., in, out]."""
    shape = weights[0]
    if math.prod(shape[:-2]) != 1 or any(other != shape for other in weights):
        raise refusal(graph, node, f"has a stack of weights, of shape {shape}")
    growth = graph.growth(rows)
    layer = Linear(
        name=node.name,
        rows=_a_sample(graph, node, growth),
        in_features=shape[-2],
        out_features=shape[-1],
        bias=bias in graph.constants,
    )
    activation, weight = operands
    return Product(layer, growth.each > 0, activation, weight, bias)


PRODUCTS: dict[str, Callable[[OnnxGraph, OnnxNode], Product]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
"""The products that are lowered."""


def lower(graph: OnnxGraph, node: OnnxNode) -> Product:
    """The product that a node of `PRODUCTS` computes.

    Raises:
        InputError: its operands do not fit or are not known, its weight is computed or one of a
            stack, or it grows with the batch in a way that no sample explains.
    """
    if len(node.inputs) < 2 or not all((*node.inputs[:2], *node.outputs[:1])) or not node.outputs:
        raise refusal(graph, node, "lacks an operand or a result")
    return PRODUCTS[node.operator](graph, node)
