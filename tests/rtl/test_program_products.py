"""Programs of products: what they leave in memory is what the golden numerics say, bit for bit.

The golden result comes from a naive convolution over the tensors, tap by tap and channel by
channel, which shares nothing with the compiler; `dataflow.operands` and `kernels.reference` agree
with it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import Accelerator, load
from nofm.dataflow.methods import METHODS
from nofm.dataflow.operands import operands
from nofm.dataflow.products import Product, products
from nofm.kernels.compressed import prune
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.rtl.program.encoding import Descriptor, decode_program, encode_program
from nofm.rtl.program.image import (
    beat_order,
    by_tap,
)
from nofm.rtl.program.interpret import Chip
from nofm.rtl.program.layout import Beats, FeatureMap
from nofm.rtl.program.lower import lower
from nofm.rtl.program.product import Target
from nofm.rtl.program.random_products import UNTOUCHED, Placed, compiled, layers, place, tensors
from nofm.workloads.layer import Convolution, Linear, WeightLayer

Array = np.ndarray[Any, Any]
PATTERNS = ("1:2", "2:4", "1:4", "2:8", "1:3", "3:5", "4:16", "2:12")


def machine(rng: np.random.Generator) -> Accelerator:
    """A small accelerator: sat-4x4 or an odd one, with little memory."""
    if rng.random() < 0.25:
        return load("sat-4x4").with_values(**{"array.patterns": list(PATTERNS)})
    return load("sat-4x4").with_values(
        **{
            "array.rows": int(rng.integers(1, 8)),
            "array.columns": int(rng.choice([1, 2, 4, 8])),
            "array.interleave": int(rng.integers(1, 9)),
            "array.adder_cycles": int(rng.integers(1, 6)),
            "array.group_port_elements": int(rng.choice([1, 2, 4, 8, 16])),
            "array.patterns": list(PATTERNS),
            "buffers.activation_kib": int(rng.choice([1, 2, 4, 16])),
            "buffers.weight_kib": int(rng.choice([1, 2, 4, 16])),
            "buffers.output_kib": int(rng.choice([1, 2, 8])),
        }
    )


@dataclass(frozen=True)
class Naive:
    """A layer as a two-dimensional convolution between a large and a small map."""

    layer: Convolution

    @classmethod
    def of(cls, layer: WeightLayer) -> Naive:
        if isinstance(layer, Linear):
            layer = Convolution(
                name="l",
                batch=layer.batch * layer.rows,
                in_channels=layer.in_features,
                out_channels=layer.out_features,
                size=(1,),
                kernel=(1,),
                stride=(1,),
                padding=((0, 0),),
                dilation=(1,),
            )
        return cls(layer)

    def __post_init__(self) -> None:
        layer = self.layer
        lift = 2 - len(layer.size)
        self.__dict__.update(
            kernel=(1,) * lift + layer.kernel,
            stride=(1,) * lift + layer.stride,
            padding=((0, 0),) * lift + layer.padding,
            dilation=(1,) * lift + layer.dilation,
            outer=(1,) * lift + layer.size,
            inner=(1,) * lift + layer.output_size,
        )

    def wide(self, values: Array, channels: int, size: tuple[int, int]) -> Array:
        """float32 [batch, groups, channels, y, x]."""
        g = self.layer.groups
        if values.ndim == 3 and self.layer.name == "l":
            values = values.reshape(-1, values.shape[-1])
        return values.reshape(-1, g, channels // g, *size).astype(np.float32)

    def hits(self, tap: tuple[int, ...]) -> Any:
        """Index of the places of the small map, and of those of the large one that they touch."""
        large, small = (
            (self.inner, self.outer) if self.layer.transposed else (self.outer, self.inner)
        )
        pairs = []
        for d in range(2):
            s = np.arange(small[d])
            at = s * self.stride[d] + tap[d] * self.dilation[d] - self.padding[d][0]
            real = (at >= 0) & (at < large[d])
            pairs.append((s[real], at[real]))
        return np.ix_(pairs[0][0], pairs[1][0]), np.ix_(pairs[0][1], pairs[1][1])

    def compute(self, found: dict[str, Array], stage: str, cut: int) -> Array:
        """float32 result: a map [batch, groups, channels, y, x], or [groups, taps, large, small].

        Args:
            cut: `tile_length`.
        """
        layer = self.layer
        x = self.wide(found["input"], layer.in_channels, self.outer)
        dy = self.wide(found["gradient"], layer.out_channels, self.inner)
        w = by_tap(layer, found["weight"].reshape(*found["weight"].shape[:2], -1)).astype(
            np.float32
        )
        taps = list(itertools.product(*map(range, self.kernel)))
        large, small = (dy, x) if layer.transposed else (x, dy)
        if stage == "wu":
            out = np.zeros(w.shape, np.float32)
            for t, tap in enumerate(taps):
                own, other = self.hits(tap)
                place = np.zeros((layer.batch, *large.shape[1:3], *small.shape[3:]), np.float32)
                place[(..., *own)] = large[(..., *other)]
                p = np.moveaxis(place, 0, 2).reshape(*large.shape[1:3], -1)
                q = np.moveaxis(small, 0, 2).reshape(*small.shape[1:3], -1)
                for k in range(p.shape[-1]):
                    out[:, t] += p[:, :, np.newaxis, k] * q[:, np.newaxis, :, k]
            return out
        gathers = (stage == "ff") != layer.transposed
        read = x if stage == "ff" else dy
        to = (large, small)[gathers]
        out = np.zeros(to.shape, np.float32)
        length = w.shape[2] if gathers else w.shape[3]
        for first in range(0, length, cut):
            for t, tap in enumerate(taps):
                own, other = self.hits(tap)
                a, b = (own, other) if gathers else (other, own)
                for k in range(first, min(first + cut, length)):
                    column = w[:, t, k] if gathers else w[:, t, :, k]
                    by = column[np.newaxis, :, :, np.newaxis, np.newaxis]
                    out[(..., *a)] += read[:, :, k : k + 1][(..., *b)] * by
        return out


def pruned(layer: WeightLayer, found: dict[str, Array], stage: str, product: Product) -> dict:
    """The tensors as they enter a sparse product."""
    if product.pattern.dense:
        return found
    if stage == "wu":
        gradient = found["gradient"]
        last = gradient if isinstance(layer, Linear) else np.moveaxis(gradient, 1, -1)
        rows = prune(last.reshape(-1, last.shape[-1]), product.pattern, axis=0).reshape(last.shape)
        return {
            **found,
            "gradient": rows if isinstance(layer, Linear) else np.moveaxis(rows, -1, 1),
        }
    taps = by_tap(layer, found["weight"])
    turned = isinstance(layer, Convolution) and layer.transposed
    taps = prune(taps, product.pattern, axis=2 if (stage == "ff") != turned else 3)
    return {**found, "weight": taps.transpose(0, 3, 2, 1).reshape(found["weight"].shape)}


def expected(layer: WeightLayer, placed: Placed, naive: Naive, stage: str, result: Array) -> Array:
    """Memory after the stage."""
    memory = placed.memory.copy()
    with np.errstate(over="ignore"):
        half = result.astype(np.float16)
    if stage == "wu":
        groups, taps, large, small = half.shape
        flat = half.reshape(groups, -1)
        if placed.beats is not None:
            flat = flat[:, beat_order(taps, large, small, placed.beats)]
        start = placed.at.weight_gradient
        memory[start : start + half.size] = flat.reshape(-1).view(np.uint16)
        return memory
    to: FeatureMap = placed.at.output if stage == "ff" else placed.at.input_gradient
    values = half.reshape(half.shape[0], -1, *half.shape[3:])
    data = np.ascontiguousarray(np.moveaxis(values, 1, 3)).reshape(-1).view(np.uint16)
    memory[to.address : to.address + data.size] = data
    return memory


def hit(naive: Naive, stage: str, shape: tuple[int, ...]) -> Array:
    """bool: places of a scattered map that some tap touches."""
    touched = np.zeros(shape, bool)
    for tap in itertools.product(*map(range, naive.kernel)):
        touched[(..., *naive.hits(tap)[1])] = True
    return touched


def run(accelerator: Accelerator, jobs: list[Descriptor], memory: Array, seed: int | None) -> Array:
    target = Target(accelerator)
    jobs = [*jobs[:-1], replace(jobs[-1], last=True)]
    assert decode_program(target.format, encode_program(target.format, jobs)) == jobs
    after = memory.copy()
    rng = None if seed is None else np.random.default_rng(seed)
    Chip(accelerator, after, rng).run(jobs)
    return after


def check(seed: int) -> tuple[str, int]:
    """One random product; what became of it, and its steps."""
    rng = np.random.default_rng(seed)
    accelerator, layer = machine(rng), layers(rng)
    target = Target(accelerator)
    pattern = Pattern.parse(str(rng.choice(PATTERNS)))
    method = METHODS[str(rng.choice(["dense", "srste", "sdwp", "bdwp", "sste"]))]
    stage = str(rng.choice(["ff", "bp", "wu"]))
    found = tensors(rng, layer)
    beats = Beats(int(rng.integers(1, 6)), int(rng.integers(1, 6))) if rng.random() < 0.5 else None
    placed = place(layer, found, pattern, beats)
    naive = Naive.of(layer)
    whole = products(layer, stage, method, pattern)
    if not whole:  # every place that a tap hits lies in the padding
        return "nothing", 0
    lowered = lower(layer, stage, method, pattern, placed.at)
    jobs: list[Descriptor] = []
    lengths = set()
    searched = rng.random() < 0.5
    for product, parts in zip(whole, lowered, strict=True):
        assert len(parts) == product.count
        made, cut = compiled(rng, target, product, parts, searched)
        if cut is None:
            return "too large", 0
        jobs += made
        lengths.add(cut.tile_length if cut.tile_length < product.length else product.length)
    if len(lengths) > 1:  # phases cut differently: each has its own order
        return "mixed", 0
    used = pruned(layer, found, stage, whole[0])
    result = naive.compute(used, stage, next(iter(lengths)))
    want = expected(layer, placed, naive, stage, result)
    scatters = stage != "wu" and (stage == "bp") != getattr(layer, "transposed", False)
    if scatters:
        untouched(layer, placed, naive, stage, result, want)
    if len(whole) == 1:
        one_skew(jobs)
    got = run(accelerator, jobs, placed.memory, None if rng.random() < 0.3 else seed)
    same = got == want
    assert same.all(), (seed, stage, method.name, layer, np.flatnonzero(~same)[:8])
    reference(layer, found, stage, method, pattern, result, next(iter(lengths)))
    return "done", sum(each.operation == "product" for each in jobs)


def one_skew(jobs: list[Descriptor]) -> None:
    """A product's tiles are loaded as they are fed: the golden model does not look at it."""
    for load_unit, fed in (
        ("load_activations", "feed_activations"),
        ("load_weights", "feed_weights"),
    ):
        skews = [
            {each.jobs[unit]["skew"] for each in jobs if unit in each.jobs}
            for unit in (load_unit, fed)
        ]
        assert skews[0] == skews[1]


