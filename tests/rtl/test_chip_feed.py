"""The array's feeders against `activation_beats` and `weight_words`, over random jobs and layouts.

Buffers are filled through the write port. Writes wait for jobs that must be done, and jobs for what
must be written: so one job reads one half of a buffer while the next one's half is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.activation_feeder import ActivationFeeder, activation_buffer
from nofm.rtl.chip.banks import BufferSizes
from nofm.rtl.chip.weight_feeder import WeightFeeder, weight_buffer
from nofm.rtl.fields import pack, split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.feed import (
    AXES,
    POSITION_BITS,
    activation_beats,
    activation_feed_fields,
    column_walk,
    map_walk,
    signed,
    weight_feed_fields,
    weight_words,
)
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.walk import Loop, Nest, WalkShape
from nofm.rtl.tools.cocotb_runner import replay

AFTER_BITS = 12
Values = dict[str, int]


def chip(**changes: int) -> ChipSizes:
    """A small chip; banks of a depth that is no power of two."""
    return ChipSizes(
        **{
            "rows": 3,
            "columns": 4,
            "port": 8,
            "index_bits": 3,
            "bus_bits": 64,
            "activation_banks": 4,
            "activation_depth": 6,
            "weight_banks": 4,
            "weight_depth": 50,
            "result_depth": 16,
            **changes,
        }
    )


CHIPS = {
    "a piece is less than a word": chip(),
    "a piece is several words": chip(
        rows=5, columns=2, port=2, bus_bits=128, activation_banks=8, weight_banks=8
    ),
    "one of everything": chip(
        rows=1, columns=1, port=1, index_bits=1, activation_depth=60, weight_depth=48
    ),
    "a word is a piece, one bank": chip(
        rows=1, columns=8, port=4, activation_banks=1, activation_depth=40, weight_banks=8
    ),
    "many lanes": chip(rows=9, columns=16, port=4, activation_banks=16, weight_banks=16),
}


class Bench(Unit):
    """A feeder whose pieces come on a stream `write`, and whose cycles are counted.

    A job goes on when as many pieces are written as it says, and a piece when as many jobs are
    done.
    """

    def __init__(self, feeder: ActivationFeeder | WeightFeeder) -> None:
        self.feeder = feeder
        members = feeder.signature.members
        self.streams = {
            name: member
            for name, member in members.items()
            if name.startswith(("activations_", "row_weights_", "column_weights_"))
        }
        job = dict(members)["job_data"].shape
        self.write = {
            **{p: len(getattr(feeder, f"write_{p}")) for p in ("at", "count", "data", "skew")},
            "after": AFTER_BITS,
        }
        self.module_name = "nofm_chip_bench"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(job + AFTER_BITS),
                "write_valid": In(1),
                "write_ready": Out(1),
                "write_data": In(sum(self.write.values())),
                **self.streams,
                "done": Out(1),
                "count_conflict": Out(24),
                "count_full": Out(24),
                "count_busy": Out(24),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.feeder = feeder = self.feeder
        written, done = Signal(AFTER_BITS), Signal(AFTER_BITS)
        piece = split(self.write, self.write_data)
        job = split({"job": len(feeder.job_data), "after": AFTER_BITS}, self.job_data)
        may = Signal()
        m.d.comb += [
            may.eq(written >= job["after"]),
            feeder.job_valid.eq(self.job_valid & may),
            self.job_ready.eq(feeder.job_ready & may),
            feeder.job_data.eq(job["job"]),
            self.write_ready.eq(done >= piece["after"]),
            feeder.write_valid.eq(self.write_valid & self.write_ready),
            *(getattr(feeder, f"write_{p}").eq(piece[p]) for p in ("at", "count", "data", "skew")),
            self.done.eq(feeder.done),
        ]
        for name, member in self.streams.items():
            port, inner = getattr(self, name), getattr(feeder, name)
            m.d.comb += port.eq(inner) if member.flow is Out else inner.eq(port)
        m.d.sync += [
            written.eq(written + feeder.write_valid),
            done.eq(done + feeder.done),
            *(
                getattr(self, f"count_{p}").eq(getattr(self, f"count_{p}") + getattr(feeder, p))
                for p in ("conflict", "full", "busy")
            ),
        ]
        return m

    def verilog(self) -> dict[str, str]:
        """The text of all of it at once: no module of it is of use elsewhere."""
        os.environ["AMARANTH_USE_YOSYS"] = "builtin"
        text = verilog.convert(
            self, name=self.module_name, emit_src=False, strip_internal_attrs=True
        )
        return {self.module_name: text}


def pieces(
    rng: np.random.Generator, buffer: BufferSizes, at: int, data: list[int], skew: int, after: int
) -> Iterator[Values]:
    """Elements from `at` on, in pieces of any size that cross no multiple of a group."""
    while data:
        most = min(len(data), buffer.piece, buffer.group - at % buffer.group)
        count = int(rng.integers(1, most + 1)) if rng.random() < 0.3 else most
        junk = [int(x) for x in rng.integers(0, 1 << buffer.element_bits, buffer.piece - count)]
        lanes = [*data[:count], *junk]
        word = sum(value << buffer.element_bits * k for k, value in enumerate(lanes))
        yield {"at": at, "count": count - 1, "data": word, "skew": skew, "after": after}
        at, data = at + count, data[count:]


@dataclass
class Job:
    """A job, and what it finds in its buffer: elements from `at` on."""

    values: Values
    at: int
    data: list[int]


def total_nest(
    rng: np.random.Generator,
    shape: WalkShape,
    passes: int,
    strides: Callable[[str], int],
    loops: int | None = None,
) -> Nest:
    """Any nest with so many passes, from anywhere on; all its places start with 0."""
    loops = loops or int(rng.integers(1, shape.loops + 1))
    counts = [int(rng.integers(1, 4)) for _ in range(loops - 1)]
    first = int(rng.integers(0, 3))
    counts.append(-(-(passes + first) // max(1, int(np.prod(counts)))))
    each = tuple(Loop(count, {place: strides(place) for place in shape.places}) for count in counts)
    return Nest({}, each, first, passes)


def moved(shape: WalkShape, prefix: str, values: Values, by: Mapping[str, int]) -> None:
    """Start elsewhere."""
    for place, step in by.items():
        name = f"{prefix}start_{place}"
        values[name] = (values[name] + step) % (1 << shape.places[place])


def reach(shape: WalkShape, prefix: str, values: Values, place: str) -> list[int]:
    """Signed places of all passes."""
    width = shape.places[place]
    return [signed(each[place], width) for each in shape.passes(prefix, values)]


def activation_job(rng: np.random.Generator, sizes: ChipSizes, half: int, **fixed: int) -> Job:
    """Any job that reads one half of the buffer."""
    walk = map_walk(sizes)
    take = 1 << int(rng.integers(0, sizes.port.bit_length()))
    gather = int(rng.integers(1, sizes.port)) if take == 1 and sizes.port > 1 else 0
    outer = int(rng.integers(0, 3))
    lanes_last = int(rng.integers(1, sizes.rows + 1))
    values: Values = {
        "outer": outer,
        "lanes_last": lanes_last,
        "repeats": int(rng.integers(0, 3)),
        "take": take - 1 - (int(rng.integers(0, take)) if rng.random() < 0.3 else 0),
        "gather": gather if rng.random() < 0.7 else 0,
        "skew": int(rng.integers(0, 2)),
        **{f"size_{axis}": int(rng.integers(1, 12)) for axis in AXES},
        **fixed,
    }
    span = sizes.activation_elements // 2
    most = max(1, span // (12 * take))

    def stride(place: str) -> int:
        if place == "at":
            return take * int(rng.integers(-most, most + 1))
        return int(rng.integers(-1, 3))

    held = outer * sizes.rows + lanes_last
    for prefix, passes in (("held_", held), ("inner_", int(rng.integers(1, 14)))):
        values |= walk.encode(prefix, total_nest(rng, walk, passes, stride))
        for axis in AXES:
            moved(walk, prefix, values, {axis: int(rng.integers(-3, 4))})
    ways = [reach(walk, prefix, values, "at") for prefix in ("held_", "inner_")]
    least = sum(map(min, ways))
    room = span - (sum(map(max, ways)) - least + take)
    if room < 0:
        return activation_job(rng, sizes, half, **fixed)
    start = half * span + int(rng.integers(0, room + 1)) // take * take - least
    moved(walk, "held_", values, {"at": start})
    data = [int(x) for x in rng.integers(0, 1 << 16, span)]
    return Job(values, half * span, data)


def weight_job(rng: np.random.Generator, sizes: ChipSizes, half: int, **fixed: int) -> Job:
    """Any job that reads one half of the buffer."""
    walk = column_walk(sizes)
    to_rows, outer = int(rng.integers(0, 2)), int(rng.integers(0, 3))
    values: Values = {
        "to_rows": to_rows,
        "outer": outer,
        "lanes_last": int(rng.integers(1, sizes.rows + 1)),
        "hold_once": int(rng.integers(0, 2)),
        "full": int(rng.integers(0, 2)),
        "size_n": int(rng.integers(1, 30)),
        "skew": int(rng.integers(0, 2)),
        **fixed,
    }
    to_rows, outer = values["to_rows"], values["outer"]
    lanes = sizes.rows if to_rows else sizes.columns
    last = values["lanes_last"] if to_rows else lanes
    held = lanes if values["hold_once"] and outer else last
    held += 0 if values["hold_once"] else outer * lanes
    if to_rows and values["hold_once"] and outer == 0:
        held = last
    span = sizes.weight_elements // 2
    most = max(1, span // 12)

    def stride(place: str) -> int:
        return int(rng.integers(-most, most + 1)) if place == "at" else int(rng.integers(-2, 4))

    for prefix in ("held_", "full_", "last_"):
        passes = held if prefix == "held_" else int(rng.integers(1, 14))
        values |= walk.encode(prefix, total_nest(rng, walk, passes, stride))
        moved(walk, prefix, values, {"n": int(rng.integers(-3, 9))})
    inner = ["full_", "last_"] if values["full"] else ["last_"]
    ways = [reach(walk, "held_", values, "at")]
    ways.append([at for prefix in inner for at in reach(walk, prefix, values, "at")])
    least = sum(map(min, ways))
    room = span - (sum(map(max, ways)) - least + 1)
    if room < 0:
        return weight_job(rng, sizes, half, **fixed)
    start = half * span + int(rng.integers(0, room + 1)) - least
    moved(walk, "held_", values, {"at": start})
    data = [int(x) for x in rng.integers(0, 1 << 16 + sizes.index_bits, span)]
    return Job(values, half * span, data)


class Side:
    """What differs between the feeders."""

    def __init__(self, sizes: ChipSizes, what: str, depth: int = 8) -> None:
        self.sizes = sizes
        self.what = what
        self.feeder: ActivationFeeder | WeightFeeder
        if what == "activations":
            self.feeder = ActivationFeeder(sizes, depth)
            self.fields, self.buffer = activation_feed_fields(sizes), activation_buffer(sizes)
            self.elements = sizes.activation_elements
        else:
            self.feeder = WeightFeeder(sizes, depth)
            self.fields, self.buffer = weight_feed_fields(sizes), weight_buffer(sizes)
            self.elements = sizes.weight_elements
        self.bench = Bench(self.feeder)

    def random_job(self, rng: np.random.Generator, half: int, **fixed: int) -> Job:
        make = activation_job if self.what == "activations" else weight_job
        return make(rng, self.sizes, half, **fixed)

    def wanted(self, values: Values, memory: Any) -> dict[str, list[list[int]]]:
        if self.what == "activations":
            return {"activations": activation_beats(self.sizes, values, memory)}
        lanes = weight_words(self.sizes, values, memory)
        none: dict[str, list[list[int]]] = {
            "row_weights": [[] for _ in range(self.sizes.rows)],
            "column_weights": [[] for _ in range(self.sizes.columns)],
        }
        return none | {"row_weights" if values["to_rows"] else "column_weights": lanes}

    def case(self, name: str, jobs: list[Job], seed: int = 0, **options: Any) -> Case:
        """Jobs one after the other; each one's data is written when the job before the last is
        done."""
        rng = np.random.default_rng(seed)
        memory = np.zeros(self.elements, np.uint32)
        words: list[int] = []
        writes: list[int] = []
        outputs: dict[str, list[list[int]]] = {}
        for number, job in enumerate(jobs):
            skew = job.values["skew"]
            given = pieces(rng, self.buffer, job.at, job.data, skew, max(0, number - 1))
            writes.extend(pack(self.bench.write, piece) for piece in given)
            memory[job.at : job.at + len(job.data)] = job.data
            word = pack(self.fields, job.values)
            words.append(word | len(writes) << sum(self.fields.values()))
            for stream, lanes in self.wanted(job.values, memory).items():
                have = outputs.setdefault(stream, [[] for _ in lanes])
                for lane, more in zip(have, lanes, strict=True):
                    lane += more
        out = sum(len(lane) for lanes in outputs.values() for lane in lanes)
        return Case(
            name=name,
            inputs={"job": [words], "write": [writes]},
            outputs=outputs,
            jobs=len(jobs),
            limit=2000 + 6 * len(writes) + 30 * out,
            seed=seed,
            **options,
        )

    def play(self, cases: list[Case], folder: Path, text: Any = None) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = replay(
            text or self.bench.verilog(),
            self.bench.module_name,
            cases,
            folder=folder,
            tool="icarus",
            counters=["count_conflict", "count_full", "count_busy"],
        ).results["cases"]
        return results


def cases(side: Side, jobs: int, seed: int) -> list[Case]:
    rng = np.random.default_rng(seed)
    made = []
    streams = ["activations"] if side.what == "activations" else ["row_weights", "column_weights"]
    for name, idle, backpressure in (
        ("steady", {}, "steady"),
        ("idle", {"job": "random:0.02", "write": "random:0.5"}, "steady"),
        ("random", {}, "random:0.3"),
        ("bursts", {"job": "bursts:1:40"}, "bursts:20:90"),
    ):
        given = [side.random_job(rng, k % 2) for k in range(jobs)]
        options = {"idle": idle, "backpressure": dict.fromkeys(streams, backpressure)}
        made.append(side.case(name, given, seed, **options))
    return made


def wrong(cases: list[Case], results: list[dict[str, Any]]) -> list[str]:
    return [
        f"{case.name}: {found['error']}, {found['differences']}"
        for case, found in zip(cases, results, strict=True)
        if not (found["bit_exact"] and found["counters_equal"])
    ]


QUICK_CHIPS = list(CHIPS)[:2]


@pytest.mark.parametrize("what", ["activations", "weights"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK_CHIPS else pytest.mark.slow) for n in CHIPS]
)
def test_random_jobs(name: str, what: str, tmp_path: Path) -> None:
    side = Side(CHIPS[name], what)
    given = cases(side, 8 if name in QUICK_CHIPS else 20, 1)
    assert wrong(given, side.play(given, tmp_path)) == []


def banks_wanted(side: Side, values: Values) -> list[list[list[tuple[int, int]]]]:
    """For every pass of every fold: bank and word in it, of all lanes that read."""
    sizes = side.sizes
    weights = side.what == "weights"
    walk = column_walk(sizes) if weights else map_walk(sizes)
    lanes = sizes.rows
    if weights and not values["to_rows"]:
        lanes = sizes.columns
    prefixes = ["inner_"] * (values.get("repeats", 0) + 1)
    if weights:
        prefixes = [*["full_"] * values["full"], "last_"]
    inner = [each for prefix in prefixes for each in walk.passes(prefix, values)]
    places = list(walk.passes("held_", values))
    found = []
    for fold in range(values["outer"] + 1):
        at = 0 if values.get("hold_once") else fold * lanes
        passes = []
        for each in inner:
            words = []
            for held in places[at : at + lanes]:
                place = {
                    name: (held[name] + each[name]) % (1 << width)
                    for name, width in walk.places.items()
                }
                if weights:
                    reads = place["n"] < values["size_n"]
                else:
                    c, y, x = (signed(place[axis], POSITION_BITS) for axis in AXES)
                    reads = (
                        0 <= y < values["size_y"]
                        and 0 <= x < values["size_x"]
                        and any(0 <= c + k < values["size_c"] for k in range(values["take"] + 1))
                    )
                if reads:
                    high, low = divmod(place["at"] // side.buffer.word, side.buffer.banks)
                    words.append(((low + values["skew"] * high) % side.buffer.banks, high))
            passes.append(words)
        found.append(passes)
    return found


def rounds(words: list[tuple[int, int]]) -> int:
    """Cycles that a pass takes: the different words of the bank that it wants most of."""
    wanted: dict[int, set[int]] = {}
    for bank, high in words:
        wanted.setdefault(bank, set()).add(high)
    return max(map(len, wanted.values()), default=1)


def folds_of(side: Side, values: Values) -> list[int]:
    """Cycles of every fold."""
    return [sum(map(rounds, passes)) for passes in banks_wanted(side, values)]


@pytest.mark.parametrize("what", ["activations", "weights"])
def test_cycles_are_those_of_passes_and_conflicts(what: str, tmp_path: Path) -> None:
    """To the cycle, from each job's end to the next one's: where walks are no shorter than it takes
    the next places to come, there is no gap between walks, folds or jobs."""
    side = Side(CHIPS["a piece is several words"], what, depth=64)
    rng = np.random.default_rng(9)
    jobs = []
    while len(jobs) < 12:
        job = side.random_job(rng, len(jobs) % 2)
        last_walk = job.values["inner_total" if what == "activations" else "last_total"] + 1
        if last_walk >= side.buffer.lanes + 3:
            jobs.append(Job(job.values, 0, []))
    given = [side.case("steady", jobs)]
    (found,) = results = side.play(given, tmp_path)
    assert wrong(given, results) == []
    done = [job["done_cycle"] for job in found["jobs"]]
    cycles = [sum(folds_of(side, job.values)) for job in jobs]
    assert np.diff(done).tolist() == cycles[1:]
    passes = [sum(map(len, banks_wanted(side, job.values))) for job in jobs]
    conflicts = sum(cycles) - sum(passes)
    assert found["jobs"][-1]["count_conflict"] == conflicts > 0


def plain_job(side: Side, passes: int, outer: int, repeats: int = 0) -> Values:
    """Neighbouring words in the lanes, which lie in different banks, and the next ones in turn."""
    sizes = side.sizes
    lanes, word = side.buffer.lanes, side.buffer.word
    held = Nest({}, (Loop(lanes, {"at": word}), Loop(outer + 1)))
    inner = Nest({}, (Loop(passes, {"at": word}),))
    if side.what == "activations":
        walk = map_walk(sizes)
        return {
            "outer": outer,
            "lanes_last": lanes,
            "repeats": repeats,
            **walk.encode("held_", held),
            **walk.encode("inner_", inner),
            **dict.fromkeys((f"size_{axis}" for axis in AXES), 99),
            **{"take": 0, "gather": 0, "skew": 0},
        }
    columns = column_walk(sizes)
    return {
        "to_rows": int(sizes.rows > sizes.columns),
        "outer": outer,
        "lanes_last": lanes,
        "hold_once": 0,
        **columns.encode("held_", held),
        "full": 0,
        **columns.encode("full_", inner),
        **columns.encode("last_", inner),
        "size_n": 99,
        "skew": 0,
    }


@pytest.mark.parametrize("what", ["activations", "weights"])
def test_latency_and_short_folds(what: str, tmp_path: Path) -> None:
    """Cycles to the first beat; a fold with a single pass takes as long as the next places come."""
    side = Side(CHIPS["a piece is several words"], what, depth=64)
    lanes = side.buffer.lanes
    given = [
        side.case("one pass", [Job(plain_job(side, 1, 0), 0, [])]),
        side.case("short folds", [Job(plain_job(side, 1, outer), 0, []) for outer in (0, 9, 9)]),
        side.case("next job", [Job(plain_job(side, lanes + 3, 0), 0, []) for _ in range(3)]),
    ]
    results = side.play(given, tmp_path)
    assert wrong(given, results) == []
    one, short, following = results
    first = max(cycle for cycle in one["last_words"].values() if cycle is not None)
    # The bench offers the job in its cycle 1, so that it is taken in cycle 2.
    assert first == 2 + side.feeder.latency + lanes
    spent = np.diff([job["done_cycle"] for job in short["jobs"]]).tolist()
    assert spent == [9 * (lanes + 1) + lanes + 3] * 2
    assert np.diff([job["done_cycle"] for job in following["jobs"]]).tolist() == [lanes + 3] * 2
