"""The sequencer: decides cycle by cycle what enters the array (docs/timing.md, "The array").

It works ahead of the array, in three steps with a register after each, so that no long chain of
decisions lies between two registers:

1. what begins: a fold, a block of vectors (WS), a group (OS), and what ends;
2. what that means for every cycle: slots, fetched beats, loaded weights (`Slots`, `Fetch`, `Load`);
3. the control word that the first row takes in the next cycle, whose needs are known by then.

What is decided in cycle t of the first step is in the array in cycle t + 3;
no job is shorter than that.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Elaboratable, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.stce.control import job_layout, row_control, top_control
from nofm.rtl.stce.delay import Delay
from nofm.rtl.stce.fetch import Fetch
from nofm.rtl.stce.fold_walk import FoldWalk
from nofm.rtl.stce.geometry import SIZE_BITS, Geometry
from nofm.rtl.stce.load import Load
from nofm.rtl.stce.slots import Slots

PARTS = ("issue", "interleave", "activation_port", "weight_load", "accumulate", "drain", "fill")
"""What a job's cycles go to, by the names of docs/timing.md; bits of the port `part`."""


class Sequencer(Unit):
    """Runs jobs, one after the other without a cycle between them.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | job_valid, job_ready, job_data | 1, 1, `job_layout` | in, out, in | jobs |
    | control_next | `row_control` | out | the first row's next cycle |
    | top_next | `top_control` | out | the first column's next cycle |
    | fold_ends | 1 | out | OS: a fold gives up the first USPE in the next cycle |
    | ends_last_columns, ends_short | 1 | out | it is a last column fold; rows had no work in it |
    | rows_last | row bits | out | of the job that was taken last |
    | job_next, job | `job_layout` | out | the job of the array's next cycle, and of this one |
    | comes | 1 | out | `job_next` is another one in the next cycle |
    | starts | 1 | out | it has become another one: the array takes it up in the next cycle |
    | running, part | 1, 7 | out | the array's next cycle is a job's; what it goes to |
    | ends | 1 | out | it is the job's last |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_sequencer"
        super().__init__(
            {
                "advance": In(1),
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(job_layout(g).size),
                "control_next": Out(row_control(g).size),
                "top_next": Out(top_control(g).size),
                "fold_ends": Out(1),
                "ends_last_columns": Out(1),
                "ends_short": Out(1),
                "rows_last": Out(g.rows.bit_length()),
                "job_next": Out(job_layout(g).size),
                "job": Out(job_layout(g).size),
                "comes": Out(1),
                "starts": Out(1),
                "running": Out(1),
                "part": Out(len(PARTS)),
                "ends": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        self.platform = platform
        self._jobs(m)
        self._folds(m)
        self._time(m)
        self._drained(m)
        self._weights(m)
        self._returned(m)
        self._finish(m)
        self._expand(m)
        return EnableInserter(self.advance)(m)

    def _place(self, m: Module, name: str, unit: Any) -> Any:
        place(m, self.platform, name, unit)
        m.d.comb += unit.advance.eq(self.advance)
        return unit

    def _jobs(self, m: Module) -> None:
        """Take a job in the last cycle of the one before it; hand it on when the array needs it."""
        layout = job_layout(self.geometry)
        self.now, job_next, job = Signal(layout), Signal(layout), Signal(layout)
        self.busy, self.over = Signal(), Signal()
        accept = Signal()
        m.d.comb += [
            self.job_ready.eq(~self.busy | self.over),
            # A frozen cycle takes no job.
            accept.eq(self.job_valid & self.job_ready),
            self.rows_last.eq(self.now.rows_last),
            self.job_next.eq(job_next.as_value()),
            self.job.eq(job.as_value()),
        ]
        with m.If(accept):
            m.d.sync += [self.busy.eq(1), self.now.eq(self.job_data)]
        with m.Elif(self.over):
            m.d.sync += self.busy.eq(0)
        self.started, self.first = Signal(), Signal()
        m.d.sync += [
            self.started.eq(accept),
            self.first.eq(self.started),
            self.starts.eq(self.first),
            job.eq(job_next),
        ]
        m.d.comb += self.comes.eq(self.first)
        with m.If(self.first):
            m.d.sync += job_next.eq(self.now)

    def _folds(self, m: Module) -> None:
        """What begins and ends in this cycle, and where in the job that is."""
        now = self.now
        self.walk = walk = self._place(m, "folds", FoldWalk())
        self.fold, self.unit, self.begin, self.fold_over = Signal(), Signal(), Signal(), Signal()
        self.free, self.allowed = Signal(), Signal()
        # `last_unit` holds before the first fold as well: there is no unit left of any.
        self.last_unit, self.last_columns, self.short = Signal(init=1), Signal(), Signal()
        self.begun, self.open = Signal(), Signal()
        left, double = Signal(SIZE_BITS), Signal()
        # Whether the units of a fold are one; whether the unit after this one is its fold's last.
        self.single, self.next_last = Signal(), Signal()
        m.d.comb += [
            self.fold.eq(self.free & self.last_unit & walk.exists & self.allowed),
            self.unit.eq(self.free & ~self.last_unit),
            self.begin.eq(self.fold | self.unit),
            self.fold_over.eq(self.free & self.last_unit & self.open),
            walk.start.eq(self.started),
            walk.step.eq(self.fold),
            walk.column_folds.eq(now.column_folds),
            walk.outer_folds.eq(now.outer_folds),
            walk.products.eq(now.products),
        ]
        m.d.sync += [self.single.eq(now.units == 0), double.eq(now.units == 1)]
        with m.If(self.fold_over):
            m.d.sync += self.open.eq(0)
        with m.If(self.unit):
            m.d.sync += [
                left.eq(left - 1),
                self.last_unit.eq(self.next_last),
                self.next_last.eq(left == 2),
            ]
        with m.If(self.fold):
            m.d.sync += [
                left.eq(now.units),
                self.last_unit.eq(self.single),
                self.next_last.eq(double),
                self.last_columns.eq(walk.last_columns),
                self.short.eq(walk.short),
                self.begun.eq(1),
                self.open.eq(now.output_stationary),
            ]
        with m.If(self.started):
            m.d.sync += [self.begun.eq(0), self.open.eq(0), self.last_unit.eq(1)]

    def _countdown(self, m: Module, name: str, width: int) -> tuple[Signal, Any]:
        """A counter that stops at 0, a register that tells when it is there, and how to set it."""
        left, zero = Signal(width, name=f"{name}_left"), Signal(name=name, init=1)
        m.d.sync += [left.eq(left - (left != 0)), zero.eq(_one_or_less(left))]

        def load(value: Value, is_zero: Value) -> list[Any]:
            return [left.eq(value), zero.eq(is_zero)]

        return zero, load

    def _time(self, m: Module) -> None:
        """When the next unit may begin: what is sent and fetched takes its time."""
        now, walk = self.now, self.walk
        zero, load = self._countdown(m, "sent", len(now.unit))
        short, short_last, last = Signal(), Signal(), Signal()
        m.d.sync += [short.eq(now.unit == 0), short_last.eq(now.unit_last == 0)]
        m.d.comb += [
            self.free.eq(zero),
            last.eq(Mux(self.last_unit, walk.last_columns, self.last_columns)),
        ]
        with m.If(self.begin):
            m.d.sync += load(Mux(last, now.unit_last, now.unit), Mux(last, short_last, short))
        with m.If(self.started):
            m.d.sync += load(now.first_fetch, now.first_fetch == 0)

    def _drained(self, m: Module) -> None:
        """OS: a fold waits until its end will find the drain free."""
        now, walk = self.now, self.walk
        self.waited, load = self._countdown(m, "waited", len(now.last_drain))
        waits = (now.wait, now.wait_into_last, now.wait_after_last)
        at_once = Signal(len(waits))
        m.d.sync += [at_once[k].eq(wait == 0) for k, wait in enumerate(waits)]

        def choose(neither: Value, into_last: Value, after_last: Value) -> Value:
            return Mux(self.last_columns, after_last, Mux(walk.last_columns, into_last, neither))

        wait, prompt = Signal(len(now.wait)), Signal()
        m.d.comb += [wait.eq(choose(*waits)), prompt.eq(choose(*at_once))]
        self.os_allowed = Mux(self.open, prompt, self.waited)
        with m.If(self.fold_over):
            # The fold begins in the last of the cycles that it waits; the job's last drain counts
            # all of its own.
            m.d.sync += load(
                Mux(walk.exists, wait - 1, now.last_drain), walk.exists & _one_or_less(wait)
            )
        with m.If(self.started):
            m.d.sync += load(Value.cast(0), Value.cast(1))

    def _weights(self, m: Module) -> None:
        """WS: a fold waits until its weights are in their banks."""
        now, walk = self.now, self.walk
        self.loaded, load = self._countdown(m, "loaded", len(now.load))
        one, one_last = Signal(), Signal()
        m.d.sync += [one.eq(now.load == 0), one_last.eq(now.load_last == 0)]
        last = walk.last_columns_after
        with m.If(self.fold):
            m.d.sync += load(Mux(last, now.load_last, now.load), Mux(last, one_last, one))
        with m.If(self.started):
            m.d.sync += load(now.first_load, now.first_load == 0)

    def _returned(self, m: Module) -> None:
        """WS: a fold waits until the first sum of the same columns' fold before is back."""
        now, walk = self.now, self.walk
        g = self.geometry
        began, back, more = Signal(), Signal(), Signal()
        line = self._place(m, "returns", Delay(1, g.longest_return))
        m.d.sync += began.eq(more)
        m.d.comb += [
            more.eq(self.fold & ~now.output_stationary),
            line.restart.eq(self.started),
            line.cycles.eq(now.returns),
            line.given.eq(began),
            back.eq(line.later),
        ]
        # Folds that are under way; whether they are few enough, compared for every case ahead.
        under_way, few = Signal(len(now.ahead)), Signal(init=1)
        m.d.sync += [
            under_way.eq(under_way + more - back),
            few.eq(
                Mux(
                    more,
                    Mux(back, under_way <= now.ahead, under_way < now.ahead),
                    Mux(back, under_way <= now.ahead + 1, under_way <= now.ahead),
                )
            ),
        ]
        with m.If(self.started):
            m.d.sync += [under_way.eq(0), few.eq(1)]
        ws_allowed = self.loaded & (walk.first_outer | few)
        m.d.comb += self.allowed.eq(Mux(now.output_stationary, self.os_allowed, ws_allowed))

    def _finish(self, m: Module) -> None:
        """Count the cycles from the begin of the job's last unit."""
        self.begin_r, self.fold_r = Signal(), Signal()
        m.d.sync += [self.begin_r.eq(self.begin), self.fold_r.eq(self.fold)]
        left, counts = Signal(len(self.now.finish)), Signal()
        m.d.comb += self.over.eq(counts & (left == 0))
        m.d.sync += left.eq(left - 1)
        with m.If(self.begin_r & self.last_unit & ~self.walk.exists):
            m.d.sync += [left.eq(self.now.finish), counts.eq(1)]
        with m.Elif(self.over):
            m.d.sync += counts.eq(0)

    def _expand(self, m: Module) -> None:
        """The second step, and the register after it.

        What describes the units of the first step is in its registers by now.
        """
        g, now, walk = self.geometry, self.now, self.walk
        slots = self._place(m, "slots", Slots(g))
        fetch = self._place(m, "fetch", Fetch(g))
        load = self._place(m, "load", Load(g))
        job = now.as_value()
        m.d.comb += [
            slots.job.eq(job),
            slots.restart.eq(self.started),
            slots.begin.eq(self.begin_r),
            slots.begin_fold.eq(self.fold_r),
            slots.last_unit.eq(self.last_unit),
            slots.last_columns.eq(self.last_columns),
            slots.last_fold.eq(~walk.exists),
            fetch.job.eq(job),
            fetch.restart.eq(self.started),
            fetch.begin.eq(self.begin_r | self.first),
            # What follows is of the same fold, or the next fold's first.
            fetch.exists.eq(~self.last_unit | walk.exists),
            fetch.ragged.eq(Mux(self.last_unit, self.single, self.next_last)),
            fetch.short.eq(Mux(self.last_unit, walk.short, self.short)),
            load.job.eq(job),
            load.begin.eq((self.fold_r | self.first) & ~now.output_stationary & walk.exists),
            load.last_columns.eq(walk.last_columns),
            load.short.eq(walk.short),
        ]
        control = Signal(row_control(g).size)
        top = Signal(top_control(g).size)
        m.d.sync += [
            control.eq(Cat(slots.control, fetch.control, load.control)),
            top.eq(slots.top),
        ]
        m.d.comb += [self.control_next.eq(control), self.top_next.eq(top)]

        ended = data.StructLayout({"fold": 1, "last_columns": 1, "short": 1, "busy": 1, "over": 1})
        ends, ends_next = Signal(ended), Signal(ended)
        m.d.sync += [
            ends.fold.eq(self.fold_over),
            ends.last_columns.eq(self.last_columns),
            ends.short.eq(self.short),
            ends.busy.eq(self.busy),
            ends.over.eq(self.over),
            ends_next.eq(ends),
        ]
        m.d.comb += [
            self.fold_ends.eq(ends_next.fold),
            self.ends_last_columns.eq(ends_next.last_columns),
            self.ends_short.eq(ends_next.short),
            self.running.eq(ends_next.busy),
            self.ends.eq(ends_next.over),
        ]
        self._parts(m, slots, fetch, load)

    def _parts(self, m: Module, slots: Any, fetch: Any, load: Any) -> None:
        """What the cycle goes to."""
        # In a job's last cycle the next one's word is there already.
        stationary, part = Signal(), Signal(len(PARTS))
        m.d.sync += [stationary.eq(~self.now.output_stationary), self.part.eq(part)]
        bit = dict(zip(PARTS, part, strict=True))
        drained = Signal()
        m.d.comb += drained.eq(~self.walk.exists & self.waited)
        with m.If(stationary & slots.all_sent):
            m.d.comb += bit["fill"].eq(1)
        with m.Elif(slots.sends):
            m.d.comb += [bit["issue"].eq(slots.slot), bit["interleave"].eq(~slots.slot)]
        with m.Elif(stationary):
            with m.If(self.begun & fetch.fetches):
                m.d.comb += bit["activation_port"].eq(1)
            with m.Elif(load.loads):
                m.d.comb += bit["weight_load"].eq(1)
            with m.Else():
                m.d.comb += [
                    bit["accumulate"].eq(self.begun),
                    bit["activation_port"].eq(~self.begun),
                ]
        with m.Elif(~self.begun | self.open):
            m.d.comb += bit["activation_port"].eq(1)
        with m.Else():
            m.d.comb += [bit["fill"].eq(drained), bit["drain"].eq(~drained)]


def _one_or_less(value: Value) -> Value:
    """Whether `value` is at most 1: always, where it has one bit."""
    return value <= 1 if len(value) > 1 else Const(1, 1)
