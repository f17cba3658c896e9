"""Walk over the sums of a job in WS, in the order in which they enter and leave the array."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.geometry import SIZE_BITS, Geometry


class SumWalk(Unit):
    """Counts sums: vectors inside column folds inside group folds.

    One walks along the top as sums enter, one along the bottom as they leave. An event moves on
    `delay` cycles later; the outputs describe its sum in the cycle in which `passes` is high.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | start | 1 | in | a job begins: back to its first sum |
    | vectors, column_folds, group_folds | 24 | in | of the job: m; the others less one |
    | event | 1 | in | a sum will pass |
    | passes | 1 | out | it passes |
    | address | word bits | out | its place in the accumulation buffer |
    | first_fold, last_fold | 1 | out | its group fold is a product's first, last one |
    | last_columns | 1 | out | its column fold is the last one |
    """

    def __init__(self, geometry: Geometry, delay: int) -> None:
        self.geometry = g = geometry
        self.delay = delay
        self.module_name = f"nofm_stce_sum_walk_{delay}"
        super().__init__(
            {
                "advance": In(1),
                "start": In(1),
                "vectors": In(SIZE_BITS),
                "column_folds": In(SIZE_BITS),
                "group_folds": In(SIZE_BITS),
                "event": In(1),
                "passes": Out(1),
                "address": Out(g.word_bits),
                "first_fold": Out(1),
                "last_fold": Out(1),
                "last_columns": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        vector, column, group = Signal(SIZE_BITS), Signal(SIZE_BITS), Signal(SIZE_BITS)
        address = Signal(self.geometry.word_bits)
        event = self.event
        for k in range(self.delay):
            later = Signal(name=f"event{k}")
            m.d.sync += later.eq(event)
            event = later
        m.d.comb += [
            self.passes.eq(event),
            self.address.eq(address),
            self.first_fold.eq(group == 0),
            self.last_fold.eq(group == self.group_folds),
            self.last_columns.eq(column == self.column_folds),
        ]
        with m.If(event):
            m.d.sync += [vector.eq(vector + 1), address.eq(address + 1)]
            with m.If(vector + 1 == self.vectors):
                m.d.sync += [vector.eq(0), column.eq(column + 1)]
                with m.If(self.last_columns):
                    m.d.sync += [column.eq(0), address.eq(0), group.eq(group + 1)]
                    with m.If(self.last_fold):
                        m.d.sync += group.eq(0)
        with m.If(self.start):
            m.d.sync += [vector.eq(0), column.eq(0), group.eq(0), address.eq(0)]
        return EnableInserter(self.advance)(m)
