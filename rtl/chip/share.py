"""Sharing the bus: several clients' commands over one master, without one that blocks another."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Member, Out

from nofm.rtl.axi.bus import Bus, read_command, read_word, write_command
from nofm.rtl.axi.first_error import error_ports
from nofm.rtl.axi.ports import mark, read_ports, write_ports
from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.chip.chunks import (
    Chunks,
    check_sizes,
    client_bits,
    client_command,
    client_word,
)
from nofm.rtl.chip.turns import Turns
from nofm.rtl.chip.window import WriteWindow
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place

CHUNK_BEATS = 16
QUEUE_BEATS = 64

Ports = Mapping[str, Member]


class _Share(Unit):
    """What sharing reads and writes has in common: clients' chunks, taken in turn."""

    def __init__(
        self, kind: str, bus: Bus, clients: int, chunk_beats: int, queue_beats: int, ports: Ports
    ) -> None:
        check_sizes(bus, clients, chunk_beats, queue_beats)
        self.bus = bus
        self.clients = clients
        self.chunk_beats = chunk_beats
        self.queue_beats = queue_beats
        self.module_name = f"nofm_{kind}_share_{clients}_{chunk_beats}_{queue_beats}_{bus.suffix}"
        super().__init__(
            {
                "command_valid": In(clients),
                "command_ready": Out(clients),
                "command_data": In(clients * sum(client_command(bus).values())),
                **ports,
                "busy": Out(1),
                **error_ports(bus),
            }
        )
        mark(self)

    def _choose(
        self, m: Module, platform: Any, most: list[Signal], takes: Value
    ) -> tuple[Turns, SimpleNamespace]:
        """The chunk that is next, as the ports of `Chunks` without `chunk_`; and whose it is.

        Args:
            most: of each client, words that its chunk may have now.
            takes: a chunk is taken, if there is one.
        """
        turns = Turns(self.clients)
        clients = [Chunks(self.bus, self.chunk_beats) for _ in most]
        place(m, platform, "turns", turns)
        m.d.comb += turns.serve.eq(turns.any & takes)
        for number, each in enumerate(clients):
            place(m, platform, f"chunks{number}", each)
            m.d.comb += [
                each.command_valid.eq(self.command_valid[number]),
                each.command_data.eq(self.command_data.word_select(number, len(each.command_data))),
                self.command_ready[number].eq(each.command_ready),
                turns.wants[number].eq(each.chunk_valid & (each.chunk_words <= most[number])),
                each.chunk_ready.eq(turns.serve & (turns.chosen == number)),
            ]
        next_ = SimpleNamespace(waits=Cat(each.chunk_valid for each in clients).any())
        for name in ("address", "length", "words", "last"):
            all_ = [getattr(each, f"chunk_{name}") for each in clients]
            chosen = Signal.like(all_[0], name=f"chosen_{name}")
            m.d.comb += chosen.eq(Array(all_)[turns.chosen])
            setattr(next_, name, chosen)
        return turns, next_

    def _pass(self, m: Module, master: ReadMaster | WriteMaster) -> None:
        """Connect the ports of `master` for AXI and errors."""
        for name, member in self.signature.members.items():
            if name.startswith("m_axi_") or name in error_ports(self.bus):
                outer, inner = getattr(self, name), getattr(master, name)
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)


