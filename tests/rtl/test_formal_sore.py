"""SORE's sorter is a correct top-N for all inputs: formal proofs of independent statements."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal, Value

from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.lane import Lane
from nofm.rtl.tools.formal import Refuted, prove


def size(m: Module, element: Value, name: str) -> Value:
    """What elements are ordered by: the magnitude, and all NaNs alike above infinity."""
    is_nan = (element[10:15] == 31) & (element[:10] != 0)
    found = Signal(16, name=f"size_{name}")
    m.d.comb += found.eq(Mux(is_nan, 0x7FFF, element[:15]))
    return found


class Held(Elaboratable):
    """A lane, driven with any elements; `count` of a group's have been taken."""

    def __init__(self, entries: int, group: int) -> None:
        self.lane = Lane(Geometry(lanes=2, entries=entries, group=group, latency_cycles=1))
        self.advance, self.chained, self.element = Signal(), Signal(), Signal(16)
        g = self.lane.geometry
        self.count = Signal(range(g.group + 1))
        state = self.lane.state
        places = state[16 * g.entries : g.result_bits]
        self.values = [state.word_select(e, 16) for e in range(g.entries)]
        self.index = [places.word_select(e, g.index_bits) for e in range(g.entries)]

    def drive(self, m: Module, last_entry: Value, index: Value) -> list[Value]:
        """Connect the lane; which of its entries must hold an element."""
        m.submodules.lane = lane = self.lane
        m.d.comb += [
            lane.advance.eq(self.advance),
            lane.element.eq(self.element),
            lane.index.eq(index),
            lane.last_entry.eq(last_entry),
            # The lane's own state comes back to it either way.
            lane.chained.eq(self.chained),
            lane.state_left.eq(lane.state),
        ]
        return [(e < self.count) & (e <= last_entry) for e in range(lane.geometry.entries)]


class Largest(Held):
    """After each of a group's elements, whatever they are, the lane holds the N largest.

    Every element of the group is remembered. `lie` makes the statement wrong: equal magnitudes
    then keep the higher index.
    """

    def __init__(self, entries: int, group: int, *, kept: int, lie: bool = False) -> None:
        super().__init__(entries, group)
        self.kept, self.lie = kept, lie
        self.inputs = [self.chained, self.element]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        group = range(self.lane.geometry.group)
        filled = self.drive(m, Const(self.kept - 1), self.count)
        m.d.comb += self.advance.eq(self.count != len(group))
        m.d.sync += self.count.eq(self.count + self.advance)
        seen = [Signal(16, name=f"seen_{i}") for i in group]
        for i in group:
            with m.If(self.count == i):
                m.d.sync += seen[i].eq(self.element)
        with m.If(self.count > 0):
            self._holds(m, filled, seen)
        return m

    def _holds(self, m: Module, filled: list[Value], seen: list[Signal]) -> None:
        for e, (value, at) in enumerate(zip(self.values, self.index, strict=True)):
            with m.If(filled[e]):
                m.d.comb += Assert(at < self.count)
                for i, element in enumerate(seen):
                    with m.If(at == i):
                        m.d.comb += Assert(value == element)
                if e:
                    m.d.comb += Assert(self.index[e - 1] < at)
            with m.Else():
                m.d.comb += [Assert(value == 0), Assert(at == e)]
        sizes = [size(m, element, f"{i}") for i, element in enumerate(seen)]
        group = range(len(seen))
        taken = [
            Cat(f & (at == i) for f, at in zip(filled, self.index, strict=True)).any()
            for i in group
        ]
        for i, k in itertools.permutations(group, 2):
            stays = Const(k > i if self.lie else k < i, 1)
            smaller = (sizes[i] < sizes[k]) | ((sizes[i] == sizes[k]) & stays)
            with m.If((i < self.count) & (k < self.count) & ~taken[i] & taken[k]):
                m.d.comb += Assert(smaller)


