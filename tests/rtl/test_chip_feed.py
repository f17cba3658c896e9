"""The array's feeders against `activation_beats` and `weight_words`, over random jobs and layouts.

Buffers are filled through the write port. Writes wait for jobs that must be done, and jobs for what
must be written: so one job reads one half of a buffer while the next one's half is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.activation_feeder import ActivationFeeder
from nofm.rtl.chip.banks import Buffer
from nofm.rtl.chip.beat_lane import BeatLane
from nofm.rtl.chip.feed_cases import Feeding, Job, Values
from nofm.rtl.chip.held_places import HeldPlaces
from nofm.rtl.chip.lockstep import Lockstep
from nofm.rtl.chip.map_lane import MapLane
from nofm.rtl.chip.room_queue import RoomQueue
from nofm.rtl.chip.weight_feeder import ColumnLane, WeightFeeder
from nofm.rtl.program.feed import AXES, POSITION_BITS, column_walk, map_walk
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.walk import Loop, Nest, WalkShape, signed
from nofm.rtl.tools.cocotb_runner import SimulationError

FEEDERS = {"activations": ActivationFeeder, "weights": WeightFeeder}


def chip(**changes: int) -> ChipSizes:
    """A small chip; banks of a depth that is no power of two."""
    return ChipSizes(
        **{
            "rows": 3,
            "columns": 4,
            "port": 8,
            "index_bits": 3,
            "bus_bits": 64,
            "activation_banks": 4,
            "activation_depth": 6,
            "weight_banks": 4,
            "weight_depth": 50,
            "result_depth": 16,
            **changes,
        }
    )


CHIPS = {
    "a piece is less than a word": chip(),
    "a piece is several words": chip(
        rows=5, columns=2, port=2, bus_bits=128, activation_banks=8, weight_banks=8
    ),
    "one of everything": chip(
        rows=1, columns=1, port=1, index_bits=1, activation_depth=60, weight_depth=48
    ),
    "a word is a piece, two banks": chip(
        rows=1, columns=8, port=4, activation_banks=2, activation_depth=20, weight_banks=8
    ),
    "many lanes": chip(rows=9, columns=16, port=4, activation_banks=16, weight_banks=16),
}


def total_nest(
    rng: np.random.Generator,
    shape: WalkShape,
    passes: int,
    strides: Callable[[str], int],
    loops: int | None = None,
) -> Nest:
    """Any nest with so many passes, from anywhere on; all its places start with 0."""
    loops = loops or int(rng.integers(1, shape.loops + 1))
    counts = [int(rng.integers(1, 4)) for _ in range(loops - 1)]
    first = int(rng.integers(0, 3))
    counts.append(-(-(passes + first) // max(1, int(np.prod(counts)))))
    each = tuple(Loop(count, {place: strides(place) for place in shape.places}) for count in counts)
    return Nest({}, each, first, passes)


def moved(shape: WalkShape, prefix: str, values: Values, by: Mapping[str, int]) -> None:
    """Start elsewhere."""
    for place, step in by.items():
        name = f"{prefix}start_{place}"
        values[name] = (values[name] + step) % (1 << shape.places[place])


def reach(shape: WalkShape, prefix: str, values: Values, place: str) -> list[int]:
    """Signed places of all passes."""
    width = shape.places[place]
    return [signed(each[place], width) for each in shape.passes(prefix, values)]


def activation_job(rng: np.random.Generator, sizes: ChipSizes, half: int, **fixed: int) -> Job:
    """Any job that reads one half of the buffer."""
    walk = map_walk(sizes)
    take = 1 << int(rng.integers(0, sizes.port.bit_length()))
    gather = int(rng.integers(1, sizes.port)) if take == 1 and sizes.port > 1 else 0
    values: Values = {
        "outer": int(rng.integers(0, 3)),
        "repeats": int(rng.integers(0, 3)),
        "take": take - 1 - (int(rng.integers(0, take)) if rng.random() < 0.3 else 0),
        "gather": gather if rng.random() < 0.7 else 0,
        "skew": int(rng.integers(0, 2)),
        # Above 2^15 a size is no limit: only what is negative lies outside.
        **{f"size_{axis}": int(rng.choice([*range(1, 12), 0xFFFF])) for axis in AXES},
        **fixed,
    }
    span = sizes.activation_elements // 2
    most = max(1, span // (12 * take))

    def stride(place: str) -> int:
        if place == "at":
            return take * int(rng.integers(-most, most + 1))
        return int(rng.integers(-1, 3))

    held = values["outer"] * sizes.rows + int(rng.integers(1, sizes.rows + 1))
    for prefix, passes in (("held_", held), ("inner_", int(rng.integers(1, 14)))):
        values |= walk.encode(prefix, total_nest(rng, walk, passes, stride))
        for axis in AXES:
            moved(walk, prefix, values, {axis: int(rng.integers(-3, 4))})
    ways = [reach(walk, prefix, values, "at") for prefix in ("held_", "inner_")]
    least = sum(map(min, ways))
    room = span - (sum(map(max, ways)) - least + take)
    if room < 0:
        return activation_job(rng, sizes, half, **fixed)
    start = half * span + int(rng.integers(0, room + 1)) // take * take - least
    moved(walk, "held_", values, {"at": start})
    data = [int(x) for x in rng.integers(0, 1 << 16, span)]
    return Job(values, half * span, data)


def weight_job(rng: np.random.Generator, sizes: ChipSizes, half: int, **fixed: int) -> Job:
    """Any job that reads one half of the buffer."""
    walk = column_walk(sizes)
    to_rows, outer = int(rng.integers(0, 2)), int(rng.integers(0, 3))
    values: Values = {
        "to_rows": to_rows,
        "outer": outer,
        "hold_once": int(rng.integers(0, 2)),
        "full": int(rng.integers(0, 2)),
        "size_n": int(rng.integers(1, 30)),
        "skew": int(rng.integers(0, 2)),
        **fixed,
    }
    to_rows, outer = values["to_rows"], values["outer"]
    lanes = sizes.rows if to_rows else sizes.columns
    held = (0 if values["hold_once"] else outer) * lanes + int(rng.integers(1, lanes + 1))
    span = sizes.weight_elements // 2
    most = max(1, span // 12)

    def stride(place: str) -> int:
        return int(rng.integers(-most, most + 1)) if place == "at" else int(rng.integers(-2, 4))

    for prefix in ("held_", "full_", "last_"):
        passes = held if prefix == "held_" else int(rng.integers(1, 14))
        values |= walk.encode(prefix, total_nest(rng, walk, passes, stride))
        moved(walk, prefix, values, {"n": int(rng.integers(-3, 9))})
    inner = ["full_", "last_"] if values["full"] else ["last_"]
    ways = [reach(walk, "held_", values, "at")]
    ways.append([at for prefix in inner for at in reach(walk, prefix, values, "at")])
    least = sum(map(min, ways))
    room = span - (sum(map(max, ways)) - least + 1)
    if room < 0:
        return weight_job(rng, sizes, half, **fixed)
    start = half * span + int(rng.integers(0, room + 1)) - least
    moved(walk, "held_", values, {"at": start})
    data = [int(x) for x in rng.integers(0, 1 << 16 + sizes.index_bits, span)]
    return Job(values, half * span, data)


def feeding(sizes: ChipSizes, what: str, queue_depth: int = 8) -> Feeding:
    return Feeding(sizes, FEEDERS[what](sizes, queue_depth))


def random_job(side: Feeding, rng: np.random.Generator, half: int, **fixed: int) -> Job:
    make = activation_job if isinstance(side.feeder, ActivationFeeder) else weight_job
    return make(rng, side.sizes, half, **fixed)


def cases(side: Feeding, jobs: int, seed: int) -> list[Case]:
    rng = np.random.default_rng(seed)
    made = []
    for name, idle, backpressure in (
        ("steady", {}, "steady"),
        ("idle", {"job": "random:0.02", "write": "random:0.5"}, "steady"),
        ("random", {}, "random:0.3"),
        ("bursts", {}, "bursts:20:90"),
    ):
        given = [random_job(side, rng, k % 2) for k in range(jobs)]
        if name == "bursts":
            # Those after the first two find what these two have, with the skew that it was written
            # with: they wait for nothing.
            skews = [job.values["skew"] for job in given[:2]]
            given[2:] = [
                Job({**job.values, "skew": skews[k % 2]}) for k, job in enumerate(given[2:])
            ]
        options = {"idle": idle, "backpressure": dict.fromkeys(side.streams, backpressure)}
        made.append(side.case(name, given, seed, **options))
    made.append(slow_case(side, seed))
    return made


def slow_case(side: Feeding, seed: int) -> Case:
    """Folds of one pass, which wait for queues: the next job comes before this one's last places
    are in use. Jobs read what the first two read, and differ in the skew."""
    rng = np.random.default_rng(seed)
    wide = dict.fromkeys((f"size_{axis}" for axis in AXES), 99)
    few = [random_job(side, rng, k, outer=2, skew=k, **wide) for k in (0, 1)]
    tiny = dict.fromkeys(("inner_total", "full_total", "last_total", "repeats", "full"), 0)
    one_pass = [{**job.values, **{n: tiny[n] for n in tiny if n in job.values}} for job in few]
    given = [*few, *(Job(one_pass[k % 2]) for k in range(40))]
    backpressure = dict.fromkeys(side.streams, "random:0.05")
    return side.case("slow", given, seed, backpressure=backpressure)


def wrong(cases: list[Case], results: list[dict[str, Any]]) -> list[str]:
    return [
        f"{case.name}: {found['error']}, {found['differences']}"
        for case, found in zip(cases, results, strict=True)
        if not (found["bit_exact"] and found["counters_equal"])
    ]


QUICK = {
    ("a piece is less than a word", "activations"),
    ("a piece is less than a word", "weights"),
}
"""What every run of the tests tries; `make test-slow` tries all, with more jobs."""


@pytest.mark.parametrize(
    ("name", "what", "jobs"),
    [
        *((name, what, 8) for name, what in sorted(QUICK)),
        *(
            pytest.param(name, what, 25, marks=pytest.mark.slow)
            for name in CHIPS
            for what in FEEDERS
        ),
    ],
)
def test_random_jobs(name: str, what: str, jobs: int, tmp_path: Path) -> None:
    """With idle streams and backpressure, buffers written while they are read."""
    side = feeding(CHIPS[name], what)
    given = cases(side, jobs, jobs)
    assert wrong(given, side.play(given, tmp_path)) == []


def banks_wanted(side: Feeding, values: Values) -> list[list[list[tuple[int, int]]]]:
    """For every pass of every fold: bank and word in it, of all lanes that read."""
    sizes = side.sizes
    weights = isinstance(side.feeder, WeightFeeder)
    walk = column_walk(sizes) if weights else map_walk(sizes)
    lanes = sizes.rows
    if weights and not values["to_rows"]:
        lanes = sizes.columns
    prefixes = ["inner_"] * (values.get("repeats", 0) + 1)
    if weights:
        prefixes = [*["full_"] * values["full"], "last_"]
    inner = [each for prefix in prefixes for each in walk.passes(prefix, values)]
    places = list(walk.passes("held_", values))
    found = []
    for fold in range(values["outer"] + 1):
        at = 0 if values.get("hold_once") else fold * lanes
        passes = []
        for each in inner:
            words = []
            for held in places[at : at + lanes]:
                place = {
                    name: (held[name] + each[name]) % (1 << width)
                    for name, width in walk.places.items()
                }
                if weights:
                    reads = place["n"] < values["size_n"]
                else:
                    c, y, x = (signed(place[axis], POSITION_BITS) for axis in AXES)
                    reads = (
                        0 <= y < values["size_y"]
                        and 0 <= x < values["size_x"]
                        and any(0 <= c + k < values["size_c"] for k in range(values["take"] + 1))
                    )
                if reads:
                    high, low = divmod(place["at"] // side.buffer.word, side.buffer.banks)
                    words.append(((low + values["skew"] * high) % side.buffer.banks, high))
            passes.append(words)
        found.append(passes)
    return found


def rounds(words: list[tuple[int, int]]) -> int:
    """Cycles that a pass takes: the different words of the bank that it wants most of."""
    wanted: dict[int, set[int]] = {}
    for bank, high in words:
        wanted.setdefault(bank, set()).add(high)
    return max(map(len, wanted.values()), default=1)


def folds_of(side: Feeding, values: Values) -> list[int]:
    """Cycles of every fold."""
    return [sum(map(rounds, passes)) for passes in banks_wanted(side, values)]


def plain_job(side: Feeding, passes: int, outer: int, held: Nest | None = None) -> Values:
    """Neighbouring words in the lanes, which lie in different banks, if they hold nothing else."""
    sizes = side.sizes
    lanes, word = side.buffer.lanes, side.buffer.word
    held = held or Nest({}, (Loop(lanes, {"at": word}), Loop(outer + 1)))
    inner = Nest({}, (Loop(side.buffer.banks, {"at": word}), Loop(passes)), total=passes)
    if isinstance(side.feeder, ActivationFeeder):
        walk = map_walk(sizes)
        return {
            "outer": outer,
            "repeats": 0,
            **walk.encode("held_", held),
            **walk.encode("inner_", inner),
            **dict.fromkeys((f"size_{axis}" for axis in AXES), 99),
            **{"take": 0, "gather": 0, "skew": 0},
        }
    columns = column_walk(sizes)
    return {
        "to_rows": int(sizes.rows > sizes.columns),
        "outer": outer,
        "hold_once": 0,
        **columns.encode("held_", held),
        "full": 0,
        **columns.encode("full_", inner),
        **columns.encode("last_", inner),
        "size_n": 99,
        "skew": 0,
    }


@pytest.mark.parametrize("what", ["activations", pytest.param("weights", marks=pytest.mark.slow)])
def test_every_cycle_is_accounted_for(what: str, tmp_path: Path) -> None:
    """From each job's end to the next one's it takes as many cycles as its passes and their
    conflicts: where walks are no shorter than it takes the next places to come, there is no gap
    between walks, folds or jobs. Else a fold takes as long as the next places do."""
    side = feeding(CHIPS["a piece is several words"], what, 64)
    lanes = side.buffer.lanes
    rng = np.random.default_rng(9)
    jobs: list[Job] = []
    while len(jobs) < 12:
        job = random_job(side, rng, len(jobs) % 2)
        last_walk = job.values["inner_total" if what == "activations" else "last_total"] + 1
        if last_walk >= lanes + 3:
            jobs.append(Job(job.values))
    given = [
        side.case("random", jobs),
        side.case("one pass", [Job(plain_job(side, 1, 0))]),
        side.case("short folds", [Job(plain_job(side, 1, outer)) for outer in (0, 9, 9)]),
        side.case("short jobs", [Job(plain_job(side, lanes + 3, 0)) for _ in range(3)]),
    ]
    # All lanes want one bank: every lane another word of it, or two words by turns.
    row = side.buffer.word * side.buffer.banks
    crowd = plain_job(side, 40, 0, Nest({}, (Loop(lanes, {"at": row}),)))
    pairs = plain_job(side, 40, 0, Nest({}, (Loop(2, {"at": row}), Loop(lanes)), total=lanes))
    data = [int(x) for x in rng.integers(0, 1 << 16, side.elements)]
    given.append(side.case("crowds", [Job(crowd, 0, data), Job(pairs), Job(crowd)]))
    results = side.play(given, tmp_path)
    assert wrong(given, results) == []
    some, one, *_ = results
    between = [np.diff([job["done_cycle"] for job in each["jobs"]]).tolist() for each in results]

    cycles = [sum(folds_of(side, job.values)) for job in jobs]
    assert between[0] == cycles[1:]
    passes = [sum(map(len, banks_wanted(side, job.values))) for job in jobs]
    assert some["jobs"][-1]["count_conflict"] == sum(cycles) - sum(passes) > 0
    assert some["jobs"][-1]["count_full"] == 0
    assert between[2] == [9 * (lanes + 1) + lanes + 3] * 2
    assert between[3] == [lanes + 3] * 2
    assert between[4] == [40 * 2, 40 * lanes]
    # The bench offers the job in its cycle 1, so that it is taken in cycle 2.
    first = max(cycle for cycle in one["last_words"].values() if cycle is not None)
    assert first == 2 + side.feeder.latency + lanes
    assert one["jobs"][0]["count_busy"] == one["jobs"][0]["done_cycle"] - 3


MUTANTS = {
    # Addresses and the map.
    "sizes are one too large": (MapLane, "elaborate", "place[n] < size[n]", "place[n] <= size[n]"),
    "negative places are inside": (MapLane, "elaborate", "~place[n][-1] & ", ""),
    "neighbours before the map are read": (MapLane, "elaborate", "(first <= k) & ", ""),
    "neighbours behind the map are read": (MapLane, "elaborate", "(end > k)", "1"),
    "all neighbours are taken": (MapLane, "elaborate", "~skipped[k]", "1"),
    "idle lanes get something": (MapLane, "elaborate", "given.eq(takes)", "given.eq(1)"),
    "columns behind the last count": (ColumnLane, "elaborate", ' & (place["n"] < self.size_n)', ""),
    # Held places.
    "a fold is not replaced in time": (HeldPlaces, "elaborate", "full & (", "full & ~full & ("),
    "the last fold has lanes of the one before": (
        HeldPlaces,
        "elaborate",
        "lanes.eq(1)",
        "lanes.eq(lanes | 1)",
    ),
    "a fold keeps the job of before": (
        HeldPlaces,
        "elaborate",
        "set_with.eq(taken_with)",
        'set_with.eq(job["with"])',
    ),
    # Walks.
    "places are given back too soon": (Lockstep, "elaborate", '(last_fold | ~job["once"])', "1"),
    "a walk too few": (
        Lockstep,
        "elaborate",
        "last_walk.eq(repeats == 0)",
        "last_walk.eq(repeats <= 1)",
    ),
    # Banks.
    "the skew of a request is forgotten": (Buffer, "_asked", "self.request_skew", "0"),
    "the skew of a piece is forgotten": (Buffer, "_write", "self.write_skew", "0"),
    "pieces are not turned": (Buffer, "_write", "left.eq(-first)", "left.eq(0)"),
    "a piece is one too long": (Buffer, "_write", "~over[k]", "~over[max(0, k - 1)]"),
    "conflicts are not seen": (Buffer, "_blocks", "blocked.eq(differ", "blocked.eq(0 & differ"),
    "lanes that wait are forgotten": (
        Buffer,
        "_rounds",
        "queue.out_ready.eq(~more)",
        "queue.out_ready.eq(1)",
    ),
    "lanes are served twice": (Buffer, "_rounds", "Mux(again, left, reads)", "reads"),
    "what gives nothing waits": (Buffer, "_rounds", "gives & ~held", "reads & ~held"),
    "too many are on their way": (Buffer, "_read", "REQUESTS, self._spare", "REQUESTS, 0"),
    "a broadcast takes turns": (Buffer, "_blocks", " & ~Cat(same).any()", ""),
    # Beats.
    "words are not aligned": (BeatLane, "elaborate", "[self.first]", "[0]"),
    "the first of a beat is lost": (BeatLane, "elaborate", "word[0], begun[k])", "word[0], 0)"),
    "a beat begins with what was": (
        BeatLane,
        "elaborate",
        "Mux(number == 0, word[k], ",
        "Mux(0, word[k], ",
    ),
    "the end of a walk closes no beat": (
        ActivationFeeder,
        "elaborate",
        "lockstep.walk_ends | ",
        "",
    ),
    "queues have no room for what comes": (RoomQueue, "elaborate", "after < self.depth", "1"),
    "rows and columns are mixed": (
        WeightFeeder,
        "elaborate",
        "~buffer.given_tag[1]",
        "buffer.given_tag[1]",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FEEDERS)
@pytest.mark.parametrize("chip", list(CHIPS)[:2])
def test_what_mutants_fail_is_passed(chip: str, what: str, tmp_path: Path) -> None:
    side = feeding(CHIPS[chip], what)
    given = [*cases(side, 6, 1), *(slow_case(side, seed) for seed in range(2, 8))]
    assert wrong(given, side.play(given, tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(
    name: str, monkeypatch: pytest.MonkeyPatch, mutate: Any, tmp_path: Path
) -> None:
    """By its words or, where only speed changes, by its cycles."""
    owner, *change = MUTANTS[name]
    mutate(owner, *change, monkeypatch)
    what = (
        "weights" if owner in (ColumnLane, WeightFeeder) or "given back" in name else "activations"
    )
    try:
        # Long beats, and few lanes, whose places come soon.
        long = owner in (BeatLane, HeldPlaces)
        side = feeding(CHIPS[list(CHIPS)[0 if long else 1]], what)
        given = [*cases(side, 6, 1), *(slow_case(side, seed) for seed in range(2, 8))]
        results = side.play(given, tmp_path)
        if not wrong(given, results):
            test_every_cycle_is_accounted_for(what, tmp_path)
    except (SimulationError, AssertionError):
        return
    assert wrong(given, results)
