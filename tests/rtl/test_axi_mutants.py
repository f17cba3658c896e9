"""The proof of the masters proves something: each of these broken ones is caught.

Only the unit that is broken is emitted again; cases and checks are those of the sound masters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.rtl.axi import first_error, ports
from nofm.rtl.axi.bursts import Bursts
from nofm.rtl.axi.bus import Bus, Command
from nofm.rtl.axi.cases import MasterCase, differences, read_case, replay_masters, write_case
from nofm.rtl.axi.queue import Queue
from nofm.rtl.axi.read_align import ReadAlign
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.write_align import WriteAlign
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.tools.cocotb_runner import SimulationError

BUS = Bus(data_bits=64, burst_beats=4, outstanding=3, queue_beats=8, length_bits=16)
BASE = 0x1000
SIZE = 0x2000

Mutant = tuple[type[Unit], str, str, str]

BOTH: dict[str, Mutant] = {
    "bursts cross 4 KiB": (Bursts, "elaborate", "place.eq(0)", "place.eq(1)"),
    "first burst is as long as any": (
        Bursts,
        "elaborate",
        "last_place, ones) - place)",
        "last_place, ones))",
    ),
    "address goes on by half a burst": (
        Bursts,
        "elaborate",
        "Cat(Const(0, bus.size), place, window)",
        "Cat(Const(0, bus.size - 1), place, window)",
    ),
    "a burst too few": (Bursts, "elaborate", "last.eq(left == 0)", "last.eq(left <= 1)"),
    "a full queue takes words": (Queue, "elaborate", "level != self.depth", "1"),
}
READS: dict[str, Mutant] = {
    "an outstanding read is lost": (ReadMaster, "_ask", "under_way != bus.outstanding", "1"),
    "an outstanding read is never over": (
        ReadMaster,
        "_ask",
        "asked - came",
        "asked",
    ),
    "asked for without room": (ReadMaster, "_ask", "~(room < bus.burst_beats)", "(room != 0)"),
    "room for a beat too many": (
        ReadMaster,
        "_ask",
        "[: bus.place_bits] + 1, 0)",
        "[: bus.place_bits], 0)",
    ),
    "a word is ready before its rest": (
        ReadAlign,
        "elaborate",
        'whole.eq((now["offset"] == 0) |',
        "whole.eq(1 |",
    ),
    "the rest of a run is dropped": (
        ReadAlign,
        "elaborate",
        "m.d.sync += rest.eq(1)",
        "m.d.sync += rest.eq(0)",
    ),
    "the rest is overwritten": (
        ReadAlign,
        "elaborate",
        "Mux(fills, ~rest | self.word_ready,",
        "Mux(fills, 1,",
    ),
    "lanes behind the end are not 0": (
        ReadAlign,
        "elaborate",
        "~(last & tail_less[lane])",
        "(rest | ~rest)",
    ),
    "one lane of the next word": (
        ReadAlign,
        "elaborate",
        "offset_less[bus.lanes - lane]",
        "offset_less[bus.lanes - 1 - lane]",
    ),
    "zeros are read": (ReadAlign, "elaborate", "Mux(zero, 0, beat)", "beat"),
    "tag of the next command": (
        ReadAlign,
        "elaborate",
        'Mux(rest, held_tag, now["tag"])',
        'now["tag"]',
    ),
    "error of the beat behind": (
        ReadAlign,
        "elaborate",
        "self.failed_address[bus.size :].eq(at)",
        "self.failed_address[bus.size :].eq(at + 1)",
    ),
    "busy no more too early": (ReadMaster, "_count", "inside != 0", "inside > 1"),
}
WRITES: dict[str, Mutant] = {
    "WLAST one early": (
        WriteAlign,
        "elaborate",
        "final | at.all()",
        "final | (at == (1 << bus.place_bits) - 2)",
    ),
    "WLAST of the command only": (WriteAlign, "elaborate", "final | at.all()", "final"),
    "strobes of the last word": (
        WriteAlign,
        "elaborate",
        '~(now["last"] & tail_less[lane])',
        '~(now["last"] & tail_less[min(lane + 1, bus.lanes - 1)])',
    ),
    "strobes of the first word": (WriteAlign, "elaborate", '(~now["first"] | here)', "1"),
    "the rest of a word is dropped": (
        WriteAlign,
        "elaborate",
        "needs.eq(~(final & spills))",
        "needs.eq(1)",
    ),
    "turned the other way": (WriteAlign, "elaborate", "back.eq(-offset)", "back.eq(offset)"),
    "asked for before all of it is there": (WriteMaster, "_ask", "(whole != 0)", "1"),
    "beats before their address": (
        WriteMaster,
        "_ask",
        "((ahead > 1) | ((ahead == 1) & self.m_axi_awvalid))",
        "1",
    ),
    "done with any burst": (
        WriteMaster,
        "_answer",
        "self.m_axi_bready & last)",
        "self.m_axi_bready)",
    ),
    "tag of the command behind": (
        WriteMaster,
        "_ask",
        "Cat(bursts.command_ready, tag,",
        "Cat(bursts.command_ready, tag + 1,",
    ),
    "an answer is lost": (
        WriteMaster,
        "_answer",
        "answers.out_ready.eq(self.m_axi_bvalid)",
        "answers.out_ready.eq(self.m_axi_bvalid & ~answers.in_valid)",
    ),
}


def commands(zeros: bool) -> list[Command]:
    """Few, but they start and end everywhere, around 4 KiB too."""
    runs = [
        *((0xFF2, 0x20), (0xFE0, 0x60), (0x4, 2), (0x6, 4), (0x8, 8), (0x100, 64), (0x132, 70)),
        *((0xFFE, 2), (0x1000, 16), (0x1006, 10), (0x1FE, 40), (0x27E, 6), (0x2A4, 90)),
    ]
    found = [
        Command(address=BASE + at, length_bytes=length, tag=number % 16)
        for number, (at, length) in enumerate(runs)
    ]
    if zeros:
        found[5:5] = [Command(address=BASE + 6, length_bytes=22, tag=15, zero=True)]
    return found


FAULTS = [(0x2006, 0x2009, 2), (0x2020, 0x2040, 3)]


def memories() -> list[MemoryCase]:
    channels = {"ar": "random:0.6", "r": "random:0.7", "aw": "random:0.4", "w": "random:0.6"}
    channels["b"] = "random:0.4"
    return [
        MemoryCase(base=BASE),
        MemoryCase(base=BASE, latency=14, channels=channels, seed=3),
        MemoryCase(base=BASE, latency=3, channels=channels, errors=FAULTS, seed=4),
    ]


PAUSES = ("steady", "bursts:3:9", "steady")


def read_cases() -> list[MasterCase]:
    image = np.random.default_rng(1).integers(1, 256, SIZE, np.uint8)
    return [
        *(
            read_case("", BUS, commands(True), memory, image, limit=900, backpressure={"out": out})
            for memory, out in zip(memories(), PAUSES, strict=True)
        ),
    ]


def write_cases() -> list[MasterCase]:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, SIZE, np.uint8)
    runs = commands(False)
    data = [rng.integers(0, 256, run.length_bytes, np.uint8) for run in runs]
    cases = [
        write_case("", BUS, runs, memory, image, data, limit=900, idle={"in": idle})
        for memory, idle in zip(memories()[:2], PAUSES, strict=False)
    ]
    runs = [Command(address=at, length_bytes=16) for at in (0x2000, 0x2020)]
    failing = write_case("", BUS, runs, memories()[2], image, [image[:16]] * 2, limit=900)
    failing.after[:] = image
    return [*cases, failing]


def faults(sources: dict[str, str], top: Unit, folder: Path) -> list[str]:
    cases = read_cases() if isinstance(top, ReadMaster) else write_cases()
    try:
        done = replay_masters(
            sources, top.module_name, BUS, cases, folder=folder, tool="icarus"
        ).results["cases"]
    except SimulationError as error:
        return [str(error)]
    found = [
        text for case, result in zip(cases, done, strict=True) for text in differences(case, result)
    ]
    state = done[-1]["state"]
    told = (state["error"], state["error_response"], state["error_address"])
    # The beat that fails first, of commands in order; the burst.
    if told != (1, 2, 0x2000):
        found.append(f"the error is told as {told}")
    if not done[-1]["cleared"]:
        found.append("the error stays")
    if max(each["most_reads"] + each["most_writes"] for each in done) < BUS.outstanding:
        found.append("fewer bursts under way than there may be")
    return found


QUICK = (
    "bursts cross 4 KiB",
    "an outstanding read is never over",
    "asked for without room",
    "WLAST one early",
    "strobes of the last word",
)
"""Those that every run of the tests tries; `make test-slow` tries all."""


def marked(names: list[str]) -> list[Any]:
    return [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in names]


@pytest.fixture(scope="module")
def sound_read() -> list[Emitted]:
    return list(emitted(ReadMaster(BUS)))


@pytest.fixture(scope="module")
def sound_write() -> list[Emitted]:
    return list(emitted(WriteMaster(BUS)))


@pytest.mark.parametrize("kind", [ReadMaster, WriteMaster])
def test_the_sound_masters_pass(
    kind: Any, sound_read: list[Emitted], sound_write: list[Emitted], tmp_path: Path
) -> None:
    sound = sound_read if kind is ReadMaster else sound_write
    texts = {each.unit.module_name: each.verilog for each in sound}
    assert faults(texts, kind(BUS), tmp_path) == []


@pytest.mark.parametrize("name", marked([*BOTH, *READS]))
def test_a_read_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound_read: list[Emitted],
    tmp_path: Path,
) -> None:
    kind, *change = {**BOTH, **READS}[name]
    mutate(kind, *change, monkeypatch)
    assert faults(remake(sound_read, kind), ReadMaster(BUS), tmp_path)


@pytest.mark.parametrize("name", marked([*WRITES]))
def test_a_write_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound_write: list[Emitted],
    tmp_path: Path,
) -> None:
    kind, *change = WRITES[name]
    mutate(kind, *change, monkeypatch)
    assert faults(remake(sound_write, kind), WriteMaster(BUS), tmp_path)


@pytest.mark.parametrize(
    ("module", "name", "old", "new"),
    [
        (first_error, "keep_first_error", "~unit.error | unit.clear_error", "1"),
        pytest.param(
            *(first_error, "keep_first_error", "unit.error.eq(0)", "unit.error.eq(1)"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(ports, "_address", "init=bus.size", "init=bus.size - 1"), marks=pytest.mark.slow
        ),
        pytest.param(*(ports, "_address", "init=INCREMENTING", "init=0"), marks=pytest.mark.slow),
    ],
)
def test_a_mutant_of_the_ports_is_caught(
    module: Any,
    name: str,
    old: str,
    new: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    tmp_path: Path,
) -> None:
    mutate(module, name, old, new, monkeypatch)
    top = WriteMaster(BUS)
    assert faults({each.unit.module_name: each.verilog for each in emitted(top)}, top, tmp_path)
