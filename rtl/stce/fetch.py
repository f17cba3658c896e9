"""Beats of activations from the port, for the block or group that is sent next."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.control import fetch_control, job_layout
from nofm.rtl.stce.geometry import Geometry


class Fetch(Unit):
    """Fetches V groups of F beats (WS), or one (OS), from the cycle of `begin` on.

    It takes its time also where there is nothing to fetch.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | job | `job_layout` | in | the job |
    | restart | 1 | in | a job begins: fetch nothing more for the one before |
    | begin | 1 | in | start to fetch what follows |
    | exists, ragged, short | 1 | in | of what follows, until the next `begin`: whether there is \
something, it is a fold's last block (WS), not all rows work on it |
    | control | `fetch_control` | out | for the first row |
    | fetches | 1 | out | the cycle is one of those |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_fetch"
        super().__init__(
            {
                "advance": In(1),
                "job": In(job_layout(g).size),
                "restart": In(1),
                "begin": In(1),
                "exists": In(1),
                "ragged": In(1),
                "short": In(1),
                "control": Out(fetch_control(g).size),
                "fetches": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        g = self.geometry
        job = data.View(job_layout(g), self.job)
        control = data.View(fetch_control(g), self.control)
        stationary = ~job.output_stationary
        place_r, place = Signal(g.turn_bits), Signal(g.turn_bits)
        beat_r, beat = Signal(g.beat_bits), Signal(g.beat_bits)
        half, goes_on, last_beat = Signal(init=1), Signal(), Signal()
        sums = Signal(g.turn_bits)
        m.d.comb += [
            place.eq(Mux(self.begin, 0, place_r)),
            beat.eq(Mux(self.begin, 0, beat_r)),
            self.fetches.eq(goes_on | self.begin),
            last_beat.eq(beat == job.beats),
            sums.eq(Mux(self.ragged, job.sums_ragged, job.sums)),
            control.fetch.eq(self.fetches & self.exists & (~stationary | (place <= sums))),
            control.fetch_half.eq(half ^ self.begin),
            control.fetch_sum.eq(place),
            control.fetch_beat.eq(beat),
            control.fetch_short.eq(self.short),
        ]
        m.d.sync += [
            place_r.eq(place + last_beat),
            beat_r.eq(Mux(last_beat, 0, beat + 1)),
            half.eq(half ^ self.begin),
            goes_on.eq(self.fetches & ~(last_beat & (~stationary | (place == job.sums)))),
        ]
        with m.If(self.restart):
            m.d.sync += [half.eq(1), goes_on.eq(0)]
        return EnableInserter(self.advance)(m)
