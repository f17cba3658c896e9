"""ONNX files against traces made by hand."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nofm.kernels.errors import InputError
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul, VectorWork, WeightLayer
from nofm.workloads.onnx_file import OTHER_PRODUCTS, load
from nofm.workloads.onnx_products import PRODUCTS
from nofm.workloads.onnx_vector import FREE_OPERATORS, VECTOR_OPERATORS
from nofm.workloads.trace import Trace

onnx = pytest.importorskip("onnx")
helper = onnx.helper
FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL

Shape = Sequence[int | str]
BACKWARD = "an ONNX file has no backward pass: what it moves is estimated from the forward sizes"
TRAINED = "an ONNX file does not say what is trained: every parameter is taken to be"


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node named after its first output; a "-" stands for an input that is left out."""
    names = [name.replace("-", "") for name in inputs.split()]
    return helper.make_node(operator, names, outputs.split(), outputs.split()[0], **attributes)


def weight(name: str, shape: Sequence[int], kind: int = FLOAT) -> Any:
    """A weight without its elements: they lie in a file that is not there."""
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="not-there.bin")
    return tensor


def integers(name: str, values: Sequence[int]) -> Any:
    return helper.make_tensor(name, INT64, [len(values)], values)


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Shape],
    constants: Sequence[Any] = (),
    kinds: dict[str, int] | None = None,
) -> Any:
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(name, (kinds or {}).get(name, FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(last, FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def write(folder: Path, message: Any) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(message if isinstance(message, bytes) else message.SerializeToString())
    return path


def trace_of(
    folder: Path,
    nodes: Sequence[Any],
    inputs: dict[str, Shape],
    constants: Sequence[Any] = (),
    kinds: dict[str, int] | None = None,
    batch: int | None = None,
) -> Trace:
    return load(write(folder, model(nodes, inputs, constants, kinds)), batch)


def convolution(
    name: str,
    channels: tuple[int, int],
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    **rest: Any,
) -> Convolution:
    rank = len(size)
    return Convolution(
        name=name,
        weight=f"{name}.weight",
        in_channels=channels[0],
        out_channels=channels[1],
        size=size,
        kernel=kernel,
        **{
            "stride": (1,) * rank,
            "padding": ((0, 0),) * rank,
            "dilation": (1,) * rank,
            "batch": 4,
            **rest,
        },
    )


def products(trace: Trace) -> list[Layer]:
    return [layer for layer in trace.layers if not isinstance(layer, VectorWork)]


CONV_NET = (
    [
        node("Conv", "x stem.weight", "stem", strides=[2, 2], pads=[0, 1, 2, 3]),
        node("BatchNormalization", "stem bn.s bn.b bn.mean bn.var", "bn"),
        node("Relu", "bn", "relu"),
        node("MaxPool", "relu", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "pool dw.weight dw.bias", "dw", group=16, pads=[1, 1, 1, 1]),
        node("Conv", "dw grouped.weight", "grouped", group=4),
        node("Conv", "grouped dilated.weight", "dilated", dilations=[2, 1], pads=[2, 1, 2, 1]),
        node("Add", "dilated grouped", "join"),
        node("GlobalAveragePool", "join", "mean"),
        node("Flatten", "mean", "flat"),
        node("Gemm", "flat fc.weight fc.bias", "fc", transB=1),
    ],
    [
        weight("stem.weight", [16, 3, 5, 3]),
        *(weight(f"bn.{part}", [16]) for part in ("s", "b", "mean", "var")),
        weight("dw.weight", [16, 1, 3, 3]),
        weight("dw.bias", [16]),
        weight("grouped.weight", [32, 4, 1, 1]),
        weight("dilated.weight", [32, 32, 3, 3]),
        weight("fc.weight", [10, 32]),
        weight("fc.bias", [10]),
    ],
)


def test_a_convolutional_network(tmp_path: Path) -> None:
    nodes, constants = CONV_NET
    trace = trace_of(tmp_path, nodes, {"x": ["b", 3, 33, 32]}, constants, batch=4)
    assert products(trace) == [
        convolution(
            "stem",
            (3, 16),
            (33, 32),
            (5, 3),
            stride=(2, 2),
            padding=((0, 2), (1, 3)),
            input_gradient=False,
            prunable=False,
        ),
        convolution(
            "dw", (16, 16), (8, 8), (3, 3), padding=((1, 1), (1, 1)), groups=16, bias=True
        ),
        convolution("grouped", (16, 32), (8, 8), (1, 1), groups=4),
        convolution(
            "dilated", (32, 32), (8, 8), (3, 3), padding=((2, 2), (1, 1)), dilation=(2, 1)
        ),
        Linear(
            name="fc",
            weight="fc.weight",
            in_features=32,
            out_features=10,
            bias=True,
            prunable=False,
            batch=4,
        ),
    ]
    assert (trace.name, trace.batch, trace.source) == ("net", 4, "ONNX file net.onnx")
    assert trace.parameters == 2 * 16 + 16 + 10
    assert trace.notes == (BACKWARD, TRAINED)


def test_moved_elements_of_a_convolutional_network(tmp_path: Path) -> None:
    nodes, constants = CONV_NET
    trace = trace_of(tmp_path, nodes, {"x": ["b", 3, 33, 32]}, constants)
    map_, half, deep = 16 * 16 * 17, 16 * 8 * 8, 32 * 8 * 8
    assert [layer for layer in trace.layers if isinstance(layer, VectorWork)] == [
        VectorWork(
            name="bn",
            work="normalisation",
            forward_reads=2 * map_,
            forward_writes=map_,
            backward_reads=4 * map_,
            backward_writes=map_,
            fixed_forward_reads=32,
            fixed_backward_writes=32,
        ),
        VectorWork(
            name="relu",
            work="elementwise",
            forward_reads=map_,
            forward_writes=map_,
            backward_reads=2 * map_,
            backward_writes=map_,
        ),
        VectorWork(
            name="pool",
            work="pooling",
            forward_reads=map_,
            forward_writes=half,
            backward_reads=2 * half,
            backward_writes=map_,
        ),
        VectorWork(
            name="join",
            work="elementwise",
            forward_reads=2 * deep,
            forward_writes=deep,
            backward_reads=deep,
            backward_writes=2 * deep,
        ),
        VectorWork(
            name="mean",
            work="pooling",
            forward_reads=deep,
            forward_writes=32,
            backward_reads=64,
            backward_writes=deep,
        ),
    ]


def attention(batch: int | str) -> tuple[list[Any], dict[str, Shape], list[Any], dict[str, int]]:
    """Embedding and position, one attention block of two heads, and a tied head."""
    heads = "shape_heads"
    nodes = [
        node("Gather", "table.weight ids", "embedding"),
        node("Add", "embedding position", "x"),
    ]
    for name in "qkv":
        nodes += [
            node("Transpose", f"{name}.weight", f"{name}_t", perm=[1, 0]),
            node("MatMul", f"x {name}_t", f"{name}_product"),
            node("Add", f"{name}.bias {name}_product", f"{name}_biased"),
            node("Reshape", f"{name}_biased {heads}", f"{name}_heads"),
            node(
                "Transpose", f"{name}_heads", name, perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
            ),
        ]
    nodes += [
        node("MatMul", "q k", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Where", "mask scaled lowest", "masked"),
        node("Softmax", "masked", "probabilities"),
        node("MatMul", "probabilities v", "mixed"),
        node("Transpose", "mixed", "mixed_t", perm=[0, 2, 1, 3]),
        node("Reshape", "mixed_t shape_rows", "rows"),
        node("MatMul", "rows o.weight", "o_product"),
        node("Add", "x o_product", "sum"),
        node("LayerNormalization", "sum norm.scale norm.bias", "norm"),
        node("Transpose", "table.weight", "table_t", perm=[1, 0]),
        node("MatMul", "norm table_t", "logits"),
    ]
    constants = [
        weight("table.weight", [100, 8]),
        weight("position", [1, 6, 8]),
        *(weight(f"{name}.weight", [8, 8]) for name in "qkvo"),
        *(weight(f"{name}.bias", [8]) for name in "qkv"),
        weight("norm.scale", [8]),
        weight("norm.bias", [8]),
        weight("mask", [1, 1, 6, 6], BOOL),
        helper.make_tensor("scale", FLOAT, [], [0.5]),
        helper.make_tensor("lowest", FLOAT, [], [-1e9]),
        integers(heads, [-1, 6, 2, 4]),
        integers("shape_rows", [-1, 6, 8]),
    ]
    return nodes, {"ids": [batch, 6]}, constants, {"ids": INT64}


@pytest.mark.parametrize("batch", ["batch", 5])
def test_an_attention_block(tmp_path: Path, batch: int | str) -> None:
    trace = trace_of(tmp_path, *attention(batch))
    size = 1 if batch == "batch" else 5

    def linear(name: str, parameter: str, columns: int = 8, **rest: Any) -> Linear:
        return Linear(
            name=name,
            weight=parameter,
            rows=6,
            in_features=8,
            out_features=columns,
            batch=size,
            **rest,
        )

    assert products(trace) == [
        linear("q", "q.weight", bias=True),
        linear("k", "k.weight", bias=True),
        linear("v", "v.weight", bias=True),
        MatMul(name="scores", count=2, m=6, k=4, n=6, batch=size),
        MatMul(name="mixed", count=2, m=6, k=6, n=4, batch=size),
        linear("o", "o.weight"),
        linear("table", "table.weight", 100, prunable=False),
    ]
    work = {layer.name: layer for layer in trace.layers if isinstance(layer, VectorWork)}
    assert {name: layer.work for name, layer in work.items()} == {
        "embedding": "embedding",
        "x": "elementwise",
        "scaled": "elementwise",
        "masked": "elementwise",
        "probabilities": "softmax",
        "sum": "elementwise",
        "norm": "normalisation",
    }
    assert work["embedding"] == VectorWork(
        name="embedding",
        work="embedding",
        forward_reads=48,
        forward_writes=48,
        backward_reads=48,
        fixed_backward_writes=800,
        batch=size,
    )
    assert work["x"] == VectorWork(
        name="x",
        work="elementwise",
        forward_reads=48,
        forward_writes=48,
        backward_reads=48,
        fixed_forward_reads=48,
        fixed_backward_writes=48,
        batch=size,
    )
    # A constant scales: the gradient needs no input again.
    assert work["scaled"].elements("bp") == (72 * size, 72 * size)
    assert work["probabilities"].elements("bp") == (144 * size, 72 * size)
    # The tied table is the head's weight, so it is no parameter beside the layers.
    assert trace.parameters == 48 + 3 * 8 + 2 * 8
    fixed = [] if batch == "batch" else [
        "the file fixes the batch at 5: sizes that it divides are taken to grow"
    ]
    assert list(trace.notes) == [BACKWARD, TRAINED, *fixed]


@pytest.mark.parametrize(
    ("given", "asked", "expected"), [("b", None, 1), ("b", 7, 7), (3, None, 3), (3, 7, 7)]
)
def test_batch(tmp_path: Path, given: int | str, asked: int | None, expected: int) -> None:
    nodes = [node("Flatten", "x", "flat"), node("Gemm", "flat fc.weight", "fc")]
    trace = trace_of(tmp_path, nodes, {"x": [given, 2, 4]}, [weight("fc.weight", [8, 5])], batch=asked)
    assert trace.batch == expected
    assert trace.layers == (
        Linear(
            name="fc",
            weight="fc.weight",
            in_features=8,
            out_features=5,
            input_gradient=False,
            prunable=False,
            batch=expected,
        ),
    )


def test_a_shared_weight_is_one_parameter(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x shared.weight", "first"),
        node("MatMul", "first shared.weight", "second"),
        node("MatMul", "second head", "logits"),
    ]
    constants = [weight("shared.weight", [8, 8]), weight("head", [8, 2])]
    layers = trace_of(tmp_path, nodes, {"x": ["b", 3, 8]}, constants).weight_layers
    assert [(layer.name, layer.weight) for layer in layers] == [
        ("shared", "shared.weight"),
        ("shared#2", "shared.weight"),
        ("logits", "head"),
    ]
    assert [(layer.input_gradient, layer.prunable) for layer in layers] == [
        (False, False),
        (True, True),
        (True, False),
    ]


@pytest.mark.parametrize(
    ("attributes", "padding"),
    [
        ({"auto_pad": "SAME_UPPER"}, ((0, 1), (1, 2))),
        ({"auto_pad": "SAME_LOWER"}, ((1, 0), (2, 1))),
        ({"auto_pad": "VALID"}, ((0, 0), (0, 0))),
        ({"pads": [3, 0, 1, 2]}, ((3, 1), (0, 2))),
        ({}, ((0, 0), (0, 0))),
    ],
)
def test_padding(
    tmp_path: Path, attributes: dict[str, Any], padding: tuple[tuple[int, int], ...]
) -> None:
    nodes = [node("Conv", "x c.weight", "c", strides=[2, 2], dilations=[1, 2], **attributes)]
    trace = trace_of(tmp_path, nodes, {"x": ["b", 3, 8, 9]}, [weight("c.weight", [4, 3, 3, 2])])
    (layer,) = trace.layers
    assert isinstance(layer, Convolution)
    # SAME: 4 outputs of 8 at stride 2 span 9, and 5 of 9 span 11 with the dilated kernel of 3.
    expected = padding
    if "SAME" in attributes.get("auto_pad", ""):
        expected = ((padding[0]), ((1, 1)))
    assert layer.padding == expected


TRANSPOSED = [
    ({"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]}, (16, 17)),
    ({"strides": [2, 2], "output_shape": [16, 15]}, (16, 15)),
    ({"strides": [2, 2], "output_shape": [17, 15], "auto_pad": "SAME_UPPER"}, (17, 15)),
    ({"strides": [2, 2], "auto_pad": "SAME_LOWER"}, (16, 16)),
    ({"strides": [4, 4], "auto_pad": "SAME_UPPER"}, (32, 32)),
    ({"group": 2, "dilations": [1, 3]}, (10, 14)),
]


@pytest.mark.parametrize(("attributes", "output"), TRANSPOSED)
def test_transposed_convolution(
    tmp_path: Path, attributes: dict[str, Any], output: tuple[int, int]
) -> None:
    nodes = [node("ConvTranspose", "x up.weight", "up", **attributes)]
    trace = trace_of(tmp_path, nodes, {"x": ["b", 4, 8, 8]}, [weight("up.weight", [4, 6, 3, 3])])
    (layer,) = trace.layers
    assert isinstance(layer, Convolution)
    assert layer.transposed
    assert (layer.in_channels, layer.out_channels) == (4, 6 * attributes.get("group", 1))
    assert layer.output_size == output


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    automatic=st.sampled_from(["SAME_UPPER", "SAME_LOWER"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_same_padding_keeps_the_size(
    tmp_path: Path,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    automatic: str,
) -> None:
    nodes = [
        node("Conv", "x c", "y", strides=stride, dilations=dilation, auto_pad=automatic)
    ]
    (layer,) = trace_of(tmp_path, nodes, {"x": [1, 1, *size]}, [weight("c", [1, 1, *kernel])]).layers
    assert isinstance(layer, Convolution)
    assert layer.output_size == tuple(-(-s // t) for s, t in zip(size, stride, strict=True))
    for before, after in layer.padding:
        assert (after - before if automatic == "SAME_UPPER" else before - after) in (0, 1)


@pytest.mark.parametrize(
    ("operator", "first", "second", "constant", "expected"),
    [
        # The weight may come first, and vectors count as matrices.
        ("MatMul", ["b", 8, 3], [5, 8], "second", Linear(name="y", weight="w", rows=3, in_features=8, out_features=5)),
        ("MatMul", ["b", 8], [8], "second", Linear(name="y", weight="w", in_features=8, out_features=1)),
        ("MatMul", ["b", 2, 3, 8], [1, 8, 5], "second", Linear(name="y", weight="w", rows=6, in_features=8, out_features=5)),
        ("MatMul", ["b", 2, 3, 8], ["b", 1, 8, 5], "", MatMul(name="y", count=2, m=3, k=8, n=5)),
        ("MatMul", ["b", 3, 8], [4, 1, 8, 5], "", None),
        # Rows that grow, against an operand that does not.
        ("MatMul", ["b", 8], [8, 5], "", MatMul(name="y", m=1, k=8, n=5)),
        ("Gemm", [4, 8], [8, 5], "", MatMul(name="y", m=4, k=8, n=5, batched=False)),
    ],
)
def test_products_of_all_forms(
    tmp_path: Path,
    operator: str,
    first: Shape,
    second: Shape,
    constant: str,
    expected: Layer | None,
) -> None:
    ...
