"""Elastic buffer: a short first-in first-out between a stream and an engine that may freeze."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit

DEPTH = 4


class Elastic(Unit):
    """A first-in first-out of four words with a registered count on both sides.

    A word that is taken in cycle t can leave in cycle t + 1. With a word pushed every cycle it
    sustains a word popped every cycle: no port depends on another within a cycle.

    | port | width | direction | |
    |---|---|---|---|
    | in_valid, in_ready, in_data | 1, 1, width | in, out, in | a word is taken when both are high |
    | out_valid, out_ready, out_data | 1, 1, width | out, in, out | it leaves when both are high |
    | level | 3 | out | words held, 0 to 4 |
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.module_name = f"nofm_elastic_{width}"
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(width),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(width),
                "level": Out(range(DEPTH + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=self.width, depth=DEPTH, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        head, tail = Signal(range(DEPTH)), Signal(range(DEPTH))
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.in_ready.eq(self.level != DEPTH),
            self.out_valid.eq(self.level != 0),
            push.eq(self.in_valid & self.in_ready),
            pop.eq(self.out_valid & self.out_ready),
            write.addr.eq(tail),
            write.data.eq(self.in_data),
            write.en.eq(push),
            read.addr.eq(head),
            self.out_data.eq(read.data),
        ]
        m.d.sync += [
            head.eq(head + pop),
            tail.eq(tail + push),
            self.level.eq(self.level + push - pop),
        ]
        return m
