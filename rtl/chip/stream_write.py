"""Writing a stream: groups of elements become words for the runs of a walk over memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.chip.chunks import client_command
from nofm.rtl.chip.regroup import Regroup, count_bits
from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.sizes import RUN_BITS, ChipSizes
from nofm.rtl.program.walk import TOTAL_BITS


class StreamWrite(Unit):
    """Takes elements in groups of any size, and writes them to the runs of a walk.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin; not while `busy` |
    | walk | `memory_walk` | in | at `start`: fields of the walk |
    | run_valid, run_ready, run | 1, 1, `RUN_BITS` | in, out, in | elements of the next run, less \
one; taken with its command, so `run_ready` depends on `run_valid` |
    | in_valid, in_ready | 1, 1 | in, out | a group comes when both are high |
    | in_count | `count_bits(most)` | in | its elements, less one |
    | in_data | most x 16 | in | its first element lowest |
    | command_valid, _ready, _data | 1, 1, `client_command` | out, in, out | a run |
    | out_valid, out_ready, out_data | 1, 1, bus | out, in, out | words of the runs, in order |
    | done | 1 | in | for one cycle: a command's words are in memory |
    | busy | 1 | out | from the cycle after `start` until all commands are done |

    Throughput: a group in and a word out every cycle. `in_ready` depends on no valid.

    Args:
        sizes: of the chip.
        bus: of its memory.
        most: elements of the longest group.
    """

    def __init__(self, sizes: ChipSizes, bus: Bus, most: int) -> None:
        self.sizes, self.bus, self.most = sizes, bus, most
        self.module_name = f"nofm_stream_write_{sizes.memory_bits}_{most}_{bus.suffix}"
        super().__init__(
            {
                "start": In(1),
                "walk": In(sum(memory_walk(sizes).fields("").values())),
                "run_valid": In(1),
                "run_ready": Out(1),
                "run": In(RUN_BITS),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_count": In(count_bits(most)),
                "in_data": In(16 * most),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_data": Out(sum(client_command(bus).values())),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(bus.data_bits),
                "done": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        place(m, platform, "walker", walker := Walker(memory_walk(self.sizes)))
        place(m, platform, "regroup", regroup := Regroup(16, self.most, bus.lanes, 1))
        place(m, platform, "runs", runs := Queue(RUN_BITS, BUFFER))
        command = split(client_command(bus), self.command_data)
        # Elements of the run that no word was asked for, less one; commands that are not done.
        active, left = Signal(), Signal(RUN_BITS)
        under_way = Signal(TOTAL_BITS + 1)
        walks, takes, asks, ends = (Signal() for _ in range(4))
        there = split(walker.pass_fields, walker.pass_data)
        m.d.comb += [
            walker.job_valid.eq(self.start),
            walker.job_data.eq(self.walk),
            # A run goes to memory, and to what cuts it into words.
            self.command_valid.eq(walker.pass_valid & self.run_valid & runs.in_ready),
            takes.eq(self.command_valid & self.command_ready),
            walker.pass_ready.eq(takes),
            self.run_ready.eq(takes),
            command["address"].eq(there["address"]),
            command["length"].eq(self.run),
            runs.in_valid.eq(takes),
            runs.in_data.eq(self.run),
            ends.eq(left < bus.lanes),
            asks.eq(active & regroup.size_ready),
            runs.out_ready.eq(~active | (asks & ends)),
            regroup.in_valid.eq(self.in_valid),
            self.in_ready.eq(regroup.in_ready),
            regroup.in_count.eq(self.in_count),
            regroup.in_data.eq(self.in_data),
            regroup.size_valid.eq(active),
            regroup.size_count.eq(Mux(ends, left, bus.lanes - 1)),
            self.out_valid.eq(regroup.out_valid),
            regroup.out_ready.eq(self.out_ready),
            self.out_data.eq(regroup.out_data),
            self.busy.eq(walks | (under_way != 0)),
        ]
        m.d.sync += [
            under_way.eq(under_way + takes - self.done),
            walks.eq(self.start | (walks & ~(takes & there["last"]))),
            active.eq(runs.out_valid | (active & ~(asks & ends))),
        ]
        with m.If(runs.out_valid & runs.out_ready):
            m.d.sync += left.eq(runs.out_data)
        with m.Elif(asks):
            m.d.sync += left.eq(left - bus.lanes)
        return m
