"""The vector unit against its specification: memory afterwards, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.cases import MasterCase, differences, replay_masters
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.alone import Alone
from nofm.rtl.chip.vector import VectorUnit
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.fields import pack
from nofm.rtl.hierarchy import modules
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import encode_stream, write
from nofm.rtl.program.vector import OPERATIONS, vector, vector_fields
from nofm.rtl.program.walk import Loop, Nest

SIZES = ChipSizes.of(load("sat-4x4"))
AREA = 1024
"""FP16 elements of memory that each stream may lie in."""

SCALES = (1.0, 1.0, 1.0, 0.25, 1 / 49, -3.0, 6e-8, 1e30, np.inf, np.nan)


def hardware(lanes: int, latency: int, bits: int) -> Alone:
    accelerator = load("sat-4x4").with_values(
        **{"vector.lanes": lanes, "vector.latency_cycles": latency}
    )
    bus = Bus(
        data_bits=bits,
        address_bits=40,
        burst_beats=4,
        outstanding=4,
        queue_beats=16,
        length_bits=24,
    )
    unit = VectorUnit(SIZES, bus, VectorGeometry.of(accelerator))
    return Alone(unit, bus, ("a", "b"), ("result",), 16)


def halves(rng: np.random.Generator, size: int) -> Any:
    """FP16 numbers of every kind: usual ones, any bits, few values (so that equal ones meet)."""
    ends = np.array([np.inf, np.nan, 0.0, 1.0, 6e-8, 6.1e-5, 65504.0], np.float16)
    some = rng.choice(ends, size) * rng.choice(np.array([-1, 1], np.float16), size)
    any_bits = rng.integers(0, 1 << 16, size, np.uint16)
    usual = rng.standard_normal(size).astype(np.float16)
    few = rng.integers(-2, 3, size).astype(np.float16)
    kind = rng.integers(0, 4)
    if kind == 3:
        which = rng.integers(0, 4, size)
        return np.choose(which, [v.view(np.uint16) for v in (usual, few, some, any_bits.view("f2"))])
    return (usual, few, some)[kind].view(np.uint16)


def scattered(rng: np.random.Generator, prefix: str, first: int, elements: int) -> dict[str, int]:
    """A stream of so many elements, somewhere in the area from `first` on."""
    run = int(rng.choice([d for d in range(1, elements + 1) if elements % d == 0]))
    if elements // run > 12:
        run = elements
    runs = elements // run
    inner = int(rng.choice([d for d in range(1, runs + 1) if runs % d == 0]))
    gap, more = (int(rng.integers(0, 6)) for _ in range(2))
    pitch = run + gap
    outer = inner * pitch + more
    loops = (Loop(inner, {"address": pitch}), Loop(runs // inner, {"address": outer}))
    reach = outer * (runs // inner)
    start = first + int(rng.integers(0, AREA - reach))
    return encode_stream(SIZES, prefix, Nest({"address": start}, loops), run)


def random_job(
    rng: np.random.Generator, name: str, lanes: int, memory: Any, first: int
) -> dict[str, int]:
    """A job of an operation, with what it reads in memory from `first` on."""
    of = OPERATIONS[name]
    run = int(rng.choice([1, 2, lanes, rng.integers(1, 3 * lanes + 2), rng.integers(1, 30)]))
    passes, rounds = (int(rng.integers(1, 6)) for _ in range(2))
    held, given = of.held + passes * of.b, 1 if of.reduces else passes
    values = dict.fromkeys(vector_fields(SIZES), 0) | {
        "opcode": of.opcode,
        "relu": int(rng.integers(0, 2)),
        "scale": int(np.float32(rng.choice(SCALES)).view(np.uint32)),
        "run": run - 1,
        "passes": passes - 1,
        "rounds": rounds - 1,
    }
    x = halves(rng, rounds * passes * run).reshape(rounds, passes, run)
    if of.a:
        values |= scattered(rng, "a_", first, x.size)
        write(SIZES, "a_", values, x.reshape(-1), memory)
    if held:
        y = halves(rng, rounds * held * run).reshape(rounds, held, run)
        if name == "route":
            # Mostly one of the window; now and then none of it.
            which = rng.integers(0, passes, (rounds, 1, run))
            found = np.take_along_axis(x, which, axis=1)
            y[:, :1] = np.where(rng.random(found.shape) < 0.9, found, y[:, :1])
        values |= scattered(rng, "b_", first + AREA, y.size)
        write(SIZES, "b_", values, y.reshape(-1), memory)
    return values | scattered(rng, "out_", first + 2 * AREA, rounds * given * run)


def random_case(seed: int, lanes: int, names: list[str], stalls: bool) -> MasterCase:
    """A job of each operation, one after the other, in one memory."""
    rng = np.random.default_rng(seed)
    memory = np.full(3 * AREA * len(names), 0x1234, np.uint16)
    jobs = [
        random_job(rng, name, lanes, memory, 3 * AREA * number) for number, name in enumerate(names)
    ]
    return case_of(f"case {seed}", jobs, memory, seed, stalls)


def case_of(
    name: str, jobs: list[dict[str, int]], memory: Any, seed: int = 0, stalls: bool = False
) -> MasterCase:
    after = memory.copy()
    for values in jobs:
        vector(SIZES, values, after)
    texts = ("random:0.3", "random:0.7", "bursts:5:9", "steady")
    rng = np.random.default_rng(seed)
    channels = {each: str(rng.choice(texts)) for each in ("ar", "r", "aw", "w", "b")}
    words = [pack(vector_fields(SIZES), values) for values in jobs]
    case = Case(
        name=name, inputs={"job": [words]}, outputs={}, jobs=len(jobs), limit=4000 * len(jobs)
    )
    behind = MemoryCase(latency=int(rng.integers(1, 20)), seed=seed, channels=channels)
    if not stalls:
        behind = MemoryCase(latency=4)
    return MasterCase(case, behind, memory.view(np.uint8), after.view(np.uint8))


def check_memory(top: Alone, cases: list[MasterCase], folder: Path, sources: Any = None) -> Any:
    """What differs, and the results."""
    done = replay_masters(
        sources or modules(top), top.module_name, top.bus, cases, folder=folder, tool="verilator"
    )
    found = [
        (each.case.name, text)
        for each, result in zip(cases, done.results["cases"], strict=True)
        for text in differences(each, result)
    ]
    return found, done.results["cases"]


MACHINES = {
    "2 lanes": (2, 5, 64),
    "4 lanes": (4, 8, 64),
    "8 lanes, wide bus": (8, 13, 128),
    "3 lanes, wide bus": (3, 6, 128),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_operation(machine: str, tmp_path: Path) -> None:
    lanes, latency, bits = MACHINES[machine]
    rng = np.random.default_rng(lanes)
    cases = [
        random_case(seed, lanes, list(rng.permutation(list(OPERATIONS))), seed % 2 == 1)
        for seed in range(8)
    ]
    found, _ = check_memory(hardware(lanes, latency, bits), cases, tmp_path)
    assert found == []
