"""The work of an ONNX graph that moves elements: what each operator reads and writes.

The forward pass is read off the tensors. The backward pass is not in the file; it is estimated by
the kind of work, as docs/onnx.md tabulates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from nofm.workloads.layer import VectorKind, VectorWork
from nofm.workloads.onnx_graph import Growth, OnnxGraph, OnnxNode

Saved = Literal["nothing", "inputs", "output"]

# The kind of work; what the backward pass reads again beside the output's gradient; the operators.
_MOVING: tuple[tuple[VectorKind, Saved, str], ...] = (
    ("elementwise", "nothing", "Add Cast CastLike Ceil Floor Mean Neg Round Sign Sub Sum"),
    (
        "elementwise",
        "inputs",
        "Abs Acos Acosh And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr "
        "BitwiseXor Celu Clip Cos Cosh DequantizeLinear Div Dropout DynamicQuantizeLinear Elu "
        "Equal Erf Exp Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu "
        "Less LessOrEqual Log Max Min Mish Mod Mul Not Or PRelu Pow QuantizeLinear Reciprocal "
        "Relu Selu Shrink Sigmoid Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu "
        "Where Xor",
    ),
    (
        "normalisation",
        "inputs",
        "BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization "
        "LpNormalization MeanVarianceNormalization RMSNormalization",
    ),
    (
        "pooling",
        "output",
        "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample LpPool MaxPool "
        "MaxRoiPool Resize RoiAlign Upsample",
    ),
    ("softmax", "output", "Hardmax LogSoftmax Softmax"),
    (
        "reduction",
        "nothing",
        "ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax "
        "ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK",
    ),
    (
        "copy",
        "nothing",
        "CenterCropPad Col2Im Concat DepthToSpace Gather GatherElements GatherND OneHot Pad "
        "ReverseSequence Scatter ScatterElements ScatterND SpaceToDepth Tile Trilu",
    ),
)
VECTOR_OPERATORS = {
    operator: (kind, saved) for kind, saved, names in _MOVING for operator in names.split()
}
"""Operators that move elements: the kind of work, and what their backward pass reads again."""

_FREE = (
    "Constant ConstantOfShape Expand EyeLike Flatten Identity Range Reshape Shape Size Slice Split "
    "Squeeze Transpose Unsqueeze"
)
FREE_OPERATORS = frozenset(_FREE.split())
"""Operators that move nothing: whoever reads their output can read their input in place."""

TWO_PASSES = ("BatchNormalization", "GroupNormalization", "InstanceNormalization")
"""Normalisations over whole feature maps: they read them once for the sums, and once more."""
JOINS = ("Add", "Sub", "Sum")
"""Operators that hand the output's gradient on to their inputs as it is."""
SCALINGS = ("Div", "Mul")
"""Operators that need no input again where a constant scales it."""
PARAMETER_INPUTS = {
    "Add": slice(None),
    "Concat": slice(None),
    "Gather": slice(0, 1),
    "Mul": slice(None),
    "PRelu": slice(1, 2),
    # A scale and an offset; running statistics are not trained.
    **{
        name: slice(1, 3) for name, (kind, _) in VECTOR_OPERATORS.items() if kind == "normalisation"
    },
}
"""Where an operator's constants are trained: biases, tokens, tables, scales and slopes."""


def parameters(graph: OnnxGraph, node: OnnxNode) -> list[str]:
    """The trained tensors of a node; single numbers are none, nor is what the graph computes."""
    names = node.inputs[PARAMETER_INPUTS.get(node.operator, slice(0))]
    return [
        name
        for name in dict.fromkeys(names)
        if graph.is_stored_parameter(name) and graph.elements(node, name).fixed > 1
    ]


def is_embedding(graph: OnnxGraph, node: OnnxNode) -> bool:
    """Whether a node looks rows up in a table."""
    return node.operator == "Gather" and any(map(graph.is_parameter, node.inputs[:1]))


def vector_work(graph: OnnxGraph, node: OnnxNode, trained: Collection[str]) -> VectorWork:
    """What a node moves; an operator that is not known is taken for elementwise.

    Args:
        graph: the graph.
        node: one of its nodes.
        trained: the tensors whose gradient is needed.

    Raises:
        InputError: the size of one of its tensors is not known.
    """
    kind, saved = VECTOR_OPERATORS.get(node.operator, ("elementwise", "inputs"))
    if is_embedding(graph, node):
        kind = "embedding"
    inputs = [name for name in node.inputs if name and name not in graph.constants]
    outputs = [
        name
        for index, name in enumerate(node.outputs)
        if name and (index == 0 or name in graph.users)
    ]
    has_gradient = any(name in trained for name in node.outputs)
    own = parameters(graph, node) if has_gradient else []
    with_gradient = [name for name in inputs if name in trained]

    def total(names: Iterable[str]) -> Growth:
        return Growth.sum(graph.elements(node, name) for name in names)

    written = total(outputs)
    # Who copies a part reads that part, not the tensor that it lies in.
    given = written if kind in ("copy", "embedding") else total(inputs)
    again = {"nothing": Growth(0, 0), "inputs": given, "output": written}[saved]
    back_written = total(with_gradient)
    back_read = written + again
    if node.operator in JOINS and len(with_gradient) < 2:
        back_read, back_written = (written if own else Growth(0, 0)), Growth(0, 0)
    if node.operator in SCALINGS and len(inputs) < 2 and not own:
        back_read = written
    if node.operator in TWO_PASSES:
        given, back_read = given + given, back_read + back_read
    if not has_gradient:
        back_read = back_written = Growth(0, 0)
    # A table is read where rows are looked up, and its gradient is written as a whole.
    scales = Growth(0, 0) if kind == "embedding" else total(own)
    given, back_written = given + scales, back_written + total(own)
    return VectorWork(
        name=node.name,
        batched=any((written.each, given.each)),
        work=kind,
        forward_reads=given.each,
        forward_writes=written.each,
        backward_reads=back_read.each,
        backward_writes=back_written.each,
        fixed_forward_reads=given.fixed,
        fixed_forward_writes=written.fixed,
        fixed_backward_reads=back_read.fixed,
        fixed_backward_writes=back_written.fixed,
    )


def bias_work(graph: OnnxGraph, node: OnnxNode) -> VectorWork:
    """What the gradient of a weight layer's bias moves: it sums the output's gradient."""
    outputs = graph.elements(node, node.outputs[0])
    channels = graph.shape(node, node.outputs[0])[0][1 if "Conv" in node.operator else -1]
    return VectorWork(
        name=node.name,
        batched=outputs.each > 0,
        work="reduction",
        forward_reads=0,
        forward_writes=0,
        backward_reads=outputs.each,
        fixed_backward_reads=outputs.fixed,
        fixed_backward_writes=channels,
    )
