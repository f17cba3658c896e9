"""SORE's sorter is a correct top-N for all inputs, and frozen when told; said independently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal, Value

from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.lane import Lane
from nofm.rtl.tools.formal import Refuted, prove


def geometry(n: int, m: int) -> Geometry:
    return Geometry(lanes=2, entries=n, group=m, latency_cycles=1)


class TopN(Elaboratable):
    """After each of the first M elements, whatever they are, the lane holds the N largest.

    `lie` makes the statement wrong: equal magnitudes then keep the higher index.
    """

    def __init__(self, n: int, m: int, *, kept: int, lie: bool = False) -> None:
        self.lane = Lane(geometry(n, m))
        self.kept, self.lie = kept, lie
        self.element, self.chained = Signal(16), Signal()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.lane = lane = self.lane
        g = lane.geometry
        count = Signal(range(g.group + 1))
        seen = [Signal(16, name=f"seen_{i}") for i in range(g.group)]
        m.d.comb += [
            lane.advance.eq(1),
            lane.element.eq(self.element),
            lane.index.eq(count),
            lane.last_entry.eq(self.kept - 1),
            # The lane's own state comes back to it either way.
            lane.chained.eq(self.chained),
            lane.state_left.eq(lane.state),
            Assume(count < g.group),
        ]
        m.d.sync += count.eq(count + 1)
        for i, element in enumerate(seen):
            with m.If(count == i):
                m.d.sync += element.eq(self.element)
        with m.If(count > 0):
            self._holds(m, count, seen)
        return m

    def _holds(self, m: Module, count: Signal, seen: list[Signal]) -> None:
        g = self.lane.geometry
        values = [self.lane.state.word_select(e, 16) for e in range(g.entries)]
        places = self.lane.state[16 * g.entries : g.result_bits]
        index = [places.word_select(e, g.index_bits) for e in range(g.entries)]
        filled = [(e < count) & (e < self.kept) for e in range(g.entries)]
        size = [self._size(m, element) for element in seen]
        taken = [
            Cat(f & (at == i) for f, at in zip(filled, index, strict=True)).any()
            for i in range(g.group)
        ]
        for e in range(g.entries):
            with m.If(filled[e]):
                m.d.comb += Assert(index[e] < count)
                for i, element in enumerate(seen):
                    with m.If(index[e] == i):
                        m.d.comb += Assert(values[e] == element)
                if e:
                    m.d.comb += Assert(index[e - 1] < index[e])
            with m.Else():
                m.d.comb += [Assert(values[e] == 0), Assert(index[e] == e)]
        for i in range(g.group):
            for k in range(g.group):
                first = (k > i) if self.lie else (k < i)
                if i != k:
                    smaller = (size[i] < size[k]) | ((size[i] == size[k]) & Const(first, 1))
                    with m.If((i < count) & (k < count) & ~taken[i] & taken[k]):
                        m.d.comb += Assert(smaller)

    def _size(self, m: Module, element: Signal) -> Value:
        """What elements are ordered by: the magnitude, and all NaNs alike above infinity."""
        is_nan = (element[10:15] == 31) & (element[:10] != 0)
        size = Signal(16, name=f"size_{element.name}")
        m.d.comb += size.eq(Mux(is_nan, 0x7FFF, element[:15]))
        return size


class Frozen(Elaboratable):
    """A lane that does not advance keeps its state, whatever else it is given."""

    def __init__(self, n: int, m: int) -> None:
        self.lane = Lane(geometry(n, m))
        self.inputs = [
            Signal.like(getattr(self.lane, name), name=f"free_{name}")
            for name in ("advance", "chained", "state_left", "element", "index", "last_entry")
        ]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.lane = lane = self.lane
        for signal in self.inputs:
            m.d.comb += getattr(lane, signal.name.removeprefix("free_")).eq(signal)
        before, frozen = Signal.like(lane.state), Signal()
        m.d.sync += [before.eq(lane.state), frozen.eq(~lane.advance)]
        with m.If(frozen):
            m.d.comb += Assert(lane.state == before)
        return m


# Hardware that is as large as the pattern, and larger.
@pytest.mark.parametrize(
    ("entries", "group", "kept"),
    [(1, 4, 1), (2, 4, 2), (3, 4, 2), (1, 8, 1), (2, 8, 2)],
)
def test_the_largest_are_kept(entries: int, group: int, kept: int, tmp_path: Path) -> None:
    property_ = TopN(entries, group, kept=kept)
    ports = [property_.element, property_.chained]
    prove(property_, ports, cycles=group + 1, folder=tmp_path)


def test_a_wrong_statement_is_refuted(tmp_path: Path) -> None:
    """A trace of 1:2 with equal magnitudes breaks the wrong rule for ties."""
    property_ = TopN(1, 2, kept=1, lie=True)
    with pytest.raises(Refuted) as caught:
        prove(property_, [property_.element, property_.chained], cycles=3, folder=tmp_path)
    assert str(caught.value).startswith("proof: Assert failed in ")
    assert (tmp_path / "proof.base.vcd").exists()


def test_a_frozen_lane_keeps_its_state(tmp_path: Path) -> None:
    property_ = Frozen(4, 16)
    prove(property_, property_.inputs, cycles=2, folder=tmp_path, induction=True)
