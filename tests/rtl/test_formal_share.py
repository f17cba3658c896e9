"""Sharing the bus loses, doubles and swaps nothing, and nobody starves: formal proofs.

In the masters' place stands anything that keeps a master's promises, as far as they are used: that
the masters themselves do is shown in `test_formal_axi.py`. Clients are free in every cycle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal, Value

from nofm.rtl.axi.bus import Bus, read_command, read_word, write_command
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.chip.chunks import Chunks, client_command
from nofm.rtl.chip.share import ReadShare, WriteShare, _Share
from nofm.rtl.chip.turns import Turns
from nofm.rtl.fields import split
from nofm.rtl.tools.formal import Refuted, prove

TINY = Bus(
    data_bits=64,
    address_bits=32,
    burst_beats=2,
    queue_beats=2,
    length_bits=16,
    tag_bits=2,
    granule_bytes=4,
)

CLIENTS, CHUNK, QUEUE = 2, 2, 2
"""Of the shares that are looked at: clients, beats of a chunk, words of a client's queue."""


class Free:
    """Makes a master's outputs free."""

    given: dict[str, Signal]

    def free(self, *names: str) -> list[Signal]:
        """The values of some of them; all others are 0."""
        self.given = {name: Signal.like(getattr(self, name), name=f"free_{name}") for name in names}
        return list(self.given.values())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [getattr(self, name).eq(value) for name, value in self.given.items()]
        return m


class FreeRead(Free, ReadMaster):
    """What stands in a read master's place."""


class FreeWrite(Free, WriteMaster):
    """What stands in a write master's place."""


class Cut(Elaboratable):
    """A command's chunks begin at its first granule, join, and end at its last one, and only there
    say that they are the last; all others are whole words, up to a border of `chunk_beats`.

    `lie` makes the statement wrong: a chunk would be half as long.
    """

    def __init__(self, lie: bool = False) -> None:
        self.lie = lie
        self.unit = Chunks(TINY, 4)
        self.inputs = [self.unit.command_valid, self.unit.command_data, self.unit.chunk_ready]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = u = self.unit
        given = split(client_command(TINY), u.command_data)
        active, begin = Signal(), Signal(TINY.granule_address_bits)
        # Granules that are left.
        left = Signal(TINY.length_bits + 1)
        takes = Signal()
        m.d.comb += [
            Assume(given["address"] + given["length"] < 1 << TINY.granule_address_bits),
            takes.eq(u.chunk_valid & u.chunk_ready),
            Assert(u.chunk_valid == active),
        ]
        size = u.chunk_length + 1
        with m.If(takes):
            m.d.sync += [begin.eq(begin + size), left.eq(left - size)]
            with m.If(left == size):
                m.d.sync += active.eq(0)
        with m.If(u.command_valid & u.command_ready):
            m.d.sync += [
                active.eq(1),
                begin.eq(given["address"]),
                left.eq(given["length"] + 1),
            ]
        window = TINY.lanes * u.chunk_beats // (1 + self.lie)
        with m.If(active):
            m.d.comb += [
                Assert(u.chunk_address == begin),
                Assert(size <= left),
                Assert(u.chunk_last == (size == left)),
                Assert((u.chunk_words << TINY.lane_bits) >= size),
                Assert(((u.chunk_words - 1) << TINY.lane_bits) < size),
                # Beats from the one of its first granule on.
                Assert((begin & (window - 1) & ~(TINY.lanes - 1)) + size <= window),
                Assert(u.command_ready == (takes & u.chunk_last)),
                Assert(u._left + 1 == left),
            ]
            with m.If(~u.chunk_last):
                end = begin + size
                m.d.comb += [
                    Assert(size & (TINY.lanes - 1) == 0),
                    Assert(end & (window - 1) & ~(TINY.lanes - 1) == 0),
                ]
        return m


class Served(Elaboratable):
    """Who wants to be served is, after all others once at most; who does not want to never is."""

    def __init__(self, clients: int, lie: bool = False) -> None:
        self.lie = lie
        self.unit = Turns(clients)
        self.inputs = [self.unit.wants, self.unit.serve]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = u = self.unit
        clients = u.clients
        m.d.comb += [Assert(u.any == u.wants.any()), Assume(u.any | ~u.serve)]
        with m.If(u.any):
            m.d.comb += Assert(Array(u.wants)[u.chosen])
        m.d.comb += Assert(u._last < clients)
        for client in range(clients):
            # Others that were served while it has wanted to be; clients before it in turn.
            others, before = Signal(range(clients + 1), name=f"others{client}"), Signal(8)
            served = u.serve & (u.chosen == client)
            m.d.comb += [
                before.eq(Mux(u._last < client, client, client + clients) - u._last - 1),
                Assert(others + before <= clients - 1 - self.lie),
            ]
            with m.If(~u.wants[client] | served):
                m.d.sync += others.eq(0)
            with m.Elif(u.serve):
                m.d.sync += others.eq(others + 1)
        return m


