"""Regrouping: elements come in groups of any size, and leave in groups of any other, in order."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.turn import less, turned
from nofm.rtl.hierarchy import Unit

ROWS = 4
"""Elements that each lane holds: at a group a cycle, those of two cycles lie between both ends."""


def count_bits(most: int) -> int:
    """Bits of the number of elements of a group, less one."""
    return max(1, (most - 1).bit_length())


class Regroup(Unit):
    """A first-in first-out of elements, of which some come and some leave at once.

    Every element has a lane, one after the other round and round. A group is turned so that its
    first element comes to the lane behind that of the one before it, and turned back where it
    leaves.

    | port | width | direction | |
    |---|---|---|---|
    | in_valid, in_ready | 1, 1 | in, out | a group comes when both are high |
    | in_count | `count_bits(most_in)` | in | its elements, less one |
    | in_data | `most_in` x `element_bits` | in | its first element lowest |
    | size_valid, size_ready | 1, 1 | in, out | a size is taken when both are high |
    | size_count | `count_bits(most_out)` | in | elements of the next group to leave, less one |
    | size_with | `with_bits` | in | what goes with it |
    | out_valid, out_ready | 1, 1 | out, in | a group leaves when both are high |
    | out_count, out_with | | out | as they were given |
    | out_data | `most_out` x `element_bits` | out | lanes above the group's are anything |

    Throughput: a group in and a group out every cycle. A size is taken as soon as all of its
    elements are there, which they are `wait_cycles` after they came, and its group stands at the
    output `leave_cycles` later. `in_ready` is high while there is room for the longest group.
    `size_ready` depends on `size_count` and on `out_ready`, and no ready on a valid.
    """

    wait_cycles = 2
    leave_cycles = 2

    def __init__(self, element_bits: int, most_in: int, most_out: int, with_bits: int) -> None:
        self.element_bits = element_bits
        self.most_in = most_in
        self.most_out = most_out
        self.module_name = f"nofm_regroup_{element_bits}_{most_in}_{most_out}_{with_bits}"
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_count": In(count_bits(most_in)),
                "in_data": In(most_in * element_bits),
                "size_valid": In(1),
                "size_ready": Out(1),
                "size_count": In(count_bits(most_out)),
                "size_with": In(with_bits),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_count": Out(count_bits(most_out)),
                "out_with": Out(with_bits),
                "out_data": Out(most_out * element_bits),
            }
        )

    @property
    def lanes(self) -> int:
        """Elements that can come or leave at once, rounded up to a power of two."""
        return 1 << count_bits(max(self.most_in, self.most_out))

    @property
    def capacity(self) -> int:
        """Elements that it holds."""
        return ROWS * self.lanes

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = range(self.lanes)
        memories = [Memory(shape=self.element_bits, depth=ROWS, init=[]) for _ in lanes]
        for lane, memory in enumerate(memories):
            m.submodules[f"lane{lane}"] = memory
        leaves = Signal(range(self.most_out + 1))
        written = self._take(m, memories, leaves)
        self._give(m, memories, leaves, written)
        return m

    def _take(self, m: Module, memories: list[Memory], leaves: Signal) -> Signal:
        """Groups in: turned in one cycle, and written in the next. How many are."""
        low_bits = count_bits(self.lanes)
        at = Signal(range(self.capacity))
        room = Signal(range(self.capacity + 1), init=self.capacity)
        comes, written = Signal(range(self.most_in + 1)), Signal(range(self.most_in + 1))
        m.d.comb += self.in_ready.eq(~(room < self.most_in))
        with m.If(self.in_valid & self.in_ready):
            m.d.comb += comes.eq(self.in_count + 1)
        m.d.sync += [at.eq(at + comes), room.eq(room - comes + leaves), written.eq(comes)]

        back, wide = Signal(low_bits), Signal(self.lanes * self.element_bits)
        m.d.comb += [back.eq(-at[:low_bits]), wide.eq(self.in_data)]
        data = Signal(self.lanes * self.element_bits)
        row, enable, over = Signal(range(ROWS)), Signal(self.lanes), Signal(self.lanes)
        m.d.sync += [
            data.eq(turned(m, "placed", wide, back, self.element_bits)),
            row.eq(at[low_bits:]),
        ]
        at_less = less(m, "placed_less", at[:low_bits], self.lanes)
        for lane, memory in enumerate(memories):
            # The lane's place in the group.
            place = Signal(low_bits, name=f"place_{lane}")
            m.d.comb += place.eq(lane + back)
            m.d.sync += [enable[lane].eq(place < comes), over[lane].eq(~at_less[lane + 1])]
            write = memory.write_port()
            m.d.comb += [
                write.addr.eq(row + over[lane]),
                write.data.eq(data.word_select(lane, self.element_bits)),
                write.en.eq(enable[lane]),
            ]
        return written

    def _give(self, m: Module, memories: list[Memory], leaves: Signal, written: Signal) -> None:
        """Groups out: read in one cycle, and turned back in the next."""
        low_bits = count_bits(self.lanes)
        at, level = Signal(range(self.capacity)), Signal(range(self.capacity + 1))
        full, step, goes = Signal(), Signal(), Signal()
        m.d.comb += [
            self.size_ready.eq((level > self.size_count) & (~full | step)),
            goes.eq(self.size_valid & self.size_ready),
            step.eq(full & (~self.out_valid | self.out_ready)),
        ]
        with m.If(goes):
            m.d.comb += leaves.eq(self.size_count + 1)
        m.d.sync += [
            at.eq(at + leaves),
            level.eq(level + written - leaves),
            full.eq(goes | (full & ~step)),
            self.out_valid.eq(step | (self.out_valid & ~self.out_ready)),
        ]
        found = []
        at_less = less(m, "group_less", at[:low_bits], self.lanes)
        for lane, memory in enumerate(memories):
            read = memory.read_port(domain="comb")
            m.d.comb += read.addr.eq(at[low_bits:] + ~at_less[lane + 1])
            found.append(read.data)
        data, low = Signal(self.lanes * self.element_bits), Signal(low_bits)
        count, beside = Signal.like(self.size_count), Signal.like(self.size_with)
        with m.If(goes):
            m.d.sync += [
                data.eq(Cat(found)),
                low.eq(at[:low_bits]),
                count.eq(self.size_count),
                beside.eq(self.size_with),
            ]
        group = turned(m, "group", data, low, self.element_bits)
        with m.If(step):
            m.d.sync += [
                self.out_data.eq(group[: self.most_out * self.element_bits]),
                self.out_count.eq(count),
                self.out_with.eq(beside),
            ]
