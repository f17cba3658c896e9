"""Unpacking: runs of memory as kept elements, each a value with its index."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.regroup import Regroup, count_bits
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.sizes import BLOCK, RUN_BITS, ChipSizes

BLOCK_BITS = (BLOCK - 1).bit_length()


class Unpack(Unit):
    """Takes runs, one after the other, and gives their kept elements.

    A block of kept elements is taken as a whole, indices and values at once; two of them where the
    bus is wide enough to bring more than one a cycle.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | a job begins; its first word comes later |
    | index_bits | that of a job | in | 0 for values alone; steady from `start` on |
    | kept | `RUN_BITS` | in | kept elements of a run, less one; likewise |
    | in_valid, in_ready, in_count, in_data | as of `Regroup` | | words of memory |
    | out_valid, out_ready | 1, 1 | out, in | elements leave when both are high |
    | out_count | `count_bits(most)` | out | how many, less one |
    | out_data | `most` x (16 + `index_bits`) | out | values with their indices above them |

    Throughput: a block a cycle, and two of those before a run's last one with a bus of 512 bits:
    the bus brings less, but for short runs of that one. `in_ready` depends on no valid.
    """

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        self.module_name = f"nofm_chip_unpack_{sizes.halves}_{sizes.index_bits}"
        element_bits = 16 + sizes.index_bits
        super().__init__(
            {
                "start": In(1),
                "index_bits": In(sizes.index_bits.bit_length()),
                "kept": In(RUN_BITS),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_count": In(count_bits(sizes.halves)),
                "in_data": In(sizes.bus_bits),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_count": Out(count_bits(self.most)),
                "out_data": Out(self.most * element_bits),
            }
        )

    @property
    def ways(self) -> int:
        """Blocks that are taken at once, at most."""
        return max(1, self.sizes.halves // BLOCK)

    @property
    def most(self) -> int:
        """Elements that leave at once, at most."""
        return self.ways * BLOCK

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sizes = self.sizes
        most_index = sizes.index_bits
        # With each: whether it is a run's last block, and its elements, less one.
        halves = Regroup(
            16, sizes.halves, self.ways * (BLOCK + most_index), 1 + count_bits(self.most)
        )
        place(m, platform, "halves", halves)
        m.d.comb += [
            halves.in_valid.eq(self.in_valid),
            halves.in_count.eq(self.in_count),
            halves.in_data.eq(self.in_data),
            self.in_ready.eq(halves.in_ready),
        ]

        # Kept elements of a run's last block, less one, and words of their indices.
        tail, tail_words = self.kept[:BLOCK_BITS], Signal(range(most_index + 1))
        m.d.sync += tail_words.eq(((tail + 1) * self.index_bits + 15)[4:])
        # Blocks before the last one.
        blocks = Signal(RUN_BITS - BLOCK_BITS)
        last, several, taken = Signal(), Signal(), Signal(count_bits(self.most))
        m.d.comb += [
            last.eq(blocks == 0),
            several.eq(~(blocks < self.ways) if self.ways > 1 else 0),
            taken.eq(Mux(last, tail, Mux(several, self.most - 1, BLOCK - 1))),
            halves.size_valid.eq(1),
            halves.size_count.eq(
                taken
                + Mux(last, tail_words, Mux(several, self.index_bits * self.ways, self.index_bits))
            ),
            halves.size_with.eq(Cat(last, taken)),
        ]
        before = self.kept[BLOCK_BITS:]
        with m.If(self.start):
            m.d.sync += blocks.eq(before)
        with m.Elif(halves.size_ready):
            m.d.sync += blocks.eq(
                Mux(last, before, blocks - Mux(several, Const(self.ways), Const(1)))
            )

        step = Signal()
        m.d.comb += [
            step.eq(~self.out_valid | self.out_ready),
            halves.out_ready.eq(step),
        ]
        was_last, count = Signal(), Signal.like(taken)
        m.d.comb += Cat(was_last, count).eq(halves.out_with)
        kept = self._kept(m, halves.out_data, was_last, tail_words)
        with m.If(step):
            m.d.sync += [
                self.out_valid.eq(halves.out_valid),
                self.out_count.eq(count),
                self.out_data.eq(kept),
            ]
        return m

    def _kept(self, m: Module, data: Value, last: Signal, tail_words: Signal) -> Value:
        """Elements of the blocks that `data` begins with."""
        most_index = self.sizes.index_bits
        words = Signal(range(most_index + 1))
        m.d.comb += words.eq(Mux(last, tail_words, self.index_bits))
        found: list[Value] = []
        for way in range(self.ways):
            # Where the block begins, and its values, for each width of an index.
            starts = [16 * way * (BLOCK + bits) for bits in range(most_index + 1)]
            values, index = Signal(16 * BLOCK), Signal(most_index * BLOCK)
            m.d.comb += values.eq(
                Array(data[start + 16 * bits :][: 16 * BLOCK] for bits, start in enumerate(starts))[
                    words if way == 0 else self.index_bits
                ]
            )
            with m.Switch(self.index_bits):
                for bits in range(1, most_index + 1):
                    block = data[starts[bits] :]
                    each = [
                        Cat(block[i * bits : (i + 1) * bits], Const(0, most_index - bits))
                        for i in range(BLOCK)
                    ]
                    with m.Case(bits):
                        m.d.comb += index.eq(Cat(each))
            for i in range(BLOCK):
                found += [values.word_select(i, 16), index.word_select(i, most_index)]
        return Cat(found)
