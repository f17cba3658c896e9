"""Cycles of whole jobs: the simulator's, and what the chip's RTL takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nofm.chip_cycles import CHUNK_BEATS, array_jobs, random_cases, run_beats
from nofm.dataflow.accelerator import load
from nofm.simulator.timing import PARTS

SAT = load("sat-4x4")


def test_the_arrays_steps_are_the_simulators() -> None:
    """The parts of all steps sum to those of the simulator's record."""
    cases = random_cases(11, SAT, 30)
    assert sum(int(case.costs["steps"].sum()) for case in cases) > 150
    for case in cases:
        jobs = [
            cycles
            for product, cut in zip(case.products, case.cuts, strict=True)
            for cycles, _ in array_jobs(SAT, product, cut)
        ]
        assert len(jobs) == case.costs["steps"].sum()
        assert sum(jobs) == sum(int(case.costs[name].sum()) for name in PARTS)


def test_beats_of_runs() -> None:
    """As chunks that end at multiples of `CHUNK_BEATS` beats take them, one by one."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        halves = int(rng.choice([4, 8, 16]))
        start, run = int(rng.integers(0, 5000)), int(rng.integers(1, 1500))
        at, left, beats = start, run, 0
        while left:
            words = min(CHUNK_BEATS - at // halves % CHUNK_BEATS, -(-left // halves))
            granules = min(left, words * halves)
            beats += (at + granules - 1) // halves - at // halves + 1
            at, left = at + granules, left - granules
        assert run_beats(start, run, halves) == beats
