"""The bench of a training run: the host's own code drives a whole chip.

Arguments: `hardware`, the text of the accelerator's TOML; `example`, the attributes of
`nofm.rtl.program.training.Example`; `steps`; `memory`, the attributes of `MemoryCase`; `rules`, the
attributes of `Rules`; `limit`, cycles that a program may take at most; `watchdog`, in cycles.
Results: the simulator, and for each step `loss`, the counters `forward` and `backward`, and
`memory`, a file with all tensors after it; or `error`, after which nothing more is run.
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
from nofm.rtl.program.sizes import HALF_BYTES
from nofm.rtl.program.training import DrivenMachine, Example, memory_bytes, program_at, train

from .axi import Memory, MemoryCase
from .axi_check import Checker, Rules
from .board import SimulatedBoard
from .cases import arguments, report
from .chip_replay import POLL_CYCLES, SECOND
from .engine import PERIOD_STEPS, simulator


class Training:
    """A training run by a driver in a thread."""

    def __init__(self, dut: Any, told: dict[str, Any]) -> None:
        self.told = told
        self.accelerator = from_toml(told["hardware"], "the accelerator")
        self.example = Example(**told["example"])
        self.step_ = self.example.step(self.accelerator)
        case = MemoryCase(**told["memory"])
        self.memory = Memory(dut, case, bytes(memory_bytes(self.step_)))
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
        told, step = self.told, self.step_
        driver = Driver(self.board, self.accelerator, poll_seconds=POLL_CYCLES * SECOND)
        driver.reset()
        driver.allow_writes(0, HALF_BYTES * step.elements)
        driver.set_watchdog(told["watchdog"])
        machine = DrivenMachine(driver, program_at(step), told["limit"] * SECOND)
        try:
            for number, each in enumerate(train(machine, self.example, step, told["steps"])):
                path = Path(f"memory{number}.bin").resolve()
                path.write_bytes(each.memory.tobytes())
                found = {"loss": each.loss, "memory": str(path)}
                self.results.append({**found, "forward": each.forward, "backward": each.backward})
        except (ChipError, TimeOut) as error:
            self.results.append({"error": str(error)})


@cocotb.test()
async def chip_training(dut: Any) -> None:
    """All steps."""
    told = arguments()
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_STEPS, "step").start(start_high=False)
    edge = RisingEdge(dut.clk)
    training = Training(dut, told)
    await edge
    await edge
    dut.rst.value = 0
    task = cocotb.start_soon(bridge(training.go)())
    while not task.done():
        await edge
        training.step()
    task.result()
    report({"simulator": simulator(), "steps": training.results})
