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

from nofm.dataflow.accelerator import Accelerator, hardware_record, load
from nofm.dataflow.mapping import candidates
from nofm.dataflow.methods import METHODS
from nofm.dataflow.operands import operands
from nofm.dataflow.products import Product, product_records, products
from nofm.kernels.compressed import compress, prune
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.rtl.program.encoding import Descriptor, decode_program, encode_program
from nofm.rtl.program.image import (
    beat_order,
    by_tap,
    feature_map,
    form_halves,
    map_halves,
)
from nofm.rtl.program.interpret import Chip
from nofm.rtl.program.layout import Beats, FeatureMap, Tensors, pack_form
from nofm.rtl.program.lower import Part, lower
from nofm.rtl.program.product import Target, fitting, program
from nofm.rtl.program.tiles import Cut
from nofm.workloads.layer import Convolution, Linear, WeightLayer

Array = np.ndarray[Any, Any]
UNTOUCHED = 0x7BFF
"""What memory holds where nothing was written."""
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


def layers(rng: np.random.Generator) -> WeightLayer:
    """A random layer that is quick to compute."""

    def size(most: int) -> int:
        return int(rng.integers(1, most + 1))

    if rng.random() < 0.25:
        return Linear(
            name="l", batch=size(9), rows=size(3), in_features=size(40), out_features=size(20)
        )
    rank = 1 + int(rng.random() < 0.75)
    transposed = bool(rng.random() < 0.2)
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    dilation = [int(rng.choice([1, 1, 2])) for _ in range(rank)]
    kernel = [size(3) for _ in range(rank)]
    while True:
        try:
            return Convolution(
                name="c",
                batch=size(3),
                in_channels=groups * size(12),
                out_channels=groups * size(9),
                size=tuple(size(7) for _ in range(rank)),
                kernel=tuple(kernel),
                stride=tuple(size(3) for _ in range(rank)),
                padding=tuple(
                    (int(rng.integers(0, 3)) if rng.random() < 0.6 else 0, int(rng.integers(0, 2)))
                    for _ in range(rank)
                ),
                dilation=tuple(dilation),
                groups=groups,
                transposed=transposed,
            )
        except InputError:
            kernel = [size(2) for _ in range(rank)]


