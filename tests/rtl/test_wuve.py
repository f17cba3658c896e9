"""WUVE against the golden update, bit for bit, and against the simulator, cycle for cycle."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import Accelerator, hardware_record, load
from nofm.dataflow.jobs import Job
from nofm.kernels.errors import InputError
from nofm.kernels.optimizer import Sgd
from nofm.rtl.arithmetic.depth import MAX_DEPTH
from nofm.rtl.bench.cases import Case
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.wuve.cases import Update, case
from nofm.rtl.wuve.engine import Wuve
from nofm.rtl.wuve.geometry import LOGIC, Geometry
from nofm.rtl.wuve.job import WuveJob
from nofm.rtl.wuve.lane import Lane
from nofm.rtl.wuve.lanes import Lanes
from nofm.rtl.wuve.sequencer import Sequencer
from nofm.simulator.step import engine_records
from nofm.simulator.timing import engine_cycles

IDLE = ("steady", "random:0.5", "bursts:7:5")
STALLS = ("count_stalled_input", "count_stalled_output")
RATES = (0.0, 0.1, 0.125, 1.0, 1e-42, 3e38)
FACTORS = (0.0, 0.9, 0.5, 1.0, 5e-4, 1e-41)


def hardware(**values: Any) -> Accelerator:
    """A small accelerator with some entries replaced."""
    return load("sat-4x4").with_values(**values)


def numbers(rng: np.random.Generator, size: int, dtype: Any) -> Any:
    """Numbers of every kind: usual ones, any bits, few significant bits (so that sums tie), zeros,
    infinities, NaN, and the ends of the subnormal and the normal range."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    info = np.finfo(dtype)
    ends = [info.smallest_subnormal, info.smallest_normal, info.max, np.inf, np.nan, 0.0, 1.0]
    scales = np.ldexp(1.0, rng.integers(-14, 12, size))
    kinds = [
        rng.standard_normal(size),
        rng.integers(0, 1 << 8 * bits.itemsize, size, np.uint64).astype(bits).view(dtype),
        rng.integers(-2048, 2049, size) * scales,
        rng.choice(ends, size) * rng.choice([-1, 1], size),
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.choose(rng.integers(0, len(kinds), size), kinds).astype(dtype)


def random_update(rng: np.random.Generator, elements: int) -> Update:
    return Update(
        weights=numbers(rng, elements, np.float32),
        momenta=numbers(rng, elements, np.float32),
        gradients=numbers(rng, elements, np.float16),
        by=Sgd(
            learning_rate=rng.choice(RATES),
            momentum=rng.choice(FACTORS),
            weight_decay=rng.choice(FACTORS),
        ),
    )


def simulated(accelerator: Accelerator, updates: list[Update]) -> list[int]:
    """What the simulator says of each job, without DRAM."""
    streaming = [
        Job(layer="", kind="linear", stage="update", engine="wuve", elements=len(item.weights))
        for item in updates
    ]
    timed = engine_cycles(hardware_record(accelerator), engine_records(streaming))
    return [int(work + fill) for _, work, fill, *_ in timed]


def random_case(
    accelerator: Accelerator, rng: np.random.Generator, lengths: list[int], **options: Any
) -> Case:
    updates = [random_update(rng, length) for length in lengths]
    cycles = simulated(accelerator, updates)
    return case(
        " ".join(map(str, (*lengths, *options.values()))),
        Geometry.of(accelerator),
        updates,
        counters={"count_busy": cycles},
        limit=8 * sum(cycles) + 1000,
        seed=int(rng.integers(1 << 30)),
        **options,
    )


@pytest.mark.parametrize(
    ("lanes", "latency", "tool"), [(4, 24, "verilator"), (3, 6, "icarus"), (1, 13, "icarus")]
)
def test_bits_and_cycles(lanes: int, latency: int, tool: str, check: Any, tmp_path: Path) -> None:
    """Jobs of other lengths and hyper-parameters, one right after the other, with idle cycles and
    backpressure in every combination."""
    accelerator = hardware(**{"wuve.lanes": lanes, "wuve.latency_cycles": latency})
    rng = np.random.default_rng(lanes)
    size = 400 if tool == "verilator" else 40
    cases = []
    for idle, backpressure in itertools.product(IDLE, IDLE):
        lengths = [1, lanes, int(rng.integers(1, size)), int(rng.integers(size, 2 * size))]
        options = {"idle": {"in": idle, "job": idle}, "backpressure": {"out": backpressure}}
        cases.append(random_case(accelerator, rng, lengths, **options))
    for found, result in zip(
        cases, check(Wuve.top(accelerator), cases, tmp_path, tool), strict=True
    ):
        check_waits(found, result)


def check_waits(case: Case, result: dict[str, Any]) -> None:
    """Without a pause outside, a job waits for its first words only, and is done with its last."""
    idle, backpressure = case.idle["in"], case.backpressure["out"]
    stalls = [sum(job[name] for job in result["jobs"][1:]) for name in STALLS]
    assert (stalls[0] > 0) == (idle != "steady")
    assert (stalls[1] > 0) == (backpressure != "steady")
    if backpressure == "steady":
        assert result["jobs"][-1]["done_cycle"] == result["last_words"]["out"]


def test_reset_in_the_middle_of_a_job(check: Any, tmp_path: Path) -> None:
    accelerator = hardware(**{"wuve.lanes": 2, "wuve.latency_cycles": 9})
    rng = np.random.default_rng(5)
    cases = [
        random_case(accelerator, rng, [31, 17], reset_at=at, idle={"in": idle})
        for at in (2, 5, 11, 17, 30)
        for idle in IDLE[:2]
    ]
    check(Wuve.top(accelerator), cases, tmp_path, "icarus")


@pytest.mark.slow
def test_many_parameters(check: Any, tmp_path: Path) -> None:
    """Every preset's width, and a long run of random numbers."""
    accelerator = load("sat-32x32")
    rng = np.random.default_rng(6)
    cases = [random_case(accelerator, rng, [20_000, 1, 33]) for _ in range(8)]
    check(Wuve.top(accelerator), cases, tmp_path, "verilator")


BREAKABLE = hardware(**{"wuve.lanes": 2, "wuve.latency_cycles": 7})

CHANGES: dict[tuple[type[Unit], str], dict[str, tuple[str, str]]] = {
    (Lane, "elaborate"): {
        "momentum not taken": ("self.momentum, self", "self.weight, self"),
        "momentum kept by another factor": (
            "self.momentum, self.momentum_factor",
            "self.momentum, self.weight_decay",
        ),
        "decay dropped": ("gradient, decay)", "gradient, 0)"),
        "decay of the momentum": ("self.weight, self.w", "self.momentum, self.w"),
        "gradient dropped": ("kept, decayed)", "kept, decay)"),
        "wrong sign of the step": ("~step[-1]", "step[-1]"),
        "step of the old momentum": ("of.step, new_momentum", "of.step, kept"),
        "step by another rate": ("self.learning_rate)", "self.momentum_factor)"),
        "weight of the next beat": ("self.weight, past)", "self.weight, past - 1)"),
        "gradient of the next beat": ("gradient, of.decay)", "gradient, of.decay - 1)"),
        "momentum of the next beat": ("kept, of.decayed)", "kept, of.decayed - 1)"),
        "momentum given a beat early": ("new_momentum, left)", "new_momentum, left - 1)"),
        "weight given a beat early": ("new_weight, of.half)", "new_weight, of.half - 1)"),
        "half of the old weight": ("half.wide.eq(new_weight)", "half.wide.eq(weight)"),
        "half without rounding": (
            "half.wide.eq(new_weight)",
            "half.wide.eq(new_weight & 0xFFFFE000)",
        ),
        "subnormal weights lost": ("subnormals=True", "subnormals=False"),
        "moves while frozen": ("EnableInserter(self.advance)(m)", "m"),
    },
    (Lanes, "elaborate"): {
        "parameter of another lane": ("width * i : width * (i + 1)", ":width"),
    },
    (Sequencer, "elaborate"): {
        "a beat too many": ("left.eq(self.beats)", "left.eq(self.beats + 1)"),
        "a beat too few": ("left == 0", "left <= 1"),
        "beats counted while frozen": ("m.Elif(self.advance)", "m.Else()"),
        "results a cycle early": ("fill.eq(self.latency)", "fill.eq(self.latency - 1)"),
        "results a cycle late": (
            "self.give.eq(fill == 0)",
            "self.give.eq((fill == 0) & ~self.take)",
        ),
        "drain a cycle short": ("self.latency - 1", "self.latency - 2"),
        "drain a cycle long": ("self.latency - 1", "self.latency"),
    },
    (Wuve, "elaborate"): {
        "hyper-parameters of the job before": (
            "by.eq(Cat(job[name] for name in HYPER_PARAMETERS))",
            "[by.eq(before := Signal.like(by)), before.eq(Cat(job[n] for n in HYPER_PARAMETERS))]",
        ),
        "hyper-parameters of the job that waits": (
            "lanes.by.eq(by)",
            "lanes.by.eq(Cat(job[name] for name in HYPER_PARAMETERS))",
        ),
        "input taken while frozen": ("pace.advance & sequencer.take", "sequencer.take"),
        "results given while frozen": ("pace.advance & sequencer.give", "sequencer.give"),
        "lack of input seen late": (
            '(level_next(m, "source", source) == 0)',
            "(source.level == 0)",
        ),
        "lack of room seen late": ('level_next(m, "sink", sink) == DEPTH', "sink.level == DEPTH"),
        "stalls until the job begins": ("sequencer.take_next & (", "("),
    },
}
MUTANTS = {
    name: (*where, *change)
    for where, changes in CHANGES.items()
    for name, change in changes.items()
}


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Wuve.top(BREAKABLE)))


