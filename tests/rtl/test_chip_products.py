"""What feeders give for products is what the array wants: jobs made by hand for plain matrices, and
a layout for convolutions in which rows never want two words of one bank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In

from nofm.dataflow.accelerator import Accelerator, load
from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import Halves, matmul
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.activation_feeder import ActivationFeeder
from nofm.rtl.chip.banks import BufferSizes
from nofm.rtl.chip.feed_cases import Feeding, Job, Values
from nofm.rtl.chip.lag import activation_lag, weight_lag
from nofm.rtl.chip.weight_feeder import WeightFeeder
from nofm.rtl.hierarchy import Unit, modules, place
from nofm.rtl.program.feed import activation_beats, column_walk, map_walk
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.stce.cases import STALLS
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import StceJob
from nofm.rtl.stce.stce import Stce
from nofm.rtl.stce.streams import (
    activation_lanes,
    column_weight_lanes,
    result_lanes,
    row_weight_lanes,
)
from nofm.rtl.tools.cocotb_runner import replay

ACCELERATOR = load("sat-4x4").with_values(
    **{"buffers.activation_kib": 4, "buffers.weight_kib": 4, "buffers.output_kib": 4}
)
SIZES = ChipSizes.of(ACCELERATOR)
GEOMETRY = Geometry.of(ACCELERATOR)


class Product:
    """A product of random matrices that lie in the chip's buffers, and its feeders' jobs.

    A row of activations lies in whole words, weights by group, kept element and column.
    """

    def __init__(
        self,
        dataflow: Any,
        pattern: Pattern,
        m: int,
        length: int,
        n: int,
        v: int,
        accelerator: Accelerator = ACCELERATOR,
    ):
        self.sizes, self.geometry = ChipSizes.of(accelerator), Geometry.of(accelerator)
        rng = np.random.default_rng([m, length, n])
        self.groups = pattern.groups(length)
        self.job = StceJob(
            dataflow=dataflow, pattern=pattern, interleave=v, count=1, m=m, groups=self.groups, n=n
        )
        self.length = length
        self.activations: Halves = rng.standard_normal((1, m, 1, length)).astype(np.float16)
        dense = rng.standard_normal((1, 1, length, n)).astype(np.float16)
        self.weights: Compressed = compress(dense, pattern)
        self.folds = self.job.folds(self.geometry)

    @property
    def pitch(self) -> int:
        """Elements from one row of activations to the next."""
        whole = self.groups * self.job.pattern.m
        return -(-whole // self.sizes.port) * self.sizes.port

    def activation_data(self) -> list[int]:
        rows = np.zeros((self.job.m, self.pitch), np.uint16)
        rows[:, : self.length] = self.activations[0, :, 0].view(np.uint16)
        # What lies behind a row is not to be read.
        rows[:, self.length :] = 0xFFFF
        return [int(x) for x in rows.reshape(-1)]

    def weight_data(self) -> list[int]:
        index = self.weights.index.astype(np.uint32)
        if self.job.pattern.dense:
            index[:] = 0
        words = self.weights.values.view(np.uint16).astype(np.uint32) | index << 16
        return [int(x) for x in words.reshape(-1)]

    def activation_values(self) -> Values:
        walk, job, folds = map_walk(self.sizes), self.job, self.folds
        beats = -(-job.pattern.m // self.sizes.port)
        group = Loop(self.groups, {"at": job.pattern.m, "c": job.pattern.m})
        beat = Loop(beats, {"at": self.sizes.port, "c": self.sizes.port})
        vector = Loop(job.m, {"at": self.pitch, "y": 1})
        held, inner = ((group,), (beat, vector))
        if job.dataflow == "os":
            held, inner = (vector,), (beat, group)
        return {
            "outer": folds.outer - 1,
            "repeats": folds.columns - 1,
            **walk.encode("held_", Nest({}, held)),
            **walk.encode("inner_", Nest({}, inner)),
            **{"size_c": self.length, "size_y": job.m, "size_x": 1},
            "take": min(self.sizes.port, job.pattern.m) - 1,
            **{"gather": 0, "skew": 1},
        }

    def weight_values(self) -> Values:
        walk, job, folds, columns = (
            column_walk(self.sizes),
            self.job,
            self.folds,
            self.sizes.columns,
        )
        kept = job.pattern.n
        group = Loop(self.groups, {"at": kept * job.n})
        entry = Loop(kept, {"at": job.n})

        def beside(count: int, by: int) -> Loop:
            return Loop(count, {"at": by, "n": by})

        if job.dataflow == "ws":
            held = (group,)
            full = (entry, beside(columns, -1), beside(max(1, folds.columns - 1), columns))
            last = (entry, beside(folds.columns_last, -1))
            starts = [columns - 1, job.n - 1]
        else:
            block = columns * folds.sums
            held = (beside(columns, 1),)
            full = (
                beside(folds.sums, columns),
                entry,
                group,
                beside(max(1, folds.columns - 1), block),
            )
            last = (beside(folds.sums_last, columns), entry, group)
            starts = [0, (folds.columns - 1) * block]
        return {
            "to_rows": int(job.dataflow == "ws"),
            "outer": folds.outer - 1,
            "hold_once": int(job.dataflow == "os"),
            **walk.encode("held_", Nest({}, held)),
            "full": int(folds.columns > 1),
            **walk.encode("full_", Nest({"at": starts[0], "n": starts[0]}, full)),
            **walk.encode("last_", Nest({"at": starts[1], "n": starts[1]}, last)),
            "size_n": job.n,
            "skew": 0,
        }


SMALL = ACCELERATOR.with_values(
    **{
        "array.rows": 3,
        "array.columns": 2,
        "array.interleave": 4,
        "array.group_port_elements": 4,
        "array.weight_registers": 2,
        "array.patterns": ["1:4", "2:4", "2:8"],
    }
)
SMALL_PRODUCTS = [
    Product("ws", Pattern(2, 8), 5, 35, 5, 4, SMALL),
    Product("os", Pattern(2, 4), 4, 10, 9, 3, SMALL),
    Product("ws", Pattern(1, 4), 4, 17, 2, 4, SMALL),
    Product("ws", Pattern(2, 2), 6, 9, 3, 4, SMALL),
    Product("os", Pattern(2, 8), 7, 20, 5, 4, SMALL),
]

PRODUCTS = [
    Product("ws", Pattern(2, 8), 7, 61, 9, 8),
    Product("ws", Pattern(1, 4), 6, 17, 4, 8),
    Product("ws", Pattern(4, 16), 5, 83, 6, 4),
    Product("ws", Pattern(4, 4), 6, 15, 11, 8),
    Product("os", Pattern(2, 8), 9, 43, 39, 8),
    Product("os", Pattern(2, 16), 6, 50, 5, 1),
    Product("os", Pattern(2, 4), 3, 10, 21, 3),
    Product("os", Pattern(1, 1), 5, 13, 10, 2),
]


class Fed(Unit):
    """The array with its feeders."""

    def __init__(self, geometry: Geometry, sides: dict[str, Feeding]) -> None:
        self.sides = sides
        self.stce = Stce(geometry)
        self.module_name = "nofm_chip_fed"
        array = self.stce.signature.members
        shown = ("job_", "results_", "done", "count_")
        super().__init__(
            {
                **{name: port for name, port in array.items() if name.startswith(shown)},
                **{
                    f"{what}_{name}": port
                    for what, side in sides.items()
                    for name, port in side.bench.signature.members.items()
                    if name.startswith(("job_", "write_"))
                },
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        stce = self.stce
        place(m, platform, "stce", stce)
        own = dict(stce.signature.members)
        for what, side in self.sides.items():
            bench = side.bench
            place(m, platform, what, bench)
            for name, port in bench.signature.members.items():
                if name.startswith(("job_", "write_")):
                    ours, theirs = getattr(self, f"{what}_{name}"), getattr(bench, name)
                elif name in own and name not in dict(self.signature.members):
                    ours, theirs = getattr(stce, name), getattr(bench, name)
                else:
                    continue
                m.d.comb += theirs.eq(ours) if port.flow is In else ours.eq(theirs)
        for name, port in own.items():
            if name in dict(self.signature.members):
                ours, theirs = getattr(self, name), getattr(stce, name)
                m.d.comb += theirs.eq(ours) if port.flow is In else ours.eq(theirs)
        return m


@pytest.mark.slow
@pytest.mark.parametrize("backpressure", ["steady", "bursts:3:20"])
def test_the_array_computes_what_it_is_fed(backpressure: str, tmp_path: Path) -> None:
    """With queues that hold the lag, and no word more."""
    sizes, geometry = ChipSizes.of(SMALL), Geometry.of(SMALL)
    sides = {
        "activation": Feeding(sizes, ActivationFeeder(sizes, activation_lag(geometry))),
        "weight": Feeding(sizes, WeightFeeder(sizes, weight_lag(geometry))),
    }
    inputs: dict[str, Any] = {"job": [[each.job.encode(geometry) for each in SMALL_PRODUCTS]]}
    for what, side in sides.items():
        jobs = []
        for number, each in enumerate(SMALL_PRODUCTS):
            values = each.weight_values() if what == "weight" else each.activation_values()
            data = each.weight_data() if what == "weight" else each.activation_data()
            at = number % 2 * (side.elements // 2)
            values["held_start_at"] += at
            jobs.append(Job(values, at, data))
        for stream, words in side.case(what, jobs).inputs.items():
            inputs[f"{what}_{stream}"] = words
    results: list[list[int]] = [[] for _ in range(geometry.columns)]
    for each in SMALL_PRODUCTS:
        golden = matmul(each.activations, each.weights)
        for lane, more in zip(results, result_lanes(geometry, each.job, golden), strict=True):
            lane += more
    case = Case(
        name="products",
        inputs=inputs,
        outputs={"results": results},
        jobs=len(SMALL_PRODUCTS),
        limit=8000,
        backpressure={"results": backpressure},
    )
    top = Fed(geometry, sides)
    done = replay(
        modules(top), top.module_name, [case], folder=tmp_path, tool="icarus", counters=STALLS
    )
    (found,) = done.results["cases"]
    assert found["bit_exact"], (found["error"], found["differences"])


def test_widths_are_those_of_the_array() -> None:
    for name in ("sat-4x4", "sat-32x32"):
        accelerator = load(name).with_values(**{"dram.bandwidth_gbps": 12.8})
        assert ChipSizes.of(accelerator).index_bits == Geometry.of(accelerator).index_bits


@pytest.mark.parametrize("what", ["activations", "weights"])
def test_the_array_gets_what_it_wants(what: str, tmp_path: Path) -> None:
    """By the reference of the feeders, and by their hardware."""
    of_weights = what == "weights"
    feeder = WeightFeeder(SIZES, 8) if of_weights else ActivationFeeder(SIZES, 8)
    side = Feeding(SIZES, feeder)
    jobs = []
    for number, each in enumerate(PRODUCTS):
        data = each.weight_data() if of_weights else each.activation_data()
        values = each.weight_values() if of_weights else each.activation_values()
        at = number % 2 * (side.elements // 2)
        assert len(data) <= side.elements // 2
        values["held_start_at"] += at
        jobs.append(Job(values, at, data))
        memory = np.zeros(side.elements, np.uint32)
        memory[at : at + len(data)] = data
        wanted = (
            {
                "row_weights": row_weight_lanes(GEOMETRY, each.job, each.weights),
                "column_weights": column_weight_lanes(GEOMETRY, each.job, each.weights),
            }
            if of_weights
            else {"activations": activation_lanes(GEOMETRY, each.job, each.activations)}
        )
        assert side.wanted(values, memory) == wanted
    (found,) = side.play([side.case("products", jobs)], tmp_path)
    assert found["bit_exact"], (found["error"], found["differences"])


@dataclass(frozen=True)
class Convolution:
    """A convolution in WS, stride 1: rows of the array hold groups, taps outside of channels.

    Attributes:
        groups: of a word each, along the channels.
        kernel: taps along y and x.
        high, wide: of the map.
        pitch: pixels from one row of the map to the next, as they lie in the buffer.
    """

    groups: int
    kernel: tuple[int, int]
    high: int
    wide: int
    pitch: int

    def words(self, first: int, rows: int, y: int, x: int) -> list[int]:
        """Words that array rows want for an output pixel: of consecutive groups from `first` on."""
        found = []
        for number in range(first, min(first + rows, self.groups * math.prod(self.kernel))):
            tap, group = divmod(number, self.groups)
            down, right = divmod(tap, self.kernel[1])
            found.append(self.groups * (x + right + self.pitch * (y + down)) + group)
        return found

    def conflicts(self, banks: int, rows: int) -> bool:
        """Whether rows ever want two words of one bank."""
        for first in range(0, self.groups * math.prod(self.kernel), rows):
            for pixel in range(self.high * self.wide):
                used = [word % banks for word in self.words(first, rows, *divmod(pixel, self.wide))]
                if len(set(used)) < len(used):
                    return True
        return False


def fitting_pitch(groups: int, kernel_wide: int, wide: int, banks: int) -> int:
    """The shortest pitch with which consecutive groups lie in consecutive banks, over all taps."""
    modulus = banks // math.gcd(groups, banks)
    return wide + (kernel_wide - wide) % modulus


def test_a_pitch_like_the_kernel_gives_no_conflict() -> None:
    rng = np.random.default_rng(3)
    others = 0
    for _ in range(60):
        banks = 1 << int(rng.integers(2, 6))
        rows = int(rng.integers(banks // 2 + 1, banks + 1))
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 6)))
        groups, wide = int(rng.integers(1, 10)), int(rng.integers(5, 9))
        pitch = fitting_pitch(groups, kernel[1], wide, banks)
        assert pitch < wide + banks
        assert not Convolution(groups, kernel, 3, wide, pitch).conflicts(banks, rows)
        others += Convolution(groups, kernel, 3, wide, pitch + 1).conflicts(banks, rows)
    # Of other pitches not every one has a conflict; that some do shows that they would be seen.
    assert others > 10


def test_convolutions_go_by_in_a_pass_a_cycle(tmp_path: Path) -> None:
    """With padding, against NumPy's."""
    side = Feeding(SIZES, ActivationFeeder(SIZES, 128))
    rng = np.random.default_rng(8)
    walk, port, rows = map_walk(SIZES), SIZES.port, SIZES.rows
    jobs, wanted, passes = [], [[] for _ in range(rows)], []
    for number in range(4):
        groups, high, wide, pad = (2, 5, 4, 1), (1, 4, 5, 2), (3, 4, 4, 0), (4, 3, 3, 1)
        groups, high, wide, pad = (groups, high, wide, pad)[number]
        taps_y, taps_x = [(3, 3), (2, 3), (2, 2), (3, 1)][number]
        pitch = fitting_pitch(groups, taps_x, wide, SIZES.activation_banks)
        channels = groups * port - 3
        values = rng.integers(0, 1 << 16, (high, wide, channels)).astype(np.uint16)
        stored = np.full((high, pitch, groups * port), 0xFFFF, np.uint16)
        stored[:, :wide, :channels] = values
        out_y, out_x = high + 2 * pad - taps_y + 1, wide + 2 * pad - taps_x + 1
        count = groups * taps_y * taps_x
        pixel, row = groups * port, groups * port * pitch
        base = number % 2 * (side.elements // 2)
        held = (
            Loop(groups, {"at": port, "c": port}),
            Loop(taps_x, {"at": pixel, "x": 1}),
            Loop(taps_y, {"at": row, "y": 1}),
        )
        inner = (Loop(out_x, {"at": pixel, "x": 1}), Loop(out_y, {"at": row, "y": 1}))
        start = {"at": base - pad * (pixel + row), "y": -pad, "x": -pad}
        folds = -(-count // rows)
        fields = {
            "outer": folds - 1,
            "repeats": 0,
            **walk.encode("held_", Nest(start, held)),
            **walk.encode("inner_", Nest({}, inner)),
            **{"size_c": channels, "size_y": high, "size_x": wide},
            **{"take": port - 1, "gather": 0, "skew": 0},
        }
        assert stored.size <= side.elements // 2
        jobs.append(Job(fields, base, [int(x) for x in stored.reshape(-1)]))
        margin = ((pad, pad), (pad, pad), (0, 3))
        padded = np.pad(values, margin).reshape(high + 2 * pad, wide + 2 * pad, groups, port)
        for held_place in range(count):
            tap, group = divmod(held_place, groups)
            down, right = divmod(tap, taps_x)
            beats = padded[down : down + out_y, right : right + out_x, group].reshape(-1, port)
            wanted[held_place % rows] += [
                int.from_bytes(beat.astype("<u2").tobytes(), "little") for beat in beats
            ]
        passes.append(folds * out_y * out_x)
    # Both halves are there before the first job begins; then jobs follow each other.
    both = [*jobs[:2], *(Job(job.values) for job in jobs[:2] * 2)]
    given = [side.case("convolutions", jobs), side.case("steady", both)]
    assert given[0].outputs["activations"] == wanted
    results = side.play(given, tmp_path)
    for found in results:
        assert found["bit_exact"], (found["error"], found["differences"])
        assert found["jobs"][-1]["count_conflict"] == 0
    done = [job["done_cycle"] for job in results[1]["jobs"]]
    assert np.diff(done).tolist()[1:] == (passes[:2] * 3)[2:]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        BufferSizes(lanes=4, word=2, element_bits=16, banks=2, depth=8, piece=8)
    assert str(caught.value) == (
        "banks of a buffer must be 4 or more for pieces of 8 elements in words of 2, not 2"
    )
    values = PRODUCTS[0].activation_values() | {"outer": 7}
    with pytest.raises(ValueError, match=r"^8 held places for 8 folds of 4 lanes$"):
        activation_beats(SIZES, values, np.zeros(SIZES.activation_elements, np.uint16))
