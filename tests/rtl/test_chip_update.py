"""The update unit against its specification: memory afterwards, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.optimizer import Sgd
from nofm.kernels.pattern import Pattern
from nofm.rtl.axi.cases import MasterCase
from nofm.rtl.chip.alone import Alone
from nofm.rtl.chip.stream_cases import (
    SIZES,
    Room,
    Values,
    memory_case,
    memory_differences,
    small_bus,
)
from nofm.rtl.chip.update import READ_CLIENTS, WRITE_CLIENTS, UpdateUnit
from nofm.rtl.fields import unpack
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.pregeneration.job import PregenerationJob, job_fields
from nofm.rtl.program.forms import (
    encode_columns,
    encode_forms,
    encode_rows,
    no_forms,
    row_halves,
)
from nofm.rtl.program.stream import as_halves, write
from nofm.rtl.program.update import do_update, plain, update_fields
from nofm.rtl.sore.job import SoreJob

PATTERNS = ("1:2", "2:4", "2:8", "1:4", "4:8", "4:16", "3:5")
TURNED = 32


def hardware(sore: int, wuve: int, bits: int, patterns: list[str]) -> Alone:
    accelerator = load("sat-4x4").with_values(
        **{
            "sore.lanes": sore,
            "sore.latency_cycles": 2,
            "wuve.lanes": wuve,
            "wuve.latency_cycles": 7,
            "array.patterns": patterns,
        }
    )
    bus = small_bus(bits)
    unit = UpdateUnit(SIZES, bus, Geometry.of(accelerator), TURNED)
    return Alone(unit, bus, READ_CLIENTS, WRITE_CLIENTS, 16)


def random_job(
    rng: np.random.Generator, geometry: Geometry, patterns: list[str]
) -> tuple[SoreJob, bool]:
    """A weight of any shape, and whether it is pruned."""
    if rng.random() < 0.2:
        return plain(geometry, int(rng.integers(1, 40))), False
    pattern = Pattern.parse(rng.choice(patterns))
    both = bool(rng.random() < 0.7)
    taps = int(rng.integers(1, 3))
    length, columns = (
        int(rng.choice([rng.integers(1, 6), rng.integers(1, 20), rng.integers(14, 36)]))
        for _ in range(2)
    )
    columns = min(columns, TURNED * pattern.m, max(1, 250 // length))
    return SoreJob(pattern=pattern, taps=taps, length=length, columns=columns, both=both), True


def values_of(
    rng: np.random.Generator, room: Room, geometry: Geometry, job: SoreJob, pruned: bool
) -> tuple[Values, dict[str, Any]]:
    """A job somewhere in memory, and what it reads there by stream."""
    size = job.taps * job.length * job.columns
    by = Sgd(
        learning_rate=float(rng.choice([0.0, 0.1, 0.1, 1.0, 3e38])),
        momentum=float(rng.choice([0.0, 0.9])),
        weight_decay=float(rng.choice([0.0, 5e-4])),
    )
    word = PregenerationJob(pruning=job, by=by).encode(geometry)
    values = {**unpack(job_fields(geometry), word), "halves": int(rng.integers(0, 2))}
    values |= no_forms(SIZES)
    data = {}
    for prefix, each in (("weight_", 2), ("momentum_", 2), ("gradient_", 1)):
        values |= room.scattered(prefix, each * size)
        bits = rng.integers(0, 1 << 16, each * size, np.uint16)
        usual = rng.standard_normal(size).astype(np.float32 if each == 2 else np.float16)
        data[prefix] = bits if rng.random() < 0.2 else as_halves(usual)
    for prefix, each in (("weight_", 2), ("momentum_", 2), ("half_", 1)):
        # Masters and momenta mostly stay where they were.
        if each == 2 and rng.random() < 0.7:
            names = [name for name in values if name.startswith(prefix)]
            values |= {f"new_{name}": values[name] for name in names}
        else:
            values |= room.scattered(f"new_{prefix}" if each == 2 else prefix, each * size)
    if pruned:
        rows = job.taps * job.pattern.groups(job.length)
        pitch = row_halves(job.columns, job.pattern) + int(rng.integers(0, 3))
        places = [encode_rows(SIZES, job, room.take(rows * pitch), pitch)]
        if job.both:
            rows = job.taps * job.pattern.groups(job.columns)
            pitch = row_halves(job.length, job.pattern) + int(rng.integers(0, 3))
            places.append(encode_columns(SIZES, job, room.take(rows * pitch), pitch))
        values |= encode_forms(SIZES, job, *places)
    return values, data


def random_case(seed: int, geometry: Geometry, patterns: list[str], jobs: int = 3) -> MasterCase:
    """Jobs of any kind, one after the other."""
    rng = np.random.default_rng(seed)
    room = Room(rng)
    made = [
        values_of(rng, room, geometry, *random_job(rng, geometry, patterns)) for _ in range(jobs)
    ]
    memory = np.full(room.used, 0x1234, np.uint16)
    for values, data in made:
        for prefix, halves in data.items():
            write(SIZES, prefix, values, halves, memory)
    return memory_case(
        f"case {seed}",
        [values for values, _ in made],
        update_fields(SIZES, geometry),
        lambda values, after: do_update(SIZES, geometry, values, after),
        memory,
        seed=seed,
        stalls=seed % 2 == 1,
    )


MACHINES = {
    "4 and 4 lanes": (4, 4, 64, ["1:2", "2:4", "2:8"]),
    "8 and 2 lanes": (8, 2, 128, ["1:2", "2:4", "4:16"]),
    "5 and 3 lanes": (5, 3, 64, ["3:5", "1:4"]),
    "2 and 1 lanes": (2, 1, 64, ["1:4", "4:8"]),
}


QUICK = ("2 and 1 lanes",)


@pytest.mark.parametrize(
    "machine", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MACHINES]
)
def test_updates_and_forms(machine: str, tmp_path: Path) -> None:
    top = hardware(*MACHINES[machine])
    patterns = MACHINES[machine][3]
    cases = [random_case(seed, top.unit.geometry, patterns) for seed in range(2)]
    found, _ = memory_differences(top, cases, tmp_path)
    assert found == []
