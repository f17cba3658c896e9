"""Candidate mappings: they fit, they cover, they differ, and there is one wherever a tile fits.

What a tile needs of a buffer is counted again here in Python's own integers, which cannot
overflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nofm.dataflow import mapping
from nofm.dataflow.accelerator import Accelerator, hardware_record, load
from nofm.dataflow.mapping import MAPPING, MOST, OS, WS, candidates
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import (
    ALONG_M,
    ALONG_N,
    ALONG_REDUCTION,
    PRODUCT,
    Image,
    Product,
    products,
)
from nofm.dataflow.products import product_records as records_of
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul

PATTERNS = [Pattern.parse(text) for text in ("1:2", "2:4", "1:8", "2:8", "8:16", "3:5", "1:256")]
SAT = load("sat-32x32")

powers = st.integers(0, 46).flatmap(lambda e: st.integers(2**e, 2 ** min(46, e + 1)))
sizes = st.integers(1, 300) | powers
channels = st.sampled_from([1, 2, 3, 8, 20, 64, 512, 4096])


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Layers from tiny ones to the largest that can be counted."""
    kind = draw(st.sampled_from(["linear", "matmul", "convolution"]))
    try:
        if kind == "linear":
            return Linear(
                name="fc", batch=draw(sizes), in_features=draw(sizes), out_features=draw(sizes)
            )
        if kind == "matmul":
            return MatMul(name="s", count=draw(sizes), m=draw(sizes), k=draw(sizes), n=draw(sizes))
        groups = draw(st.sampled_from([1, 1, 1, 2, 32]))
        size = draw(
            st.sampled_from([(9,), (224,), (7, 7), (14, 9), (56, 56), (300, 400), (4, 6, 8)])
        )
        kernel = draw(st.sampled_from([1, 2, 3, 5, min(size)]))
        return Convolution(
            name="conv",
            batch=draw(st.sampled_from([1, 2, 32, 512, 2**20])),
            in_channels=groups * draw(channels),
            out_channels=groups * draw(channels),
            groups=groups,
            size=size,
            kernel=(kernel,) * len(size),
            stride=(draw(st.integers(1, 3)),) * len(size),
            padding=((draw(st.integers(0, 2)),) * 2,) * len(size),
            dilation=(draw(st.integers(1, 2)),) * len(size),
            transposed=draw(st.booleans()),
        )
    except InputError:
        assume(False)
        raise


@st.composite
def found_products(draw: st.DrawFn) -> Product:
    """A product of such a layer in some stage of some method."""
    layer = draw(layers())
    stage = draw(st.sampled_from(["ff", "bp", "wu"]))
    method = METHODS[draw(st.sampled_from(["dense", "bdwp", "sdgp", "fst"]))]
    try:
        found = products(layer, stage, method, draw(st.sampled_from(PATTERNS)))
    except InputError:  # more than 2^60 multiply-accumulates
        assume(False)
        raise
    assume(found)
    return draw(st.sampled_from(found))


@st.composite
def accelerators(draw: st.DrawFn) -> Accelerator:
    buffers = st.sampled_from([1, 2, 3, 8, 64, 2048, 1 << 20])
    return SAT.with_values(
        **{
            "array.rows": draw(st.sampled_from([1, 2, 3, 8, 32, 256, 4096])),
            "array.columns": draw(st.sampled_from([1, 2, 3, 8, 32, 256, 4096])),
            "array.interleave": draw(st.sampled_from([1, 2, 3, 8, 64])),
            "array.adder_cycles": draw(st.sampled_from([1, 4, 64])),
            "array.patterns": [],
            "array.weight_registers": draw(st.sampled_from([1, 2, 7, 16])),
            "array.dataflows": draw(st.sampled_from([["ws"], ["os"], ["ws", "os"]])),
            "formats.operand": draw(st.sampled_from(["int8", "fp16", "fp32"])),
            "buffers.activation_kib": draw(buffers),
            "buffers.weight_kib": draw(buffers),
            "buffers.output_kib": draw(buffers),
        }
    )


