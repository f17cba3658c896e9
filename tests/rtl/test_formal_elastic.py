"""The elastic buffer neither drops nor doubles words, nor changes their order: formal proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Elaboratable, Module, Signal

from nofm.rtl.elastic import DEPTH, Elastic
from nofm.rtl.tools.formal import Refuted, prove

WIDTH = 16


class Opened(Elastic):
    """The buffer with its insides: its addresses, and the word `place` behind the next one."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.place, self.word = Signal(range(DEPTH)), Signal(width)
        self.head, self.tail = Signal(range(DEPTH)), Signal(range(DEPTH))

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        words = m.submodules.words
        (read,), (write,) = words.read_ports, words.write_ports
        look = words.read_port(domain="comb")
        m.d.comb += [
            self.head.eq(read.addr),
            self.tail.eq(write.addr),
            look.addr.eq(self.head + self.place),
            self.word.eq(look.data),
        ]
        return m


class Watched(Elaboratable):
    """Any one word that is taken is watched: it leaves unchanged, right after those before it.

    What else must be true for that to follow from one cycle to the next is asserted too.

    `lie` makes the statement wrong: the word then leaves before the one that was taken before it.
    """

    def __init__(self, lie: bool = False) -> None:
        self.lie = lie
        self.in_valid, self.out_ready, self.watch = Signal(), Signal(), Signal()
        self.in_data = Signal(WIDTH)
        self.inputs = [self.in_valid, self.in_data, self.out_ready, self.watch]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.buffer = buffer = Opened(WIDTH)
        push, pop = Signal(), Signal()
        watching, word = Signal(), Signal(WIDTH)
        ahead = Signal(range(DEPTH))
        m.d.comb += [
            buffer.in_valid.eq(self.in_valid),
            buffer.in_data.eq(self.in_data),
            buffer.out_ready.eq(self.out_ready),
            push.eq(buffer.in_valid & buffer.in_ready),
            pop.eq(buffer.out_valid & buffer.out_ready),
        ]
        with m.If(watching & pop):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.sync += watching.eq(0)
        with m.If(push & self.watch & ~watching):
            m.d.sync += [
                watching.eq(1),
                word.eq(buffer.in_data),
                ahead.eq(buffer.level - pop),
            ]
        m.d.comb += [
            buffer.place.eq(ahead),
            Assert(buffer.level <= DEPTH),
            Assert(buffer.tail == (buffer.head + buffer.level)[: len(buffer.tail)]),
        ]
        with m.If(watching):
            m.d.comb += [
                Assert(buffer.out_valid),
                Assert(buffer.level > ahead),
                Assert(buffer.word == word),
            ]
            with m.If(ahead == int(self.lie)):
                m.d.comb += Assert(buffer.out_data == word)
        return m


class Level(Elaboratable):
    """The level is what was taken less what has left; words are there, and room, when it says so.

    What waits stays on offer.
    """

    def __init__(self) -> None:
        self.in_valid, self.out_ready = Signal(), Signal()
        self.inputs = [self.in_valid, self.out_ready]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.buffer = buffer = Elastic(1)
        counted, waited = Signal(range(-1, DEPTH + 2)), Signal()
        push, pop = Signal(), Signal()
        m.d.comb += [
            buffer.in_valid.eq(self.in_valid),
            buffer.out_ready.eq(self.out_ready),
            push.eq(buffer.in_valid & buffer.in_ready),
            pop.eq(buffer.out_valid & buffer.out_ready),
            Assert(buffer.level == counted),
            Assert((counted >= 0) & (counted <= DEPTH)),
            Assert(buffer.out_valid == (buffer.level > 0)),
            Assert(buffer.in_ready == (buffer.level < DEPTH)),
            Assert(buffer.out_valid | ~waited),
        ]
        m.d.sync += [counted.eq(counted + push - pop), waited.eq(buffer.out_valid & ~pop)]
        return m


def test_words_leave_unchanged_and_in_order(tmp_path: Path) -> None:
    property_ = Watched()
    prove(property_, property_.inputs, cycles=1, folder=tmp_path, induction=True)


def test_the_level_is_right(tmp_path: Path) -> None:
    property_ = Level()
    prove(property_, property_.inputs, cycles=1, folder=tmp_path, induction=True)


def test_a_wrong_statement_is_refuted(tmp_path: Path) -> None:
    property_ = Watched(lie=True)
    with pytest.raises(Refuted) as caught:
        prove(property_, property_.inputs, cycles=4, folder=tmp_path)
    assert str(caught.value).startswith("proof: Assert failed in ")
