"""Slots: the sums of a block or group in turn, and the next kept weight after all of them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.control import job_layout, sent_control, top_control
from nofm.rtl.stce.geometry import Geometry, bits


class Slots(Unit):
    """Sends the slots of what begins, N times P cycles; the first one in the cycle of `begin`.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | job | `job_layout` | in | the job |
    | restart | 1 | in | a job begins: send nothing more of the one before |
    | begin, begin_fold | 1 | in | a block (WS) or group (OS) begins; it is a fold's first one |
    | last_unit, last_columns, last_fold | 1 | in | it is its fold's last one; its fold is a last \
column fold; no other fold follows |
    | control | `sent_control` | out | for the first row |
    | top | `top_control` | out | OS: the first column's control |
    | sends, slot | 1 | out | the cycle is one of those; a slot enters in it |
    | all_sent | 1 | out | WS: the job's last slot has been sent |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_slots"
        super().__init__(
            {
                "advance": In(1),
                "job": In(job_layout(g).size),
                "restart": In(1),
                "begin": In(1),
                "begin_fold": In(1),
                "last_unit": In(1),
                "last_columns": In(1),
                "last_fold": In(1),
                "control": Out(sent_control(g).size),
                "top": Out(top_control(g).size),
                "sends": Out(1),
                "slot": Out(1),
                "all_sent": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        g = self.geometry
        job = data.View(job_layout(g), self.job)
        stationary = ~job.output_stationary
        turn_r, turn = Signal(bits(g.period)), Signal(bits(g.period))
        pass_r, passes = Signal(g.entry_bits), Signal(g.entry_bits)
        sending, all_sent = Signal(), Signal()
        half, bank, first = Signal(init=1), Signal(init=1), Signal()
        last_turn, period = Signal(g.turn_bits), Signal(len(job.period))
        sums, last_pass, first_now = Signal(g.turn_bits), Signal(), Signal()
        m.d.comb += [
            turn.eq(Mux(self.begin, 0, turn_r)),
            passes.eq(Mux(self.begin, 0, pass_r)),
            sums.eq(Mux(self.last_columns, job.sums_last, job.sums)),
            last_turn.eq(Mux(stationary & self.last_unit, job.sums_ragged, sums)),
            period.eq(Mux(self.last_columns, job.period_last, job.period)),
            last_pass.eq(passes == job.passes),
            first_now.eq(Mux(self.begin, self.begin_fold, first)),
            self.sends.eq(sending | self.begin),
            self.slot.eq(self.sends & ~all_sent & (turn <= last_turn)),
            self.all_sent.eq(all_sent),
        ]
        m.d.sync += [
            turn_r.eq(turn + self.sends),
            pass_r.eq(passes),
            sending.eq(self.sends),
            first.eq(first_now),
            half.eq(half ^ self.begin),
            bank.eq(bank ^ self.begin_fold),
        ]
        with m.If(turn == period):
            m.d.sync += [turn_r.eq(0), pass_r.eq(passes + 1), sending.eq(self.sends & ~last_pass)]
        # In OS a fold's end follows its last slot, and the job's the drain.
        last_slot = self.slot & last_pass & (turn == last_turn) & self.last_unit & self.last_fold
        with m.If(stationary & last_slot):
            m.d.sync += all_sent.eq(1)
        with m.If(self.restart):
            m.d.sync += [half.eq(1), bank.eq(1), sending.eq(0), all_sent.eq(0)]

        control, top = data.View(sent_control(g), self.control), data.View(top_control(g), self.top)
        rest = self.last_columns & (turn == job.sums_last)
        m.d.comb += [
            control.slot.eq(self.slot),
            control.first.eq((passes == 0) & (stationary | first_now)),
            control.leaves.eq(stationary & last_pass),
            control.swap.eq(stationary & self.begin_fold),
            control.half.eq(half ^ self.begin),
            # Interleaved sums share the group in OS.
            control.group.eq(Mux(stationary, turn, 0)),
            control.sum[: g.turn_bits].eq(turn),
            control.sum[g.turn_bits].eq(job.output_stationary & (bank ^ self.begin_fold)),
            # The first weight of a group was pushed furthest into the bank.
            control.entry.eq(Mux(stationary, job.passes - passes, passes)),
            top.slot.eq(self.slot & job.output_stationary),
            top.entry.eq(passes),
            # Only the last of the interleaved sums leaves columns without work.
            top.used.eq(Mux(rest, job.columns_last, g.columns)),
        ]
        return EnableInserter(self.advance)(m)
