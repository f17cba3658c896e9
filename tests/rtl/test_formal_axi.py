"""AXI masters keep the protocol's rules for all inputs: formal proofs.

A free environment drives every input in every cycle; it is only bound to what AXI4 demands of a
memory. What is shown by induction holds in every cycle, the rest in all cycles up to a bound.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal, Value

from nofm.rtl.axi.bursts import Bursts
from nofm.rtl.axi.bus import PAGE_BYTES, Bus
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.write_align import WriteAlign
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.tools.formal import Refuted, prove

TINY = Bus(
    data_bits=64,
    address_bits=32,
    burst_beats=2,
    outstanding=2,
    queue_beats=4,
    length_bits=16,
    tag_bits=1,
    granule_bytes=4,
)


class Cut(Elaboratable):
    """Any command's bursts begin at its first beat, join, and end at its last; none is too long,
    crosses 4 KiB or changes while it waits.

    `lie` makes the statement wrong: pages are taken to be half as long as bursts.
    """

    def __init__(self, bus: Bus, lie: bool = False) -> None:
        self.unit = Bursts(bus)
        self.page = PAGE_BYTES // (32 if lie else 1)
        self.valid, self.ready = Signal(), Signal()
        self.address = Signal(bus.granule_address_bits)
        self.length = Signal(bus.length_bits)
        self.inputs = [self.valid, self.ready, self.address, self.length]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        bus = unit.bus
        m.d.comb += [
            unit.command_valid.eq(self.valid),
            unit.address.eq(self.address),
            unit.length.eq(self.length),
            unit.burst_ready.eq(self.ready),
            # No run goes over the end of the addresses.
            Assume(self.address + self.length < 1 << bus.granule_address_bits),
        ]
        under_way, next_beat = Signal(), Signal(bus.beat_address_bits)
        last_beat = Signal(bus.beat_address_bits)
        beat, beats = unit.burst_address[bus.size :], unit.burst_beats
        takes = Signal()
        m.d.comb += takes.eq(unit.burst_valid & unit.burst_ready)
        with m.If(takes):
            m.d.sync += next_beat.eq(beat + beats + 1)
            with m.If(beat + beats == last_beat):
                m.d.sync += under_way.eq(0)
        with m.If(unit.command_valid & unit.command_ready):
            m.d.sync += [
                under_way.eq(1),
                next_beat.eq(self.address[bus.lane_bits :]),
                last_beat.eq((self.address + self.length)[bus.lane_bits :]),
            ]
        m.d.comb += Assert(unit.burst_valid == under_way)
        inside = self.page // bus.data_bytes
        with m.If(under_way):
            m.d.comb += [
                Assert(beat == next_beat),
                Assert(beat + beats <= last_beat),
                Assert(beats < bus.burst_beats),
                Assert(unit.burst_address[: bus.size] == 0),
                Assert((beat & (inside - 1)) + beats < inside),
                Assert(unit.command_ready == (takes & (beat + beats == last_beat))),
            ]
            # Longer ones would be as good: a burst ends at its window's or the command's end.
            end = beat + beats
            m.d.comb += Assert((end == last_beat) | ((end + 1) & (bus.burst_beats - 1) == 0))
        m.d.comb += self._invariant(unit, under_way, last_beat)
        return m

    def _invariant(self, unit: Bursts, under_way: Value, last_beat: Value) -> list[Any]:
        return []


class CutForever(Cut):
    """The same by induction: what the unit counts is the way to the last beat."""

    def _invariant(self, unit: Bursts, under_way: Value, last_beat: Value) -> list[Any]:
        places = unit.bus.place_bits
        window = unit.burst_address[unit.bus.size + places :]
        return [
            Assert(~under_way | (window + unit._left == last_beat[places:])),
            Assert(~under_way | (unit._last_place == last_beat[:places])),
        ]


class Environment(Elaboratable):
    """A master with free inputs, and what AXI4 demands of both sides.

    Data are 0, and commands lie in two pages and are short: where data go is for other tests to
    show, and that bursts are right for every address and length is shown of `Bursts`.
    """

    master: Any
    tied: tuple[str, ...]

    def __init__(self) -> None:
        self.address, self.length, self.moves = Signal(11), Signal(4), Signal()
        self.inputs: list[Signal] = [self.address, self.length, self.moves]
        for name, member in self.master.signature.members.items():
            if member.flow.name == "In" and name not in ("command_data", *self.tied):
                self.inputs.append(getattr(self.master, name))

    def command(self, m: Module) -> None:
        """What commands say."""
        bus = self.master.bus
        space = Const(0, bus.granule_address_bits - len(self.address))
        m.d.comb += self.master.command_data.eq(Cat(self.address, space, self.length))

    def hurry(self, m: Module, ends: list[Signal], answer: Signal, owed: Value) -> None:
        """One command, of up to two beats, while everything moves at least every second cycle:
        it is done within `prompt` cycles. Memory's `answer` comes when some are `owed`."""
        u = self.master
        moved, taken, time = Signal(), Signal(), Signal(8)
        m.d.comb += [
            *(end.eq(self.moves) for end in ends),
            answer.eq(self.moves & (owed != 0)),
            Assume(self.moves | moved),
            Assume(self.length < 2 * u.bus.lanes - 1),
            Assume(u.command_valid == ~taken),
            Assert(~u.busy | (time < self.prompt)),
        ]
        m.d.sync += moved.eq(self.moves)
        with m.If(u.command_valid & u.command_ready):
            m.d.sync += taken.eq(1)
        with m.If(taken):
            m.d.sync += time.eq(time + 1)

    def stable(self, m: Module, channel: str, signals: list[str]) -> None:
        """What is offered stays until it is taken."""
        master = self.master
        payload = Cat(getattr(master, f"m_axi_{channel}{name}") for name in signals)
        valid = getattr(master, f"m_axi_{channel}valid")
        waited, held = (
            Signal(name=f"{channel}_waited"),
            Signal(len(payload), name=f"{channel}_held"),
        )
        m.d.sync += [
            waited.eq(valid & ~getattr(master, f"m_axi_{channel}ready")),
            held.eq(payload),
        ]
        with m.If(waited):
            m.d.comb += [Assert(valid), Assert(payload == held)]

    def no_crossing(self, m: Module, channel: str) -> None:
        """A burst is as long as it may be, aligned, and inside of 4 KiB."""
        bus = self.master.bus
        address = getattr(self.master, f"m_axi_{channel}addr")
        beats = getattr(self.master, f"m_axi_{channel}len")
        with m.If(getattr(self.master, f"m_axi_{channel}valid")):
            m.d.comb += [
                Assert(address[: bus.size] == 0),
                Assert(beats < bus.burst_beats),
                Assert(address[:12] + (beats << bus.size) < PAGE_BYTES),
            ]


