"""The write window lets through what lies inside of it, and nothing else: formal proofs.

All commands, words and windows are free, in all cycles up to a bound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal, Value

from nofm.rtl.axi.bus import Bus, write_command
from nofm.rtl.chip.window import WriteWindow
from nofm.rtl.fields import split
from nofm.rtl.tools.formal import Refuted, prove

TINY = Bus(
    data_bits=64, address_bits=32, length_bits=16, tag_bits=1, granule_bytes=4, burst_beats=2
)

PLACES = 4
"""Commands, at most, whose words a proof looks at."""


class Passes(Elaboratable):
    """Commands that lie inside leave unchanged and in order, those outside never; of each of these
    an error tells, in order, and a refusal, when all of its words are gone: soon after they came.
    Words of the others leave unchanged and in order, and no others.

    Addresses differ in few bits, and commands are short, so that many of them are over in few
    cycles: that the window is right for all addresses and lengths is shown of one command.

    `lie` makes the statement wrong: a command may end a granule behind the limit.
    """

    address_bits, length_bits, edge_bits = 2, 2, 3

    def __init__(self, lie: bool = False) -> None:
        self.lie = lie
        self.unit = WriteWindow(TINY)
        u = self.unit
        self.address, self.length = Signal(self.address_bits), Signal(self.length_bits)
        self.tag, self.word = Signal(TINY.tag_bits), Signal(1)
        self.watch = Signal()
        self.base, self.limit = Signal(self.edge_bits), Signal(self.edge_bits)
        self.inputs = [
            *(self.address, self.length, self.tag, self.word, self.base, self.limit, self.watch),
            *(u.command_valid, u.in_valid, u.to_command_ready, u.to_in_ready),
        ]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = u = self.unit
        spaces = (
            TINY.granule_address_bits - len(self.address),
            TINY.length_bits - len(self.length),
        )
        # The window holds still: that of the first cycle.
        begun, base, limit = Signal(), Signal.like(self.base), Signal.like(self.limit)
        with m.If(~begun):
            m.d.sync += [base.eq(self.base), limit.eq(self.limit)]
        m.d.sync += begun.eq(1)
        m.d.comb += [
            u.command_data.eq(
                Cat(
                    *(self.address, Const(0, spaces[0])),
                    *(self.length, Const(0, spaces[1]), self.tag),
                )
            ),
            u.in_data.eq(self.word),
            u.base.eq(Mux(begun, base, self.base)),
            u.limit.eq(Mux(begun, limit, self.limit)),
        ]
        self._begun = begun
        self._commands(m)
        self._words(m)
        return m

    def _commands(self, m: Module) -> None:
        u = self.unit
        # Commands that were taken, in two lists: those inside, and those outside.
        comes = Signal()
        inside = Signal()
        end = Signal(TINY.granule_address_bits + 2)
        m.d.comb += [
            comes.eq(u.command_valid & u.command_ready),
            end.eq(self.address + self.length),
            inside.eq((u.base <= self.address) & (end < u.limit + self.lie)),
        ]
        leaves = u.to_command_valid & u.to_command_ready
        self._order(m, "kept", comes & inside, u.command_data, leaves, u.to_command_data)
        wrong = u.error_address[TINY.size - 1 :]
        self._order(m, "wrong", comes & ~inside, self.address, u.error, wrong)
        m.d.comb += Assert(u.error_address[: TINY.size - 1] == 0)
        waited, held = Signal(), Signal.like(u.to_command_data)
        m.d.sync += [
            waited.eq(u.to_command_valid & ~u.to_command_ready),
            held.eq(u.to_command_data),
        ]
        with m.If(waited):
            m.d.comb += Assert(u.to_command_valid & (u.to_command_data == held))
        self._comes, self._inside = comes, inside

    def _order(
        self, m: Module, name: str, comes: Value, given: Value, leaves: Value, data: Value
    ) -> None:
        """What came leaves in order, each once and unchanged: any one of them is watched."""
        owed, ahead = (Signal(range(16), name=f"{name}_{what}") for what in ("owed", "ahead"))
        watching, seen = (Signal(name=f"{name}_{what}") for what in ("watching", "seen"))
        held = Signal(len(given), name=f"{name}_held")
        m.d.sync += owed.eq(owed + comes - leaves)
        with m.If(leaves):
            m.d.comb += Assert(owed != 0)
        with m.If(watching & leaves):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.comb += Assert(data == held)
                m.d.sync += watching.eq(0)
        with m.If(comes & self.watch & ~seen):
            m.d.sync += [watching.eq(1), seen.eq(1), held.eq(given), ahead.eq(owed - leaves)]

    def _words(self, m: Module) -> None:
        u = self.unit
        # Of all commands: whether they lie inside, their words less one, and their tag.
        kinds = Cat(self._inside, self.length[TINY.lane_bits :], self.tag)
        commands = Array(Signal(len(kinds), name=f"command_{i}") for i in range(PLACES))
        # Commands that came, and the number of the one whose word is next; the same of words.
        taken, at = Signal(range(PLACES + 1)), Signal(range(PLACES + 1))
        came, word = Signal(4), Signal(4)
        inside, size, tag = Signal(), Signal(1), Signal(TINY.tag_bits)
        # Of the command at hand: words that left. Of the one that is watched: its number.
        left, number, held, watching = Signal(1), Signal(4), Signal.like(self.word), Signal()
        m.d.comb += [
            Cat(inside, size, tag).eq(commands[at]),
            Assume(taken < PLACES),
            Assert(word <= came),
        ]
        with m.If(self._comes):
            m.d.sync += [commands[taken].eq(kinds), taken.eq(taken + 1)]
        with m.If(u.in_valid & u.in_ready):
            m.d.sync += came.eq(came + 1)
            with m.If(self.watch & ~watching):
                m.d.sync += [watching.eq(1), number.eq(came), held.eq(self.word)]
        with m.If(u.to_in_valid):
            m.d.comb += [Assert((at < taken) & inside & (word < came)), Assert(~u.refused)]
            with m.If(watching & (number == word)):
                m.d.comb += Assert(u.to_in_data == held)
        with m.If(u.to_in_valid & u.to_in_ready):
            m.d.sync += [word.eq(word + 1), left.eq(left + 1)]
            with m.If(left == size):
                m.d.sync += [left.eq(0), at.eq(at + 1)]
        with m.If(u.refused):
            m.d.comb += [
                Assert((at < taken) & ~inside & (word + size < came)),
                Assert(u.refused_tag == tag),
            ]
            m.d.sync += [word.eq(word + size + 1), at.eq(at + 1)]
        # Words are dropped at once, whatever the master does.
        stands = Signal(3)
        with m.If((at < taken) & ~inside & (word + size < came) & ~u.refused):
            m.d.sync += stands.eq(stands + 1)
        with m.Else():
            m.d.sync += stands.eq(0)
        m.d.comb += Assert(stands < 3)


class Judges(Passes):
    """The same of one command, with any address, length and window."""

    address_bits, length_bits = TINY.granule_address_bits, TINY.length_bits
    edge_bits = TINY.granule_address_bits + 1

    def _words(self, m: Module) -> None:
        u = self.unit
        m.d.comb += Assume(~self._begun | ~u.command_valid)
        with m.If(u.to_command_valid):
            # Said once more, of what leaves alone.
            found = split(write_command(TINY), u.to_command_data)
            m.d.comb += [
                Assert(found["address"] >= u.base),
                Assert(found["address"] + found["length"] < u.limit),
            ]


@pytest.fixture(autouse=True)
def short_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two words instead of four."""
    monkeypatch.setattr("nofm.rtl.chip.window.BUFFER", 2)


