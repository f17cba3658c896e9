"""SORE against the golden pruner, bit for bit, and against the simulator, cycle for cycle."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import Accelerator, hardware_record, load
from nofm.dataflow.jobs import Job, Matrix
from nofm.kernels.compressed import compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.rtl.bench.cases import Case
from nofm.rtl.elastic import Elastic
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.pace import Pace
from nofm.rtl.sore.cases import Pruning, case
from nofm.rtl.sore.engine import Sore
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.sore.lane import Lane
from nofm.rtl.sore.lanes import Lanes
from nofm.rtl.sore.sequencer import Sequencer
from nofm.rtl.sore.stream import input_beats, output_beats
from nofm.simulator.step import engine_records
from nofm.simulator.timing import engine_cycles

IDLE = ("steady", "random:0.5", "bursts:7:5")
STALLS = ("count_stalled_input", "count_stalled_output")


def hardware(**values: Any) -> Accelerator:
    """A small accelerator with some entries replaced."""
    return load("sat-4x4").with_values(**values)


def halves(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """FP16 of every kind: any bits; whole numbers, which tie; both zeros, both infinities, NaN of
    either sign and of several payloads, and the ends of the subnormal and the normal range."""
    special = np.array(
        [0x0000, 0x7C00, 0x7C01, 0x7E00, 0x7FFF, 0x0001, 0x03FF, 0x0400, 0x7BFF], np.uint16
    )
    kinds = [
        rng.integers(0, 1 << 16, shape).astype(np.uint16),
        rng.integers(-3, 4, shape).astype(np.float16).view(np.uint16),
        rng.choice(special, shape) | rng.choice(np.array([0, 0x8000], np.uint16), shape),
    ]
    return np.choose(rng.integers(0, len(kinds), shape), kinds).astype(np.uint16).view(np.float16)


def random_pruning(
    accelerator: Accelerator, rng: np.random.Generator, most: tuple[int, int, int]
) -> Pruning:
    patterns = accelerator.array.patterns
    taps, length, columns = (int(rng.integers(1, size + 1)) for size in most)
    return Pruning(
        halves(rng, (taps, length, columns)),
        patterns[rng.integers(len(patterns))],
        bool(rng.integers(2)),
    )


def simulated(accelerator: Accelerator, prunings: list[Pruning]) -> list[int]:
    """What the simulator says of each job, without DRAM."""
    streaming = [
        Job(
            layer="",
            kind="linear",
            stage="prune",
            engine="sore",
            elements=item.dense.size,
            forms=(item.pattern,) * (1 + item.both),
            matrix=Matrix(taps=job.taps, length=job.length, columns=job.columns),
        )
        for item in prunings
        for job in (item.job,)
    ]
    timed = engine_cycles(hardware_record(accelerator), engine_records(streaming))
    return [int(work + fill) for _, work, fill, *_ in timed]


def sore_case(accelerator: Accelerator, name: str, prunings: list[Pruning], **options: Any) -> Case:
    cycles = simulated(accelerator, prunings)
    return case(
        name,
        Geometry.of(accelerator),
        prunings,
        counters={"count_busy": cycles},
        limit=8 * sum(cycles) + 1000,
        **options,
    )


def spare_cycles(pruning: Pruning, accelerator: Accelerator) -> int:
    """Cycles of a job after its last result: one for each lane of the chain behind its end."""
    job, geometry = pruning.job, Geometry.of(accelerator)
    return job.both * (job.elements(geometry) - job.fields(geometry)["last_columns"])


# E is 2: states wait outside the chain. 2 of 5 lanes. 12: groups of 8 end anywhere in it.
@pytest.mark.parametrize(("lanes", "latency"), [(4, 4), (5, 1), (24, 2)])
def test_bits_and_cycles(lanes: int, latency: int, check: Any, tmp_path: Path) -> None:
    """Jobs of other shapes, patterns and forms, one right after the other, with idle cycles and
    backpressure in every combination."""
    accelerator = hardware(**{"sore.lanes": lanes, "sore.latency_cycles": latency})
    rng = np.random.default_rng(lanes)
    combinations = list(itertools.product(IDLE, IDLE))
    prunings = [
        [random_pruning(accelerator, rng, (2, 20, 3 * lanes)) for _ in range(5)]
        for _ in combinations
    ]
    cases = [
        sore_case(
            accelerator,
            f"{idle} {backpressure}",
            jobs,
            idle={"in": idle, "job": idle},
            backpressure={"out": backpressure},
            seed=int(rng.integers(1 << 30)),
        )
        for (idle, backpressure), jobs in zip(combinations, prunings, strict=True)
    ]
    found = check(Sore.top(accelerator), cases, tmp_path, "icarus")
    for given, jobs, result in zip(cases, prunings, found, strict=True):
        check_waits(given, spare_cycles(jobs[-1], accelerator), result)


def check_waits(given: Case, spare: int, result: dict[str, Any]) -> None:
    """Without a pause outside, a job waits for its first words only, and its end comes `spare`
    cycles after its last result."""
    stalls = [sum(job[name] for job in result["jobs"][1:]) for name in STALLS]
    assert (stalls[0] > 0) == (given.idle["in"] != "steady")
    if given.backpressure["out"] == "steady":
        assert stalls[1] == 0
        assert result["jobs"][-1]["done_cycle"] == result["last_words"]["out"] + spare


def test_ragged_shapes(check: Any, tmp_path: Path) -> None:
    """Around the sizes of groups and slots, every pattern, one form and both."""
    accelerator = hardware(**{"sore.lanes": 6})
    rng = np.random.default_rng(3)
    cases = []
    for pattern in map(Pattern.parse, ("1:4", "2:4", "1:8", "2:8", "4:8", "2:16")):
        prunings = [
            Pruning(halves(rng, (1, length, columns)), pattern, both)
            for length in (1, 2, pattern.m - 1, pattern.m, pattern.m + 1)
            for columns in (1, 2, 3, 4, 6, 7, pattern.m + 2)
            for both in (False, True)
        ]
        cases.append(sore_case(accelerator, str(pattern), prunings))
    check(Sore.top(accelerator), cases, tmp_path, "icarus")


def test_reset_in_the_middle_of_a_job(check: Any, tmp_path: Path) -> None:
    """Also while a row's state waits outside the chain, and while results wait to be taken."""
    accelerator = hardware(**{"sore.lanes": 4, "sore.latency_cycles": 3})
    rng = np.random.default_rng(5)
    cases = [
        sore_case(
            accelerator,
            f"reset at {at}, {idle}",
            [
                Pruning(halves(rng, (2, 9, 5)), Pattern(2, 8), True),
                Pruning(halves(rng, (1, 5, 9)), Pattern(1, 4)),
            ],
            reset_at=at,
            idle={"in": idle},
            backpressure={"out": "bursts:3:9"},
        )
        for at in (2, 5, 12, 17, 30, 40)
        for idle in IDLE[:2]
    ]
    check(Sore.top(accelerator), cases, tmp_path, "icarus")


