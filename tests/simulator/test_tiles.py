"""The tile pipeline against a loop over every tile, written from docs/timing.md.

The closed form groups tiles into kinds and multiplies; the reference here visits each tile, keeps
what is in the buffers, and lists every contiguous run that DRAM moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import HARDWARE, hardware_record, load
from nofm.dataflow.mapping import MAPPING, candidates
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import ALONG_N, Image, Product, product_records, products
from nofm.dataflow.schedule import MAX_CYCLES
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator import timing
from nofm.simulator.timing import COST, PARTS, array_cycles, evaluate
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul

WS, OS = 0, 1
CASES = 400
"""Random cases of each seed."""


@dataclass
class Case:
    """One mapping of one product on one machine."""

    machine: dict[str, int]
    product: Product
    mapping: dict[str, int]

    def records(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hardware = np.zeros(1, HARDWARE)
        for name, value in self.machine.items():
            hardware[name] = value
        mapping = np.zeros(1, MAPPING)
        for name, value in self.mapping.items():
            mapping[name] = value
        return hardware, product_records([self.product]), mapping

    def cost(self) -> dict[str, int]:
        found = evaluate(*self.records())
        return {name: int(found[name][0]) for name in COST.names}


def random_case(random: np.random.Generator) -> Case:
    """Sizes of a few tiles each way, ragged edges and single tiles included."""

    def draw(low: int, high: int) -> int:
        return int(random.integers(low, high + 1))

    machine = {
        "rows": draw(1, 4),
        "columns": draw(1, 4),
        "interleave": 8,
        "multiplier_cycles": draw(1, 3),
        "adder_cycles": draw(1, 5),
        "accumulator_cycles": draw(1, 4),
        "group_port_elements": draw(1, 8),
        "weight_registers": 8,
        "operand_bits": (8, 16, 32)[draw(0, 2)],
        "accumulator_bits": 32,
        "dram_cycles_numerator": draw(1, 40),
        "dram_cycles_denominator": draw(1, 40),
        "dram_latency_cycles": (0, draw(1, 10), draw(10, 300))[draw(0, 2)],
        "dram_burst_bytes": (1, 8, 12, 64)[draw(0, 3)],
    }
    pattern = (DENSE, Pattern(1, 2), Pattern(2, 4), Pattern(2, 8), Pattern(3, 5))[draw(0, 4)]
    axis, taps = draw(0, 2), (1, 1, 2, 3)[draw(0, 3)]
    image = Image(axis=axis)
    if draw(0, 2):
        height, width = draw(1, 4), draw(1, 3)
        stride, extent = draw(1, 3), draw(1, 4)
        image = Image(
            axis=axis,
            taps=draw(1, 3) if axis == 1 else taps,
            positions=height * width,
            out_width=width,
            stride=stride,
            extent=extent,
            in_height=max(1, (height - 1) * stride + extent - draw(0, 2)),
            in_width=width * stride + draw(0, 2),
        )
    product = Product(
        count=draw(1, 5),
        m=draw(1, 30),
        taps=1 if axis == 1 else taps,
        length=draw(1, 30),
        n=draw(1, 30),
        pattern=pattern,
        image=image,
        right_tiled=bool(draw(0, 1)),
        out_tiled=bool(draw(0, 1)),
    )
    mapping = {
        "dataflow": draw(0, 1),
        "interleave": draw(1, 8),
        "tile_count": 1,
        "tile_m": -(-product.m // draw(1, 6)),
        "tile_length": min(
            product.length, pattern.m * -(-product.length // (7 * pattern.m)) * draw(1, 7)
        ),
        "tile_n": -(-product.n // draw(1, 6)),
        "m_outer": draw(0, 1),
    }
    whole = draw(0, 3)
    if whole == 0:  # only whole products share a tile
        mapping |= {"tile_m": product.m, "tile_length": product.length, "tile_n": product.n}
        mapping["tile_count"] = draw(1, product.count)
    elif mapping["dataflow"] == OS and mapping["tile_length"] < product.length:
        # Sums that stay in the array between tiles are those of one fold.
        mapping["tile_m"] = min(mapping["tile_m"], machine["rows"])
        fold = machine["columns"] * mapping["interleave"]
        mapping["tile_n"] = min(mapping["tile_n"], fold)
    return Case(machine, product, mapping)


def pieces(whole: int, tile: int) -> list[int]:
    """Sizes of the tiles of one dimension."""
    return [min(tile, whole - first) for first in range(0, whole, tile)]


@dataclass(eq=False)
class Naive:
    """The pipeline, tile by tile."""

    case: Case

    def __post_init__(self) -> None:
        # Tiles come in few sizes.
        for name in ("job", "left_bytes", "right_bytes", "out_bytes"):
            setattr(self, name, cache(getattr(self, name)))

    def tiles(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], bool, bool]]:
        """(index, size) of each tile by (count, m, n, reduction) in order, and whether it is the
        first and the last of its reduction."""
        product, mapping = self.case.product, self.case.mapping
        sizes = {
            "c": pieces(product.count, mapping["tile_count"]),
            "m": pieces(product.m, mapping["tile_m"]),
            "n": pieces(product.n, mapping["tile_n"]),
            "k": pieces(product.length, mapping["tile_length"]),
        }
        outer, inner = ("m", "n") if mapping["m_outer"] else ("n", "m")
        for c in range(len(sizes["c"])):
            for o in range(len(sizes[outer])):
                for i in range(len(sizes[inner])):
                    for k in range(len(sizes["k"])):
                        at = {"c": c, outer: o, inner: i, "k": k}
                        yield (
                            tuple(at[d] for d in "cmnk"),
                            tuple(sizes[d][at[d]] for d in "cmnk"),
                            k == 0,
                            k == len(sizes["k"]) - 1,
                        )

    def bus_bytes(self, runs: list[int]) -> int:
        """Bytes of contiguous runs of so many bits, each a number of whole bursts."""
        burst = self.case.machine["dram_burst_bytes"]
        return sum(-(-bits // (8 * burst)) * burst for bits in runs)

    def positions(self, positions: int) -> int:
        """Elements of one channel that a tile of consecutive positions loads: whole maps, then
        the rows under the windows of the rest."""
        image = self.case.product.image
        if image.positions == 0:
            return positions
        rows = 0
        while positions >= image.positions:
            positions -= image.positions
            rows += image.in_height
        if positions:
            out_rows = len(range(0, positions, image.out_width))
            rows += min((out_rows - 1) * image.stride + image.extent, image.in_height)
        return rows * image.in_width

    def left_bytes(self, count: int, m: int, length: int) -> int:
        product, bits = self.case.product, self.case.machine["operand_bits"]
        if product.image.axis == 1:
            elements, depth = self.positions(length), len(range(0, m, product.image.taps))
            whole = m == product.m
        elif product.image.axis == 0:
            elements, depth, whole = self.positions(m), length, length == product.length
            elements *= product.taps if product.image.positions == 0 else 1
        else:
            elements, depth, whole = m, product.taps * length, True
        return count * self.bus_bytes(
            [elements * depth * bits] if whole else [depth * bits] * elements
        )

    def right_bytes(self, count: int, length: int, n: int) -> int:
        product = self.case.product
        bits = self.case.machine["operand_bits"] + product.pattern.index_bits
        kept = product.pattern.kept(length)
        if product.image.axis == 2 and product.image.positions:
            runs = [self.positions(n) * kept * bits]
        elif product.right_tiled or n == product.n:
            runs = [product.taps * kept * n * bits]
        else:
            runs = [n * bits] * (product.taps * kept)
        return count * self.bus_bytes(runs)

    def out_bytes(self, count: int, m: int, n: int) -> int:
        product, bits = self.case.product, self.case.machine["operand_bits"]
        runs, length, whole = m, n, product.n
        if product.image.axis == 2:  # positions are columns: the output lies transposed
            runs, length, whole = n, m, product.m
        if product.out_tiled or length == whole:
            return count * self.bus_bytes([m * n * bits])
        return count * self.bus_bytes([length * bits] * runs)

    def dram_cycles(self, moved: int) -> int:
        machine = self.case.machine
        return -(-moved * machine["dram_cycles_numerator"] // machine["dram_cycles_denominator"])

    def job(self, size: tuple[int, ...], last: bool) -> tuple[int, ...]:
        """The array's cycles for one tile: the total, then the parts."""
        product, mapping = self.case.product, self.case.mapping
        count, m, n, length = size
        parts = array_cycles(
            self.case.records()[0],
            mapping["dataflow"],
            mapping["interleave"],
            product.pattern.n,
            product.pattern.m,
            count,
            m,
            product.taps,
            length,
            n,
        ).tolist()
        if mapping["dataflow"] == OS and not last:
            # The sums stay: the array neither drains nor empties before the next tile.
            drain, fill = PARTS.index("drain") + 1, PARTS.index("fill") + 1
            parts[0] -= parts[drain] + parts[fill]
            parts[drain] = parts[fill] = 0
        return tuple(parts)

    def buffer_bits(self, size: tuple[int, ...], first: bool, last: bool) -> list[int]:
        """Bits of sums, weights and activations between the buffers and the array for one tile."""
        product, mapping, machine = self.case.product, self.case.mapping, self.case.machine
        count, m, n, length = size
        weights = count * product.taps * product.pattern.kept(length) * n
        activations = count * m * product.taps * length
        if mapping["dataflow"] == WS:
            groups = product.taps * product.pattern.groups(length)
            folds = len(range(0, groups, machine["rows"]))
            sums = count * m * n * (2 * folds - first)  # out at each fold, in again but at first
            activations *= len(range(0, n, machine["columns"]))
        else:
            sums = count * m * n * last
            weights *= len(range(0, m, machine["rows"]))
            activations *= len(range(0, n, machine["columns"] * mapping["interleave"]))
        return [
            sums * machine["accumulator_bits"],
            weights * (machine["operand_bits"] + product.pattern.index_bits),
            activations * machine["operand_bits"],
        ]

    def cost(self) -> dict[str, int]:
        tiles = list(self.tiles())
        latency = self.case.machine["dram_latency_cycles"]
        cost = dict.fromkeys(COST.names, 0)
        held: dict[str, Any] = {"left": None, "right": None}

        def missing(at: tuple[int, ...], size: tuple[int, ...]) -> int:
            """Bytes that a tile needs and does not find in the buffers."""
            c, m, n, k = at
            moved = 0
            wanted = {"left": (c, m, k), "right": (c, n, k)}
            moves = {
                "left": lambda: self.left_bytes(size[0], size[1], size[3]),
                "right": lambda: self.right_bytes(size[0], size[3], size[2]),
            }
            for side, tile in wanted.items():
                if held[side] != tile:
                    held[side] = tile
                    loaded = moves[side]()
                    cost[f"{side}_bytes"] += loaded
                    moved += loaded
            return moved

        cost["dram_read"] = latency + self.dram_cycles(missing(*tiles[0][:2]))
        finished = 0  # bytes of the output tile that waits to be stored
        bits = [0, 0, 0]
        for i, (_, size, first, last) in enumerate(tiles):
            job = self.job(size, last)
            for name, value in zip(PARTS, job[1:], strict=True):
                cost[name] += value
            bits = [a + b for a, b in zip(bits, self.buffer_bits(size, first, last), strict=True)]
            store = finished if first else 0
            cost["out_bytes"] += store
            moved = store + (missing(*tiles[i + 1][:2]) if i + 1 < len(tiles) else 0)
            transfer = latency + self.dram_cycles(moved) if moved else 0
            if transfer > job[0]:
                late = min(transfer - job[0], self.dram_cycles(store))
                cost["dram_write"] += late
                cost["dram_read"] += transfer - job[0] - late
            if last:
                finished = self.out_bytes(size[0], size[1], size[2])
        cost["out_bytes"] += finished
        cost["dram_write"] += latency + self.dram_cycles(finished)
        cost["cycles"] = sum(cost[name] for name in (*PARTS, "dram_read", "dram_write"))
        moved = cost["left_bytes"] + cost["right_bytes"] + cost["out_bytes"]
        cost["buffer_bytes"] = moved + sum(-(-each // 8) for each in bits)
        cost["steps"] = len(tiles)
        return cost


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_loop_over_tiles(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(CASES):
        case = random_case(random)
        assert case.cost() == Naive(case).cost(), case


def network() -> list[Layer]:
    """A few layers of every kind."""
    layers: list[Layer] = [
        Linear(name="fc", batch=64, rows=3, in_features=200, out_features=1000),
        MatMul(name="scores", batch=8, count=12, m=197, k=64, n=197),
    ]
    for ci, co, size, kernel, stride, groups in (
        (3, 64, 224, 7, 2, 1),
        (64, 64, 56, 3, 1, 1),
        (256, 512, 28, 1, 2, 1),
        (512, 512, 7, 3, 1, 1),
        (144, 144, 28, 3, 2, 144),
    ):
        layers.append(
            Convolution(
                name="conv",
                batch=32,
                in_channels=ci,
                out_channels=co,
                size=(size, size),
                kernel=(kernel, kernel),
                stride=(stride, stride),
                padding=((kernel // 2,) * 2,) * 2,
                dilation=(1, 1),
                groups=groups,
            )
        )
    return layers


def network_products(method: str) -> list[Product]:
    return [
        product
        for layer in network()
        for stage in ("ff", "bp", "wu")
        for product in products(layer, stage, METHODS[method], Pattern(2, 8))
    ]


@pytest.mark.parametrize("name", ["sat-32x32", "sat-4x4"])
@pytest.mark.parametrize("method", ["dense", "bdwp", "sdgp", "fst"])
def test_laws_of_every_candidate(name: str, method: str) -> None:
    items = network_products(method)
    hardware = np.atleast_1d(hardware_record(load(name)))
    mappings, _ = candidates(hardware, product_records(items))
    costs = evaluate(hardware, product_records(items), mappings)
    hw = hardware[0]
    assert len(mappings) > 2 * len(items)
    for mapping, cost in zip(mappings, costs, strict=True):
        item = items[mapping["product"]]
        parts = sum(int(cost[part]) for part in (*PARTS, "dram_read", "dram_write"))
        assert cost["cycles"] == parts
        assert all(cost[field] >= 0 for field in COST.names)
        # The roofline: no faster than the array's multiply-accumulates, nor than its DRAM.
        assert cost["cycles"] * hw["rows"] * hw["columns"] >= item.effective_macs
        assert cost["issue"] * hw["rows"] * hw["columns"] >= item.effective_macs
        moved = int(cost["left_bytes"] + cost["right_bytes"] + cost["out_bytes"])
        pace = Fraction(int(hw["dram_cycles_numerator"]), int(hw["dram_cycles_denominator"]))
        assert cost["cycles"] >= moved * pace
        # Every operand moves at least once, and the output once.
        bits = int(hw["operand_bits"])
        assert cost["out_bytes"] >= item.count * item.m * item.n * bits // 8
        kept = item.count * item.taps * item.pattern.kept(item.length) * item.n
        if item.image.axis != ALONG_N:
            assert cost["right_bytes"] >= kept * (bits + item.pattern.index_bits) // 8
        assert cost["buffer_bytes"] > moved


def changed(case: Case, **values: int) -> dict[str, int]:
    return replace(case, machine={**case.machine, **values}).cost()


def test_monotone() -> None:
    """More bandwidth, less latency, smaller bursts, a wider port: never slower."""
    random = np.random.default_rng(11)
    sides = ("left_bytes", "right_bytes", "out_bytes")
    for _ in range(300):
        case = random_case(random)
        before = case.cost()
        machine = case.machine
        for values in (
            {"dram_cycles_denominator": machine["dram_cycles_denominator"] + 3},
            {"dram_cycles_numerator": max(1, machine["dram_cycles_numerator"] - 3)},
            {"dram_latency_cycles": machine["dram_latency_cycles"] // 2},
            {"group_port_elements": machine["group_port_elements"] + 1},
            {"multiplier_cycles": max(1, machine["multiplier_cycles"] - 1)},
            {"accumulator_cycles": max(1, machine["accumulator_cycles"] - 1)},
        ):
            after = changed(case, **values)
            assert after["cycles"] <= before["cycles"]
            assert [after[side] for side in sides] == [before[side] for side in sides]
            assert after["buffer_bytes"] == before["buffer_bytes"]
        after = changed(case, dram_burst_bytes=2 * machine["dram_burst_bytes"])
        assert all(after[side] >= before[side] for side in sides)
        assert after["cycles"] >= before["cycles"]
        larger = replace(case.product, m=case.product.m + 7, n=case.product.n + 5)
        if case.mapping["tile_count"] == 1:
            after = replace(case, product=larger).cost()
            assert all(after[side] >= before[side] for side in sides)
            assert after["cycles"] >= before["cycles"]


def test_interleaving_hardly_slows_a_product() -> None:
    """What the search finds with interleaving is no slower than what it finds without, but for the
    cycles in which larger blocks fill and empty the array, which V is not chosen by."""
    random = np.random.default_rng(15)

    def draw(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    for _ in range(200):
        machine = load("sat-32x32").with_values(
            **{
                "array.rows": draw(2, 4, 8, 32),
                "array.columns": draw(2, 4, 8, 32),
                "array.adder_cycles": draw(1, 3, 4, 8),
                "array.interleave": draw(4, 6, 8),
                "array.group_port_elements": draw(1, 4, 8),
                "dram.bandwidth_gbps": draw(3.0, 25.0, 400.0),
            }
        )
        product = Product(
            count=1,
            m=draw(1, 3, 17, 100, 1000, 5000),
            taps=draw(1, 9),
            length=draw(8, 64, 100, 512),
            n=draw(1, 10, 64, 300, 1000),
            pattern=draw(DENSE, Pattern(2, 8), Pattern(1, 8), Pattern(4, 8)),
        )
        fastest = []
        for one in (machine, machine.with_values(**{"array.interleave": 1})):
            hardware = np.atleast_1d(hardware_record(one))
            mappings, _ = candidates(hardware, product_records([product]))
            costs = evaluate(hardware, product_records([product]), mappings)
            fastest.append(costs["cycles"].min())
        assert fastest[0] <= 1.03 * fastest[1], (machine.array, product)


def test_a_sparser_pattern_moves_fewer_weights() -> None:
    random = np.random.default_rng(12)
    for _ in range(200):
        case = random_case(random)
        bytes_of, cycles_of = [], []
        for n in (1, 2, 4, 8):
            pattern = Pattern(n, 8)
            length = min(case.product.length, 8 * -(-case.mapping["tile_length"] // 8))
            mapping = {**case.mapping, "tile_length": length}
            if mapping["dataflow"] == OS and length < case.product.length:
                mapping["tile_m"] = 1
                mapping["tile_n"] = min(mapping["tile_n"], case.machine["columns"])
            cost = replace(
                case, product=replace(case.product, pattern=pattern), mapping=mapping
            ).cost()
            # N = M needs no index: only that far are the counts comparable.
            bytes_of.append(cost["right_bytes"] if n < 8 else bytes_of[-1])
            cycles_of.append(cost["issue"])
        assert bytes_of == sorted(bytes_of)
        assert cycles_of == sorted(cycles_of)


def test_a_transposed_product_moves_the_same_output() -> None:
    """With the sparse gradient on the right, the output's tile is the transpose, no more."""
    random = np.random.default_rng(13)
    for _ in range(200):
        case = random_case(random)
        product = replace(case.product, image=Image(), pattern=DENSE, taps=1)
        flipped = replace(product, m=product.n, n=product.m, image=Image(axis=ALONG_N))
        mapping = {**case.mapping, "dataflow": WS}
        turned = {**mapping, "tile_m": mapping["tile_n"], "tile_n": mapping["tile_m"]}
        turned["m_outer"] = 1 - mapping["m_outer"]
        one, other = (
            replace(case, product=product, mapping=mapping).cost(),
            replace(case, product=flipped, mapping=turned).cost(),
        )
        assert one["out_bytes"] == other["out_bytes"]
        assert one["steps"] == other["steps"]


ABSURD = {
    "array.rows": [1, 32, 4096],
    "array.columns": [1, 32, 4096],
    "array.interleave": [1, 8, 64],
    "array.adder_cycles": [1, 4, 64],
    "array.group_port_elements": [1, 8],
    "buffers.activation_kib": [1, 64, 1 << 20],
    "buffers.weight_kib": [1, 64, 1 << 20],
    "buffers.output_kib": [1, 64, 1 << 20],
    "dram.burst_bytes": [1, 64, 1 << 16],
    "dram.bandwidth_gbps": [25.6, 0.3171, 1e-5, 6000.0],
    "formats.operand": ["int8", "fp16", "fp32"],
}


def absurd_layer(random: np.random.Generator) -> Layer:
    """Sizes up to the largest that a tensor may have."""

    def draw(most: int) -> int:
        return 2 ** int(random.integers(0, most + 1))

    if random.integers(2):
        return MatMul(name="s", count=draw(46), m=draw(46), k=draw(46), n=draw(46))
    size = (draw(20), draw(20))
    return Convolution(
        name="c",
        batch=draw(20),
        in_channels=draw(14),
        out_channels=draw(14),
        size=size,
        kernel=(min(size), min(size)) if random.integers(2) else (1, 1),
        stride=(draw(1), draw(1)),
        padding=((1, 1), (1, 1)),
        dilation=(1, 1),
    )


def test_nothing_overflows() -> None:
    """Compiled and interpreted agree: the one would wrap around, the other would warn."""
    random = np.random.default_rng(14)
    endless = counted = 0
    while counted < 200 or endless < 10:
        machine = load("sat-32x32").with_values(
            **{entry: values[random.integers(len(values))] for entry, values in ABSURD.items()}
        )
        pattern = (Pattern(1, 256), Pattern(2, 8), Pattern(4, 256))[random.integers(3)]
        method = METHODS[("dense", "bdwp", "sdgp", "fst")[random.integers(4)]]
        stage = ("ff", "bp", "wu")[random.integers(3)]
        try:
            items = product_records(list(products(absurd_layer(random), stage, method, pattern)))
        except InputError:
            continue  # a tensor of more than 2^46 elements, or more than 2^60 MACs
        hardware = np.atleast_1d(hardware_record(machine))
        mappings, _ = candidates(hardware, items)
        both = []
        for how in (timing._evaluate_all.compiled, timing._evaluate_all.interpreted):
            both.append(np.zeros(len(mappings), COST))
            how(hardware, items, mappings, both[-1])
        assert both[0].tolist() == both[1].tolist()
        for cost in both[0]:
            if cost["cycles"] == MAX_CYCLES:
                endless += 1
                assert sum(cost.tolist()) == MAX_CYCLES
            else:
                counted += 1
                assert 0 < cost["cycles"] < MAX_CYCLES
                assert min(cost.tolist()) >= 0


def test_only_records_are_taken() -> None:
    with pytest.raises(TypeError, match="expected a one-dimensional array"):
        evaluate(np.zeros(1, HARDWARE), np.zeros(1, MAPPING), np.zeros(1, MAPPING))
