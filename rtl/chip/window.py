"""Write window: what would be written outside of a range of memory is an error, and is dropped."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus, write_command
from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place


class WriteWindow(Unit):
    """Stands before a `WriteMaster`, and lets through what lies between two addresses.

    A command any granule of which lies elsewhere never leaves; its words are taken and dropped, as
    fast as they come, and `refused` says that they are. So whoever gave it is not held up.

    | port | width | direction | |
    |---|---|---|---|
    | base, limit | granule address + 1 | in | first granule that may be written; first behind it |
    | command_valid, _ready, command_data | 1, 1, `write_command` | in, out, in | |
    | in_valid, in_ready, in_data | 1, 1, `data_bits` | in, out, in | their words, in order |
    | to_command_valid, _ready, _data | 1, 1, `write_command` | out, in, out | to the master |
    | to_in_valid, to_in_ready, to_in_data | 1, 1, `data_bits` | out, in, out | to the master |
    | error | 1 | out | for one cycle: a command lay outside |
    | error_address | `address_bits` | out | of its first granule, in that cycle |
    | refused | 1 | out | for one cycle: the last word of such a command was dropped |
    | refused_tag | `tag_bits` | out | its tag, in that cycle |

    A command that is taken in cycle t leaves in cycle t + 1 at the earliest, its words in t + 2;
    then a word a cycle. No ready depends on a valid.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.module_name = f"nofm_chip_window_{bus.suffix}"
        width = sum(write_command(bus).values())
        bits = bus.granule_address_bits + 1
        super().__init__(
            {
                "base": In(bits),
                "limit": In(bits),
                "command_valid": In(1),
                "command_ready": Out(1),
                "command_data": In(width),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(bus.data_bits),
                "to_command_valid": Out(1),
                "to_command_ready": In(1),
                "to_command_data": Out(width),
                "to_in_valid": Out(1),
                "to_in_ready": In(1),
                "to_in_data": Out(bus.data_bits),
                "error": Out(1),
                "error_address": Out(bus.address_bits),
                "refused": Out(1),
                "refused_tag": Out(bus.tag_bits),
            }
        )

    @property
    def _waiting(self) -> dict[str, int]:
        """What is kept of a command until its words are through: words, less one."""
        bus = self.bus
        return {"drop": 1, "tag": bus.tag_bits, "words": bus.length_bits - bus.lane_bits}

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        source, words = Queue(len(self.command_data), BUFFER), Queue(bus.data_bits, BUFFER)
        checked = Queue(len(self.command_data), BUFFER)
        waiting = Queue(sum(self._waiting.values()), BUFFER)
        place(m, platform, "source", source)
        place(m, platform, "given", words)
        place(m, platform, "checked", checked)
        place(m, platform, "waiting", waiting)
        command = split(write_command(bus), source.out_data)
        kept = split(self._waiting, waiting.in_data)
        outside, goes = Signal(), Signal()
        end = Signal(bus.granule_address_bits + 2)
        m.d.comb += [
            source.in_valid.eq(self.command_valid),
            source.in_data.eq(self.command_data),
            self.command_ready.eq(source.in_ready),
            words.in_valid.eq(self.in_valid),
            words.in_data.eq(self.in_data),
            self.in_ready.eq(words.in_ready),
            # Nothing wraps round: an end above all addresses is above the limit.
            end.eq(command["address"] + command["length"] + 1),
            outside.eq((command["address"] < self.base) | (end > self.limit)),
            goes.eq(source.out_valid & checked.in_ready & waiting.in_ready),
            source.out_ready.eq(checked.in_ready & waiting.in_ready),
            checked.in_valid.eq(goes & ~outside),
            checked.in_data.eq(source.out_data),
            waiting.in_valid.eq(goes),
            kept["drop"].eq(outside),
            kept["tag"].eq(command["tag"]),
            kept["words"].eq(command["length"][bus.lane_bits :]),
            self.error.eq(goes & outside),
            self.error_address.eq(
                command["address"] << (bus.address_bits - len(command["address"]))
            ),
            self.to_command_valid.eq(checked.out_valid),
            self.to_command_data.eq(checked.out_data),
            checked.out_ready.eq(self.to_command_ready),
        ]
        self._pass(m, words, waiting)
        return m

    def _pass(self, m: Module, words: Queue, waiting: Queue) -> None:
        """The words of the command that is next."""
        head = split(self._waiting, waiting.out_data)
        # Words that came of it.
        count = Signal(len(head["words"]))
        drop, moves, last = Signal(), Signal(), Signal()
        m.d.comb += [
            drop.eq(head["drop"]),
            self.to_in_valid.eq(words.out_valid & waiting.out_valid & ~drop),
            self.to_in_data.eq(words.out_data),
            words.out_ready.eq(waiting.out_valid & (drop | self.to_in_ready)),
            moves.eq(words.out_valid & words.out_ready),
            last.eq(count == head["words"]),
            waiting.out_ready.eq(moves & last),
            self.refused.eq(moves & last & drop),
            self.refused_tag.eq(head["tag"]),
        ]
        with m.If(moves):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