class ReadShare(_Share):
    """A `ReadMaster` for several clients.

    Commands are cut into chunks (`Chunks`), and clients' chunks are taken in turn, each when the
    client's own queue has room for all of it: whatever one leaves lying, the others go on.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, _ready, command_data | a lane a client, `client_command` | in, out, in | |
    | out_valid, out_ready, out_data | a lane a client, `client_word` | out, in, out | |
    | busy | 1 | out | something that was asked for has not come out |
    | clear_error, error, error_response, error_address | | | those of the master |
    | m_axi_ar..., m_axi_r... | | | those of the master |

    Each client's words are those that a master of its own would give: all whole but for a
    command's last.

    Cycles: `more_cycles` more than with the master alone from a command to its first word; then a
    word a cycle, of one client or of several. A run that begins inside a beat costs a beat more for
    each chunk. A client alone gets a word a cycle if its queue covers the latency and two chunks.

    Args:
        bus: of the master; its tags hold a client's number and a bit more.
        clients: 1 or more.
        chunk_beats: beats of the longest chunk, a power of two from 2 on.
        queue_beats: words of each client's queue, `chunk_beats` or more.

    Raises:
        InputError: a size is outside of these.
    """

    def __init__(
        self,
        bus: Bus,
        clients: int,
        chunk_beats: int = CHUNK_BEATS,
        queue_beats: int = QUEUE_BEATS,
    ) -> None:
        words = {
            "out_valid": Out(clients),
            "out_ready": In(clients),
            "out_data": Out(clients * sum(client_word(bus).values())),
        }
        super().__init__(
            "read", bus, clients, chunk_beats, queue_beats, {**words, **read_ports(bus)}
        )
        width = sum(client_word(bus).values())
        self._queues = [Queue(width, queue_beats) for _ in range(clients)]
        # Words that each client's queue can take beside those that were asked for.
        self._room = [
            Signal(range(queue_beats + 1), init=queue_beats, name=f"room{each}")
            for each in range(clients)
        ]

    @property
    def more_cycles(self) -> int:
        """Cycles on the way of a command and its first word beside those of the master."""
        return 1 + self._queues[0].delay

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        master = ReadMaster(bus)
        place(m, platform, "master", master)
        self._pass(m, master)
        room = self._room
        turns, chunk = self._choose(m, platform, room, master.command_ready)
        command, word = (
            split(read_command(bus), master.command_data),
            split(read_word(bus), master.out_data),
        )
        m.d.comb += [
            master.command_valid.eq(turns.any),
            command["address"].eq(chunk.address),
            command["length"].eq(chunk.length),
            command["tag"].eq(Cat(chunk.last, turns.chosen)),
            # There is room for every word that was asked for.
            master.out_ready.eq(1),
            self.busy.eq(
                chunk.waits | master.busy | Cat(each != self.queue_beats for each in room).any()
            ),
        ]
        last, owner = word["tag"][0], word["tag"][1:]
        for each, queue in enumerate(self._queues):
            place(m, platform, f"queue{each}", queue)
            takes, leaves = Signal(name=f"takes{each}"), Signal(name=f"leaves{each}")
            m.d.comb += [
                queue.in_valid.eq(master.out_valid & (owner == each)),
                queue.in_data.eq(Cat(word["data"], word["granules"], word["last"] & last)),
                self.out_valid[each].eq(queue.out_valid),
                self.out_data.word_select(each, len(queue.out_data)).eq(queue.out_data),
                queue.out_ready.eq(self.out_ready[each]),
                takes.eq(turns.serve & (turns.chosen == each)),
                leaves.eq(queue.out_valid & queue.out_ready),
            ]
            m.d.sync += room[each].eq(room[each] + leaves - Mux(takes, chunk.words, 0))
        return m