def untouched(
    layer: WeightLayer, placed: Placed, naive: Naive, stage: str, result: Array, want: Array
) -> None:
    """Where no tap reaches, memory keeps what it held: phases without taps write nothing."""
    large = naive.inner if naive.layer.transposed else naive.outer
    written = np.zeros(result.shape, bool)
    overlapping = any(
        d * (k - 1) + 1 > s and n > 1
        for d, k, s, n in zip(
            naive.dilation,
            naive.kernel,
            naive.stride,
            naive.outer if naive.layer.transposed else naive.inner,
            strict=True,
        )
    )
    if not overlapping:
        written |= hit(naive, stage, result.shape)
    else:
        reached = []
        for d in range(2):
            phase = {k * naive.dilation[d] % naive.stride[d] for k in range(naive.kernel[d])}
            at = np.arange(large[d])
            reached.append(np.isin((at + naive.padding[d][0]) % naive.stride[d], list(phase)))
        written[..., reached[0][:, np.newaxis] & reached[1]] = True
    assert not result[~written].any()
    to = placed.at.output if stage == "ff" else placed.at.input_gradient
    mask = np.moveaxis(written.reshape(result.shape[0], -1, *result.shape[3:]), 1, 3).reshape(-1)
    view = want[to.address : to.address + mask.size]
    view[~mask] = UNTOUCHED


