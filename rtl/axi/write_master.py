"""Write master: commands and their words in, written to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bursts import Bursts
from nofm.rtl.axi.bus import Bus, write_command
from nofm.rtl.axi.first_error import error_ports, keep_first_error
from nofm.rtl.axi.ports import mark, write_ports
from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.axi.write_align import WriteAlign, write_beat
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place


class WriteMaster(Unit):
    """Writes runs of granules through AXI4; each command takes its words in order.

    A word holds the next granules of a command, the first one in lane 0; a command begins a new
    word, and takes no more words than it has granules for. Bytes around them stay as they are. A
    burst is asked for when all its beats are in the queue, and less than `outstanding` bursts are
    under way; so its beats then come without a pause, and never before AW says where to.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, _ready, command_data | 1, 1, `write_command` | in, out, in | where to write |
    | in_valid, in_ready, in_data | 1, 1, `data_bits` | in, out, in | what to write |
    | done | 1 | out | for one cycle: memory has answered all bursts of a command |
    | done_tag | `tag_bits` | out | its tag, in that cycle |
    | busy | 1 | out | a command that was taken is not done |
    | clear_error | 1 | in | forget the error |
    | error | 1 | out | memory answered SLVERR or DECERR since it was cleared |
    | error_response | 2 | out | the first such answer |
    | error_address | `address_bits` | out | the burst that it came for |
    | m_axi_aw..., m_axi_w..., m_axi_b... | | | AXI4 without identifiers; bursts are aligned |

    A burst with an error counts as any other: the command ends.

    Cycles, where words are there, memory answers `latency` cycles after the last beat, and nobody
    pauses: the last of n beats leaves `fixed_cycles` + n + the longest of its bursts (the queue's
    delay, if that is more) after the command was taken, as long as the queue holds two bursts and
    `outstanding` of them cover the latency; `done` follows latency + 1 later. Beats leave in every
    cycle from the first burst on, or from the second, if that is longer.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.module_name = f"nofm_axi_write_{bus.suffix}"
        super().__init__(
            {
                "command_valid": In(1),
                "command_ready": Out(1),
                "command_data": In(sum(write_command(bus).values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(bus.data_bits),
                "done": Out(1),
                "done_tag": Out(bus.tag_bits),
                "busy": Out(1),
                **error_ports(bus),
                **write_ports(bus),
            }
        )
        mark(self)

    fixed_cycles = 2
    """From the cycle in which a command is taken to its last beat's, without what takes time for
    each beat."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        source, words = Queue(len(self.command_data), BUFFER), Queue(bus.data_bits, BUFFER)
        bursts, align = Bursts(bus), WriteAlign(bus)
        # Bursts wait for what the alignment makes of words, so that one is ahead of them.
        waiting = Queue(len(self.command_data), bus.commands)
        beats = Queue(sum(write_beat(bus).values()), bus.queue_beats)
        answers = Queue(bus.beat_address_bits + 1 + bus.tag_bits, bus.outstanding)
        place(m, platform, "source", source)
        place(m, platform, "given", words)
        place(m, platform, "bursts", bursts)
        place(m, platform, "waiting", waiting)
        place(m, platform, "align", align)
        place(m, platform, "beats", beats)
        place(m, platform, "answers", answers)

        command = split(write_command(bus), source.out_data)
        asked = split(write_command(bus), waiting.out_data)
        inside = bus.lane_bits + bus.place_bits
        tag = Signal(bus.tag_bits)
        m.d.comb += [
            source.in_valid.eq(self.command_valid),
            source.in_data.eq(self.command_data),
            self.command_ready.eq(source.in_ready),
            words.in_valid.eq(self.in_valid),
            words.in_data.eq(self.in_data),
            self.in_ready.eq(words.in_ready),
            # A command goes to both.
            source.out_ready.eq(waiting.in_ready & align.command_ready),
            align.command_valid.eq(source.out_valid & waiting.in_ready),
            align.command_data.eq(Cat(command["address"][:inside], command["length"])),
            waiting.in_valid.eq(source.out_valid & align.command_ready),
            waiting.in_data.eq(source.out_data),
            bursts.command_valid.eq(waiting.out_valid),
            bursts.address.eq(asked["address"]),
            bursts.length.eq(asked["length"]),
            waiting.out_ready.eq(bursts.command_ready),
            align.word_valid.eq(words.out_valid),
            align.word_data.eq(words.out_data),
            words.out_ready.eq(align.word_ready),
            beats.in_valid.eq(align.beat_valid),
            beats.in_data.eq(align.beat_data),
            align.beat_ready.eq(beats.in_ready),
        ]
        with m.If(waiting.out_valid & waiting.out_ready):
            m.d.sync += tag.eq(asked["tag"])
        self._ask(m, bursts, beats, answers, tag)
        self._answer(m, source, answers)
        return m

    def _ask(self, m: Module, bursts: Bursts, beats: Queue, answers: Queue, tag: Signal) -> None:
        """AW and W: when a burst is asked for, and when its beats go."""
        bus = self.bus
        # Bursts that are whole in the queue, and not asked for.
        whole = Signal(range(bus.queue_beats + 2))
        # How many more bursts AW took than W did, and one more: W may be a burst ahead.
        ahead = Signal(range(bus.outstanding + 3), init=1)
        asked, kept, sent = Signal(), Signal(), Signal()
        into, out = split(write_beat(bus), beats.in_data), split(write_beat(bus), beats.out_data)
        m.d.comb += [
            self.m_axi_awaddr.eq(bursts.burst_address),
            self.m_axi_awlen.eq(bursts.burst_beats),
            self.m_axi_awvalid.eq(bursts.burst_valid & (whole != 0) & answers.in_ready),
            asked.eq(self.m_axi_awvalid & self.m_axi_awready),
            bursts.burst_ready.eq(asked),
            answers.in_valid.eq(asked),
            # Another command may begin with this one's last burst.
            answers.in_data.eq(Cat(bursts.command_ready, tag, bursts.burst_address[bus.size :])),
            self.m_axi_wdata.eq(out["data"]),
            self.m_axi_wstrb.eq(out["strobes"]),
            self.m_axi_wlast.eq(out["last"]),
            self.m_axi_wvalid.eq(
                beats.out_valid & ((ahead > 1) | ((ahead == 1) & self.m_axi_awvalid))
            ),
            beats.out_ready.eq(self.m_axi_wvalid & self.m_axi_wready),
            kept.eq(beats.in_valid & beats.in_ready & into["last"]),
            sent.eq(beats.out_ready & out["last"]),
        ]
        m.d.sync += [whole.eq(whole + kept - asked), ahead.eq(ahead + asked - sent)]

    def _answer(self, m: Module, source: Queue, answers: Queue) -> None:
        """B: what memory says, and how many commands are not done."""
        bus = self.bus
        inside = Signal(range(BUFFER + bus.commands + bus.outstanding + 4))
        taken, ended, failed = Signal(), Signal(), Signal()
        last, tag, address = Signal(), Signal(bus.tag_bits), Signal(bus.beat_address_bits)
        m.d.comb += [
            self.m_axi_bready.eq(answers.out_valid),
            answers.out_ready.eq(self.m_axi_bvalid),
            Cat(last, tag, address).eq(answers.out_data),
            taken.eq(source.in_valid & source.in_ready),
            ended.eq(self.m_axi_bvalid & self.m_axi_bready & last),
            failed.eq(self.m_axi_bvalid & self.m_axi_bready & self.m_axi_bresp[1]),
            self.busy.eq(inside != 0),
        ]
        m.d.sync += [inside.eq(inside + taken - ended), self.done.eq(ended), self.done_tag.eq(tag)]
        keep_first_error(m, self, failed, self.m_axi_bresp, Cat(Const(0, bus.size), address))
