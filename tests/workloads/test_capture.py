"""Capture against what really runs: a log of its own, torch's flop counter, and known models."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from nofm.kernels.errors import InputError  # noqa: E402
from nofm.workloads import aten_ops, trace_file  # noqa: E402
from nofm.workloads.capture import capture, capture_from_path  # noqa: E402
from nofm.workloads.layer import (  # noqa: E402
    Convolution,
    Layer,
    Linear,
    MatMul,
    VectorWork,
    WeightLayer,
)
from nofm.workloads.tensor_spec import TensorSpec, parse  # noqa: E402
from nofm.workloads.trace import Trace  # noqa: E402

aten = torch.ops.aten

# ---------------------------------------------------------------------------------------------
# The reference: every product that runs, sorted into stages without any of the capture's means.


def product_sizes(func: Any, args: tuple[Any, ...]) -> tuple[int, int, int, int] | None:
    """(count, m, k, n) of a product."""
    shapes = [tuple(arg.shape) for arg in args if isinstance(arg, torch.Tensor)]
    if func in (aten.addmm.default, aten.baddbmm.default):
        shapes = shapes[1:]
    if func in (aten.mm.default, aten.addmm.default):
        return 1, *shapes[0], shapes[1][1]
    if func in (aten.bmm.default, aten.baddbmm.default):
        return *shapes[0], shapes[1][2]
    return None


class MacLog(TorchDispatchMode):
    """Multiply-accumulates by stage: FF what runs forward (or again), BP and WU by what is reduced.

    With forward products [m, k] x [k, n] of distinct sizes, a backward product that reduces over n
    gives a first operand's gradient (BP), one that reduces over m a second operand's (WU).
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs: Counter[str] = Counter()
        self._forward: list[tuple[int, int, int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        running = torch._C._current_graph_task_id() != -1
        backward = running and not torch.is_grad_enabled()
        if func is aten.convolution.default:
            self.macs["ff"] += self._convolution(args[0], args[1], output, args[6])
        elif func is aten.convolution_backward.default:
            gradient, data, weight, transposed, mask = (*args[:3], args[7], args[10])
            macs = self._convolution(data, weight, gradient, transposed)
            self.macs["bp"] += mask[0] * macs
            self.macs["wu"] += mask[1] * macs
        elif (sizes := product_sizes(func, args)) is not None:
            count, m, k, n = sizes
            if not backward:
                self._forward.append(sizes)
                self.macs["ff"] += math.prod(sizes)
            else:
                self.macs[self._stage(count, m, k, n)] += math.prod(sizes)
        return output

    def _convolution(self, data: Any, weight: Any, output: Any, transposed: bool) -> int:
        positions = data.shape if transposed else output.shape
        return int(data.shape[0] * math.prod(positions[2:]) * weight.numel())

    def _stage(self, count: int, m: int, k: int, n: int) -> str:
        same = [
            forward
            for forward in self._forward
            if forward[0] == count and sorted(forward[1:]) == sorted((m, k, n))
        ]
        assert same, "a backward product without a forward one"
        first = any(k == forward[3] for forward in same)
        second = any(k == forward[1] for forward in same)
        assert first != second, "the test needs distinct sizes"
        return "bp" if first else "wu"


def run_step(model: Any, inputs: list[Any], mode: Any) -> None:
    """Forward and backward on the CPU with real numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about a setting that the next line only reads
        plain = torch.backends.mkldnn.flags(enabled=False)  # oneDNN hides the products of an LSTM
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), plain, mode:
            output = model(*inputs)
            output = output if isinstance(output, torch.Tensor) else output[0]
            output.sum().backward()


def macs_of(layers: tuple[Layer, ...]) -> Counter[str]:
    """Multiply-accumulates by stage of a trace's layers, from their sizes alone."""
    found: Counter[str] = Counter()
    for layer in layers:
        if isinstance(layer, MatMul):
            macs = layer.batch * layer.count * layer.m * layer.k * layer.n
            bp, wu = layer.input_gradient, layer.second_gradient
        elif isinstance(layer, WeightLayer):
            if isinstance(layer, Linear):
                positions = layer.rows
            else:
                assert isinstance(layer, Convolution)
                positions = math.prod(layer.size if layer.transposed else layer.output_size)
            macs = layer.batch * positions * layer.weight_elements
            bp, wu = layer.input_gradient, layer.weight_gradient
        else:
            continue
        found["ff"] += macs
        found["bp"] += bp * macs
        found["wu"] += wu * macs
    return found


# ---------------------------------------------------------------------------------------------
# Models


class Functional(nn.Module):
    """Calls what it needs as functions."""

    def __init__(self, size: int, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(*shape)) for shape in shapes)
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(x, self.weights[0], stride=2, padding=1)
        x = F.linear(x.flatten(2).transpose(1, 2), self.weights[1])
        x = x @ self.weights[2]
        return torch.einsum("btc,cd->btd", x, self.weights[3])


class Frozen(nn.Sequential):
    """Its first layers do not train."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 7, 3), nn.Flatten(), nn.Linear(112, 11)
        )
        self[0].requires_grad_(False)
        self[2].requires_grad_(False)


class FrozenMiddle(nn.Sequential):
    """A frozen layer between trained ones: it has BP and no WU."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 5), nn.Linear(5, 7), nn.Linear(7, 11))
        self[1].weight.requires_grad_(False)


class Branches(nn.Module):
    """Two branches of different depth, concatenated, and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 5, 3, padding=1)
        self.b = nn.Conv2d(3, 6, 1)
        self.c = nn.Conv2d(6, 7, 3, padding="same")
        self.d = nn.Conv2d(12, 13, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat((self.a(x), self.c(F.relu(self.b(x)))), 1)
        return self.d(y) + y.mean()


class Shared(nn.Module):
    """One layer used twice, and a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(7, 7)
        self.tied = nn.Linear(7, 7)
        self.tied.weight = self.fc.weight
        self.head = nn.Linear(7, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.tied(self.fc(self.fc(x))))


class Attention(nn.Module):
    """The functional attention of torch, over the first five positions."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.q = nn.Linear(8, 6)
        self.kv = nn.Linear(8, 12)
        self.out = nn.Linear(6, 5)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q = self.q(x).view(b, t, 2, 3).transpose(1, 2)
        k, v = self.kv(x[:, :5]).view(b, 5, 2, 2, 3).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, dropout_p=0.1)
        return self.out(y.transpose(1, 2).reshape(b, t, 6))


class CrossAttention(nn.Module):
    """torch's multi-head attention with keys and values of other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, kdim=5, vdim=5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        memory = x[:, 2:, :5]
        return self.attention(x, memory, memory, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cell = kind(5, 7, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0]


class Experts(nn.Module):
    """A weight matrix for each expert: a grouped product."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 7)
        self.weight = nn.Parameter(torch.randn(3, 7, 11))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.first(x)[:, None].expand(-1, 3, -1, -1)
        return torch.einsum("betk,ekn->betn", tokens, self.weight)


class Masked(nn.Module):
    """Weights that are computed from parameters: a mask, weight normalisation, a low-rank sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 7)
        self.second = nn.Linear(7, 11, bias=False)
        self.register_buffer("mask", torch.ones(11, 7))
        self.third = nn.utils.parametrizations.weight_norm(nn.Linear(11, 13))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(F.linear(self.first(x), self.second.weight * self.mask))


class LowRank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(5, 7).requires_grad_(False)
        self.a = nn.Parameter(torch.randn(2, 5))
        self.b = nn.Parameter(torch.randn(7, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.base.weight + self.b @ self.a)


class Video(nn.Module):
    """A convolution over the frames of each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.fc = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.conv(x.flatten(0, 1)).mean((2, 3))
        return self.fc(frames.view(len(x), -1, 5).mean(1))


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.inner = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 11))
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.inner, self.first(x), use_reentrant=self.reentrant)


class Product(torch.autograd.Function):
    """relu(x w) with its own backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        y = (x @ weight).relu()
        ctx.save_for_backward(x, weight, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight, y = ctx.saved_tensors
        gradient = gradient * (y > 0)
        return gradient @ weight.t(), x.t() @ gradient


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.weight = nn.Parameter(torch.randn(5, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Product.apply(self.first(x), self.weight)


class Packed(nn.Module):
    """Keeps activations in half precision until the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autograd.graph.saved_tensors_hooks(torch.Tensor.half, torch.Tensor.float):
            return self.layers(x)


class CustomThenMask(Custom):
    """An operator without gradient follows the custom function."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y * (y > 1)


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "functional": (lambda: Functional(2, (5, 3, 3, 3), (7, 5), (7, 11), (11, 13)), (2, 3, 8, 8)),
    "frozen": (Frozen, (2, 3, 8, 8)),
    "frozen middle": (FrozenMiddle, (2, 3)),
    "branches": (Branches, (2, 3, 4, 4)),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6, stride=2), nn.Conv2d(6, 9, 1, groups=3)
        ),
        (2, 3, 9, 9),
    ),
    "1d": (lambda: nn.Sequential(nn.Conv1d(3, 5, 4), nn.Conv1d(5, 7, 3, dilation=2)), (2, 3, 17)),
    "3d": (lambda: nn.Sequential(nn.Conv3d(3, 5, 2), nn.Conv3d(5, 7, (1, 2, 3))), (2, 3, 4, 5, 6)),
    "transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 6, 3, stride=2, padding=1, output_padding=1),
            nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2),
        ),
        (2, 3, 5, 5),
    ),
    "attention": (Attention, (2, 7, 8)),
    "causal attention": (lambda: Attention(causal=True), (2, 7, 8)),
    "multi-head attention": (CrossAttention, (3, 11, 6)),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(6, 2, 11, batch_first=True), (2, 7, 6)),
    "lstm": (lambda: Recurrent(nn.LSTM), (2, 3, 5)),
    "gru": (lambda: Recurrent(nn.GRU), (2, 3, 5)),
    "experts": (Experts, (2, 13, 5)),
    "masked": (Masked, (3, 5)),
    "video": (Video, (2, 4, 3, 6, 6)),
    "checkpointed": (lambda: Checkpointed(reentrant=False), (2, 3)),
    "checkpointed, reentrant": (lambda: Checkpointed(reentrant=True), (2, 3)),
    "custom function": (Custom, (2, 3)),
    "custom function, mask": (CustomThenMask, (2, 3)),
    "packed": (Packed, (2, 3)),
}


