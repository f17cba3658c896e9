"""The fetcher at every width of the bus: words in order, and never more asked for than has room."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from amaranth.sim import Simulator

from nofm.dataflow.accelerator import load
from nofm.rtl.axi.bus import Bus
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.chip.fetcher import CHUNKS, LEAST_QUEUE, Fetcher
from nofm.rtl.fields import pack, unpack
from nofm.rtl.program.descriptors import Operation, ProgramFormat
from nofm.rtl.program.sizes import BUS_BITS

FORM = ProgramFormat.made({"one": Operation(1, "", {"one": lambda _: {"a": 8}})}, load("sat-4x4"))
START = (1 << 36) + 5
"""In words: not the beginning of a wide beat."""


def bus(bits: int) -> Bus:
    return Bus(data_bits=bits, address_bits=40, length_bits=24)


def fetched(bits: int, count: int, moves: float, held: int) -> tuple[list[int], int, int]:
    """The words that leave, the most that were asked for and had not left, and the cycles, where
    memory answers after 9 cycles and nothing is taken for the first `held` cycles."""
    unit = Fetcher(bus(bits), FORM)
    rng = random.Random(bits)
    program = [rng.getrandbits(64) for _ in range(count)]
    found: list[int] = []
    most, cycles = 0, 0

    async def bench(context: Any) -> None:
        nonlocal most, cycles
        beats: deque[tuple[int, int]] = deque()
        asked, at = 0, START
        context.set(unit.address, START)
        context.set(unit.words, count)
        context.set(unit.start, 1)
        await context.tick()
        context.set(unit.start, 0)
        while len(found) < count:
            cycles += 1
            assert cycles < 40 * count + held
            context.set(unit.command_ready, int(rng.random() < moves))
            context.set(unit.word_ready, int(cycles > held and rng.random() < moves))
            ready = bool(beats) and beats[0][0] <= cycles
            context.set(unit.in_valid, int(ready))
            if ready:
                context.set(unit.in_data, beats[0][1])
            if context.get(unit.command_valid) and context.get(unit.command_ready):
                command = unpack(client_command(unit.bus), context.get(unit.command_data))
                size = (command["length"] + 1) // 4
                assert command["address"] == 4 * at
                assert command["length"] % 4 == 3
                assert size <= unit.depth // CHUNKS
                assert at + size <= START + count
                for first in range(0, size, bits // 64):
                    part = program[at - START + first : at - START + min(first + bits // 64, size)]
                    values = {
                        "data": sum(word << 64 * i for i, word in enumerate(part)),
                        "granules": 4 * len(part) - 1,
                        "last": int(first + bits // 64 >= size),
                    }
                    beats.append((cycles + 9, pack(client_word(unit.bus), values)))
                at += size
                asked += size
            if ready and context.get(unit.in_ready):
                beats.popleft()
            if context.get(unit.word_valid) and context.get(unit.word_ready):
                found.append(context.get(unit.word_data))
            most = max(most, asked - len(found))
            await context.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == program
    return found, most, cycles


@pytest.mark.parametrize("bits", BUS_BITS)
def test_words_come_in_order(bits: int) -> None:
    fetched(bits, 150, 0.6, 0)


@pytest.mark.parametrize("bits", BUS_BITS)
def test_it_reads_ahead_and_no_further(bits: int) -> None:
    _, most, _ = fetched(bits, 110, 1.0, 120)
    assert most == LEAST_QUEUE


@pytest.mark.parametrize("bits", BUS_BITS)
def test_rate(bits: int) -> None:
    """Memory's latency is covered: a beat of n words takes n + 1 cycles, one of one word 1."""
    each = bits // 64
    _, _, cycles = fetched(bits, 160, 1.0, 0)
    assert cycles <= 160 * (1 if each == 1 else (each + 1) / each) + 24


def test_the_queue_holds_two_of_the_longest() -> None:
    form = ProgramFormat.of(load("sat-4x4"))
    assert 2 * form.longest <= Fetcher(bus(128), form).depth < 4 * form.longest


MUTANTS = {
    "it asks for what has no room": ("~(room < chunk)", "1"),
    "room is never given back": ("room + leaves", "room"),
    "the last command is a whole one": ("Mux(left < chunk, left, chunk)", "chunk"),
    "commands begin one off": ("address + asks", "address + asks + 1"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch, mutate: Any) -> None:
    mutate(Fetcher, "elaborate", *MUTANTS[name], monkeypatch)
    with pytest.raises(AssertionError):
        test_it_reads_ahead_and_no_further(128)
