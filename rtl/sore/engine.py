"""SORE, the sparse online reduction engine: prunes a matrix to N of every M as it streams by."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.elastic import DEPTH, Elastic
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.pace import COUNTER_BITS, COUNTERS, Pace, level_next
from nofm.rtl.sore.geometry import VALUE_BITS, Geometry
from nofm.rtl.sore.job import job_fields
from nofm.rtl.sore.lanes import Lanes
from nofm.rtl.sore.sequencer import Sequencer


class Sore(Unit):
    """The engine: job in, elements in, results out.

    A beat of input is one row of the matrix and E neighbouring columns, the last ones of a row
    fewer: E is the lanes, or half of them where both forms are made. Beats come for each tap, for
    each row group (M rows, or what is left), for each column slot, row by row. A beat of output
    holds the groups that were finished in one cycle, each in its lane: lane e finishes the groups
    of column slot * E + e along the rows; where both forms are made, lane E + e finishes groups
    along the columns, whose last column is slot * E + e. A lane's results come in the order of its
    input. `stream` packs and reads both.

    A beat a cycle, and the results `latency_cycles` after a group's last element; those of lane
    E + e are e cycles later. docs/timing.md says how long a job takes: `count_busy`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | one is taken at a time |
    | in_valid, in_ready, in_data | 1, 1, lanes x 16 | in, out, in | FP16, the first column lowest |
    | out_valid, out_ready, out_data | 1, 1, lanes x (1 + result bits) | out, in, out | mask, then \
results; a result is its values (16 each), then its indices |
    | done | 1 | out | for one cycle: the job's last result is in the output's buffer |
    | count_busy | 48 | out | cycles in which the job went on |
    | count_stalled_input, count_stalled_output | 48 | out | cycles in which it waited |

    The counters count from the job's begin; the next one clears them.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_sore_{g.suffix}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(job_fields(g).values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(g.lanes * VALUE_BITS),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(g.lanes * (1 + g.result_bits)),
                "done": Out(1),
                **{name: Out(COUNTER_BITS) for name in COUNTERS},
            }
        )

    @classmethod
    def top(cls, accelerator: Accelerator) -> Sore:
        """The SORE of an accelerator.

        Raises:
            InputError: see `Geometry.of`.
        """
        return cls(Geometry.of(accelerator))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        source, sink = Elastic(len(self.in_data)), Elastic(len(self.out_data))
        pace, sequencer, lanes = Pace(), Sequencer(g), Lanes(g)
        place(m, platform, "source", source)
        place(m, platform, "sink", sink)
        place(m, platform, "pace", pace)
        place(m, platform, "sequencer", sequencer)
        place(m, platform, "lanes", lanes)

        job = Signal.like(self.job_data, reset_less=True)
        m.d.comb += [
            source.in_valid.eq(self.in_valid),
            source.in_data.eq(self.in_data),
            self.in_ready.eq(source.in_ready),
            source.out_ready.eq(pace.advance & sequencer.take),
            sequencer.advance.eq(pace.advance),
            sequencer.start.eq(pace.start),
            # At the start the word is not in its register yet.
            sequencer.job.eq(Mux(pace.start, self.job_data, job)),
            lanes.advance.eq(pace.advance),
            lanes.job.eq(job),
            lanes.beat.eq(sequencer.beat),
            lanes.elements.eq(source.out_data),
            sink.in_valid.eq(pace.advance & lanes.mask.any()),
            sink.in_data.eq(Cat(lanes.mask, lanes.results)),
            self.out_valid.eq(sink.out_valid),
            self.out_data.eq(sink.out_data),
            sink.out_ready.eq(self.out_ready),
            pace.job_valid.eq(self.job_valid),
            self.job_ready.eq(pace.job_ready),
            pace.lacks_input.eq(sequencer.take_next & (level_next(m, "source", source) == 0)),
            pace.lacks_room.eq(level_next(m, "sink", sink) == DEPTH),
            pace.finish.eq(sequencer.finish),
            self.done.eq(pace.done),
            *(getattr(self, name).eq(getattr(pace, name)) for name in COUNTERS),
        ]
        with m.If(pace.start):
            m.d.sync += job.eq(self.job_data)
        return m
