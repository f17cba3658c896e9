"""Loaders against `load_activations` and `load_weights`: every piece, whatever memory does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.cases import MasterCase, differences, replay_masters, with_options
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.loader import Kind, Loader, target
from nofm.rtl.chip.pieces import Pieces
from nofm.rtl.chip.random_walks import moved, random_nest
from nofm.rtl.chip.regroup import Regroup
from nofm.rtl.chip.share import ReadShare
from nofm.rtl.chip.unpack import Unpack
from nofm.rtl.fields import pack
from nofm.rtl.hierarchy import Emitted, Unit, emitted, modules, place
from nofm.rtl.program.load import (
    compressed_halves,
    load_activations,
    load_weights,
    memory_walk,
    segment_walk,
)
from nofm.rtl.program.sizes import BLOCK, ChipSizes
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.tools.cocotb_runner import SimulationError, replay

KINDS: tuple[Kind, ...] = ("activations", "weights")
BASE = 0x12_3450_0000
MEMORY = 6144
"""FP16 elements of the memory."""


def chip(bus_bits: int, port: int, index_bits: int) -> ChipSizes:
    return ChipSizes(
        rows=3,
        columns=4,
        port=port,
        index_bits=index_bits,
        bus_bits=bus_bits,
        activation_banks=8,
        activation_depth=1024 // 8 // port,
        weight_banks=32,
        weight_depth=25,
        result_depth=16,
    )


CHIPS = {"64": chip(64, 8, 4), "128": chip(128, 2, 3), "512": chip(512, 4, 5)}


def bus_of(sizes: ChipSizes) -> Bus:
    return Bus(data_bits=sizes.bus_bits, address_bits=40, length_bits=24, burst_beats=4)


class Top(Unit):
    """Both loaders over one read master: streams of jobs in, streams of pieces out."""

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        self.module_name = "top"
        self.share = ReadShare(bus_of(sizes), 2, chunk_beats=4, queue_beats=16)
        self.loaders = {kind: Loader(sizes, kind) for kind in KINDS}
        kept = self.share.signature.members
        ports = {name: kept[name] for name in kept if not name.startswith(("command", "out"))}
        self._kept = list(ports)
        for kind, loader in self.loaders.items():
            members = loader.signature.members
            ports |= {f"{kind}_job_{x}": members[f"job_{x}"] for x in ("valid", "ready", "data")}
            width = sum(piece_fields(sizes, kind).values())
            for name, bits in (("write", width), ("ended", 1)):
                ports[f"{kind}_{name}_valid"] = Out(1)
                ports[f"{kind}_{name}_ready"] = In(1)
                ports[f"{kind}_{name}_data"] = Out(bits)
        super().__init__({**ports, "done": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        share = self.share
        place(m, platform, "share", share)
        for name in self._kept:
            outer, inner = getattr(self, name), getattr(share, name)
            into = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if into else outer.eq(inner)
        for number, (kind, loader) in enumerate(self.loaders.items()):
            place(m, platform, kind, loader)
            word = share.out_data.word_select(number, len(share.out_data) // 2)
            m.d.comb += [
                loader.job_valid.eq(getattr(self, f"{kind}_job_valid")),
                loader.job_data.eq(getattr(self, f"{kind}_job_data")),
                getattr(self, f"{kind}_job_ready").eq(loader.job_ready),
                share.command_valid[number].eq(loader.command_valid),
                share.command_data.word_select(number, len(share.command_data) // 2).eq(
                    loader.command_data
                ),
                loader.command_ready.eq(share.command_ready[number]),
                loader.in_valid.eq(share.out_valid[number]),
                loader.in_data.eq(word),
                share.out_ready[number].eq(loader.in_ready),
                getattr(self, f"{kind}_write_valid").eq(loader.write_valid),
                getattr(self, f"{kind}_write_data").eq(
                    Cat(loader.write_at, loader.write_count, loader.write_skew, loader.write_data)
                ),
                getattr(self, f"{kind}_ended_valid").eq(loader.done & ~loader.busy),
            ]
        return m


def piece_fields(sizes: ChipSizes, kind: Kind) -> dict[str, int]:
    to = target(sizes, kind)
    return {
        "at": to.address_bits,
        "count": (sizes.halves - 1).bit_length(),
        "skew": 1,
        **{f"data{i}": to.element_bits for i in range(sizes.halves)},
    }


Job = tuple[dict[str, int], dict[str, int]]


def random_job(rng: np.random.Generator, sizes: ChipSizes, kind: Kind) -> Job:
    """Values of a job's fields, and the same with addresses from the memory's beginning on."""
    to = target(sizes, kind)
    length = int(rng.choice([1, rng.integers(1, 2 * sizes.halves), rng.integers(1, 120)]))
    segments = int(rng.integers(1, max(2, min(40, 300 // length))))
    total = length * segments
    runs = int(rng.choice([n for n in range(1, min(total, 40) + 1) if total % n == 0]))
    kept = run = total // runs
    values: dict[str, int] = {"skew": int(rng.integers(2))}
    if kind == "weights":
        compressed = int(rng.random() < 0.8)
        bits = int(rng.integers(1, sizes.index_bits + 1))
        if compressed:
            run = compressed_halves(kept, bits)
        else:
            # It then says nothing.
            kept = int(rng.integers(1, 100))
        values |= {"compressed": compressed, "index_bits": bits, "kept": kept - 1}
    segment = random_nest(
        rng, segment_walk(to.address_bits), segments, {"to": 800 - length}, {"to": length}
    )
    values |= segment_walk(to.address_bits).encode("segment_", segment)
    values |= {"length": length - 1, "run": run - 1}
    shape = memory_walk(sizes)
    memory = random_nest(rng, shape, runs, {"address": MEMORY - run}, {"address": run})
    walks = [shape.encode("memory_", moved(memory, address=base)) for base in (BASE // 2, 0)]
    return values | walks[0], values | walks[1]


def load(sizes: ChipSizes, kind: Kind, values: Mapping[str, int], memory: Any, buffer: Any) -> None:
    (load_activations if kind == "activations" else load_weights)(sizes, values, memory, buffer)


def pieces(
    sizes: ChipSizes, kind: Kind, values: Mapping[str, int], memory: Any
) -> tuple[list[int], list[int]]:
    """What a loader must write, and the bits that count; put in place, it is what `load` does."""
    to = target(sizes, kind)
    kind_of = np.uint16 if kind == "activations" else np.uint32
    length = values["length"] + 1
    starts = [each["to"] for each in segment_walk(to.address_bits).passes("segment_", values)]
    # All elements, as one segment of a buffer that is as long.
    data = np.zeros(length * len(starts), kind_of)
    whole = {**values, "segment_total": 0, "segment_start_to": 0, "length": len(data) - 1}
    load(sizes, kind, whole, memory, data)
    fields = piece_fields(sizes, kind)
    buffer, wanted = np.zeros(4096, kind_of), np.zeros(4096, kind_of)
    words, cares, at = [], [], 0
    for start in starts:
        end = start + length
        while start < end:
            stop = min(end, (start // sizes.halves + 1) * sizes.halves)
            count = stop - start
            piece = {f"data{i}": int(data[at + i]) if i < count else 0 for i in range(sizes.halves)}
            care = {name: 0 if name[4:] and int(name[4:]) >= count else ~0 for name in piece}
            piece |= {"at": start, "count": count - 1, "skew": values["skew"]}
            words.append(pack(fields, piece))
            mask = {name: care.get(name, ~0) & (1 << width) - 1 for name, width in fields.items()}
            cares.append(pack(fields, mask))
            buffer[start:stop] = data[at : at + count]
            start, at = stop, at + count
    load(sizes, kind, values, memory, wanted)
    assert np.array_equal(buffer, wanted)
    return words, cares


def random_cases(sizes: ChipSizes, count: int, jobs: int) -> list[MasterCase]:
    rng = np.random.default_rng(sizes.bus_bits)
    image = rng.integers(0, 1 << 16, MEMORY).astype(np.uint16)
    cases = []
    for number in range(count):
        inputs, outputs, cares = {}, {}, {}
        for kind in KINDS:
            todo = [random_job(rng, sizes, kind) for _ in range(jobs)]
            found = [pieces(sizes, kind, values, image) for _, values in todo]
            inputs[f"{kind}_job"] = [[pack(target(sizes, kind).fields, job) for job, _ in todo]]
            outputs[f"{kind}_write"] = [[word for words, _ in found for word in words]]
            cares[f"{kind}_write"] = [[care for _, masks in found for care in masks]]
            outputs[f"{kind}_ended"] = [[0] * jobs]
        waits = ["steady", "random:0.5", "bursts:5:20"]
        case = Case(
            name=f"{sizes.bus_bits}: {number}",
            inputs=inputs,
            outputs=outputs,
            cares=cares,
            jobs=0,
            limit=60_000,
            idle={f"{kind}_job": waits[int(rng.integers(3))] for kind in KINDS},
            seed=number,
        )
        channels = {name: waits[int(rng.integers(3))] for name in ("ar", "r")} if number % 2 else {}
        memory = MemoryCase(
            base=BASE, latency=int(rng.integers(1, 30)), channels=channels, seed=number
        )
        cases.append(MasterCase(case, memory, image.view(np.uint8), image.view(np.uint8)))
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


QUICK = ("512",)
"""Those that every run of the tests tries; `make test-slow` tries all."""


@pytest.mark.parametrize(
    "bus_bits", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in CHIPS]
)
def test_every_piece_whatever_memory_does(bus_bits: str, tmp_path: Path) -> None:
    sizes = CHIPS[bus_bits]
    check(sizes, random_cases(sizes, 3, 8), tmp_path)


TAKEN = 2
"""The cycle of the bench in which the first job is taken."""


class Alone(Unit):
    """A loader whose words come as a stream of their own."""

    def __init__(self, sizes: ChipSizes, kind: Kind) -> None:
        self.module_name = "alone"
        self.loader = Loader(sizes, kind)
        ports = self.loader.signature.members
        self._kept = [name for name in ports if name.startswith(("job", "in", "command", "done"))]
        write = {"write_valid": Out(1), "write_ready": In(1), "write_data": Out(1)}
        super().__init__({**{name: ports[name] for name in self._kept}, **write})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        place(m, platform, "loader", self.loader)
        for name in self._kept:
            outer, inner = getattr(self, name), getattr(self.loader, name)
            into = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if into else outer.eq(inner)
        m.d.comb += self.write_valid.eq(self.loader.write_valid)
        return m


def plain_job(
    sizes: ChipSizes,
    kind: Kind,
    runs: int,
    run: int,
    segments: int,
    length: int,
    to: int,
    **more: int,
) -> dict[str, int]:
    """Runs and segments one behind the other."""
    walk, memory = segment_walk(target(sizes, kind).address_bits), memory_walk(sizes)
    return {
        **walk.encode("segment_", Nest({"to": to}, (Loop(segments, {"to": length}),))),
        **memory.encode("memory_", Nest({}, (Loop(runs, {"address": run}),))),
        "length": length - 1,
        "run": run - 1,
        "skew": 0,
        **({"compressed": 0, "index_bits": 0, "kept": 0} if kind == "weights" else {}),
        **more,
    }


def cycles(
    sizes: ChipSizes, kind: Kind, jobs: Sequence[dict[str, int]], folder: Path
) -> list[tuple[int, int, int]]:
    """Words and pieces of jobs, and the cycles that each takes where words never lack."""
    cases, sums = [], []
    for values in jobs:
        runs, run = values["memory_total"] + 1, values["run"] + 1
        starts = segment_walk(target(sizes, kind).address_bits).passes("segment_", values)
        words = runs * -(-run // sizes.halves)
        found = 0
        for each in starts:
            low = each["to"] % sizes.halves
            found += -(-(low + values["length"] + 1) // sizes.halves)
        ends = [
            run % sizes.halves or sizes.halves if k == 0 else sizes.halves
            for k in range(-(-run // sizes.halves))
        ][::-1]
        given = [(count - 1) << sizes.bus_bits for count in ends] * runs
        commands = [
            each["address"] | values["run"] << sizes.memory_bits
            for each in memory_walk(sizes).passes("memory_", values)
        ]
        cases.append(
            Case(
                name=str(values),
                inputs={"job": [[pack(target(sizes, kind).fields, values)]], "in": [given]},
                outputs={"command": [commands], "write": [[0] * found]},
                jobs=1,
                limit=5000,
            )
        )
        sums.append((words, found))
    top = Alone(sizes, kind)
    done = replay(modules(top), "alone", cases, folder=folder, tool="icarus").results["cases"]
    for case, result in zip(cases, done, strict=True):
        assert result["bit_exact"], (case.name, result["error"], result["differences"])
    return [(*sum_, each["jobs"][0]["done_cycle"]) for sum_, each in zip(sums, done, strict=True)]


def test_activations_take_a_cycle_for_each_piece(tmp_path: Path) -> None:
    """Where runs are whole words; and one for each word, where these are more."""
    sizes, h = CHIPS["128"], 8
    jobs = [
        plain_job(sizes, "activations", 1, 40 * h, 10, 4 * h, 0),
        plain_job(sizes, "activations", 8, 4 * h, 4, 8 * h, 0),
        plain_job(sizes, "activations", 1, 21 * h, 21, h, 3),
        plain_job(sizes, "activations", 1, 12 * h, 32, 3, 1),
        plain_job(sizes, "activations", 1, 40, 40, 1, 5),
        plain_job(sizes, "activations", 1, 40, 1, 40, 5),
        plain_job(sizes, "activations", 1, 1, 1, 1, 0),
    ]
    found = cycles(sizes, "activations", jobs, tmp_path / "pieces")
    assert {done - pieces for _, pieces, done in found} == {TAKEN + Loader.piece_cycles}
    jobs = [
        plain_job(sizes, "activations", 64, 1, 2, 32, 0),
        plain_job(sizes, "activations", 40, 3, 5, 24, 0),
        plain_job(sizes, "activations", 16, h + 1, 18, h, 0),
    ]
    found = cycles(sizes, "activations", jobs, tmp_path / "words")
    # The last job's words come so early that they must wait for the first piece.
    spare = [done - words - TAKEN - Loader.word_cycles for words, _, done in found]
    assert spare == [0, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("bus_bits", ["64", "512"])
def test_kept_elements_take_a_cycle_for_each_word(bus_bits: str, tmp_path: Path) -> None:
    """The bus is what limits kept elements; the last block's pieces follow its last word."""
    sizes = CHIPS[bus_bits]
    jobs = []
    for bits in range(1, sizes.index_bits + 1):
        for runs, kept in ((1, 256), (2, 128), (1, 272)):
            more = {"compressed": 1, "index_bits": bits, "kept": kept - 1}
            run = compressed_halves(kept, bits)
            jobs.append(plain_job(sizes, "weights", runs, run, 1, runs * kept, 0, **more))
    # And values alone.
    jobs += [plain_job(sizes, "weights", runs, 320, 1, runs * 320, 0) for runs in (1, 2)]
    found = cycles(sizes, "weights", jobs, tmp_path)
    left = max(0, BLOCK // sizes.halves - 1)
    spare = {done - words - TAKEN - Loader.unpack_cycles - left for words, _, done in found}
    assert spare == {0} if sizes.halves <= BLOCK else spare <= {0, 1, 2}


CHANGES: dict[tuple[type[Unit], str], dict[str, tuple[str, str]]] = {
    (Regroup, "_take"): {
        "groups come without room": (
            "self.in_ready.eq(~(room < self.most_in))",
            "self.in_ready.eq(1)",
        ),
        "one row for all lanes": ("over[lane].eq(~at_less[lane + 1])", "over[lane].eq(0)"),
        "not turned": ("back.eq(-at[:low_bits])", "back.eq(0)"),
    },
    (Regroup, "_give"): {
        "groups leave an element early": ("level > self.size_count", "level >= self.size_count"),
        "one row read of all lanes": ("at[low_bits:] + ~at_less[lane + 1]", "at[low_bits:]"),
        "not turned back": ("low.eq(at[:low_bits])", "low.eq(0)"),
    },
    (Pieces, "elaborate"): {
        "segments an element longer": ("ends.eq(left <= space)", "ends.eq(left < space)"),
        "pieces beyond a segment": ("Mux(ends, left[:low_bits], space)", "space"),
        "pieces across a multiple": ("space.eq(~at[:low_bits])", "space.eq(-1)"),
        "each segment as the last": ('piece["last"].eq(ends & last)', 'piece["last"].eq(ends)'),
    },
    (Unpack, "elaborate"): {
        "fewer words of the last block's indices": ("((tail + 1) * self", "(tail * self"),
        "a block more": ("Mux(last, before, blocks", "Mux(last, before + 1, blocks"),
        "a run goes on": ("last.eq(blocks == 0)", "last.eq(blocks == 1)"),
    },
    (Unpack, "_kept"): {
        "values of a last block as of a whole one": (
            "Mux(last, tail_words, self",
            "Mux(0, 0, self",
        ),
        "all indices as the first": ("block[i * bits :", "block[0 :"),
    },
    (Loader, "_take"): {
        "indices where there are none": (
            'Mux(compressed, given["index_bits"], 0)',
            'given["index_bits"]',
        ),
        "kept elements of a plain run": (
            'Mux(compressed, given["kept"], given["run"])',
            'given["kept"]',
        ),
    },
    (Loader, "_ask"): {
        "commands of one element": ('command["length"].eq(run)', 'command["length"].eq(0)')
    },
    (Loader, "elaborate"): {
        "skew of no job": ('self.write_skew.eq(given["skew"])', "self.write_skew.eq(0)"),
        "done with every piece": (
            "elements.out_valid & elements.out_with[-1]",
            "elements.out_valid",
        ),
    },
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
    cases = [with_options(case, limit=6000) for case in random_cases(sizes, 2, 8)]
    with pytest.raises((AssertionError, SimulationError)):
        check(sizes, cases, tmp_path, remake(sound, kind))
