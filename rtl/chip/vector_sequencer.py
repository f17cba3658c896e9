"""Sequencer of the vector unit: the beats of a job, one after the other."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.regroup import count_bits
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.sizes import RUN_BITS
from nofm.rtl.program.vector import OPCODE_BITS, OPERATIONS
from nofm.rtl.program.walk import TOTAL_BITS

LOOPS = {"opcode": OPCODE_BITS, "run": RUN_BITS, "passes": TOTAL_BITS, "rounds": TOTAL_BITS}
"""Fields of a job that say how many beats there are."""


def beat_fields(geometry: VectorGeometry) -> dict[str, int]:
    """What a beat is, and its width.

    row: place of its elements in the line.
    held, second: its elements are held; as the second held run.
    first: it belongs to the round's first pass.
    takes_a, takes_b: whether it has elements of these streams.
    gives: whether results come of it.
    begins: it is the first beat of its run.
    writes: its run writes to the line.
    count: its elements, less one.
    last: it is the job's last.
    """
    return {
        "row": geometry.row_bits,
        **dict.fromkeys(("held", "second", "first", "takes_a", "takes_b", "gives"), 1),
        **dict.fromkeys(("begins", "writes"), 1),
        "count": count_bits(geometry.lanes),
        "last": 1,
    }


class VectorSequencer(Unit):
    """Walks through a job: rounds, their held runs and their passes, the beats of a run.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin a job; not while `valid` |
    | loops | `LOOPS` | in | the job, steady from the cycle after `start` to the last beat |
    | valid, ready | 1, 1 | out, in | a beat is taken when both are high |
    | beat | `beat_fields` | out | what it is |

    The first beat comes in the cycle after `start`. Throughput: a beat a cycle.
    """

    def __init__(self, geometry: VectorGeometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_vector_sequencer_{g.lanes}_{g.rows}"
        super().__init__(
            {
                "start": In(1),
                "loops": In(sum(LOOPS.values())),
                "valid": Out(1),
                "ready": In(1),
                "beat": Out(sum(beat_fields(g).values())),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.geometry.lanes
        loops = split(LOOPS, self.loops)
        beat = split(beat_fields(self.geometry), self.beat)
        held_runs = Signal(range(max(o.held for o in OPERATIONS.values()) + 1))
        uses = {name: Signal(name=name) for name in ("a", "b", "reduces", "writes")}
        with m.Switch(loops["opcode"]):
            for operation in OPERATIONS.values():
                with m.Case(operation.opcode):
                    writes = operation.reduces or operation.held > 1
                    m.d.comb += [
                        held_runs.eq(operation.held),
                        uses["a"].eq(operation.a),
                        uses["b"].eq(operation.b),
                        uses["reduces"].eq(operation.reduces),
                        uses["writes"].eq(writes),
                    ]

        # Elements of the run that are behind this beat's, and its place.
        done, row = Signal(RUN_BITS), Signal(self.geometry.row_bits)
        held, passes, rounds = Signal.like(held_runs), Signal(TOTAL_BITS), Signal(TOTAL_BITS)
        left = Signal(RUN_BITS)
        run_end, holds, pass_end, round_end = Signal(), Signal(), Signal(), Signal()
        moves = Signal()
        m.d.comb += [
            left.eq(loops["run"] - done),
            run_end.eq(left < lanes),
            holds.eq(held != held_runs),
            pass_end.eq(passes == loops["passes"]),
            round_end.eq(run_end & ~holds & pass_end),
            moves.eq(self.valid & self.ready),
            beat["row"].eq(row),
            beat["held"].eq(holds),
            beat["second"].eq(held != 0),
            beat["first"].eq(passes == 0),
            beat["takes_a"].eq(~holds & uses["a"]),
            beat["takes_b"].eq(holds | uses["b"]),
            beat["gives"].eq(~holds & (~uses["reduces"] | pass_end)),
            beat["begins"].eq(done == 0),
            beat["writes"].eq(holds | uses["writes"]),
            beat["count"].eq(Mux(run_end, left, lanes - 1)),
            beat["last"].eq(round_end & (rounds == loops["rounds"])),
        ]
        with m.If(self.start):
            m.d.sync += [self.valid.eq(1), done.eq(0), row.eq(0), held.eq(0)]
            m.d.sync += [passes.eq(0), rounds.eq(0)]
        with m.Elif(moves):
            m.d.sync += [
                self.valid.eq(~beat["last"]),
                done.eq(Mux(run_end, 0, done + lanes)),
                row.eq(Mux(run_end, 0, row + 1)),
            ]
            with m.If(run_end & holds):
                m.d.sync += held.eq(held + 1)
            with m.If(run_end & ~holds):
                m.d.sync += passes.eq(Mux(pass_end, 0, passes + 1))
            with m.If(round_end):
                m.d.sync += [held.eq(0), rounds.eq(rounds + 1)]
        return m
