"""The proof of the whole chip proves something: each of these broken ones is caught.

Only what is broken is emitted again; programs and checks are those of `test_chip.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.rtl.axi.bursts import Bursts
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.chip.banks import Buffer
from nofm.rtl.chip.chip import Chip
from nofm.rtl.chip.collector import Column
from nofm.rtl.chip.control import Control
from nofm.rtl.chip.dispatcher import Dispatcher
from nofm.rtl.chip.gate import BusGate
from nofm.rtl.chip.program_cases import (
    ProgramCase,
    linear_product,
    random_products,
    replay_programs,
    small_accelerator,
)
from nofm.rtl.chip.share import ReadShare
from nofm.rtl.chip.storer import Storer
from nofm.rtl.chip.walker import Walker
from nofm.rtl.chip.window import WriteWindow
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.tools.cocotb_runner import SimulationError

ACCELERATOR = small_accelerator()

Mutant = tuple[type[Unit], str, str, str]

WRONG: dict[str, Mutant] = {
    "a read under way is never over": (ReadMaster, "_ask", "asked - came", "asked"),
    "bursts cross 4 KiB": (Bursts, "elaborate", "place.eq(0)", "place.eq(1)"),
    "nothing is waited for": (Dispatcher, "elaborate", "(self.unit_busy & wait).any()", "0"),
    "the stride of the loop inside": (
        *(Walker, "elaborate", 'f"step_{place}_{i}"'),
        'f"step_{place}_{i and i - 1}"',
    ),
    "lanes of memory's readers are swapped": (
        *(Chip, "_readers"),
        "Cat(control.in_valid, datapath.read_valid)",
        "Cat(datapath.read_valid, control.in_valid)",
    ),
    "reads know no skew": (
        *(Buffer, "_asked"),
        "s.shift(word, self.request_skew)",
        "s.shift(word, 0)",
    ),
    "slots lie one place too near": (
        *(Column, "elaborate"),
        'slot_at + job["pitch"]',
        'slot_at + job["pitch"] - 1',
    ),
    "the last word of a run is short": (
        *(Storer, "_pack"),
        "Mux(last, left, halves - 1)",
        "Mux(last, 0, halves - 1)",
    ),
    "a beat that comes while a burst is asked for is lost": (
        *(ReadMaster, "_ask", "beats.in_valid.eq(self.m_axi_rvalid)"),
        "beats.in_valid.eq(self.m_axi_rvalid & ~asked)",
    ),
    "a word that comes while one leaves is lost": (
        *(ReadShare, "elaborate", "master.out_valid & (owner == each)"),
        "master.out_valid & (owner == each) & ~leaves",
    ),
}
"""Those that products show."""

HASTY: dict[str, Mutant] = {
    "loads of activations are not waited for": (
        *(Dispatcher, "elaborate", "(self.unit_busy & wait).any()"),
        "(self.unit_busy & wait)[1:].any()",
    ),
    "loads of weights are not waited for": (
        *(Dispatcher, "elaborate", "(self.unit_busy & wait).any()"),
        "(self.unit_busy & wait & ~Const(2, len(wait))).any()",
    ),
}
"""Those that long loads show."""

BEYOND: dict[str, Mutant] = {
    "the window ends an element early": (
        *(WriteWindow, "elaborate", "end > self.limit"),
        "end >= self.limit",
    ),
    "the window ends an element late": (
        *(WriteWindow, "elaborate", "end > self.limit"),
        "end > self.limit + 1",
    ),
    "the window begins an element late": (
        *(WriteWindow, "elaborate", 'command["address"] < self.base'),
        'command["address"] <= self.base',
    ),
    "the window begins an element early": (
        *(WriteWindow, "elaborate", 'command["address"] < self.base'),
        'command["address"] + 1 < self.base',
    ),
}
"""Those that the window's edges show."""