# As many queries as keys: the two gradients of their product cannot be told apart from outside.
@pytest.mark.parametrize("name", sorted(set(ZOO) - {"encoder layer"}))
def test_macs_of_every_stage_are_those_that_run(name: str) -> None:
    factory, shape = ZOO[name]
    model = factory()
    log = MacLog()
    run_step(model, [torch.randn(shape)], log)
    trace = capture(model, torch.empty(shape))
    assert macs_of(trace.layers) == log.macs
    assert log.macs["bp"] < log.macs["ff"]  # the first layer has no BP, so the test can fail


@pytest.mark.parametrize("name", sorted(set(ZOO) - {"depthwise", "transposed"}))
def test_macs_in_all_are_those_of_the_flop_counter(name: str) -> None:
    # torch's counter takes weight gradients of grouped convolutions for dense ones.
    factory, shape = ZOO[name]
    model = factory()
    counter = FlopCounterMode(display=False)
    run_step(model, [torch.randn(shape)], counter)
    assert 2 * macs_of(capture(model, torch.empty(shape)).layers).total() == (
        counter.get_total_flops()
    )


@pytest.mark.parametrize("name", ZOO)
def test_every_batch_gives_the_same_trace(name: str) -> None:
    factory, shape = ZOO[name]
    model = factory()
    spec = TensorSpec(shape)
    trace = capture(model, spec.with_batch(1))
    assert all(note for note in trace.notes)
    assert "batch" not in "".join(trace.notes)
    for batch in (2, 3, 5):
        assert capture(model, spec.with_batch(batch)) == trace.with_batch(batch)
        assert capture(model, spec, batch=batch) == trace.with_batch(batch)


