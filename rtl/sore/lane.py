"""A lane of SORE: a streaming top-N sorter that takes one element a cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.sore.geometry import VALUE_BITS, Geometry

MAGNITUDE_BITS = VALUE_BITS - 1


class Lane(Unit):
    """Keeps the N elements of largest magnitude of those that it has been given of a group.

    Entries stand in the order of their indices, so a new element always comes last, and one
    comparison of it with each entry says all that will ever be asked: the entry that is to go is
    known before the next element comes. An element that is given in cycle t is part of the state
    in cycle t + 1; one a cycle. A group begins with index 0, whatever the state was.

    Of equal magnitudes the lower index stays; every NaN is larger than all else, and equal to
    every other one. Entries that hold nothing have value 0 and their own number as index.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | take an element; nothing changes while low |
    | chained | 1 | in | go on from `state_left` instead of from the lane's own state |
    | state_left | state bits | in | the state of another lane |
    | element | 16 | in | FP16 |
    | index | index bits | in | its place in the group |
    | last_entry | entry bits | in | N - 1 |
    | state | state bits | out | values, indices, NaN flags, and how the entries compare |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_sore_lane_{g.entries}_{g.group}"
        super().__init__(
            {
                "advance": In(1),
                "chained": In(1),
                "state_left": In(g.state_bits),
                "element": In(VALUE_BITS),
                "index": In(g.index_bits),
                "last_entry": In(g.entry_bits),
                "state": Out(g.state_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        entries = range(g.entries)
        pairs = [(i, k) for k in entries for i in range(k)]

        # The state before this element.
        goes_on = Signal()
        empty = [0] * g.entries + list(entries)
        widths = [VALUE_BITS] * g.entries + [g.index_bits] * g.entries
        widths += [1] * (g.entries + len(pairs))
        empty += [0] * (g.entries + len(pairs))
        before = [Signal(width, name=f"before_{i}") for i, width in enumerate(widths)]
        kept = Signal(g.state_bits)
        at = 0
        for part, width, nothing in zip(before, widths, empty, strict=True):
            m.d.comb += part.eq(Mux(goes_on, kept[at : at + width], Const(nothing, width)))
            at += width
        m.d.comb += [
            goes_on.eq(self.index != 0),
            kept.eq(Mux(self.chained, self.state_left, self.state)),
        ]
        values, indices = before[: g.entries], before[g.entries : 2 * g.entries]
        nans = before[2 * g.entries : 3 * g.entries]
        # Whether entry i is not smaller than entry k, which has the higher index; not where k holds
        # nothing.
        holds = dict(zip(pairs, before[3 * g.entries :], strict=True))

        # How the element compares with each entry.
        magnitude, is_nan = Signal(MAGNITUDE_BITS), Signal()
        m.d.comb += [
            magnitude.eq(self.element[:MAGNITUDE_BITS]),
            is_nan.eq(magnitude > 0x7C00),
        ]
        beats = [Signal(name=f"beats_{i}") for i in entries]
        for i in entries:
            m.d.comb += beats[i].eq((magnitude > values[i][:MAGNITUDE_BITS]) & ~nans[i])

        # The smallest entry, of equal ones the last, goes when the element beats it.
        smallest = [Signal(name=f"smallest_{i}") for i in entries]
        full, replace = Signal(), Signal()
        m.d.comb += [
            full.eq(self.index > self.last_entry),
            replace.eq(full & Cat(s & b for s, b in zip(smallest, beats, strict=True)).any()),
        ]
        load = [Signal(name=f"load_{i}") for i in entries]
        # The last entry has no neighbour that could move into its place.
        gone = [Signal(name=f"gone_{i}") for i in entries[:-1]]
        shift = [Signal(name=f"shift_{i}") for i in entries[:-1]]
        for i in entries:
            below = [holds[j, i] for j in range(i)]
            above = [~holds[i, j] for j in range(i + 1, g.entries)]
            m.d.comb += [
                smallest[i].eq(Cat(*below, *above).all()),
                load[i].eq(Mux(full, replace & (self.last_entry == i), self.index == i)),
            ]
        for i, moves in enumerate(shift):
            m.d.comb += [
                gone[i].eq(Cat(smallest[: i + 1]).any()),
                moves.eq(replace & gone[i] & (self.last_entry > i)),
            ]

        def after(old: list[Signal], i: int, new: Value) -> Value:
            stays = Mux(shift[i], old[i + 1], old[i]) if i < len(shift) else old[i]
            return Mux(load[i], new, stays)

        parts: list[Value] = [after(values, i, self.element) for i in entries]
        parts += [after(indices, i, self.index) for i in entries]
        parts += [after(nans, i, is_nan) for i in entries]
        for i, k in pairs:
            stays: Value = holds[i, k]
            if k < len(shift):
                moved = Mux(shift[i], holds[i + 1, k + 1], holds[i, k + 1])
                stays = Mux(shift[k], moved, stays)
            new = Mux(shift[i], ~beats[i + 1], ~beats[i])
            parts.append(Mux(load[k], new, stays))
        m.d.sync += self.state.eq(Cat(parts))
        return EnableInserter(self.advance)(m)
