"""ONNX files against traces made by hand."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nofm.kernels.errors import InputError
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul, VectorWork, WeightLayer
from nofm.workloads.onnx_file import OTHER_PRODUCTS, load
from nofm.workloads.onnx_products import PRODUCTS
from nofm.workloads.onnx_vector import FREE_OPERATORS, VECTOR_OPERATORS
from nofm.workloads.trace import Trace

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
        convolution("dw", (16, 16), (8, 8), (3, 3), padding=((1, 1), (1, 1)), groups=16, bias=True),
        convolution("grouped", (16, 32), (8, 8), (1, 1), groups=4),
        convolution("dilated", (32, 32), (8, 8), (3, 3), padding=((2, 2), (1, 1)), dilation=(2, 1)),
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
            name="dw.bias",
            work="reduction",
            forward_reads=0,
            forward_writes=0,
            backward_reads=half,
            fixed_backward_writes=16,
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
        VectorWork(
            name="fc.bias",
            work="reduction",
            forward_reads=0,
            forward_writes=0,
            backward_reads=10,
            fixed_backward_writes=10,
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
                "Transpose",
                f"{name}_heads",
                name,
                perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3],
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
        "q.bias": "reduction",
        "k.bias": "reduction",
        "v.bias": "reduction",
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
    fixes = "the file fixes the batch at 5: sizes that it divides are taken to grow"
    assert trace.notes == (BACKWARD, TRAINED, *([fixes] if batch == 5 else []))


@pytest.mark.parametrize(
    ("given", "asked", "expected"), [("b", None, 1), ("b", 7, 7), (3, None, 3), (3, 7, 7)]
)
def test_batch(tmp_path: Path, given: int | str, asked: int | None, expected: int) -> None:
    nodes = [node("Flatten", "x", "flat"), node("Gemm", "flat fc.weight", "fc")]
    trace = trace_of(
        tmp_path, nodes, {"x": [given, 2, 4]}, [weight("fc.weight", [8, 5])], batch=asked
    )
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
        # 4 outputs of 8 rows span 9; 5 of 9 columns span 11, for the dilated kernel spans 3.
        ({"auto_pad": "SAME_UPPER"}, ((0, 1), (1, 1))),
        ({"auto_pad": "SAME_LOWER"}, ((1, 0), (1, 1))),
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
    assert layer.padding == padding


TRANSPOSED = [
    ({"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]}, (16, 16)),
    ({"strides": [2, 2], "output_shape": [16, 15]}, (16, 15)),
    ({"strides": [2, 2], "output_shape": [17, 15], "auto_pad": "SAME_UPPER"}, (17, 15)),
    ({"strides": [2, 2], "auto_pad": "SAME_LOWER"}, (16, 16)),
    # A kernel shorter than the stride leaves the last positions out.
    ({"strides": [4, 4], "auto_pad": "SAME_UPPER"}, (31, 31)),
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
    nodes = [node("Conv", "x c", "y", strides=stride, dilations=dilation, auto_pad=automatic)]
    (layer,) = trace_of(
        tmp_path, nodes, {"x": [1, 1, *size]}, [weight("c", [1, 1, *kernel])]
    ).layers
    assert isinstance(layer, Convolution)
    assert layer.output_size == tuple(-(-s // t) for s, t in zip(size, stride, strict=True))
    for before, after in layer.padding:
        assert (after - before if automatic == "SAME_UPPER" else before - after) in (0, 1)


def linear(rows: int, features: tuple[int, int]) -> Linear:
    return Linear(
        name="y",
        weight="w",
        rows=rows,
        in_features=features[0],
        out_features=features[1],
        input_gradient=False,
        prunable=False,
    )


def matmul(count: int, m: int, k: int, n: int, **rest: Any) -> MatMul:
    return MatMul(
        name="y",
        count=count,
        m=m,
        k=k,
        n=n,
        input_gradient=False,
        second_gradient=False,
        **rest,
    )


@pytest.mark.parametrize(
    ("operator", "shapes", "expected"),
    [
        ("MatMul", {"x": ["b", 3, 8], "w": [8, 5]}, linear(3, (8, 5))),
        ("MatMul", {"x": ["b", 8], "w": [8]}, linear(1, (8, 1))),
        ("MatMul", {"x": ["b", 2, 3, 8], "w": [1, 8, 5]}, linear(6, (8, 5))),
        ("MatMul", {"w": [5, 8], "x": ["b", 8, 3]}, linear(3, (8, 5))),
        ("Gemm", {"x": ["b", 8], "w": [8, 5]}, linear(1, (8, 5))),
        ("MatMul", {"x": ["b", 2, 3, 8], "z": ["b", 1, 8, 5]}, matmul(2, 3, 8, 5)),
        ("MatMul", {"x": [1, 3, 8], "z": ["b", 8, 5]}, matmul(1, 3, 8, 5)),
        # Only rows or columns grow: they are the rows of a sample.
        ("MatMul", {"x": ["b", 8], "z": [8, 5]}, matmul(1, 1, 8, 5)),
        ("MatMul", {"z": [5, 8], "t": ["b", 8]}, matmul(1, 1, 8, 5)),
        ("Gemm", {"x": [4, 8], "z": [8, 5]}, matmul(1, 1, 8, 5, batch=4)),
    ],
)
def test_products_of_all_forms(
    tmp_path: Path, operator: str, shapes: dict[str, Shape], expected: Layer
) -> None:
    """`w` is a weight, `x` and `z` are inputs, and `t` is one that is transposed first."""
    nodes = []
    if "t" in shapes:
        nodes.append(node("Transpose", "t", "turned", perm=[1, 0]))
    operands = " ".join(shapes).replace("t", "turned")
    nodes.append(node(operator, operands, "y"))
    constants = [weight("w", shapes["w"])] if "w" in shapes else []
    inputs = {name: shape for name, shape in shapes.items() if name != "w"}
    assert trace_of(tmp_path, nodes, inputs, constants).layers == (expected,)


def test_several_images_a_sample(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", "x frames", "images"),
        node("Conv", "images c.weight", "c"),
    ]
    constants = [integers("frames", [-1, 3, 8, 8]), weight("c.weight", [4, 3, 3, 3])]
    trace = trace_of(tmp_path, nodes, {"x": ["b", 5, 3, 8, 8]}, constants, batch=2)
    (layer,) = trace.layers
    assert isinstance(layer, Convolution)
    assert (layer.maps, layer.batch) == (5, 10)


def test_work_that_does_not_grow_with_the_batch(tmp_path: Path) -> None:
    nodes = [
        node("Relu", "once", "relu"),
        node("MatMul", "relu w", "y"),
        node("MatMul", "x y", "z"),
    ]
    trace = trace_of(
        tmp_path, nodes, {"x": ["b", 8], "once": [8, 4]}, [weight("w", [4, 6])], batch=9
    )
    relu, first, second = trace.layers
    assert (relu.batched, relu.batch) == (False, 1)
    assert isinstance(relu, VectorWork)
    assert relu.elements("ff") == (32, 32)
    assert (first.batched, first.batch) == (False, 1)
    assert (second.batched, second.batch) == (True, 9)


def test_gradients_stop_before_the_first_parameter(tmp_path: Path) -> None:
    nodes = [
        node("Sub", "x mean", "centred"),
        node("Conv", "centred c.weight", "c"),
        node("Relu", "c", "y"),
    ]
    constants = [weight("mean", [1, 3, 1, 1]), weight("c.weight", [4, 3, 1, 1])]
    before, conv, after = trace_of(tmp_path, nodes, {"x": ["b", 3, 4, 4]}, constants).layers
    assert isinstance(before, VectorWork)
    assert isinstance(after, VectorWork)
    assert before.elements("bp") == (0, 0)
    assert not conv.input_gradient
    assert after.elements("bp") == (2 * 64, 64)


def test_odd_operators_are_named(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "a b", "merged"),
        *(node("Frobnicate", "x", f"odd{index}") for index in range(5)),
        node("MatMul", "x merged", "y"),
    ]
    message = model(nodes, {"x": ["b", 4]}, [weight("a", [4, 2]), weight("b", [2, 4])])
    message.opset_import.append(helper.make_opsetid("mine", 1))
    for index in range(5):
        message.graph.value_info.append(
            helper.make_tensor_value_info(f"odd{index}", FLOAT, ["b", 4])
        )
        message.graph.node[1 + index].domain = "mine"
    trace = load(write(tmp_path, message))
    assert trace.notes[2:] == (
        "products of parameters alone are not counted: merged",
        "operator mine.Frobnicate is not known and counted as elementwise: odd0, odd1, odd2 and "
        "2 more",
    )


def test_computed_sizes_are_followed(tmp_path: Path) -> None:
    """A class token as exporters write it: expanded to the batch of the input, whatever it is."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "batch", axis=0),
        node("Unsqueeze", "batch axis", "batch_vector"),
        node("Concat", "batch_vector minus", "asked", axis=0),
        node("Shape", "asked", "rank"),
        node("ConstantOfShape", "rank", "ones", value=helper.make_tensor("one", INT64, [1], [1])),
        node("Mul", "ones minus_one", "negative"),
        node("Equal", "asked negative", "as_it_is"),
        node("Where", "as_it_is ones asked", "target"),
        node("Expand", "token target", "tokens"),
        node("Concat", "tokens x", "row", axis=1),
        node("Slice", "shape first second", "batch_again"),
        node("Div", "width two", "half"),
        node("Concat", "batch_again half half_again", "halves", axis=0),
        node("Reshape", "row halves", "split"),
        node("MatMul", "split fc.weight", "fc"),
    ]
    constants = [
        helper.make_tensor("zero", INT64, [], [0]),
        helper.make_tensor("minus_one", INT64, [], [-1]),
        integers("axis", [0]),
        integers("minus", [-1, -1]),
        weight("token", [1, 1, 8]),
        integers("first", [0]),
        integers("second", [1]),
        integers("width", [8]),
        integers("two", [2]),
        integers("half_again", [-1]),
        weight("fc.weight", [10, 3]),
    ]
    trace = trace_of(tmp_path, nodes, {"x": ["b", 4, 8]}, constants, batch=6)
    assert trace.layers[-1] == Linear(
        name="fc",
        weight="fc.weight",
        rows=4,
        in_features=10,
        out_features=3,
        input_gradient=False,
        prunable=False,
        batch=6,
    )