class Shared(Elaboratable):
    """A share with free clients, and what stands for its master."""

    unit: Any
    master: Any

    def __init__(self) -> None:
        # Of each client's command: some bits of the address, and a length of up to three chunks.
        self.addresses = [Signal(3, name=f"address{c}") for c in range(CLIENTS)]
        self.lengths = [Signal(3, name=f"length{c}") for c in range(CLIENTS)]
        self.watch = Signal()
        self.inputs = [*self.addresses, *self.lengths, self.watch, self.unit.command_valid]

    def commands(self, m: Module, enough: list[Value], held_up: Value) -> tuple[Signal, Signal]:
        """Each client's commands go to the master whole, in chunks of its number, and a client for
        whose chunk there is `enough` gets its turn; gives who does now, and the words of its chunk.

        `enough` says how many words a client's chunk may have; where nothing is `held_up`, a chunk
        that can go is offered.
        """
        u, master = self.unit, self.master
        kind = read_command(TINY) if isinstance(master, ReadMaster) else write_command(TINY)
        space = (TINY.granule_address_bits - 3, TINY.length_bits - 3)
        each = [
            Cat(address, Const(0, space[0]), length, Const(0, space[1]))
            for address, length in zip(self.addresses, self.lengths, strict=True)
        ]
        command = split(kind, master.command_data)
        takes, last, owner = Signal(), Signal(), Signal(range(CLIENTS))
        words, size = Signal(8), Signal(TINY.length_bits + 1)
        m.d.comb += [
            u.command_data.eq(Cat(each)),
            takes.eq(master.command_valid & master.command_ready),
            Cat(last, owner).eq(command["tag"]),
            size.eq(command["length"] + 1),
            words.eq((command["length"] >> TINY.lane_bits) + 1),
        ]
        if "zero" in command:
            m.d.comb += Assert(~command["zero"])
        for c in range(CLIENTS):
            active, others = Signal(name=f"active{c}"), Signal(4, name=f"others{c}")
            begin, left = Signal(5, name=f"begin{c}"), Signal(5, name=f"left{c}")
            mine, may, next_ = (Signal(name=f"{n}{c}") for n in ("mine", "may", "next"))
            # Words up to the chunk's end, by the place of its first granule.
            first = (begin >> TINY.lane_bits) & (CHUNK - 1)
            all_ = (left + TINY.lanes - 1) >> TINY.lane_bits
            chunk = Mux(all_ < CHUNK - first, all_, CHUNK - first)
            m.d.comb += [
                mine.eq(takes & (owner == c)),
                may.eq(active & (chunk <= enough[c])),
                next_.eq(u.command_valid[c] & u.command_ready[c]),
                # None waits for more than one chunk of each other.
                Assert(others < CLIENTS),
                Assert(master.command_valid | ~may | held_up),
            ]
            with m.If(master.command_valid & (owner == c)):
                m.d.comb += [
                    Assert(may & (command["address"] == begin) & (words == chunk)),
                    Assert((size <= left) & (last == (size == left))),
                ]
            with m.If(mine):
                m.d.sync += [begin.eq(begin + size), left.eq(left - size), active.eq(~last)]
            with m.If(next_):
                m.d.comb += Assert(~active | (mine & last))
                m.d.sync += [
                    active.eq(1),
                    begin.eq(self.addresses[c]),
                    left.eq(self.lengths[c] + 1),
                ]
            with m.If(mine | ~may):
                m.d.sync += others.eq(0)
            with m.Elif(takes):
                m.d.sync += others.eq(others + 1)
        m.d.comb += Assert(~master.command_valid | (owner < CLIENTS))
        return takes, Cat(owner, words)