class Reads(Environment):
    """A read master: its bursts, how many are under way, and room for each of their beats.

    With `prompt`, a command ends within so many cycles.
    """

    def __init__(self, prompt: int = 0, lie: bool = False) -> None:
        self.master = ReadMaster(TINY)
        self.tied = ("m_axi_rdata", "m_axi_rresp", "clear_error")
        self.prompt, self.lie = prompt, lie
        if prompt:
            self.tied += ("m_axi_arready", "out_ready", "m_axi_rvalid")
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.master = u = self.master
        self.command(m)
        self.stable(m, "ar", ["addr", "len", "size", "burst"])
        self.no_crossing(m, "ar")
        bus = u.bus
        asked, came = Signal(), Signal()
        # Beats of the bursts under way, the oldest first.
        first, second = Signal(8), Signal(8)
        under_way = Signal(range(bus.outstanding + 2))
        m.d.comb += [
            asked.eq(u.m_axi_arvalid & u.m_axi_arready),
            came.eq(u.m_axi_rvalid & u.m_axi_rready),
            # Memory answers only what was asked, and says when a burst ends.
            Assume(~u.m_axi_rvalid | (under_way != 0)),
            Assume(u.m_axi_rlast == (first == 0)),
            Assert(under_way <= bus.outstanding - self.lie),
            # There is room for what may come.
            Assert(u.m_axi_rready | (under_way == 0)),
        ]
        ended = came & u.m_axi_rlast
        rest = Signal.like(under_way)
        m.d.comb += rest.eq(under_way - ended)
        m.d.sync += under_way.eq(rest + asked)
        with m.If(ended):
            m.d.sync += first.eq(second)
        with m.Elif(came):
            m.d.sync += first.eq(first - 1)
        with m.If(asked & (rest == 0)):
            m.d.sync += first.eq(u.m_axi_arlen)
        with m.If(asked & (rest == 1)):
            m.d.sync += second.eq(u.m_axi_arlen)
        if self.prompt:
            self.hurry(m, [u.m_axi_arready, u.out_ready], u.m_axi_rvalid, under_way)
        return m


