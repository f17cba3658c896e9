"""The sequencer: decides cycle by cycle what enters the array (docs/timing.md, "The array").

It works one cycle ahead of the array: what it decides in a cycle is in the first row's control
register in the next one, so that the needs of that cycle are known before it begins.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.control import job_layout, row_control, top_control
from nofm.rtl.stce.geometry import SIZE_BITS, Geometry

PARTS = ("issue", "interleave", "activation_port", "weight_load", "accumulate", "drain", "fill")
"""What a job's cycles go to, by the names of docs/timing.md; bits of the port `part`."""


class Sequencer(Unit):
    """Runs jobs, one after the other without a cycle between them.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | job_valid, job_ready, job_data | 1, 1, `job_layout` | in, out, in | jobs |
    | returned | 1 | in | a fold's first sum is below the array in the next cycle (WS) |
    | control_next | `row_control` | out | the first row's next cycle |
    | top_next | `top_control` | out | the first column's next cycle |
    | fold_ends | 1 | out | OS: a fold gives up the first USPE in the next cycle |
    | ends_last_columns, ends_short | 1 | out | it is a last column fold; rows had no work in it |
    | job | `job_layout` | out | the job that the array works on |
    | starts | 1 | out | the array takes up `job` in the next cycle |
    | idle_when_short | rows | out | rows without work in the short folds of the job |
    | line_write, line_read, line_through, line_ripe | | out | for the rows' delay lines |
    | last_entry, dense, output_stationary | | out | of the job |
    | running, part | 1, 7 | out | the cycle is a job's; what it goes to |
    | ends | 1 | out | it is the job's last |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_sequencer"
        line = g.longest_row_delay.bit_length()
        super().__init__(
            {
                "advance": In(1),
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(job_layout(g).size),
                "returned": In(1),
                "control_next": Out(row_control(g).size),
                "top_next": Out(top_control(g).size),
                "fold_ends": Out(1),
                "ends_last_columns": Out(1),
                "ends_short": Out(1),
                "job": Out(job_layout(g).size),
                "starts": Out(1),
                "idle_when_short": Out(g.rows),
                "line_write": Out(line),
                "line_read": Out(line),
                "line_through": Out(1),
                "line_ripe": Out(1),
                "last_entry": Out(g.entry_bits),
                "dense": Out(1),
                "output_stationary": Out(1),
                "running": Out(1),
                "part": Out(len(PARTS)),
                "ends": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        self.coming = data.View(row_control(self.geometry), self.control_next)
        self._jobs(m)
        self._following_fold(m)
        self._begin(m)
        self._send(m)
        self._fetch(m)
        self._load(m)
        self._end(m)
        self._lines(m)
        self._parts(m)
        return EnableInserter(self.advance)(m)

    def _jobs(self, m: Module) -> None:
        """Take a job in the last cycle of the one before it."""
        layout = job_layout(self.geometry)
        self.now = Signal(layout)
        array_job = Signal(layout)
        self.accept = Signal()
        running, starts = Signal(), Signal()
        m.d.comb += [
            self.running.eq(running),
            self.job_ready.eq(~running | self.ends),
            # A frozen cycle takes no job.
            self.accept.eq(self.job_valid & self.job_ready),
            self.starts.eq(starts),
            self.job.eq(array_job.as_value()),
            self.dense.eq(self.now.dense),
            self.output_stationary.eq(self.now.output_stationary),
            self.last_entry.eq(self.now.passes),
        ]
        m.d.comb += [
            self.idle_when_short[r].eq(self.now.rows_last <= r) for r in range(self.geometry.rows)
        ]
        m.d.sync += [starts.eq(self.accept), array_job.eq(self.now)]
        with m.If(self.accept):
            m.d.sync += [running.eq(1), self.now.eq(self.job_data)]
        with m.Elif(self.ends):
            m.d.sync += running.eq(0)

    def _following_fold(self, m: Module) -> None:
        """The fold after the one that is sent, and the one after that: columns inside groups (WS)
        or rows (OS), inside products."""
        now = self.now
        column, outer, product = Signal(SIZE_BITS), Signal(SIZE_BITS), Signal(SIZE_BITS)
        exists = Signal()
        last_column, last_outer, last_product = Signal(), Signal(), Signal()
        column_after, outer_after = Signal(SIZE_BITS), Signal(SIZE_BITS)
        self.begin_fold = Signal()
        m.d.comb += [
            last_column.eq(column == now.column_folds),
            last_outer.eq(outer == now.outer_folds),
            last_product.eq(product == now.products),
            column_after.eq(Mux(last_column, 0, column + 1)),
            outer_after.eq(Mux(last_column, Mux(last_outer, 0, outer + 1), outer)),
        ]
        # Of the following fold, and of the one after it.
        self.exists, self.first_outer = exists, Signal()
        self.last_columns, self.short = last_column, last_outer
        self.exists_after, self.last_columns_after, self.short_after = Signal(), Signal(), Signal()
        m.d.comb += [
            self.first_outer.eq(outer == 0),
            self.exists_after.eq(exists & ~(last_column & last_outer & last_product)),
            self.last_columns_after.eq(column_after == now.column_folds),
            self.short_after.eq(outer_after == now.outer_folds),
        ]
        with m.If(self.begin_fold):
            m.d.sync += [
                column.eq(column_after),
                outer.eq(outer_after),
                product.eq(product + (last_column & last_outer)),
                exists.eq(self.exists_after),
            ]
        with m.If(self.accept):
            m.d.sync += [column.eq(0), outer.eq(0), product.eq(0), exists.eq(1)]

    def _begin(self, m: Module) -> None:
        """Whether a fold, a block of vectors (WS) or a group (OS) begins in this cycle."""
        now = self.now
        stationary = ~now.output_stationary
        self.begun, self.sending, self.all_sent = Signal(), Signal(), Signal()
        self.fetching, self.loading = Signal(), Signal()
        self.left, self.group, self.ended = Signal(SIZE_BITS), Signal(SIZE_BITS), Signal()
        self.drain_left, drain_now = Signal(len(now.drain)), Signal(len(now.drain))
        self.drain_now = drain_now
        self.current_last_columns = Signal()
        gate, last_block, last_group = Signal(), Signal(), Signal()
        block, group, ends, credit, drains = Signal(), Signal(), Signal(), Signal(), Signal()
        waiting = Signal(SIZE_BITS)
        self.begin, self.ends_fold = Signal(), ends
        m.d.comb += [
            gate.eq(self.running & ~self.all_sent & ~self.sending & ~self.fetching),
            last_block.eq(self.left <= now.sums + 1),
            last_group.eq(self.group == now.groups),
            block.eq(gate & stationary & self.begun & ~last_block),
            group.eq(gate & ~stationary & self.begun & ~self.ended & ~last_group),
            ends.eq(gate & ~stationary & self.begun & ~self.ended & last_group),
            # The first sum of the same columns' fold before must be back.
            credit.eq(self.first_outer | (waiting <= now.column_folds)),
            drain_now.eq(
                Mux(
                    ends,
                    Mux(self.current_last_columns, now.drain_last, now.drain),
                    self.drain_left,
                )
            ),
            drains.eq(drain_now <= Mux(self.last_columns, now.fold_cycles_last, now.fold_cycles)),
            self.begin_fold.eq(
                gate
                & self.exists
                & Mux(
                    stationary,
                    (~self.begun | last_block) & ~self.loading & credit,
                    (~self.begun | self.ended | ends) & drains,
                )
            ),
            self.begin.eq(self.begin_fold | block | group),
        ]
        self.begin_group = group

        # Folds whose first sum is not back yet: `returned` comes A - 1 cycles early.
        returned = self.returned
        for k in range(self.geometry.accumulator_cycles - 1):
            later = Signal(name=f"returned{k}")
            m.d.sync += later.eq(returned)
            returned = later
        m.d.sync += waiting.eq(waiting + (self.begin_fold & stationary) - returned)

        with m.If(self.begin_fold):
            m.d.sync += [self.begun.eq(1), self.ended.eq(0)]
        with m.Elif(ends):
            m.d.sync += self.ended.eq(1)
        m.d.sync += self.drain_left.eq(drain_now - (drain_now != 0))
        with m.If(self.accept):
            m.d.sync += [self.begun.eq(0), self.ended.eq(1), waiting.eq(0), self.drain_left.eq(0)]

    def _send(self, m: Module) -> None:
        """Slots: sums in turn, then the next pass; what begins in this cycle is sent at once."""
        g, now, coming = self.geometry, self.now, self.coming
        stationary = ~now.output_stationary
        turn_r, turn = Signal(range(g.period)), Signal(range(g.period))
        pass_r, passes = Signal(g.entry_bits), Signal(g.entry_bits)
        left, group = Signal(SIZE_BITS), Signal(SIZE_BITS)
        half, half_r = Signal(), Signal()
        bank, bank_r = Signal(), Signal()
        last_columns, short, short_r = Signal(), Signal(), Signal()
        sums, period = Signal(g.turn_bits), Signal(len(now.period))
        sends, slot, last_pass = Signal(), Signal(), Signal()
        self.left_now, self.group_now, self.short_now = left, group, short
        self.current_short = short_r
        m.d.comb += [
            turn.eq(Mux(self.begin, 0, turn_r)),
            passes.eq(Mux(self.begin, 0, pass_r)),
            half.eq(half_r ^ self.begin),
            bank.eq(bank_r ^ self.begin_fold),
            last_columns.eq(Mux(self.begin_fold, self.last_columns, self.current_last_columns)),
            short.eq(Mux(self.begin_fold, self.short, short_r)),
            left.eq(
                Mux(
                    self.begin_fold,
                    now.vectors,
                    Mux(self.begin, self.left - now.sums - 1, self.left),
                )
            ),
            group.eq(Mux(self.begin_fold, 0, self.group + self.begin_group)),
            sums.eq(Mux(last_columns, now.sums_last, now.sums)),
            period.eq(Mux(last_columns, now.period_last, now.period)),
            sends.eq(self.sending | self.begin),
            slot.eq(sends & (turn <= sums) & (now.output_stationary | (turn < left))),
            last_pass.eq(passes == now.passes),
            coming.slot.eq(slot),
            coming.first.eq((passes == 0) & (stationary | (group == 0))),
            coming.leaves.eq(stationary & last_pass),
            coming.swap.eq(stationary & self.begin_fold),
            coming.half.eq(half),
            # Interleaved sums share the group in OS.
            coming.group.eq(Mux(stationary, turn, 0)),
            coming.sum[: g.turn_bits].eq(turn),
            coming.sum[g.turn_bits].eq(now.output_stationary & bank),
            # The first weight of a group was pushed furthest into the bank.
            coming.entry.eq(Mux(stationary, now.passes - passes, passes)),
        ]
        self.sends, self.slot = sends, slot
        m.d.sync += [
            half_r.eq(half),
            bank_r.eq(bank),
            self.current_last_columns.eq(last_columns),
            short_r.eq(short),
            self.left.eq(left),
            self.group.eq(group),
            self.sending.eq(sends),
            pass_r.eq(passes),
            turn_r.eq(turn + sends),
        ]
        with m.If(sends & (turn == period)):
            m.d.sync += [turn_r.eq(0), pass_r.eq(passes + 1), self.sending.eq(~last_pass)]
        with m.If(self.accept):
            m.d.sync += [half_r.eq(1), bank_r.eq(1), self.sending.eq(0)]
        # In WS, the last slot of a job; in OS a fold's end follows its last slot.
        self.last_slot = Signal()
        exists_after = Signal()
        m.d.comb += [
            exists_after.eq(Mux(self.begin_fold, self.exists_after, self.exists)),
            self.last_slot.eq(
                stationary
                & slot
                & last_pass
                & ~exists_after
                & (left <= now.sums + 1)
                & (turn + 1 == left)
            ),
        ]
        self._top(m, slot, turn, passes, last_columns)

    def _top(self, m: Module, slot: Signal, turn: Signal, passes: Signal, last: Signal) -> None:
        g = self.geometry
        top = data.View(top_control(g), self.top_next)
        m.d.comb += [
            top.slot.eq(slot & self.now.output_stationary),
            top.entry.eq(passes),
            top.used.eq(Mux(last, used_of_turn(m, g, self.now.columns_last, turn), g.columns)),
        ]

    def _fetch(self, m: Module) -> None:
        """Beats from the port, for what is sent next: V F of them in WS, F in OS. They take their
        time also where there is nothing to fetch."""
        g, now, coming = self.geometry, self.now, self.coming
        stationary = ~now.output_stationary
        sum_r, place = Signal(g.turn_bits), Signal(g.turn_bits)
        beat_r, beat = Signal(g.beat_bits), Signal(g.beat_bits)
        half_r, half = Signal(), Signal()
        left_r, left = Signal(SIZE_BITS), Signal(SIZE_BITS)
        there_r, there, short_r, short = Signal(), Signal(), Signal(), Signal()
        same_fold, fetches, last_beat, last = Signal(), Signal(), Signal(), Signal()
        after_exists, after_short = Signal(), Signal()
        m.d.comb += [
            same_fold.eq(
                Mux(stationary, self.left_now > now.sums + 1, self.group_now != now.groups)
            ),
            after_exists.eq(Mux(self.begin_fold, self.exists_after, self.exists)),
            after_short.eq(Mux(self.begin_fold, self.short_after, self.short)),
            place.eq(Mux(self.begin, 0, sum_r)),
            beat.eq(Mux(self.begin, 0, beat_r)),
            half.eq(half_r ^ self.begin),
            left.eq(
                Mux(
                    self.begin,
                    Mux(same_fold, self.left_now - now.sums - 1, now.vectors),
                    left_r,
                )
            ),
            there.eq(Mux(self.begin, same_fold | after_exists, there_r)),
            short.eq(Mux(self.begin, Mux(same_fold, self.short_now, after_short), short_r)),
            fetches.eq(self.fetching | self.begin),
            last_beat.eq(beat == now.beats),
            last.eq(last_beat & (~stationary | (place == now.sums))),
            coming.fetch.eq(fetches & there & (~stationary | (place < left))),
            coming.fetch_half.eq(half),
            coming.fetch_sum.eq(place),
            coming.fetch_beat.eq(beat),
            coming.fetch_short.eq(short),
        ]
        m.d.sync += [
            sum_r.eq(place + (fetches & last_beat)),
            beat_r.eq(Mux(last_beat, 0, beat + fetches)),
            half_r.eq(half),
            left_r.eq(left),
            there_r.eq(there),
            short_r.eq(short),
            self.fetching.eq(fetches & ~last),
        ]
        taken = data.View(job_layout(g), self.job_data)
        with m.If(self.accept):
            m.d.sync += [
                sum_r.eq(0),
                beat_r.eq(0),
                half_r.eq(0),
                left_r.eq(taken.vectors),
                there_r.eq(1),
                short_r.eq(taken.outer_folds == 0),
                self.fetching.eq(1),
            ]

    def _load(self, m: Module) -> None:
        """Weights at the left edge (WS), for the fold after the one that begins."""
        g, now, coming = self.geometry, self.now, self.coming
        slot_r, slot = Signal(g.entry_bits), Signal(g.entry_bits)
        left_r, left = Signal(g.used_bits), Signal(g.used_bits)
        short_r, short, loads, last = Signal(), Signal(), Signal(), Signal()
        begins = Signal()
        m.d.comb += [
            begins.eq(self.begin_fold & ~now.output_stationary),
            slot.eq(Mux(begins, 0, slot_r)),
            left.eq(
                Mux(
                    begins,
                    Mux(self.last_columns_after, now.columns_last[: g.used_bits], g.columns),
                    left_r,
                )
            ),
            short.eq(Mux(begins, self.short_after, short_r)),
            loads.eq(self.loading | (begins & self.exists_after)),
            last.eq(slot == now.passes),
            coming.load.eq(loads),
            coming.load_short.eq(short),
            coming.load_slot.eq(slot),
        ]
        m.d.sync += [
            slot_r.eq(Mux(last, 0, slot + loads)),
            left_r.eq(left - (loads & last)),
            short_r.eq(short),
            self.loading.eq(loads & ~(last & (left == 1))),
        ]
        taken = data.View(job_layout(g), self.job_data)
        with m.If(self.accept):
            m.d.sync += [
                slot_r.eq(0),
                left_r.eq(
                    Mux(taken.column_folds == 0, taken.columns_last[: g.used_bits], g.columns)
                ),
                short_r.eq(taken.outer_folds == 0),
                self.loading.eq(~taken.output_stationary),
            ]

    def _end(self, m: Module) -> None:
        """Count the cycles after the last slot (WS), or after the last fold's end (OS)."""
        now = self.now
        tail, last = Signal(SIZE_BITS), Signal()
        m.d.comb += [
            last.eq(self.last_slot | (self.ends_fold & ~self.exists)),
            self.ends.eq(self.all_sent & (tail == 1)),
            self.fold_ends.eq(self.ends_fold),
            self.ends_last_columns.eq(self.current_last_columns),
            self.ends_short.eq(self.current_short),
        ]
        with m.If(last):
            m.d.sync += [self.all_sent.eq(1), tail.eq(now.tail)]
        with m.Else():
            m.d.sync += tail.eq(tail - 1)
        with m.If(self.ends):
            m.d.sync += self.all_sent.eq(0)

    def _lines(self, m: Module) -> None:
        """Places in the rows' delay lines, which are masked until the job is as old as the delay:
        also after a reset, for they are never cleared."""
        g, now = self.geometry, self.now
        taken = data.View(job_layout(g), self.job_data)
        write = Signal(len(self.line_write))
        green = Signal(len(now.row_delay), init=(1 << len(now.row_delay)) - 1)
        m.d.sync += [write.eq(write + 1), green.eq(green - (green != 0))]
        m.d.comb += [
            self.line_write.eq(write),
            self.line_read.eq(write + 1 - now.row_delay),
            self.line_through.eq(now.row_delay == 1),
            self.line_ripe.eq(green == 0),
        ]
        with m.If(self.accept):
            m.d.sync += green.eq(taken.row_delay)

    def _parts(self, m: Module) -> None:
        stationary = ~self.now.output_stationary
        part = dict(zip(PARTS, self.part, strict=True))
        drained = Signal()
        m.d.comb += drained.eq(~self.exists & (self.drain_now == 0))
        with m.If(self.running):
            with m.If(stationary & self.all_sent):
                m.d.comb += part["fill"].eq(1)
            with m.Elif(self.sends):
                m.d.comb += [part["issue"].eq(self.slot), part["interleave"].eq(~self.slot)]
            with m.Elif(stationary):
                with m.If(self.begun & self.fetching):
                    m.d.comb += part["activation_port"].eq(1)
                with m.Elif(self.loading):
                    m.d.comb += part["weight_load"].eq(1)
                with m.Else():
                    m.d.comb += [
                        part["accumulate"].eq(self.begun),
                        part["activation_port"].eq(~self.begun),
                    ]
            with m.Elif(~self.begun | ~(self.ended | self.ends_fold)):
                m.d.comb += part["activation_port"].eq(1)
            with m.Else():
                m.d.comb += [part["fill"].eq(drained), part["drain"].eq(~drained)]


def used_of_turn(m: Module, geometry: Geometry, columns_last: Any, turn: Any) -> Any:
    """Columns in use by the `turn`th interleaved sums of a last column fold of `columns_last`
    columns, which fill the array turn by turn."""
    table = []
    for v in range(geometry.sums):
        first = v * geometry.columns
        left, used = Signal(len(columns_last) + 1), Signal(geometry.used_bits)
        m.d.comb += [
            left.eq(Mux(columns_last > first, columns_last - first, 0)),
            used.eq(Mux(left > geometry.columns, geometry.columns, left)),
        ]
        table.append(used)
    return Array(table)[turn]
