"""The bench of a whole chip: its driver runs programs on it, one after the other.

Arguments: `hardware`, the text of the accelerator's TOML; `memory`, the attributes of
`MemoryCase`; `rules`, the attributes of `Rules`; `image`, a file with the memory's bytes from
`memory.base` on; `window`, addresses from and to below which programs may write; `watchdog`, in
cycles; `runs`, each with `program`, a file, `at`, where it goes, `limit`, cycles that it may take
at most, `write`, pairs of an address and a file that go there before, and perhaps `memory`, the
`latency` and `bandwidth` that it has from then on. Results: the simulator,
and for each run the chip's counters and `after`, a file with the memory's bytes then; or `error`
and what it says, after which nothing more is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import RisingEdge

from nofm.dataflow.accelerator import from_toml
from nofm.rtl.driver import ChipError, Driver, TimeOut

from .axi import Memory, MemoryCase
from .axi_check import Checker, Rules
from .board import SimulatedBoard
from .cases import arguments, report
from .engine import PERIOD_STEPS, simulator

POLL_CYCLES = 50
SECOND = 1e-9
"""A cycle, as the driver counts time here."""


class Runs:
    """All runs, by a driver in a thread."""

    def __init__(self, dut: Any, told: dict[str, Any]) -> None:
        case = MemoryCase(**told["memory"])
        self.told = told
        self.memory = Memory(dut, case, Path(told["image"]).read_bytes())
        self.checker = Checker(dut, Rules(**told["rules"]))
        self.board = SimulatedBoard(dut, self.memory, case.base, SECOND)
        self.cycles = 0
        self.results: list[dict[str, Any]] = []

    def step(self) -> None:
        """One rising edge."""
        self.cycles += 1
        self.checker.step(self.cycles)
        self.memory.step(self.cycles)

    def go(self) -> None:
        """What a host does."""
        told = self.told
        accelerator = from_toml(told["hardware"], "the accelerator")
        driver = Driver(self.board, accelerator, poll_seconds=POLL_CYCLES * SECOND)
        driver.reset()
        driver.allow_writes(*told["window"])
        driver.set_watchdog(told["watchdog"])
        for number, run in enumerate(told["runs"]):
            for address, path in run["write"]:
                self.board.write(address, Path(path).read_bytes())
            if "memory" in run:
                self.memory.change(**run["memory"])
            program = Path(run["program"]).read_bytes()
            try:
                found: dict[str, Any] = {
                    "counters": driver.run(program, run["at"], run["limit"] * SECOND)
                }
            except (ChipError, TimeOut) as error:
                found = {"error": str(error), "counters": driver.counters()}
            after = Path(f"after{number}.bin").resolve()
            after.write_bytes(self.memory.image)
            self.results.append({**found, "after": str(after)})
            if "error" in found:
                break


@cocotb.test()
async def chip_replay(dut: Any) -> None:
    """Every run."""
    told = arguments()
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_STEPS, "step").start(start_high=False)
    edge = RisingEdge(dut.clk)
    runs = Runs(dut, told)
    await edge
    await edge
    dut.rst.value = 0
    task = cocotb.start_soon(bridge(runs.go)())
    while not task.done():
        await edge
        runs.step()
    task.result()
    report({"simulator": simulator(), "runs": runs.results})
