"""Masters against a memory: every byte where it belongs, whatever waits, and in the cycles stated.

The bench's checker watches the AXI ports in every cycle of every case.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import PAGE_BYTES, Bus, Command
from nofm.rtl.axi.cases import (
    Bytes,
    MasterCase,
    differences,
    read_case,
    replay_masters,
    write_case,
)
from nofm.rtl.axi.queue import Queue
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.hierarchy import modules

SMALL = Bus(data_bits=64, burst_beats=4, outstanding=3, queue_beats=12, length_bits=16)
BUSES = {
    "64": SMALL,
    "128": Bus(burst_beats=256, outstanding=2, queue_beats=256, granule_bytes=1, address_bits=40),
    "256": Bus(data_bits=256, burst_beats=2, outstanding=32, queue_beats=33, granule_bytes=4),
    "512": Bus(data_bits=512, burst_beats=8, outstanding=1, queue_beats=8, address_bits=32),
}
BASE = 0xFFF0_0000
PAGES = 4
SIZE = PAGES * PAGE_BYTES


def lengths(bus: Bus, beats: int) -> Iterator[tuple[int, int]]:
    """Where in the memory a run begins, and how long it is: at random, in tiny pieces, and around
    multiples of 4 KiB."""
    rng = np.random.default_rng(beats)
    granule = bus.granule_bytes
    while True:
        length = granule * int(
            rng.choice([1, rng.integers(1, 2 * bus.lanes + 1), rng.integers(1, beats * bus.lanes)])
        )
        start = int(rng.integers(0, SIZE))
        if rng.random() < 0.5:
            edge = PAGE_BYTES * int(rng.integers(1, PAGES))
            start = edge - int(rng.integers(0, length + 2 * bus.data_bytes))
        yield min(max(0, start), SIZE - length) // granule * granule, length


def commands(bus: Bus, count: int, beats: int, zeros: float = 0.0) -> list[Command]:
    """Random ones, of up to `beats` beats."""
    rng = np.random.default_rng(count)
    return [
        Command(
            address=BASE + start,
            length_bytes=length,
            tag=int(rng.integers(1 << bus.tag_bits)),
            zero=bool(rng.random() < zeros),
        )
        for (start, length), _ in zip(lengths(bus, beats), range(count), strict=False)
    ]


def image(seed: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)


def reads(name: str, bus: Bus, runs: Sequence[Command], memory: Any, **options: Any) -> MasterCase:
    options.setdefault("limit", 20_000)
    return read_case(name, bus, runs, MemoryCase(base=BASE, **memory), image(1), **options)


def writes(name: str, bus: Bus, runs: Sequence[Command], memory: Any, **options: Any) -> MasterCase:
    options.setdefault("limit", 20_000)
    rng = np.random.default_rng(2)
    data = [rng.integers(0, 256, run.length_bytes, np.uint8) for run in runs]
    return write_case(name, bus, runs, MemoryCase(base=BASE, **memory), image(1), data, **options)


def bursts(bus: Bus, run: Command) -> list[int]:
    """Beats of each burst: as many as there are up to the next multiple of the longest."""
    at = run.address // bus.data_bytes
    end = -(-(run.address + run.length_bytes) // bus.data_bytes)
    found = []
    while at < end:
        beats = min(end - at, bus.burst_beats - at % bus.burst_beats)
        found.append(beats)
        at += beats
    return found


@functools.cache
def verilog(kind: type[ReadMaster] | type[WriteMaster], bus: Bus) -> dict[str, str]:
    return modules(kind(bus))


def check(
    kind: type[ReadMaster] | type[WriteMaster],
    bus: Bus,
    cases: Sequence[MasterCase],
    folder: Path,
    **options: Any,
) -> list[dict[str, Any]]:
    top = kind(bus)
    options.setdefault("tool", "icarus")
    # What one test has built, the others find.
    options["builds"] = folder.parent / "axi-builds"
    run = replay_masters(verilog(kind, bus), top.module_name, bus, cases, folder=folder, **options)
    results: list[dict[str, Any]] = run.results["cases"]
    for case, result in zip(cases, results, strict=True):
        assert differences(case, result) == [], case.case.name
        if not case.memory.errors:
            assert not result["state"]["error"], case.case.name
    return results


def check_done(bus: Bus, runs: Sequence[Command], result: dict[str, Any]) -> None:
    """`done` comes in the cycle after memory's answer to the command's last burst."""
    ends = itertools.accumulate(len(bursts(bus, run)) for run in runs)
    answered = result["moved"]["b"]
    assert len(answered) == len(result["asked"]["aw"])
    said = [job["done_cycle"] for job in result["jobs"]]
    assert said == [answered[end - 1] + 1 for end in ends]


PAUSES = ("steady", "random:0.4")


def test_reads_whatever_waits(tmp_path: Path) -> None:
    """Idle cycles and backpressure on every channel, in every combination, at several latencies."""
    cases = []
    runs = commands(SMALL, 14, 12, zeros=0.2)
    for number, pauses in enumerate(itertools.product(PAUSES, repeat=4)):
        command, out, ar, r = pauses
        memory = {"latency": (1, 2, 9)[number % 3], "channels": {"ar": ar, "r": r}, "seed": number}
        options = {"idle": {"command": command}, "backpressure": {"out": out}, "seed": number}
        cases.append(reads(f"{pauses}", SMALL, runs, memory, **options))
    cases.append(
        reads(
            *(
                "bursts of pauses",
                SMALL,
                runs,
                {"channels": {"ar": "bursts:1:9", "r": "bursts:9:5"}},
            ),
            backpressure={"out": "bursts:3:11"},
        )
    )
    results = check(ReadMaster, SMALL, cases, tmp_path)
    asked = sum(len(bursts(SMALL, run)) for run in runs if not run.zero)
    assert {len(result["asked"]["ar"]) for result in results} == {asked}
    assert max(result["most_reads"] for result in results) == SMALL.outstanding


def test_writes_whatever_waits(tmp_path: Path) -> None:
    cases = []
    runs = commands(SMALL, 12, 12)
    for number, pauses in enumerate(itertools.product(PAUSES, repeat=5)):
        command, words, aw, w, b = pauses
        channels = {"aw": aw, "w": w, "b": b}
        memory = {"latency": (1, 2, 9)[number % 3], "channels": channels, "seed": number}
        options = {"idle": {"command": command, "in": words}, "seed": number}
        cases.append(writes(f"{pauses}", SMALL, runs, memory, **options))
    results = check(WriteMaster, SMALL, cases, tmp_path)
    for result in results:
        check_done(SMALL, runs, result)
    assert max(result["most_writes"] for result in results) == SMALL.outstanding


@pytest.mark.parametrize(
    "name",
    [
        "128",
        pytest.param("256", marks=pytest.mark.slow),
        pytest.param("512", marks=pytest.mark.slow),
    ],
)
def test_every_width(name: str, tmp_path: Path) -> None:
    """Other widths, granules and lengths of bursts, and queues in block memory."""
    bus = BUSES[name]
    most = min(80, SIZE // bus.data_bytes // 2)
    channels = {"r": "random:0.8", "aw": "random:0.3", "b": "bursts:1:4"}
    memories = [{}, {"latency": 30, "channels": channels}]
    runs = commands(bus, 12, most, zeros=0.1)
    check(
        *(ReadMaster, bus, [reads("", bus, runs, memory) for memory in memories], tmp_path),
        name="reads",
    )
    runs = commands(bus, 11, most)
    cases = [writes("", bus, runs, memory) for memory in memories]
    for result in check(WriteMaster, bus, cases, tmp_path, name="writes"):
        check_done(bus, runs, result)


def test_reset_in_the_middle(tmp_path: Path) -> None:
    """The memory forgets with the master; nothing of before comes after."""
    ats = (3, 7, 12, 19, 33, 48)
    channels = {"r": "random:0.6", "w": "random:0.6", "b": "random:0.3"}
    memories = [{"latency": at % 5 + 1, "channels": channels, "seed": at} for at in ats]
    runs = commands(SMALL, 9, 12, zeros=0.2)
    cases = [
        reads("", SMALL, runs, memory, reset_at=at)
        for at, memory in zip(ats, memories, strict=True)
    ]
    check(ReadMaster, SMALL, cases, tmp_path, name="reads")
    runs = commands(SMALL, 8, 12)
    cases = [
        writes("", SMALL, runs, memory, reset_at=at)
        for at, memory in zip(ats, memories, strict=True)
    ]
    check(WriteMaster, SMALL, cases, tmp_path, name="writes")


FAULTS = [
    [(0x1000, 0x1008, 2)],
    [(0x1018, 0x1019, 3), (0x0, 0x1000, 2)],
    [(0x2000, 0x3000, 3), (0x1FF8, 0x2000, 1)],
    [(0x1000, 0x4000, 1)],
]
"""Offsets and responses; EXOKAY (1) is no error."""


def faulty(runs: Sequence[Command], errors: Any, size: int) -> Iterator[tuple[int, int]]:
    """Address and response of the pieces of `size` bytes, in order, that memory fails at."""
    for run in runs:
        for piece in range(run.address // size * size, run.address + run.length_bytes, size):
            hits = (code for low, high, code in errors if low < piece + size and piece < high)
            if (code := next(hits, 0)) > 1:
                yield piece, code


def test_read_errors_are_told_and_end_the_command(tmp_path: Path) -> None:
    runs = [
        Command(address=BASE + at, length_bytes=length)
        for at, length in ((0xF00, 8), (0xFF2, 90), (0x1FE6, 70), (0x3000, 2))
    ]
    errors = [[(BASE + a, BASE + b, code) for a, b, code in each] for each in FAULTS]
    cases = [reads("", SMALL, runs, {"errors": each}) for each in errors]
    for each, result in zip(errors, check(ReadMaster, SMALL, cases, tmp_path), strict=True):
        check_told(next(faulty(runs, each, SMALL.data_bytes), None), result)


def test_write_errors_are_told_and_end_the_command(tmp_path: Path) -> None:
    """A burst with an error leaves memory as it was; all others are written."""
    runs = [
        Command(address=BASE + at, length_bytes=length)
        for at, length in ((0xF00, 8), (0xFF2, 90), (0x1FE6, 70), (0x3000, 2))
    ]
    size = SMALL.data_bytes
    errors = [[(BASE + a, BASE + b, code) for a, b, code in each] for each in FAULTS]
    cases = []
    for each in errors:
        case = writes("", SMALL, runs, {"errors": each})
        for piece, first, beats in pieces(runs):
            if any(low < first + beats * size and first < high for low, high, _ in each):
                at = slice(piece[0] - BASE, piece[1] - BASE)
                case.after[at] = case.image[at]
        cases.append(case)
    for each, result in zip(errors, check(WriteMaster, SMALL, cases, tmp_path), strict=True):
        codes = (
            (first, next(c for low, high, c in each if low < first + beats * size and first < high))
            for _, first, beats in pieces(runs)
            if any(low < first + beats * size and first < high for low, high, _ in each)
        )
        check_told(next((found for found in codes if found[1] > 1), None), result)


def pieces(runs: Sequence[Command]) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Every burst: the bytes from and to below that it writes, its address and its beats."""
    for run in runs:
        at = run.address // SMALL.data_bytes * SMALL.data_bytes
        for beats in bursts(SMALL, run):
            end = at + beats * SMALL.data_bytes
            yield (max(at, run.address), min(end, run.address + run.length_bytes)), at, beats
            at = end


