"""A whole chip with its host: a driver in a thread, and a memory with a checker behind AXI4."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import RisingEdge

from .axi import Memory, MemoryCase
from .axi_check import Checker, Rules
from .board import SimulatedBoard
from .engine import PERIOD_STEPS

POLL_CYCLES = 50
SECOND = 1e-9
"""A cycle, as the driver counts time here."""


class ChipHost(ABC):
    """What surrounds the chip.

    Args:
        dut: the chip.
        told: the bench's arguments, of which `memory` and `rules` are the attributes of
            `MemoryCase` and `Rules`.
        image: the memory's bytes.
    """

    def __init__(self, dut: Any, told: dict[str, Any], image: bytes) -> None:
        self.told = told
        self.dut = dut
        case = MemoryCase(**told["memory"])
        self.memory = Memory(dut, case, image)
        self.checker = Checker(dut, Rules(**told["rules"]))
        self.board = SimulatedBoard(dut, self, case.base, SECOND)
        self.cycles = 0
        self.results: list[dict[str, Any]] = []

    @property
    def image(self) -> bytearray:
        """The bytes of the memory that is there now."""
        return self.memory.image

    def step(self) -> None:
        """One rising edge."""
        self.cycles += 1
        self.checker.step(self.cycles)
        self.memory.step(self.cycles)

    @abstractmethod
    def go(self) -> None:
        """What the host does, in a thread."""

    async def run(self) -> list[dict[str, Any]]:
        """Reset the chip and let the host do all that it does; its results."""
        dut = self.dut
        dut.rst.value = 1
        Clock(dut.clk, PERIOD_STEPS, "step").start(start_high=False)
        edge = RisingEdge(dut.clk)
        await edge
        await edge
        dut.rst.value = 0
        task = cocotb.start_soon(bridge(self.go)())
        while not task.done():
            await edge
            self.step()
        task.result()
        return self.results