class WriteShare(_Share):
    """A `WriteMaster` for several clients.

    Commands are cut into chunks (`Chunks`), and clients' chunks are taken in turn, each when all
    its words are in the client's own queue: so nobody who is slow holds others up.

    | port | width | direction | |
    |---|---|---|---|
    | command_valid, _ready, command_data | a lane a client, `client_command` | in, out, in | |
    | in_valid, in_ready, in_data | a lane a client, `data_bits` | in, out, in | |
    | done | a lane a client | out | for one cycle: memory has answered all of a command |
    | busy | 1 | out | a command that was taken is not done |
    | clear_error, error, error_response, error_address | | | those of the master |
    | m_axi_aw..., m_axi_w..., m_axi_b... | | | those of the master |
    | window_base, window_limit | granule address + 1 | in | with a window: as of `WriteWindow` |
    | window_error, window_address | 1, `address_bits` | out | likewise |

    A client's commands take its words as those of a master of its own do.

    Cycles: words of chunks go to the master one a cycle, of one client or of several; a client
    alone gets that if its queue holds two chunks. A run that begins inside a beat costs a beat more
    for each chunk, as both write a part of it.

    With a window, chunks that lie outside of it are not written: `WriteWindow`.

    Args:
        bus, clients, chunk_beats, queue_beats: as of `ReadShare`.
        window: whether there is one.

    Raises:
        InputError: a size is outside of these.
    """

    def __init__(
        self,
        bus: Bus,
        clients: int,
        chunk_beats: int = CHUNK_BEATS,
        queue_beats: int = QUEUE_BEATS,
        *,
        window: bool = False,
    ) -> None:
        words = {
            "in_valid": In(clients),
            "in_ready": Out(clients),
            "in_data": In(clients * bus.data_bits),
            "done": Out(clients),
        }
        self.window = window
        if window:
            words |= {
                "window_base": In(bus.granule_address_bits + 1),
                "window_limit": In(bus.granule_address_bits + 1),
                "window_error": Out(1),
                "window_address": Out(bus.address_bits),
            }
        super().__init__(
            "write", bus, clients, chunk_beats, queue_beats, {**words, **write_ports(bus)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, clients = self.bus, range(self.clients)
        master = WriteMaster(bus)
        place(m, platform, "master", master)
        self._pass(m, master)
        to: WriteMaster | WriteWindow = master
        if self.window:
            to = self._window(m, platform, master)
        # Words in each client's queue that belong to no chunk that was taken.
        spare = [Signal(range(self.queue_beats + 2), name=f"spare{each}") for each in clients]
        # Whose words go to the master, and how many.
        goes = Queue(client_bits(self.clients) + self.chunk_beats.bit_length(), BUFFER)
        place(m, platform, "goes", goes)
        turns, chunk = self._choose(m, platform, spare, to.command_ready & goes.in_ready)
        command = split(write_command(bus), to.command_data)
        m.d.comb += [
            to.command_valid.eq(turns.any & goes.in_ready),
            command["address"].eq(chunk.address),
            command["length"].eq(chunk.length),
            command["tag"].eq(Cat(chunk.last, turns.chosen)),
            goes.in_valid.eq(turns.any & to.command_ready),
            goes.in_data.eq(Cat(turns.chosen, chunk.words)),
            self.busy.eq(chunk.waits | master.busy),
        ]

        owner, words = Signal.like(turns.chosen), Signal.like(chunk.words)
        sent, moves, last = Signal.like(chunk.words), Signal(), Signal()
        m.d.comb += [
            Cat(owner, words).eq(goes.out_data),
            moves.eq(to.in_valid & to.in_ready),
            last.eq(sent + 1 == words),
            goes.out_ready.eq(moves & last),
        ]
        with m.If(moves):
            m.d.sync += sent.eq(Mux(last, 0, sent + 1))

        queues = [Queue(bus.data_bits, self.queue_beats) for _ in clients]
        m.d.comb += [
            to.in_valid.eq(goes.out_valid & Array(queue.out_valid for queue in queues)[owner]),
            to.in_data.eq(Array(queue.out_data for queue in queues)[owner]),
        ]
        for each, queue in enumerate(queues):
            place(m, platform, f"queue{each}", queue)
            comes, takes = Signal(name=f"comes{each}"), Signal(name=f"takes{each}")
            m.d.comb += [
                queue.in_valid.eq(self.in_valid[each]),
                queue.in_data.eq(self.in_data.word_select(each, bus.data_bits)),
                self.in_ready[each].eq(queue.in_ready),
                queue.out_ready.eq(goes.out_valid & (owner == each) & to.in_ready),
                comes.eq(queue.in_valid & queue.in_ready),
                takes.eq(turns.serve & (turns.chosen == each)),
                self.done[each].eq(
                    master.done & master.done_tag[0] & (master.done_tag[1:] == each)
                ),
            ]
            m.d.sync += spare[each].eq(spare[each] + comes - Mux(takes, chunk.words, 0))
        return m

    def _window(self, m: Module, platform: Any, master: WriteMaster) -> WriteWindow:
        """The window before the master."""
        window = WriteWindow(self.bus)
        place(m, platform, "window", window)
        for stream in ("command", "in"):
            for what in ("valid", "data"):
                given = getattr(window, f"to_{stream}_{what}")
                m.d.comb += getattr(master, f"{stream}_{what}").eq(given)
            ready = getattr(window, f"to_{stream}_ready")
            m.d.comb += ready.eq(getattr(master, f"{stream}_ready"))
        m.d.comb += [
            window.base.eq(self.window_base),
            window.limit.eq(self.window_limit),
            self.window_error.eq(window.error),
            self.window_address.eq(window.error_address),
        ]
        return window