def ceil(a: int, b: int) -> int:
    return -(-a // b)


class Machine:
    """What one accelerator's buffers hold of one product."""

    def __init__(self, accelerator: Accelerator, product: Product) -> None:
        self.hardware = np.atleast_1d(hardware_record(accelerator))
        self.hw = {name: int(self.hardware[name][0]) for name in self.hardware.dtype.names}
        self.product = product

    def positions(self, positions: int) -> int:
        """Elements of one channel that a tile of consecutive positions keeps."""
        image = self.product.image
        if image.positions == 0:
            return positions
        maps, rest = divmod(positions, image.positions)
        rows = 0
        if rest:
            windows = ceil(rest, image.out_width)
            rows = min((windows - 1) * image.stride + image.extent, image.in_height)
        return (maps * image.in_height + rows) * image.in_width

    def fits(self, count: int, m: int, length: int, n: int) -> bool:
        """Whether every operand of a tile fits one bank of its buffer."""
        product, hw = self.product, self.hw
        kept = product.pattern.kept(length)
        left, right = m * product.taps * length, product.taps * kept * n
        if product.image.axis == ALONG_M and product.image.positions:
            left = self.positions(m) * length
        elif product.image.axis == ALONG_REDUCTION:
            left = self.positions(length) * ceil(m, product.image.taps)
        elif product.image.axis == ALONG_N and product.image.positions:
            right = self.positions(n) * kept
        return (
            count * left * hw["operand_bits"] <= 8 * hw["activation_bank_bytes"]
            and count * right * (hw["operand_bits"] + product.pattern.index_bits)
            <= 8 * hw["weight_bank_bytes"]
            and count * m * n * hw["accumulator_bits"] <= 8 * hw["output_bank_bytes"]
        )

    def interleaves(self) -> list[int]:
        """Sums that a USPE may work on in turn in OS: even over the columns, or just enough."""
        hw = self.hw
        folds = ceil(self.product.n, hw["columns"] * hw["interleave"])
        even = ceil(ceil(self.product.n, folds), hw["columns"])
        return [even, min(even, hw["adder_cycles"], hw["interleave"])]

    def minimal(self) -> dict[int, bool]:
        """Whether the smallest tile fits in each dataflow: one row, one group of every run, and
        the columns of one fold."""
        product, hw = self.product, self.hw
        length = min(product.pattern.m, product.length)
        fold = {WS: hw["columns"], OS: hw["columns"] * min(self.interleaves())}
        fits = {
            dataflow: self.fits(1, 1, length, min(product.n, n)) for dataflow, n in fold.items()
        }
        fits[WS] &= hw["has_ws"] == 1 and product.pattern.n <= hw["weight_registers"]
        fits[OS] &= hw["has_os"] == 1
        return fits

    def mappings(self) -> Iterator[dict[str, int]]:
        found, firsts = candidates(self.hardware, records_of([self.product]))
        assert firsts.tolist() == [0, len(found)]
        for record in found:
            yield {name: int(record[name]) for name in MAPPING.names}


def hugely(n: int) -> Linear:
    return Linear(name="fc", batch=2**20, in_features=2**20, out_features=n)


def product_of(layer: Layer, stage: str = "ff") -> Product:
    return products(layer, stage, METHODS["bdwp"], Pattern(2, 8))[0]


@settings(max_examples=400)
@given(accelerator=accelerators(), product=found_products())
@example(accelerator=SAT, product=product_of(hugely(2**20)))
@example(accelerator=SAT, product=product_of(hugely(2**20), "wu"))
@example(  # the output bank holds fewer rows than the array has
    accelerator=SAT.with_values(
        **{"array.dataflows": ["os"], "buffers.output_kib": 1, "buffers.weight_kib": 64}
    ),
    product=product_of(hugely(512)),
)
@example(  # one group ends within a map, and no other run of whole groups fits
    accelerator=SAT.with_values(
        **{f"array.{name}": 1 for name in ("rows", "columns", "interleave", "weight_registers")},
        **{"array.patterns": [], "array.dataflows": ["ws"]},
        **{f"buffers.{name}_kib": 1 for name in ("activation", "weight", "output")},
    ),
    product=Product(
        count=1,
        m=1,
        taps=1,
        length=288,
        n=1,
        pattern=Pattern(1, 256),
        image=Image(
            axis=ALONG_REDUCTION, positions=9, out_width=1, extent=1, in_height=9, in_width=1
        ),
        left="activation",
        right="gradient",
        out="weight_gradient",
        right_tiled=True,
        out_tiled=True,
    ),
)
def test_candidates(accelerator: Accelerator, product: Product) -> None:
    machine = Machine(accelerator, product)
    found = list(machine.mappings())
    hw = machine.hw
    assert len(found) <= MOST
    assert len({tuple(one.items()) for one in found}) == len(found)
    tiles = ("dataflow", "interleave", "tile_count", "tile_m", "tile_length", "tile_n")
    assert len({tuple(one[name] for name in tiles) for one in found}) == len(found)
    for one in found:
        count, m, length, n = (one[name] for name in tiles[2:])
        assert machine.fits(count, m, length, n)
        # Tiles no larger than the product, whose runs end with whole groups: cut into them, it
        # is covered once.
        assert 1 <= count <= product.count
        assert 1 <= m <= product.m
        assert 1 <= n <= product.n
        assert length == product.length or 0 < length < product.length
        assert length == product.length or length % product.pattern.m == 0
        if count > 1:
            assert (m, length, n) == (product.m, product.length, product.n)
        assert one["m_outer"] in (0, 1)
        assert one["hardware"] == one["product"] == 0
        assert 1 <= one["interleave"] <= hw["interleave"]
        if one["dataflow"] == OS:
            assert hw["has_os"]
            assert one["interleave"] in machine.interleaves()
            if length < product.length:  # sums stay in the array: those of one fold
                assert m <= hw["rows"]
                assert n <= hw["columns"] * one["interleave"]
        else:
            assert hw["has_ws"]
            assert product.pattern.n <= hw["weight_registers"]
    have = {one["dataflow"] for one in found}
    for dataflow, fits in machine.minimal().items():
        assert not fits or dataflow in have


@settings(max_examples=100)
@given(accelerator=accelerators(), product=found_products())
@example(  # all columns' tiles read the whole left operand: 2^65 bits
    accelerator=SAT.with_values(
        **{
            "array.columns": 1,
            "array.rows": 4096,
            "array.interleave": 1,
            "array.dataflows": ["os"],
            "formats.operand": "fp32",
            **{f"buffers.{name}_kib": 1 for name in ("activation", "weight", "output")},
        }
    ),
    product=product_of(Linear(name="fc", batch=2**23, in_features=2**23, out_features=2**14)),
)
def test_compiled_search_does_not_overflow(accelerator: Accelerator, product: Product) -> None:
    """Compiled, the search counts in 63 bits; interpreted here, in Python's own integers."""
    hardware = np.atleast_1d(hardware_record(accelerator))
    found = []
    for how in (mapping._candidates.compiled, mapping._candidates.interpreted):
        out, firsts = np.zeros(MOST, MAPPING), np.zeros(2, np.int64)
        how(hardware, records_of([product]), np.ones((1, 2), np.bool_), out, firsts)
        found.append(out[: firsts[1]].tolist())
    assert found[0] == found[1]


@cache
def whole_network() -> tuple[Product, ...]:
    """Products of a few layers of every kind, in every stage."""
    layers = [
        Linear(name="fc", batch=512, in_features=512, out_features=1000),
        Linear(name="wide", batch=8, rows=1024, in_features=768, out_features=50257),
        MatMul(name="scores", batch=8, count=12, m=1024, k=64, n=1024),
        *(
            Convolution(
                name="conv",
                batch=512,
                in_channels=ci,
                out_channels=co,
                size=(size, size),
                kernel=(kernel, kernel),
                stride=(stride, stride),
                padding=((kernel // 2,) * 2,) * 2,
                dilation=(1, 1),
                groups=groups,
            )
            for ci, co, size, kernel, stride, groups in (
                (3, 64, 224, 7, 2, 1),
                (64, 64, 56, 3, 1, 1),
                (256, 512, 28, 1, 2, 1),
                (512, 512, 7, 3, 1, 1),
                (144, 144, 28, 3, 1, 144),
            )
        ),
    ]
    return tuple(
        product
        for layer in layers
        for stage in ("ff", "bp", "wu")
        for method in ("dense", "bdwp", "sdgp")
        for product in products(layer, stage, METHODS[method], Pattern(2, 8))
    )


def test_many_products_and_machines_at_once() -> None:
    """A batch gives what its members give, each to its own place."""
    machines = [SAT, load("sat-4x4"), load("dense-32x32").with_values(**{"array.rows": 7})]
    hardware = np.array([hardware_record(one) for one in machines], hardware_record(SAT).dtype)
    records = records_of(list(whole_network()))
    allowed = np.random.default_rng(0).integers(0, 2, (len(records), 2)).astype(np.bool_)
    found, firsts = candidates(hardware, records, allowed)
    assert firsts[0] == 0
    assert firsts[-1] == len(found)
    for h in range(len(machines)):
        for p in range(len(records)):
            pair = h * len(records) + p
            part = found[firsts[pair] : firsts[pair + 1]]
            assert (part["hardware"] == h).all()
            assert (part["product"] == p).all()
            alone, _ = candidates(hardware[h : h + 1], records[p : p + 1], allowed[p : p + 1])
            for name in MAPPING.names[2:]:
                assert part[name].tolist() == alone[name].tolist()
            assert all(allowed[p, dataflow] for dataflow in part["dataflow"])
            if allowed[p].all():
                assert len(part) > 0


@pytest.mark.parametrize("name", ["sat-32x32", "sat-4x4", "dense-32x32"])
def test_every_layer_of_a_network_has_candidates_of_both_dataflows(name: str) -> None:
    hardware = np.atleast_1d(hardware_record(load(name)))
    items = [item for item in whole_network() if item.pattern.dense or name != "dense-32x32"]
    found, firsts = candidates(hardware, records_of(items))
    for p in range(len(items)):
        assert set(found["dataflow"][firsts[p] : firsts[p + 1]].tolist()) == {WS, OS}


def test_loop_order_moves_less() -> None:
    """A tall product keeps its columns' operand, a wide one its rows'."""
    hardware = np.atleast_1d(hardware_record(SAT))
    for m, n in ((2**20, 512), (64, 2**20)):
        layer = Linear(name="fc", batch=m, in_features=2048, out_features=n)
        found, _ = candidates(hardware, records_of([product_of(layer)]))
        cut = [one for one in found if one["tile_m"] < m and one["tile_n"] < n]
        tiles = [(ceil(m, one["tile_m"]), ceil(n, one["tile_n"]), one["m_outer"]) for one in cut]
        left, right = m * 2048 * 16, 2048 // 8 * 2 * n * 19
        assert tiles
        for m_tiles, n_tiles, m_outer in tiles:
            moved = {1: left + right * m_tiles, 0: right + left * n_tiles}
            assert moved[m_outer] == min(moved.values())


def test_only_records_are_taken() -> None:
    with pytest.raises(TypeError, match="candidates takes HARDWARE and PRODUCT records"):
        candidates(np.zeros(1), np.zeros(1, PRODUCT))
