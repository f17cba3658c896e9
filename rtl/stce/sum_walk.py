"""Walk over the sums of a job in WS, in the order in which they enter and leave the array."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.geometry import SIZE_BITS, Geometry
from nofm.rtl.stce.loops import nest


class SumWalk(Unit):
    """Counts sums: vectors inside column folds inside group folds.

    One walks along the top as sums enter, one along the bottom as they leave. An event moves on
    `delay` cycles later; the outputs describe its sum in the cycle in which `passes` is high.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | start | 1 | in | a job begins: back to its first sum |
    | vectors, column_folds, group_folds | 24 | in | of the job, less one; steady from `start` on |
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
        event = self.event
        for k in range(self.delay):
            later = Signal(name=f"event{k}")
            m.d.sync += later.eq(event)
            event = later
        rounds = {
            "vector": self.vectors,
            "columns": self.column_folds,
            "groups": self.group_folds,
        }
        loops = nest(m, "sum", rounds, step=event, start=self.start)
        vector, columns, groups = loops.values()
        address, first_fold = Signal(self.geometry.word_bits), Signal()
        with m.If(event):
            m.d.sync += address.eq(address + 1)
            with m.If(vector.last & columns.last):
                m.d.sync += [address.eq(0), first_fold.eq(groups.last)]
        with m.If(self.start):
            m.d.sync += [address.eq(0), first_fold.eq(1)]
        m.d.comb += [
            self.passes.eq(event),
            self.address.eq(address),
            self.first_fold.eq(first_fold),
            self.last_fold.eq(groups.last),
            self.last_columns.eq(columns.last),
        ]
        return EnableInserter(self.advance)(m)
