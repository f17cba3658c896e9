"""Kept elements as they lie in memory: blocks of indices, and of values behind them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.chip.regroup import Regroup, count_bits
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.sizes import BLOCK, RUN_BITS
from nofm.rtl.sore.geometry import VALUE_BITS, Geometry


class KeptBlocks(Unit):
    """Packs kept elements as `nofm.rtl.program.load.pack_kept` does.

    | port | width | direction | |
    |---|---|---|---|
    | slots | `entry_bits` | in | kept elements of a group, less one; steady in a job |
    | index_bits | | in | bits of an index; steady in a job |
    | run_valid, run_ready, run | 1, 1, `RUN_BITS` | in, out, in | a run's kept elements, less one |
    | in_valid, in_ready | 1, 1 | in, out | a group comes when both are high |
    | in_data | entries x (16 + index) | in | its kept elements: values, indices above them |
    | out_valid, out_ready | 1, 1 | out, in | FP16 words leave when both are high |
    | out_count | `count_bits(lanes)` | out | how many, less one |
    | out_data | lanes x 16 | out | the first one lowest |

    Throughput: a group a cycle, and `lanes` words a cycle; indices and values of a block begin with
    a cycle of their own. No ready depends on a valid.

    Args:
        geometry: of the pruner.
        lanes: FP16 words that leave at a time, at most.
    """

    def __init__(self, geometry: Geometry, lanes: int) -> None:
        self.geometry, self.lanes = geometry, lanes
        g = geometry
        self.element_bits = VALUE_BITS + g.index_bits
        self.module_name = f"nofm_kept_blocks_{g.entries}_{g.index_bits}_{lanes}"
        super().__init__(
            {
                "slots": In(g.entry_bits),
                "index_bits": In(range(g.index_bits + 1)),
                "run_valid": In(1),
                "run_ready": Out(1),
                "run": In(RUN_BITS),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(g.entries * self.element_bits),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_count": Out(count_bits(lanes)),
                "out_data": Out(16 * lanes),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        regroup = Regroup(self.element_bits, g.entries, BLOCK, 1)
        place(m, platform, "regroup", regroup)
        place(m, platform, "runs", runs := Queue(RUN_BITS, BUFFER))
        # Kept elements of the run that are in no block, less one.
        active, left = Signal(), Signal(RUN_BITS)
        asks, ends = Signal(), Signal()
        m.d.comb += [
            runs.in_valid.eq(self.run_valid),
            runs.in_data.eq(self.run),
            self.run_ready.eq(runs.in_ready),
            regroup.in_valid.eq(self.in_valid),
            self.in_ready.eq(regroup.in_ready),
            regroup.in_count.eq(self.slots),
            regroup.in_data.eq(self.in_data),
            ends.eq(left < BLOCK),
            asks.eq(active & regroup.size_ready),
            runs.out_ready.eq(~active | (asks & ends)),
            regroup.size_valid.eq(active),
            regroup.size_count.eq(Mux(ends, left, BLOCK - 1)),
        ]
        m.d.sync += active.eq(runs.out_valid | (active & ~(asks & ends)))
        with m.If(runs.out_valid & runs.out_ready):
            m.d.sync += left.eq(runs.out_data)
        with m.Elif(asks):
            m.d.sync += left.eq(left - BLOCK)
        self._emit(m, regroup)
        return m

    def _emit(self, m: Module, regroup: Regroup) -> None:
        """A block's words, `lanes` at a time."""
        g = self.geometry
        elements = [regroup.out_data.word_select(i, self.element_bits) for i in range(BLOCK)]
        values = Cat(element[:VALUE_BITS] for element in elements)
        # Indices side by side, and the words that they fill.
        packed, filled = Signal(16 * g.index_bits), Signal(range(g.index_bits + 1))
        count = Signal(range(BLOCK + 1))
        m.d.comb += count.eq(regroup.out_count + 1)
        with m.Switch(self.index_bits):
            for bits in range(1, g.index_bits + 1):
                with m.Case(bits):
                    indices = [element[VALUE_BITS : VALUE_BITS + bits] for element in elements]
                    m.d.comb += [
                        packed.eq(
                            Cat(
                                index & (i < count).replicate(bits)
                                for i, index in enumerate(indices)
                            )
                        ),
                        filled.eq((count * bits + 15) >> 4),
                    ]
        words, whole = Signal(16 * (g.index_bits + BLOCK)), Signal(range(g.index_bits + BLOCK + 1))
        m.d.comb += whole.eq(filled + count)
        with m.Switch(filled):
            for size in range(1, g.index_bits + 1):
                with m.Case(size):
                    m.d.comb += words.eq(Cat(packed[: 16 * size], values))

        rest, left = Signal.like(words, name="rest"), Signal.like(whole, name="left")
        last, step = Signal(), Signal()
        m.d.comb += [
            self.out_valid.eq(left != 0),
            last.eq(left <= self.lanes),
            step.eq(self.out_valid & self.out_ready),
            self.out_count.eq(Mux(last, left - 1, self.lanes - 1)),
            self.out_data.eq(Cat(rest, Const(0, 16 * self.lanes))[: 16 * self.lanes]),
            regroup.out_ready.eq(~self.out_valid | (step & last)),
        ]
        with m.If(regroup.out_ready):
            m.d.sync += [rest.eq(words), left.eq(Mux(regroup.out_valid, whole, 0))]
        with m.Elif(step):
            m.d.sync += [rest.eq(rest >> 16 * self.lanes), left.eq(left - self.lanes)]