def test_tables_do_not_overlap() -> None:
    assert not FREE_OPERATORS & set(VECTOR_OPERATORS)
    assert not set(PRODUCTS) & (FREE_OPERATORS | set(VECTOR_OPERATORS))
    # None of those is mistaken for a product, and every lowered product is one.
    assert [
        name for name in (*FREE_OPERATORS, *VECTOR_OPERATORS) if OTHER_PRODUCTS.search(name)
    ] == []
    assert all(OTHER_PRODUCTS.search(name) for name in PRODUCTS)


@pytest.mark.parametrize("operator", sorted({*VECTOR_OPERATORS, *FREE_OPERATORS, *PRODUCTS}))
def test_every_operator_of_the_tables_is_one_of_onnx(operator: str) -> None:
    assert onnx.defs.has(operator) or operator in ("Swish", "RMSNormalization")


IF_BRANCH = helper.make_graph(
    [node("MatMul", "x w", "inner")],
    "branch",
    [],
    [helper.make_tensor_value_info("inner", FLOAT, None)],
)


@pytest.mark.parametrize(
    ("nodes", "inputs", "constants", "message"),
    [
        (
            [node("Relu", "x", "y")],
            {"x": ["b", "height"]},
            [],
            "net.onnx: input 'x' may leave only its first dimension, the batch, open, but its "
            "dimension 1 ('height') is open too",
        ),
        (
            [node("NonZero", "x", "places"), node("Cast", "places", "y", to=FLOAT)],
            {"x": ["b", 4]},
            [],
            "net.onnx: tensor 'places' of NonZero 'places' must have fixed sizes beyond the batch, "
            "but its dimension 1 is open",
        ),
        (
            [node("Mystery", "x", "m"), node("Relu", "m", "y")],
            {"x": ["b", 4]},
            [],
            "net.onnx: tensor 'm' of Mystery 'm' must have a known shape, but shape inference "
            "gives none",
        ),
        (
            [node("Einsum", "x w", "y", equation="ij,jk->ik")],
            {"x": ["b", 4]},
            [weight("w", [4, 4])],
            "net.onnx: every product must be lowered, but Einsum 'y' is not among those that are",
        ),
        (
            [node("Mystery", "x w", "y")],
            {"x": ["b", 4]},
            [weight("w", [4, 4])],
            "net.onnx: every product must be lowered, but Mystery 'y' is not known, and has a "
            "weight",
        ),
        (
            [node("If", "c", "y", then_branch=IF_BRANCH, else_branch=IF_BRANCH)],
            {"c": [1], "x": ["b", 4]},
            [weight("w", [4, 4])],
            "net.onnx: every product must be lowered, but If 'y' holds a subgraph with MatMul",
        ),
        (
            [node("Conv", "x x", "y")],
            {"x": ["b", 3, 3, 3]},
            [],
            "net.onnx: every product must be lowered, but Conv 'y' has a weight that is computed",
        ),
        (
            [node("Conv", "x w", "y", group=2)],
            {"x": ["b", 3, 3, 3]},
            [weight("w", [4, 3, 3, 3])],
            "net.onnx: every product must be lowered, but Conv 'y' has 3 input channels, but a "
            "weight for 6",
        ),
        (
            [node("MatMul", "x w", "y")],
            {"x": ["b", 2, 3, 4]},
            [weight("w", [2, 4, 4])],
            "net.onnx: every product must be lowered, but MatMul 'y' has a stack of weights, of "
            "shape (2, 4, 4)",
        ),
        (
            [node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "t x", "y")],
            {"x": ["b", 4]},
            [],
            "net.onnx: every product must be lowered, but MatMul 'y' has more than rows that grow "
            "with the batch: ['k']",
        ),
        (
            [node("Relu", "nothing", "y")],
            {"x": ["b", 4]},
            [],
            "net.onnx: Relu 'y' needs tensor 'nothing', which nothing before it makes",
        ),
        (
            [node("Identity", "x", "y")],
            {"x": ["b", 4]},
            [],
            "net.onnx: an ONNX graph needs at least one layer, not none",
        ),
        (
            [node("Relu", "x", "y")],
            {"x": ["b", 0]},
            [],
            "net.onnx: input 'x' must have sizes of at least 1, but its dimension 1 is 0",
        ),
        (
            [node("Add", "x w", "y")],
            {"x": ["b", 4]},
            [weight("w", [-4])],
            "net.onnx: constant 'w' must have sizes of at least 0 and 2^46 = 70368744177664 "
            "elements at most, but has (-4,)",
        ),
        (
            [node("Expand", "x w", "y")],
            {"x": ["b", 1]},
            [weight("w", [2**31], INT64)],
            "net.onnx: a vector of whole numbers may have 2^20 = 1048576 elements at most, but 'w' "
            "has 2147483648",
        ),
        (
            [node("MatMul", "x w", "y")],
            {"x": ["b", 5]},
            [weight("w", [4, 4])],
            "net.onnx: ONNX's shape inference refuses MatMul 'y': [ShapeInferenceError] "
            "Incompatible dimensions for matrix multiplication",
        ),
        (
            [node("Relu", "x", "y")],
            {"x": ["b", 2**40, 2**40]},
            [],
            "net.onnx: tensor 'y' of Relu 'y' may have 2^46 = 70368744177664 elements at most, not "
            "2417851639229258349412352",
        ),
    ],
)
def test_errors(
    tmp_path: Path,
    nodes: Sequence[Any],
    inputs: dict[str, Shape],
    constants: Sequence[Any],
    message: str,
) -> None:
    kinds = {"c": BOOL}
    with pytest.raises(InputError) as error:
        trace_of(tmp_path, nodes, inputs, constants, kinds)
    assert str(error.value) == message