class Watched(Held):
    """Any one element of any group is watched: while the group lasts the lane holds it, or N others
    that are not smaller, nor equal with a higher index.

    All N and M, cycles in which the lane is frozen, and groups that end early, are inputs. What
    else must be true for that to follow from one cycle to the next is asserted too.
    """

    def __init__(self, entries: int, group: int) -> None:
        super().__init__(entries, group)
        self.last_entry = Signal.like(self.lane.last_entry, name="free_last_entry")
        self.restart, self.watch = Signal(), Signal()
        self.inputs = [
            *(self.advance, self.chained, self.element),
            *(self.last_entry, self.restart, self.watch),
        ]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.lane.geometry
        index = Signal(range(g.group + 1))
        filled = self.drive(m, self.last_entry, index)
        last_entry, started = Signal.like(self.last_entry), Signal()
        watching, value, at = Signal(), Signal(16), Signal.like(self.lane.index)
        m.d.comb += [
            index.eq(Mux(self.restart, 0, self.count)),
            # N is a job's: it stays, and no pattern keeps more than it has entries for.
            Assume((self.last_entry == last_entry) | ~started),
            Assume(self.last_entry < g.entries),
            Assume((index < g.group) | ~self.advance),
            Assert(self.count <= g.group),
            Assert(~watching | (at < self.count)),
            Assert(started | (self.count == 0)),
        ]
        m.d.sync += [last_entry.eq(self.last_entry), started.eq(1)]
        with m.If(self.advance):
            m.d.sync += self.count.eq(index + 1)
            with m.If(self.watch & (~watching | self.restart)):
                m.d.sync += [watching.eq(1), value.eq(self.element), at.eq(index)]
            with m.Elif(self.restart):
                m.d.sync += watching.eq(0)
        with m.If(self.count > 0):
            self._holds(m, filled, watching, value, at)
        return m

    def _holds(
        self, m: Module, filled: list[Value], watching: Value, value: Value, at: Value
    ) -> None:
        g = self.lane.geometry
        entries = range(g.entries)
        sizes = [size(m, self.values[e], f"{e}") for e in entries]
        watched = size(m, value, "watched")
        stays = [
            (sizes[e] > watched) | ((sizes[e] == watched) & (self.index[e] < at)) for e in entries
        ]
        here = [filled[e] & (self.index[e] == at) & (self.values[e] == value) for e in entries]
        full = self.count > self.last_entry
        others = Cat(~f | s for f, s in zip(filled, stays, strict=True)).all()
        m.d.comb += Assert(~watching | Cat(here).any() | (full & others))
        nans = self.lane.state[g.result_bits :]
        pairs = nans[g.entries :]
        for e in entries:
            with m.If(filled[e]):
                m.d.comb += [
                    Assert(self.index[e] < self.count),
                    Assert(nans[e] == (sizes[e] == 0x7FFF)),
                ]
                if e:
                    m.d.comb += Assert(self.index[e - 1] < self.index[e])
                # No other element has the watched one's place.
                m.d.comb += Assert(~watching | (self.index[e] != at) | here[e])
            with m.Else():
                m.d.comb += [Assert(self.values[e] == 0), Assert(self.index[e] == e)]
        for place, (k, i) in enumerate((b, a) for b in entries for a in range(b)):
            with m.If(filled[k]):
                m.d.comb += Assert(pairs[place] == (sizes[i] >= sizes[k]))
            with m.Else():
                m.d.comb += Assert(~pairs[place])


def show(property_: Largest | Watched, folder: Path, cycles: int, **options: Any) -> None:
    prove(property_, property_.inputs, cycles=cycles, folder=folder, **options)


# Hardware that is as large as the pattern, and larger.
@pytest.mark.parametrize(("entries", "group", "kept"), [(1, 4, 1), (2, 4, 2), (3, 4, 2)])
def test_the_largest_are_kept(entries: int, group: int, kept: int, tmp_path: Path) -> None:
    """Said in full, and shown by following a group from its first element to its last."""
    show(Largest(entries, group, kept=kept), tmp_path, group + 1)


def test_a_wrong_statement_is_refuted(tmp_path: Path) -> None:
    with pytest.raises(Refuted) as caught:
        show(Largest(1, 2, kept=1, lie=True), tmp_path, 3)
    assert str(caught.value).startswith("proof: Assert failed in ")
    assert (tmp_path / "proof.base.vcd").exists()


@pytest.mark.parametrize(("entries", "group"), [(1, 2), (2, 8), (4, 16)])
def test_every_element_is_kept_or_beaten(entries: int, group: int, tmp_path: Path) -> None:
    """For every N and M that the hardware has, by induction."""
    show(Watched(entries, group), tmp_path, 1, induction=True)
