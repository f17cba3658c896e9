"""Bursts: cuts runs of memory into AXI bursts."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.hierarchy import Unit


class Bursts(Unit):
    """All beats that a command's granules lie in, as bursts, in order.

    A burst ends at a multiple of `burst_beats`, or at the command's end. As that many beats divide
    4 KiB, none crosses a multiple of 4 KiB.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, command_ready | 1, 1 | in, out | a command is taken when both are high |
    | address | granule address | in | of the command's first granule |
    | length | `length_bits` | in | its granules, less one |
    | burst_valid, burst_ready | 1, 1 | out, in | a burst is taken when both are high |
    | burst_address | `address_bits` | out | of its first byte |
    | burst_beats | 8 | out | its beats, less one |

    A command that is taken in cycle t gives its first burst in cycle t + 1. Throughput: a burst a
    cycle, also from one command to the next; so `command_ready` depends on `burst_ready`: while a
    command is under way, it is high in the cycle in which its last burst is taken.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.module_name = f"nofm_axi_bursts_{bus.suffix}"
        super().__init__(
            {
                "command_valid": In(1),
                "command_ready": Out(1),
                "address": In(bus.granule_address_bits),
                "length": In(bus.length_bits),
                "burst_valid": Out(1),
                "burst_ready": In(1),
                "burst_address": Out(bus.address_bits),
                "burst_beats": Out(8),
            }
        )
        # The place of the command's last beat in its window, and windows left behind this one.
        self._last_place = Signal(bus.place_bits, name="last_place")
        self._left = Signal(bus.length_bits + 1 - bus.lane_bits - bus.place_bits, name="left")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        inside = bus.lane_bits + bus.place_bits
        # Number of the burst's window and, in it, of its first beat.
        window = Signal(bus.granule_address_bits - inside)
        place = Signal(bus.place_bits)
        last_place, left = self._last_place, self._left
        moves, last = Signal(), Signal()
        # Behind the beginning of the first window: the last beat.
        end = Signal(bus.length_bits + 1 - bus.lane_bits)
        ones = (1 << bus.place_bits) - 1
        m.d.comb += [
            last.eq(left == 0),
            self.burst_beats.eq((Mux(last, last_place, ones) - place)[: bus.place_bits]),
            self.burst_address.eq(Cat(Const(0, bus.size), place, window)),
            moves.eq(self.burst_valid & self.burst_ready),
            self.command_ready.eq(~self.burst_valid | (moves & last)),
            end.eq((self.address[:inside] + self.length)[bus.lane_bits :]),
        ]
        with m.If(moves):
            m.d.sync += [
                window.eq(window + 1),
                place.eq(0),
                left.eq(left - 1),
                self.burst_valid.eq(~last),
            ]
        with m.If(self.command_valid & self.command_ready):
            m.d.sync += [
                self.burst_valid.eq(1),
                window.eq(self.address[inside:]),
                place.eq(self.address[bus.lane_bits : inside]),
                last_place.eq(end[: bus.place_bits]),
                left.eq(end[bus.place_bits :]),
            ]
        return m