def test_files_that_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value) == f"cannot read '{path}': No such file or directory"
    with pytest.raises(InputError) as error:
        load(write(tmp_path, b"PK\x03\x04 not a model"))
    assert str(error.value) == "net.onnx: not an ONNX model: it is no such protocol buffer"
    with pytest.raises(InputError) as error:
        load(write(tmp_path, b""))
    assert str(error.value) == "net.onnx: an ONNX graph needs at least one node, not none"
    with pytest.raises(InputError) as error:
        load(path, batch=0)
    assert str(error.value) == "batch must be a whole number from 1 to 2147483647, not 0"


def test_local_functions_are_refused(tmp_path: Path) -> None:
    message = model([node("Relu", "x", "y")], {"x": ["b", 4]})
    message.functions.add(name="helper", domain="mine")
    with pytest.raises(InputError) as error:
        load(write(tmp_path, message))
    assert str(error.value) == (
        "net.onnx: local functions must be inlined (onnx.inliner), but it has 'helper'"
    )


def test_without_the_onnx_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "onnx":
            raise ImportError(name)
        return importing(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError) as error:
        load(tmp_path / "net.onnx")
    assert str(error.value) == (
        "reading an ONNX file needs the onnx package: pip install 'nofm[onnx]'"
    )


SMALL = [
    model(CONV_NET[0], {"x": ["b", 3, 33, 32]}, CONV_NET[1]),
    model(*attention("b")),
    model(*attention(5)),
]
HUGE = st.sampled_from([0, 1, -1, 2, 7, 2**31, 2**62, -(2**63), 2**63 - 1])


