"""Queue: a first-in first-out of any depth, in block memory where it is deep."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit

BUFFER = 4
"""Words of a queue between a stream and a unit."""

SHALLOW = 32
"""Up to this depth a queue stands in look-up tables, and is read at once."""


class Queue(Unit):
    """Words leave in the order in which they came. Throughput: a word a cycle.

    A word that is taken in cycle t can leave in cycle t + `delay`: 1 up to a depth of `SHALLOW`,
    else 2; a deep queue holds one word more. No port depends on another within a cycle.

    | port | width | direction | |
    |---|---|---|---|
    | in_valid, in_ready, in_data | 1, 1, width | in, out, in | a word is taken when both are high |
    | out_valid, out_ready, out_data | 1, 1, width | out, in, out | it leaves when both are high |
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        self.module_name = f"nofm_axi_queue_{width}_{depth}"
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(width),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(width),
            }
        )
        # Words in the memory.
        self._level = Signal(range(depth + 1), name="level")

    @property
    def delay(self) -> int:
        """Cycles from a word's coming to the first in which it can leave."""
        return 1 if self.depth <= SHALLOW else 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=self.width, depth=self._places, init=[])
        write = words.write_port()
        read = words.read_port(domain="comb" if self.depth <= SHALLOW else "sync")
        head, tail = Signal(range(self._places)), Signal(range(self._places))
        level = self._level
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.in_ready.eq(level != self.depth),
            push.eq(self.in_valid & self.in_ready),
            write.addr.eq(tail),
            write.data.eq(self.in_data),
            write.en.eq(push),
            read.addr.eq(head),
            self.out_data.eq(read.data),
        ]
        with m.If(push):
            m.d.sync += tail.eq(self._behind(tail))
        with m.If(pop):
            m.d.sync += head.eq(self._behind(head))
        m.d.sync += level.eq(level + push - pop)
        if self.depth <= SHALLOW:
            m.d.comb += [
                self.out_valid.eq(level != 0),
                pop.eq(self.out_valid & self.out_ready),
            ]
        else:
            # The memory's own register holds one word more.
            m.d.comb += [
                pop.eq((level != 0) & (self.out_ready | ~self.out_valid)),
                read.en.eq(pop),
            ]
            m.d.sync += self.out_valid.eq(pop | (self.out_valid & ~self.out_ready))
        return m

    def _behind(self, place: Signal) -> Value:
        if self._places & (self._places - 1) == 0:
            return place + 1
        return Mux(place == self._places - 1, 0, place + 1)

    @property
    def _places(self) -> int:
        # A memory of one word would have no address.
        return max(2, self.depth)
