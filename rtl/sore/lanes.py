"""The lanes of SORE, and the chain in which the second form is made."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.sore.geometry import VALUE_BITS, Geometry
from nofm.rtl.sore.job import job_fields
from nofm.rtl.sore.lane import Lane
from nofm.rtl.sore.sequencer import beat_fields

Fields = dict[str, Value]


class Lanes(Unit):
    """All lanes, with the registers between them.

    Where one form is made, every lane has the column of its number in the column slot, and a
    group's elements come in cycles that follow each other. Where both forms are made, lanes 0 to
    E - 1 do so, and lane E + e makes groups along the columns: column e's element reaches it e
    cycles later, together with the row's state, which moves from lane to lane, one a cycle. A
    group that goes on in the next column slot leaves the last lane, waits in a first-in first-out,
    and enters lane E again.

    A beat that enters in cycle t is through `latency_cycles` later: `mask` then says which lanes
    have finished a group. Lane E + e is e cycles later. One beat a cycle.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | job | `job_fields` | in | the job, which stays |
    | beat | `beat_fields` | in | what the elements are |
    | elements | lanes x 16 | in | FP16, lane 0 lowest |
    | mask | lanes | out | lanes that have finished a group |
    | results | lanes x result bits | out | values, then indices, of the lanes' entries |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_sore_lanes_{g.suffix}"
        super().__init__(
            {
                "advance": In(1),
                "job": In(sum(job_fields(g).values())),
                "beat": In(sum(beat_fields(g).values())),
                "elements": In(g.lanes * VALUE_BITS),
                "mask": Out(g.lanes),
                "results": Out(g.lanes * g.result_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        job = split(job_fields(g), self.job)

        # The latency beyond a lane's own register.
        word, elements = self.beat, self.elements
        for i in range(1, g.latency_cycles):
            later_word = Signal(word.shape(), name=f"beat_{i}")
            later = Signal(elements.shape(), name=f"elements_{i}", reset_less=True)
            m.d.sync += [later_word.eq(word), later.eq(elements)]
            word, elements = later_word, later
        beat = split(beat_fields(g), word)

        lanes = [Lane(g) for _ in range(g.lanes)]
        for i, lane in enumerate(lanes):
            place(m, platform, f"lane_{i}", lane)
        self._chain(m, lanes, job, beat, elements)
        for i in (*range(g.half), *range(2 * g.half, g.lanes)):
            works = beat["valid"] & (i < beat["columns"])
            m.d.comb += [
                lanes[i].advance.eq(self.advance & works),
                lanes[i].last_entry.eq(job["last_entry"]),
                lanes[i].element.eq(elements.word_select(i, VALUE_BITS)),
                lanes[i].index.eq(beat["row"]),
            ]
            m.d.sync += self.mask[i].eq(works & beat["row_end"])
        m.d.comb += self.results.eq(Cat(lane.state[: g.result_bits] for lane in lanes))
        return EnableInserter(self.advance)(m)

    def _chain(
        self, m: Module, lanes: list[Lane], job: Fields, beat: Fields, elements: Signal
    ) -> None:
        """The lanes that make groups along the columns, where both forms are made.

        Along it go a row's state, its place in its group, and the columns that are left of it.
        """
        g, both = self.geometry, job["both"]
        enters, goes_on = Signal(), Signal()
        m.d.comb += enters.eq(beat["valid"] & both)
        again = enters & (beat["position"] != 0)
        state = self._waiting(m, lanes[2 * g.half - 1].state, goes_on, again)
        index, left = beat["position"], Mux(enters, beat["columns"], 0)
        last_slot: Value = beat["slot_end"]
        for e, i in enumerate(range(g.half, 2 * g.half)):
            lane = lanes[i]
            skewed: Value = elements.word_select(e, VALUE_BITS)
            for age in range(e):
                later = Signal(VALUE_BITS, name=f"skew_{e}_{age}", reset_less=True)
                m.d.sync += later.eq(skewed)
                skewed = later
            works, end = Signal(name=f"works_{e}"), Signal(name=f"end_{e}")
            m.d.comb += [
                works.eq(Mux(both, left != 0, beat["valid"] & (i < beat["columns"]))),
                end.eq((index == job["last_index"]) | (last_slot & (left == 1))),
                lane.advance.eq(self.advance & works),
                lane.chained.eq(both),
                lane.state_left.eq(state),
                lane.element.eq(Mux(both, skewed, elements.word_select(i, VALUE_BITS))),
                lane.index.eq(Mux(both, index, beat["row"])),
                lane.last_entry.eq(job["last_entry"]),
            ]
            m.d.sync += self.mask[i].eq(works & Mux(both, end, beat["row_end"]))
            next_index = Signal(g.index_bits, name=f"index_{e}", reset_less=True)
            next_left = Signal(range(g.half + 1), name=f"left_{e}")
            next_slot = Signal(name=f"last_slot_{e}", reset_less=True)
            m.d.sync += [
                next_index.eq(Mux(end, 0, index + 1)),
                next_left.eq(Mux(left == 0, 0, left - 1)),
                next_slot.eq(last_slot),
            ]
            index, left, last_slot, state = next_index, next_left, next_slot, lane.state
        m.d.sync += goes_on.eq(both & works & ~end)

    def _waiting(self, m: Module, state: Value, goes_on: Value, enters_again: Value) -> Value:
        """The state that enters the chain again, of those that have left it and go on.

        A state waits for as long as its row group has more rows than the chain has lanes.
        """
        depth = self.geometry.waiting
        if depth < 1:
            return state
        # A memory of one word would have an address of no bits.
        m.submodules.states = states = Memory(shape=len(state), depth=max(2, depth), init=[])
        write, read = states.write_port(), states.read_port(domain="comb")
        head, tail = Signal.like(read.addr), Signal.like(write.addr)
        level = Signal(range(depth + 1))
        again, push, pop, chosen = Signal(), Signal(), Signal(), Signal(len(state))
        m.d.comb += [
            again.eq(enters_again),
            pop.eq(again & (level != 0)),
            push.eq(goes_on & ~(again & (level == 0))),
            write.addr.eq(tail),
            write.data.eq(state),
            write.en.eq(push),
            read.addr.eq(head),
            chosen.eq(Mux(level == 0, state, read.data)),
        ]
        m.d.sync += level.eq(level + push - pop)
        for pointer, moves in ((head, pop), (tail, push)):
            with m.If(moves):
                m.d.sync += pointer.eq(Mux(pointer == depth - 1, 0, pointer + 1))
        return chosen
