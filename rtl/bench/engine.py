"""The skeleton of an engine's bench: clock, reset, streams, and the counters of every job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from .ports import Port
from .streams import Driver, Monitor

PERIOD_STEPS = 10


class TimeOut(AssertionError):
    """An engine did not come to its end."""


class End(Protocol):
    """What is stepped in every cycle, as drivers and monitors are."""

    def reset(self) -> None: ...

    def step(self, cycle: int) -> None: ...


class Engine:
    """Drives an engine with ports `clk`, `rst`, `done`, streams, counters, and `others`.

    One coroutine does everything, once a cycle at the rising edge: every further one would cost
    more than what it does.

    Attributes:
        cycle: rising edges outside of reset, since the last reset.
        finished: for every job that was done since the last reset, the counters in that cycle and,
            as `done_cycle`, the cycle itself.
    """

    def __init__(
        self,
        dut: Any,
        drivers: Sequence[Driver],
        monitors: Sequence[Monitor],
        counters: Sequence[str] = (),
        others: Sequence[End] = (),
    ) -> None:
        self._dut = dut
        self.drivers = list(drivers)
        self.monitors = list(monitors)
        self._ends: list[End] = [*drivers, *monitors, *others]
        self._done = Port(dut, "done")
        self._counters = [Port(dut, name) for name in counters]
        self._edge = RisingEdge(dut.clk)
        self.cycle = 0
        self.finished: list[dict[str, int]] = []

    def add(self, end: End) -> None:
        """Step `end` too, after all others."""
        self._ends.append(end)

    def start(self) -> None:
        """Start the clock, low first; the engine is unknown until `reset`."""
        self._dut.rst.value = 1
        Clock(self._dut.clk, PERIOD_STEPS, "step").start(start_high=False)

    async def reset(self, cycles: int = 2) -> None:
        """Hold `rst` for `cycles` rising edges and forget everything that the streams hold."""
        self._dut.rst.value = 1
        for end in self._ends:
            end.reset()
        for _ in range(cycles):
            await self._edge
        self._dut.rst.value = 0
        self.cycle = 0
        self.finished = []

    async def run(self, until: Callable[[], bool], limit: int) -> None:
        """Run until `until()` holds, asked after each cycle.

        Raises:
            TimeOut: it does not hold in cycle `limit`; the text tells where every stream stands.
            StreamError: a stream broke its protocol.
            PortError: a bit that counts is unknown.
        """
        done, ends, edge = self._done, self._ends, self._edge
        while not until():
            if self.cycle >= limit:
                streams = "; ".join(map(str, ends))
                raise TimeOut(
                    f"no end after {limit} cycles: {len(self.finished)} jobs done; {streams}"
                )
            await edge
            self.cycle += 1
            for end in ends:
                end.step(self.cycle)
            if done.read():
                counts = {port.name: port.read() for port in self._counters}
                self.finished.append({"done_cycle": self.cycle, **counts})


def simulator() -> str:
    """Name and version of the simulator that runs this."""
    return f"{cocotb.SIM_NAME} {cocotb.SIM_VERSION}"
