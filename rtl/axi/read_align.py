"""Read alignment: beats of memory become words that start with a command's first granule."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus, read_command, read_word
from nofm.rtl.axi.turn import less, turned
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit


class ReadAlign(Unit):
    """Takes commands and, in the same order, all beats that their granules lie in.

    A beat is turned by the lane of the command's first granule. Its low part then ends up in the
    word before it, and its high part begins one; so a word waits for the next beat, but the last
    one may have none. That one leaves while the next command's first beat comes.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, command_ready, command_data | 1, 1, `read_command` | in, out, in | |
    | beat_valid, beat_ready | 1, 1 | in, out | a beat is taken when both are high |
    | beat_data, beat_response | `data_bits`, 2 | in | RDATA and RRESP |
    | word_valid, word_ready, word_data | 1, 1, `read_word` | out, in, out | |
    | failed | 1 | out | a beat with an error is taken in this cycle |
    | failed_response, failed_address | 2, `address_bits` | out | its response and address |

    Throughput: a beat or a word a cycle. Latency: a word stands at the output in the cycle after
    its last beat is taken. The ready signals depend on valid ones and on `word_ready`.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.module_name = f"nofm_axi_read_align_{bus.suffix}"
        super().__init__(
            {
                "command_valid": In(1),
                "command_ready": Out(1),
                "command_data": In(sum(read_command(bus).values())),
                "beat_valid": In(1),
                "beat_ready": Out(1),
                "beat_data": In(bus.data_bits),
                "beat_response": In(2),
                "word_valid": Out(1),
                "word_ready": In(1),
                "word_data": Out(sum(read_word(bus).values())),
                "failed": Out(1),
                "failed_response": Out(2),
                "failed_address": Out(bus.address_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        # The command that beats are taken for.
        active, first, zero = Signal(), Signal(), Signal()
        offset, tail = Signal(bus.lane_bits), Signal(bus.lane_bits)
        # Whether its last beat only completes a word, and begins none.
        completes = Signal()
        left = Signal(bus.length_bits + 1 - bus.lane_bits)
        tag = Signal(bus.tag_bits)
        at = Signal(bus.beat_address_bits)
        take, final, goes = Signal(), Signal(), Signal()
        free = Signal()

        command = split(read_command(bus), self.command_data)
        skew = Signal(bus.lane_bits)
        beats = Signal.like(left)
        wraps = Signal()
        m.d.comb += [
            skew.eq(Mux(command["zero"], 0, command["address"][: bus.lane_bits])),
            beats.eq((command["length"] + skew)[bus.lane_bits :]),
            wraps.eq((command["length"][: bus.lane_bits] + skew)[bus.lane_bits]),
            final.eq(left == 0),
            take.eq(active & (zero | self.beat_valid) & free),
            goes.eq(take & final),
            self.beat_ready.eq(active & ~zero & free),
            self.command_ready.eq(~active | goes),
            self.failed.eq(take & ~zero & self.beat_response[1]),
            self.failed_response.eq(self.beat_response),
            self.failed_address[bus.size :].eq(at),
        ]
        with m.If(take):
            m.d.sync += [first.eq(0), left.eq(left - 1), at.eq(at + 1), active.eq(~final)]
        with m.If(self.command_valid & self.command_ready):
            m.d.sync += [
                active.eq(1),
                first.eq(1),
                zero.eq(command["zero"]),
                offset.eq(skew),
                tail.eq(command["length"][: bus.lane_bits]),
                completes.eq(wraps),
                left.eq(beats),
                tag.eq(command["tag"]),
                at.eq(command["address"][bus.lane_bits :]),
            ]

        # A beat, turned.
        full, step = Signal(), Signal()
        now = {
            name: Signal(shape, name=f"now_{name}")
            for name, shape in {
                "data": bus.data_bits,
                "offset": bus.lane_bits,
                "tail": bus.lane_bits,
                "tag": bus.tag_bits,
                "first": 1,
                "last": 1,
                "completes": 1,
            }.items()
        }
        m.d.comb += free.eq(~full | step)
        beat = turned(m, "turned", self.beat_data, offset, bus.granule_bits)
        with m.If(take):
            m.d.sync += [
                now["data"].eq(Mux(zero, 0, beat)),
                now["offset"].eq(offset),
                now["tail"].eq(tail),
                now["tag"].eq(tag),
                now["first"].eq(first),
                now["last"].eq(final),
                now["completes"].eq(completes),
            ]
        m.d.sync += full.eq(take | (full & ~step))

        # The beat before it, whose high part may still be a word of its own: `rest`.
        held, held_tail = Signal(bus.data_bits), Signal(bus.lane_bits)
        held_tag, rest = Signal(bus.tag_bits), Signal()
        whole, fills, last = Signal(), Signal(), Signal()
        m.d.comb += [
            # The beat alone is a word.
            whole.eq((now["offset"] == 0) | (now["first"] & now["last"])),
            fills.eq(now["first"] & ~whole),
            self.word_valid.eq(rest | (full & ~fills)),
            step.eq(full & Mux(fills, ~rest | self.word_ready, ~rest & self.word_ready)),
            last.eq(rest | (now["last"] & (whole | now["completes"]))),
        ]
        with m.If(step):
            m.d.sync += [held.eq(now["data"]), held_tail.eq(now["tail"]), held_tag.eq(now["tag"])]
        with m.If(step & now["last"] & ~whole & ~now["completes"]):
            m.d.sync += rest.eq(1)
        with m.Elif(self.word_ready):
            m.d.sync += rest.eq(0)

        word_tail = Signal(bus.lane_bits)
        m.d.comb += word_tail.eq(Mux(rest, held_tail, now["tail"]))
        offset_less = less(m, "offset_less", now["offset"], bus.lanes)
        tail_less = less(m, "tail_less", word_tail, bus.lanes)
        granules = []
        for lane in range(bus.lanes):
            bits = slice(lane * bus.granule_bits, (lane + 1) * bus.granule_bits)
            # Lanes that the turned beat before filled: those that did not turn over its end.
            before = rest | (~whole & offset_less[bus.lanes - lane])
            used = ~(last & tail_less[lane])
            granules.append(
                Mux(before, held[bits], now["data"][bits]) & used.replicate(bus.granule_bits)
            )
        fields = {
            "data": Cat(granules),
            "granules": Mux(last, word_tail, bus.lanes - 1),
            "last": last,
            "tag": Mux(rest, held_tag, now["tag"]),
        }
        word = split(read_word(bus), self.word_data)
        m.d.comb += [word[name].eq(value) for name, value in fields.items()]
        return m
