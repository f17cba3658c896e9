"""The update unit: pre-generation from memory to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.queue import Queue
from nofm.rtl.chip.clients import connect_client, read_client, write_client
from nofm.rtl.chip.forms import Forms
from nofm.rtl.chip.stream_read import StreamRead
from nofm.rtl.chip.stream_write import StreamWrite
from nofm.rtl.chip.update_parts import UpdateParts
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.pregeneration.engine import Pregeneration
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.pregeneration.job import job_fields
from nofm.rtl.program.forms import TURNED, forms_fields
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.sizes import RUN_BITS, ChipSizes
from nofm.rtl.program.stream import stream_fields
from nofm.rtl.program.update import update_fields
from nofm.rtl.sore.job import job_fields as pruning_fields
from nofm.rtl.wuve.stream import GIVEN, UPDATED

AHEAD = 8
"""Parts whose parameters are on their way from the streams."""

READS = {"weight": "weight_", "momentum": "momentum_", "gradient": "gradient_"}
WRITES = {"weight": "new_weight_", "momentum": "new_momentum_", "half": "half_"}
"""Streams by the field of a lane that they have (`GIVEN`, `UPDATED`)."""

READ_CLIENTS = [prefix[:-1] for prefix in READS.values()]
WRITE_CLIENTS = [*(prefix[:-1] for prefix in WRITES.values()), "rows", "columns"]


class UpdateUnit(Unit):
    """Does the jobs of `nofm.rtl.program.update`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `update_fields` | in, out, in | one at a time |
    | weight_..., momentum_..., gradient_... | | | clients that read |
    | new_weight_..., new_momentum_..., half_... | | | clients that write |
    | rows_..., columns_... | | | clients that write the forms (`Forms`) |
    | busy | 1 | out | a job that was taken is not done |
    | done | 1 | out | for one cycle: all that a job gives is in memory |

    The chain of WUVE and SORE (`Pregeneration`) sets the pace, where the bus brings and takes what
    it needs and gives; forms leave a group a cycle each.

    Args:
        sizes: of the chip.
        bus: of its memory.
        geometry: of the chain.
        turned: groups along the columns that there is memory for.
    """

    def __init__(
        self, sizes: ChipSizes, bus: Bus, geometry: Geometry, turned: int = TURNED
    ) -> None:
        self.sizes, self.bus, self.geometry, self.turned = sizes, bus, geometry, turned
        self.module_name = (
            f"nofm_update_{turned}_{geometry.suffix}_{sizes.memory_bits}_{bus.suffix}"
        )
        ports: dict[str, Any] = {}
        for name in READ_CLIENTS:
            ports |= read_client(bus, name)
        for name in WRITE_CLIENTS:
            ports |= write_client(bus, name)
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(update_fields(sizes, geometry).values())),
                **ports,
                "busy": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g, sizes = self.geometry, self.sizes
        given = split(update_fields(sizes, g), self.job_data)
        engine = Pregeneration(g)
        forms = Forms(sizes, self.bus, g.sore, self.turned)
        place(m, platform, "engine", engine)
        place(m, platform, "forms", forms)
        forms.join(m, self)

        start, finished, runs = Signal(), Signal(), Signal()
        pruning = Cat(given[name] for name in pruning_fields(g.sore))
        job, halves = Signal.like(pruning, name="job", reset_less=True), Signal()
        with m.If(start):
            m.d.sync += [job.eq(pruning), halves.eq(given["halves"]), runs.eq(1)]
        with m.If(engine.done):
            m.d.sync += runs.eq(0)
        m.d.comb += [
            self.job_ready.eq(~self.busy),
            start.eq(self.job_valid & self.job_ready),
            engine.job_valid.eq(start),
            engine.job_data.eq(Cat(given[name] for name in job_fields(g))),
            forms.start.eq(start),
            forms.pruning.eq(pruning),
            forms.forms.eq(Cat(given[name] for name in forms_fields(sizes))),
            forms.in_valid.eq(engine.out_valid),
            forms.in_data.eq(engine.out_data),
            engine.out_ready.eq(forms.in_ready),
        ]
        self._read(m, platform, start, given, job, engine)
        writing = self._write(m, platform, start, given, job, halves, engine)
        # What is dropped must have left the engine, too.
        m.d.comb += finished.eq(self.busy & ~runs & ~writing & ~forms.busy & ~engine.out_valid)
        m.d.sync += [self.busy.eq(start | (self.busy & ~finished)), self.done.eq(finished)]
        return m

    def _read(
        self,
        m: Module,
        platform: Any,
        start: Signal,
        given: dict[str, Value],
        job: Signal,
        engine: Pregeneration,
    ) -> None:
        """Parameters on their way to the engine."""
        lanes = self.geometry.wuve.lanes
        parts = UpdateParts(self.geometry.sore, lanes)
        ahead = Queue(1, AHEAD)
        place(m, platform, "parts_in", parts)
        place(m, platform, "ahead", ahead)
        streams = {}
        for field, prefix in READS.items():
            each = GIVEN[field] // 16
            stream = StreamRead(self.sizes, self.bus, each * lanes)
            place(m, platform, prefix[:-1], stream)
            connect_client(m, self, prefix[:-1], stream)
            names = stream_fields(self.sizes, prefix)
            m.d.comb += [
                stream.start.eq(start),
                stream.stream.eq(Cat(given[name] for name in names)),
                stream.size_count.eq(each * (parts.count + 1) - 1),
            ]
            streams[field] = stream
        sized = Cat(stream.size_ready for stream in streams.values()).all() & ahead.in_ready
        some, there = ahead.out_data, Signal()
        m.d.comb += [
            parts.start.eq(start),
            parts.job.eq(job),
            parts.ready.eq(sized),
            ahead.in_valid.eq(parts.valid & sized),
            ahead.in_data.eq(parts.some),
            *(s.size_valid.eq(parts.valid & sized & parts.some) for s in streams.values()),
            there.eq(Cat(stream.out_valid for stream in streams.values()).all()),
            engine.in_valid.eq(ahead.out_valid & (there | ~some)),
            ahead.out_ready.eq(engine.in_ready & (there | ~some)),
            *(
                s.out_ready.eq(ahead.out_valid & some & there & engine.in_ready)
                for s in streams.values()
            ),
            engine.in_data.eq(
                Cat(
                    streams[field].out_data.word_select(i, width)
                    for i in range(lanes)
                    for field, width in GIVEN.items()
                )
            ),
        ]

    def _write(
        self,
        m: Module,
        platform: Any,
        start: Signal,
        given: dict[str, Value],
        job: Signal,
        halves: Signal,
        engine: Pregeneration,
    ) -> Value:
        """Updated parameters on their way to memory; whether they are."""
        lanes = self.geometry.wuve.lanes
        parts = UpdateParts(self.geometry.sore, lanes)
        place(m, platform, "parts_out", parts)
        streams = {}
        at, width = 0, sum(UPDATED.values())
        for field, prefix in WRITES.items():
            each = UPDATED[field] // 16
            stream = StreamWrite(self.sizes, self.bus, each * lanes)
            place(m, platform, prefix[:-1], stream)
            connect_client(m, self, prefix[:-1], stream)
            wanted = given["halves"] if field == "half" else 1
            run = Signal(RUN_BITS, name=f"{prefix}run", reset_less=True)
            with m.If(start):
                m.d.sync += run.eq(given[f"{prefix}run"])
            found = (
                engine.updated_data[width * i + at : width * i + at + UPDATED[field]]
                for i in range(lanes)
            )
            m.d.comb += [
                stream.start.eq(start & wanted),
                stream.walk.eq(Cat(given[n] for n in memory_walk(self.sizes).fields(prefix))),
                stream.run_valid.eq(1),
                stream.run.eq(run),
                stream.in_count.eq(each * (parts.count + 1) - 1),
                stream.in_data.eq(Cat(found)),
            ]
            at += UPDATED[field]
            streams[field] = stream
        room, moves = Signal(), Signal()
        m.d.comb += [
            parts.start.eq(start),
            parts.job.eq(job),
            room.eq(Cat(stream.in_ready for stream in streams.values()).all()),
            moves.eq(parts.valid & engine.updated_valid & room),
            parts.ready.eq(engine.updated_valid & room),
            engine.updated_ready.eq(parts.valid & room),
            *(
                stream.in_valid.eq(moves & parts.some & (halves if field == "half" else 1))
                for field, stream in streams.items()
            ),
        ]
        return Cat(stream.busy for stream in streams.values()).any()
