"""Walk over the folds of a job: columns inside groups (WS) or rows (OS), inside products."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.geometry import SIZE_BITS
from nofm.rtl.stce.loops import nest


class FoldWalk(Unit):
    """Tells of the fold that follows.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | start | 1 | in | a job begins: its first fold follows from the next cycle on |
    | step | 1 | in | the fold begins, and another one follows |
    | column_folds, outer_folds, products | 24 | in | of the job, less one; steady from `start` on |
    | exists | 1 | out | a fold follows |
    | first_outer | 1 | out | it is in a product's first group of rows or groups |
    | last_columns, short | 1 | out | it is a last column fold; a last fold of rows or groups |
    | last_columns_after | 1 | out | `last_columns` of the fold after it |
    """

    def __init__(self) -> None:
        self.module_name = "nofm_stce_fold_walk"
        super().__init__(
            {
                "advance": In(1),
                "start": In(1),
                "step": In(1),
                "column_folds": In(SIZE_BITS),
                "outer_folds": In(SIZE_BITS),
                "products": In(SIZE_BITS),
                "exists": Out(1),
                "first_outer": Out(1),
                "last_columns": Out(1),
                "last_columns_after": Out(1),
                "short": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        rounds = {
            "columns": self.column_folds,
            "outer": self.outer_folds,
            "products": self.products,
        }
        loops = nest(m, "fold", rounds, step=self.step, start=self.start)
        columns, outer, products = loops.values()
        exists, first_outer = Signal(), Signal()
        with m.If(self.step):
            m.d.sync += [
                exists.eq(exists & ~(columns.last & outer.last & products.last)),
                first_outer.eq(Mux(columns.last, outer.last, first_outer)),
            ]
        with m.If(self.start):
            m.d.sync += [exists.eq(1), first_outer.eq(1)]
        m.d.comb += [
            self.exists.eq(exists),
            self.first_outer.eq(first_outer),
            self.last_columns.eq(columns.last),
            self.last_columns_after.eq(columns.last_after),
            self.short.eq(outer.last),
        ]
        return EnableInserter(self.advance)(m)