@pytest.mark.slow
@pytest.mark.parametrize(("lanes", "latency"), [(32, 4), (6, 3), (3, 1), (17, 9), (64, 2)])
def test_many_matrices(lanes: int, latency: int, check: Any, tmp_path: Path) -> None:
    accelerator = hardware(**{"sore.lanes": lanes, "sore.latency_cycles": latency})
    rng = np.random.default_rng(lanes)
    cases = [
        sore_case(
            accelerator,
            str(i),
            [random_pruning(accelerator, rng, (3, 70, 140)) for _ in range(8)],
            idle={"in": IDLE[rng.integers(3)]},
            backpressure={"out": IDLE[rng.integers(3)]},
            seed=i,
        )
        for i in range(40)
    ]
    check(Sore.top(accelerator), cases, tmp_path, "verilator")


# Slots of 3 columns end anywhere in a group, several rows wait outside the chain, a lane has none.
BREAKABLE = hardware(
    **{"sore.lanes": 7, "sore.latency_cycles": 2, "array.patterns": ["1:4", "2:4", "3:8"]}
)

CHANGES: dict[tuple[type[Unit], str], dict[str, tuple[str, str]]] = {
    (Lane, "elaborate"): {
        "tie keeps the higher index": ("(magnitude > values", "(magnitude >= values"),
        "signs count": ("magnitude > values[i][:MAGNITUDE_BITS]", "self.element > values[i]"),
        "NaN is the smallest": ("& ~nans[i]", "| nans[i]"),
        "NaN is a number": ("is_nan.eq(magnitude > 0x7C00)", "is_nan.eq(0)"),
        "infinity is NaN": ("magnitude > 0x7C00", "magnitude >= 0x7C00"),
        "N - 1 kept": (
            "self.last_entry == i), self.index == i",
            "self.last_entry == i), (self.index == i) & (self.last_entry != i)",
        ),
        "full an element early": ("index > self.last_entry", "index >= self.last_entry"),
        "old group not forgotten": ("goes_on.eq(self.index != 0)", "goes_on.eq(1)"),
        "the last entry goes": ("Cat(smallest[: i + 1]).any()", "0"),
        "comparison of another entry": ("Mux(shift[i], ~beats[i + 1], ~beats[i])", "~beats[i]"),
        "comparisons stay behind": ("Mux(shift[k], moved, stays)", "stays"),
    },
    (Lanes, "_chain"): {
        "index of the other form": ('Mux(both, index, beat["row"])', 'beat["row"]'),
        "chain state not passed": ("state_left.eq(state)", "state_left.eq(0)"),
        "chain state passed to the same lane": (
            "lane.state_left.eq(state)",
            "lane.state_left.eq(lane.state)",
        ),
        "rows of both forms not chained": ("chained.eq(both)", "chained.eq(0)"),
        "element a lane early": ("range(e)", "range(e - 1)"),
        "ragged last group not closed": ("| (last_slot & (left == 1))", ""),
        "group closed at the end of a slot": ("(last_slot & (left == 1))", "(left == 1)"),
        "ragged columns go on": ("Mux(left == 0, 0, left - 1)", "left"),
        "mask bit lost": ('Mux(both, end, beat["row_end"])', "(both & end)"),
    },
    (Lanes, "elaborate"): {
        "idle lanes have results": ('& (i < beat["columns"])', ""),
        "results of every row": ('works & beat["row_end"]', "works"),
        "results a cycle early": ("range(1, g.latency_cycles)", "range(2, g.latency_cycles)"),
    },
    (Lanes, "_waiting"): {
        "waiting states in another order": ("read.addr.eq(head)", "read.addr.eq(tail - 1)"),
        "waiting states do not wait": ("Mux(level == 0, state, read.data)", "state"),
        "a state that need not wait does": ("& ~(again & (level == 0))", ""),
    },
    (Sequencer, "elaborate"): {
        "last row group not ragged": (
            'Mux(group == 0, job["last_row"], job["last_index"])',
            'job["last_index"]',
        ),
        "every slot as the last one": (
            'Mux(slot_end, job["last_columns"],',
            'Mux(1, job["last_columns"],',
        ),
        "slots of half the lanes": ('Mux(job["both"], g.half, g.lanes)', "g.half"),
        "place in the group kept": ("Mux(slot_end, 0, next_position)", "next_position"),
        "place in the group off by one": (
            'ahead - job["last_index"] - 1',
            'ahead - job["last_index"]',
        ),
        "no pause": ("(last_row < chained // parts)", "0"),
        "pause where none is needed": (" & (next_position != 0)", ""),
        "pause a cycle short": (
            "wait.eq(chained - parts - last_row * parts)",
            "wait.eq(Mux(last_row < chained - 1, chained - 2 - last_row, 0))",
        ),
        "pause a cycle long": ("wait.eq(chained - parts", "wait.eq(chained"),
        "drain a cycle short": ("drain + chained, drain) - 1", "drain + chained, drain) - 2"),
        "drain a cycle long": ("drain + chained, drain) - 1", "drain + chained, drain)"),
        "chain not drained": ("drain + chained, drain)", "drain, drain)"),
        "one row group for all": ('Mux(group_end, job["groups"], group - 1)', "group - 1"),
    },
    (Sore, "elaborate"): {
        "stale job word": ("Mux(pace.start, self.job_data, job)", "job"),
        "lanes see the job that waits": ("lanes.job.eq(job)", "lanes.job.eq(self.job_data)"),
        "empty results written": ("pace.advance & lanes.mask.any()", "pace.advance"),
        "results written while frozen": ("pace.advance & lanes.mask.any()", "lanes.mask.any()"),
        "lack of input seen late": (
            '(level_next(m, "source", source) == 0)',
            "(source.level == 0)",
        ),
        "lack of room seen late": ('level_next(m, "sink", sink) == DEPTH', "sink.level == DEPTH"),
    },
    (Pace, "elaborate"): {
        "counter off by one": ("getattr(self, name).eq(0)", "getattr(self, name).eq(1)"),
        "counters of all jobs": ("with m.If(self.start):", "with m.If(0):"),
        "stall under the other cause": ("running & starved", "running & ~starved"),
        "stalls not counted": ("m.Elif(running)", "m.Elif(0)"),
        "start a cycle late": ("self.advance.eq(running_next", "self.advance.eq(running"),
        "end while frozen": ("self.advance & self.finish", "self.finish"),
        "job taken while one goes on": ("job_ready.eq(~running)", "job_ready.eq(1)"),
        "done a cycle early": (
            "        self.done.eq(finished),\n    ]\n",
            "    ]\n    m.d.comb += self.done.eq(finished)\n",
        ),
        "done twice": (
            "self.done.eq(finished)",
            "self.done.eq(finished | (self.done & ~self.start))",
        ),
    },
    (Elastic, "elaborate"): {
        "one beat dropped": ("self.level != DEPTH", "1"),
        "beats in another order": ("read.addr.eq(head)", "read.addr.eq(head + 1)"),
    },
}
MUTANTS = {
    name: (*where, *change)
    for where, changes in CHANGES.items()
    for name, change in changes.items()
}


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Sore.top(BREAKABLE)))


