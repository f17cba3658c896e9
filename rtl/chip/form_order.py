"""In which order the groups of both forms are taken from the pruner's lanes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.sizes import BLOCK
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import COUNT_BITS, job_fields


def rows_held(geometry: Geometry) -> int:
    """Rows of the second form that there is memory for: `BLOCK` leave while others come."""
    return 2 * max(BLOCK, 1 << (geometry.group - 1).bit_length())


class RowsOrder(Unit):
    """The lanes that finish the groups along the rows, in the order of the form in memory: tap by
    tap, group by group, column by column.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin a job; not while `valid` |
    | job | `job_fields` of the pruner | in | steady from the cycle after `start` on |
    | valid, ready | 1, 1 | out, in | the next group is taken when both are high |
    | lane | lane bits | out | the lane that finishes it |

    Throughput: a group a cycle.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_form_rows_order_{g.suffix}"
        super().__init__(
            {
                "start": In(1),
                "job": In(sum(job_fields(g).values())),
                "valid": Out(1),
                "ready": In(1),
                "lane": Out(range(g.lanes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        job = split(job_fields(g), self.job)
        slot, group, tap = (Signal(COUNT_BITS, name=name) for name in ("slot", "group", "tap"))
        columns = Signal(range(g.lanes + 1))
        slot_end, row_end, tap_end, last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            row_end.eq(slot == job["slots"]),
            columns.eq(Mux(row_end, job["last_columns"], Mux(job["both"], g.half, g.lanes))),
            slot_end.eq(self.lane + 1 == columns),
            tap_end.eq(group == job["groups"]),
            last.eq(slot_end & row_end & tap_end & (tap == job["taps"])),
        ]
        with m.If(self.start):
            m.d.sync += [self.valid.eq(1), self.lane.eq(0), slot.eq(0), group.eq(0), tap.eq(0)]
        with m.Elif(self.valid & self.ready):
            m.d.sync += [self.valid.eq(~last), self.lane.eq(Mux(slot_end, 0, self.lane + 1))]
            with m.If(slot_end):
                m.d.sync += slot.eq(Mux(row_end, 0, slot + 1))
                with m.If(row_end):
                    m.d.sync += group.eq(Mux(tap_end, 0, group + 1))
                    with m.If(tap_end):
                        m.d.sync += tap.eq(tap + 1)
        return m


class ColumnsOrder(Unit):
    """The lanes that finish the groups along the columns, as they come: tap by tap, row group by
    row group, slot by slot, row by row, and in each the lanes whose column ends a group.

    Each group has a place in a memory of some rows, in which `BLOCK` of them leave together: a
    tap's rows begin with a multiple of `BLOCK`, and no row group begins before all its rows are
    free.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin a job; not before the last one's rows have all left |
    | job | `job_fields` of the pruner | in | steady from the cycle after `start` on |
    | valid, ready | 1, 1 | out, in | the next group is taken when both are high |
    | lane | lane bits | out | which of the half's lanes finishes it |
    | row | row bits | out | its row in the memory |
    | group | group bits | out | its number along the columns |
    | whole | 1 | out | there is a block of rows whose groups have all been taken |
    | frees | 1 | in | such a block has left |

    Throughput: a group a cycle; a slot in which none ends takes one, too.

    Args:
        geometry: of the pruner.
        turned: groups along the columns that there is memory for.
    """

    def __init__(self, geometry: Geometry, turned: int) -> None:
        self.geometry = g = geometry
        self.rows = rows_held(g)
        self.module_name = f"nofm_form_columns_order_{turned}_{g.suffix}"
        super().__init__(
            {
                "start": In(1),
                "job": In(sum(job_fields(g).values())),
                "valid": Out(1),
                "ready": In(1),
                "lane": Out(range(max(2, g.half))),
                "row": Out(range(self.rows)),
                "group": Out(range(turned)),
                "whole": Out(1),
                "frees": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        job = split(job_fields(g), self.job)
        active, slot, tap = Signal(), Signal(COUNT_BITS), Signal(COUNT_BITS)
        row_group, row = Signal(COUNT_BITS), Signal(g.index_bits)
        last_row, row_end, slot_end = Signal(g.index_bits), Signal(), Signal()
        group_end, tap_end = Signal(), Signal()

        # The lanes that end a group: every M-th from the first on, and that of the last column.
        position, ahead = Signal(g.index_bits), Signal(g.index_bits + 1)
        next_position = Signal(g.index_bits)
        fresh, after = Signal(), Signal.like(self.lane)
        limit, first = Signal.like(self.lane), Signal(g.index_bits)
        further = Signal(range(g.half + g.group + 1))
        some, over = Signal(), Signal()
        m.d.comb += [
            group_end.eq(slot == job["slots"]),
            limit.eq(Mux(group_end, job["last_columns"], g.half) - 1),
            first.eq(job["last_index"] - position),
            some.eq(group_end | (first <= limit)),
            self.lane.eq(Mux(fresh, Mux(first <= limit, first, limit), after)),
            further.eq(self.lane + job["last_index"] + 1),
            over.eq(Mux(group_end, self.lane == limit, further > limit)),
            ahead.eq(position + job["step"]),
            next_position.eq(Mux(ahead > job["last_index"], ahead - job["last_index"] - 1, ahead)),
            tap_end.eq(row_group == job["groups"]),
            last_row.eq(Mux(tap_end, job["last_row"], job["last_index"])),
            row_end.eq(row == last_row),
        ]

        # Rows: those of the row group, from `base` on, behind `level` rows that have not left.
        base, level = Signal(range(self.rows)), Signal(range(self.rows + 1))
        to, adds = Signal(range(self.rows + g.group + BLOCK)), Signal(range(g.group + BLOCK))
        free, done, moves = Signal(), Signal(), Signal()
        low = (BLOCK - 1).bit_length()
        next_to = Signal.like(to)
        number = Signal.like(self.group)
        m.d.comb += [
            # It stays free until its last group is taken.
            free.eq(level + last_row < self.rows),
            self.valid.eq(active & some & free),
            self.row.eq(base + row),
            self.group.eq(number),
            moves.eq(self.valid & self.ready),
            slot_end.eq((moves & over & row_end) | (active & ~some)),
            done.eq(slot_end & group_end),
            to.eq(base + last_row + 1),
            next_to.eq(Mux(tap_end & to[:low].any(), (to[low:] + 1) << low, to)),
            adds.eq(next_to - base),
            self.whole.eq(~(level < BLOCK)),
        ]
        m.d.sync += level.eq(level + Mux(done, adds, 0) - Mux(self.frees, BLOCK, 0))
        begin = Signal.like(self.group)
        with m.If(self.start):
            m.d.sync += [active.eq(1), slot.eq(0), tap.eq(0), row_group.eq(0), row.eq(0)]
            m.d.sync += [position.eq(0), fresh.eq(1), number.eq(0), begin.eq(0)]
            m.d.sync += [base.eq(0), level.eq(0)]
        with m.Elif(moves):
            m.d.sync += [fresh.eq(over), number.eq(Mux(over, begin, number + 1))]
            m.d.sync += after.eq(Mux(further > limit, limit, further))
            with m.If(over):
                m.d.sync += row.eq(Mux(row_end, 0, row + 1))
        with m.If(slot_end & ~self.start):
            m.d.sync += [
                slot.eq(Mux(group_end, 0, slot + 1)),
                position.eq(Mux(group_end, 0, next_position)),
            ]
            with m.If(some):
                behind = Mux(group_end, 0, number + 1)
                m.d.sync += [number.eq(behind), begin.eq(behind)]
        with m.If(done & ~self.start):
            m.d.sync += [base.eq(next_to), row_group.eq(Mux(tap_end, 0, row_group + 1))]
            with m.If(tap_end):
                m.d.sync += [tap.eq(tap + 1), active.eq(tap != job["taps"])]
        return m
