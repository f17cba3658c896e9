"""How fast many designs are evaluated on one core and on two, against one step at a time.

    python benchmarks/explore_speed.py

A layer-stage is one weight layer in one stage of one design, with the choice of its best mapping
among all candidates. Rates are the best of some repeats, by the clock and by the time that the
cores worked on them: where others use the machine, the second is nearer to what it can do. The
ratio is measured in this run, in turns. Designs are drawn with a fixed seed.
"""

from __future__ import annotations

import os

os.environ["NUMBA_NUM_THREADS"] = "1"

import resource
import time

import numpy as np

import nofm
from nofm.dataflow.accelerator import load
from nofm.dataflow.design_table import DesignTable
from nofm.dataflow.methods import METHODS
from nofm.kernels.pattern import Pattern
from nofm.simulator.batch import StepBatch
from nofm.workloads.resolve import resolve

DESIGNS = 4000
ALONE = 10
REPEATS = 5
STAGES = 3
SEED = 1


def designs(count: int) -> DesignTable:
    """Random variations of the paper's accelerator; no two are alike to the products."""
    draw = np.random.default_rng(SEED)
    kib = (512, 1024, 2048, 4096)
    columns = {
        "array.rows": draw.choice((8, 16, 32, 64), count),
        "array.columns": draw.choice((8, 16, 32, 64), count),
        "array.interleave": draw.choice((4, 8, 16), count),
        "buffers.activation_kib": draw.choice(kib, count),
        "buffers.weight_kib": draw.choice(kib, count),
        "buffers.output_kib": draw.choice(kib, count),
        "dram.bandwidth_gbps": draw.uniform(10.0, 60.0, count),
        "energy.dram_pj_per_byte": draw.uniform(50.0, 200.0, count),
        "wuve.lanes": draw.choice((16, 32, 64), count),
    }
    return DesignTable(load("sat-32x32"), columns, count)


def clocks() -> np.ndarray:
    """Now, by the clock and by the processor time of all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Measure and print."""
    print(f"Load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores.")
    trace = resolve("resnet50", 512)
    stages = len(trace.weight_layers) * STAGES
    steps = StepBatch(trace, METHODS["bdwp"], Pattern(2, 8))
    table = designs(DESIGNS)
    machines = [table.accelerator(i) for i in range(ALONE)]

    def in_a_batch(threads: int) -> np.ndarray:
        # Columns only: checks and records are made anew.
        anew = DesignTable(table.base, table.columns, len(table))
        start = clocks()
        result = steps.evaluate_table(anew, threads)
        took = clocks() - start
        assert not result.errors.astype(bool).any()
        found.append(result)
        return took / DESIGNS

    def one_by_one() -> np.ndarray:
        start = clocks()
        totals.extend(
            nofm.simulate(trace, method="bdwp", pattern="2:8", hardware=machine).total
            for machine in machines
        )
        return (clocks() - start) / ALONE

    found: list = []
    totals: list = []
    in_a_batch(1)
    one_by_one()
    rounds = [(in_a_batch(1), in_a_batch(2), one_by_one()) for _ in range(REPEATS)]
    one, two, alone = np.min(rounds, axis=0)
    for result in found[1:]:
        assert result.energy_pj.tobytes() == found[0].energy_pj.tobytes()
    for i, total in enumerate(totals[:ALONE]):
        assert (found[0].cycles[i], found[0].dram_bytes[i]) == (
            total["cycles"],
            total["dram_bytes"],
        )

    print(f"ResNet-50 BDWP 2:8, {DESIGNS:,} designs of {stages} layer-stages, best of {REPEATS}:")
    for cores, took in (("One core ", one), ("Two cores", two)):
        rate, work_rate = 1 / took[0], (1 if took is one else 2) / took[1]
        print(
            f"  {cores}: {rate:,.0f} designs and {rate * stages:,.0f} layer-stages a second; "
            f"by processor time {work_rate:,.0f} and {work_rate * stages:,.0f}."
        )
    for cores, took in (("one core", one), ("two cores", two)):
        print(
            f"  {alone[0] / took[0]:,.0f} times the rate of nofm.simulate on {cores}"
            f" ({1 / alone[0]:,.1f} steps a second)."
        )
    print(f"  By processor time {alone[1] / one[1]:,.0f} times on one core.")

    start = clocks()
    many = designs(1_000_000)
    many.records()
    took = clocks() - start
    print(f"Records of {len(many):,} designs: {took[1]:.1f} s of processor time.")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"Peak memory of all this: {peak_kib / 1024:,.0f} MiB.")


if __name__ == "__main__":
    main()
