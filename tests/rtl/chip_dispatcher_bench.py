"""A bench for the dispatcher: programs in, and units that are stubs.

Arguments: `units`, their names in the order of their bits; `programs`, each with `words` (those
that memory gives), `total` (those that it is told of), `idle` and `backpressure` (patterns of
words, and of every unit), `busy` (the longest time that a job takes), `seed`, `stop_at` (cycle or
none) and `limit`. Results: `programs` with `jobs` (unit, data, cycle in which it was offered,
and units that were busy when that was settled), `ended` ("done", "error" or "none"), `cycle` of
the end, `units_busy` then, `code`, `descriptor`, `offset`, `waits` (cycles by cause), `busy` (at
the end) and `error`, a text where the protocol was broken.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from nofm.rtl.bench.cases import arguments, report
from nofm.rtl.bench.engine import PERIOD_STEPS, simulator
from nofm.rtl.bench.patterns import pattern
from nofm.rtl.bench.ports import Port
from nofm.rtl.bench.streams import Driver, Monitor, StreamError

QUIET_CYCLES = 6
WAITS = ("words", "idle", "unit", "end")


class Units:
    """Stubs: each takes jobs by its pattern, and is busy for a while with each."""

    def __init__(self, dut: Any, names: list[str], backpressure: str, longest: int, seed: int):
        self._rng = random.Random(seed)
        self._longest = longest
        self._monitors = [
            Monitor(dut, name, 1, [pattern(backpressure, seed * 31 + number)])
            for number, name in enumerate(names)
        ]
        self._busy = Port(dut, "unit_busy")
        self._valid = [Port(dut, f"{name}_valid") for name in names]
        self._ends = [0] * len(names)
        self._offered = [0] * len(names)
        # What stood on the port before the last edges, the newest last.
        self._masks = [0, 0, 0]
        self._was: list[int | None] = [None] * len(names)
        self.jobs: list[tuple[int, int, int, int]] = []
        self._busy.write(0)

    def step(self, cycle: int) -> None:
        mask = 0
        for number, monitor in enumerate(self._monitors):
            before = monitor.count
            if self._was[number] is None and self._valid[number].read():
                self._was[number] = self._masks[-2]
                self._offered[number] = cycle
            monitor.step(cycle)
            if monitor.count > before:
                (word,) = monitor.words[0][before:]
                busy = self._was[number]
                assert busy is not None
                self.jobs.append((number, word, self._offered[number], busy))
                self._was[number] = None
                start = max(cycle, self._ends[number])
                self._ends[number] = start + self._rng.randint(0, self._longest)
            # A job that was taken at this edge is busy from now on, for one cycle or more.
            if monitor.count > before or self._ends[number] > cycle:
                mask |= 1 << number
        if mask != self._masks[-1]:
            self._busy.write(mask)
        self._masks = [*self._masks[1:], mask]

    @property
    def busy(self) -> int:
        """The units that were busy before the last edge."""
        return self._masks[-2]


async def run_program(dut: Any, told: dict[str, Any], names: list[str]) -> dict[str, Any]:
    edge = RisingEdge(dut.clk)
    dut.rst.value = 1
    dut.stop.value = 0
    dut.start.value = 0
    words = Driver(dut, "word", 1, [pattern(told["idle"], told["seed"])])
    units = Units(dut, names, told["backpressure"], told["busy"], told["seed"])
    await edge
    await edge
    dut.rst.value = 0
    words.send(told["words"])
    dut.words.value = told["total"]
    dut.start.value = 1
    await edge
    dut.start.value = 0
    done, error, busy = (Port(dut, name) for name in ("done", "error", "busy"))
    waits = [Port(dut, f"waits_{name}") for name in WAITS]
    counts = [0] * len(WAITS)
    ended, cycle, fault, left, at_end = "none", 0, None, None, None
    try:
        while left != 0:
            await edge
            cycle += 1
            if cycle == told["stop_at"]:
                dut.stop.value = 1
            words.step(cycle)
            units.step(cycle)
            if left is not None:
                left -= 1
                continue
            counts = [count + port.read() for count, port in zip(counts, waits, strict=True)]
            if done.read() or error.read():
                ended = "done" if done.read() else "error"
                left, end, at_end = QUIET_CYCLES, cycle, units.busy
            elif cycle >= told["limit"]:
                left, end = 0, cycle
    except StreamError as found:
        fault, end = str(found), cycle
    return {
        "jobs": units.jobs,
        "ended": ended,
        "cycle": end,
        "taken": words.taken[0],
        "code": Port(dut, "error_code").read(),
        "descriptor": Port(dut, "descriptor").read(),
        "offset": Port(dut, "offset").read(),
        "waits": dict(zip(WAITS, counts, strict=True)),
        "busy": busy.read(),
        "units_busy": at_end,
        "error": fault,
    }


@cocotb.test()
async def programs(dut: Any) -> None:
    """Every program, one after the other."""
    told = arguments()
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_STEPS, "step").start(start_high=False)
    found = [await run_program(dut, each, told["units"]) for each in told["programs"]]
    report({"simulator": simulator(), "programs": found})
