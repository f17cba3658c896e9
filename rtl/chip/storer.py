"""Storer: results of the array's columns become runs of memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.turn import turned
from nofm.rtl.chip.loader import memory_command
from nofm.rtl.chip.regroup import Regroup, count_bits
from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.results import row_walk, store_fields
from nofm.rtl.program.sizes import RUN_BITS, ChipSizes
from nofm.rtl.program.walk import TOTAL_BITS


class Rows(Unit):
    """Walks over segments of results, and cuts them into what is read at once.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | |
    | row_valid, row_ready, row_data | 1, 1, `row_fields` | out, in, out | |

    Throughput: `most` results a cycle, up to the end of each segment.
    """

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        self.module_name = f"nofm_chip_rows_{sizes.columns}_{sizes.halves}_{sizes.result_bits}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(self.job_fields.values())),
                "row_valid": Out(1),
                "row_ready": In(1),
                "row_data": Out(sum(self.row_fields.values())),
            }
        )

    @property
    def most(self) -> int:
        """Results that are read at once, at most."""
        return min(self.sizes.columns, self.sizes.halves)

    @property
    def column_bits(self) -> int:
        """Bits of a column's number, none if there is one column."""
        return (self.sizes.columns - 1).bit_length()

    @property
    def column_width(self) -> int:
        """Width of a column's number."""
        return max(1, self.column_bits)

    @property
    def job_fields(self) -> dict[str, int]:
        """Fields of a job and their widths: those of `store_fields` that say what is read."""
        fields = store_fields(self.sizes)
        names = row_walk(self.sizes).fields("segment_")
        return {name: fields[name] for name in (*names, "length", "pitch")}

    @property
    def row_fields(self) -> dict[str, int]:
        """Fields of what is read at once, and their widths.

        column: of the first result.
        place, next_place: in the banks from that column on, and in those before it.
        count: results, less one.
        """
        bits = self.sizes.result_bits
        return {
            "column": self.column_width,
            "place": bits,
            "next_place": bits,
            "count": count_bits(self.most),
        }

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = self.sizes.result_bits
        job = split(self.job_fields, self.job_data)
        walker = Walker(row_walk(self.sizes))
        place(m, platform, "walker", walker)
        segment = split(walker.pass_fields, walker.pass_data)
        length, pitch = Signal(RUN_BITS), Signal(bits)
        m.d.comb += [
            walker.job_valid.eq(self.job_valid),
            walker.job_data.eq(self.job_data),
            self.job_ready.eq(walker.job_ready),
        ]
        with m.If(self.job_valid & self.job_ready):
            m.d.sync += [length.eq(job["length"]), pitch.eq(job["pitch"])]

        # The segment's slot times the pitch: a register before the product, and one behind.
        given, known = Signal(), Signal()
        row, slot, column = Signal(bits), Signal(bits), Signal(self.column_width)
        known_row, known_column = Signal.like(row), Signal.like(column)
        offset, takes = Signal(bits), Signal()
        known_ready = Signal()
        m.d.comb += [
            known_ready.eq(~known | takes),
            walker.pass_ready.eq(~given | known_ready),
        ]
        with m.If(walker.pass_ready):
            m.d.sync += [
                given.eq(walker.pass_valid),
                row.eq(segment["row"]),
                column.eq(segment["n"][: self.column_bits]),
                slot.eq(segment["n"][self.column_bits :]),
            ]
        with m.If(known_ready):
            m.d.sync += [
                known.eq(given),
                known_row.eq(row),
                known_column.eq(column),
                offset.eq(slot * pitch),
            ]

        # What is left of the segment.
        active, ends, step = Signal(), Signal(), Signal()
        at, at_column, left = Signal(bits), Signal(self.column_width), Signal(RUN_BITS)
        next_at, next_column = Signal(bits), Signal(self.column_bits + 1)
        m.d.comb += [
            ends.eq(left < self.most),
            step.eq(~self.row_valid | self.row_ready),
            takes.eq(~active | (step & ends)),
            next_at.eq(at + pitch),
            next_column.eq(at_column + self.most),
        ]
        out = split(self.row_fields, self.row_data)
        with m.If(step):
            m.d.sync += [
                self.row_valid.eq(active),
                out["column"].eq(at_column),
                out["place"].eq(at),
                out["next_place"].eq(next_at),
                out["count"].eq(Mux(ends, left, self.most - 1)),
            ]
        with m.If(step & active):
            m.d.sync += [
                active.eq(~ends),
                at_column.eq(next_column[: self.column_bits]),
                at.eq(Mux(next_column[-1], next_at, at)),
                left.eq(left - self.most),
            ]
        with m.If(takes & known):
            m.d.sync += [
                active.eq(1),
                at.eq(known_row + offset),
                at_column.eq(known_column),
                left.eq(length),
            ]
        return m