@pytest.mark.parametrize("name", ZOO)
def test_traces_survive_their_file(name: str) -> None:
    factory, shape = ZOO[name]
    trace = capture(factory(), torch.empty(shape))
    assert trace_file.from_bytes(trace_file.to_bytes(trace)) == trace


@settings(max_examples=60)
@given(st.data())
def test_any_convolution_is_captured_with_its_sizes(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    transposed = data.draw(st.booleans())

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(rank))

    groups = data.draw(st.integers(1, 3))
    ci, co = (groups * data.draw(st.integers(1, 3)) for _ in range(2))
    stride, dilation = each(1, 3), each(1, 2)
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
    options |= {"padding": each(0, 2), "bias": data.draw(st.booleans())}
    if transposed:
        options["output_padding"] = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    kind = getattr(nn, f"Conv{'Transpose' * transposed}{rank}d")
    layer = kind(ci, co, each(1, 3), **options)
    size = each(6, 8)
    model = nn.Sequential(nn.Identity(), layer)
    try:
        expected = layer(torch.empty(2, ci, *size)).shape
    except RuntimeError:
        return
    (found, *rest) = capture(model, TensorSpec((2, ci, *size))).layers
    assert isinstance(found, Convolution)
    assert (2, found.out_channels, *found.output_size) == tuple(expected)
    assert found.weight_elements == layer.weight.numel()
    assert (found.name, found.weight, found.batch) == ("1", "1.weight", 2)
    assert found.bias == options["bias"]
    assert [other.name for other in rest] == ["1.bias"] * options["bias"]


# ---------------------------------------------------------------------------------------------
# What single layers become


def by_name(trace: Trace) -> dict[str, Layer]:
    return {layer.name: layer for layer in trace.layers}


def weight_layers(trace: Trace) -> list[tuple[str, str, bool, bool, bool]]:
    """(name, weight, input gradient, weight gradient, prunable)."""
    return [
        (layer.name, layer.weight, layer.input_gradient, layer.weight_gradient, layer.prunable)
        for layer in trace.weight_layers
    ]


def test_shared_weights_have_one_name() -> None:
    trace = capture(Shared(), "2x7")
    assert weight_layers(trace) == [
        ("fc", "fc.weight", False, True, False),
        ("fc.1", "fc.weight", True, True, False),
        ("tied", "fc.weight", True, True, False),
        ("head", "head.weight", True, True, False),
    ]
    assert trace.parameters == 7 + 7 + 2


