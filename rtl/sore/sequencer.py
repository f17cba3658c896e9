"""Sequencer of SORE: which rows and columns of the matrix every cycle's beat holds."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import COUNT_BITS, job_fields


def beat_fields(geometry: Geometry) -> dict[str, int]:
    """What the lanes must know of a beat, and its width.

    valid: whether there is one in this cycle.
    row: its place in the row group.
    row_end: whether it is the group's last row.
    columns: columns that it holds.
    position: the first column's place in its group along the columns.
    slot_end: whether it holds the last column.
    """
    return {
        "valid": 1,
        "row": geometry.index_bits,
        "row_end": 1,
        "columns": geometry.lanes.bit_length(),
        "position": geometry.index_bits,
        "slot_end": 1,
    }


class Sequencer(Unit):
    """Walks through a job: taps, row groups, column slots, rows, from outside inwards.

    A cycle takes a beat, or a part of one where beats may take several: the last part makes it
    valid. Two kinds of cycles take none. Where both forms are made, a row's groups may go on in the
    next column slot, and the row's state comes out of the chain E cycles after it went in: a row
    group that is through before waits for it. And after the last beat, the lanes are given the
    cycles in which the last results leave.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low, but for `start` |
    | start | 1 | in | begin a job; `advance` is low meanwhile |
    | job | `job_fields` | in | the job, from `start` to its end |
    | take | 1 | out | a beat, or a part of one, is taken in this cycle, if it advances |
    | take_next | 1 | out | `take` of the next cycle |
    | part | part bits | out | which one, where beats may take several cycles |
    | beat | `beat_fields` | out | what it holds |
    | finish | 1 | out | the job's last cycle, if it advances |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_sore_sequencer_{g.suffix}"
        super().__init__(
            {
                "advance": In(1),
                "start": In(1),
                "job": In(sum(job_fields(g).values())),
                "take": Out(1),
                "take_next": Out(1),
                **({"part": Out(g.part_bits)} if g.part_bits else {}),
                "beat": Out(sum(beat_fields(g).values())),
                "finish": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        job = split(job_fields(g), self.job)
        beat = split(beat_fields(g), self.beat)
        row, position = Signal(g.index_bits), Signal(g.index_bits)
        slot, group, tap = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(COUNT_BITS)
        chained, drain = g.half - 1, g.latency_cycles
        # Where rows wait for the chain there is more than one slot, and beats take all their parts.
        parts = g.parts(g.half)
        waiting, draining = Signal(), Signal()
        wait = Signal(range(drain + g.half))

        last_row, row_end, slot_end = Signal(g.index_bits), Signal(), Signal()
        group_end, tap_end, stop = Signal(), Signal(), Signal()
        ahead = Signal(g.index_bits + 1)
        next_position = Signal(g.index_bits)
        pause, onward = Signal(), Signal()
        beat_end, rows_end = Signal(), Signal()
        last_part: Value = self.part == job["last_part"] if g.part_bits else Const(1, 1)
        m.d.comb += [
            last_row.eq(Mux(group == 0, job["last_row"], job["last_index"])),
            row_end.eq(row == last_row),
            slot_end.eq(slot == 0),
            group_end.eq(group == 0),
            tap_end.eq(tap == 0),
            ahead.eq(position + job["step"]),
            next_position.eq(Mux(ahead > job["last_index"], ahead - job["last_index"] - 1, ahead)),
            beat_end.eq(self.take & last_part),
            rows_end.eq(beat_end & row_end),
            onward.eq(Mux(waiting, wait == 0, rows_end & ~pause)),
            stop.eq(onward & slot_end & group_end & tap_end),
            self.finish.eq(draining & (wait == 0)),
            self.take_next.eq(
                self.start
                | Mux(self.advance, (self.take & ~rows_end) | (onward & ~stop), self.take)
            ),
            beat["valid"].eq(beat_end),
            beat["row"].eq(row),
            beat["row_end"].eq(row_end),
            beat["columns"].eq(
                Mux(slot_end, job["last_columns"], Mux(job["both"], g.half, g.lanes))
            ),
            beat["position"].eq(position),
            beat["slot_end"].eq(slot_end),
        ]
        # A chain of one lane gives a state back before the next slot.
        if chained:
            # The row's groups go on in the next slot, and its state is still under way.
            goes_on = job["both"] & ~slot_end & (next_position != 0)
            m.d.comb += pause.eq(goes_on & (last_row < chained // parts))
        m.d.sync += self.take.eq(self.take_next)
        with m.If(self.advance):
            m.d.sync += wait.eq(wait - 1)
            with m.If(beat_end):
                m.d.sync += row.eq(row + 1)
            if g.part_bits:
                with m.If(self.take):
                    m.d.sync += self.part.eq(Mux(last_part, 0, self.part + 1))
            if chained:
                with m.If(rows_end & pause):
                    m.d.sync += [waiting.eq(1), wait.eq(chained - parts - last_row * parts)]
            with m.If(onward):
                m.d.sync += [
                    waiting.eq(0),
                    row.eq(0),
                    position.eq(Mux(slot_end, 0, next_position)),
                    slot.eq(Mux(slot_end, job["slots"], slot - 1)),
                ]
                with m.If(slot_end):
                    m.d.sync += group.eq(Mux(group_end, job["groups"], group - 1))
                    with m.If(group_end):
                        m.d.sync += tap.eq(tap - 1)
            with m.If(stop):
                m.d.sync += [
                    draining.eq(1),
                    wait.eq(Mux(job["both"], drain + chained, drain) - 1),
                ]
            with m.If(self.finish):
                m.d.sync += draining.eq(0)
        with m.If(self.start):
            m.d.sync += [
                row.eq(0),
                position.eq(0),
                slot.eq(job["slots"]),
                group.eq(job["groups"]),
                tap.eq(job["taps"]),
            ]
        return m
