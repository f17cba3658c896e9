"""How fast steps and mappings are evaluated on one core, against one simulated step at a time.

    python benchmarks/step_speed.py

Prints rates, and the ratio of the batch path to `nofm.simulate` called design by design, both
measured in this run. Designs are drawn with a fixed seed.
"""

from __future__ import annotations

import os

os.environ["NUMBA_NUM_THREADS"] = "1"

import random
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

import nofm
from nofm.dataflow.accelerator import HARDWARE, Accelerator, hardware_record, load
from nofm.dataflow.mapping import candidates
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import product_records, products
from nofm.kernels.pattern import Pattern
from nofm.simulator.timing import evaluate
from nofm.workloads.resolve import resolve

DESIGNS = 2000
SEED = 1


def designs(count: int) -> list[Accelerator]:
    """Random variations of the paper's accelerator."""
    draw = random.Random(SEED)
    base = load("sat-32x32")
    return [
        base.with_values(
            **{
                "name": f"design {i}",
                "array.rows": draw.choice((8, 16, 32, 64)),
                "array.columns": draw.choice((8, 16, 32, 64)),
                "array.interleave": draw.choice((4, 8, 16)),
                "buffers.activation_kib": draw.choice((512, 1024, 2048, 4096)),
                "buffers.weight_kib": draw.choice((512, 1024, 2048, 4096)),
                "buffers.output_kib": draw.choice((512, 1024, 2048, 4096)),
                "dram.bandwidth_gbps": draw.choice((12.8, 25.6, 51.2)),
            }
        )
        for i in range(count)
    ]


def seconds(function: object, *arguments: object, repeats: int = 3, **named: object) -> float:
    """Best of a few runs, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function(*arguments, **named)  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Measure and print."""
    print(f"Load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; one is used.")
    machines = designs(DESIGNS)
    trace = resolve("resnet50", 512)

    batch = seconds(nofm.sweep_hardware, trace, machines, method="bdwp", pattern="2:8") / DESIGNS
    few = machines[:20]

    def one_by_one() -> None:
        for machine in few:
            nofm.simulate(trace, method="bdwp", pattern="2:8", hardware=machine)

    single = seconds(one_by_one) / len(few)
    print(
        f"ResNet-50 BDWP 2:8 step, schedule search included: {1 / batch:,.0f} a second in a batch,"
    )
    print(f"  {single / batch:,.0f} times the rate of nofm.simulate ({1 / single:,.1f} a second).")

    method, pattern = METHODS["bdwp"], Pattern(2, 8)
    items = [
        product
        for layer in trace.weight_layers
        for stage in ("ff", "bp", "wu")
        for product in products(layer, stage, method, pattern)
    ]
    hardware = np.array([hardware_record(machine) for machine in machines[:100]], HARDWARE)
    records = product_records(items)
    mappings, _ = candidates(hardware, records)
    took = seconds(evaluate, hardware, records, mappings)
    print(
        f"Closed-form evaluation: {len(mappings) / took:,.0f} layer x stage x hardware candidates "
        f"a second ({len(mappings):,} in {took:.2f} s)."
    )

    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"Peak memory of all this: {peak_kib / 1024:.0f} MiB.")
    assert "torch" not in sys.modules
    command = [sys.executable, "-m", "nofm.cli", "simulate", "resnet18", "--batch", "512", "--json"]
    took = seconds(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    print(f"nofm simulate resnet18, compiled code cached: {took:.2f} s.")
    with tempfile.TemporaryDirectory() as empty:
        start = time.perf_counter()
        environment = os.environ | {"NUMBA_CACHE_DIR": empty}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        print(f"The same with nothing cached: {time.perf_counter() - start:.2f} s.")


if __name__ == "__main__":
    main()