def test_frozen_layers() -> None:
    # Nothing before the first trained layer needs a gradient.
    assert weight_layers(capture(Frozen(), "2x3x8x8")) == [
        ("0", "0.weight", False, False, False),
        ("2", "2.weight", False, False, True),
        ("4", "4.weight", False, True, False),
    ]
    assert weight_layers(capture(FrozenMiddle(), "2x3")) == [
        ("0", "0.weight", False, True, False),
        ("1", "1.weight", True, False, True),
        ("2", "2.weight", True, True, False),
    ]


def test_an_inner_part_has_no_first_layer_and_no_head() -> None:
    found = weight_layers(capture(Shared(), "2x7", inner=True))
    assert [(bp, prunable) for _, _, bp, _, prunable in found] == [(True, True)] * 4


def test_a_last_convolution_with_a_window_is_no_head() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    assert [layer.prunable for layer in capture(model, "2x3x8x8").weight_layers] == [False, True]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1))
    assert [layer.prunable for layer in capture(model, "2x3x8x8").weight_layers] == [False, False]


def test_every_branch_from_the_input_is_a_first_layer() -> None:
    found = weight_layers(capture(Branches(), "2x3x4x4"))
    assert [(name, prunable) for name, _, _, _, prunable in found] == [
        ("a", False),
        ("b", False),
        ("c", True),
        ("d", False),
    ]


def test_an_embedding_is_a_first_layer() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 6), nn.Linear(6, 3))
    assert weight_layers(capture(model, "2x5:int64")) == [
        ("1", "1.weight", True, True, True),
        ("2", "2.weight", True, True, False),
    ]


def test_parts_of_a_parameter_are_weights_of_their_own() -> None:
    trace = capture(CrossAttention(), "3x11x6")
    weights = {layer.weight: layer.weight_elements for layer in trace.weight_layers}
    assert weights == {
        "attention.q_proj_weight": 36,
        "attention.k_proj_weight": 30,
        "attention.v_proj_weight": 30,
        "attention.out_proj.weight": 36,
    }

    class Sliced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(12, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, self.weight[:6]) @ self.weight[6:]

    trace = capture(Sliced(), "2x6")
    assert [layer.weight for layer in trace.weight_layers] == ["weight[0:36]", "weight[36:72]"]
    assert trace.parameters == 0


def test_weights_computed_from_parameters() -> None:
    trace = capture(Masked(), "3x5")
    assert weight_layers(trace) == [
        ("first", "first.weight", False, True, False),
        ("linear", "second.weight", True, True, True),
        ("third", "third.parametrizations.weight.original1", True, True, False),
    ]
    assert trace.notes == (
        "layer 'third': its weight is computed from third.parametrizations.weight.original0, "
        "third.parametrizations.weight.original1",
    )
    assert trace.parameters == 7 + 13 + 13  # biases, and one magnitude for each row
    trace = capture(LowRank(), "3x5")
    assert [layer.name for layer in trace.layers] == ["matmul", "add", "linear"]
    assert not any(layer.batched for layer in trace.layers[:2])
    assert trace.notes == ("layer 'linear': its weight is computed from a, b, base.weight",)
    assert trace.parameters == 10 + 14


def test_a_grouped_product_is_a_grouped_convolution() -> None:
    (layer,) = (x for x in capture(Experts(), "2x13x5").weight_layers if x.name != "first")
    assert isinstance(layer, Convolution)
    assert (layer.groups, layer.in_channels, layer.out_channels) == (3, 21, 33)
    assert (layer.size, layer.kernel, layer.batch) == ((13,), (1,), 2)


def test_attention_is_two_products() -> None:
    trace = capture(Attention(), "2x7x8")
    products = [layer for layer in trace.layers if isinstance(layer, MatMul)]
    assert [(p.name, p.batch, p.count, p.m, p.k, p.n) for p in products] == [
        ("matmul", 2, 2, 7, 3, 5),
        ("matmul.1", 2, 2, 7, 5, 3),
    ]
    assert all(p.input_gradient and p.second_gradient for p in products)


def test_frames_are_maps_of_a_sample() -> None:
    layer = capture(Video(), "2x4x3x6x6").layers[0]
    assert isinstance(layer, Convolution)
    assert (layer.maps, layer.batch) == (4, 8)
    assert layer.with_batch(5).batch == 20


