"""Room queue: a first-in first-out that says early when it is full, for what cannot wait."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.queue import Queue
from nofm.rtl.hierarchy import Unit, place


class RoomQueue(Unit):
    """The end of a pipeline that never stops: words that are on their way when there is no more
    room still find a place.

    | port | width | direction | |
    |---|---|---|---|
    | in_valid, in_data | 1, width | in | a word comes |
    | room | 1 | out | a register: it holds fewer than `depth` words |
    | out_valid, out_ready, out_data | 1, 1, width | out, in, out | it leaves when both are high |

    A word that comes in cycle t counts in `room` of cycle t + 1, after which `spare` more words may
    come. Latency and throughput are those of a `Queue`.
    """

    def __init__(self, width: int, depth: int, spare: int) -> None:
        self.width = width
        self.depth = depth
        self.spare = spare
        self.module_name = f"nofm_chip_room_queue_{width}_{depth}_{spare}"
        super().__init__(
            {
                "in_valid": In(1),
                "in_data": In(width),
                "room": Out(1, init=1),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queue = Queue(self.width, self.depth + self.spare)
        place(m, platform, "queue", queue)
        # A deep queue holds a word in its output as well.
        level = Signal(range(queue.depth + 2))
        after = Signal.like(level)
        m.d.comb += [
            queue.in_valid.eq(self.in_valid),
            queue.in_data.eq(self.in_data),
            self.out_valid.eq(queue.out_valid),
            queue.out_ready.eq(self.out_ready),
            self.out_data.eq(queue.out_data),
            after.eq(level + (self.in_valid & queue.in_ready) - (queue.out_valid & self.out_ready)),
        ]
        m.d.sync += [level.eq(after), self.room.eq(after < self.depth)]
        return m
