"""Reading a stream: runs of memory as groups of as many elements as are asked for."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.chip.regroup import Regroup, count_bits
from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import stream_fields


class StreamRead(Unit):
    """Asks memory for the runs of a stream, and hands on their elements in groups of any size.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin; not before the last stream's elements have all left |
    | stream | `stream_fields` | in | at `start`: the stream |
    | command_valid, _ready, _data | 1, 1, `client_command` | out, in, out | a run |
    | in_valid, in_ready, in_data | 1, 1, `client_word` | in, out, in | what was read |
    | size_valid, size_ready | 1, 1 | in, out | a size is taken when both are high |
    | size_count | `count_bits(most)` | in | elements of the next group, less one |
    | out_valid, out_ready, out_data | 1, 1, most x 16 | out, in, out | a group, its first element \
lowest |

    Throughput: a word in and a group out every cycle; no ready depends on a valid. All runs are
    asked for at once: what is read waits outside.

    Args:
        sizes: of the chip.
        bus: of its memory.
        most: elements of the longest group.
    """

    def __init__(self, sizes: ChipSizes, bus: Bus, most: int) -> None:
        self.sizes, self.bus, self.most = sizes, bus, most
        self.module_name = f"nofm_stream_read_{sizes.memory_bits}_{most}_{bus.suffix}"
        super().__init__(
            {
                "start": In(1),
                "stream": In(sum(stream_fields(sizes, "").values())),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_data": Out(sum(client_command(bus).values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(sum(client_word(bus).values())),
                "size_valid": In(1),
                "size_ready": Out(1),
                "size_count": In(count_bits(most)),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(16 * most),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        place(m, platform, "walker", walker := Walker(memory_walk(self.sizes)))
        place(m, platform, "sizes", asked := Queue(len(self.size_count), BUFFER))
        place(m, platform, "regroup", regroup := Regroup(16, self.bus.lanes, self.most, 1))
        word = split(client_word(self.bus), self.in_data)
        stream = split(stream_fields(self.sizes, ""), self.stream)
        run = Signal.like(stream["run"], name="run", reset_less=True)
        with m.If(self.start):
            m.d.sync += run.eq(stream["run"])
        command = split(client_command(self.bus), self.command_data)
        m.d.comb += [
            walker.job_valid.eq(self.start),
            walker.job_data.eq(self.stream),
            self.command_valid.eq(walker.pass_valid),
            walker.pass_ready.eq(self.command_ready),
            command["address"].eq(split(walker.pass_fields, walker.pass_data)["address"]),
            command["length"].eq(run),
            regroup.in_valid.eq(self.in_valid),
            self.in_ready.eq(regroup.in_ready),
            regroup.in_count.eq(word["granules"]),
            regroup.in_data.eq(word["data"]),
            asked.in_valid.eq(self.size_valid),
            self.size_ready.eq(asked.in_ready),
            asked.in_data.eq(self.size_count),
            regroup.size_valid.eq(asked.out_valid),
            asked.out_ready.eq(regroup.size_ready),
            regroup.size_count.eq(asked.out_data),
            self.out_valid.eq(regroup.out_valid),
            regroup.out_ready.eq(self.out_ready),
            self.out_data.eq(regroup.out_data),
        ]
        return m
