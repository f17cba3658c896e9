"""WUVE, the weight update vector engine: updates a tensor's parameters as they stream by."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.elastic import DEPTH, Elastic
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.pace import COUNTER_BITS, COUNTERS, Pace, level_next
from nofm.rtl.wuve.geometry import Geometry
from nofm.rtl.wuve.job import HYPER_PARAMETERS, job_fields
from nofm.rtl.wuve.lanes import Lanes
from nofm.rtl.wuve.sequencer import Sequencer
from nofm.rtl.wuve.stream import GIVEN, UPDATED


class Wuve(Unit):
    """The engine: job in, parameters with their gradients in, updated parameters out.

    A beat holds a parameter for each lane, in the order in which they are numbered; where lanes of
    the last one are left over, their results mean nothing. A beat a cycle; a job takes
    ceil(elements / lanes) + `latency_cycles` cycles: `count_busy`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | one is taken at a time |
    | in_valid, in_ready, in_data | 1, 1, lanes x `GIVEN` | in, out, in | w, v, g, lane 0 lowest |
    | out_valid, out_ready, out_data | 1, 1, lanes x `UPDATED` | out, in, out | w', v', h |
    | done | 1 | out | for one cycle: the job's last results are in the output's buffer |
    | count_busy | 48 | out | cycles in which the job went on |
    | count_stalled_input, count_stalled_output | 48 | out | cycles in which it waited |

    The counters count from the job's begin; the next one clears them.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_wuve_{g.suffix}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(job_fields().values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(g.lanes * sum(GIVEN.values())),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(g.lanes * sum(UPDATED.values())),
                "done": Out(1),
                **{name: Out(COUNTER_BITS) for name in COUNTERS},
            }
        )

    @classmethod
    def top(cls, accelerator: Accelerator) -> Wuve:
        """The WUVE of an accelerator.

        Raises:
            InputError: see `Geometry.of`.
        """
        return cls(Geometry.of(accelerator))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        source, sink = Elastic(len(self.in_data)), Elastic(len(self.out_data))
        pace, sequencer, lanes = Pace(), Sequencer(g.latency_cycles), Lanes(g)
        place(m, platform, "source", source)
        place(m, platform, "sink", sink)
        place(m, platform, "pace", pace)
        place(m, platform, "sequencer", sequencer)
        place(m, platform, "lanes", lanes)

        job = split(job_fields(), self.job_data)
        by = Signal(sum(HYPER_PARAMETERS.values()), reset_less=True)
        m.d.comb += [
            source.in_valid.eq(self.in_valid),
            source.in_data.eq(self.in_data),
            self.in_ready.eq(source.in_ready),
            source.out_ready.eq(pace.advance & sequencer.take),
            lanes.advance.eq(pace.advance),
            lanes.by.eq(by),
            lanes.given.eq(source.out_data),
            sink.in_valid.eq(pace.advance & sequencer.give),
            sink.in_data.eq(lanes.updated),
            self.out_valid.eq(sink.out_valid),
            self.out_data.eq(sink.out_data),
            sink.out_ready.eq(self.out_ready),
            sequencer.advance.eq(pace.advance),
            sequencer.start.eq(pace.start),
            sequencer.beats.eq(job["beats"]),
            pace.job_valid.eq(self.job_valid),
            self.job_ready.eq(pace.job_ready),
            pace.lacks_input.eq(sequencer.take_next & (level_next(m, "source", source) == 0)),
            pace.lacks_room.eq(level_next(m, "sink", sink) == DEPTH),
            pace.finish.eq(sequencer.finish),
            self.done.eq(pace.done),
            *(getattr(self, name).eq(getattr(pace, name)) for name in COUNTERS),
        ]
        with m.If(pace.start):
            m.d.sync += by.eq(Cat(job[name] for name in HYPER_PARAMETERS))
        return m
