"""Ports of the array's operands: an elastic buffer, and FP16 numbers normalised on their way in."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.half import WIDTH, normalise
from nofm.rtl.elastic import Elastic
from nofm.rtl.hierarchy import Unit, place


class OperandPort(Unit):
    """A stream of words of `halves` FP16 numbers (lowest) and `extra` other bits.

    A word that is taken in cycle t can be used in cycle t + 1.

    | port | width | direction | |
    |---|---|---|---|
    | in_valid, in_ready, in_data | 1, 1, halves x 16 + extra | in, out, in | the stream |
    | take | 1 | in | the word is used in this cycle |
    | word | halves x 17 + extra | out | it, its numbers as normalised halves |
    | next_ready | 1 | out | there will be a word in the next cycle |
    """

    def __init__(self, halves: int, extra: int = 0) -> None:
        self.halves, self.extra = halves, extra
        self.module_name = f"nofm_stce_port_{halves}_{extra}"
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(16 * halves + extra),
                "take": In(1),
                "word": Out(WIDTH * halves + extra),
                "next_ready": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        buffer = Elastic(WIDTH * self.halves + self.extra)
        place(m, platform, "buffer", buffer)
        numbers = [
            normalise(m, f"normalised{k}", self.in_data.word_select(k, 16))
            for k in range(self.halves)
        ]
        m.d.comb += [
            buffer.in_valid.eq(self.in_valid),
            self.in_ready.eq(buffer.in_ready),
            buffer.in_data.eq(Cat(*numbers, self.in_data[16 * self.halves :])),
            buffer.out_ready.eq(self.take),
            self.word.eq(buffer.out_data),
            self.next_ready.eq(buffer.level > self.take),
        ]
        return m
