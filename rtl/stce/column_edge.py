"""The top and bottom edge of an array column: weights in OS, sums in and out."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.control import (
    drain_control,
    read_control,
    top_control,
    weight,
    write_control,
)
from nofm.rtl.stce.geometry import Geometry


class ColumnEdge(Unit):
    """What stands above and below an array column, with its part of the accumulation buffer.

    Control comes from the column to the left and goes on to the right a cycle later. A sum that
    leaves downward in cycle t can enter at the top in cycle t + A (`accumulator_cycles`).

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | number | used bits | in | of the column |
    | output_stationary, dense | 1 | in | of the next cycle's job |
    | top_next, top | `top_control` | in, out | OS: weights that are due, next cycle and now |
    | needs_weight, needs_weight_next | 1 | out | a weight is taken; in the next cycle |
    | kept, weight | `weight` | in, out | OS: the weight at the port, and for the top USPE |
    | read, read_right | `read_control` | in, out | WS: the sum that enters `read_cycles` later |
    | sum_top, sum_bottom | 32 | out, in | WS: sums that enter and leave |
    | write, write_right | `write_control` | in, out | WS: the sum that leaves |
    | drain, drain_right | `drain_control` | in, out | OS: the sums that leave |
    | drain_load, drain_sum | 1, sum bits | out | OS: for the column's USPEs |
    | drain_bottom | 32 | in | OS: the foot of the chain |
    | result_valid, result | 1, 32 | out | a result |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_column_edge"
        top, weights = top_control(g).size, weight(g).size
        read, write, drain = read_control(g).size, write_control(g).size, drain_control(g).size
        super().__init__(
            {
                "advance": In(1),
                "number": In(g.used_bits),
                "output_stationary": In(1),
                "dense": In(1),
                "top_next": In(top),
                "top": Out(top),
                "needs_weight": Out(1),
                "needs_weight_next": Out(1),
                "kept": In(weights),
                "weight": Out(weights),
                "read": In(read),
                "read_right": Out(read),
                "sum_top": Out(32),
                "sum_bottom": In(32),
                "write": In(write),
                "write_right": Out(write),
                "drain": In(drain),
                "drain_right": Out(drain),
                "drain_load": Out(1),
                "drain_sum": Out(g.sum_bits),
                "drain_bottom": In(32),
                "result_valid": Out(1),
                "result": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        # The job's word may stand far away: what is needed of it all the time is kept here.
        self.kept_dense, stationary = Signal(), Signal()
        m.d.sync += [
            self.kept_dense.eq(self.dense),
            stationary.eq(self.output_stationary),
        ]
        self._weights(m)
        self._sums(m)
        g = self.geometry
        write, drain = (
            data.View(write_control(g), self.write),
            data.View(drain_control(g), self.drain),
        )
        final, drained = Signal(), Signal()
        m.d.comb += [
            final.eq(write.write & write.final & (self.number < write.used)),
            drained.eq(drain.write & (self.number < drain.used)),
            self.drain_load.eq(drain.load),
            self.drain_sum.eq(drain.sum),
            self.result_valid.eq(Mux(stationary, drained, final)),
            self.result.eq(Mux(stationary, self.drain_bottom, self.sum_bottom)),
        ]
        for name in ("read", "write", "drain"):
            right = Signal(len(getattr(self, name)), name=f"{name}_passed")
            m.d.sync += right.eq(getattr(self, name))
            m.d.comb += getattr(self, f"{name}_right").eq(right)
        return EnableInserter(self.advance)(m)

    def _weights(self, m: Module) -> None:
        layout = top_control(self.geometry)
        now, coming = Signal(layout), data.View(layout, self.top_next)
        m.d.sync += now.eq(coming)
        m.d.comb += [
            self.top.eq(now.as_value()),
            self.needs_weight.eq(now.slot & (self.number < now.used)),
            self.needs_weight_next.eq(coming.slot & (self.number < coming.used)),
        ]
        given = data.View(weight(self.geometry), self.kept)
        passed = data.View(weight(self.geometry), self.weight)
        # Idle columns get zeros.
        with m.If(self.needs_weight):
            m.d.comb += [
                passed.value.eq(given.value),
                passed.index.eq(Mux(self.kept_dense, now.entry, given.index)),
            ]

    def _sums(self, m: Module) -> None:
        g = self.geometry
        read, write = data.View(read_control(g), self.read), data.View(write_control(g), self.write)
        m.submodules.accumulated = memory = Memory(shape=32, depth=g.accumulator_words, init=[])
        writes = memory.write_port()
        # A sum may have to be read in the cycle in which it is written.
        at_once = g.accumulator_cycles == g.read_cycles
        reads = memory.read_port(transparent_for=[writes] if at_once else [])
        enable, address, value = write.write & ~write.final, write.address, self.sum_bottom
        for k in range(g.accumulator_cycles - g.read_cycles - 1):
            delayed = (
                Signal(name=f"enable{k}"),
                Signal(g.word_bits, name=f"address{k}", reset_less=True),
                Signal(32, name=f"value{k}", reset_less=True),
            )
            m.d.sync += [
                stage.eq(before)
                for stage, before in zip(delayed, (enable, address, value), strict=True)
            ]
            enable, address, value = delayed
        zero, sum_top = Signal(), Signal(32)
        m.d.sync += zero.eq(read.zero)
        read_sum = Mux(zero, 0, reads.data)
        if g.read_cycles == 1:
            m.d.comb += sum_top.eq(read_sum)
        else:
            m.d.sync += sum_top.eq(read_sum)
        m.d.comb += [
            writes.en.eq(enable),
            writes.addr.eq(address),
            writes.data.eq(value),
            reads.en.eq(read.read),
            reads.addr.eq(read.address),
            self.sum_top.eq(sum_top),
        ]
