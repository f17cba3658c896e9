"""The drain's sequencer: sums leave the array's columns in OS, fold after fold."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.control import drain_control, job_layout
from nofm.rtl.stce.geometry import Geometry, bits


class Drain(Unit):
    """Control of the first column's drain.

    A fold that gives up the first USPE in cycle E drains from cycle E + R - 1 + X + L - 1: in one
    cycle all rows put sum v in the chain, whose foot leaves at once and the others after it.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | starts | 1 | in | a job begins in the next cycle |
    | job | `job_layout` | in | the job that the array works on |
    | fold_ends, ends_last_columns, ends_short | 1 | in | from the sequencer, in cycle E - 1 |
    | drain | `drain_control` | out | for the first column |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_drain"
        super().__init__(
            {
                "advance": In(1),
                "starts": In(1),
                "job": In(job_layout(g).size),
                "fold_ends": In(1),
                "ends_last_columns": In(1),
                "ends_short": In(1),
                "drain": Out(drain_control(g).size),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        g = self.geometry
        job = data.View(job_layout(g), self.job)
        out = data.View(drain_control(g), self.drain)
        layout = data.StructLayout({"fold": 1, "last_columns": 1, "short": 1})
        coming = Signal(layout)
        m.d.comb += [
            coming.fold.eq(self.fold_ends),
            coming.last_columns.eq(self.ends_last_columns),
            coming.short.eq(self.ends_short),
        ]
        for k in range(g.rows + g.multiplier_cycles + g.adder_cycles - 2):
            later = Signal(layout, name=f"coming{k}")
            m.d.sync += later.eq(coming)
            coming = later

        busy, last_columns, short, bank = Signal(), Signal(), Signal(), Signal(init=1)
        turn, row = Signal(g.turn_bits), Signal(bits(g.rows))
        sums, last_row = Signal(g.turn_bits), Signal()
        m.d.comb += [
            sums.eq(Mux(last_columns, job.sums_last, job.sums)),
            last_row.eq(row == 0),
            out.load.eq(busy & (row == g.rows - 1)),
            out.sum.eq(turn),
            out.sum[g.turn_bits].eq(bank),
            out.write.eq(busy & (~short | (row < job.rows_last))),
            # Only the last of the interleaved sums leaves columns without work.
            out.used.eq(Mux(last_columns & (turn == sums), job.columns_last, g.columns)),
        ]
        with m.If(busy):
            m.d.sync += row.eq(row - 1)
            with m.If(last_row):
                m.d.sync += [row.eq(g.rows - 1), turn.eq(turn + 1), busy.eq(turn != sums)]
        with m.If(coming.fold):
            m.d.sync += [
                busy.eq(1),
                row.eq(g.rows - 1),
                turn.eq(0),
                bank.eq(~bank),
                last_columns.eq(coming.last_columns),
                short.eq(coming.short),
            ]
        with m.If(self.starts):
            m.d.sync += bank.eq(1)
        return EnableInserter(self.advance)(m)
