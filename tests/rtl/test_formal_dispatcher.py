"""The dispatcher accepts what the format allows and nothing else: formal proofs.

The checksum is linear, so that it is right for all words if it is for each bit alone. The rest is
shown for all programs, word by word and cycle by cycle, with a simpler checksum in its place: a
solver would need hours to find that two ways of adding up the same bits are one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.sim import Simulator

from nofm.dataflow.accelerator import load
from nofm.rtl.chip.checksum import checksum_step
from nofm.rtl.chip.dispatcher import Dispatcher
from nofm.rtl.fields import split
from nofm.rtl.program.descriptors import (
    CHECKSUM_START,
    FAULTS,
    HEADER,
    MAGIC,
    PROGRAM_BITS,
    WORD_BITS,
    Operation,
    ProgramFormat,
)
from nofm.rtl.tools.formal import Refuted, prove

WIDTH = 40
TINY = ProgramFormat.made(
    {
        "barrier": Operation(0x01, "nothing", {}),
        "one": Operation(0x3C, "a word", {"one": lambda _: {"a": WIDTH}}),
    },
    load("sat-4x4"),
)
CYCLES = [7, pytest.param(9, marks=pytest.mark.slow)]
"""A start and one descriptor up to its offer, or to that of a second one."""


def folded(state: Value, word: Value) -> Value:
    """The stand-in for the checksum's step."""
    return state ^ word[:16] ^ word[16:32] ^ word[32:48] ^ word[48:]


@pytest.fixture(autouse=True)
def simple_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nofm.rtl.chip.dispatcher.checksum_step", folded)


def serial(state: int, word: int) -> int:
    """CRC-16 with polynomial 0x1021 of eight bytes, low byte first, high bits of a byte first."""
    for byte in range(8):
        for bit in range(7, -1, -1):
            top = state >> 15 ^ word >> 8 * byte + bit & 1
            state = (state << 1 & 0xFFFF) ^ 0x1021 * top
    return state


def test_each_bit_of_the_checksum() -> None:
    """All 80 bits alone, and none: it is a parity of each, so that is every state and word."""
    m = Module()
    state, word, result = Signal(16), Signal(WORD_BITS), Signal(16)
    m.d.comb += result.eq(checksum_step(state, word))
    cases = [(0, 0), *((1 << bit, 0) for bit in range(16)), *((0, 1 << b) for b in range(64))]

    async def bench(context: Any) -> None:
        for a, b in cases:
            context.set(state, a)
            context.set(word, b)
            assert context.get(result) == serial(a, b), (a, b)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


class Accepts(Elaboratable):
    """What is offered is right in every bit, and what is refused is wrong.

    The last header and the last payload that were taken are kept, and said to be right or wrong
    by plain statements of the rules.

    `lie` makes the statement wrong: the padding of the payload would be free.
    """

    def __init__(self, lie: bool = False) -> None:
        self.lie = lie
        self.unit = Dispatcher(TINY)
        names = ("start", "stop", "word_valid", "one_ready", "unit_busy")
        self.inputs = [Signal(name=f"given_{name}") for name in names]
        self.word, self.words = Signal(WORD_BITS), Signal(PROGRAM_BITS)
        self.inputs += [self.word, self.words]
        self._names = names

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        for name, signal in zip(self._names, self.inputs, strict=False):
            m.d.comb += getattr(unit, name).eq(signal)
        m.d.comb += [unit.word_data.eq(self.word), unit.words.eq(self.words)]
        # Words from the header at hand on, and all that came since the start.
        left, came = Signal(PROGRAM_BITS), Signal(4)
        head, payload = Signal(WORD_BITS), Signal(WORD_BITS)
        taken, begins = Signal(), Signal()
        inside = Signal()
        m.d.comb += [
            taken.eq(unit.word_valid & unit.word_ready),
            begins.eq(unit.start & ~unit.busy & ~unit.error),
            Assume(self.words < 8),
        ]
        with m.If(taken & ~inside):
            m.d.sync += [head.eq(self.word), came.eq(1), payload.eq(0)]
            m.d.sync += inside.eq(self.word[8:16] == 0x3C)
        with m.Elif(taken):
            m.d.sync += [payload.eq(self.word), came.eq(2), inside.eq(0)]
        with m.If(begins):
            m.d.sync += [left.eq(self.words), came.eq(0), inside.eq(0)]
        with m.Elif(unit.ends):
            m.d.sync += [left.eq(left - came), came.eq(0)]
        good, done = self._good(m, head, payload, left, came)
        offers, waited = Signal(), Signal()
        was_busy = Signal()
        m.d.comb += offers.eq(unit.one_valid)
        m.d.sync += [waited.eq(offers & ~unit.one_ready), was_busy.eq(unit.unit_busy)]
        with m.If(offers):
            m.d.comb += [
                Assert(good & done),
                Assert(head[8:16] == 0x3C),
                Assert(unit.one_data == payload[:WIDTH]),
            ]
            with m.If(~waited):
                m.d.comb += Assert(~(head[28] & was_busy))
        with m.If(waited):
            m.d.comb += Assert(offers)
        with m.If(unit.ends):
            m.d.comb += Assert(good & done)
        with m.If(unit.done):
            m.d.comb += Assert(head[44])
        with m.If(unit.error):
            m.d.comb += Assert(~(good & done))
            with m.If(unit.error_code == FAULTS["checksum"].code):
                m.d.comb += Assert(done)
        return m

    def _good(
        self, m: Module, head: Signal, payload: Signal, left: Signal, came: Signal
    ) -> tuple[Signal, Signal]:
        """Whether the descriptor that came last is right as far as it came, and whether all of it
        did."""
        fields = split(HEADER, head)
        one, barrier = fields["opcode"] == 0x3C, fields["opcode"] == 1
        size = Mux(one, 2, 1)
        last = fields["flags"] == 1
        bare = Cat(head[:48], Const(0, 16))
        step = folded(Const(CHECKSUM_START, 16), bare)
        right_sum = fields["checksum"] == Mux(one, folded(step, payload), step)
        padding: Value | bool = payload[WIDTH:] == 0
        if self.lie:
            padding = Const(1)
        good, done = Signal(), Signal()
        m.d.comb += [
            done.eq(came == size),
            good.eq(
                (fields["magic"] == MAGIC)
                & ((one & (fields["length"] == 1)) | (barrier & (fields["length"] == 0)))
                & (fields["wait"] < 2)
                & (fields["flags"] < 2)
                & Mux(last, left == size, left > size)
                & right_sum
                & (padding | barrier)
            ),
        ]
        return good, done


@pytest.mark.parametrize("cycles", CYCLES)
def test_it_accepts_what_is_right_and_nothing_else(cycles: int, tmp_path: Path) -> None:
    property_ = Accepts()
    prove(property_, property_.inputs, cycles=cycles, folder=tmp_path)


def test_a_wrong_statement_is_refuted(tmp_path: Path) -> None:
    property_ = Accepts(lie=True)
    with pytest.raises(Refuted):
        prove(property_, property_.inputs, cycles=7, folder=tmp_path)
