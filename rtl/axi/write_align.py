"""Write alignment: words that start with a command's first granule become beats of memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.turn import less, turned
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit


def write_run(bus: Bus) -> dict[str, int]:
    """Fields of what `WriteAlign` is told of a command.

    lane, place: of its first granule in the beat, and of that in the burst.
    length: granules, less one.
    """
    return {"lane": bus.lane_bits, "place": bus.place_bits, "length": bus.length_bits}


def write_beat(bus: Bus) -> dict[str, int]:
    """Fields of a beat.

    data, strobes: as in WDATA and WSTRB.
    last: it ends a burst.
    """
    return {"data": bus.data_bits, "strobes": bus.data_bytes, "last": 1}


class WriteAlign(Unit):
    """Takes commands and, in the same order, all their words; gives the beats that they lie in.

    A word is turned by the lane of the command's first granule; a beat takes its high part from
    the word, and its low part from the word before it.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, command_ready, command_data | 1, 1, `write_run` | in, out, in | |
    | word_valid, word_ready, word_data | 1, 1, `data_bits` | in, out, in | granule 0 lowest |
    | beat_valid, beat_ready, beat_data | 1, 1, `write_beat` | out, in, out | |

    Throughput: a beat a cycle. Latency: a beat stands at the output in the cycle after its last
    word is taken. The ready signals depend on valid ones and on `beat_ready`.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.module_name = f"nofm_axi_write_align_{bus.suffix}"
        super().__init__(
            {
                "command_valid": In(1),
                "command_ready": Out(1),
                "command_data": In(sum(write_run(bus).values())),
                "word_valid": In(1),
                "word_ready": Out(1),
                "word_data": In(bus.data_bits),
                "beat_valid": Out(1),
                "beat_ready": In(1),
                "beat_data": Out(sum(write_beat(bus).values())),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        # The command that words are taken for.
        active, first = Signal(), Signal()
        offset, tail = Signal(bus.lane_bits), Signal(bus.lane_bits)
        # Whether its last beat holds the rest of a word only.
        spills = Signal()
        at = Signal(bus.place_bits)
        left = Signal(bus.length_bits + 1 - bus.lane_bits)
        take, final, needs, free = Signal(), Signal(), Signal(), Signal()

        command = split(write_run(bus), self.command_data)
        beats = Signal.like(left)
        low_end = Signal(bus.lane_bits + 1)
        m.d.comb += [
            beats.eq((command["length"] + command["lane"])[bus.lane_bits :]),
            low_end.eq(command["length"][: bus.lane_bits] + command["lane"]),
            final.eq(left == 0),
            needs.eq(~(final & spills)),
            take.eq(active & (self.word_valid | ~needs) & free),
            self.word_ready.eq(active & needs & free),
            self.command_ready.eq(~active | (take & final)),
        ]
        with m.If(take):
            m.d.sync += [first.eq(0), left.eq(left - 1), at.eq(at + 1), active.eq(~final)]
        with m.If(self.command_valid & self.command_ready):
            m.d.sync += [
                active.eq(1),
                first.eq(1),
                offset.eq(command["lane"]),
                tail.eq(low_end),
                spills.eq(low_end[bus.lane_bits]),
                at.eq(command["place"]),
                left.eq(beats),
            ]

        # A word, turned.
        full, step = Signal(), Signal()
        now = {
            name: Signal(shape, name=f"now_{name}")
            for name, shape in {
                "data": bus.data_bits,
                "offset": bus.lane_bits,
                "tail": bus.lane_bits,
                "first": 1,
                "last": 1,
                "ends": 1,
            }.items()
        }
        held = Signal(bus.data_bits)
        m.d.comb += [
            free.eq(~full | step),
            step.eq(full & self.beat_ready),
            self.beat_valid.eq(full),
        ]
        back = Signal(bus.lane_bits)
        m.d.comb += back.eq(-offset)
        word = turned(m, "turned", self.word_data, back, bus.granule_bits)
        with m.If(take):
            m.d.sync += [
                now["data"].eq(word),
                now["offset"].eq(offset),
                now["tail"].eq(tail),
                now["first"].eq(first),
                now["last"].eq(final),
                now["ends"].eq(final | at.all()),
            ]
        m.d.sync += full.eq(take | (full & ~step))
        with m.If(step):
            m.d.sync += held.eq(now["data"])

        offset_less = less(m, "offset_less", now["offset"], bus.lanes)
        tail_less = less(m, "tail_less", now["tail"], bus.lanes)
        data, strobes = [], []
        for lane in range(bus.lanes):
            bits = slice(lane * bus.granule_bits, (lane + 1) * bus.granule_bits)
            here = offset_less[lane + 1]
            used = (~now["first"] | here) & ~(now["last"] & tail_less[lane])
            data.append(Mux(here, now["data"][bits], held[bits]))
            strobes.append(used.replicate(bus.granule_bytes))
        fields = {"data": Cat(data), "strobes": Cat(strobes), "last": now["ends"]}
        beat = split(write_beat(bus), self.beat_data)
        m.d.comb += [beat[name].eq(value) for name, value in fields.items()]
        return m