class Reads(Shared):
    """Every word goes to the client that asked for it, unchanged, in order, and only there; there
    is room for it; and a client that takes nothing holds nobody up.

    `lie` makes the statement wrong: a client's queue would hold a word less.
    """

    def __init__(self, patch: pytest.MonkeyPatch, lie: bool = False) -> None:
        self.lie = lie
        self.unit = ReadShare(TINY, CLIENTS, CHUNK, QUEUE)
        self.master = FreeRead(TINY)
        patch.setattr("nofm.rtl.chip.share.ReadMaster", lambda bus: self.master)
        super().__init__()
        self.inputs += [*self.master.free("command_ready", "out_valid", "out_data")]
        self.inputs += [self.unit.out_ready]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = u = self.unit
        master = self.master
        counts = [
            [Signal(4, name=f"{what}{c}") for c in range(CLIENTS)] for what in ("owed", "held")
        ]
        owed, held = counts
        free = [QUEUE - owed[c] - held[c] for c in range(CLIENTS)]
        takes, whose = self.commands(m, free, Const(0))
        word = split(read_word(TINY), master.out_data)
        last, owner = word["tag"][0], word["tag"][1:]
        given = Cat(word["data"], word["granules"], word["last"] & last)
        m.d.comb += [
            Assert(master.out_ready),
            Assume(~master.out_valid | (Array(owed)[owner] != 0)),
        ]
        for c in range(CLIENTS):
            comes, leaves = Signal(name=f"comes{c}"), Signal(name=f"leaves{c}")
            data = u.out_data.word_select(c, len(given))
            m.d.comb += [
                comes.eq(master.out_valid & (owner == c)),
                leaves.eq(u.out_valid[c] & u.out_ready[c]),
                Assert(u.out_valid[c] == (held[c] != 0)),
                Assert(owed[c] + held[c] <= QUEUE - self.lie),
                Assert(u._room[c] + owed[c] + held[c] == QUEUE),
            ]
            asks = Mux(takes & (whose[0] == c), whose[1:], 0)
            m.d.sync += [
                owed[c].eq(owed[c] + asks - comes),
                held[c].eq(held[c] + comes - leaves),
            ]
            watching, ahead = Signal(name=f"watching{c}"), Signal(4, name=f"ahead{c}")
            seen = Signal(len(given), name=f"seen{c}")
            with m.If(leaves):
                m.d.sync += ahead.eq(ahead - 1)
            with m.If(watching & (ahead == 0)):
                m.d.comb += Assert(u.out_valid[c] & (data == seen))
                with m.If(leaves):
                    m.d.sync += watching.eq(0)
            with m.If(comes & self.watch & ~watching):
                m.d.sync += [watching.eq(1), ahead.eq(held[c] - leaves), seen.eq(given)]
        return m


class Writes(Shared):
    """Words go to the master as the chunks that were asked for need them, each client's unchanged
    and in order; all of a chunk's are there before it is asked for; who is done is told so; and a
    client that has no words holds nobody up.

    `lie` makes the statement wrong: a chunk would be asked for a word earlier.
    """

    def __init__(self, patch: pytest.MonkeyPatch, lie: bool = False) -> None:
        self.lie = lie
        self.unit = WriteShare(TINY, CLIENTS, CHUNK, QUEUE)
        self.master = FreeWrite(TINY)
        patch.setattr("nofm.rtl.chip.share.WriteMaster", lambda bus: self.master)
        super().__init__()
        self.words = [Signal(2, name=f"word{c}") for c in range(CLIENTS)]
        self.inputs += [*self.words, self.unit.in_valid]
        self.inputs += [*self.master.free("command_ready", "in_ready", "done", "done_tag")]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = u = self.unit
        master = self.master
        # Of each client: words that came, that belong to chunks, and that went.
        counts = [
            [Signal(4, name=f"{what}{c}") for c in range(CLIENTS)]
            for what in ("came", "claimed", "went")
        ]
        came, claimed, went = counts
        # Chunks that were asked for, how many, and the one whose words go.
        chunks = Array(Signal(3, name=f"chunk_{i}") for i in range(4))
        asked, at = Signal(3), Signal(3)
        there = [came[c] - claimed[c] - self.lie for c in range(CLIENTS)]
        takes, whose = self.commands(m, there, asked - at > 2)
        m.d.comb += [
            u.in_data.eq(Cat(Cat(w, Const(0, TINY.data_bits - len(w))) for w in self.words)),
            Assume(asked < len(chunks)),
        ]
        with m.If(takes):
            m.d.sync += [chunks[asked].eq(whose), asked.eq(asked + 1)]
        owner, words, left = Signal(1), Signal(2), Signal(2)
        goes = Signal()
        m.d.comb += [
            Cat(owner, words).eq(chunks[at]),
            goes.eq(master.in_valid & master.in_ready),
        ]
        with m.If(master.in_valid):
            m.d.comb += Assert(at < asked)
        with m.If(goes):
            m.d.sync += left.eq(left + 1)
            with m.If(left + 1 == words):
                m.d.sync += [left.eq(0), at.eq(at + 1)]
        for c in range(CLIENTS):
            comes, leaves = Signal(name=f"comes{c}"), Signal(name=f"leaves{c}")
            m.d.comb += [
                comes.eq(u.in_valid[c] & u.in_ready[c]),
                leaves.eq(goes & (owner == c)),
                Assert(went[c] <= came[c]),
                Assert(claimed[c] <= came[c]),
                Assert(u.done[c] == (master.done & (master.done_tag == (2 * c + 1)))),
            ]
            mine = takes & (whose[0] == c)
            m.d.sync += [
                came[c].eq(came[c] + comes),
                claimed[c].eq(claimed[c] + Mux(mine, whose[1:], 0)),
                went[c].eq(went[c] + leaves),
            ]
            watching, number = Signal(name=f"watching{c}"), Signal(4, name=f"number{c}")
            seen = Signal.like(self.words[c], name=f"seen{c}")
            with m.If(comes & self.watch & ~watching):
                m.d.sync += [watching.eq(1), number.eq(came[c]), seen.eq(self.words[c])]
            with m.If(master.in_valid & (owner == c)):
                m.d.comb += Assert(went[c] < came[c])
                with m.If(watching & (went[c] == number)):
                    m.d.comb += Assert(master.in_data == seen)
        return m