def refusal(path: Path, batch: int | None) -> str:
    """The text of the `InputError`, or nothing where the file is taken."""
    try:
        load(path, batch)
    except InputError as error:
        return str(error)
    return ""


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_bytes_at_random(tmp_path: Path, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        content = data.draw(st.binary(max_size=100))
    else:
        changed = bytearray(data.draw(st.sampled_from(SMALL)).SerializeToString())
        for _ in range(data.draw(st.integers(1, 4))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        content = bytes(changed)
    text = refusal(write(tmp_path, content), None)
    assert "\n" not in text
    assert len(text) < 1000


def mutate(graph: Any, data: st.DataObject) -> None:
    """Change one thing that a parser would not object to."""
    chosen = data.draw(st.sampled_from(range(len(graph.node))))
    changed = graph.node[chosen]
    tensor = graph.initializer[data.draw(st.sampled_from(range(len(graph.initializer))))]
    match data.draw(st.integers(0, 7)):
        case 0:
            tensor.dims.append(data.draw(HUGE))
        case 1:
            tensor.dims[:] = [data.draw(HUGE) for _ in tensor.dims]
        case 2:
            names = sorted({*VECTOR_OPERATORS, *FREE_OPERATORS, *PRODUCTS, "If", "Mystery"})
            changed.op_type = data.draw(st.sampled_from(names))
        case 3 if changed.input:
            others = [name for other in graph.node for name in other.output]
            changed.input[0] = data.draw(st.sampled_from([*others, tensor.name, ""]))
        case 4:
            del changed.input[-1:]
        case 5:
            del changed.output[:]
        case 6:
            name = data.draw(
                st.sampled_from(["group", "strides", "pads", "perm", "axis", "auto_pad", "transA"])
            )
            value = data.draw(st.one_of(HUGE, st.lists(HUGE, min_size=1, max_size=4), st.just("x")))
            changed.attribute.append(helper.make_attribute(name, value))
        case 7:
            sizes = graph.input[0].type.tensor_type.shape.dim
            sizes[data.draw(st.sampled_from(range(len(sizes))))].dim_value = data.draw(HUGE)


@given(data=st.data(), batch=st.sampled_from([None, 3]))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)
def test_models_at_random(tmp_path: Path, data: st.DataObject, batch: int | None) -> None:
    message = onnx.ModelProto.FromString(data.draw(st.sampled_from(SMALL)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(message.graph, data)
    text = refusal(write(tmp_path, message), batch)
    assert "\n" not in text
    assert len(text) < 1000


def test_laws_hold_for_any_batch(tmp_path: Path) -> None:
    """What grows does so in step with the batch, in files that fix it and in those that do not."""
    left_open = trace_of(tmp_path, *attention("b"), batch=5)
    fixed = trace_of(tmp_path, *attention(5))
    assert left_open.layers == fixed.layers
    assert left_open.with_batch(7).layers == fixed.with_batch(7).layers
    assert all(isinstance(layer, WeightLayer) for layer in left_open.weight_layers)
