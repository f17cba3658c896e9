"""Cycles of whole jobs: those of the simulator are those of the chip's RTL, cause by cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm import chip_program
from nofm.chip_cycles import measure, programs_at, random_cases
from nofm.chip_program import MemoryTime, ProgramTime
from nofm.dataflow.accelerator import Accelerator, load
from nofm.kernels.errors import InputError
from nofm.rtl import elastic
from nofm.rtl.axi import queue
from nofm.rtl.chip import share, vector
from nofm.rtl.chip.activation_feeder import ActivationFeeder
from nofm.rtl.chip.chip import Chip, chip_bus
from nofm.rtl.chip.datapath import READERS, SPARE, WRITERS
from nofm.rtl.chip.fetcher import CHUNKS, Fetcher
from nofm.rtl.chip.lockstep import Lockstep
from nofm.rtl.chip.regroup import Regroup
from nofm.rtl.chip.share import ReadShare
from nofm.rtl.chip.unpack import Unpack
from nofm.rtl.chip.weight_feeder import WeightFeeder
from nofm.rtl.hierarchy import modules
from nofm.rtl.program.banks import served
from nofm.rtl.program.encoding import Descriptor
from nofm.rtl.program.product import Target
from nofm.rtl.program.walk import Loop, Nest, WalkShape
from nofm.simulator.chip import queues, records
from nofm.simulator.timing import PARTS

SAT = load("sat-4x4")

VARIANTS: dict[str, dict[str, Any]] = {
    "sat-4x4": {},
    "wide": {
        **{"array.rows": 2, "array.columns": 8, "array.group_port_elements": 16},
        "dram.bandwidth_gbps": 6.4,
    },
    "tall": {
        **{"array.rows": 6, "array.columns": 2, "array.group_port_elements": 4},
        **{"array.interleave": 4, "dram.bandwidth_gbps": 1.6},
    },
    "bus": {
        **{"array.rows": 3, "array.columns": 4, "array.adder_cycles": 6},
        "dram.bandwidth_gbps": 12.8,
    },
}
"""Chips with buses of 128, 256, 64 and 512 bits."""

EXACT = ("waits_words", "waits_unit", "busy_load_activations", "busy_load_weights", "busy_store")


def test_the_hardwares_numbers() -> None:
    """What the simulator takes the hardware's queues and latencies to be."""
    for changes in VARIANTS.values():
        accelerator = SAT.with_values(**changes)
        target = Target(accelerator)
        machine = ProgramTime(target, [Descriptor("barrier", last=True)]).machine(
            MemoryTime(latency=9, beats=1, cycles=2)
        )[0]
        bus, sizes = chip_bus(target.sizes), target.sizes
        fetcher, unpack = Fetcher(bus, target.format), Unpack(sizes)
        halves = Regroup(16, sizes.halves, unpack.ways * (16 + sizes.index_bits), 1)
        assert (machine["fetch_depth"], machine["fetch_chunk"]) == (
            fetcher.depth,
            fetcher.depth // CHUNKS,
        )
        assert machine["outstanding"] == bus.outstanding
        assert machine["chunk_beats"] == bus.burst_beats == share.CHUNK_BEATS
        assert machine["client_beats"] == share.QUEUE_BEATS
        assert machine["master_beats"] == bus.queue_beats
        assert machine["kept_ways"] == unpack.ways
        assert machine["unpack_room"] == halves.capacity
    assert queues.BUFFER == queue.BUFFER
    assert queues.ELASTIC == elastic.DEPTH
    assert queues.AHEAD == vector.AHEAD
    assert chip_program.SPARE == SPARE
    assert ActivationFeeder.latency == chip_program.FEED_LATENCY
    assert ActivationFeeder.latency - Lockstep.latency == chip_program.FEED_BEHIND
    assert WeightFeeder.latency == chip_program.WEIGHT_LATENCY
    assert ("program", *(each.name for each in READERS)) == records.READERS
    assert tuple(each.name for each in WRITERS) == records.WRITERS
    # A queue between a share and its clients, and one of beats, have a register behind them.
    assert ReadShare(chip_bus(Target(SAT).sizes), 2)._queues[0].delay == 2