FORGETFUL: dict[str, Mutant] = {
    "a reset does not wait for the bus": (
        *(Control, "_reset", "self._resetting & self.quiet"),
        "self._resetting",
    ),
    "a reset does not wait for reads": (BusGate, "elaborate", "(reads == 0)", "1"),
    "a reset does not wait for writes": (BusGate, "elaborate", "(writes == 0)", "1"),
    "an address on offer is taken back": (
        *(BusGate, "_address", "opened.eq(~self.drain | shown)"),
        "opened.eq(~self.drain)",
    ),
    "what memory owes is not taken": (
        *(BusGate, "elaborate", "self.m_axi_bready.eq(self.from_bready | self.drain)"),
        "self.m_axi_bready.eq(self.from_bready & ~self.drain)",
    ),
}
"""Those that resets show."""

REASONS = re.compile(
    r"elements of memory differ|ends with|(window|stalled|checksum) at descriptor|"
    r"StreamError: AXI|TimeOut: the chip"
)
"""What is said of a chip that is wrong; anything else is wrong with what checks it."""


def products() -> list[ProgramCase]:
    return random_products(ACCELERATOR, (29, 24))


def loads() -> list[ProgramCase]:
    """Long ones of one side, behind a product that leaves something else in the buffers."""
    wide, tall = (
        linear_product(ACCELERATOR, name, sizes, sizes)
        for name, sizes in (("wide", (1, 16, 24)), ("tall", (24, 16, 2)))
    )
    slow = {"memory": {"latency": 100, "bandwidth": (1, 4)}}
    return [
        *random_products(ACCELERATOR, (24,)),
        *(replace(each, options=slow) for each in (wide, tall)),
    ]


def edges() -> list[ProgramCase]:
    (each,) = random_products(ACCELERATOR, (29,))
    at = np.flatnonzero(each.after != each.memory)
    first, end = 2 * int(at[0]), 2 * int(at[-1]) + 2
    found = [replace(each, name="whole", options={"window": (first, end)})]
    for base, limit in ((first + 2, end), (first, end - 2)):
        after = each.memory.copy()
        after[base // 2 : limit // 2] = each.after[base // 2 : limit // 2]
        found.append(
            replace(
                each,
                name=f"window {base - first} {limit - end}",
                after=after,
                error={"name": "window"},
                options={"window": (base, limit)},
            )
        )
    return found


def resets() -> list[ProgramCase]:
    """In the middle of bursts of either kind; then a program must run well."""
    (each,) = random_products(ACCELERATOR, (29,))
    memories: tuple[tuple[dict[str, Any], Sequence[int]], ...] = (
        ({"latency": 60, "channels": {"ar": "random:0.1"}}, (20, 60, 140, 230)),
        ({"latency": 200, "channels": {"w": "random:0.4"}}, range(600, 1300, 150)),
    )
    found = []
    for memory, all_ in memories:
        for cycles in all_:
            options = {"reset_after": cycles, "limit": 3000, "memory": {**memory, "seed": cycles}}
            found.append(
                replace(each, name=f"reset {cycles}", error={"name": "reset"}, options=options)
            )
        found.append(each)
    return found


MUTANTS = {
    name: (mutant, cases)
    for mutants, cases in (
        (WRONG, products),
        (HASTY, loads),
        (BEYOND, edges),
        (FORGETFUL, resets),
    )
    for name, mutant in mutants.items()
}


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Chip(ACCELERATOR)))


def faults(sources: dict[str, str], cases: Sequence[ProgramCase], folder: Path) -> list[str]:
    try:
        _, found = replay_programs(sources, ACCELERATOR, cases, folder=folder, tool="icarus")
    except SimulationError as error:
        return [str(error)]
    return [text for each in found for text in each]


@pytest.mark.slow
def test_the_sound_chip_passes(sound: list[Emitted], tmp_path: Path) -> None:
    texts = {each.unit.module_name: each.verilog for each in sound}
    assert faults(texts, [*products(), *loads(), *edges(), *resets()], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    tmp_path: Path,
) -> None:
    (kind, *change), cases = MUTANTS[name]
    mutate(kind, *change, monkeypatch)
    found = faults(remake(sound, kind), cases(), tmp_path)
    assert found
    for text in found:
        assert REASONS.search(text), text