def test_names_never_take_a_module_path() -> None:
    class Tricky(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x @ self[0].weight
            x = x @ self[0].weight
            return self[1](self[0](x)).relu()

    model = nn.Sequential(Tricky(nn.Linear(5, 5), nn.Linear(5, 5)))
    names = [layer.name for layer in capture(model, "2x5").weight_layers]
    assert names == ["0", "0.2", "0.0", "0.1"]


def vectors(model: nn.Module, inputs: Any, **options: Any) -> list[tuple[Any, ...]]:
    """(name, kind, forward reads, writes, backward reads, writes) a sample, without products."""
    return [
        (
            layer.name,
            layer.work,
            layer.forward_reads,
            layer.forward_writes,
            layer.backward_reads,
            layer.backward_writes,
        )
        for layer in capture(model, inputs, inner=True, **options).layers
        if isinstance(layer, VectorWork)
    ]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # Reads and writes: forward x and y; backward dy and what is kept, and dx.
        (nn.ReLU(), [("relu", "elementwise", 96, 96, 192, 96)]),
        (
            nn.Sequential(nn.Hardswish(), nn.ReLU(inplace=True)),
            [("0", "elementwise", 96, 96, 192, 96), ("1", "elementwise", 96, 96, 192, 96)],
        ),
        (nn.GELU(), [("gelu", "elementwise", 96, 96, 192, 96)]),
        (nn.SiLU(), [("silu", "elementwise", 96, 96, 192, 96)]),
        (nn.Dropout(0.1), [("mul", "elementwise", 192, 96, 192, 96)]),
        (nn.Softmax(-1), [("softmax", "softmax", 96, 96, 192, 96)]),
        (nn.MaxPool2d(2), [("max_pool2d_with_indices", "pooling", 96, 48, 144, 96)]),
        (nn.AvgPool2d(2), [("avg_pool2d", "pooling", 96, 24, 120, 96)]),
        (nn.AdaptiveAvgPool2d(1), [("mean", "reduction", 96, 6, 6, 96)]),
        (nn.Flatten(), []),
        (nn.Identity(), []),
        # Layer and RMS normalisation read rows once, and keep mean and deviation of each.
        (nn.LayerNorm(4), [("layer_norm", "normalisation", 96, 144, 240, 96)]),
        (nn.RMSNorm(4), [("rms_norm", "normalisation", 96, 144, 240, 96)]),
        # The others need sums over whole maps first: x twice forward, x and dy twice backward.
        (nn.BatchNorm2d(6), [("batch_norm", "normalisation", 192, 96, 384, 96)]),
        (nn.BatchNorm2d(6).eval(), [("batch_norm", "normalisation", 96, 96, 192, 96)]),
        (nn.GroupNorm(2, 6), [("group_norm", "normalisation", 192, 100, 388, 96)]),
        (nn.Upsample(scale_factor=2), [("upsample_nearest2d", "pooling", 96, 384, 384, 96)]),
        (nn.ZeroPad2d(1), [("constant_pad_nd", "copy", 96, 216, 96, 96)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_elements_that_an_operator_moves(model: nn.Module, expected: list[Any]) -> None:
    if not expected:
        model = nn.Sequential(nn.ReLU(), model)
        expected = [("0", "elementwise", 96, 96, 192, 96)]
    assert vectors(model, "2x6x4x4") == expected


def test_scales_and_running_sums_do_not_grow_with_the_batch() -> None:
    (layer,) = capture(nn.BatchNorm2d(6), "4x6x4x4", inner=True).layers
    assert isinstance(layer, VectorWork)
    # Scale, shift, running mean and variance; the means and deviations that are kept.
    assert (layer.fixed_forward_reads, layer.fixed_forward_writes) == (24, 24)
    assert (layer.fixed_backward_reads, layer.fixed_backward_writes) == (30, 12)
    assert layer.elements("ff") == (4 * 192 + 24, 4 * 96 + 24)
    assert layer.elements("bp") == (4 * 384 + 30, 4 * 96 + 12)


def test_an_embedding_reads_rows_and_writes_a_dense_gradient() -> None:
    (layer,) = capture(nn.Embedding(100, 8), "4x5:int64").layers
    assert isinstance(layer, VectorWork)
    assert layer.elements("ff") == (4 * (5 + 40), 4 * 40)
    assert layer.elements("bp") == (4 * (5 + 40), 800)


def test_gradients_of_a_bias_and_of_branches_are_named_after_their_layer() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.fc(x)

    assert vectors(Skip(), "2x6") == [
        ("fc.bias", "reduction", 0, 0, 6, 0),
        ("fc.add", "elementwise", 0, 0, 12, 6),
        ("add", "elementwise", 12, 6, 0, 0),
    ]


def test_what_is_the_same_in_every_step_is_left_out() -> None:
    class Table(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            table = torch.arange(6.0, device=x.device).cos().outer(torch.ones(4))
            return x * table.t().contiguous()

    assert vectors(Table(), "2x4x6") == [("mul", "elementwise", 24, 24, 24, 24)]


def test_recomputation_is_forward_work_where_it_runs() -> None:
    trace = capture(Checkpointed(reentrant=False), "2x3")
    names = [layer.name for layer in trace.weight_layers]
    assert names[:3] == ["first", "inner.0", "inner.2"]
    assert set(names[3:]) <= {"inner.0.1", "inner.2.1"}
    assert not any(
        layer.input_gradient or layer.weight_gradient for layer in trace.weight_layers[3:]
    )
    (note,) = trace.notes
    assert note.endswith(
        "operators of the forward pass run during a backward pass, as in activation "
        "checkpointing: they count as forward work, in the order they run in"
    )


# ---------------------------------------------------------------------------------------------
# Batches


class Clip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 4)
        self.b = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.a(x) @ self.b(y).t()


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.view(4, 8))


class EachSample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.fc(row) for row in x])