def test_places_of_walks() -> None:
    """All at once, as one after the other."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        shape = WalkShape(4, {"a": int(rng.integers(3, 40)), "b": 5})
        loops = tuple(
            Loop(
                int(rng.integers(1, 6)),
                {"a": int(rng.integers(-50, 500)), "b": int(rng.integers(-3, 9))},
            )
            for _ in range(rng.integers(1, 5))
        )
        passes = int(np.prod([loop.count for loop in loops]))
        first = int(rng.integers(passes))
        nest = Nest(
            {"a": int(rng.integers(7))}, loops, first, int(rng.integers(passes - first)) + 1
        )
        values = shape.encode("x_", nest)
        found = shape.places_of("x_", values)
        for name in "ab":
            assert found[name].tolist() == [each[name] for each in shape.passes("x_", values)]


def test_requests_are_served_as_banks_are() -> None:
    """A bank gives one word a cycle, to all that want it."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        banks, port = int(rng.choice([2, 4, 8])), int(rng.choice([1, 4]))
        skew = int(rng.integers(2))
        asked = rng.integers(0, 8 * banks * port, (6, int(rng.integers(1, 9))))
        reads = rng.random(asked.shape) < 0.7
        for request, mask, cycles in zip(
            asked, reads, served(asked, reads, banks, skew, port), strict=True
        ):
            words = {int(address) // port for address in request[mask]}
            banked = [(word % banks + skew * (word // banks)) % banks for word in words]
            assert cycles == max([1, *(banked.count(bank) for bank in banked)])


def test_a_memory_that_is_slower_takes_longer() -> None:
    case = random_cases(1, SAT, 1)[0]
    known = [
        replace(case, memory=memory).simulated(SAT, 0)["cycles"]
        for memory in (
            MemoryTime(5, 1, 1),
            MemoryTime(50, 1, 1),
            MemoryTime(50, 1, 2),
            MemoryTime(50, 1, 4),
        )
    ]
    assert known == sorted(known)
    assert known[0] < known[-1]
    assert known[0] > case.layer_cycles / 2


def test_a_program_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chip_program, "MOST_CYCLES", 100)
    with pytest.raises(InputError, match="more than 100 cycles"):
        random_cases(1, SAT, 1)[0].simulated(SAT, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_whole_jobs(name: str, tmp_path: Path) -> None:
    """Within 2 % each, most to the cycle; and so is what the array, the dispatcher and the units
    wait for."""
    accelerator: Accelerator = SAT.with_values(**VARIANTS[name])
    cases = random_cases(5, accelerator, 14)
    found = measure(
        cases, accelerator, modules(Chip(accelerator)), folder=tmp_path, optimized=False
    )
    at, equal = programs_at(cases), 0
    for case, counters in zip(cases, found, strict=True):
        simulated = case.simulated(accelerator, at)
        took = counters["cycles"]
        assert abs(simulated["cycles"] - took) <= 0.02 * took, (str(case), simulated, counters)
        equal += simulated["cycles"] == took
        # A reduction that is cut in OS is one job of the array, and several steps of the layers'.
        cut = zip(case.products, case.cuts, strict=True)
        if not any(c.dataflow == "os" and c.tile_length < product.length for product, c in cut):
            for part in PARTS:
                assert counters[f"array_{part}"] == case.costs[part].sum(), (str(case), part)
        stalled = counters["array_stalled_activations"] + counters["array_stalled_weights"]
        assert abs(simulated["array_stalled"] - stalled) <= 0.02 * took, str(case)
        assert counters["array_stalled_results"] == 0
        for counter in EXACT:
            assert abs(simulated[counter] - counters[counter]) <= 0.005 * took, (str(case), counter)
    assert equal >= 10