def tensors(rng: np.random.Generator, layer: WeightLayer) -> dict[str, Array]:
    """Random tensors of a layer, in torch's shapes; sums of them depend on their order."""

    def random(*shape: int) -> Array:
        scale = 2.0 ** rng.integers(-6, 4, shape)
        return (rng.standard_normal(shape) * scale).astype(np.float16)

    if isinstance(layer, Linear):
        return {
            "weight": random(layer.out_features, layer.in_features),
            "input": random(layer.batch, layer.rows, layer.in_features),
            "gradient": random(layer.batch, layer.rows, layer.out_features),
        }
    ci, co = layer.in_channels, layer.out_channels
    first, second = (ci, co) if layer.transposed else (co, ci)
    return {
        "weight": random(first, second // layer.groups, *layer.kernel),
        "input": random(layer.batch, ci, *layer.size),
        "gradient": random(layer.batch, co, *layer.output_size),
    }


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


@dataclass(frozen=True)
class Placed:
    """Memory with a layer's tensors, and where they lie."""

    memory: Array
    at: Tensors
    beats: Beats | None


def place(
    layer: WeightLayer, found: dict[str, Array], pattern: Pattern, beats: Beats | None
) -> Placed:
    """All that any stage reads, and room for what it writes."""
    chunks: list[Array] = []
    end = 0

    def put(halves: Array) -> int:
        nonlocal end
        # Odd places, and a gap that shows what is read or written beside a tensor.
        gap = np.full(3, UNTOUCHED, np.uint16)
        chunks.extend((gap, halves.reshape(-1).view(np.uint16)))
        start = end + 3
        end = start + halves.size
        return start

    def room(elements: int) -> int:
        return put(np.full(elements, UNTOUCHED, np.uint16))

    linear = isinstance(layer, Linear)
    size = (layer.rows,) if linear else layer.size
    out_size = size if linear else layer.output_size
    ci, co = (
        (layer.in_features, layer.out_features)
        if linear
        else (layer.in_channels, layer.out_channels)
    )
    maps = {
        name: feature_map(layer, s, c, 0)
        for name, s, c in (
            ("input", size, ci),
            ("input_gradient", size, ci),
            ("output", out_size, co),
            ("gradient", out_size, co),
        )
    }
    for name, each in maps.items():
        start = put(map_halves(each, found[name])) if name in found else room(each.elements)
        maps[name] = replace(each, address=start)
    taps = by_tap(layer, found["weight"])
    gradient = found["gradient"]
    groups = 1 if linear else layer.groups
    small = found["input" if not linear and layer.transposed else "gradient"]
    rows = small.reshape(small.shape[0], groups, small.shape[1] // groups, -1)
    if linear:
        rows = gradient.reshape(1, 1, -1, gradient.shape[-1]).swapaxes(2, 3)
    by_position = np.moveaxis(rows, 0, 2).reshape(groups, rows.shape[2], -1).swapaxes(1, 2)
    form = compress(np.ascontiguousarray(by_position[:, np.newaxis]), pattern)
    at = Tensors(
        **maps,
        weight=put(taps),
        along_large=put(form_halves(taps, pattern, large=True)),
        along_small=put(form_halves(taps, pattern, large=False)),
        gradient_form=put(pack_form(form)),
        weight_gradient=room(taps.size),
        beats=beats,
    )
    put(np.zeros(0, np.uint16))
    return Placed(np.concatenate(chunks), at, beats)


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


def random_cut(rng: np.random.Generator, product: Product, target: Target) -> Cut:
    """A mapping that no search would make."""
    group = product.pattern.m
    dataflow = "ws" if rng.random() < 0.5 else "os"

    def part(whole: int) -> int:
        return int(rng.integers(-(-whole // 4), whole + 1))

    tile = group * part(-(-product.length // group))
    cut = Cut(
        dataflow=dataflow,
        interleave=int(rng.integers(1, target.geometry.sums + 1)),
        tile_m=part(product.m),
        tile_length=min(tile, product.length),
        tile_n=part(product.n),
        m_outer=bool(rng.random() < 0.5),
    )
    if dataflow == "os" and cut.tile_length < product.length:
        rows, columns = target.geometry.rows, target.geometry.columns * cut.interleave
        cut = replace(cut, tile_m=min(cut.tile_m, rows), tile_n=min(cut.tile_n, columns))
    return cut


def mapped(rng: np.random.Generator, product: Product, accelerator: Accelerator) -> Cut | None:
    """One of the mappings that the scheduler looks at."""
    hardware = np.atleast_1d(hardware_record(accelerator))
    found, _ = candidates(hardware, product_records([product]))
    return Cut.of(found[rng.integers(len(found))]) if len(found) else None


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


def expect(error: InputError, *reasons: str) -> None:
    """An error for one of some reasons."""
    if not any(reason in str(error) for reason in reasons):
        raise error


def compiled(
    rng: np.random.Generator, target: Target, product: Product, parts: list[Part], searched: bool
) -> tuple[list[Descriptor], Cut | None]:
    if searched and (cut := mapped(rng, product, target.accelerator)) is not None:
        try:
            finer, jobs = fitting(target, parts, cut)
        except InputError as error:
            expect(error, "must fit half", "groups")
            return [], None
        return jobs, finer
    for _ in range(8):
        cut = random_cut(rng, product, target)
        try:
            return program(target, parts, cut), cut
        except InputError as error:
            expect(error, "must fit half", "accumulation buffer", "must be OS", "the port has")
    return [], None


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
