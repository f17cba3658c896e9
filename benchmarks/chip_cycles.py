"""Cycles of whole jobs on a chip's RTL, next to those of the simulators of programs and of layers.

    python benchmarks/chip_cycles.py [CASES] [SEED] [ENTRY=VALUE ...]

Makes random stages of random layers for `sat-4x4`, or for it with other entries, simulates the
whole chip with Verilator, whose build takes minutes, and prints a table of errors: that of
docs/timing.md is of 16 cases of seed 3. Below it stand the seconds that each of them took.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from nofm.chip_cycles import measure, programs_at, random_cases
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
    at = programs_at(cases)
    # What is compiled is compiled before anything is timed.
    cases[0].simulated(accelerator, at)
    start = time.perf_counter()
    simulated = [case.simulated(accelerator, at)["cycles"] for case in cases]
    simulator = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        sources = modules(Chip(accelerator))
        start = time.perf_counter()
        found = measure(cases, accelerator, sources, folder=Path(folder), optimized=False)
        rtl = time.perf_counter() - start
    print("| job | latency, beats | steps | RTL | simulator | error | of layers | error |")
    print("|---|---|---|---|---|---|---|---|")
    for case, cycles, counters in zip(cases, simulated, found, strict=True):
        took = counters["cycles"]
        memory = f"{case.memory.latency}, {case.memory.beats}/{case.memory.cycles}"
        errors = [f"{100 * (x / took - 1):+.2f} %" for x in (cycles, case.layer_cycles)]
        print(
            f"| {case} | {memory} | {case.costs['steps'].sum()} | {took} | {cycles} "
            f"| {errors[0]} | {case.layer_cycles} | {errors[1]} |"
        )
    print(f"{simulator:.2f} s in the simulator, {rtl:.0f} s in Verilator with its build")


if __name__ == "__main__":
    main()
