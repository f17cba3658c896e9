"""The vector unit against its specification: memory afterwards, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.cases import MasterCase, with_options
from nofm.rtl.chip.alone import Alone
from nofm.rtl.chip.stream_cases import (
    SIZES,
    Room,
    Values,
    memory_case,
    memory_differences,
    small_bus,
)
from nofm.rtl.chip.stream_write import StreamWrite
from nofm.rtl.chip.vector import VectorUnit
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.chip.vector_lane import VectorLane
from nofm.rtl.chip.vector_sequencer import VectorSequencer
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.program.stream import one_run, write
from nofm.rtl.program.vector import OPERATIONS, vector, vector_fields
from nofm.rtl.tools.cocotb_runner import SimulationError

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
    bits, zeros of both signs, or all of them; as uint16."""
    size = int(np.prod(shape))
    kinds = (
        rng.standard_normal(size).astype(np.float16).view(np.uint16),
        rng.integers(-2, 3, size).astype(np.float16).view(np.uint16),
        (rng.choice(ENDS, size) * rng.choice([-1, 1], size)).astype(np.float16).view(np.uint16),
        rng.integers(0, 1 << 16, size, np.uint16),
        rng.choice(np.array([0.0, -0.0, -1.0], np.float16), size).view(np.uint16),
    )
    which = rng.integers(0, 6)
    mixed = np.choose(rng.integers(0, 5, size), kinds) if which == 5 else kinds[which]
    return mixed.reshape(shape)


def random_job(
    rng: np.random.Generator, name: str, lanes: int, room: Room
) -> tuple[Values, dict[str, Any]]:
    """A job of an operation somewhere in memory, and what it reads there by stream."""
    of = OPERATIONS[name]
    some = [int(rng.integers(1, most)) for most in (3 * lanes + 2, 30)]
    run = int(rng.choice([1, lanes, lanes + 1, *some]))
    equal = bool(rng.random() < 0.5)
    passes, rounds = int(rng.integers(3 if equal else 1, 6)), int(rng.integers(1, 4))
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
    if equal:
        # Windows of which several are the largest, zeros of both signs among them.
        few = np.array([0.0, -0.0, -1.0, -2.0, np.nan], np.float16)
        x = rng.choice(few, x.shape, p=(0.3, 0.3, 0.2, 0.1, 0.1)).view(np.uint16)
        values |= {"relu": 0, "scale": 0x3F800000}
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
QUICK = ("3 lanes, wide bus",)


@pytest.mark.parametrize(
    "machine", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MACHINES]
)
def test_every_operation(machine: str, tmp_path: Path) -> None:
    lanes, latency, bits = MACHINES[machine]
    cases = [random_case(seed, lanes, list(OPERATIONS)) for seed in range(3)]
    found, _ = memory_differences(hardware(lanes, latency, bits), cases, tmp_path)
    assert found == []


def contiguous(name: str, passes: int, rounds: int, run: int) -> Values:
    """A job whose streams each lie in one piece."""
    of = OPERATIONS[name]
    values = dict.fromkeys(FIELDS, 0) | {
        "opcode": of.opcode,
        "scale": 0x3F800000,
        "run": run - 1,
        "passes": passes - 1,
        "rounds": rounds - 1,
    }
    sizes = {
        "a_": passes * of.a,
        "b_": of.held + passes * of.b,
        "out_": 1 if of.reduces else passes,
    }
    for number, (prefix, runs) in enumerate(sizes.items()):
        if runs:
            values |= one_run(SIZES, prefix, number * 4096, runs * rounds * run)
    return values


RATES: dict[str, tuple[str, int, int, int, int, int]] = {
    # 2048 elements each: operation, passes, rounds, run; cycles of the lanes, and of the bus.
    "bias": ("add_held", 32, 1, 64, 528, 528),
    "backward of ReLU": ("gate", 1, 1, 2048, 512, 1024),
    "max pooling": ("largest", 4, 8, 64, 512, 512),
    "its backward": ("route", 4, 8, 64, 768, 768),
    "bias gradient": ("sum", 32, 1, 64, 512, 512),
    "runs shorter than the lanes": ("add_held", 682, 1, 3, 683, 512),
    "sums of short runs": ("sum", 64, 1, 4, 64 * 6, 64),
}


