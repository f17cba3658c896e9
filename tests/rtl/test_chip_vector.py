"""The vector unit against its specification: memory afterwards, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
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
from nofm.rtl.chip.vector import VectorUnit
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.program.stream import write
from nofm.rtl.program.vector import OPERATIONS, vector, vector_fields

FIELDS = vector_fields(SIZES)
SCALES = (1.0, 1.0, 1.0, 0.25, 1 / 49, -3.0, 6e-8, 1e30, np.inf, np.nan)
ENDS = (np.inf, np.nan, 0.0, 1.0, 6e-8, 6.1e-5, 65504.0)


def hardware(lanes: int, latency: int, bits: int) -> Alone:
    accelerator = load("sat-4x4").with_values(
        **{"vector.lanes": lanes, "vector.latency_cycles": latency}
    )
    bus = small_bus(bits)
    unit = VectorUnit(SIZES, bus, VectorGeometry.of(accelerator))
    return Alone(unit, bus, ("a", "b"), ("result",), 16)


def halves(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """FP16 numbers: usual ones, few values (so that equal ones meet), ends of the range, any
    bits, or all of them; as uint16."""
    size = int(np.prod(shape))
    kinds = (
        rng.standard_normal(size).astype(np.float16).view(np.uint16),
        rng.integers(-2, 3, size).astype(np.float16).view(np.uint16),
        (rng.choice(ENDS, size) * rng.choice([-1, 1], size)).astype(np.float16).view(np.uint16),
        rng.integers(0, 1 << 16, size, np.uint16),
    )
    which = rng.integers(0, 5)
    mixed = np.choose(rng.integers(0, 4, size), kinds) if which == 4 else kinds[which]
    return mixed.reshape(shape)


def random_job(
    rng: np.random.Generator, name: str, lanes: int, room: Room
) -> tuple[Values, dict[str, Any]]:
    """A job of an operation somewhere in memory, and what it reads there by stream."""
    of = OPERATIONS[name]
    run = int(rng.choice([1, 2, lanes, rng.integers(1, 3 * lanes + 2), rng.integers(1, 30)]))
    passes, rounds = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    held, given = of.held + passes * of.b, 1 if of.reduces else passes
    values = dict.fromkeys(FIELDS, 0) | {
        "opcode": of.opcode,
        "relu": int(rng.integers(0, 2)),
        "scale": int(np.float32(rng.choice(SCALES)).view(np.uint32)),
        "run": run - 1,
        "passes": passes - 1,
        "rounds": rounds - 1,
    }
    x, y = halves(rng, (rounds, passes, run)), halves(rng, (rounds, held, run))
    if name == "route":
        # Mostly one of the window; now and then none of it.
        found = np.take_along_axis(x, rng.integers(0, passes, (rounds, 1, run)), axis=1)
        y[:, :1] = np.where(rng.random(found.shape) < 0.9, found, y[:, :1])
    data = {"a_": x.reshape(-1)} if of.a else {}
    data |= {"b_": y.reshape(-1)} if held else {}
    for prefix, each in data.items():
        values |= room.scattered(prefix, each.size)
    return values | room.scattered("out_", rounds * given * run), data


def random_case(seed: int, lanes: int, names: list[str], jobs: int = len(OPERATIONS)) -> MasterCase:
    """Jobs of each of these operations, in any order."""
    rng = np.random.default_rng(seed)
    room = Room(rng)
    order = [names[i % len(names)] for i in rng.permutation(jobs)]
    made = [random_job(rng, name, lanes, room) for name in order]
    memory = np.full(room.used, 0x1234, np.uint16)
    for values, data in made:
        for prefix, each in data.items():
            write(SIZES, prefix, values, each, memory)
    return memory_case(
        f"case {seed}",
        [values for values, _ in made],
        FIELDS,
        lambda values, after: vector(SIZES, values, after),
        memory,
        seed=seed,
        stalls=seed % 2 == 1,
    )


MACHINES = {
    "2 lanes": (2, 5, 64),
    "4 lanes": (4, 8, 64),
    "8 lanes, wide bus": (8, 13, 128),
    "3 lanes, wide bus": (3, 6, 128),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_operation(machine: str, tmp_path: Path) -> None:
    lanes, latency, bits = MACHINES[machine]
    cases = [random_case(seed, lanes, list(OPERATIONS)) for seed in range(6)]
    found, _ = memory_differences(hardware(lanes, latency, bits), cases, tmp_path)
    assert found == []
