"""The matrix products of a layer's training: forward (FF), backward (BP), weight update (WU).

With T = batch x output positions, a layer's three products are (Y, A, W: output, input, weight)

    FF  Y[T, Co]  = A[T, K] W[K, Co]      reduction over Ci, run by run of the kernel's taps
    BP  dA[T, Ci] = dY[T, K'] W'[K', Ci]  reduction over Co
    WU  dW[K, Co] = A'[K, T] dY[T, Co]    reduction over T

The *left* operand streams through the array; the *right* one is held (WS) or enters from above
(OS) and is the one that can be N:M sparse. Convolutions are lowered without writing out the
unrolled input: the left operand's footprint in memory is that of the feature map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product as cartesian
from typing import Any

import numpy as np

from nofm.dataflow.methods import Method
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.kernels.tiered import integers
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul, WeightLayer

MAX_MACS = 2**60
"""Most multiply-accumulates of one product; more cannot be counted in 63 bits of cycles."""

ALONG_M, ALONG_REDUCTION, ALONG_N = 0, 1, 2
"""Dimension of a product that a feature map's positions run along."""


@dataclass(frozen=True)
class Image:
    """How an operand that is a feature map lies in memory.

    The operand's positions run along one dimension of the product; `out_*` positions of it read
    an `in_height` x `in_width` map with a window of `extent` rows moved by `stride` rows. Rows
    that no window reads are not part of the map.
    `positions` = 0 means a plain matrix: every position is a row of its own.
    """

    axis: int = ALONG_M
    taps: int = 1
    positions: int = 0
    out_width: int = 1
    stride: int = 1
    extent: int = 1
    in_height: int = 1
    in_width: int = 1