def test_rates(tmp_path: Path) -> None:
    """A beat a cycle, or a word of the bus, beside what fills and drains."""
    accelerator = load("sat-4x4").with_values(**{"vector.lanes": 4})
    bus = Bus(data_bits=64, address_bits=40, length_bits=24)
    geometry = VectorGeometry.of(accelerator)
    top = Alone(VectorUnit(SIZES, bus, geometry), bus, ("a", "b"), ("result",), 64)
    assert geometry.line_cycles(late=True) == 6
    memory = np.random.default_rng(0).standard_normal(12288).astype(np.float16).view(np.uint16)
    cases = [
        memory_case(
            name,
            [contiguous(*job[:4])],
            FIELDS,
            lambda values, after: vector(SIZES, values, after),
            memory,
        )
        for name, job in RATES.items()
    ]
    found, results = memory_differences(top, cases, tmp_path)
    assert found == []
    for (name, job), result in zip(RATES.items(), results, strict=True):
        (done,) = result["jobs"]
        least = max(job[4:])
        assert least < done["done_cycle"] < least + 120, name


MUTANTS: dict[str, tuple[type[Unit], str, str, str]] = {
    "NaN is not the largest": (VectorLane, "elaborate", 'key["a"] > key["held"]', "a > held"),
    "the last of equal ones": (
        VectorLane,
        "elaborate",
        '~(key["a"] > key["held"])',
        '(key["a"] < key["held"])',
    ),
    "every equal one gets the gradient": (
        VectorLane,
        "elaborate",
        "Mux(found, 0, second)",
        "second",
    ),
    "the gate lets NaN through": (VectorLane, "elaborate", ' & ~key["a"].all()', ""),
    "sums begin with what was there": (
        VectorLane,
        "elaborate",
        'does["sum"] & ~now["first"]',
        'does["sum"]',
    ),
    "nothing changes where a sum begins": (
        VectorLane,
        "elaborate",
        "Const(1 << HALF.width - 1)",
        "Const(0, 16)",
    ),
    "runs follow each other too soon": (
        VectorUnit,
        "_work",
        "m.d.sync += rest.eq(Mux(late, g.line_cycles(late=True), g.line_cycles(late=False)) - 1)",
        "m.d.sync += rest.eq(1)",
    ),
    "results are given twice": (VectorUnit, "_work", "goes & gives", "gives"),
    "ReLU keeps -0": (VectorLane, "elaborate", "& half.narrow[-1] & ~nan", "& 0 & ~nan"),
    "the second held run overwrites the first": (
        VectorLane,
        "elaborate",
        'Mux(now["second"], held, b)',
        "b",
    ),
    "a round's last pass is missed": (
        VectorSequencer,
        "elaborate",
        '~uses["reduces"] | pass_end',
        '~uses["reduces"] | (passes == 0)',
    ),
    "rounds hold once": (VectorSequencer, "elaborate", "held.eq(0), rounds", "rounds"),
    "an element too many": (
        VectorSequencer,
        "elaborate",
        "run_end.eq(left < lanes)",
        "run_end.eq(left <= lanes)",
    ),
    "done before memory is": (VectorUnit, "elaborate", " & ~result.busy", ""),
    "runs have the last one's length": (
        StreamWrite,
        "elaborate",
        "left.eq(left - bus.lanes)",
        "left.eq(left)",
    ),
}
TRIED = ("every equal one gets the gradient",)
"""Those that every run of the tests tries; `make test-slow` tries all."""


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(hardware(4, 8, 64)))


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
    cases = [random_case(seed, 4, list(OPERATIONS), 24) for seed in range(2)]
    cases = [with_options(each, limit=6000) for each in cases]
    try:
        found, _ = memory_differences(hardware(4, 8, 64), cases, tmp_path, remake(sound, kind))
    except SimulationError:
        return  # unknown bits, or no end
    assert found


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"vector.latency_cycles": 4},
            "vector.latency_cycles must be from 5 to 194, not 4",
        ),
        ({"formats.operand": "bf16"}, "formats.operand must be fp16, not bf16"),
    ],
)
def test_what_cannot_be_built_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        VectorGeometry.of(load("sat-4x4").with_values(**values))
    assert str(caught.value) == f"vector unit of accelerator 'sat-4x4': {text}"
