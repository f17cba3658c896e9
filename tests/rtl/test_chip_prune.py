"""The prune unit against its specification: memory afterwards, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nofm.dataflow.accelerator import load
from nofm.kernels.pattern import Pattern
from nofm.rtl.axi.cases import MasterCase
from nofm.rtl.chip.alone import Alone
from nofm.rtl.chip.prune import READ_CLIENTS, WRITE_CLIENTS, PruneUnit
from nofm.rtl.chip.stream_cases import SIZES, Room, memory_case, memory_differences, small_bus
from nofm.rtl.program.forms import encode_columns, encode_forms, encode_rows, row_halves
from nofm.rtl.program.prune import prune, prune_fields
from nofm.rtl.program.stream import write
from nofm.rtl.sore import Geometry, SoreJob

PATTERNS = ("1:2", "2:4", "2:8")


def hardware() -> Alone:
    accelerator = load("sat-4x4").with_values(
        **{"sore.lanes": 8, "sore.latency_cycles": 1, "array.patterns": list(PATTERNS)}
    )
    bus = small_bus(64)
    unit = PruneUnit(SIZES, bus, Geometry.of(accelerator), 16)
    return Alone(unit, bus, READ_CLIENTS, WRITE_CLIENTS, 16)


def random_case(seed: int, geometry: Geometry) -> MasterCase:
    """Matrices of any shape, one after the other."""
    rng = np.random.default_rng(seed)
    room = Room(rng)
    jobs, data = [], []
    for _ in range(3):
        pattern = Pattern.parse(rng.choice(PATTERNS))
        taps, length = int(rng.integers(1, 3)), int(rng.integers(1, 36))
        columns = int(rng.integers(1, min(30, 16 * pattern.m, max(2, 400 // length))))
        both = bool(rng.integers(0, 2))
        job = SoreJob(pattern=pattern, taps=taps, length=length, columns=columns, both=both)
        rows = taps * pattern.groups(length)
        places = [
            encode_rows(SIZES, job, room.take(rows * row_halves(columns, pattern))),
        ]
        if both:
            rows = taps * pattern.groups(columns)
            at = room.take(rows * row_halves(length, pattern))
            places.append(encode_columns(SIZES, job, at))
        size = taps * length * columns
        values = job.fields(geometry) | room.scattered("dense_", size)
        jobs.append(values | encode_forms(SIZES, job, *places))
        bits = rng.integers(0, 1 << 16, size, np.uint16)
        few = rng.integers(-3, 4, size).astype(np.float16).view(np.uint16)
        data.append(bits if rng.random() < 0.5 else few)
    memory = np.full(room.used, 0x1234, np.uint16)
    for values, halves in zip(jobs, data, strict=True):
        write(SIZES, "dense_", values, halves, memory)
    return memory_case(
        f"case {seed}",
        jobs,
        prune_fields(SIZES, geometry),
        lambda values, after: prune(SIZES, geometry, values, after),
        memory,
        seed=seed,
        stalls=seed % 2 == 1,
    )


def test_forms_of_a_matrix(tmp_path: Path) -> None:
    top = hardware()
    cases = [random_case(seed, top.unit.geometry) for seed in range(4)]
    found, _ = memory_differences(top, cases, tmp_path)
    assert found == []
