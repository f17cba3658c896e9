"""Sequencer of WUVE: when beats are taken and when their results leave."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.wuve.job import SIZE_BITS


class Sequencer(Unit):
    """Takes a job's beats in its first cycles, and gives each one's results `latency` later.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low, but for `start` |
    | start | 1 | in | begin a job; `advance` is low meanwhile |
    | beats | 48 | in | at `start`: beats of the job, less 1 |
    | take, take_next | 1 | out | a beat is taken in this cycle, in the next one, if it advances |
    | give, give_next | 1 | out | results leave in this cycle, in the next one, if it advances |
    | finish | 1 | out | the job's last results leave in this cycle, if it advances |
    """

    def __init__(self, latency: int) -> None:
        self.latency = latency
        self.module_name = f"nofm_wuve_sequencer_{latency}"
        super().__init__(
            {
                "advance": In(1),
                "start": In(1),
                "beats": In(SIZE_BITS),
                "take": Out(1),
                "take_next": Out(1),
                "give": Out(1),
                "give_next": Out(1),
                "finish": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left, last = Signal(SIZE_BITS), Signal()
        # Cycles to the first results; and, of those after the last beat, cycles to its results.
        fill, drain = Signal(range(self.latency + 1)), Signal(range(self.latency))
        m.d.comb += [
            last.eq(left == 0),
            self.take_next.eq(self.start | (self.take & ~(self.advance & last))),
            self.give.eq(fill == 0),
            self.give_next.eq(~self.start & (self.give | (self.advance & (fill == 1)))),
            self.finish.eq(self.give & ~self.take & (drain == 0)),
        ]
        m.d.sync += self.take.eq(self.take_next)
        with m.If(self.start):
            m.d.sync += [left.eq(self.beats), fill.eq(self.latency)]
        with m.Elif(self.advance):
            m.d.sync += [
                left.eq(left - 1),
                fill.eq(Mux(self.give, 0, fill - 1)),
                drain.eq(Mux(self.take, self.latency - 1, drain - 1)),
            ]
        return m
