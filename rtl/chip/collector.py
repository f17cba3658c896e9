"""Collector: the array's results, as FP16 in the banks of their columns."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.convert import SingleToHalf
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.results import collect_fields
from nofm.rtl.program.sizes import ChipSizes

CONVERT_CYCLES = 2
"""Cycles from a result to its place in a bank, which it then reaches in the next one."""


class Column(Unit):
    """Where the results of one column go.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | a job begins |
    | job | `job_fields` | in | steady from `start` on |
    | fewer | 1 | in | the column has a slot less than others; likewise |
    | active | 1 | out | a result is taken when it is there |
    | valid | 1 | in | it is there |
    | at | `result_bits` | out | its place in the bank |
    """

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        self.module_name = f"nofm_chip_collect_column_{sizes.columns}_{sizes.result_bits}"
        super().__init__(
            {
                "start": In(1),
                "job": In(sum(self.job_fields.values())),
                "fewer": In(1),
                "active": Out(1),
                "valid": In(1),
                "at": Out(sizes.result_bits),
            }
        )

    @property
    def job_fields(self) -> dict[str, int]:
        """Fields of the job and their widths: those that all columns share."""
        fields = collect_fields(self.sizes)
        return {name: width for name, width in fields.items() if name != "short_from"}

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job = split(self.job_fields, self.job)
        results, slots, folds = (Signal.like(job[x], name=x) for x in ("inner", "slots", "outer"))
        # Where the slot and the fold begin.
        slot_at, fold_at = Signal.like(self.at), Signal.like(self.at)
        next_slot, next_fold = Signal.like(self.at), Signal.like(self.at)
        last_slot = Signal.like(slots)
        m.d.comb += [
            next_slot.eq(slot_at + job["pitch"]),
            next_fold.eq(fold_at + job["outer_pitch"]),
            last_slot.eq(job["slots"] - self.fewer),
        ]
        with m.If(self.start):
            m.d.sync += [
                self.active.eq(~self.fewer | (job["slots"] != 0)),
                results.eq(Mux(job["outer"] == 0, job["inner_last"], job["inner"])),
                slots.eq(last_slot),
                folds.eq(job["outer"]),
                self.at.eq(job["base"]),
                slot_at.eq(job["base"]),
                fold_at.eq(job["base"]),
            ]
        with m.Elif(self.active & self.valid):
            with m.If(results != 0):
                m.d.sync += [results.eq(results - 1), self.at.eq(self.at + 1)]
            with m.Elif(slots != 0):
                m.d.sync += [
                    results.eq(Mux(folds == 0, job["inner_last"], job["inner"])),
                    slots.eq(slots - 1),
                    self.at.eq(next_slot),
                    slot_at.eq(next_slot),
                ]
            with m.Else():
                m.d.sync += [
                    results.eq(Mux(folds == 1, job["inner_last"], job["inner"])),
                    slots.eq(last_slot),
                    folds.eq(folds - 1),
                    self.active.eq(folds != 0),
                    self.at.eq(next_fold),
                    slot_at.eq(next_fold),
                    fold_at.eq(next_fold),
                ]
        return m


class Collector(Unit):
    """Does what `collect` says.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `collect_fields` | in, out, in | one at a time |
    | results_valid, results_ready, results_data | a lane a column, 32 | in, out, in | FP32 |
    | write_enable, write_at, write_data | | out | those of `Results` |
    | busy | 1 | out | a job goes on |
    | done | 1 | out | for one cycle: all results of a job can be read |

    Throughput: a result a cycle and column; columns do not wait for each other. A job that is taken
    in cycle t takes its first results in cycle t + 2. A result that is taken in cycle t is written
    in cycle t + `CONVERT_CYCLES`. NaN becomes the canonical one.
    """

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        columns = sizes.columns
        self.module_name = f"nofm_chip_collect_{columns}_{sizes.result_bits}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(collect_fields(sizes).values())),
                "results_valid": In(columns),
                "results_ready": Out(columns),
                "results_data": In(columns * 32),
                "write_enable": Out(columns),
                "write_at": Out(columns * sizes.result_bits),
                "write_data": Out(columns * 16),
                "busy": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job, start = Signal.like(self.job_data), Signal()
        takes, finish = Signal(), Signal()
        m.d.comb += [self.job_ready.eq(~self.busy), takes.eq(self.job_valid & ~self.busy)]
        m.d.sync += [start.eq(takes), self.done.eq(finish)]
        with m.If(takes):
            m.d.sync += [job.eq(self.job_data), self.busy.eq(1)]
        with m.Elif(finish):
            m.d.sync += self.busy.eq(0)

        fields = split(collect_fields(self.sizes), job)
        active = []
        for number in range(self.sizes.columns):
            column, convert = Column(self.sizes), SingleToHalf(CONVERT_CYCLES)
            place(m, platform, f"column{number}", column)
            place(m, platform, f"convert{number}", convert)
            m.d.comb += [
                column.start.eq(start),
                column.job.eq(Cat(fields[name] for name in column.job_fields)),
                column.fewer.eq(fields["short_from"] <= number),
                column.valid.eq(self.results_valid[number]),
                self.results_ready[number].eq(column.active),
                convert.wide.eq(self.results_data.word_select(number, 32)),
                convert.advance.eq(1),
                self.write_data.word_select(number, 16).eq(convert.narrow),
            ]
            active.append(column.active)
            write, at = column.active & self.results_valid[number], column.at
            for stage in range(CONVERT_CYCLES):
                later, later_at = (
                    Signal(name=f"write{number}_{stage}"),
                    Signal.like(column.at, name=f"at{number}_{stage}"),
                )
                m.d.sync += [later.eq(write), later_at.eq(at)]
                write, at = later, later_at
            m.d.comb += [
                self.write_enable[number].eq(write),
                self.write_at.word_select(number, self.sizes.result_bits).eq(at),
            ]

        # For how many cycles all results have been taken.
        quiet = Signal(max(1, CONVERT_CYCLES - 1))
        m.d.comb += finish.eq(self.busy & quiet.all())
        m.d.sync += quiet.eq(
            Mux(takes | start | Cat(active).any() | finish, 0, Cat(self.busy, quiet))
        )
        return m
