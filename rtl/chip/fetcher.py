"""Fetcher: reads a program from memory, ahead of what is done with it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.queue import Queue
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.descriptors import PROGRAM_BITS, WORD_BITS, WORD_BYTES, ProgramFormat

CHUNKS = 4
"""Commands under way at once: a command asks for a fourth of the queue."""

LEAST_QUEUE = 64
"""Words: 8 beats of the widest bus, and more than memory's latency at a word a cycle."""


class Fetcher(Unit):
    """Reads `words` words of a program from `address` on, and hands them out in order.

    The queue holds at least two of the longest descriptors, and a command asks only for what it has
    room for: so what is read is always taken, and one descriptor is read while another waits.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin; only when everything of the program before it was taken |
    | address | that of a word | in | of the program, in words of 8 bytes; read with `start` |
    | words | 22 | in | of the program; read with `start` |
    | command_valid, command_ready, command_data | 1, 1, `client_command` | out, in, out | |
    | in_valid, in_ready, in_data | 1, 1, `client_word` | in, out, in | what was read |
    | word_valid, word_ready, word_data | 1, 1, 64 | out, in, out | the program's words |

    The first command stands in the cycle after `start`. A beat is taken when all words of the one
    before it are in the queue: a beat of n words every n + 1 cycles, of one word every cycle. A
    word can leave 2 cycles after it came to the queue.
    """

    def __init__(self, bus: Bus, form: ProgramFormat) -> None:
        self.bus = bus
        self.depth = max(LEAST_QUEUE, 1 << (2 * form.longest - 1).bit_length())
        self.module_name = f"nofm_chip_fetcher_{self.depth}_{bus.suffix}"
        self._inside = (WORD_BYTES // bus.granule_bytes - 1).bit_length()
        super().__init__(
            {
                "start": In(1),
                "address": In(bus.granule_address_bits - self._inside),
                "words": In(PROGRAM_BITS),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_data": Out(sum(client_command(bus).values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(sum(client_word(bus).values())),
                "word_valid": Out(1),
                "word_ready": In(1),
                "word_data": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, chunk = self.bus, self.depth // CHUNKS
        queue = Queue(WORD_BITS, self.depth)
        place(m, platform, "queue", queue)
        inside = self._inside
        address = Signal.like(self.address, name="next_address")
        # Words that are not asked for; words that the queue can take beside those on their way.
        left = Signal(PROGRAM_BITS)
        room = Signal(range(self.depth + 1), init=self.depth)
        asks, asked, leaves = Signal(range(chunk + 1)), Signal(), Signal()
        command = split(client_command(bus), self.command_data)
        m.d.comb += [
            asks.eq(Mux(left < chunk, left, chunk)),
            self.command_valid.eq((left != 0) & ~(room < chunk)),
            command["address"].eq(Cat(Const(0, inside), address)),
            command["length"].eq(Cat(Const((1 << inside) - 1, inside), (asks - 1)[: len(asks)])),
            asked.eq(self.command_valid & self.command_ready),
            leaves.eq(self.word_valid & self.word_ready),
            self.word_valid.eq(queue.out_valid),
            self.word_data.eq(queue.out_data),
            queue.out_ready.eq(self.word_ready),
        ]
        m.d.sync += room.eq(room + leaves - Mux(asked, asks, 0))
        with m.If(self.start):
            m.d.sync += [address.eq(self.address), left.eq(self.words)]
        with m.Elif(asked):
            m.d.sync += [address.eq(address + asks), left.eq(left - asks)]
        self._take(m, queue, split(client_word(bus), self.in_data))
        return m

    def _take(self, m: Module, queue: Queue, beat: dict[str, Value]) -> None:
        """Beats into the queue, a word a cycle."""
        each = self.bus.data_bits // WORD_BITS
        if each == 1:
            m.d.comb += [
                queue.in_valid.eq(self.in_valid),
                queue.in_data.eq(beat["data"]),
                self.in_ready.eq(queue.in_ready),
            ]
            return
        held, more, holds = Signal(self.bus.data_bits), Signal(range(each)), Signal()
        m.d.comb += [
            self.in_ready.eq(~holds),
            queue.in_valid.eq(holds),
            queue.in_data.eq(held[:WORD_BITS]),
        ]
        with m.If(self.in_valid & self.in_ready):
            m.d.sync += [
                holds.eq(1),
                held.eq(beat["data"]),
                more.eq(beat["granules"][self._inside :]),
            ]
        with m.Elif(holds & queue.in_ready):
            m.d.sync += [holds.eq(more != 0), held.eq(held >> WORD_BITS), more.eq(more - 1)]
