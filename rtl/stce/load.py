"""Weights that enter at the left edge (WS), for the fold that begins next."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.control import job_layout, load_control
from nofm.rtl.stce.geometry import Geometry


class Load(Unit):
    """Loads N weights for each column in use, one a cycle, from the cycle of `begin` on.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | job | `job_layout` | in | the job |
    | begin | 1 | in | start to load for the fold that follows; there is one |
    | last_columns, short | 1 | in | it is a last column fold; not all rows work on it |
    | control | `load_control` | out | for the first row |
    | loads | 1 | out | the cycle is one of those |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_load"
        super().__init__(
            {
                "advance": In(1),
                "job": In(job_layout(g).size),
                "begin": In(1),
                "last_columns": In(1),
                "short": In(1),
                "control": Out(load_control(g).size),
                "loads": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        g = self.geometry
        job = data.View(job_layout(g), self.job)
        control = data.View(load_control(g), self.control)
        slot_r, slot = Signal(g.entry_bits), Signal(g.entry_bits)
        left_r, left = Signal(g.used_bits), Signal(g.used_bits)
        goes_on, last = Signal(), Signal()
        m.d.comb += [
            slot.eq(Mux(self.begin, 0, slot_r)),
            left.eq(Mux(self.begin, Mux(self.last_columns, job.columns_last, g.columns), left_r)),
            self.loads.eq(goes_on | self.begin),
            last.eq(slot == job.passes),
            control.load.eq(self.loads),
            control.load_short.eq(self.short),
            control.load_slot.eq(slot),
        ]
        m.d.sync += [
            slot_r.eq(Mux(last, 0, slot + 1)),
            left_r.eq(left - last),
            goes_on.eq(self.loads & ~(last & (left == 1))),
        ]
        return EnableInserter(self.advance)(m)