def test_work_that_grows_faster_than_the_batch_is_noted() -> None:
    trace = capture(Clip(), ["4x8", "4x6"])
    assert trace.notes == (
        "layer 'matmul': m and n do not grow in proportion to the batch: its sizes are those of "
        "batch 4",
    )
    matmul = by_name(trace)["matmul"]
    assert isinstance(matmul, MatMul)
    assert (matmul.batched, matmul.m, matmul.k, matmul.n) == (False, 4, 4, 4)
    assert by_name(trace.with_batch(8))["matmul"] == matmul
    assert by_name(trace.with_batch(8))["a"].batch == 8
    # A batch of 1 is then captured as it is.
    matmul = by_name(capture(Clip(), ["1x8", "1x6"]))["matmul"]
    assert isinstance(matmul, MatMul)
    assert (matmul.m, matmul.n) == (1, 1)


def test_a_model_of_one_batch_is_noted() -> None:
    trace = capture(FixedBatch(), "4x8")
    assert trace.notes == (
        "sizes are those of batch 4, whatever the trace's batch: model 'FixedBatch': it fails on "
        "the meta device: RuntimeError: shape '[4, 8]' is invalid for input of size 64",
    )
    assert not any(layer.batched for layer in trace.layers)
    with pytest.raises(InputError) as error:
        capture(FixedBatch(), "3x8")
    assert str(error.value) == (
        "model 'FixedBatch': it fails on the meta device: RuntimeError: shape '[4, 8]' is invalid "
        "for input of size 24"
    )


def test_operators_that_depend_on_the_batch_are_noted() -> None:
    trace = capture(EachSample(), "3x8")
    assert trace.notes == (
        "the operators that run depend on the batch: all sizes are those of batch 3, whatever the "
        "trace's batch",
    )
    assert [layer.name for layer in trace.weight_layers] == ["fc", "fc.1", "fc.2"]


# ---------------------------------------------------------------------------------------------
# Models and their outputs


@dataclasses.dataclass
class Output:
    scores: Any
    others: Any


class Outputs(nn.Module):
    """Returns tensors in whatever the function makes of them."""

    def __init__(self, pack: Callable[..., Any]) -> None:
        super().__init__()
        self.a = nn.Linear(5, 7)
        self.b = nn.Linear(5, 11)
        self.pack = pack

    def forward(self, x: torch.Tensor) -> Any:
        return self.pack(self.a(x), self.b(x))


@pytest.mark.parametrize(
    "pack",
    [
        lambda a, b: (a, b),
        lambda a, b: {"a": a, "b": [b]},
        lambda a, b: Output(a, {"b": b, "n": 3}),
        lambda a, b: a.sum() + b.sum(),
    ],
    ids=["tuple", "dict", "dataclass", "number"],
)
def test_all_outputs_send_gradients(pack: Callable[..., Any]) -> None:
    trace = capture(Outputs(pack), "2x5")
    assert [layer.weight_gradient for layer in trace.weight_layers] == [True, True]


def test_an_output_that_nothing_uses_has_no_gradient() -> None:
    trace = capture(Outputs(lambda a, b: (a, b.detach())), "2x5")
    assert [layer.weight_gradient for layer in trace.weight_layers] == [True, False]


def test_the_model_is_left_as_it_is() -> None:
    model = Masked()
    model.extra = torch.ones(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    capture(model, "3x5")
    assert all(p.device.type == "cpu" and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not nn.modules.module._global_forward_hooks
    model(torch.ones(3, 5)).sum().backward()


def test_tensors_kept_as_plain_attributes_go_along() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 5)
            self.tables = {"scale": [torch.ones(5)]}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) * self.tables["scale"][0]

    assert [layer.name for layer in capture(Plain(), "2x5").layers] == ["fc", "fc.bias", "mul"]


def test_evaluation_mode_is_kept_and_noted() -> None:
    trace = capture(nn.Sequential(nn.Linear(5, 5), nn.Dropout()).eval(), "2x5")
    assert [layer.name for layer in trace.layers] == ["0", "0.bias"]
    assert trace.notes == ("captured in evaluation mode, as the model was given",)


def test_the_caller_may_have_gradients_off() -> None:
    with torch.no_grad():
        assert capture(Custom(), "2x3") == capture(Custom(), "2x3")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own import
def test_a_compiled_model_is_captured_like_the_plain_one() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU())
    assert capture(torch.compile(model), "2x5") == capture(model, "2x5")


