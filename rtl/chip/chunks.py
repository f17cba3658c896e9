"""Chunks: runs of memory cut so that nobody has the bus for long."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import Bus
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit


def client_command(bus: Bus) -> dict[str, int]:
    """Fields of a client's command and their widths.

    address: of the first granule.
    length: granules, less one.
    """
    return {"address": bus.granule_address_bits, "length": bus.length_bits}


def client_word(bus: Bus) -> dict[str, int]:
    """Fields of a word that was read for a client, and their widths.

    data: granule 0 in the low bits; granules that the command does not have are 0.
    granules: granules of the word that the command has, less one.
    last: it is the command's last word.
    """
    return {"data": bus.data_bits, "granules": bus.lane_bits, "last": 1}


def check_sizes(bus: Bus, clients: int, chunk_beats: int, queue_beats: int) -> None:
    """Refuse what a `ReadShare` or a `WriteShare` cannot be.

    Raises:
        InputError: a size is outside of what their docstrings say.
    """
    if clients < 1:
        raise InputError(f"clients of a shared bus must be 1 or more, not {clients}")
    tag_bits = client_bits(clients) + 1
    if bus.tag_bits < tag_bits:
        raise InputError(
            f"tag_bits of a bus with {clients} clients must be {tag_bits} or more, "
            f"not {bus.tag_bits}"
        )
    if chunk_beats < 2 or chunk_beats & (chunk_beats - 1):
        raise InputError(
            f"chunk_beats of a shared bus must be a power of two from 2 on, not {chunk_beats}"
        )
    if queue_beats < chunk_beats:
        raise InputError(
            f"queue_beats of a shared bus must be chunk_beats, {chunk_beats}, or more, "
            f"not {queue_beats}"
        )


def client_bits(clients: int) -> int:
    """Bits of a client's number."""
    return max(1, (clients - 1).bit_length())


class Chunks(Unit):
    """One client's commands, as chunks that end at multiples of `chunk_beats` beats.

    Words of the chunks are those of the command: all but the last chunk are whole words, so a run
    that begins inside a beat has each chunk's last beat moved twice.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, command_ready, command_data | 1, 1, `client_command` | in, out, in | |
    | chunk_valid, chunk_ready | 1, 1 | out, in | a chunk is taken when both are high |
    | chunk_address | granule address | out | of the chunk's first granule |
    | chunk_length | `length_bits` | out | its granules, less one |
    | chunk_words | log2(`chunk_beats`) + 1 | out | its words |
    | chunk_last | 1 | out | it ends the command |

    A command that is taken in cycle t gives its first chunk in cycle t + 1. Throughput: a chunk a
    cycle, also from one command to the next; so `command_ready` depends on `chunk_ready`.
    """

    def __init__(self, bus: Bus, chunk_beats: int) -> None:
        self.bus = bus
        self.chunk_beats = chunk_beats
        self.module_name = f"nofm_chunks_{chunk_beats}_{bus.suffix}"
        super().__init__(
            {
                "command_valid": In(1),
                "command_ready": Out(1),
                "command_data": In(sum(client_command(bus).values())),
                "chunk_valid": Out(1),
                "chunk_ready": In(1),
                "chunk_address": Out(bus.granule_address_bits),
                "chunk_length": Out(bus.length_bits),
                "chunk_words": Out(range(chunk_beats + 1)),
                "chunk_last": Out(1),
            }
        )
        # Granules that are left, less one.
        self._left = Signal(bus.length_bits, name="left")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        place_bits = (self.chunk_beats - 1).bit_length()
        low_bits = bus.lane_bits + place_bits
        given = split(client_command(bus), self.command_data)
        # The beat in its window, and the windows before it.
        address, left = Signal(bus.granule_address_bits), self._left
        moves = Signal()
        # Words up to the window's end, and all that are left, less one.
        words, whole = Signal(range(self.chunk_beats + 1)), Signal(bus.length_bits - bus.lane_bits)
        granules = Cat(Const(0, bus.lane_bits), words)
        m.d.comb += [
            moves.eq(self.chunk_valid & self.chunk_ready),
            self.command_ready.eq(~self.chunk_valid | (moves & self.chunk_last)),
            words.eq(self.chunk_beats - address[bus.lane_bits : low_bits]),
            whole.eq(left[bus.lane_bits :]),
            self.chunk_last.eq(whole < words),
            self.chunk_address.eq(address),
            self.chunk_words.eq(Mux(self.chunk_last, whole[:place_bits] + 1, words)),
            self.chunk_length.eq(Mux(self.chunk_last, left, granules - 1)),
        ]
        with m.If(moves):
            m.d.sync += [
                self.chunk_valid.eq(~self.chunk_last),
                address.eq(address + granules),
                left.eq(left - granules),
            ]
        with m.If(self.command_valid & self.command_ready):
            m.d.sync += [
                self.chunk_valid.eq(1),
                address.eq(given["address"]),
                left.eq(given["length"]),
            ]
        return m
