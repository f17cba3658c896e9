"""WUVE's lanes before SORE's: bits of the golden update and pruner, cycles of the simulator."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import Accelerator, hardware_record, load
from nofm.dataflow.jobs import Job, Matrix
from nofm.kernels.errors import InputError
from nofm.kernels.optimizer import Sgd
from nofm.kernels.pattern import Pattern
from nofm.rtl.bench.cases import Case
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.pregeneration.cases import Generation, case
from nofm.rtl.pregeneration.engine import Pregeneration
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.pregeneration.stream import order
from nofm.rtl.pregeneration.updates import Updates
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.sore.lanes import Lanes
from nofm.rtl.sore.sequencer import Sequencer
from nofm.simulator.step import engine_records
from nofm.simulator.timing import engine_cycles

IDLE = ("steady", "random:0.5", "bursts:7:5")
STALLS = ("count_stalled_input", "count_stalled_output")
# Of one slot's columns in a cycle, of several cycles' and of more than a slot has.
LANES = [(4, 4), (7, 2), (6, 1), (10, 4), (5, 9)]


def hardware(sore_lanes: int, wuve_lanes: int, **values: Any) -> Accelerator:
    """A small accelerator whose pipelines are as short as can be."""
    values = {"wuve.latency_cycles": 6, "sore.latency_cycles": 2, **values}
    return load("sat-4x4").with_values(
        **{"sore.lanes": sore_lanes, "wuve.lanes": wuve_lanes, **values}
    )


def generation(
    rng: np.random.Generator, shape: tuple[int, ...], pattern: Pattern, both: bool
) -> Generation:
    """Of weights that tie in FP16, some only when rounded, with infinities and NaN among them."""
    weights = rng.integers(-64, 65, shape) / 16 + rng.choice([0, 2.0**-16], shape)
    special = np.array([np.inf, -np.inf, np.nan, -0.0, 1e-7, 65520.0])
    weights = np.where(rng.random(shape) < 0.1, rng.choice(special, shape), weights)
    return Generation(
        weights.astype(np.float32),
        rng.standard_normal(shape).astype(np.float32),
        rng.standard_normal(shape).astype(np.float16),
        Sgd(
            learning_rate=rng.choice([0.0, 0.1]),
            momentum=rng.choice([0.0, 0.9]),
            weight_decay=rng.choice([0.0, 5e-4]),
        ),
        pattern,
        both,
    )


def random_generation(
    accelerator: Accelerator, rng: np.random.Generator, most: tuple[int, int, int]
) -> Generation:
    patterns = accelerator.array.patterns
    shape = tuple(int(rng.integers(1, size + 1)) for size in most)
    return generation(rng, shape, patterns[rng.integers(len(patterns))], bool(rng.integers(2)))


def simulated(accelerator: Accelerator, generations: list[Generation]) -> list[int]:
    """What the simulator says of each job, without DRAM."""
    streaming = [
        Job(
            layer="",
            kind="linear",
            stage="update",
            engine="wuve+sore",
            elements=item.weights.size,
            forms=(item.pattern,) * (1 + item.both),
            matrix=Matrix(taps=job.taps, length=job.length, columns=job.columns),
        )
        for item in generations
        for job in (item.job.pruning,)
    ]
    timed = engine_cycles(hardware_record(accelerator), engine_records(streaming))
    return [int(work + fill) for _, work, fill, *_ in timed]


def chain_case(
    accelerator: Accelerator, name: str, generations: list[Generation], **options: Any
) -> Case:
    cycles = simulated(accelerator, generations)
    return case(
        name,
        Geometry.of(accelerator),
        generations,
        counters={"count_busy": cycles},
        limit=8 * sum(cycles) + 1000,
        **options,
    )


def waiting_case(
    accelerator: Accelerator, waits: tuple[str, ...], jobs: list[Generation], seed: int = 0
) -> Case:
    """Jobs, one right after the other, with patterns of the input, of updates and of results."""
    return chain_case(
        accelerator,
        " ".join(waits),
        jobs,
        idle={"in": waits[0], "job": waits[0]},
        backpressure={"updated": waits[1], "out": waits[2]},
        seed=seed,
    )


def waiting_cases(
    accelerator: Accelerator, rng: np.random.Generator, waits: list[tuple[str, ...]], jobs: int
) -> list[Case]:
    """Random jobs for each of `waits`."""
    most = (2, 18, 2 * accelerator.sore.lanes + 3)
    return [
        waiting_case(
            accelerator,
            names,
            [random_generation(accelerator, rng, most) for _ in range(jobs)],
            seed=int(rng.integers(1 << 30)),
        )
        for names in waits
    ]


def check_waits(given: Case, result: dict[str, Any]) -> None:
    """Without a pause outside, a job waits for its first words only."""
    stalls = [sum(job[name] for job in result["jobs"][1:]) for name in STALLS]
    assert (stalls[0] > 0) == (given.idle["in"] != "steady")
    assert stalls[1] == 0 or set(given.backpressure.values()) != {"steady"}


@pytest.mark.parametrize(("sore_lanes", "wuve_lanes"), LANES)
def test_bits_and_cycles(sore_lanes: int, wuve_lanes: int, check: Any, tmp_path: Path) -> None:
    accelerator = hardware(sore_lanes, wuve_lanes)
    rng = np.random.default_rng(sore_lanes)
    waits = list(itertools.product(IDLE[:2], IDLE[::2], IDLE[::2]))
    cases = waiting_cases(accelerator, rng, waits, jobs=3)
    found = check(Pregeneration.top(accelerator), cases, tmp_path, "icarus")
    for given, result in zip(cases, found, strict=True):
        check_waits(given, result)


def test_reset_in_the_middle_of_a_job(check: Any, tmp_path: Path) -> None:
    """Also between the parts of a beat, and while updates or results wait to be taken."""
    accelerator = hardware(6, 2)
    rng = np.random.default_rng(5)
    cases = [
        chain_case(
            accelerator,
            f"reset at {at}, {idle}",
            [random_generation(accelerator, rng, (2, 9, 13)) for _ in range(2)],
            reset_at=at,
            idle={"in": idle},
            backpressure={"updated": "bursts:3:9", "out": "bursts:5:5"},
        )
        for at in (3, 12, 13, 30)
        for idle in IDLE[:2]
    ]
    check(Pregeneration.top(accelerator), cases, tmp_path, "icarus")


@pytest.mark.slow
@pytest.mark.parametrize(("sore_lanes", "wuve_lanes"), [(32, 32), (17, 3)])
def test_many_matrices(sore_lanes: int, wuve_lanes: int, check: Any, tmp_path: Path) -> None:
    accelerator = hardware(sore_lanes, wuve_lanes, **{"wuve.latency_cycles": 24})
    rng = np.random.default_rng(wuve_lanes)
    waits = [tuple(rng.choice(IDLE, 3)) for _ in range(8)]
    cases = waiting_cases(accelerator, rng, [("steady",) * 3, *waits], jobs=6)
    check(Pregeneration.top(accelerator), cases, tmp_path, "verilator")


# Beats of both forms come in two parts, and of one form in four.
BREAKABLE = hardware(10, 3, **{"array.patterns": ["2:4", "2:8"]})
SHAPES = [
    ("2:4", True, (1, 5, 12)),
    ("2:8", True, (1, 10, 13)),
    ("2:4", True, (1, 3, 7)),
    ("2:4", False, (2, 2, 13)),
    ("2:4", True, (1, 2, 3)),
]

CHANGES: dict[tuple[type[Unit], str], dict[str, tuple[str, str]]] = {
    (Updates, "elaborate"): {
        "beats a cycle early": ("range(self.delay)", "range(self.delay - 1)"),
        "upper bits of the weight": ('["half"]', '["weight"][16:]'),
        "updates of every cycle": ("self.give.eq(gives)", "self.give.eq(1)"),
        "moves while frozen": ("EnableInserter(self.advance)(m)", "m"),
    },
    (Updates, "_whole"): {
        "first part not kept": ("Mux(part == i, halves, kept)", "halves"),
        "part of the next cycle": ("self.part, self.delay", "self.part, self.delay - 1"),
    },
    (Sequencer, "elaborate"): {
        "first part taken for a beat": ('self.part == job["last_part"]', "Const(1, 1)"),
        "as many parts for every job": ('self.part == job["last_part"]', "self.part == 3"),
        "parts not counted anew": ("Mux(last_part, 0, self.part + 1)", "self.part + 1"),
        "pause as if beats came at once": ("last_row * parts", "last_row"),
        "pause where the row has come": ("chained // parts", "chained"),
    },
    (Lanes, "_waiting"): {
        "too few rows can wait": (
            "self.geometry.waiting",
            "self.geometry.group - self.geometry.half",
        ),
    },
    (Pregeneration, "elaborate"): {
        "updates not waited for": ("latency_cycles=g.latency_cycles", "latency_cycles=2"),
        "hyper-parameters of the job that waits": (
            "updates.by.eq(by)",
            "updates.by.eq(Cat(fields[name] for name in HYPER_PARAMETERS))",
        ),
        "stale job word": ("Mux(pace.start, given, job)", "job"),
        "lanes see the job that waits": ("lanes.job.eq(job)", "lanes.job.eq(given)"),
        "updates dropped": ('(level_next(m, "updates_sink", updates_sink) == DEPTH)', "0"),
        "results dropped": ('(level_next(m, "sink", sink) == DEPTH)', "0"),
        "updates given while frozen": ("pace.advance & updates.give", "updates.give"),
        "input taken while frozen": ("pace.advance & sequencer.take", "sequencer.take"),
    },
}
MUTANTS = {
    name: (*where, *change)
    for where, changes in CHANGES.items()
    for name, change in changes.items()
}


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Pregeneration.top(BREAKABLE)))


def check_breakable(check: Any, folder: Path, sources: dict[str, str]) -> None:
    """What `test_bits_and_cycles` checks, of fewer jobs."""
    rng = np.random.default_rng(1)
    waits = [
        ("steady",) * 3,
        ("bursts:7:5", "steady", "steady"),
        ("steady", "bursts:2:9", "steady"),
        ("steady", "steady", "bursts:2:9"),
    ]
    cases = [
        waiting_case(
            BREAKABLE,
            names,
            [generation(rng, shape, Pattern.parse(n_m), both) for n_m, both, shape in SHAPES],
        )
        for names in waits
    ]
    # Most mutants fail without pauses outside, too.
    for some in (cases[:1], cases[1:]):
        found = check(Pregeneration.top(BREAKABLE), some, folder, "icarus", sources)
        for given, result in zip(some, found, strict=True):
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


def test_order_by_hand() -> None:
    """Two rows of five columns. Both forms on four lanes: beats of two columns; WUVE has one lane,
    so each beat is two words, also the last one of a row, which has one column."""
    geometry = Geometry.of(hardware(4, 1))
    pattern = Pattern(2, 4)
    job = SoreJob(pattern=pattern, taps=1, length=2, columns=5, both=True)
    assert order(job, geometry).tolist() == [0, 1, 5, 6, 2, 3, 7, 8, 4, -1, 9, -1]
    # One form: beats of four columns in three words of two lanes each.
    geometry = Geometry.of(hardware(6, 2))
    job = SoreJob(pattern=pattern, taps=1, length=1, columns=7)
    assert order(job, geometry).tolist() == [0, 1, 2, 3, 4, 5, 6, -1, -1, -1, -1, -1]
    # Never more words than columns need.
    job = SoreJob(pattern=pattern, taps=1, length=2, columns=1)
    assert order(job, geometry).tolist() == [0, -1, 1, -1]


def test_what_cannot_be_built_is_refused() -> None:
    for values, text in (
        (
            {"array.patterns": []},
            "SORE of accelerator 'sat-4x4': array.patterns must name a pattern, and is empty",
        ),
        (
            {"wuve.latency_cycles": 5},
            "WUVE of accelerator 'sat-4x4': wuve.latency_cycles must be from 6, a cycle for each "
            "of its units, to 384, not 5",
        ),
    ):
        with pytest.raises(InputError) as caught:
            Pregeneration.top(hardware(4, 4, **values))
        assert str(caught.value) == text