SHAPES = [
    ("2:4", True, (1, 5, 13)),
    ("3:8", True, (2, 10, 11)),
    ("1:4", False, (2, 5, 9)),
    ("3:8", False, (1, 9, 5)),
    ("1:4", True, (1, 4, 2)),
]


def check_breakable(check: Any, folder: Path, sources: dict[str, str]) -> None:
    """What `test_bits_and_cycles` checks, of fewer jobs."""
    rng = np.random.default_rng(1)
    waits = [(idle, backpressure) for idle in IDLE[::2] for backpressure in IDLE[::2]]
    jobs = [
        [Pruning(halves(rng, shape), Pattern.parse(n_m), both) for n_m, both, shape in SHAPES]
        for _ in waits
    ]
    cases = [
        sore_case(
            *(BREAKABLE, f"{idle} {backpressure}", each),
            idle={"in": idle},
            backpressure={"out": backpressure},
        )
        for (idle, backpressure), each in zip(waits, jobs, strict=True)
    ]
    found = check(Sore.top(BREAKABLE), cases, folder, "icarus", sources)
    for given, each, result in zip(cases, jobs, found, strict=True):
        check_waits(given, spare_cycles(each[-1], BREAKABLE), result)


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


def test_streams_by_hand() -> None:
    """Two rows of three columns, 1:2 both ways, on four lanes: two columns a beat."""
    geometry = Geometry(lanes=4, entries=1, group=2, latency_cycles=1)
    job = SoreJob(pattern=Pattern(1, 2), taps=1, length=2, columns=3, both=True)
    dense = np.array([[[1, -2, 4], [2, -2, 0]]], np.float16)
    one, two, four = 0x3C00, 0xC000, 0x4400
    assert input_beats(dense, job, geometry) == [two << 16 | one, two << 16 | 0x4000, four, 0]
    forms = [compress(dense, job.pattern), compress(np.swapaxes(dense, 1, 2), job.pattern)]
    words, cares = output_beats(forms, job, geometry)

    def word(**lanes: tuple[int, int]) -> int:
        """Lane number: value and index."""
        found = 0
        for name, (value, index) in lanes.items():
            lane = int(name[1:])
            found |= 1 << lane | (index << 16 | value) << 4 + 17 * lane
        return found

    assert words == [
        # Column 0 keeps the second row's 2; column 1 the first of equal ones. Row 0 keeps its
        # second element, one cycle later than it entered, as lane 3 is the second of the chain.
        word(l0=(0x4000, 1), l1=(two, 0), l3=(two, 1)),
        # The second slot has one column, which ends a group of each row at lane 2.
        word(l2=(four, 0), l3=(0x4000, 0)),
        word(l0=(four, 0), l2=(0, 0)),
    ]
    assert [care.bit_count() for care in cares] == [4 + 3 * 17, 4 + 2 * 17, 4 + 2 * 17]


