"""Pace: when an engine goes on and when it waits, and what counts its cycles."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.elastic import Elastic
from nofm.rtl.hierarchy import Unit

COUNTER_BITS = 48

COUNTERS = ("count_busy", "count_stalled_input", "count_stalled_output")


class Pace(Unit):
    """Takes an engine's jobs one at a time, and freezes the engine where a stream makes it wait.

    A job is taken in a cycle with `start`. Its first cycle is the next one in which `advance` is
    high; its last one is that in which `finish` is high as well, and `done` is high in the cycle
    after it. `advance` is a register: whether the engine goes on in a cycle is settled the cycle
    before, from what its buffers will hold.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready | 1 | in, out | the engine's job stream |
    | start | 1 | out | a job is taken in this cycle |
    | lacks_input | 1 | in | the next cycle needs a word that its buffer will not hold |
    | lacks_room | 1 | in | a buffer of results will be full in the next cycle |
    | finish | 1 | in | this is the job's last cycle, if it advances |
    | advance | 1 | out | the engine goes on in this cycle |
    | done | 1 | out | for one cycle: the job's last result is in its buffer |
    | count_busy | 48 | out | cycles in which the job went on |
    | count_stalled_input | 48 | out | cycles in which it lacked input, and room perhaps too |
    | count_stalled_output | 48 | out | cycles in which it lacked room only |

    The counters count from the cycle after `start` to the job's last one, and keep their values
    until the next `start`.
    """

    def __init__(self) -> None:
        self.module_name = "nofm_pace"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "start": Out(1),
                "lacks_input": In(1),
                "lacks_room": In(1),
                "finish": In(1),
                "advance": Out(1),
                "done": Out(1),
                **{name: Out(COUNTER_BITS) for name in COUNTERS},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        running, running_next = Signal(), Signal()
        finished, starved = Signal(), Signal()
        m.d.comb += [
            self.job_ready.eq(~running),
            self.start.eq(self.job_valid & ~running),
            finished.eq(self.advance & self.finish),
            running_next.eq(self.start | (running & ~finished)),
        ]
        m.d.sync += [
            running.eq(running_next),
            self.advance.eq(running_next & ~self.lacks_input & ~self.lacks_room),
            starved.eq(self.lacks_input),
            self.done.eq(finished),
        ]
        with m.If(self.start):
            m.d.sync += [getattr(self, name).eq(0) for name in COUNTERS]
        with m.Elif(self.advance):
            m.d.sync += self.count_busy.eq(self.count_busy + 1)
        with m.Elif(running & starved):
            m.d.sync += self.count_stalled_input.eq(self.count_stalled_input + 1)
        with m.Elif(running):
            m.d.sync += self.count_stalled_output.eq(self.count_stalled_output + 1)
        return m


def level_next(m: Module, name: str, buffer: Elastic) -> Value:
    """Words that `buffer` will hold in the next cycle."""
    level = Signal.like(buffer.level, name=f"{name}_level_next")
    m.d.comb += level.eq(
        buffer.level + (buffer.in_valid & buffer.in_ready) - (buffer.out_valid & buffer.out_ready)
    )
    return level