def test_vectorised_samples() -> None:
    class Each(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(7, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.vmap(lambda row: self.weight @ row)(x)

    (layer,) = capture(Each(), "3x5").layers
    assert isinstance(layer, Linear)
    assert (layer.weight, layer.rows, layer.batch) == ("weight", 1, 3)


def test_gradients_within_the_forward_pass() -> None:
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.requires_grad_()
            (slope,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
            return slope

    trace = capture(Slope(), "2x3")
    assert [(layer.name, layer.weight) for layer in trace.weight_layers] == [
        ("net.0", "net.0.weight"),
        ("net.2", "net.2.weight"),
        ("linear", "net.2.weight"),
        ("linear.1", "net.0.weight"),
    ]


def test_half_precision() -> None:
    trace = capture(nn.Linear(5, 7).to(torch.bfloat16), "2x5:bfloat16")
    assert trace.layers == capture(nn.Linear(5, 7), "2x5").layers


# ---------------------------------------------------------------------------------------------
# What cannot be captured


class Condition(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) if x.sum().item() > 0 else x


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Bilinear(8, 8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x, x)


class DynamicFilter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 9, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.conv(x).mean((0, 2, 3)).view(3, 3, 1, 1)
        return F.conv2d(x, weight)


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.complex(x, self.fc(x))
        return (y @ y.mT).real


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (
            nn.Sequential(Condition()),
            "3x8",
            "model 'Sequential': module '0' (Condition) fails on the meta device: RuntimeError: "
            "Tensor.item() cannot be called on meta tensors",
        ),
        (
            nn.Linear(8, 4),
            "3x7",
            "model 'Linear': it fails on the meta device: RuntimeError: a and b must have same "
            "reduction dim, but got [3, 7] X [8, 4].",
        ),
        (
            nn.Linear(8, 4).requires_grad_(False),
            "3x8",
            "model 'Linear': a training step needs an output that depends on a trainable "
            "parameter, but none does",
        ),
        (
            Bilinear(),
            "3x8",
            "model 'Bilinear': module 'mix' uses _trilinear, which may be a product but has no "
            "layer in a trace",
        ),
        (
            DynamicFilter(),
            "2x3x4x4",
            "model 'DynamicFilter': the model uses convolution with a weight computed from the "
            "inputs, which may be a product but has no layer in a trace",
        ),
        (
            Complex(),
            "2x8x8",
            "model 'Complex': the model uses bmm of complex numbers, which may be a product but "
            "has no layer in a trace",
        ),
        (nn.Linear(8, 4), [], "a model needs at least one input, whose first size is the batch"),
        (
            nn.Linear(8, 4),
            [3],
            "an input must be a tensor or a shape such as 512x3x224x224, not 3",
        ),
        ("resnet18", "3x8", "a model must be a torch.nn.Module, not str"),
    ],
)
def test_refusals_are_one_line(model: Any, inputs: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        capture(model, inputs)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("model", "inputs", "note"),
    [
        (Bilinear(), "3x8", "module 'mix' uses _trilinear"),
        (
            DynamicFilter(),
            "2x3x4x4",
            "the model uses convolution with a weight computed from the inputs",
        ),
        (Complex(), "2x8x8", "the model uses bmm of complex numbers"),
    ],
)
def test_unsupported_products_are_noted_when_allowed(
    model: nn.Module, inputs: str, note: str
) -> None:
    trace = capture(model, inputs, allow_unsupported=True)
    assert (
        f"{note}, which has no layer: its tensors count as moved, its products do not"
        in trace.notes
    )


def test_an_unknown_operator_is_never_dropped() -> None:
    with torch.library._scoped_library("nofm_test", "DEF") as library:
        library.define("warp(Tensor x) -> Tensor")
        library.impl("warp", torch.empty_like, "Meta")

        class Warped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc = nn.Linear(8, 4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.fc(torch.ops.nofm_test.warp(x))

        with pytest.raises(InputError) as error:
            capture(Warped(), "3x8")
        assert str(error.value) == (
            "model 'Warped': the model uses nofm_test.warp, which may be a product but has no "
            "layer in a trace"
        )
        trace = capture(Warped(), "3x8", allow_unsupported=True)
        assert trace.notes == (
            "the model uses nofm_test.warp, which has no layer: its tensors count as moved, its "
            "products do not",
        )
        (warp, *_) = trace.layers
        assert isinstance(warp, VectorWork)
        assert (warp.name, warp.elements("ff")) == ("nofm_test.warp", (24, 24))


def test_a_batch_must_be_positive() -> None:
    with pytest.raises(InputError) as error:
        capture(nn.Linear(8, 4), "3x8", batch=0)
    assert str(error.value) == "batch must be a whole number from 1 to 2147483647, not 0"


# ---------------------------------------------------------------------------------------------
# From a path


MODULE = """
import torch
from torch import nn

def linear():
    return nn.Linear(5, 7)

class Model(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(5, 7), nn.ReLU())

made = nn.Linear(5, 7)

def looks_at_values():
    return nn.Linear(5, int(torch.tensor(7.0).item()))

def fails():
    raise RuntimeError("out of luck")

def leaves():
    raise SystemExit(3)

def string():
    return "a model"

number = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A working directory with a module in it, and the module's name."""
    name = f"models_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("factory", ["linear", "Model", "made", "looks_at_values"])
def test_models_from_a_path(here: str, factory: str) -> None:
    trace = capture_from_path(f"{here}:{factory}", ["4x5"], name="net")
    assert (trace.name, trace.batch) == ("net", 4)
    (layer,) = trace.weight_layers
    assert isinstance(layer, Linear)
    assert (layer.in_features, layer.out_features) == (5, 7)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{here}", "a model is named package.module:factory, not '{here}'"),
        ("a b:c", "a model is named package.module:factory, not 'a b:c'"),
        (
            "no_such_module:f",
            "cannot import 'no_such_module': ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("{here}:linaer", "module '{here}' has no attribute 'linaer'"),
        ("{here}:fails", "'{here}:fails' fails: RuntimeError: out of luck"),
        ("{here}:leaves", "'{here}:leaves' fails: SystemExit: 3"),
        ("{here}:string", "'{here}:string' must give a torch.nn.Module, not builtins.str"),
        ("{here}:number", "'{here}:number' must give a torch.nn.Module, not builtins.int"),
    ],
)
def test_bad_paths_are_one_line(here: str, path: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        capture_from_path(path.format(here=here), ["4x5"])
    assert str(error.value) == message.format(here=here)


def test_a_module_that_does_not_parse(here: str) -> None:
    Path(f"{here}_bad.py").write_text("def f(:\n")
    with pytest.raises(InputError) as error:
        capture_from_path(f"{here}_bad:f", ["4x5"])
    assert str(error.value) == (
        f"cannot import '{here}_bad': SyntaxError: invalid syntax ({here}_bad.py, line 1)"
    )


# ---------------------------------------------------------------------------------------------
# Tables


def test_every_operator_in_the_tables_exists() -> None:
    named = {
        *aten_ops.PRODUCTS,
        *aten_ops.ADDED,
        *aten_ops.GATHERS,
        *aten_ops.SHAPE_ONLY,
        *aten_ops.OVERWRITES,
        *aten_ops.TWO_PASSES,
        *aten_ops.BATCH_NORM_TRAINING,
        aten_ops.CONVOLUTION,
        aten_ops.CONVOLUTION_BACKWARD,
        *aten_ops._KIND_OF,
    }
    missing = {n for n in named if not hasattr(aten, n) and not hasattr(aten, f"{n}_")}
    assert missing == set()


@pytest.mark.parametrize(
    ("qualified", "name"),
    [
        ("aten::add_", "add"),
        ("aten::_softmax", "_softmax"),
        ("prims::convert_element_type", "convert_element_type"),
        ("mylib::warp_", "mylib.warp"),
        ("aten::__irshift__", "__irshift"),
    ],
)
def test_plain_names(qualified: str, name: str) -> None:
    assert aten_ops.plain_name(qualified) == name


# ---------------------------------------------------------------------------------------------
# Shapes as text


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("512x3x224x224", TensorSpec((512, 3, 224, 224))),
        ("8x128:int64", TensorSpec((8, 128), "int64")),
        ("8", TensorSpec((8,))),
    ],
)
def test_shapes(text: str, spec: TensorSpec) -> None:
    assert parse(text) == spec
    assert str(spec) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "3 x 4",
            "an input is sizes joined by x and maybe a type, like 512x3x224x224 or 8x128:int64, "
            "not '3 x 4'",
        ),
        (
            "",
            "an input is sizes joined by x and maybe a type, like 512x3x224x224 or 8x128:int64, "
            "not ''",
        ),
        ("3x0", "a size of an input must be a whole number from 1 to 2147483647, not 0"),
        (
            "9999999999",
            "a size of an input must be a whole number from 1 to 2147483647, not 9999999999",
        ),
        (
            "2000000000x2000000000",
            "an input has at most 2^46 = 70368744177664 elements, not 4000000000000000000",
        ),
        (
            "3:int46",
            "unknown element type 'int46': did you mean int64 or int16 or int8? (known: float32, "
            "float64, float16, bfloat16, int64, int32, int16, int8, uint8, bool)",
        ),
        (
            "3:",
            "unknown element type '': (known: float32, float64, float16, bfloat16, int64, int32, "
            "int16, int8, uint8, bool)",
        ),
    ],
)
def test_bad_shapes(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text)
    assert str(error.value) == message


@given(st.text(max_size=30))
def test_any_text_gives_a_shape_or_one_line(text: str) -> None:
    try:
        spec = parse(text)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert parse(str(spec)) == spec
    assert message.isprintable()