class Room(Environment):
    """There is room for every beat on its way, whatever the sink does: room, beats on their way
    and beats held are always as many as the queue has places."""

    def __init__(self, bus: Bus) -> None:
        self.master = ReadMaster(bus)
        self.tied = ("m_axi_rdata", "m_axi_rresp", "clear_error")
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.master = u = self.master
        self.command(m)
        owed = Signal(range(2 * u.bus.queue_beats))
        held = u._beats._level + (u._beats.out_valid if u._beats.delay == 2 else 0)
        m.d.comb += [
            Assume(~u.m_axi_rvalid | (owed != 0)),
            Assert(u._room + owed + held == u.bus.queue_beats),
            Assert(u.m_axi_rready | (owed == 0)),
        ]
        asks = Mux(u.m_axi_arvalid & u.m_axi_arready, u.m_axi_arlen + 1, 0)
        m.d.sync += owed.eq(owed + asks - (u.m_axi_rvalid & u.m_axi_rready))
        return m


class Writes(Environment):
    """A write master: its bursts, where they end, and what is under way."""

    def __init__(self, prompt: int = 0, lie: bool = False) -> None:
        self.master = WriteMaster(TINY)
        self.tied = ("in_data", "m_axi_bresp", "clear_error")
        self.prompt, self.lie = prompt, lie
        if prompt:
            self.tied += ("m_axi_awready", "m_axi_wready", "in_valid", "m_axi_bvalid")
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.master = u = self.master
        self.command(m)
        self.stable(m, "aw", ["addr", "len", "size", "burst"])
        self.stable(m, "w", ["data", "strb", "last"])
        self.no_crossing(m, "aw")
        bus = u.bus
        asked, sent, answered = Signal(), Signal(), Signal()
        under_way = Signal(range(bus.outstanding + 2))
        # Bursts that AW took and W did not end: beats of the oldest, and of the one behind it.
        first, second = Signal(8), Signal(8)
        waits = Signal(range(bus.outstanding + 2))
        # Whether W ended the burst that AW still offers; beats of the burst that W is in.
        early, beat = Signal(), Signal(8)
        # Bursts that are whole in memory, and not answered.
        whole = Signal(range(bus.outstanding + 2))
        beats = Signal(8)
        ends = Signal()
        m.d.comb += [
            asked.eq(u.m_axi_awvalid & u.m_axi_awready),
            sent.eq(u.m_axi_wvalid & u.m_axi_wready),
            ends.eq(sent & u.m_axi_wlast),
            answered.eq(u.m_axi_bvalid & u.m_axi_bready),
            beats.eq(Mux(waits == 0, u.m_axi_awlen, first)),
            # Memory answers what it has whole, and only then.
            Assume(~u.m_axi_bvalid | (whole != 0)),
            Assert(under_way <= bus.outstanding - self.lie),
            Assert(u.m_axi_bready | ~u.m_axi_bvalid),
        ]
        with m.If(u.m_axi_wvalid):
            m.d.comb += [
                # An address is there, and has no other burst.
                Assert((waits != 0) | (u.m_axi_awvalid & ~early)),
                Assert(u.m_axi_wlast == (beat == beats)),
                Assert(u.m_axi_wstrb != 0),
            ]
        m.d.sync += [
            under_way.eq(under_way + asked - answered),
            beat.eq(Mux(ends, 0, beat + sent)),
        ]
        # Addresses that wait for beats; one that is ended before it is taken never does.
        rest, joins = Signal.like(waits), Signal()
        m.d.comb += [
            rest.eq(waits - (ends & (waits != 0))),
            joins.eq(asked & ~early & ~(ends & (waits == 0))),
        ]
        m.d.sync += waits.eq(rest + joins)
        with m.If(asked):
            m.d.sync += early.eq(0)
        with m.Elif(ends & (waits == 0)):
            m.d.sync += early.eq(1)
        with m.If(ends & (waits != 0)):
            m.d.sync += first.eq(second)
        with m.If(joins & (rest == 0)):
            m.d.sync += first.eq(u.m_axi_awlen)
        with m.If(joins & (rest == 1)):
            m.d.sync += second.eq(u.m_axi_awlen)
        # A burst is whole when both channels have had it.
        comes = Signal(2)
        m.d.comb += comes.eq((ends & (waits != 0)) + (asked & (early | (ends & (waits == 0)))))
        m.d.sync += whole.eq(whole + comes - answered)
        if self.prompt:
            self.hurry(m, [u.m_axi_awready, u.m_axi_wready, u.in_valid], u.m_axi_bvalid, whole)
        return m


