"""Cycles of whole jobs on a chip's RTL, next to the simulator's and to those of its timeline.

    python benchmarks/chip_cycles.py [CASES] [SEED] [ENTRY=VALUE ...]

Makes random stages of random layers for `sat-4x4`, or for it with other entries, simulates the
whole chip with Verilator, whose build takes minutes, and prints a table of errors. That of
docs/timing.md is of the seeds 3, from which the constants of the timeline were found, and 4, from
which they were not.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from nofm.chip_cycles import Costs, measure, predicted, random_cases
from nofm.dataflow.accelerator import load
from nofm.rtl.chip.chip import Chip
from nofm.rtl.hierarchy import modules


def main() -> None:
    """Measure and print."""
    numbers = [int(text) for text in sys.argv[1:] if "=" not in text]
    count, seed = [*numbers, *(16, 3)[len(numbers) :]]
    entries = dict(text.split("=", 1) for text in sys.argv[1:] if "=" in text)
    accelerator = load("sat-4x4").with_values(**{k: json.loads(v) for k, v in entries.items()})
    cases = random_cases(seed, accelerator, count)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(cases, accelerator, modules(Chip(accelerator)), folder=Path(folder))
    print("| job | latency, beats | steps | RTL | simulator | error | timeline | error |")
    print("|---|---|---|---|---|---|---|---|")
    for case, counters in zip(cases, found, strict=True):
        took, timeline = counters["cycles"], predicted(case, accelerator, Costs())
        memory = f"{case.memory.latency}, {case.memory.beats}/{case.memory.cycles}"
        errors = [f"{100 * (x / took - 1):+.1f} %" for x in (case.cycles, timeline)]
        print(
            f"| {case} | {memory} | {case.costs['steps'].sum()} | {took} | {case.cycles} "
            f"| {errors[0]} | {timeline:.0f} | {errors[1]} |"
        )


if __name__ == "__main__":
    main()