@dataclass(frozen=True)
class Product:
    """`count` products of a left [m, k] by a right [k, n] matrix, k = `taps` runs of `length`.

    Attributes:
        pattern: of the right operand, along each run.
        image: how the feature map among the operands lies in memory.
        left, right, out: the tensor that each operand is, for the count of DRAM traffic.
        right_tiled, out_tiled: whether that operand is stored tile by tile (weights are), so that
            a tile is one contiguous run.
    """

    count: int
    m: int
    taps: int
    length: int
    n: int
    pattern: Pattern = DENSE
    image: Image = Image()
    left: str = "activation"
    right: str = "weight"
    out: str = "activation"
    right_tiled: bool = True
    out_tiled: bool = False

    def __post_init__(self) -> None:
        if self.macs > MAX_MACS:
            raise InputError(
                f"a product has at most 2^60 multiply-accumulates, but {self.count} x {self.m} x "
                f"{self.k} x {self.n} is {self.macs}"
            )

    @property
    def k(self) -> int:
        """Length of the reduction."""
        return self.taps * self.length

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates."""
        return self.count * self.m * self.k * self.n

    @property
    def effective_macs(self) -> int:
        """Multiply-accumulates on kept elements."""
        return self.count * self.m * self.taps * self.pattern.kept(self.length) * self.n


def products(layer: Layer, stage: str, method: Method, pattern: Pattern) -> tuple[Product, ...]:
    """The products of one layer in one stage ("ff", "bp" or "wu"); empty where there are none.

    Args:
        method: says which operand is N:M.
        pattern: the layer's pattern where the method applies.
    """
    if isinstance(layer, MatMul):
        return _of_matmul(layer, stage)
    if not isinstance(layer, WeightLayer):
        return ()
    if (stage == "bp" and not layer.input_gradient) or (
        stage == "wu" and not layer.weight_gradient
    ):
        return ()
    if isinstance(layer, Convolution):
        found = _of_convolution(layer, stage)
    elif isinstance(layer, Linear):
        found = _of_linear(layer, stage)
    else:
        raise TypeError(f"no products are defined for {type(layer).__name__}")
    operand = method.operand(stage)
    if operand is None or not layer.prunable:
        return found
    return tuple(_sparse(product, operand, stage, pattern) for product in found)


def _sparse(product: Product, operand: str, stage: str, pattern: Pattern) -> Product:
    if pattern.kept(product.length) == product.length:
        return product  # too short to prune, such as a depthwise convolution's single channel
    if stage == "wu" and product.right != operand:
        # A transposed convolution reads the gradient through its window: groups along positions
        # of the gradient do not lie along the reduction.
        return product
    if operand == "weight" or stage == "wu":
        return replace(product, pattern=pattern, right_tiled=True)
    # The sparse gradient is the left operand of BP: the transposed product has it on the right.
    return replace(
        product,
        m=product.n,
        n=product.m,
        pattern=pattern,
        image=replace(product.image, axis=ALONG_N),
        left="weight",
        right="gradient",
        right_tiled=True,
    )


def _of_linear(layer: Linear, stage: str) -> tuple[Product, ...]:
    rows, ci, co = layer.batch * layer.rows, layer.in_features, layer.out_features
    if stage == "ff":
        return (Product(1, rows, 1, ci, co),)
    if stage == "bp":
        return (Product(1, rows, 1, co, ci, left="gradient", out="gradient"),)
    return (_weight_gradient(1, ci, rows, co, Image(axis=ALONG_REDUCTION)),)


def _weight_gradient(count: int, m: int, positions: int, n: int, image: Image) -> Product:
    return Product(
        count,
        m,
        1,
        positions,
        n,
        image=image,
        right="gradient",
        right_tiled=False,
        out="weight_gradient",
        out_tiled=True,
    )


def _of_matmul(layer: MatMul, stage: str) -> tuple[Product, ...]:
    count, m, k, n = layer.batch * layer.count, layer.m, layer.k, layer.n
    if stage == "ff":
        return (Product(count, m, 1, k, n, right="activation", right_tiled=False),)
    if stage == "bp" and layer.input_gradient:
        return (
            Product(
                count,
                m,
                1,
                n,
                k,
                left="gradient",
                right="activation",
                right_tiled=False,
                out="gradient",
            ),
        )
    if stage == "wu" and layer.second_gradient:
        # The second operand's gradient has the form of a weight's: A' dY.
        return (
            replace(
                _weight_gradient(count, k, m, n, Image(axis=ALONG_REDUCTION)),
                out="gradient",
                out_tiled=False,
            ),
        )
    return ()


@dataclass(frozen=True)
class _Window:
    """A convolution between a large and a small feature map (input and output of an ordinary
    convolution, the other way round for a transposed one)."""

    batch: int
    groups: int
    large: tuple[int, ...]
    small: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def overlapping(self) -> bool:
        """Whether two windows ever touch the same position of the large map."""
        return any(
            extent > stride and small > 1
            for extent, stride, small in zip(self.extents, self.stride, self.small, strict=True)
        )

    def read_large(self, axis: int) -> Image:
        """The large map, read through the window at every position of the small one."""
        return Image(
            axis=axis,
            taps=self.taps,
            positions=math.prod(self.small),
            out_width=math.prod(self.small[1:]),
            # Rows between windows that do not touch are skipped.
            stride=min(self.stride[0], self.extents[0]),
            extent=self.extents[0],
            in_height=_rows_read(self.small[0], self.stride[0], self.extents[0], self.large[0]),
            in_width=math.prod(self.large[1:]),
        )

    def gather(self, reduced: int, produced: int) -> Product:
        """The large map's `reduced` channels to the small map's `produced` ones, each a group."""
        rows = self.batch * math.prod(self.small)
        image = self.read_large(ALONG_M)
        return Product(self.groups, rows, self.taps, reduced, produced, image=image)

    def scatter(self, reduced: int, produced: int) -> tuple[Product, ...]:
        """The small map's `reduced` channels to the large map's `produced` ones.

        Windows that do not overlap give one product whose n is taps x channels. Else positions of
        the large map fall into phases, one for each offset modulo the stride; a phase sees only
        the taps that hit it, so that no zero is ever multiplied.
        """
        if not self.overlapping:
            rows = self.batch * math.prod(self.small)
            return (Product(self.groups, rows, 1, reduced, self.taps * produced),)
        by_dimension = [
            _phases(*dimension)
            for dimension in zip(
                self.large,
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        ]
        found = []
        for phase in cartesian(*by_dimension):
            positions = [positions for positions, _, _ in phase]
            taps = [taps for _, taps, _ in phase]
            found.append(
                Product(
                    self.groups,
                    self.batch * math.prod(positions),
                    math.prod(taps),
                    reduced,
                    produced,
                    image=Image(
                        axis=ALONG_M,
                        taps=math.prod(taps),
                        positions=math.prod(positions),
                        out_width=math.prod(positions[1:]),
                        stride=1,
                        extent=phase[0][2],
                        in_height=_rows_read(positions[0], 1, phase[0][2], self.small[0]),
                        in_width=math.prod(self.small[1:]),
                    ),
                )
            )
        return tuple(found)


def _rows_read(positions: int, stride: int, extent: int, rows: int) -> int:
    """Rows of a map that a window reads at all its positions; the others need not be fetched."""
    return min(rows, (positions - 1) * min(stride, extent) + extent)


def _phases(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int
) -> list[tuple[int, int, int]]:
    """(positions, taps, extent) of each phase of one dimension that any tap hits.

    The extent is that of the taps in positions of the small map, of which they skip some where
    the convolution is dilated.
    """
    apart = dilation // math.gcd(dilation, stride)
    found = []
    for phase in range(min(stride, size + padding[0])):
        taps = sum(1 for tap in range(kernel) if tap * dilation % stride == phase)
        first = (phase - padding[0]) % stride
        positions = len(range(first, size, stride))
        if taps and positions:
            found.append((positions, taps, (taps - 1) * apart + 1))
    return found


def _of_convolution(layer: Convolution, stage: str) -> tuple[Product, ...]:
    outer, inner = layer.size, layer.output_size
    ci, co = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    large, small = (inner, outer) if layer.transposed else (outer, inner)
    window = _Window(
        layer.batch,
        layer.groups,
        large,
        small,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
    )
    if stage == "wu":
        on_large, on_small = (co, ci) if layer.transposed else (ci, co)
        weight_gradient = _weight_gradient(
            layer.groups,
            window.taps * on_large,
            layer.batch * math.prod(small),
            on_small,
            window.read_large(ALONG_REDUCTION),
        )
        if layer.transposed:  # the gradient is the large map
            weight_gradient = replace(weight_gradient, left="gradient", right="activation")
        return (weight_gradient,)
    reduced, produced = (ci, co) if stage == "ff" else (co, ci)
    if (stage == "ff") != layer.transposed:
        found: tuple[Product, ...] = (window.gather(reduced, produced),)
    else:
        found = window.scatter(reduced, produced)
    if stage == "bp":
        found = tuple(replace(product, left="gradient", out="gradient") for product in found)
    return found


PRODUCT = integers(
    "count",
    "m",
    "taps",
    "length",
    "n",
    "keep_n",
    "keep_m",
    "index_bits",
    "image_axis",
    "image_taps",
    "image_positions",
    "image_out_width",
    "image_stride",
    "image_extent",
    "image_in_height",
    "image_in_width",
    "right_tiled",
    "out_tiled",
)
"""What compiled code knows of a `Product`."""


def product_records(items: list[Product]) -> np.ndarray[Any, Any]:
    """`PRODUCT` records, one for each product."""
    rows = [
        (
            item.count,
            item.m,
            item.taps,
            item.length,
            item.n,
            item.pattern.n,
            item.pattern.m,
            item.pattern.index_bits,
            item.image.axis,
            item.image.taps,
            item.image.positions,
            item.image.out_width,
            item.image.stride,
            item.image.extent,
            item.image.in_height,
            item.image.in_width,
            item.right_tiled,
            item.out_tiled,
        )
        for item in items
    ]
    return np.array(rows, PRODUCT)