@pytest.mark.parametrize(
    "bus",
    [TINY, Bus(), Bus(data_bits=512, burst_beats=64, granule_bytes=1, address_bits=40)],
    ids=["tiny", "usual", "wide"],
)
def test_bursts_are_right_forever(bus: Bus, tmp_path: Path) -> None:
    property_ = CutForever(bus)
    prove(property_, property_.inputs, cycles=1, folder=tmp_path, induction=True)


def show(property_: Environment, cycles: int, folder: Path) -> None:
    prove(property_, property_.inputs, cycles=cycles, folder=folder, small_memories=True)


@pytest.mark.parametrize(
    "bus", [TINY, replace(TINY, burst_beats=4, queue_beats=34)], ids=["shallow", "deep"]
)
def test_there_is_always_room_for_what_was_asked(bus: Bus, tmp_path: Path) -> None:
    property_ = Room(bus)
    prove(
        *(property_, property_.inputs),
        cycles=1,
        folder=tmp_path,
        induction=True,
        small_memories=True,
    )


CYCLES = [8, pytest.param(10, marks=pytest.mark.slow)]


@pytest.mark.parametrize("cycles", CYCLES)
@pytest.mark.parametrize("master", [Reads, Writes])
def test_a_master_keeps_the_rules(master: Any, cycles: int, tmp_path: Path) -> None:
    """From reset, in all cycles up to the bound."""
    show(master(), cycles, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("master", [Reads, Writes])
def test_every_command_ends(master: Any, tmp_path: Path) -> None:
    """Where everything moves every second cycle, a command of up to two bursts is done in time."""
    show(master(prompt=18), 20, tmp_path)


def test_a_wrong_statement_about_bursts_is_refuted(tmp_path: Path) -> None:
    property_ = Cut(Bus(), lie=True)
    with pytest.raises(Refuted) as caught:
        prove(property_, property_.inputs, cycles=4, folder=tmp_path)
    assert str(caught.value).startswith("proof: Assert failed in ")


@pytest.mark.parametrize(
    ("property_", "cycles"),
    [
        (Reads(lie=True), 6),
        (Writes(lie=True), 9),
        (Reads(prompt=6), 9),
        (Writes(prompt=6), 9),
    ],
    ids=["reads", "writes", "reads in time", "writes in time"],
)
def test_a_wrong_statement_is_refuted(property_: Any, cycles: int, tmp_path: Path) -> None:
    with pytest.raises(Refuted) as caught:
        show(property_, cycles, tmp_path)
    assert str(caught.value).startswith("proof: Assert failed in ")


@pytest.mark.parametrize(
    ("property_", "where", "name", "old", "new"),
    [
        (lambda: Room(TINY), ReadMaster, "_ask", "~(room < bus.burst_beats)", "(room != 0)"),
        (Reads, ReadMaster, "_ask", "under_way != bus.outstanding", "1"),
        (Writes, WriteAlign, "elaborate", "final | at.all()", "final"),
        (Writes, WriteMaster, "_ask", "self.m_axi_awvalid))", "1))"),
    ],
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
    broken = property_()
    forever = isinstance(broken, Room)
    cycles = 1 if forever else 10
    with pytest.raises(Refuted) as caught:
        prove(
            *(broken, broken.inputs),
            cycles=cycles,
            folder=tmp_path,
            small_memories=not forever,
            induction=forever,
        )
    assert str(caught.value).startswith("proof: Assert failed in ")