def check_told(first: tuple[int, int] | None, result: dict[str, Any]) -> None:
    state = result["state"]
    assert state["error"] == (first is not None)
    if first is not None:
        assert (state["error_address"], state["error_response"]) == first
    assert result["cleared"]


RUNS = [(0, 320), (6, 320), (6, 314), (2, 318), (0, 8), (2, 4), (6, 4), (0, 64), (16, 800), (62, 9)]
"""Start and granules' bytes of runs whose cycles are counted."""


@pytest.mark.parametrize("queue", [pytest.param(16, marks=pytest.mark.slow), 64])
def test_cycles_are_those_stated(queue: int, tmp_path: Path) -> None:
    """With a prompt memory: latency, and then a word or a beat every cycle."""
    bus = Bus(data_bits=64, burst_beats=8, outstanding=8, queue_beats=queue)
    latencies = (1, 7)
    runs = [
        (latency, Command(address=BASE + at, length_bytes=length // 2 * 2))
        for latency in latencies
        for at, length in RUNS
    ]
    given = [({"latency": latency}, run) for latency, run in runs]
    cases = [reads("", bus, [run], memory) for memory, run in given]
    top = ReadMaster(bus)
    for (latency, run), result in zip(
        runs, check(ReadMaster, bus, cases, tmp_path, name="reads"), strict=True
    ):
        words = -(-run.length_bytes // bus.data_bytes)
        taken = result["given"]["command"][0]
        skewed = run.address % bus.data_bytes and sum(bursts(bus, run)) > 1
        first = taken + top.first_word_cycles + latency + bool(skewed)
        assert result["first"]["out"] == first
        assert result["last_words"]["out"] == first + words - 1
    cases = [writes("", bus, [run], memory) for memory, run in given]
    delay = Queue(1, queue).delay
    for (latency, run), result in zip(
        runs, check(WriteMaster, bus, cases, tmp_path, name="writes"), strict=True
    ):
        taken, cut = result["given"]["command"][0], bursts(bus, run)
        last = taken + WriteMaster.fixed_cycles + sum(cut) + max(*cut, delay)
        assert result["moved"]["w"][-1] == last
        assert result["jobs"][0]["done_cycle"] == last + latency + 1


def test_a_word_leaves_every_cycle_from_command_to_command(tmp_path: Path) -> None:
    """Also of commands that start inside a beat, and of one beat each."""
    bus = Bus(data_bits=64, burst_beats=8, outstanding=8, queue_beats=64)
    runs = [Command(address=BASE + 64 * k + 6, length_bytes=42) for k in range(20)]
    runs += [Command(address=BASE + 8 * k + 2, length_bytes=6) for k in range(20)]
    (result,) = check(ReadMaster, bus, [reads("", bus, runs, {})], tmp_path, name="reads")
    words = sum(-(-run.length_bytes // bus.data_bytes) for run in runs)
    assert result["last_words"]["out"] - result["first"]["out"] == words - 1
    (result,) = check(WriteMaster, bus, [writes("", bus, runs, {})], tmp_path, name="writes")
    moved = result["moved"]["w"]
    assert moved[-1] - moved[0] == sum(sum(bursts(bus, run)) for run in runs) - 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"data_bits": 32}, "data_bits of a bus must be one of 64, 128, 256, 512, not 32"),
        ({"granule_bytes": 8}, "granule_bytes of a bus must be one of 1, 2, 4, not 8"),
        ({"address_bits": 65}, "address_bits of a bus must be from 32 to 64, not 65"),
        ({"burst_beats": 12}, "burst_beats of a bus must be a power of two, not 12"),
        (
            {"data_bits": 512, "burst_beats": 128},
            "burst_beats of a bus must be from 2 to 64, not 128",
        ),
        ({"queue_beats": 15}, "queue_beats of a bus must be from 16 to 65536, not 15"),
        ({"outstanding": 0}, "outstanding of a bus must be from 1 to 32, not 0"),
    ],
)
def test_what_cannot_be_built_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        Bus(**values)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"address": 3}, "address of a command must be a multiple of 2, not 3"),
        ({"length_bytes": 5}, "length_bytes of a command must be a multiple of 2, not 5"),
        ({"length_bytes": 0}, "field length must be from 0 to 4294967295, not -1"),
        ({"tag": 16}, "field tag must be from 0 to 15, not 16"),
        ({"zero": True}, "zero of a command must be false to write, not true"),
    ],
)
def test_what_cannot_be_said_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        Command(**{"address": 0, "length_bytes": 2, **values}).encode_write(Bus())
    assert str(caught.value) == text