def show(property_: Passes, folder: Path, cycles: int) -> None:
    prove(property_, property_.inputs, cycles=cycles, folder=folder, small_memories=True)


def test_any_command_is_judged_right(tmp_path: Path) -> None:
    show(Judges(), tmp_path, 4)


@pytest.mark.parametrize("cycles", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_what_lies_inside_passes_and_nothing_else(cycles: int, tmp_path: Path) -> None:
    show(Passes(), tmp_path, cycles)


@pytest.mark.parametrize("property_", [Judges, Passes])
def test_a_wrong_statement_is_refuted(property_: type[Passes], tmp_path: Path) -> None:
    with pytest.raises(Refuted) as caught:
        show(property_(lie=True), tmp_path, 4)
    assert str(caught.value).startswith("proof: Assert failed in ")


@pytest.mark.parametrize(
    ("property_", "name", "old", "new"),
    [
        (Judges, "elaborate", "end > self.limit", "end[:-2] > self.limit"),
        pytest.param(
            *(Judges, "elaborate", '+ command["length"] + 1', '+ command["length"]'),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(Judges, "elaborate", 'command["address"] < self.base', "0"),
            marks=pytest.mark.slow,
        ),
        (Passes, "elaborate", "checked.in_valid.eq(goes & ~outside)", "checked.in_valid.eq(goes)"),
        (Passes, "_pass", "waiting.out_valid & ~drop", "waiting.out_valid"),
        pytest.param(
            *(Passes, "_pass", "drop | self.to_in_ready", "self.to_in_ready"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(Passes, "_pass", "moves & last & drop", "moves & drop"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mutant_is_refuted(
    property_: type[Passes],
    name: str,
    old: str,
    new: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    tmp_path: Path,
) -> None:
    mutate(WriteWindow, name, old, new, monkeypatch)
    with pytest.raises(Refuted) as caught:
        show(property_(), tmp_path, 4 if property_ is Judges else 6)
    assert str(caught.value).startswith("proof: Assert failed in ")