class Storer(Unit):
    """Does what `store` says.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `store_fields` | in, out, in | one at a time |
    | read_enable, read_at, read_data | | out, out, in | those of `Results` |
    | command_valid, command_ready, command_data | 1, 1, `memory_command` | out, in, out | |
    | out_valid, out_ready, out_data | 1, 1, `bus_bits` | out, in, out | words of the commands |
    | command_done | 1 | in | memory has answered all of a command |
    | busy | 1 | out | a job goes on |
    | done | 1 | out | for one cycle, the one after the job's last `command_done` |

    Each run of memory is a command and begins a new word; what its last word has above it is
    anything. Throughput: min(`columns`, `halves`) neighbouring results a cycle, up to the end of
    each segment, and a word a cycle. No ready depends on a valid.
    """

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        columns = sizes.columns
        numbers = (columns, sizes.result_bits, sizes.bus_bits, sizes.memory_bits)
        self.module_name = f"nofm_chip_store_{'_'.join(map(str, numbers))}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(store_fields(sizes).values())),
                "read_enable": Out(1),
                "read_at": Out(columns * sizes.result_bits),
                "read_data": In(columns * 16),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_data": Out(sum(memory_command(sizes).values())),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(sizes.bus_bits),
                "command_done": In(1),
                "busy": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        given = split(store_fields(self.sizes), self.job_data)
        start, finish = Signal(), Signal()
        # Commands that are not done, less one.
        left = Signal(TOTAL_BITS)
        m.d.comb += [
            self.job_ready.eq(~self.busy),
            start.eq(self.job_valid & self.job_ready),
            finish.eq(self.busy & self.command_done & (left == 0)),
        ]
        m.d.sync += self.done.eq(finish)
        with m.If(start):
            m.d.sync += [self.busy.eq(1), left.eq(given["memory_total"])]
        with m.Elif(self.command_done):
            m.d.sync += [self.busy.eq(~finish), left.eq(left - 1)]

        run = Signal(RUN_BITS)
        with m.If(start):
            m.d.sync += run.eq(given["run"])
        self._ask(m, platform, given, start, run)
        most = min(self.sizes.columns, self.sizes.halves)
        results = Regroup(16, most, self.sizes.halves, 1)
        place(m, platform, "results", results)
        self._read(m, platform, given, start, results)
        self._pack(m, run, start, given, results)
        return m

    def _ask(
        self, m: Module, platform: Any, given: dict[str, Value], start: Signal, run: Signal
    ) -> None:
        """Commands to memory."""
        walker = Walker(memory_walk(self.sizes))
        place(m, platform, "runs", walker)
        names = [f"memory_{name}" for name in memory_walk(self.sizes).fields("")]
        command = split(memory_command(self.sizes), self.command_data)
        m.d.comb += [
            walker.job_valid.eq(start),
            walker.job_data.eq(Cat(given[name] for name in names)),
            self.command_valid.eq(walker.pass_valid),
            command["address"].eq(split(walker.pass_fields, walker.pass_data)["address"]),
            command["length"].eq(run),
            walker.pass_ready.eq(self.command_ready),
        ]

    def _read(
        self, m: Module, platform: Any, given: dict[str, Value], start: Signal, results: Regroup
    ) -> None:
        """Results out of the banks: read in one cycle, and turned in the next."""
        bits = self.sizes.result_bits
        rows = Rows(self.sizes)
        place(m, platform, "rows", rows)
        row = split(rows.row_fields, rows.row_data)
        read, came, step = Signal(), Signal(), Signal()
        column, count = Signal(rows.column_width), Signal(count_bits(rows.most))
        m.d.comb += [
            rows.job_valid.eq(start),
            rows.job_data.eq(Cat(given[name] for name in rows.job_fields)),
            step.eq(~came | results.in_ready),
            rows.row_ready.eq(step),
            self.read_enable.eq(step),
            results.in_valid.eq(came),
        ]
        for each in range(self.sizes.columns):
            here: Value = row["place"]
            # No column lies behind the last one.
            if each < self.sizes.columns - 1:
                here = Mux(row["column"] > each, row["next_place"], here)
            m.d.comb += self.read_at.word_select(each, bits).eq(here)
        group = turned(m, "group", self.read_data, column[: rows.column_bits], 16)
        with m.If(step):
            m.d.sync += [
                read.eq(rows.row_valid),
                column.eq(row["column"]),
                count.eq(row["count"]),
                came.eq(read),
                results.in_data.eq(group[: 16 * rows.most]),
                results.in_count.eq(count),
            ]

    def _pack(
        self,
        m: Module,
        run: Signal,
        start: Signal,
        given: dict[str, Value],
        results: Regroup,
    ) -> None:
        """Words of every run."""
        halves = self.sizes.halves
        left, last = Signal(RUN_BITS), Signal()
        m.d.comb += [
            last.eq(left < halves),
            results.size_valid.eq(1),
            results.size_count.eq(Mux(last, left, halves - 1)),
            self.out_valid.eq(results.out_valid),
            self.out_data.eq(results.out_data),
            results.out_ready.eq(self.out_ready),
        ]
        with m.If(start):
            m.d.sync += left.eq(given["run"])
        with m.Elif(results.size_ready):
            m.d.sync += left.eq(Mux(last, run, left - halves))