def refusal(call: Any, *arguments: Any, **values: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"array.patterns": []},
            "SORE of accelerator 'sat-4x4': array.patterns must name a pattern, and is empty",
        ),
        (
            {"formats.operand": "bf16"},
            "SORE of accelerator 'sat-4x4': formats.operand must be fp16, not bf16",
        ),
        (
            {"sore.latency_cycles": 0},
            "SORE of accelerator 'sat-4x4': sore.latency_cycles must be at least 1, not 0",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(values: dict[str, Any], text: str) -> None:
    assert refusal(Sore.top, hardware(**values)) == text


@pytest.mark.parametrize(
    ("pattern", "sizes", "text"),
    [
        (
            Pattern(5, 8),
            (1, 8, 8),
            "SORE keeps up to 4 of up to 16 elements, and fewer than all: it has no pattern 5:8",
        ),
        (
            Pattern(2, 32),
            (1, 8, 8),
            "SORE keeps up to 4 of up to 16 elements, and fewer than all: it has no pattern 2:32",
        ),
        (
            DENSE,
            (1, 8, 8),
            "SORE keeps up to 4 of up to 16 elements, and fewer than all: it has no pattern 1:1",
        ),
        (
            Pattern(2, 8),
            (0, 8, 8),
            "taps of a SORE job must be a whole number from 1 to 4294967296, not 0",
        ),
        (
            Pattern(2, 8),
            (1, 2**32 + 1, 8),
            "length of a SORE job must be a whole number from 1 to 4294967296, not 4294967297",
        ),
    ],
)
def test_jobs_that_cannot_be_done(pattern: Pattern, sizes: tuple[int, int, int], text: str) -> None:
    taps, length, columns = sizes
    job = SoreJob(pattern=pattern, taps=taps, length=length, columns=columns)
    assert refusal(job.encode, Geometry.of(hardware())) == text


def test_a_matrix_of_another_shape_is_refused() -> None:
    job = SoreJob(pattern=Pattern(2, 8), taps=1, length=8, columns=3)
    dense = np.zeros((1, 3, 8), np.float16)
    assert refusal(input_beats, dense, job, Geometry.of(hardware())) == (
        "a SORE job's matrix must be [1, 8, 3], not [1, 3, 8]"
    )
