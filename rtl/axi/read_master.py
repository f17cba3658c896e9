"""Read master: commands in, the bytes of memory that they name out."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bursts import Bursts
from nofm.rtl.axi.bus import Bus, read_command, read_word
from nofm.rtl.axi.first_error import error_ports, keep_first_error
from nofm.rtl.axi.ports import mark, read_ports
from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.axi.read_align import ReadAlign
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place


class ReadMaster(Unit):
    """Reads runs of granules through AXI4: the words of each command leave in order.

    A word holds the next granules of a command, the first one in lane 0; a command begins a new
    word. A burst is asked for when the queue has room for the longest one beside all that is on its
    way, and less than `outstanding` bursts are; so `m_axi_rready` is high whenever one is.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, _ready, command_data | 1, 1, `read_command` | in, out, in | what to read |
    | out_valid, out_ready, out_data | 1, 1, `read_word` | out, in, out | what was read |
    | done | 1 | out | for one cycle: a command's last word is in the output's buffer |
    | busy | 1 | out | a command that was taken is not done |
    | clear_error | 1 | in | forget the error |
    | error | 1 | out | memory answered SLVERR or DECERR since it was cleared |
    | error_response | 2 | out | the first such answer |
    | error_address | `address_bits` | out | the beat that it came for |
    | m_axi_ar..., m_axi_r... | | | AXI4 without identifiers; all beats are whole and aligned |

    A beat with an error counts as any other: the command gets its words, and ends.

    Cycles, where memory answers AR after `latency` cycles and nobody pauses: from a command to its
    first word `first_word_cycles` + latency, and one more where a second beat is needed to fill it,
    as the run does not begin with a beat; then a word every cycle. So the last of n words leaves
    `first_word_cycles` + latency + n - 1, or that one more, after the command was taken, as long as
    the queue and `outstanding` bursts cover the latency.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.module_name = f"nofm_axi_read_{bus.suffix}"
        super().__init__(
            {
                "command_valid": In(1),
                "command_ready": Out(1),
                "command_data": In(sum(read_command(bus).values())),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(sum(read_word(bus).values())),
                "done": Out(1),
                "busy": Out(1),
                **error_ports(bus),
                **read_ports(bus),
            }
        )
        mark(self)
        self._beats = Queue(bus.data_bits + 2, bus.queue_beats)
        # Beats that it can take beside those on their way.
        self._room = Signal(range(bus.queue_beats + 1), init=bus.queue_beats, name="room")

    @property
    def first_word_cycles(self) -> int:
        """From the cycle in which a command is taken to its first word's, without the latency."""
        return 4 + self._beats.delay

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        source, sink = Queue(len(self.command_data), BUFFER), Queue(len(self.out_data), BUFFER)
        bursts, align = Bursts(bus), ReadAlign(bus)
        waiting, beats = Queue(len(self.command_data), bus.commands), self._beats
        place(m, platform, "source", source)
        place(m, platform, "bursts", bursts)
        place(m, platform, "waiting", waiting)
        place(m, platform, "beats", beats)
        place(m, platform, "align", align)
        place(m, platform, "sink", sink)

        command = split(read_command(bus), source.out_data)
        m.d.comb += [
            source.in_valid.eq(self.command_valid),
            source.in_data.eq(self.command_data),
            self.command_ready.eq(source.in_ready),
            # A command goes to both; one of zeros asks for no bursts.
            source.out_ready.eq(waiting.in_ready & (command["zero"] | bursts.command_ready)),
            waiting.in_valid.eq(source.out_valid & (command["zero"] | bursts.command_ready)),
            waiting.in_data.eq(source.out_data),
            bursts.command_valid.eq(source.out_valid & ~command["zero"] & waiting.in_ready),
            bursts.address.eq(command["address"]),
            bursts.length.eq(command["length"]),
            align.command_valid.eq(waiting.out_valid),
            align.command_data.eq(waiting.out_data),
            waiting.out_ready.eq(align.command_ready),
            align.beat_valid.eq(beats.out_valid),
            Cat(align.beat_data, align.beat_response).eq(beats.out_data),
            beats.out_ready.eq(align.beat_ready),
            sink.in_valid.eq(align.word_valid),
            sink.in_data.eq(align.word_data),
            align.word_ready.eq(sink.in_ready),
            self.out_valid.eq(sink.out_valid),
            self.out_data.eq(sink.out_data),
            sink.out_ready.eq(self.out_ready),
        ]
        self._ask(m, bursts, beats)
        self._count(m, source, sink)
        keep_first_error(m, self, align.failed, align.failed_response, align.failed_address)
        return m

    def _ask(self, m: Module, bursts: Bursts, beats: Queue) -> None:
        """AR and R: when a burst is asked for, and what comes of it."""
        bus = self.bus
        # Bursts on their way.
        room, under_way = self._room, Signal(range(bus.outstanding + 1))
        asked, came, left = Signal(), Signal(), Signal()
        asks = Signal(range(bus.burst_beats + 1))
        m.d.comb += [
            self.m_axi_araddr.eq(bursts.burst_address),
            self.m_axi_arlen.eq(bursts.burst_beats),
            self.m_axi_arvalid.eq(
                bursts.burst_valid & ~(room < bus.burst_beats) & (under_way != bus.outstanding)
            ),
            asked.eq(self.m_axi_arvalid & self.m_axi_arready),
            bursts.burst_ready.eq(asked),
            self.m_axi_rready.eq(beats.in_ready),
            beats.in_valid.eq(self.m_axi_rvalid),
            beats.in_data.eq(Cat(self.m_axi_rdata, self.m_axi_rresp)),
            came.eq(self.m_axi_rvalid & self.m_axi_rready & self.m_axi_rlast),
            left.eq(beats.out_valid & beats.out_ready),
            asks.eq(Mux(asked, bursts.burst_beats[: bus.place_bits] + 1, 0)),
        ]
        m.d.sync += [room.eq(room + left - asks), under_way.eq(under_way + asked - came)]

    def _count(self, m: Module, source: Queue, sink: Queue) -> None:
        """How many commands are not done."""
        bus = self.bus
        # In the source's buffer, waiting for beats, and in the alignment with one behind it.
        inside = Signal(range(BUFFER + bus.commands + 4))
        taken, ended = Signal(), Signal()
        word = split(read_word(bus), sink.in_data)
        m.d.comb += [
            taken.eq(source.in_valid & source.in_ready),
            ended.eq(sink.in_valid & sink.in_ready & word["last"]),
            self.busy.eq(inside != 0),
        ]
        m.d.sync += [inside.eq(inside + taken - ended), self.done.eq(ended)]
