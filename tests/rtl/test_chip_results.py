"""The collector and the storer against `collect` and `store`: from FP32 results to memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.cases import MasterCase, differences, replay_masters, with_options
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.collector import Collector, Column
from nofm.rtl.chip.random_walks import moved, random_nest
from nofm.rtl.chip.results import Results
from nofm.rtl.chip.share import WriteShare
from nofm.rtl.chip.storer import Rows, Storer
from nofm.rtl.fields import pack
from nofm.rtl.hierarchy import Emitted, Unit, emitted, modules, place
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.results import collect, collect_fields, row_walk, store, store_fields
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.tools.cocotb_runner import SimulationError

BASE = 0x12_3450_0000
MEMORY = 6144
"""FP16 elements of the memory."""


def chip(bus_bits: int, columns: int) -> ChipSizes:
    return ChipSizes(
        rows=3,
        columns=columns,
        port=2,
        index_bits=2,
        bus_bits=bus_bits,
        activation_banks=8,
        activation_depth=8,
        weight_banks=8,
        weight_depth=8,
        result_depth=160,
    )


CHIPS = {"64": chip(64, 8), "128": chip(128, 2), "256": chip(256, 16), "one column": chip(64, 1)}


def bus_of(sizes: ChipSizes) -> Bus:
    """With so small a queue that the storer often waits."""
    return Bus(
        data_bits=sizes.bus_bits,
        address_bits=40,
        length_bits=24,
        burst_beats=4,
        queue_beats=8,
    )


class Top(Unit):
    """Collector, banks and storer before a write master.

    Store job k waits for collect job k, and collect job k + 2 for store job k: as a program says.
    """

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        self.module_name = "top"
        self.share = WriteShare(bus_of(sizes), 1, chunk_beats=4, queue_beats=8)
        self.collector, self.storer = Collector(sizes), Storer(sizes)
        kept = self.share.signature.members
        ports = {n: kept[n] for n in kept if not n.startswith(("command", "in_", "done"))}
        self._kept = list(ports)
        for name, unit in (("collect", self.collector), ("store", self.storer)):
            members = unit.signature.members
            ports |= {f"{name}_job_{x}": members[f"job_{x}"] for x in ("valid", "ready", "data")}
        for x in ("valid", "ready", "data"):
            ports[f"results_{x}"] = self.collector.signature.members[f"results_{x}"]
        super().__init__({**ports, "done": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        share, collector, storer = self.share, self.collector, self.storer
        banks = Results(self.sizes)
        parts = {"share": share, "collector": collector, "storer": storer, "banks": banks}
        for name, unit in parts.items():
            place(m, platform, name, unit)
        for name in self._kept:
            outer, inner = getattr(self, name), getattr(share, name)
            into = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if into else outer.eq(inner)
        collected, ahead, full = Signal(8), Signal(8), Signal(8)
        may_collect, may_store = Signal(), Signal()
        m.d.comb += [may_collect.eq(ahead != 2), may_store.eq(full != 0)]
        begins = storer.job_valid & storer.job_ready
        m.d.sync += [
            ahead.eq(ahead + (collector.job_valid & collector.job_ready) - storer.done),
            full.eq(full + collector.done - begins),
            collected.eq(collected + collector.done),
        ]
        for name, unit, may in (("collect", collector, may_collect), ("store", storer, may_store)):
            m.d.comb += [
                unit.job_valid.eq(getattr(self, f"{name}_job_valid") & may),
                unit.job_data.eq(getattr(self, f"{name}_job_data")),
                getattr(self, f"{name}_job_ready").eq(unit.job_ready & may),
            ]
        m.d.comb += [
            collector.results_valid.eq(self.results_valid),
            collector.results_data.eq(self.results_data),
            self.results_ready.eq(collector.results_ready),
            *(
                getattr(banks, f"write_{x}").eq(getattr(collector, f"write_{x}"))
                for x in ("enable", "at", "data")
            ),
            banks.read_enable.eq(storer.read_enable),
            banks.read_at.eq(storer.read_at),
            storer.read_data.eq(banks.read_data),
            share.command_valid.eq(storer.command_valid),
            share.command_data.eq(storer.command_data),
            storer.command_ready.eq(share.command_ready),
            share.in_valid.eq(storer.out_valid),
            share.in_data.eq(storer.out_data),
            storer.out_ready.eq(share.in_ready),
            storer.command_done.eq(share.done),
            self.done.eq(storer.done),
        ]
        return m


def random_results(rng: np.random.Generator, count: int) -> list[int]:
    """FP32 numbers of every kind, most of them in the range of FP16."""
    kinds = rng.integers(0, 4, count)
    usual = (rng.standard_normal(count) * 10.0 ** rng.integers(-8, 6, count)).astype(np.float32)
    bits = usual.view(np.uint32).copy()
    bits[kinds == 0] = rng.integers(0, 1 << 32, (kinds == 0).sum()).astype(np.uint32)
    special = np.array([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFFFFFFF], np.uint32)
    bits[kinds == 1] = rng.choice(special, (kinds == 1).sum())
    found: list[int] = bits.tolist()
    return found


def random_collect(rng: np.random.Generator, sizes: ChipSizes, half: int) -> dict[str, int]:
    """A collect job whose results lie in one half of the banks."""
    room = sizes.result_depth // 2
    inner = int(rng.integers(1, 9))
    last = int(rng.integers(1, inner + 1))
    slots = int(rng.integers(1, room // inner // 2 + 1))
    pitch = int(rng.integers(inner, room // slots // 2 + 1)) if slots > 1 else inner
    outer = int(rng.integers(1, min(4, room // (slots * pitch)) + 1))
    outer_pitch = int(rng.integers(slots * pitch, room // outer + 1))
    return {
        "outer": outer - 1,
        "inner": inner - 1,
        "inner_last": last - 1,
        "slots": slots - 1,
        "short_from": int(rng.integers(0, sizes.columns + 1)),
        "base": half * room + int(rng.integers(0, room - outer * outer_pitch + 1)),
        "pitch": pitch,
        "outer_pitch": outer_pitch,
    }


def results_of(sizes: ChipSizes, values: dict[str, int], column: int) -> int:
    """How many results a column gives."""
    slots = values["slots"] + (column < values["short_from"])
    return slots * (values["outer"] * (values["inner"] + 1) + values["inner_last"] + 1)


def random_store(
    rng: np.random.Generator, sizes: ChipSizes, half: int
) -> tuple[dict[str, int], dict[str, int]]:
    """A store job of one half of the banks; and the same with addresses from the memory's beginning
    on."""
    room = sizes.result_depth // 2
    while True:
        length = int(rng.choice([1, rng.integers(1, 2 * sizes.halves), rng.integers(1, 60)]))
        pitch = int(rng.integers(0, 30))
        most_slot = int(rng.integers(0, 5))
        rows = room - (length + (most_slot + 1) * sizes.columns) // sizes.columns * pitch
        if rows > 0:
            break
    segments = int(rng.integers(1, max(2, min(99, 600 // length))))
    total = length * segments
    runs = int(rng.choice([n for n in range(1, min(total, 40) + 1) if total % n == 0]))
    run = total // runs
    walk = random_nest(
        rng,
        row_walk(sizes),
        segments,
        {"row": rows, "n": (most_slot + 1) * sizes.columns},
        {"row": 1, "n": length},
    )
    values = row_walk(sizes).encode("segment_", moved(walk, row=half * room))
    values |= {"length": length - 1, "pitch": pitch, "run": run - 1}
    shape = memory_walk(sizes)
    memory = random_nest(rng, shape, runs, {"address": MEMORY - run}, {"address": run})
    walks = [shape.encode("memory_", moved(memory, address=base)) for base in (BASE // 2, 0)]
    return values | walks[0], values | walks[1]


WAITS = ("steady", "random:0.5", "bursts:5:20")


def random_cases(sizes: ChipSizes, count: int, jobs: int) -> list[MasterCase]:
    rng = np.random.default_rng(sizes.bus_bits)
    # What stands in the banks stays there from case to case.
    banks = np.zeros((sizes.columns, sizes.result_depth), np.uint16)
    cases = []
    for number in range(count):
        image = rng.integers(0, 1 << 16, MEMORY).astype(np.uint16)
        after = image.copy()
        lanes: list[list[int]] = [[] for _ in range(sizes.columns)]
        collects, stores = [], []
        for job in range(jobs):
            values = random_collect(rng, sizes, job % 2)
            given = [
                random_results(rng, results_of(sizes, values, column))
                for column in range(sizes.columns)
            ]
            collect(sizes, values, given, banks)
            collects.append(pack(collect_fields(sizes), values))
            for lane, results in zip(lanes, given, strict=True):
                lane += results
            values, here = random_store(rng, sizes, job % 2)
            store(sizes, here, banks, after)
            stores.append(pack(store_fields(sizes), values))
        waits = [WAITS[int(rng.integers(3))] for _ in range(4)]
        case = Case(
            name=f"{sizes.bus_bits}, {sizes.columns}: {number}",
            inputs={"collect_job": [collects], "store_job": [stores], "results": lanes},
            outputs={},
            jobs=jobs,
            limit=60_000,
            idle={"collect_job": waits[0], "store_job": waits[1], "results": waits[2]},
            seed=number,
        )
        channels = {"aw": waits[3], "w": "random:0.2", "b": waits[3]} if number % 2 else {}
        memory = MemoryCase(
            base=BASE, latency=int(rng.integers(1, 20)), channels=channels, seed=number
        )
        cases.append(MasterCase(case, memory, image.view(np.uint8), after.view(np.uint8)))
    return cases


def check(
    sizes: ChipSizes, cases: Sequence[MasterCase], folder: Path, sources: Any = None
) -> list[dict[str, Any]]:
    done = replay_masters(
        sources or modules(Top(sizes)), "top", bus_of(sizes), cases, folder=folder, tool="icarus"
    )
    results: list[dict[str, Any]] = done.results["cases"]
    for case, result in zip(cases, results, strict=True):
        assert differences(case, result) == [], case.case.name
        assert not result["state"]["error"], case.case.name
    return results


QUICK = ("64",)
"""Those that every run of the tests tries; `make test-slow` tries all."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in CHIPS]
)
def test_results_reach_memory_whatever_waits(name: str, tmp_path: Path) -> None:
    """And at full rate, where nothing does and a row is as wide as a word of the bus."""
    sizes = CHIPS[name]
    results = check(sizes, [*random_cases(sizes, 4, 6), whole_rows(sizes)], tmp_path)
    first, last = results[4]["given"]["results"]
    assert last - first == ROWS - 1
    if sizes.columns >= sizes.halves:
        moved = results[4]["moved"]["w"]
        assert moved[-1] - moved[0] == ROWS * sizes.columns // sizes.halves - 1


