"""The prune unit: SORE from memory to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.chip.clients import connect_client, read_client, write_client
from nofm.rtl.chip.forms import Forms
from nofm.rtl.chip.stream_read import StreamRead
from nofm.rtl.chip.update_parts import UpdateParts
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.forms import TURNED, forms_fields
from nofm.rtl.program.prune import prune_fields
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import stream_fields
from nofm.rtl.sore.engine import Sore
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import job_fields

READ_CLIENTS = ["dense"]
WRITE_CLIENTS = ["rows", "columns"]


class PruneUnit(Unit):
    """Does the jobs of `nofm.rtl.program.prune`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `prune_fields` | in, out, in | one at a time |
    | dense_command_..., dense_in_... | | | the client that reads the matrix |
    | rows_..., columns_... | | | clients that write the forms (`Forms`) |
    | busy | 1 | out | a job that was taken is not done |
    | done | 1 | out | for one cycle: all that a job gives is in memory |

    SORE sets the pace, where the bus brings and takes what it needs and gives; forms leave a group
    a cycle each.

    Args:
        sizes: of the chip.
        bus: of its memory.
        geometry: of the pruner.
        turned: groups along the columns that there is memory for.
    """

    def __init__(
        self, sizes: ChipSizes, bus: Bus, geometry: Geometry, turned: int = TURNED
    ) -> None:
        self.sizes, self.bus, self.geometry, self.turned = sizes, bus, geometry, turned
        self.module_name = f"nofm_prune_{turned}_{geometry.suffix}_{sizes.memory_bits}_{bus.suffix}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(prune_fields(sizes, geometry).values())),
                **read_client(bus, "dense"),
                **write_client(bus, "rows"),
                **write_client(bus, "columns"),
                "busy": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g, sizes = self.geometry, self.sizes
        given = split(prune_fields(sizes, g), self.job_data)
        engine, forms = Sore(g), Forms(sizes, self.bus, g, self.turned)
        stream, parts = StreamRead(sizes, self.bus, g.lanes), UpdateParts(g, g.lanes)
        place(m, platform, "engine", engine)
        place(m, platform, "forms", forms)
        place(m, platform, "dense", stream)
        place(m, platform, "parts", parts)
        connect_client(m, self, "dense", stream)
        forms.join(m, self)

        start, finished = Signal(), Signal()
        pruning = Cat(given[name] for name in job_fields(g))
        job = Signal.like(pruning, name="job", reset_less=True)
        # The engine has not done its job.
        runs = Signal()
        with m.If(start):
            m.d.sync += [job.eq(pruning), runs.eq(1)]
        with m.If(engine.done):
            m.d.sync += runs.eq(0)
        m.d.comb += [
            self.job_ready.eq(~self.busy),
            start.eq(self.job_valid & self.job_ready),
            engine.job_valid.eq(start),
            engine.job_data.eq(pruning),
            forms.start.eq(start),
            forms.pruning.eq(pruning),
            forms.forms.eq(Cat(given[name] for name in forms_fields(sizes))),
            forms.in_valid.eq(engine.out_valid),
            forms.in_data.eq(engine.out_data),
            engine.out_ready.eq(forms.in_ready),
            parts.start.eq(start),
            parts.job.eq(job),
            stream.start.eq(start),
            stream.stream.eq(Cat(given[name] for name in stream_fields(sizes, "dense_"))),
            stream.size_valid.eq(parts.valid),
            stream.size_count.eq(parts.count),
            parts.ready.eq(stream.size_ready),
            engine.in_valid.eq(stream.out_valid),
            engine.in_data.eq(stream.out_data),
            stream.out_ready.eq(engine.in_ready),
            finished.eq(self.busy & ~runs & ~forms.busy & ~engine.out_valid),
        ]
        m.d.sync += [self.busy.eq(start | (self.busy & ~finished)), self.done.eq(finished)]
        return m
