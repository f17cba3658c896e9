"""Pre-generation: updates a weight's parameters, and prunes it as it streams by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.elastic import DEPTH, Elastic
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.pace import COUNTER_BITS, COUNTERS, Pace, level_next
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.pregeneration.job import job_fields
from nofm.rtl.pregeneration.updates import Updates
from nofm.rtl.sore.job import job_fields as sore_fields
from nofm.rtl.sore.lanes import Lanes
from nofm.rtl.sore.sequencer import Sequencer
from nofm.rtl.wuve.job import HYPER_PARAMETERS
from nofm.rtl.wuve.stream import GIVEN, UPDATED


class Pregeneration(Unit):
    """The engine: job in, parameters with their gradients in; updated parameters and N:M weights
    out.

    Parameters come in the order of SORE's beats: for each tap, for each row group (M rows, or what
    is left), for each column slot (E neighbouring columns; E is SORE's lanes, or half of them where
    both forms are made), row by row. Where WUVE has fewer lanes than a slot has columns, a beat is
    several words, each with a parameter for each lane; all beats of a job have as many as the
    first. Lanes without a column mean nothing. Updates leave in the same order, and the groups that
    are finished in one cycle as they leave SORE. All lanes of both go on or wait together, so
    nothing lies between them.

    A word a cycle; docs/timing.md says how long a job takes: `count_busy`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | one is taken at a time |
    | in_valid, in_ready, in_data | 1, 1, lanes of WUVE x `GIVEN` | in, out, in | w, v, g, lane 0 \
lowest |
    | updated_valid, updated_ready, updated_data | 1, 1, lanes of WUVE x `UPDATED` | out, in, \
out | w', v', h |
    | out_valid, out_ready, out_data | 1, 1, lanes of SORE x (1 + result bits) | out, in, out | \
mask, then results; a result is its values (16 each), then its indices |
    | done | 1 | out | for one cycle: the job's last results are in their buffers |
    | count_busy | 48 | out | cycles in which the job went on |
    | count_stalled_input, count_stalled_output | 48 | out | cycles in which it waited |

    The counters count from the job's begin; the next one clears them.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_pregeneration_{g.suffix}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(job_fields(g).values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(g.wuve.lanes * sum(GIVEN.values())),
                "updated_valid": Out(1),
                "updated_ready": In(1),
                "updated_data": Out(g.wuve.lanes * sum(UPDATED.values())),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(g.sore.lanes * (1 + g.sore.result_bits)),
                "done": Out(1),
                **{name: Out(COUNTER_BITS) for name in COUNTERS},
            }
        )

    @classmethod
    def top(cls, accelerator: Accelerator) -> Pregeneration:
        """The chain of an accelerator.

        Raises:
            InputError: see `Geometry.of`.
        """
        return cls(Geometry.of(accelerator))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        source = Elastic(len(self.in_data))
        updates_sink, sink = Elastic(len(self.updated_data)), Elastic(len(self.out_data))
        # SORE's walk through the matrix, at the pace of WUVE's lanes and with both latencies.
        sequencer = Sequencer(replace(g.sore, latency_cycles=g.latency_cycles))
        pace, updates, lanes = Pace(), Updates(g), Lanes(g.sore)
        place(m, platform, "source", source)
        place(m, platform, "updates_sink", updates_sink)
        place(m, platform, "sink", sink)
        place(m, platform, "pace", pace)
        place(m, platform, "sequencer", sequencer)
        place(m, platform, "updates", updates)
        place(m, platform, "lanes", lanes)

        fields = split(job_fields(g), self.job_data)
        given = Cat(fields[name] for name in sore_fields(g.sore))
        job = Signal(len(given), reset_less=True)
        by = Signal(sum(HYPER_PARAMETERS.values()), reset_less=True)
        m.d.comb += [
            source.in_valid.eq(self.in_valid),
            source.in_data.eq(self.in_data),
            self.in_ready.eq(source.in_ready),
            source.out_ready.eq(pace.advance & sequencer.take),
            sequencer.advance.eq(pace.advance),
            sequencer.start.eq(pace.start),
            # At the start the word is not in its register yet.
            sequencer.job.eq(Mux(pace.start, given, job)),
            updates.advance.eq(pace.advance),
            updates.by.eq(by),
            updates.given.eq(source.out_data),
            updates.take.eq(sequencer.take),
            updates.beat.eq(sequencer.beat),
            lanes.advance.eq(pace.advance),
            lanes.job.eq(job),
            lanes.beat.eq(updates.later_beat),
            lanes.elements.eq(updates.elements),
            updates_sink.in_valid.eq(pace.advance & updates.give),
            updates_sink.in_data.eq(updates.updated),
            self.updated_valid.eq(updates_sink.out_valid),
            self.updated_data.eq(updates_sink.out_data),
            updates_sink.out_ready.eq(self.updated_ready),
            sink.in_valid.eq(pace.advance & lanes.mask.any()),
            sink.in_data.eq(Cat(lanes.mask, lanes.results)),
            self.out_valid.eq(sink.out_valid),
            self.out_data.eq(sink.out_data),
            sink.out_ready.eq(self.out_ready),
            pace.job_valid.eq(self.job_valid),
            self.job_ready.eq(pace.job_ready),
            pace.lacks_input.eq(sequencer.take_next & (level_next(m, "source", source) == 0)),
            pace.lacks_room.eq(
                (level_next(m, "updates_sink", updates_sink) == DEPTH)
                | (level_next(m, "sink", sink) == DEPTH)
            ),
            pace.finish.eq(sequencer.finish),
            self.done.eq(pace.done),
            *(getattr(self, name).eq(getattr(pace, name)) for name in COUNTERS),
        ]
        if g.sore.part_bits:
            m.d.comb += updates.part.eq(sequencer.part)
        with m.If(pace.start):
            m.d.sync += [job.eq(given), by.eq(Cat(fields[name] for name in HYPER_PARAMETERS))]
        return m
