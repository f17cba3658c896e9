"""Held places: what stands in every lane while a walk goes by, fold after fold."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.walk import WalkShape


class HeldPlaces(Unit):
    """Deals the passes of a walk out to lanes. While one fold's places are in use, the next one's
    come in beside them, also those of the next job.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | taken one at a time |
    | set_valid | 1 | out | a fold's places are there |
    | set_places | lanes x places | out | of each lane, lane 0 lowest |
    | set_lanes | lanes | out | lanes that have one in this fold |
    | set_with | `with_bits` | out | what came with the job |
    | release | 1 | in | this cycle is the last that needs the set; only while it is valid |

    Latency: 4 cycles and one a lane, from a job that is taken to its first set. Throughput: a fold
    in as many cycles as it has lanes, and one more. Of a set that is released in cycle t, the next
    one's places are there in cycle t + 1, if they have come.
    """

    def __init__(self, shape: WalkShape, lanes: int, with_bits: int) -> None:
        self.shape = shape
        self.lanes = lanes
        self.with_bits = with_bits
        sizes = [shape.loops, *shape.places.values(), lanes, with_bits]
        self.module_name = f"nofm_chip_held_places_{'_'.join(map(str, sizes))}"
        self.place_bits = sum(shape.places.values())
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(self.job_fields.values())),
                "set_valid": Out(1),
                "set_places": Out(lanes * self.place_bits),
                "set_lanes": Out(lanes),
                "set_with": Out(with_bits),
                "release": In(1),
            }
        )

    @property
    def job_fields(self) -> dict[str, int]:
        """Fields of a job and their widths.

        Those of a walk: its passes are the places, lane after lane and fold after fold.
        lanes: of a fold; what is left for the last one may be fewer.
        with: goes with every set.
        """
        return {
            **self.shape.fields(""),
            "lanes": self.lanes.bit_length(),
            "with": self.with_bits,
        }

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        walker = Walker(self.shape)
        place(m, platform, "walker", walker)
        given = split(self.job_fields, self.job_data)
        busy, full = Signal(), Signal()
        job = {name: Signal(self.job_fields[name], name=name) for name in ("lanes", "with")}
        m.d.comb += [
            self.job_ready.eq(~busy & walker.job_ready),
            walker.job_valid.eq(self.job_valid & ~busy),
            walker.job_data.eq(Cat(given[name] for name in walker.job_fields)),
        ]
        with m.If(self.job_valid & self.job_ready):
            m.d.sync += [busy.eq(1), *(job[name].eq(given[name]) for name in job)]

        # The set that comes in.
        bits = self.place_bits
        coming = [
            Signal(bits, name=f"coming_{lane}", reset_less=True) for lane in range(self.lanes)
        ]
        lanes, next_lane = Signal(self.lanes), Signal(self.lanes, init=1)
        taken_with = Signal(self.with_bits, reset_less=True)
        ends, comes, swaps = Signal(), Signal(), Signal()
        count = Signal(self.lanes.bit_length())
        passed = split(walker.pass_fields, walker.pass_data)
        m.d.comb += [
            walker.pass_ready.eq(~full),
            comes.eq(walker.pass_valid & ~full),
            ends.eq(comes & (passed["last"] | (count + 1 == job["lanes"]))),
        ]
        with m.If(comes):
            m.d.sync += [count.eq(count + 1), next_lane.eq(next_lane << 1)]
            m.d.sync += [lanes.eq(lanes | next_lane), taken_with.eq(job["with"])]
            for lane, held in enumerate(coming):
                with m.If(next_lane[lane]):
                    m.d.sync += held.eq(Cat(passed[name] for name in self.shape.places))
            with m.If(next_lane[0]):
                m.d.sync += lanes.eq(1)
        with m.If(ends):
            m.d.sync += [full.eq(1), count.eq(0), next_lane.eq(1), busy.eq(~passed["last"])]

        m.d.comb += swaps.eq(full & (~self.set_valid | self.release))
        with m.If(self.release):
            m.d.sync += self.set_valid.eq(0)
        with m.If(swaps):
            m.d.sync += [
                full.eq(0),
                self.set_valid.eq(1),
                self.set_places.eq(Cat(coming)),
                self.set_lanes.eq(lanes),
                self.set_with.eq(taken_with),
            ]
        return m
