"""A delay line whose length is part of the job."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit


class Delay(Unit):
    """Words, some cycles later.

    `later` in cycle t is `given` of cycle t + 1 - `cycles`: at 1, that of the same cycle.
    Words from before the cycle after `restart` are zeros. One word a cycle.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | restart | 1 | in | forget all; new `cycles` are there from the next cycle on |
    | cycles | bits of `longest` | in | 1 to `longest` |
    | given, later | width | in, out | words |
    """

    def __init__(self, width: int, longest: int) -> None:
        self.width, self.longest = width, longest
        self.module_name = f"nofm_stce_delay_{width}_{longest}"
        super().__init__(
            {
                "advance": In(1),
                "restart": In(1),
                "cycles": In(longest.bit_length()),
                "given": In(width),
                "later": Out(width),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        places = len(self.cycles)
        m.submodules.line = line = Memory(shape=self.width, depth=1 << places, init=[])
        write, read = line.write_port(), line.read_port(domain="comb")
        # A word leaves the memory a cycle before it is due; one that is due so soon passes it by.
        held = Signal(self.width)
        m.d.comb += [write.data.eq(self.given), write.en.eq(1)]
        m.d.sync += [
            write.addr.eq(write.addr + 1),
            read.addr.eq(write.addr + 3 - self.cycles),
            held.eq(Mux(self.cycles == 2, self.given, read.data)),
        ]
        # The memory is never cleared: for as long as the delay, it holds words from before. What
        # steers the way out is in registers of this line: the job's word may stand far away.
        green, ripe, fresh, through = Signal(places), Signal(), Signal(), Signal()
        m.d.sync += [
            green.eq(green - (green != 0)),
            fresh.eq(self.restart),
            through.eq(self.cycles == 1),
        ]
        with m.If(green == 1):
            m.d.sync += ripe.eq(1)
        with m.If(fresh):
            m.d.sync += [green.eq(self.cycles - 1), ripe.eq(self.cycles == 1)]
        with m.If(self.restart):
            m.d.sync += ripe.eq(0)
        m.d.comb += self.later.eq(Mux(ripe, Mux(through, self.given, held), 0))
        return EnableInserter(self.advance)(m)
