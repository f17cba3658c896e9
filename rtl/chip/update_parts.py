"""Parts of a weight as the update's lanes take them: how many parameters each has."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.regroup import count_bits
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import COUNT_BITS, job_fields


class UpdateParts(Unit):
    """Walks through the pruner's beats, and through the parts in which each comes.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin a job; not while `valid` |
    | job | `job_fields` of the pruner | in | steady from the cycle after `start` on |
    | valid, ready | 1, 1 | out, in | a part is taken when both are high |
    | some | 1 | out | it has parameters: the last slot's later parts may have none |
    | count | `count_bits(lanes)` | out | how many, less one |

    Throughput: a part a cycle.

    Args:
        geometry: of the pruner.
        lanes: parameters of a part, at most.
    """

    def __init__(self, geometry: Geometry, lanes: int) -> None:
        self.geometry, self.lanes = geometry, lanes
        self.module_name = f"nofm_update_parts_{lanes}_{geometry.suffix}"
        super().__init__(
            {
                "start": In(1),
                "job": In(sum(job_fields(geometry).values())),
                "valid": Out(1),
                "ready": In(1),
                "some": Out(1),
                "count": Out(count_bits(lanes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        job = split(job_fields(g), self.job)
        row = Signal(g.index_bits)
        slot, group, tap = (Signal(COUNT_BITS, name=name) for name in ("slot", "group", "tap"))
        # Columns of the beat, and those before this part.
        columns, before, left = (Signal(range(g.lanes + self.lanes + 1)) for _ in range(3))
        last_part: Value = Const(1, 1)
        if g.part_bits:
            part = Signal(g.part_bits)
            last_part = part == job["last_part"]
        beat_end, slot_end, group_end, tap_end, last = (Signal() for _ in range(5))
        m.d.comb += [
            group_end.eq(slot == job["slots"]),
            tap_end.eq(group == job["groups"]),
            columns.eq(Mux(group_end, job["last_columns"], Mux(job["both"], g.half, g.lanes))),
            self.some.eq(before < columns),
            left.eq(columns - before),
            self.count.eq(Mux(left < self.lanes, left, self.lanes) - 1),
            beat_end.eq(last_part),
            slot_end.eq(beat_end & (row == Mux(tap_end, job["last_row"], job["last_index"]))),
            last.eq(slot_end & group_end & tap_end & (tap == job["taps"])),
        ]
        with m.If(self.start):
            m.d.sync += [self.valid.eq(1), row.eq(0), slot.eq(0), group.eq(0), tap.eq(0)]
        with m.Elif(self.valid & self.ready):
            m.d.sync += [
                self.valid.eq(~last),
                before.eq(Mux(beat_end, 0, before + self.lanes)),
            ]
            if g.part_bits:
                m.d.sync += part.eq(Mux(beat_end, 0, part + 1))
            with m.If(beat_end):
                m.d.sync += row.eq(Mux(slot_end, 0, row + 1))
            with m.If(slot_end):
                m.d.sync += slot.eq(Mux(group_end, 0, slot + 1))
                with m.If(group_end):
                    m.d.sync += group.eq(Mux(tap_end, 0, group + 1))
                    with m.If(tap_end):
                        m.d.sync += tap.eq(tap + 1)
        return m
