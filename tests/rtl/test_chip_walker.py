"""Walkers give the passes of `WalkShape.passes`, one a cycle; those are what nested loops give."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Out

from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import pack, split
from nofm.rtl.hierarchy import Unit, modules, place
from nofm.rtl.program.walk import Loop, Nest, WalkShape
from nofm.rtl.tools.cocotb_runner import SimulationError, replay

SHAPE = WalkShape(4, {"at": 9, "x": 5})
TAG_BITS = 3


class Walked(Unit):
    """A walker that says `done` when a job's last pass is taken."""

    def __init__(self, shape: WalkShape) -> None:
        self.walker = Walker(shape, TAG_BITS)
        self.module_name = "nofm_chip_walked"
        super().__init__({**self.walker.signature.members, "done": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        walker = self.walker
        place(m, platform, "walker", walker)
        passed = split(walker.pass_fields, walker.pass_data)
        m.d.comb += [
            walker.job_valid.eq(self.job_valid),
            self.job_ready.eq(walker.job_ready),
            walker.job_data.eq(self.job_data),
            self.pass_valid.eq(walker.pass_valid),
            walker.pass_ready.eq(self.pass_ready),
            self.pass_data.eq(walker.pass_data),
            self.done.eq(walker.pass_valid & self.pass_ready & passed["last"]),
        ]
        return m


def random_nest(rng: np.random.Generator, shape: WalkShape) -> Nest:
    """Any nest of a few passes, and any part of it."""
    counts = [int(rng.integers(1, 5)) for _ in range(int(rng.integers(1, shape.loops + 1)))]
    whole = int(np.prod(counts))
    first = int(rng.integers(0, whole))
    start = {place: int(rng.integers(-99, 99)) for place in shape.places}
    loops = tuple(
        Loop(count, {place: int(rng.integers(-50, 50)) for place in shape.places})
        for count in counts
    )
    total = int(rng.integers(1, whole - first + 1)) if rng.random() < 0.5 else None
    return Nest(start, loops, first, total)


def by_loops(shape: WalkShape, nest: Nest) -> list[dict[str, int]]:
    """The passes as the nest says them: multiplied out, the outermost loop slowest."""
    counts = [range(loop.count) for loop in reversed(nest.loops)]
    found = [
        {
            place: (nest.start[place] + sum(loop.strides[place] * at for loop, at in done))
            % (1 << bits)
            for place, bits in shape.places.items()
        }
        for done in (
            list(zip(nest.loops, reversed(each), strict=True))
            for each in itertools.product(*counts)
        )
    ]
    return found[nest.first : nest.first + nest.passes]


def case(name: str, shape: WalkShape, nests: list[Nest], **options: Any) -> Case:
    walker = Walker(shape, TAG_BITS)
    jobs, passes = [], []
    for number, nest in enumerate(nests):
        tag = {"tag": number % (1 << TAG_BITS)}
        jobs.append(pack(walker.job_fields, shape.encode("", nest) | tag))
        found = by_loops(shape, nest)
        for at, places in enumerate(found):
            last = {"last": int(at == len(found) - 1)}
            passes.append(pack(walker.pass_fields, {**places, **last, **tag}))
    return Case(
        name=name,
        inputs={"job": [jobs]},
        outputs={"pass": [passes]},
        jobs=len(nests),
        limit=100 + 20 * len(passes),
        **options,
    )


def nests(count: int, seed: int, shape: WalkShape = SHAPE) -> list[Nest]:
    rng = np.random.default_rng(seed)
    return [random_nest(rng, shape) for _ in range(count)]


def cases() -> list[Case]:
    return [
        case("steady", SHAPE, nests(30, 1)),
        case("backpressure", SHAPE, nests(30, 2), backpressure={"pass": "random:0.5"}, seed=1),
        case("idle", SHAPE, nests(20, 3), idle={"job": "random:0.1"}, seed=2),
        case(
            "both",
            SHAPE,
            nests(20, 4),
            idle={"job": "bursts:2:9"},
            backpressure={"pass": "bursts:3:5"},
        ),
        case("reset", SHAPE, nests(20, 5), reset_at=150),
    ]


def play(sources: dict[str, str], top: str, given: list[Case], folder: Path) -> list[Any]:
    results: list[Any] = replay(sources, top, given, folder=folder, tool="icarus").results["cases"]
    return results


def test_passes_are_those_of_nested_loops() -> None:
    for nest in nests(200, 7):
        values = SHAPE.encode("", nest)
        assert list(SHAPE.passes("", values)) == by_loops(SHAPE, nest)


def test_walks_with_idle_jobs_and_backpressure(tmp_path: Path) -> None:
    top = Walked(SHAPE)
    given = cases()
    for each, found in zip(
        given, play(modules(top), top.module_name, given, tmp_path), strict=True
    ):
        assert found["bit_exact"], (each.name, found["error"], found["differences"])
        if each.name == "steady":
            # No cycle without a pass, from the third one after the first job is taken.
            passes = np.cumsum([nest.passes for nest in nests(30, 1)])
            done = [job["done_cycle"] for job in found["jobs"]]
            assert (np.array(done) - passes).tolist() == [done[0] - passes[0]] * len(done)


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [WalkShape(1, {"at": 4}), WalkShape(2, {"at": 12}), WalkShape(6, {"a": 3, "b": 8})]
)
def test_other_shapes(shape: WalkShape, tmp_path: Path) -> None:
    top = Walked(shape)
    given = [case("steady", shape, nests(20, 1, shape))]
    (found,) = play(modules(top), top.module_name, given, tmp_path)
    assert found["bit_exact"], (found["error"], found["differences"])


MUTANTS = {
    "the outermost loop goes on first": ("elaborate", "_chosen(loop, moves)", "moves[-1]"),
    "a walk begins where the one before ended": (
        "elaborate",
        "Mux(sets, 0, made",
        "Mux(0, 0, made",
    ),
    "outer loops begin again": ("_count", "over[: i + 1]", "over[i]"),
    "a pass too few": ("_count", "last.eq(total == 1)", "last.eq(total <= 2)"),
    "begun loops are forgotten": ("_count", 'given[f"left_{i}"] == 0', 'given[f"count_{i}"] == 0'),
    "a step for the first pass": ("_count", "makes & ~first", "makes"),
    "passes are lost": ("elaborate", "~self.pass_valid | self.pass_ready", "1"),
}
QUICK = ("begun loops are forgotten",)
"""Those that every run of the tests tries; `make test-slow` tries all."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MUTANTS]
)
def test_a_mutant_is_caught(
    name: str, monkeypatch: pytest.MonkeyPatch, mutate: Any, tmp_path: Path
) -> None:
    mutate(Walker, *MUTANTS[name], monkeypatch)
    top = Walked(SHAPE)
    try:
        found = play(modules(top), top.module_name, cases(), tmp_path)
    except SimulationError:
        return
    assert not all(each["bit_exact"] for each in found)