def show(property_: Any, folder: Path, cycles: int, **options: Any) -> None:
    prove(
        *(property_, property_.inputs),
        cycles=cycles,
        folder=folder,
        small_memories=True,
        **options,
    )


def test_chunks_are_a_command_forever(tmp_path: Path) -> None:
    show(Cut(), tmp_path, 1, induction=True)


@pytest.mark.parametrize("clients", [2, 9])
def test_nobody_starves_forever(clients: int, tmp_path: Path) -> None:
    show(Served(clients), tmp_path, 1, induction=True)


@pytest.mark.parametrize("cycles", [5, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("share", [Reads, Writes])
def test_nothing_is_lost_doubled_or_swapped(
    share: Any, cycles: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    show(share(monkeypatch), tmp_path, cycles)


REFUTED = {
    "chunks": (lambda patch: Cut(lie=True), 3),
    "turns": (lambda patch: Served(3, lie=True), 4),
    "reads": (lambda patch: Reads(patch, lie=True), 5),
    "writes": (lambda patch: Writes(patch, lie=True), 5),
}


@pytest.mark.parametrize("name", REFUTED)
def test_a_wrong_statement_is_refuted(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    property_, cycles = REFUTED[name]
    with pytest.raises(Refuted) as caught:
        show(property_(monkeypatch), tmp_path, cycles)
    assert str(caught.value).startswith("proof: Assert failed in ")


QUICK: list[tuple[Any, Any, str, str, str]] = [
    (Cut, Chunks, "elaborate", "whole < words", "~(whole > words)"),
    (Served, Turns, "elaborate", "(last < client)", "(last <= client)"),
    (Reads, _Share, "_choose", "each.chunk_words <= most[number]", "most[number] != 0"),
    (Writes, _Share, "_choose", "each.chunk_words <= most[number]", "most[number] != 0"),
    (Writes, WriteShare, "elaborate", "(owner == each) & to.in_ready", "to.in_ready"),
]

MUTANTS = [
    *QUICK,
    (Cut, Chunks, "elaborate", "self.chunk_beats - address[", "self.chunk_beats - 0 * address["),
    (Served, Turns, "elaborate", "last.eq(self.chosen)", "last.eq(0)"),
    (Reads, _Share, "_choose", "Array(all_)[turns.chosen]", "all_[0]"),
    (Reads, ReadShare, "elaborate", "(owner == each)", "(owner <= each)"),
    (Reads, ReadShare, "elaborate", 'word["last"] & last', 'word["last"]'),
    (Reads, ReadShare, "elaborate", "Mux(takes, chunk.words, 0)", "takes"),
    (
        *(Writes, WriteShare, "elaborate"),
        "Array(queue.out_data for queue in queues)[owner]",
        "queues[0].out_data",
    ),
    (Writes, WriteShare, "elaborate", "master.done_tag[0] &", ""),
]


@pytest.mark.parametrize(
    ("property_", "where", "name", "old", "new"),
    [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in MUTANTS[len(QUICK) :])],
)
def test_a_mutant_is_refuted(
    property_: Any,
    where: Any,
    name: str,
    old: str,
    new: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    tmp_path: Path,
) -> None:
    mutate(where, name, old, new, monkeypatch)
    made = {Cut: lambda patch: Cut(), Served: lambda patch: Served(3)}.get(property_, property_)
    with pytest.raises(Refuted) as caught:
        show(made(monkeypatch), tmp_path, 6)
    assert str(caught.value).startswith("proof: Assert failed in ")
