"""Products against a lowering that is written again here, element by element, and against torch.

Every operand of every product is built by index arithmetic from the definition of a convolution;
the products' shapes must be those operands' shapes, and multiplying them must give what torch's
own convolution and its gradients give. Values are small whole numbers in float64, so that every
sum is exact and equality is equality.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product as cartesian

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nofm.dataflow.accelerator import hardware_record, load
from nofm.dataflow.mapping import MAPPING
from nofm.dataflow.methods import METHODS, Method
from nofm.dataflow.products import (
    ALONG_M,
    ALONG_N,
    ALONG_REDUCTION,
    Product,
    product_records,
    products,
)
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.timing import evaluate
from nofm.workloads.layer import Convolution, Linear, MatMul, VectorWork

STAGES = ("ff", "bp", "wu")
DENSE_METHOD = METHODS["dense"]

# What is published of each method, written down again: the sparse operand of each stage.
SPARSE = {
    "dense": {},
    "srste": {"ff": "weight"},
    "sdgp": {"bp": "gradient"},
    "sdwp": {"bp": "weight"},
    "bdwp": {"ff": "weight", "bp": "weight"},
    "transposable": {"ff": "weight", "bp": "weight"},
    "bimask": {"ff": "weight", "bp": "weight"},
    "pgf": {"ff": "weight"},
    "fst": {"ff": "weight", "bp": "weight", "wu": "gradient"},
    "sste": {"ff": "weight", "wu": "gradient"},
    "cast": {},
    "asp": {"ff": "weight"},
    "owl": {"ff": "weight"},
}


def convolution(**values: object) -> Convolution:
    """A 3x3 convolution over 6 x 6 positions, with some entries replaced."""
    return Convolution(
        **{
            "name": "conv",
            "in_channels": 8,
            "out_channels": 16,
            "size": (6, 6),
            "kernel": (3, 3),
            "stride": (1, 1),
            "padding": ((1, 1), (1, 1)),
            "dilation": (1, 1),
            **values,
        }
    )


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    """Any convolution that torch computes in well under a millisecond."""
    rank = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups = draw(st.integers(1, 3))
    stride = each(1, 4)
    transposed = draw(st.booleans())
    try:
        return convolution(
            batch=draw(st.integers(1, 2)),
            in_channels=groups * draw(st.integers(1, 3)),
            out_channels=groups * draw(st.integers(1, 3)),
            groups=groups,
            size=each(1, {1: 12, 2: 6, 3: 4}[rank]),
            kernel=each(1, {1: 5, 2: 3, 3: 3}[rank]),
            stride=stride,
            padding=tuple(zip(each(0, 3), each(0, 3), strict=True)),
            dilation=each(1, 3),
            transposed=transposed,
            output_padding=tuple(draw(st.integers(0, s - 1)) for s in stride) if transposed else (),
        )
    except InputError:
        assume(False)
        raise


@dataclass
class Lowering:
    """A convolution as windows of a large map at the positions of a small one, one channel group
    after the other. The large map is the input, or a transposed convolution's output."""

    layer: Convolution

    def __post_init__(self) -> None:
        layer = self.layer
        sizes = (layer.size, layer.output_size)
        channels = (layer.in_channels // layer.groups, layer.out_channels // layer.groups)
        flip = -1 if layer.transposed else 1
        self.large, self.small = sizes[::flip]
        self.on_large, self.on_small = channels[::flip]
        self.large_positions = list(cartesian(*map(range, self.large)))
        self.small_positions = list(cartesian(*map(range, self.small)))
        self.taps = list(cartesian(*map(range, layer.kernel)))

    def reads(self, at: tuple[int, ...], tap: tuple[int, ...]) -> tuple[int, ...] | None:
        """The large map's position under `tap` of the window at `at`; None in the padding."""
        layer = self.layer
        found = tuple(
            o * s - p[0] + t * d
            for o, s, p, t, d in zip(
                at, layer.stride, layer.padding, tap, layer.dilation, strict=True
            )
        )
        return found if all(0 <= x < n for x, n in zip(found, self.large, strict=True)) else None

    def meets(self, position: tuple[int, ...], tap: tuple[int, ...]) -> bool:
        """Whether `tap` of some window, inside the small map or not, lies on `position`."""
        layer = self.layer
        return all(
            (x + p[0] - t * d) % s == 0
            for x, s, p, t, d in zip(
                position, layer.stride, layer.padding, tap, layer.dilation, strict=True
            )
        )

    def reads_small(self, at: tuple[int, ...], tap: tuple[int, ...]) -> tuple[int, ...] | None:
        """The small map's position whose window has `tap` on position `at` of the large map."""
        layer = self.layer
        found = tuple(
            (x + p[0] - t * d) // s
            for x, s, p, t, d in zip(
                at, layer.stride, layer.padding, tap, layer.dilation, strict=True
            )
        )
        return found if all(0 <= o < n for o, n in zip(found, self.small, strict=True)) else None

    def phases(self) -> list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]]:
        """Positions of the large map and the taps that they see, by offset within the stride."""
        layer = self.layer
        found = []
        for offset in cartesian(*map(range, layer.stride)):
            positions = [
                position
                for position in self.large_positions
                if all(
                    (x + p[0]) % s == o
                    for x, p, s, o in zip(
                        position, layer.padding, layer.stride, offset, strict=True
                    )
                )
            ]
            taps = [tap for tap in self.taps if positions and self.meets(positions[0], tap)]
            if taps:
                found.append((positions, taps))
        return found

    def overlaps(self) -> bool:
        """Whether two windows cover the same position, padding included."""
        layer = self.layer
        covers: Counter[tuple[int, ...]] = Counter()
        for at in self.small_positions:
            spans = [
                range(o * s, o * s + d * (k - 1) + 1)
                for o, s, d, k in zip(at, layer.stride, layer.dilation, layer.kernel, strict=True)
            ]
            covers.update(cartesian(*spans))
        return max(covers.values()) > 1

    def unroll(self, values: np.ndarray, group: int) -> np.ndarray:
        """[T, taps, channels] of the large map [batch, channels, ...] of one channel group."""
        channels = slice(group * self.on_large, (group + 1) * self.on_large)
        rows = np.zeros(
            (len(values), len(self.small_positions), len(self.taps), self.on_large), values.dtype
        )
        for i, at in enumerate(self.small_positions):
            for j, tap in enumerate(self.taps):
                if (x := self.reads(at, tap)) is not None:
                    rows[:, i, j] = values[(slice(None), channels, *x)]
        return rows.reshape(-1, len(self.taps), self.on_large)

    def rows_of_small(self, values: np.ndarray, group: int) -> np.ndarray:
        """[T, channels] of the small map [batch, channels, ...] of one channel group."""
        channels = slice(group * self.on_small, (group + 1) * self.on_small)
        flat = values[:, channels].reshape(len(values), self.on_small, -1)
        return flat.transpose(0, 2, 1).reshape(-1, self.on_small)

    def weight(self, values: np.ndarray, group: int) -> np.ndarray:
        """[taps, channels on the large map, channels on the small map] of one channel group."""
        small = slice(group * self.on_small, (group + 1) * self.on_small)
        return values[small].reshape(self.on_small, self.on_large, -1).transpose(2, 1, 0)


