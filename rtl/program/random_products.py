"""Random products of layers, placed in memory and compiled: what tests of programs and of the chip
run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator, DataflowName, hardware_record
from nofm.dataflow.mapping import candidates
from nofm.dataflow.products import Product, product_records
from nofm.kernels.compressed import compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.program.encoding import Descriptor
from nofm.rtl.program.image import by_tap, feature_map, form_halves, map_halves
from nofm.rtl.program.layout import Beats, Tensors, pack_form
from nofm.rtl.program.lower import Part
from nofm.rtl.program.product import Target, fitting, program
from nofm.rtl.program.tiles import Cut
from nofm.workloads.layer import Convolution, Linear

Array = np.ndarray[Any, Any]

Layer = Linear | Convolution

UNTOUCHED = 0x7BFF
"""What memory holds where nothing was written."""


def layers(rng: np.random.Generator) -> Layer:
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


def tensors(rng: np.random.Generator, layer: Layer) -> dict[str, Array]:
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
class Placed:
    """Memory with a layer's tensors, and where they lie."""

    memory: Array
    at: Tensors
    beats: Beats | None


def place(layer: Layer, found: dict[str, Array], pattern: Pattern, beats: Beats | None) -> Placed:
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

    if isinstance(layer, Linear):
        size: tuple[int, ...] = (layer.rows,)
        out_size, groups, transposed = size, 1, False
        ci, co = layer.in_features, layer.out_features
    else:
        size, out_size = layer.size, layer.output_size
        groups, transposed = layer.groups, layer.transposed
        ci, co = layer.in_channels, layer.out_channels
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
    small = found["input" if transposed else "gradient"]
    rows = small.reshape(small.shape[0], groups, small.shape[1] // groups, -1)
    if isinstance(layer, Linear):
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


def random_cut(rng: np.random.Generator, product: Product, target: Target) -> Cut:
    """A mapping that no search would make."""
    group = product.pattern.m
    dataflow: DataflowName = "ws" if rng.random() < 0.5 else "os"

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


def _expect(error: InputError, *reasons: str) -> None:
    """An error for one of some reasons."""
    if not any(reason in str(error) for reason in reasons):
        raise error


def compiled(
    rng: np.random.Generator, target: Target, product: Product, parts: list[Part], searched: bool
) -> tuple[list[Descriptor], Cut | None]:
    """A product's program, by one of the mappings that the scheduler looks at or by any other one;
    without a mapping, if none was found that fits."""
    if searched and (cut := mapped(rng, product, target.accelerator)) is not None:
        try:
            finer, jobs = fitting(target, parts, cut)
        except InputError as error:
            _expect(error, "must fit half", "groups")
            return [], None
        return jobs, finer
    for _ in range(8):
        cut = random_cut(rng, product, target)
        try:
            return program(target, parts, cut), cut
        except InputError as error:
            _expect(error, "must fit half", "accumulation buffer", "must be OS", "the port has")
    return [], None
