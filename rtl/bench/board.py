"""A board inside a simulation: what a driver that blocks does, done on the wires.

A driver runs in a thread of its own (`await cocotb.task.bridge(function)(...)`); its calls here
hand over to the simulator and come back with what it found.
"""

from __future__ import annotations

from typing import Any, Protocol

from cocotb.task import resume
from cocotb.triggers import RisingEdge

from .ports import Port

PATIENCE_CYCLES = 1000
"""An AXI4-Lite access that takes longer never ends."""


class Image(Protocol):
    """Memory that the host sees too."""

    @property
    def image(self) -> bytearray:
        """Its bytes, which the host writes in place."""
        ...


class BusError(AssertionError):
    """An access was refused, or not answered."""


class SimulatedBoard:
    """Registers behind the AXI4-Lite ports `s_axi_...` of a design, and the bytes of a memory.

    Attributes:
        accesses: registers that were read or written.
    """

    def __init__(self, dut: Any, memory: Image, base: int = 0, cycle_seconds: float = 1e-9) -> None:
        self._dut = dut
        self._edge = RisingEdge(dut.clk)
        self._memory = memory
        self._base = base
        self._cycle_seconds = cycle_seconds
        names = ("awready", "wready", "bvalid", "bresp", "arready", "rvalid", "rdata", "rresp")
        self._ports = {name: Port(dut, f"s_axi_{name}") for name in names}
        self.accesses = 0
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            self._set(name, 0)

    def _set(self, name: str, value: int) -> None:
        getattr(self._dut, f"s_axi_{name}").value = value

    async def _until(self, *names: str) -> None:
        """Hold the valids or readies that answer `names` until each has moved."""
        held = set(names)
        for _ in range(PATIENCE_CYCLES):
            await self._edge
            for name in list(held):
                if self._ports[name].read():
                    held.discard(name)
                    turned = name.replace("ready", "VALID").replace("valid", "ready").lower()
                    self._set(turned, 0)
            if not held:
                return
        raise BusError(f"no {' and '.join(sorted(held))} in {PATIENCE_CYCLES} cycles")

    async def read_word(self, offset: int) -> int:
        """Read a register, from within the simulation."""
        self.accesses += 1
        self._set("araddr", offset)
        self._set("arvalid", 1)
        await self._until("arready")
        self._set("rready", 1)
        await self._until("rvalid")
        if response := self._ports["rresp"].read():
            raise BusError(f"register {offset:#x} gave response {response}")
        return self._ports["rdata"].read()

    async def write_word(self, offset: int, value: int) -> None:
        """Write a register, from within the simulation."""
        self.accesses += 1
        for name, given in (("awaddr", offset), ("wdata", value), ("wstrb", 15)):
            self._set(name, given)
        self._set("awvalid", 1)
        self._set("wvalid", 1)
        await self._until("awready", "wready")
        self._set("bready", 1)
        await self._until("bvalid")
        if response := self._ports["bresp"].read():
            raise BusError(f"register {offset:#x} gave response {response}")

    async def _cycles(self, count: int) -> None:
        for _ in range(count):
            await self._edge

    def read32(self, offset: int) -> int:
        """Read a register, from the driver's thread."""
        return int(resume(self.read_word)(offset))

    def write32(self, offset: int, value: int) -> None:
        """Write a register, from the driver's thread."""
        resume(self.write_word)(offset, value)

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the memory."""
        first = address - self._base
        return bytes(self._memory.image[first : first + size])

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory."""
        first = address - self._base
        self._memory.image[first : first + len(data)] = data

    def pause(self, seconds: float) -> None:
        """Let cycles pass, from the driver's thread."""
        resume(self._cycles)(max(1, round(seconds / self._cycle_seconds)))