def gathered(found: tuple[Product, ...], low: Lowering, large: np.ndarray, w: np.ndarray):
    """The small map, computed by the one product that gathers."""
    (product,) = found
    out = np.zeros((len(large), low.on_small * low.layer.groups, *low.small))
    for group in range(product.count):
        left = low.unroll(large, group)
        right = low.weight(w, group)
        assert left.shape == (product.m, product.taps, product.length)
        assert right.shape == (product.taps, product.length, product.n)
        y = left.reshape(product.m, product.k) @ right.reshape(product.k, product.n)
        channels = slice(group * low.on_small, (group + 1) * low.on_small)
        out[:, channels] = (
            y.reshape(len(large), -1, product.n).transpose(0, 2, 1).reshape(out[:, channels].shape)
        )
    return out


def scattered(found: tuple[Product, ...], low: Lowering, small: np.ndarray, w: np.ndarray):
    """The large map, computed by the products that scatter."""
    out = np.zeros((len(small), low.on_large * low.layer.groups, *low.large))
    written = np.zeros(low.large, int)
    if not low.overlaps():
        (product,) = found
        assert product.taps == 1
        for group in range(product.count):
            left = low.rows_of_small(small, group)
            right = low.weight(w, group).transpose(2, 0, 1).reshape(low.on_small, -1)
            assert left.shape == (product.m, product.length)
            assert right.shape == (product.length, product.n)
            y = (left @ right).reshape(len(small), -1, len(low.taps), low.on_large)
            channels = slice(group * low.on_large, (group + 1) * low.on_large)
            for i, at in enumerate(low.small_positions):
                for j, tap in enumerate(low.taps):
                    if (x := low.reads(at, tap)) is not None:
                        out[(slice(None), channels, *x)] = y[:, i, j]
                        written[x] += group == 0
        assert written.max() <= 1
        return out
    phases = low.phases()
    assert [(p.m, p.taps, p.length, p.n) for p in found] == [
        (len(small) * len(positions), len(taps), low.on_small, low.on_large)
        for positions, taps in phases
    ]
    for group in range(low.layer.groups):
        weight = low.weight(w, group)
        channels = slice(group * low.on_small, (group + 1) * low.on_small)
        to = slice(group * low.on_large, (group + 1) * low.on_large)
        for positions, taps in phases:
            left = np.zeros((len(small), len(positions), len(taps), low.on_small))
            for i, at in enumerate(positions):
                for j, tap in enumerate(taps):
                    if (o := low.reads_small(at, tap)) is not None:
                        left[:, i, j] = small[(slice(None), channels, *o)]
            right = np.stack([weight[low.taps.index(tap)].T for tap in taps])
            left = left.reshape(len(small) * len(positions), -1)
            y = (left @ right.reshape(-1, low.on_large)).reshape(len(small), -1, low.on_large)
            for i, at in enumerate(positions):
                out[(slice(None), to, *at)] = y[:, i]
                written[at] += group == 0
    assert written.max() <= 1
    return out