def check_breakable(check: Any, folder: Path, sources: dict[str, str]) -> None:
    """What `test_bits_and_cycles` checks, of fewer parameters."""
    rng = np.random.default_rng(1)
    cases = [
        random_case(
            *(BREAKABLE, rng, [13, 2, 1, 60]),
            idle={"in": idle},
            backpressure={"out": backpressure},
        )
        for idle in IDLE[::2]
        for backpressure in IDLE[::2]
    ]
    for given, result in zip(
        cases, check(Wuve.top(BREAKABLE), cases, folder, "icarus", sources), strict=True
    ):
        check_waits(given, result)


def test_the_sound_engine_passes(check: Any, sound: list[Emitted], tmp_path: Path) -> None:
    check_breakable(check, tmp_path, {each.unit.module_name: each.verilog for each in sound})


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    check: Any,
    sound: list[Emitted],
    tmp_path: Path,
) -> None:
    kind, method, old, new = MUTANTS[name]
    mutate(kind, method, old, new, monkeypatch)
    with pytest.raises(AssertionError):
        check_breakable(check, tmp_path, remake(sound, kind))


@pytest.mark.parametrize("cycles", [6, 7, 13, 24, 25, 100, 382, 384])
def test_depths_go_where_the_logic_is_long(cycles: int) -> None:
    """The longest logic between two registers is as short as it can be: a register that moves
    from one unit to another makes neither it nor the longest shorter."""
    depths = vars(Geometry.of(hardware(**{"wuve.latency_cycles": cycles})).depths)
    assert sum(depths.values()) == cycles
    assert min(depths.values()) >= 1
    assert max(depths.values()) <= MAX_DEPTH
    longest = max(LOGIC[name] / depth for name, depth in depths.items())
    for name, depth in depths.items():
        if LOGIC[name] / depth == longest and depth < MAX_DEPTH:
            givers = [other for other in depths if other != name and depths[other] > 1]
            assert all(LOGIC[other] / (depths[other] - 1) >= longest for other in givers)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"wuve.latency_cycles": 5},
            "WUVE of accelerator 'sat-4x4': wuve.latency_cycles must be from 6, a cycle for each "
            "of its units, to 384, not 5",
        ),
        (
            {"wuve.latency_cycles": 385},
            "WUVE of accelerator 'sat-4x4': wuve.latency_cycles must be from 6, a cycle for each "
            "of its units, to 384, not 385",
        ),
        (
            {"formats.operand": "bf16"},
            "WUVE of accelerator 'sat-4x4': formats.operand must be fp16, not bf16",
        ),
        (
            {"formats.master": "fp16"},
            "WUVE of accelerator 'sat-4x4': formats.master must be fp32, not fp16",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        Wuve.top(hardware(**values))
    assert str(caught.value) == text


def test_a_job_has_elements() -> None:
    with pytest.raises(InputError) as caught:
        WuveJob(elements=0, by=Sgd(learning_rate=0.1))
    assert str(caught.value) == (
        f"elements of a WUVE job must be a whole number from 1 to {2**48 - 1}, not 0"
    )
