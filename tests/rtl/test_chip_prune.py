"""The prune unit against its specification: memory afterwards, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.pattern import Pattern
from nofm.rtl.axi.cases import MasterCase, with_options
from nofm.rtl.chip.alone import Alone
from nofm.rtl.chip.form_order import ColumnsOrder, RowsOrder
from nofm.rtl.chip.form_pieces import FormPieces
from nofm.rtl.chip.forms import Forms
from nofm.rtl.chip.kept_blocks import KeptBlocks
from nofm.rtl.chip.prune import READ_CLIENTS, WRITE_CLIENTS, PruneUnit
from nofm.rtl.chip.stream_cases import SIZES, Room, memory_case, memory_differences, small_bus
from nofm.rtl.chip.update_parts import UpdateParts
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.program.forms import encode_columns, encode_forms, encode_rows, row_halves
from nofm.rtl.program.prune import prune, prune_fields
from nofm.rtl.program.stream import write
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.tools.cocotb_runner import SimulationError

PATTERNS = ("1:2", "2:4", "2:8")


def hardware() -> Alone:
    accelerator = load("sat-4x4").with_values(
        **{"sore.lanes": 8, "sore.latency_cycles": 1, "array.patterns": list(PATTERNS)}
    )
    bus = small_bus(64)
    unit = PruneUnit(SIZES, bus, Geometry.of(accelerator), 16)
    return Alone(unit, bus, READ_CLIENTS, WRITE_CLIENTS, 16)


def random_job(rng: np.random.Generator) -> SoreJob:
    """A matrix of any shape."""
    pattern = Pattern.parse(rng.choice(PATTERNS))
    taps, length = int(rng.integers(1, 3)), int(rng.integers(1, 36))
    columns = int(rng.integers(1, min(30, 16 * pattern.m, max(2, 400 // length))))
    both = bool(rng.integers(0, 2))
    return SoreJob(pattern=pattern, taps=taps, length=length, columns=columns, both=both)


def case_of(seed: int, geometry: Geometry, jobs: list[SoreJob], stalls: bool) -> MasterCase:
    """These matrices, one after the other."""
    rng = np.random.default_rng(seed)
    room = Room(rng)
    made, data = [], []
    for job in jobs:
        groups = job.taps * job.pattern.groups(job.length)
        at = room.take(groups * row_halves(job.columns, job.pattern))
        places = [encode_rows(SIZES, job, at)]
        if job.both:
            groups = job.taps * job.pattern.groups(job.columns)
            at = room.take(groups * row_halves(job.length, job.pattern))
            places.append(encode_columns(SIZES, job, at))
        size = job.taps * job.length * job.columns
        values = job.fields(geometry) | room.scattered("dense_", size)
        made.append(values | encode_forms(SIZES, job, *places))
        bits = rng.integers(0, 1 << 16, size, np.uint16)
        few = rng.integers(-3, 4, size).astype(np.float16).view(np.uint16)
        data.append(bits if rng.random() < 0.5 else few)
    memory = np.full(room.used, 0x1234, np.uint16)
    for values, halves in zip(made, data, strict=True):
        write(SIZES, "dense_", values, halves, memory)
    return memory_case(
        f"case {seed}",
        made,
        prune_fields(SIZES, geometry),
        lambda values, after: prune(SIZES, geometry, values, after),
        memory,
        seed=seed,
        stalls=stalls,
    )


def all_cases(geometry: Geometry) -> list[MasterCase]:
    """Random ones; and a memory that is slow to write, with a matrix of which much more is written
    in the second form than in the first, and one whose last slot ends two groups."""
    rng = np.random.default_rng(0)
    cases = [
        case_of(seed, geometry, [random_job(rng) for _ in range(3)], seed % 2 == 1)
        for seed in range(3)
    ]
    hard = [
        SoreJob(pattern=Pattern(2, 8), taps=1, length=120, columns=1, both=True),
        SoreJob(pattern=Pattern(1, 2), taps=1, length=41, columns=7, both=True),
    ]
    slow = case_of(9, geometry, hard, False)
    behind = replace(slow.memory, channels={"w": "random:0.15"})
    return [*cases, replace(slow, memory=behind)]


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(hardware()))


def texts(sound: list[Emitted]) -> dict[str, str]:
    return {each.unit.module_name: each.verilog for each in sound}


def test_forms_of_a_matrix(sound: list[Emitted], tmp_path: Path) -> None:
    top = hardware()
    cases = all_cases(top.unit.geometry)
    found, _ = memory_differences(top, cases, tmp_path, texts(sound))
    assert found == []


MUTANTS: dict[str, tuple[type[Unit], str, str, str]] = {
    "what a ragged block has not is told": (KeptBlocks, "_emit", "(i < count)", "(i <= count)"),
    "a word of indices less": (KeptBlocks, "_emit", "count * bits + 15", "count * bits"),
    "blocks go on from run to run": (
        KeptBlocks,
        "elaborate",
        "Mux(ends, left, BLOCK - 1)",
        "BLOCK - 1",
    ),
    "words of the last slot's lanes that have none": (
        RowsOrder,
        "elaborate",
        'Mux(row_end, job["last_columns"]',
        'Mux(0, job["last_columns"]',
    ),
    "rows of a ragged group": (
        ColumnsOrder,
        "elaborate",
        'Mux(tap_end, job["last_row"]',
        'Mux(0, job["last_row"]',
    ),
    "ragged groups along the columns": (
        ColumnsOrder,
        "elaborate",
        "Mux(group_end, self.lane == limit, further > limit)",
        "further > limit",
    ),
    "groups that go on in the next slot": (
        ColumnsOrder,
        "elaborate",
        "Mux(group_end, 0, next_position)",
        "0",
    ),
    "rows are overwritten": (
        ColumnsOrder,
        "elaborate",
        "free.eq(level + last_row < self.rows)",
        "free.eq(1)",
    ),
    "taps begin within a block": (
        ColumnsOrder,
        "elaborate",
        "tap_end & to[:low].any()",
        "0",
    ),
    "blocks leave before they are whole": (
        ColumnsOrder,
        "elaborate",
        "~(level < BLOCK)",
        "level > 0",
    ),
    "the last piece is as long as the others": (
        FormPieces,
        "elaborate",
        'Mux(told_last, job["columns_run_last"]',
        'Mux(0, job["columns_run_last"]',
    ),
    "lanes wait for no room": (Forms, "_lanes", "self.in_valid & self.in_ready", "self.in_valid"),
    "parts of the last slot": (
        UpdateParts,
        "elaborate",
        'Mux(group_end, job["last_columns"]',
        'Mux(0, job["last_columns"]',
    ),
}
TRIED = ("taps begin within a block",)
"""Those that every run of the tests tries; `make test-slow` tries all."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in TRIED else pytest.mark.slow) for n in MUTANTS],
)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    tmp_path: Path,
) -> None:
    kind, *change = MUTANTS[name]
    mutate(kind, *change, monkeypatch)
    top = hardware()
    cases = [with_options(each, limit=6000) for each in all_cases(top.unit.geometry)]
    try:
        found, _ = memory_differences(top, cases, tmp_path, remake(sound, kind))
    except SimulationError:
        return  # unknown bits, or no end
    assert found
