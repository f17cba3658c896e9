"""The operands of a layer's products, from the tensors of a real step: what the array is fed.

Tensors are lowered as `dataflow.products` says, product by product: runs along the channels that a
product reduces, a run for each tap of a kernel. Here the unrolled map is written out, which the
hardware never does; it is for the golden model, the stepped array and RTL, on small layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product as cartesian
from typing import Any

import numpy as np

from nofm.dataflow.methods import METHODS, Method
from nofm.dataflow.products import Product, products
from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.workloads.layer import Convolution, Linear, WeightLayer
from nofm.workloads.step_tensors import DENSE_WHAT, ORDER, Trained

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Operands:
    """One product's operands.

    Attributes:
        product: what is multiplied.
        left: float16 [count, m, taps, length].
        right: float16 [count, taps, length, n], in compressed form where the product is sparse.
    """

    product: Product
    left: Array
    right: Array | Compressed


def operands(
    layer: WeightLayer, tensors: Mapping[str, Array], stage: str, method: Method, pattern: Pattern
) -> tuple[Operands, ...]:
    """The operands of a layer in one stage ("ff", "bp" or "wu") if it trained by a method, rounded
    to FP16: its dense tensors, of which the sparse operand is pruned as SORE prunes, by magnitude.

    Args:
        tensors: the layer's own of `nofm.workloads.step_tensors.StepTensors`.
        method, pattern: as for `products`.

    Raises:
        InputError: a tensor that the stage needs is missing.
    """
    sparse = products(layer, stage, method, pattern)
    pairs = _lowered(layer, tensors, stage)
    return tuple(_pruned(each, *pair) for each, pair in zip(sparse, pairs, strict=True))


def recorded_operands(
    layer: WeightLayer, tensors: Mapping[str, Array], stage: str, trained: Trained | None
) -> tuple[Operands, ...]:
    """The operands of a layer in one stage ("ff", "bp" or "wu") as they entered the products of
    the step that was recorded, rounded to FP16.

    A product is sparse where its method's record says so and the operand is N:M: one that has not
    faded out yet, for example, is multiplied densely.

    Args:
        tensors: the layer's own of `nofm.workloads.step_tensors.StepTensors`.
        trained: how the layer trained; None for a layer that no method changed.

    Raises:
        InputError: a tensor that the stage needs is missing.
    """
    entered = {
        what: tensors.get(f"{stage}_{what}", tensors[what])
        for what in DENSE_WHAT
        if what in tensors
    }
    dense = products(layer, stage, METHODS["dense"], DENSE)
    sparse = dense
    if trained is not None:
        method = METHODS[trained.method]
        sparse = products(replace(layer, prunable=True), stage, method, trained.pattern)
    order = tensors.get(ORDER) if stage == "bp" else None
    found = []
    for each, plain, pair in zip(sparse, dense, _lowered(layer, entered, stage), strict=True):
        left, right = pair if order is None or each.pattern.dense else _ordered(*pair, order)
        pruned = _is_pruned(_sides(each, left, right)[1], each.pattern)
        found.append(_pruned(each if pruned else plain, left, right))
    return tuple(found)


def _lowered(
    layer: WeightLayer, tensors: Mapping[str, Array], stage: str
) -> list[tuple[Array, Array]]:
    """Both operands of each product of a stage that there is, float16."""
    if not products(layer, stage, METHODS["dense"], DENSE):
        return []
    needed = {"ff": ("input", "weight"), "bp": ("gradient", "weight"), "wu": ("input", "gradient")}
    for what in needed[stage]:
        if what not in tensors:
            raise InputError(
                f"layer {layer.name!r}: stage {stage} needs its {what}, which is missing"
            )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, as in hardware
        half = {what: tensors[what].astype(np.float16) for what in needed[stage]}
    return _Lowering(_as_convolution(layer, half)).operands(half, stage)


def _sides(product: Product, left: Array, right: Array) -> tuple[Array, Array]:
    """Both operands, each on its side: a sparse gradient is on the right in BP, by positions."""
    if product.left == "weight":
        return right.transpose(0, 3, 1, 2), left.transpose(0, 2, 3, 1)
    return left, right


def _pruned(product: Product, left: Array, right: Array) -> Operands:
    """A product with its operands, the sparse one compressed."""
    left, right = map(np.ascontiguousarray, _sides(product, left, right))
    if product.pattern.dense:
        return Operands(product, left, right)
    return Operands(product, left, compress(right, product.pattern))


def _is_pruned(right: Array, pattern: Pattern) -> bool:
    """Whether no group of [count, taps, length, n] has more than N elements."""
    if pattern.dense:
        return True
    count, taps, length, n = right.shape
    padded = np.zeros((count, taps, pattern.groups(length) * pattern.m, n), bool)
    padded[:, :, :length] = right != 0
    groups = padded.reshape(count, taps, -1, pattern.m, n)
    return bool((groups.sum(axis=3) <= pattern.n).all())


def _ordered(left: Array, right: Array, order: Array) -> tuple[Array, Array]:
    """The operands of BP with its reduction, Co, in another order, int32 [groups, Co / groups]."""
    places = order.astype(np.intp)
    return (
        np.take_along_axis(left, places[:, np.newaxis, np.newaxis], axis=3),
        np.take_along_axis(right, places[:, np.newaxis, :, np.newaxis], axis=2),
    )


def _as_convolution(layer: WeightLayer, half: dict[str, Array]) -> Convolution:
    """A linear layer as a convolution of kernel 1 over its rows; its tensors follow."""
    if isinstance(layer, Convolution):
        return layer
    assert isinstance(layer, Linear)
    for what, array in half.items():
        half[what] = array[..., np.newaxis] if what == "weight" else array.swapaxes(1, 2)
    return Convolution(
        name=layer.name,
        batch=layer.batch,
        in_channels=layer.in_features,
        out_channels=layer.out_features,
        size=(layer.rows,),
        kernel=(1,),
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
    )


class _Lowering:
    """A convolution between a large and a small map, as `products` sees it."""

    def __init__(self, layer: Convolution) -> None:
        self.layer = layer
        outer, inner = layer.size, layer.output_size
        self.large, self.small = (inner, outer) if layer.transposed else (outer, inner)

    def operands(self, half: dict[str, Array], stage: str) -> list[tuple[Array, Array]]:
        layer = self.layer
        if stage == "wu":
            large, small = ("gradient", "input") if layer.transposed else ("input", "gradient")
            left = self._gathered(half[large])  # [groups, T, taps, on large]
            rows = self._rows(half[small])
            unrolled = left.transpose(0, 2, 3, 1).reshape(layer.groups, -1, 1, left.shape[1])
            return [(unrolled, rows[:, np.newaxis])]
        weight = self._weight(half["weight"])  # [groups, taps, on large, on small]
        streamed = half["input" if stage == "ff" else "gradient"]
        if (stage == "ff") != layer.transposed:
            return [(self._gathered(streamed), weight)]
        rows = self._rows(streamed)
        if not self._overlapping():
            groups, _, _, on_small = weight.shape
            flat = weight.transpose(0, 3, 1, 2).reshape(groups, 1, on_small, -1)
            return [(rows[:, :, np.newaxis], flat)]
        return [
            (self._scattered(streamed, read), weight[:, taps].swapaxes(2, 3))
            for taps, read in self._phases()
        ]

    def _weight(self, weight: Array) -> Array:
        """[groups, taps, channels on the large map, channels on the small one]."""
        groups = self.layer.groups
        # Torch has the small map's channels first, of an ordinary and of a transposed convolution.
        split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return split.transpose(0, 3, 2, 1)

    def _rows(self, small: Array) -> Array:
        """The small map as [groups, batch x positions, channels]."""
        batch, channels, groups = small.shape[0], small.shape[1], self.layer.groups
        split = small.reshape(batch, groups, channels // groups, -1)
        return split.transpose(1, 0, 3, 2).reshape(groups, -1, channels // groups)

    def _gathered(self, large: Array) -> Array:
        """The large map read through the window: [groups, batch x small positions, taps, ch]."""
        layer = self.layer
        by_dimension = []
        for dimension, size in enumerate(self.large):
            positions = np.arange(self.small[dimension]) * layer.stride[dimension]
            taps = np.arange(layer.kernel[dimension]) * layer.dilation[dimension]
            read = positions + taps[:, np.newaxis] - layer.padding[dimension][0]
            by_dimension.append(np.where((read >= 0) & (read < size), read, -1))
        return self._read(large, self.large, by_dimension)

    def _scattered(self, small: Array, read: list[Array]) -> Array:
        """The small map as one phase of the large one reads it."""
        return self._read(small, self.small, read)

    def _read(self, values: Array, sizes: tuple[int, ...], by_dimension: list[Array]) -> Array:
        """[groups, batch x positions, taps, channels]: places [taps, positions] by dimension, -1
        for a zero beside the map."""
        groups = self.layer.groups
        batch, channels = values.shape[:2]
        place = np.zeros((1, 1), np.intp)
        outside = np.zeros((1, 1), bool)
        for size, read in zip(sizes, by_dimension, strict=True):
            taps, positions = len(place) * len(read), place.shape[1] * read.shape[1]
            wide = place[:, np.newaxis, :, np.newaxis] * size + read[:, np.newaxis, :]
            beside = outside[:, np.newaxis, :, np.newaxis] | (read < 0)[:, np.newaxis, :]
            place, outside = wide.reshape(taps, positions), beside.reshape(taps, positions)
        flat = values.reshape(batch, groups, channels // groups, math.prod(sizes))
        padded = np.concatenate([flat, np.zeros_like(flat[..., :1])], axis=-1)
        found = padded[..., np.where(outside, math.prod(sizes), place)]
        taps, positions = place.shape
        ordered = found.transpose(1, 0, 4, 3, 2)
        return ordered.reshape(groups, batch * positions, taps, channels // groups)

    def _overlapping(self) -> bool:
        layer = self.layer
        return any(
            dilation * (kernel - 1) + 1 > stride and small > 1
            for kernel, dilation, stride, small in zip(
                layer.kernel, layer.dilation, layer.stride, self.small, strict=True
            )
        )

    def _phases(self) -> list[tuple[list[int], list[Array]]]:
        """Of each phase of the large map: its taps, and the places of the small map that they read
        at its positions, [taps, positions] by dimension."""
        layer = self.layer
        by_dimension = []
        for dimension, size in enumerate(self.large):
            stride, dilation = layer.stride[dimension], layer.dilation[dimension]
            before, small = layer.padding[dimension][0], self.small[dimension]
            found = []
            for phase in range(min(stride, size + before)):
                taps = [
                    tap
                    for tap in range(layer.kernel[dimension])
                    if tap * dilation % stride == phase
                ]
                positions = np.arange((phase - before) % stride, size, stride)
                if not taps or not len(positions):
                    continue
                read = (positions + before - dilation * np.array(taps)[:, np.newaxis]) // stride
                found.append((taps, np.where((read >= 0) & (read < small), read, -1)))
            by_dimension.append(found)
        phases = []
        for chosen in cartesian(*by_dimension):
            places = [0]
            for kernel_size, (own, _) in zip(layer.kernel, chosen, strict=True):
                places = [place * kernel_size + each for place in places for each in own]
            phases.append((places, [read for _, read in chosen]))
        return phases