ROWS = 60


def whole_rows(sizes: ChipSizes) -> MasterCase:
    """Rows of all columns, as one run."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 1 << 16, MEMORY).astype(np.uint16)
    after = image.copy()
    zeros = dict.fromkeys((*collect_fields(sizes), *store_fields(sizes)), 0)
    given = [random_results(rng, ROWS) for _ in range(sizes.columns)]
    values = {**zeros, "inner_last": ROWS - 1, "short_from": sizes.columns}
    banks = np.zeros((sizes.columns, sizes.result_depth), np.uint16)
    collect(sizes, values, given, banks)
    collects = pack(collect_fields(sizes), values)
    rows = row_walk(sizes).encode("segment_", Nest({}, (Loop(ROWS, {"row": 1}),)))
    values = {**zeros, **rows, "length": sizes.columns - 1, "run": ROWS * sizes.columns - 1}
    store(sizes, values, banks, after)
    stores = pack(store_fields(sizes), {**values, "memory_start_address": BASE // 2})
    case = Case(
        name="whole rows",
        inputs={"collect_job": [[collects]], "store_job": [[stores]], "results": given},
        outputs={},
        jobs=1,
        limit=5000,
    )
    return MasterCase(case, MemoryCase(base=BASE), image.view(np.uint8), after.view(np.uint8))


CHANGES: dict[tuple[type[Unit], str], dict[str, tuple[str, str]]] = {
    (Column, "elaborate"): {
        "the last fold late": ("Mux(folds == 1, job", "Mux(folds == 0, job"),
        "the first slot alone is short": ("Mux(folds == 0, job", "Mux(0, job"),
        "slots of all columns alike": ('job["slots"] - self.fewer', 'job["slots"]'),
        "a column without results takes one": ('~self.fewer | (job["slots"] != 0)', "1"),
        "folds one behind the other": ("slot_at.eq(next_fold)", "slot_at.eq(next_slot)"),
    },
    (Collector, "elaborate"): {
        "one column more is short": (
            'fields["short_from"] <= number',
            'fields["short_from"] < number',
        ),
        "done before the last result": ("quiet.all()", "(~start)"),
        "places a cycle early": ("write, at = later, later_at", "write, at = later, at"),
    },
    (Rows, "elaborate"): {
        "columns begin again in the same slot": ("Mux(next_column[-1], next_at, at)", "at"),
        "slots without a pitch": ("slot * pitch", "slot"),
        "reads beyond a segment": ("Mux(ends, left, self.most - 1)", "self.most - 1"),
        "steps too long": ("left.eq(left - self.most)", "left.eq(left - self.most - 1)"),
    },
    (Storer, "_read"): {
        "a column more in the next slot": ('row["column"] > each', 'row["column"] >= each'),
        "read on while nothing goes on": ("self.read_enable.eq(step)", "self.read_enable.eq(1)"),
        "not turned": ('column.eq(row["column"])', "column.eq(0)"),
    },
    (Storer, "_pack"): {
        "runs a word longer": ("last.eq(left < halves)", "last.eq(left <= halves)"),
        "one run": ("Mux(last, run, left - halves)", "left - halves"),
    },
    (Storer, "elaborate"): {"done before the last answer": ("(left == 0)", "(left <= 1)")},
}
MUTANTS = {
    name: (*where, *each) for where, found in CHANGES.items() for name, each in found.items()
}


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Top(CHIPS["64"])))


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    tmp_path: Path,
) -> None:
    kind, method, old, new = MUTANTS[name]
    mutate(kind, method, old, new, monkeypatch)
    sizes = CHIPS["64"]
    # Those that never end would take long.
    cases = [with_options(case, limit=4000) for case in random_cases(sizes, 2, 6)]
    with pytest.raises((AssertionError, SimulationError)):
        check(sizes, cases, tmp_path, remake(sound, kind))
