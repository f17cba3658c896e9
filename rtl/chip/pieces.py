"""Pieces: segments of a buffer, cut where its words may not be written at once."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.regroup import count_bits
from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.load import segment_walk
from nofm.rtl.program.sizes import RUN_BITS


class Pieces(Unit):
    """Walks over the segments of a load and cuts each at multiples of `halves` elements.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | |
    | piece_valid, piece_ready, piece_data | 1, 1, `piece_fields` | out, in, out | |

    Throughput: a piece a cycle, also from one segment to the next.
    """

    def __init__(self, address_bits: int, halves: int) -> None:
        self.address_bits = address_bits
        self.halves = halves
        self.module_name = f"nofm_chip_pieces_{address_bits}_{halves}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(self.job_fields.values())),
                "piece_valid": Out(1),
                "piece_ready": In(1),
                "piece_data": Out(sum(self.piece_fields.values())),
            }
        )

    @property
    def job_fields(self) -> dict[str, int]:
        """Fields of a job and their widths: segments, and elements of each, less one."""
        return {**segment_walk(self.address_bits).fields("segment_"), "length": RUN_BITS}

    @property
    def piece_fields(self) -> dict[str, int]:
        """Fields of a piece and their widths.

        at: address of its first element.
        count: elements, less one.
        last: it is the job's last one.
        """
        return {"at": self.address_bits, "count": count_bits(self.halves), "last": 1}

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job = split(self.job_fields, self.job_data)
        walker = Walker(segment_walk(self.address_bits))
        place(m, platform, "walker", walker)
        segment = split(walker.pass_fields, walker.pass_data)
        length = Signal.like(job["length"], name="length")
        m.d.comb += [
            walker.job_valid.eq(self.job_valid),
            walker.job_data.eq(self.job_data),
            self.job_ready.eq(walker.job_ready),
        ]
        with m.If(self.job_valid & self.job_ready):
            m.d.sync += length.eq(job["length"])

        low_bits = (self.halves - 1).bit_length()
        # What is left of a segment: where it is, and elements, less one.
        active, last = Signal(), Signal()
        at, left = Signal(self.address_bits), Signal(RUN_BITS)
        # Elements to the next multiple, less one.
        space, ends, step = Signal(low_bits), Signal(), Signal()
        m.d.comb += [
            space.eq(~at[:low_bits]),
            ends.eq(left <= space),
            step.eq(~self.piece_valid | self.piece_ready),
            walker.pass_ready.eq(~active | (step & ends)),
        ]
        piece = split(self.piece_fields, self.piece_data)
        with m.If(step):
            m.d.sync += [
                self.piece_valid.eq(active),
                piece["at"].eq(at),
                piece["count"].eq(Mux(ends, left[:low_bits], space)),
                piece["last"].eq(ends & last),
            ]
        with m.If(step & active):
            m.d.sync += [
                active.eq(~ends),
                at.eq(Cat(Const(0, low_bits), at[low_bits:] + 1)),
                left.eq(left - space - 1),
            ]
        with m.If(walker.pass_valid & walker.pass_ready):
            m.d.sync += [
                active.eq(1),
                at.eq(segment["to"]),
                last.eq(segment["last"]),
                left.eq(length),
            ]
        return m
