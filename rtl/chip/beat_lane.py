"""Beat lane: words of the buffer become beats of one array row, and wait for it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.room_queue import RoomQueue
from nofm.rtl.hierarchy import Unit, place

HALF = 16
"""Bits of an element."""


class BeatLane(Unit):
    """Aligns what a lane gets, gathers it to beats of `port` FP16 elements, and keeps them.

    | port | width | direction | |
    |---|---|---|---|
    | in_valid, in_word | 1, port x 16 | in | a word comes |
    | first | bits of `port` | in | its first element that is taken |
    | inside | port | in | elements from there on that count; the others are +0 |
    | number | bits of `port` | in | 0 where the word begins a beat; else its element's place |
    | closes | 1 | in | the beat is whole |
    | room | 1 | out | of its `RoomQueue`; `stages` cycles behind the word |
    | out_valid, out_ready, out_data | 1, 1, port x 16 | out, in, out | beats |
    """

    stages = 2
    """Cycles from a word to its beat being in the queue."""

    def __init__(self, port: int, depth: int, spare: int) -> None:
        self.port = port
        self.depth = depth
        self.spare = spare
        self.place_bits = max(1, (port - 1).bit_length())
        self.module_name = f"nofm_chip_beat_lane_{port}_{depth}_{spare}"
        super().__init__(
            {
                "in_valid": In(1),
                "in_word": In(port * HALF),
                "first": In(self.place_bits),
                "inside": In(port),
                "number": In(self.place_bits),
                "closes": In(1),
                "room": Out(1),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(port * HALF),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # The word with its first element lowest.
        word = [Signal(HALF, name=f"word_{k}", reset_less=True) for k in range(self.port)]
        valid, closes = Signal(), Signal(reset_less=True)
        number = Signal(self.place_bits, reset_less=True)
        given = [self.in_word.word_select(k, HALF) for k in range(self.port)]
        for k, element in enumerate(word):
            # What would come from behind the word is not inside.
            found = Array([*given[k:], *[Const(0, HALF)] * k])[self.first]
            m.d.sync += element.eq(Mux(self.inside[k], found, 0))
        m.d.sync += [
            valid.eq(self.in_valid),
            closes.eq(self.closes),
            number.eq(self.number),
        ]

        begun = [Signal(HALF, name=f"begun_{k}", reset_less=True) for k in range(self.port)]
        beat = [
            Mux(number == 0, word[k], Mux(number == k, word[0], begun[k]))
            if k
            else Mux(number == 0, word[0], begun[0])
            for k in range(self.port)
        ]
        with m.If(valid):
            m.d.sync += [now.eq(after) for now, after in zip(begun, beat, strict=True)]
        queue = RoomQueue(len(self.out_data), self.depth, self.spare)
        place(m, platform, "beats", queue)
        done = Signal()
        m.d.sync += done.eq(valid & closes)
        m.d.comb += [
            queue.in_valid.eq(done),
            queue.in_data.eq(Cat(begun)),
            self.room.eq(queue.room),
            self.out_valid.eq(queue.out_valid),
            queue.out_ready.eq(self.out_ready),
            self.out_data.eq(queue.out_data),
        ]
        return m