def weight_gradient(found: tuple[Product, ...], low: Lowering, large: np.ndarray, small):
    """The weight's gradient, [channels on the small map, channels on the large map, taps]."""
    (product,) = found
    out = np.zeros((low.layer.groups, low.on_small, low.on_large, len(low.taps)))
    assert product.count == low.layer.groups
    assert product.taps == 1
    for group in range(product.count):
        left = low.unroll(large, group).transpose(2, 1, 0).reshape(-1, product.length)
        right = low.rows_of_small(small, group)
        assert left.shape == (product.m, product.length)
        assert right.shape == (product.length, product.n)
        out[group] = (left @ right).reshape(low.on_large, len(low.taps), -1).transpose(2, 0, 1)
    return out.reshape(-1, low.on_large, *low.layer.kernel)


def torch_convolution(layer: Convolution, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The layer, computed by torch."""
    functional = torch.nn.functional
    rank = len(layer.size)
    if not layer.transposed:
        pads = [p for pair in reversed(layer.padding) for p in pair]
        forward = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
        return forward(
            functional.pad(x, pads),
            w,
            stride=layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
        )
    forward = (
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
    )[rank - 1]
    full = forward(x, w, stride=layer.stride, dilation=layer.dilation, groups=layer.groups)
    extra = layer.output_padding or (0,) * rank
    crops = [
        crop
        for (before, after), e in zip(reversed(layer.padding), reversed(extra), strict=True)
        for crop in (-before, e - after)
    ]
    # What is added first, for what is cut off may be more than there is without it.
    full = functional.pad(full, [max(0, crop) for crop in crops])
    return functional.pad(full, [min(0, crop) for crop in crops])


@settings(max_examples=60)
@given(layer=convolutions(), seed=st.integers(0, 2**32 - 1))
@example(layer=convolution(stride=(2, 2)), seed=0)
@example(layer=convolution(stride=(2, 2), dilation=(2, 2)), seed=0)
@example(layer=convolution(groups=8, out_channels=8), seed=0)  # depthwise
@example(layer=convolution(kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0))), seed=0)
@example(layer=convolution(transposed=True, stride=(2, 2), output_padding=(1, 1)), seed=0)
@example(layer=convolution(size=(1, 1), padding=((3, 0), (3, 0)), stride=(4, 4)), seed=0)
@example(
    layer=convolution(
        transposed=True,
        size=(1, 1),
        kernel=(1, 1),
        stride=(1, 3),
        padding=((0, 0), (2, 0)),
        output_padding=(0, 2),
    ),
    seed=0,
)
def test_products_compute_what_torch_computes(layer: Convolution, seed: int) -> None:
    random = np.random.default_rng(seed)
    low = Lowering(layer)
    x = random.integers(-4, 5, (layer.batch, layer.in_channels, *layer.size)).astype(float)
    first = layer.in_channels if layer.transposed else layer.out_channels
    w = random.integers(-4, 5, (first, low.on_large, *layer.kernel)).astype(float)
    tensors = [torch.tensor(value, requires_grad=True) for value in (x, w)]
    y = torch_convolution(layer, *tensors)
    dy = random.integers(-4, 5, tuple(y.shape)).astype(float)
    assert tuple(y.shape) == (layer.batch, layer.out_channels, *layer.output_size)
    dx, dw = (grad.numpy() for grad in torch.autograd.grad(y, tensors, torch.tensor(dy)))

    ff, bp, wu = (products(layer, stage, DENSE_METHOD, DENSE) for stage in STAGES)
    if layer.transposed:
        np.testing.assert_array_equal(scattered(ff, low, x, w), y.detach().numpy())
        np.testing.assert_array_equal(gathered(bp, low, dy, w), dx)
        np.testing.assert_array_equal(weight_gradient(wu, low, dy, x), dw)
    else:
        np.testing.assert_array_equal(gathered(ff, low, x, w), y.detach().numpy())
        np.testing.assert_array_equal(scattered(bp, low, dy, w), dx)
        np.testing.assert_array_equal(weight_gradient(wu, low, x, dy), dw)


@settings(max_examples=100)
@given(layer=convolutions())
def test_macs(layer: Convolution) -> None:
    low = Lowering(layer)
    gather, scatter = ("bp", "ff") if layer.transposed else ("ff", "bp")
    macs = {
        stage: sum(p.macs for p in products(layer, stage, DENSE_METHOD, DENSE)) for stage in STAGES
    }
    channels = layer.batch * layer.groups * low.on_large * low.on_small
    assert macs[gather] == macs["wu"] == channels * len(low.small_positions) * len(low.taps)
    if low.overlaps():
        # Only taps that meet a position: none of the stride's inserted zeros.
        met = sum(low.meets(x, tap) for x in low.large_positions for tap in low.taps)
        assert macs[scatter] == channels * met
    else:
        assert macs[scatter] == macs[gather]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("stride", [(2, 2), (3, 2), (1, 1)])
def test_macs_are_conserved_where_windows_tile(stride: tuple[int, ...], transposed: bool) -> None:
    layer = convolution(
        kernel=stride, stride=stride, padding=((0, 0), (0, 0)), transposed=transposed
    )
    macs = [sum(p.macs for p in products(layer, stage, DENSE_METHOD, DENSE)) for stage in STAGES]
    assert len(set(macs)) == 1


def test_strided_phases_by_hand() -> None:
    """3x3, stride 2: a position sees 1, 2, 2 or 4 of the 9 taps, by its parity."""
    layer = convolution(stride=(2, 2), size=(8, 8))
    found = products(layer, "bp", DENSE_METHOD, DENSE)
    assert sorted(p.taps for p in found) == [1, 2, 2, 4]
    assert [p.m for p in found] == [16] * 4
    assert {(p.length, p.n, p.left, p.right, p.out) for p in found} == {
        (16, 8, "gradient", "weight", "gradient")
    }


def footprint(product: Product, positions: int) -> int:
    """Elements of one channel that a tile of `positions` is taken to load."""
    machine = load("sat-4x4").with_values(**{"dram.burst_bytes": 1, "formats.operand": "int8"})
    if product.image.axis == ALONG_REDUCTION:
        tile = replace(product, count=1, m=product.image.taps, length=positions, n=1)
    else:
        tile = replace(product, count=1, m=positions, length=1, n=1)
    mapping = np.zeros(1, MAPPING)
    whole = (0, 0, 1, 1, 1, tile.m, tile.length, tile.n, 1)
    mapping[0] = whole
    cost = evaluate(np.atleast_1d(hardware_record(machine)), product_records([tile]), mapping)
    return int(cost["left_bytes"][0])


@settings(max_examples=50)
@given(layer=convolutions())
@example(layer=convolution(dilation=(2, 2), padding=((2, 2), (2, 2))))
@example(layer=convolution(size=(6,), kernel=(2,), stride=(1,), dilation=(2,), padding=((3, 3),)))
def test_footprint_covers_what_a_tile_reads(layer: Convolution) -> None:
    """For every tile of whole rows inside one map, and for whole maps."""
    low = Lowering(layer)
    gather, scatter = ("bp", "ff") if layer.transposed else ("ff", "bp")
    row = math.prod(low.small[1:])
    for stage in (gather, "wu"):
        (product,) = products(layer, stage, DENSE_METHOD, DENSE)
        assert product.image.axis == (ALONG_REDUCTION if stage == "wu" else ALONG_M)
        whole = math.prod(low.large)
        for rows in range(1, low.small[0] + 1):
            taken = footprint(product, rows * row)
            assert taken <= whole
            for first in range(low.small[0] - rows + 1):
                tile = low.small_positions[first * row : (first + rows) * row]
                assert taken >= len({low.reads(o, t) for o in tile for t in low.taps} - {None})
        one = footprint(product, len(low.small_positions))
        assert footprint(product, 2 * len(low.small_positions)) == 2 * one
    if not low.overlaps():
        return
    found = products(layer, scatter, DENSE_METHOD, DENSE)
    for product, (positions, taps) in zip(found, low.phases(), strict=True):
        row = product.image.out_width
        for first in range(0, len(positions), row):
            for last in range(first + row, len(positions) + 1, row):
                read = {low.reads_small(x, t) for x in positions[first:last] for t in taps}
                taken = footprint(product, last - first)
                assert len(read - {None}) <= taken <= math.prod(low.small)


@settings(max_examples=50)
@given(layer=convolutions(), data=st.data())
def test_footprint_of_any_tile(layer: Convolution, data: st.DataObject) -> None:
    """Of several maps cut into tiles, each reads at most max(extent, stride) rows more than are
    counted, and no more at all where docs/timing.md says so."""
    low = Lowering(layer)
    (product,) = products(layer, "bp" if layer.transposed else "ff", DENSE_METHOD, DENSE)
    image, maps = product.image, 3
    positions = [(i, o) for i in range(maps) for o in low.small_positions]
    size = data.draw(st.integers(1, len(positions)))
    first = size * data.draw(st.integers(0, (len(positions) - 1) // size))
    last = min(first + size, len(positions))
    read = {(i, low.reads(o, t)) for i, o in positions[first:last] for t in low.taps}
    read = {(i, x) for i, x in read if x is not None}
    slack = max(image.extent, image.stride) * image.in_width
    begins_row = first % image.out_width == 0
    within = first // image.positions == (last - 1) // image.positions
    same = image.in_height == image.stride * (image.positions // image.out_width)
    same |= image.extent <= image.stride
    windows = -(-((last - first) % image.positions) // image.out_width)
    less = (windows - 1) * image.stride + image.extent <= image.in_height
    if begins_row and (within or (same and less)):
        slack = 0
    assert len(read) <= footprint(product, last - first) + slack


@pytest.mark.parametrize(
    ("stage", "size", "reads"),
    [
        # batch 2, count 3: A[4, 5] B[5, 6]; dA = dY B'; dB = A' dY.
        ("ff", (6, 4, 5, 6), ("activation", "activation", "activation")),
        ("bp", (6, 4, 6, 5), ("gradient", "activation", "gradient")),
        ("wu", (6, 5, 4, 6), ("activation", "gradient", "gradient")),
    ],
)
@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_products_of_a_matmul(
    method: Method, stage: str, size: tuple[int, ...], reads: tuple[str, ...]
) -> None:
    layer = MatMul(name="scores", batch=2, count=3, m=4, k=5, n=6)
    (product,) = products(layer, stage, method, Pattern(2, 4))
    assert (product.count, product.m, product.k, product.n) == size
    assert (product.left, product.right, product.out) == reads
    assert product.pattern == DENSE


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_what_has_no_products(method: Method) -> None:
    pattern = Pattern(2, 8)
    work = VectorWork(name="relu", work="elementwise", forward_reads=9, forward_writes=9)
    first = convolution(input_gradient=False)
    frozen = convolution(weight_gradient=False)
    scores = MatMul(name="s", m=2, k=3, n=4, input_gradient=False, second_gradient=False)
    for stage in STAGES:
        assert products(work, stage, method, pattern) == ()
        assert bool(products(first, stage, method, pattern)) == (stage != "bp")
        assert bool(products(frozen, stage, method, pattern)) == (stage != "wu")
        assert bool(products(scores, stage, method, pattern)) == (stage == "ff")


WEIGHT_LAYERS = {
    "linear": Linear(name="fc", batch=3, rows=5, in_features=20, out_features=13),
    "convolution": convolution(batch=2),
    "strided": convolution(batch=2, stride=(2, 2)),
    "grouped": convolution(groups=4, in_channels=24, out_channels=40),
    "patches": convolution(kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0))),
    "transposed": convolution(transposed=True, stride=(2, 2), output_padding=(1, 1)),
}


@pytest.mark.parametrize("layer", WEIGHT_LAYERS.values(), ids=WEIGHT_LAYERS)
@pytest.mark.parametrize("name", METHODS)
def test_methods_say_what_is_sparse(name: str, layer: Linear | Convolution) -> None:
    method, pattern = METHODS[name], Pattern(2, 8)
    for stage in STAGES:
        assert method.operand(stage) == SPARSE[name].get(stage)
        dense = products(layer, stage, DENSE_METHOD, DENSE)
        found = products(layer, stage, method, pattern)
        operand = method.operand(stage)
        if stage == "wu" and layer is WEIGHT_LAYERS["transposed"]:
            operand = None  # its window reads the gradient: no group lies along the reduction
        assert sum(p.macs for p in found) == sum(p.macs for p in dense)
        if operand is None:
            assert found == dense
            continue
        for sparse, whole in zip(found, dense, strict=True):
            assert sparse.pattern == pattern
            assert sparse.right == operand
            assert sparse.right_tiled  # it leaves the pruner in the order of the tiles
            assert (sparse.count, sparse.taps, sparse.length) == (
                whole.count,
                whole.taps,
                whole.length,
            )
            if whole.right == operand:
                kept = replace(sparse, pattern=DENSE, right_tiled=whole.right_tiled)
                assert kept == whole
            else:
                assert (sparse.m, sparse.n) == (whole.n, whole.m)
                assert (sparse.left, sparse.out) == (whole.right, whole.out)
                assert sparse.image == replace(whole.image, axis=ALONG_N)


@pytest.mark.parametrize("layer", WEIGHT_LAYERS.values(), ids=WEIGHT_LAYERS)
@pytest.mark.parametrize("name", [name for name, stages in SPARSE.items() if stages])
def test_groups_of_a_pattern_lie_along_the_reduction(
    name: str, layer: Linear | Convolution
) -> None:
    """An operand pruned along the axis that its method names is N:M in every run of its product."""
    pattern = Pattern(2, 4)
    for stage, operand in SPARSE[name].items():
        for product in products(layer, stage, METHODS[name], pattern):
            if product.pattern.dense:
                continue
            for right in right_operands(layer, stage, operand, pattern):
                assert right.shape[1:] == (product.length, product.n)
                assert np.count_nonzero(right) > 0
                for first in range(0, product.length, pattern.m):
                    kept = np.count_nonzero(right[:, first : first + pattern.m], axis=1)
                    assert kept.max() <= pattern.n


def right_operands(layer, stage: str, operand: str, pattern: Pattern):
    """The right operand [taps, length, n] of every product of a stage, pruned along Ci in FF,
    along Co in BP and along the positions in WU."""
    if isinstance(layer, Linear):
        layer = convolution(
            batch=layer.batch,
            in_channels=layer.in_features,
            out_channels=layer.out_features,
            size=(layer.rows,),
            kernel=(1,),
            stride=(1,),
            padding=((0, 0),),
            dilation=(1,),
        )
    low = Lowering(layer)
    random = np.random.default_rng(0)
    scatters = (stage == "ff") == layer.transposed
    for group in range(layer.groups):
        if operand == "weight":
            # [taps, on the large map, on the small map]: the input's channels are on the large
            # map of an ordinary convolution.
            first = layer.in_channels if layer.transposed else layer.out_channels
            w = low.weight(random.normal(size=(first, low.on_large, *layer.kernel)), group)
            along = 1 if (stage == "ff") != layer.transposed else 2
            w = prune(w, along, pattern)
            if not scatters:
                yield w
            elif low.overlaps():
                for _, taps in low.phases():
                    yield np.stack([w[low.taps.index(tap)].T for tap in taps])
            else:
                yield w.transpose(2, 0, 1).reshape(1, low.on_small, -1)
            continue
        dy = random.normal(size=(layer.batch, layer.out_channels, *layer.output_size))
        if stage == "wu":
            yield prune(low.rows_of_small(dy, group), 0, pattern)[None]
            continue
        dy = prune_channels(dy, layer.groups, pattern)
        if not scatters:
            yield low.unroll(dy, group).transpose(1, 2, 0)
        elif low.overlaps():
            for positions, taps in low.phases():
                rows = np.zeros((len(taps), low.on_small, layer.batch, len(positions)))
                channels = slice(group * low.on_small, (group + 1) * low.on_small)
                for i, at in enumerate(positions):
                    for j, tap in enumerate(taps):
                        if (o := low.reads_small(at, tap)) is not None:
                            rows[j, :, :, i] = dy[(slice(None), channels, *o)].T
                yield rows.reshape(len(taps), low.on_small, -1)
        else:
            yield low.rows_of_small(dy, group).T[None]


def prune(values: np.ndarray, axis: int, pattern: Pattern) -> np.ndarray:
    """`values` with the N largest of every M along `axis`."""
    moved = np.moveaxis(values.copy(), axis, -1)
    for first in range(0, moved.shape[-1], pattern.m):
        group = moved[..., first : first + pattern.m]
        rank = np.argsort(np.argsort(-np.abs(group), axis=-1), axis=-1)
        group[rank >= pattern.n] = 0
    return np.moveaxis(moved, -1, axis)


def prune_channels(dy: np.ndarray, groups: int, pattern: Pattern) -> np.ndarray:
    """An output gradient [batch, Co, ...] pruned along Co, each channel group by itself."""
    split = dy.reshape(dy.shape[0], groups, -1, *dy.shape[2:])
    return prune(split, 2, pattern).reshape(dy.shape)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "layer",
    [
        replace(WEIGHT_LAYERS["linear"], prunable=False),
        convolution(prunable=False),
        convolution(groups=8, out_channels=8, batch=1, size=(1, 1)),  # single channels, depthwise
    ],
    ids=["linear", "convolution", "depthwise"],
)
def test_what_cannot_be_pruned_stays_dense(name: str, layer: Linear | Convolution) -> None:
    for stage in STAGES:
        found = products(layer, stage, METHODS[name], Pattern(2, 8))
        assert found == products(layer, stage, DENSE_METHOD, DENSE)


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 9])
def test_runs_no_longer_than_n_stay_dense(channels: int) -> None:
    layer = convolution(in_channels=channels)
    (product,) = products(layer, "ff", METHODS["bdwp"], Pattern(2, 8))
    assert product.pattern == (Pattern(2, 8) if channels > 2 else DENSE)
    assert product.effective_macs == product.macs // channels * {1: 1, 9: 3}.get(channels, 2)


def test_too_many_macs() -> None:
    with pytest.raises(InputError) as caught:
        Product(1, 2**30, 1, 2**20, 2**11)
    assert str(caught.value) == (
        "a product has at most 2^60 multiply-accumulates, but 1 x 1073741824 x 1048576 x 2048 is "
        "2305843009213693952"
    )
    assert Product(1, 2**30, 1, 2**20, 2**10).macs == 2**60