def reference(
    layer: WeightLayer,
    found: dict[str, Array],
    stage: str,
    method: Any,
    pattern: Pattern,
    result: Array,
    tile: int,
) -> None:
    """The naive result has the same numbers as `kernels.reference` on `dataflow.operands`."""
    numbers = [
        matmul(each.left, each.right, min(tile, each.product.length)).reshape(-1)
        for each in operands(layer, found, stage, method, pattern)
    ]
    theirs = np.sort(np.concatenate(numbers))
    own = np.sort(result.reshape(-1))
    if stage == "wu" or (stage == "ff") != getattr(layer, "transposed", False):
        assert np.array_equal(theirs, own)
    else:  # a scattered map has zeros besides, and lacks what falls beside it
        assert np.isin(own[own != 0], theirs).all()


def test_random_products() -> None:
    """Layers, methods, stages, mappings and machines by chance."""
    outcomes: dict[str, int] = {}
    long = 0
    for seed in range(110):
        outcome, steps = check(seed)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        long += steps > 3
    assert outcomes["done"] >= 90, outcomes
    assert long >= 30


@pytest.mark.slow
def test_many_random_products() -> None:
    """As above."""
    outcomes = [check(seed)[0] for seed in range(110, 2000)]
    assert outcomes.count("done") >= 1700
