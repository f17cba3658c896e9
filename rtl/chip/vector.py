"""The vector unit: element-wise work, pooling and sums, from memory to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.queue import Queue
from nofm.rtl.chip.clients import connect_client, read_client, write_client
from nofm.rtl.chip.stream_read import StreamRead
from nofm.rtl.chip.stream_write import StreamWrite
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.chip.vector_lane import DOING, VectorLane, step_fields
from nofm.rtl.chip.vector_sequencer import LOOPS, VectorSequencer, beat_fields
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import stream_fields
from nofm.rtl.program.vector import OPERATIONS, vector_fields

AHEAD = 8
"""Beats whose elements are on their way from the streams."""


class VectorUnit(Unit):
    """Does the jobs of `nofm.rtl.program.vector`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `vector_fields` | in, out, in | one at a time |
    | a_command_..., a_in_... | | | the client that reads stream a (`StreamRead`) |
    | b_command_..., b_in_... | | | the client that reads stream b |
    | result_command_..., result_out_..., result_done | | | the client that writes (`StreamWrite`) |
    | busy | 1 | out | a job that was taken is not done |
    | done | 1 | out | for one cycle: all that a job gives is in memory |

    A beat is up to `lanes` elements of a run; a beat a cycle, where the bus brings and takes them.
    A run that writes to the line (one that is held, one of an operation that reduces or routes)
    takes `line_cycles` at least, so that the next one finds what it left; where a beat waits for
    elements, or results for memory, all lanes wait. So without waiting for memory a job takes

        rounds x (held runs + passes) x ceil(run / lanes)

    cycles, more for such short runs, and `latency_cycles` beside what the streams need.

    Args:
        sizes: of the chip.
        bus: of its memory.
        geometry: of the unit.
    """

    def __init__(self, sizes: ChipSizes, bus: Bus, geometry: VectorGeometry) -> None:
        self.sizes, self.bus, self.geometry = sizes, bus, geometry
        self.module_name = f"nofm_vector_{geometry.suffix}_{sizes.memory_bits}_{bus.suffix}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(vector_fields(sizes).values())),
                **read_client(bus, "a"),
                **read_client(bus, "b"),
                **write_client(bus, "result"),
                "busy": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g, lanes = self.geometry, self.geometry.lanes
        a, b = (StreamRead(self.sizes, self.bus, lanes) for _ in range(2))
        result = StreamWrite(self.sizes, self.bus, lanes)
        sequencer = VectorSequencer(g)
        ahead = Queue(sum(beat_fields(g).values()), AHEAD)
        for name, unit in (("a", a), ("b", b), ("result", result)):
            place(m, platform, name, unit)
            connect_client(m, self, name, unit)
        place(m, platform, "sequencer", sequencer)
        place(m, platform, "ahead", ahead)

        given = split(vector_fields(self.sizes), self.job_data)
        job = {
            name: Signal(len(given[name]), name=name, reset_less=True)
            for name in {**DOING, **LOOPS}
        }
        start, finished = Signal(), Signal()
        # Beats of the job are still to enter the lanes; so many cycles until the last has left.
        enters, drain = Signal(), Signal(range(g.latency_cycles + 1))
        m.d.comb += [
            self.job_ready.eq(~self.busy),
            start.eq(self.job_valid & self.job_ready),
            finished.eq(self.busy & ~enters & (drain == 0) & ~result.busy),
        ]
        m.d.sync += [
            self.busy.eq(start | (self.busy & ~finished)),
            self.done.eq(finished),
        ]
        with m.If(start):
            m.d.sync += [enters.eq(1), *(job[name].eq(given[name]) for name in job)]

        # Which streams there are.
        uses = {"a": Signal(name="uses_a"), "b": Signal(name="uses_b")}
        with m.Switch(given["opcode"]):
            for operation in OPERATIONS.values():
                with m.Case(operation.opcode):
                    uses_b = operation.b or operation.held > 0
                    m.d.comb += [uses["a"].eq(operation.a), uses["b"].eq(uses_b)]
        for name, stream in (("a", a), ("b", b)):
            fields = stream_fields(self.sizes, f"{name}_")
            m.d.comb += [
                stream.start.eq(start & uses[name]),
                stream.stream.eq(Cat(given[each] for each in fields)),
            ]
        walk = memory_walk(self.sizes).fields("out_")
        run = Signal.like(given["out_run"], name="run", reset_less=True)
        with m.If(start):
            m.d.sync += run.eq(given["out_run"])
        m.d.comb += [
            result.start.eq(start),
            result.walk.eq(Cat(given[each] for each in walk)),
            result.run.eq(run),
            result.run_valid.eq(1),
            sequencer.start.eq(start),
            sequencer.loops.eq(Cat(job[name] for name in LOOPS)),
        ]

        # A beat is asked of its streams, and told to the lanes.
        asked = split(beat_fields(g), sequencer.beat)
        goes = Signal()
        m.d.comb += [
            goes.eq(
                (~asked["takes_a"] | a.size_ready)
                & (~asked["takes_b"] | b.size_ready)
                & ahead.in_ready
            ),
            sequencer.ready.eq(goes),
            ahead.in_valid.eq(sequencer.valid & goes),
            ahead.in_data.eq(sequencer.beat),
            a.size_valid.eq(sequencer.valid & goes & asked["takes_a"]),
            b.size_valid.eq(sequencer.valid & goes & asked["takes_b"]),
            a.size_count.eq(asked["count"]),
            b.size_count.eq(asked["count"]),
        ]
        self._work(m, platform, job, (a, b), ahead, result, enters, drain)
        return m

    def _work(
        self,
        m: Module,
        platform: Any,
        job: dict[str, Signal],
        streams: tuple[StreamRead, StreamRead],
        ahead: Queue,
        result: StreamWrite,
        enters: Signal,
        drain: Signal,
    ) -> None:
        """The lanes, and when they go on."""
        g = self.geometry
        beat = split(beat_fields(g), ahead.out_data)
        # Cycles until a run may begin.
        rest = Signal(range(g.line_cycles(late=True)))
        pauses, there, goes, takes, advance = (Signal() for _ in range(5))
        late = job["opcode"] == OPERATIONS["sum"].opcode
        wants = (beat["takes_a"], beat["takes_b"])
        # Of every cycle of the lanes, whether results come of it, and how many.
        gives: Value = takes & beat["gives"]
        count: Value = beat["count"]
        for cycle in range(g.latency_cycles):
            next_gives = Signal(name=f"gives_{cycle}")
            next_count = Signal(len(count), name=f"count_{cycle}", reset_less=True)
            with m.If(advance):
                m.d.sync += [next_gives.eq(gives), next_count.eq(count)]
            gives, count = next_gives, next_count
        m.d.comb += [
            pauses.eq(enters & ahead.out_valid & beat["begins"] & (rest != 0)),
            there.eq(
                ahead.out_valid
                & Cat(~want | s.out_valid for want, s in zip(wants, streams, strict=True)).all()
            ),
            goes.eq(Mux(enters, pauses | there, drain != 0)),
            advance.eq(goes & (~gives | result.in_ready)),
            takes.eq(advance & enters & ~pauses),
            ahead.out_ready.eq(takes),
            *(s.out_ready.eq(takes & want) for want, s in zip(wants, streams, strict=True)),
            result.in_valid.eq(goes & gives),
            result.in_count.eq(count),
        ]
        with m.If(takes & beat["begins"] & beat["writes"]):
            m.d.sync += rest.eq(Mux(late, g.line_cycles(late=True), g.line_cycles(late=False)) - 1)
        with m.Elif(advance & (rest != 0)):
            m.d.sync += rest.eq(rest - 1)
        with m.If(takes & beat["last"]):
            m.d.sync += [enters.eq(0), drain.eq(g.latency_cycles)]
        with m.Elif(advance & ~enters):
            m.d.sync += drain.eq(drain - 1)

        step = {"valid": takes, **{n: beat[n] for n in ("row", "held", "second", "first")}}
        results = []
        for i in range(g.lanes):
            place(m, platform, f"lane_{i}", lane := VectorLane(g))
            m.d.comb += [
                lane.advance.eq(advance),
                lane.doing.eq(Cat(job[name] for name in DOING)),
                lane.step.eq(Cat(step[name] for name in step_fields(g))),
                lane.a.eq(streams[0].out_data.word_select(i, 16)),
                lane.b.eq(streams[1].out_data.word_select(i, 16)),
            ]
            results.append(lane.result)
        m.d.comb += result.in_data.eq(Cat(results))
