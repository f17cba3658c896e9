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
    data_bits=64, address_bits=32, length_bits=16, tag_bits=2, granule_bytes=4, burst_beats=2
)

PLACES = 8
"""Commands, and words, that a proof looks at."""


class Passes(Elaboratable):
    """Commands that lie inside leave unchanged and in order, those outside never; of each of these
    an error tells, in order, and a refusal, when all of its words are gone. Words of the others
    leave unchanged and in order, and no others.

    `short` commands have few words, so that many of them are over in few cycles; without it,
    nobody looks at words.

    `lie` makes the statement wrong: a command may end a granule behind the limit.
    """

    def __init__(self, *, short: bool, lie: bool = False) -> None:
        self.short, self.lie = short, lie
        self.unit = WriteWindow(TINY)
        u = self.unit
        self.address = Signal(TINY.granule_address_bits)
        self.length, self.tag = Signal(2 if short else TINY.length_bits), Signal(TINY.tag_bits)
        self.word = Signal(4)
        self.base, self.limit = Signal.like(u.base), Signal.like(u.limit)
        self.inputs = [
            *(self.address, self.length, self.tag, self.word, self.base, self.limit),
            *(u.command_valid, u.in_valid, u.to_command_ready, u.to_in_ready),
        ]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = u = self.unit
        space = Const(0, TINY.length_bits - len(self.length))
        begun, base, limit = Signal(), Signal.like(self.base), Signal.like(self.limit)
        m.d.comb += [
            u.command_data.eq(Cat(self.address, self.length, space, self.tag)),
            u.in_data.eq(self.word),
            u.base.eq(self.base),
            u.limit.eq(self.limit),
            # The window holds still.
            Assume(~begun | ((self.base == base) & (self.limit == limit))),
        ]
        m.d.sync += [begun.eq(1), base.eq(self.base), limit.eq(self.limit)]
        self._commands(m)
        if self.short:
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
            inside.eq((self.base <= self.address) & (end < self.limit + self.lie)),
        ]
        kept = self._list(m, "kept", comes & inside, u.command_data)
        wrong = self._list(m, "wrong", comes & ~inside, self.address)
        for here, data, listed in (
            (u.to_command_valid, u.to_command_data, kept),
            (u.error, u.error_address >> 2, wrong),
        ):
            words, count, at = listed
            with m.If(here):
                m.d.comb += [Assert(at < count), Assert(data == words[at])]
        m.d.sync += [
            kept[2].eq(kept[2] + (u.to_command_valid & u.to_command_ready)),
            wrong[2].eq(wrong[2] + u.error),
        ]
        m.d.comb += Assert(u.error_address[:2] == 0)
        with m.If(u.to_command_valid):
            # Said once more, of what leaves alone.
            found = split(write_command(TINY), u.to_command_data)
            m.d.comb += [
                Assert(found["address"] >= self.base),
                Assert(found["address"] + found["length"] < self.limit),
            ]
        waited, held = Signal(), Signal.like(u.to_command_data)
        m.d.sync += [
            waited.eq(u.to_command_valid & ~u.to_command_ready),
            held.eq(u.to_command_data),
        ]
        with m.If(waited):
            m.d.comb += Assert(u.to_command_valid & (u.to_command_data == held))
        # A command that lies inside is offered, and one outside told of, a cycle after.
        self._comes, self._inside = comes, inside

    def _list(
        self, m: Module, name: str, comes: Value, data: Value
    ) -> tuple[Array[Signal], Signal, Signal]:
        """Words that came, how many, and the number of the next that is to leave."""
        words = Array(Signal(len(data), name=f"{name}_{i}") for i in range(PLACES))
        count, at = (Signal(range(PLACES + 1), name=f"{name}_{what}") for what in ("count", "at"))
        m.d.comb += Assume(count < PLACES)
        with m.If(comes):
            m.d.sync += [words[count].eq(data), count.eq(count + 1)]
        return words, count, at

    def _words(self, m: Module) -> None:
        u = self.unit
        # Of all commands: whether they lie inside, their words less one, and their tag.
        kinds = Cat(self._inside, self.length[TINY.lane_bits :], self.tag)
        commands, taken, at = self._list(m, "command", self._comes, kinds)
        words, came, word = self._list(m, "word", u.in_valid & u.in_ready, self.word)
        # The command whose word is next, and how many of its words are gone.
        inside, gone = Signal(), Signal(2)
        size, tag = Signal(1), Signal(TINY.tag_bits)
        m.d.comb += [Cat(inside, size, tag).eq(commands[at]), Assert(came >= word)]
        skipped = Signal(2)
        with m.If(u.to_in_valid):
            m.d.comb += [
                Assert((at < taken) & inside & (word < came)),
                Assert(u.to_in_data == words[word]),
                Assert(~u.refused),
            ]
        with m.If(u.to_in_valid & u.to_in_ready):
            m.d.sync += [word.eq(word + 1), gone.eq(gone + 1)]
            with m.If(gone == size):
                m.d.sync += [gone.eq(0), at.eq(at + 1)]
        with m.If(u.refused):
            m.d.comb += [
                skipped.eq(size + 1),
                Assert((at < taken) & ~inside & (word + skipped <= came)),
                Assert(u.refused_tag == tag),
            ]
            m.d.sync += [word.eq(word + skipped), at.eq(at + 1)]


def show(property_: Passes, folder: Path, cycles: int) -> None:
    prove(property_, property_.inputs, cycles=cycles, folder=folder, small_memories=True)


@pytest.mark.parametrize("short", [False, True], ids=["commands", "words"])
def test_what_lies_inside_passes_and_nothing_else(short: bool, tmp_path: Path) -> None:
    show(Passes(short=short), tmp_path, 7)
