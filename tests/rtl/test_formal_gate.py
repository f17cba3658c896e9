"""The bus gate keeps AXI4's rules, whenever it is closed: formal proofs.

Masters and memory are free in every cycle; they are only bound to what AXI4 demands of them, and
to what a `WriteMaster` promises beside that. What is shown by induction holds in every cycle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Mux, Signal, Value

from nofm.rtl.axi.bus import Bus
from nofm.rtl.chip.gate import BusGate
from nofm.rtl.tools.formal import Refuted, prove

TINY = Bus(data_bits=64, address_bits=32, length_bits=16, tag_bits=1)

OFFERS = {
    "ar": ("addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "aw": ("addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "w": ("data", "strb", "last"),
}
"""What masters offer on a channel."""

MOST = 200
"""Bursts of a kind that may be under way."""


class Closed(Elaboratable):
    """A gate with free masters and a free memory, opened and closed at any time.

    Nothing new goes out while it is closed; what was offered stays, unchanged; a beat or an address
    that leaves on one side comes in on the other; memory is listened to; and the gate is quiet when
    nothing is under way and nothing on offer, and only then.

    `lie` makes the statement wrong: it were quiet while answers to writes are owed.
    """

    def __init__(self, lie: bool = False) -> None:
        self.lie = lie
        self.unit = BusGate(TINY)
        self.inputs = [
            getattr(self.unit, name)
            for name, member in self.unit.signature.members.items()
            if member.flow.name == "In"
        ]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = u = self.unit
        for channel in OFFERS:
            self._waits(m, channel)
        for channel in ("ar", "aw"):
            self._address(m, channel)
        self._count(m)
        m.d.comb += [
            Assert(u.from_rvalid == u.m_axi_rvalid),
            Assert(u.from_bvalid == u.m_axi_bvalid),
            Assert(u.m_axi_rready == (u.from_rready | u.drain)),
            Assert(u.m_axi_bready == (u.from_bready | u.drain)),
        ]
        return m

    def _port(self, side: str, channel: str, name: str) -> Value:
        found: Value = getattr(self.unit, f"{side}_{channel}{name}")
        return found

    def _waits(self, m: Module, channel: str) -> None:
        """What a side offers stays until it is taken: assumed of masters, shown of the gate."""
        for side, says in (("from", Assume), ("m_axi", Assert)):
            given = Cat(self._port(side, channel, name) for name in OFFERS[channel])
            valid, ready = (self._port(side, channel, name) for name in ("valid", "ready"))
            waited = Signal(name=f"{side}_{channel}_waited")
            held = Signal(len(given), name=f"{side}_{channel}_held")
            m.d.sync += [waited.eq(valid & ~ready), held.eq(given)]
            with m.If(waited):
                m.d.comb += says(valid & (given == held))
            if side == "from":
                mine, offered = given, valid & ready
            else:
                # It moves on both sides or on none.
                m.d.comb += [Assert((valid & ready) == offered), Assert(given == mine)]

    def _address(self, m: Module, channel: str) -> None:
        """Nothing new is offered while the gate is closed, and everything while it is open."""
        u = self.unit
        waits = Signal(name=f"{channel}_waits")
        valid, ready = (self._port("m_axi", channel, name) for name in ("valid", "ready"))
        m.d.sync += waits.eq(valid & ~ready)
        m.d.comb += Assert(u._shown[channel] == waits)
        with m.If(u.drain & ~waits):
            m.d.comb += Assert(~valid)
        with m.If(~u.drain):
            m.d.comb += Assert(valid == self._port("from", channel, "valid"))

    def _count(self, m: Module) -> None:
        """Bursts under way, by what passed on the bus."""
        u = self.unit
        asked, ended, wanted, sent, answered = (Signal(name=n) for n in "arwsb")
        m.d.comb += [
            asked.eq(u.m_axi_arvalid & u.m_axi_arready),
            ended.eq(u.m_axi_rvalid & u.m_axi_rready & u.m_axi_rlast),
            wanted.eq(u.m_axi_awvalid & u.m_axi_awready),
            sent.eq(u.m_axi_wvalid & u.m_axi_wready & u.m_axi_wlast),
            answered.eq(u.m_axi_bvalid & u.m_axi_bready),
        ]
        # Bursts that memory owes beats of; that it has the address of, and not all beats; the other
        # way round; and that it owes an answer to.
        reads, lacking, early, whole = (
            Signal(9, name=name) for name in ("owed", "lacking", "early", "whole")
        )
        joined = Signal(2)
        m.d.comb += [
            joined.eq((wanted & (sent | (early != 0))) + (sent & ~wanted & (lacking != 0))),
            Assume((reads < MOST) & (lacking + whole < MOST)),
            Assume(~u.m_axi_rvalid | (reads != 0)),
            Assume(~u.m_axi_bvalid | (whole != 0)),
        ]
        m.d.sync += [reads.eq(reads + asked - ended), whole.eq(whole + joined - answered)]
        with m.If(wanted & ~sent):
            m.d.sync += [
                lacking.eq(Mux(early != 0, lacking, lacking + 1)),
                early.eq(Mux(early != 0, early - 1, early)),
            ]
        with m.If(sent & ~wanted):
            m.d.sync += [
                lacking.eq(Mux(lacking != 0, lacking - 1, lacking)),
                early.eq(Mux(lacking != 0, early, early + 1)),
            ]
        with m.If(u.m_axi_wvalid):
            # Of a burst whose address is taken or on offer.
            m.d.comb += Assert((lacking != 0) | (u.m_axi_awvalid & (early == 0)))
        with m.If(~u.drain & ((lacking != 0) | (u.from_awvalid & (early == 0)))):
            # A `WriteMaster` offers no beat before its address.
            m.d.comb += Assert(u.m_axi_wvalid == u.from_wvalid)
        offered = u._shown["ar"] | u._shown["aw"]
        idle = (reads == 0) & (lacking == 0) & (early == 0) & ~offered
        m.d.comb += [
            Assert(u.quiet == (idle if self.lie else idle & (whole == 0))),
            Assert(u.read_bytes == Mux(u.m_axi_rvalid & u.m_axi_rready, TINY.data_bytes, 0)),
            # What the gate counts is that.
            Assert(u._reads == reads),
            Assert(u._writes == lacking + whole),
            Assert(u._ahead == 1 + lacking - early),
            Assert((lacking == 0) | (early == 0)),
            Assert(early <= u._shown["aw"]),
        ]
        # Once it is quiet it stays so while it is closed.
        was_quiet = Signal()
        m.d.sync += was_quiet.eq(u.quiet & u.drain)
        with m.If(was_quiet & u.drain):
            m.d.comb += [Assert(u.quiet), Assert(~u.m_axi_wvalid)]


def show(property_: Closed, folder: Path) -> None:
    prove(property_, property_.inputs, cycles=2, folder=folder, induction=True)


def test_it_keeps_the_rules_forever(tmp_path: Path) -> None:
    show(Closed(), tmp_path)


def test_a_wrong_statement_is_refuted(tmp_path: Path) -> None:
    property_ = Closed(lie=True)
    with pytest.raises(Refuted) as caught:
        prove(property_, property_.inputs, cycles=4, folder=tmp_path)
    assert str(caught.value).startswith("proof: Assert failed in ")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("_address", "~self.drain | shown", "1"),
        ("_address", "~self.drain | shown", "~self.drain"),
        pytest.param(
            *("elaborate", "((ahead == 1) & self.m_axi_awvalid)", "(ahead == 1)"),
            marks=pytest.mark.slow,
        ),
        ("elaborate", "- (read & self.m_axi_rlast)", "- read"),
        ("elaborate", "(writes == 0) & (ahead == 1)", "(ahead == 1)"),
        pytest.param(
            *("elaborate", "self.from_bready | self.drain", "self.from_bready"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mutant_is_refuted(
    name: str,
    old: str,
    new: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    tmp_path: Path,
) -> None:
    """From reset on, in so few cycles."""
    mutate(BusGate, name, old, new, monkeypatch)
    broken = Closed()
    with pytest.raises(Refuted) as caught:
        prove(broken, broken.inputs, cycles=6, folder=tmp_path)
    assert str(caught.value).startswith("proof: Assert failed in ")
