"""How fast the array's RTL is simulated, next to the cycle-stepped model on the same products.

    python benchmarks/rtl_speed.py [--large]

Prints cycles a CPU second by size of the array, and the ratio. RTL is run as `nofm verify` runs it:
a cocotb bench feeds every stream and takes every result. A rate is that of the cycles by which a
long product exceeds a short one, so that neither compiling nor starting counts. The model's rate is
that of the whole long product. Both give the same bits and the same cycles, or this fails. Operands
are drawn with a fixed seed. `--large` adds an array of 32 x 32, which takes minutes to compile.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, DataflowName, load
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.rtl.stce.cases import Matmul, case
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.tools.cocotb_runner import replay
from nofm.simulator import array
from nofm.verification import HIERARCHICAL, Array, Gemm, matmul_job

SEED = 1
PATTERN = Pattern(2, 8)
SIZES, LARGE = (4, 8, 16), 32
GOAL = 1000
"""Times that the model should be as fast as Verilator, at 16 x 16."""
MODEL_SECONDS = 2.0


class Tool(NamedTuple):
    """A simulator, the largest array that it is asked to run, and how long its products are: rows,
    and groups of each array row in the short and in the long one."""

    name: str
    largest: int
    m: int
    short: int
    long: int


TOOLS = (Tool("icarus", 8, 16, 1, 3), Tool("verilator", 32, 64, 8, 24))


def machine(size: int) -> Accelerator:
    """The small accelerator with an array of another size."""
    values = {"name": f"{size}x{size}", "array.rows": size, "array.columns": size}
    return load("sat-4x4").with_values(**values)


def product(accelerator: Accelerator, dataflow: DataflowName, m: int, groups: int) -> Matmul:
    """Work for the whole array: `groups` for each of its rows, four vectors of columns."""
    rows, columns = accelerator.array.rows, accelerator.array.columns
    gemm = Gemm(
        m=m,
        length=rows * PATTERN.m * groups,
        n=4 * columns,
        pattern=PATTERN,
        dataflow=dataflow,
        interleave=accelerator.array.interleave,
        seed=SEED,
    )
    return matmul_job(gemm, accelerator)


def rtl_run(built: Array, tool: str, job: Matmul) -> tuple[int, float]:
    """Cycles of a run, and CPU seconds of the simulator's process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = replay(
        built.sources,
        built.top.module_name,
        [case("product", Geometry.of(built.accelerator), [job])],
        folder=built.folder,
        tool=tool,
        hierarchical=HIERARCHICAL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (found,) = run.results["cases"]
    if not (found["bit_exact"] and found["counters_equal"]):
        raise SystemExit(f"{tool}: {found['differences']}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found["cycles"], seconds


def rtl_rate(built: Array, tool: str, short: Matmul, long: Matmul) -> float:
    """Cycles a CPU second by which a long product exceeds a short one."""
    (few, start), (many, end) = (rtl_run(built, tool, job) for job in (short, long))
    return (many - few) / (end - start)


def model_rate(accelerator: Accelerator, job: Matmul) -> float:
    """Cycles a CPU second of the cycle-stepped array, the best of several runs."""

    def step() -> array.ArrayRun:
        work = job.job
        return array.run(
            accelerator, work.pattern, work.dataflow, work.interleave, job.activations, job.weights
        )

    run = step()  # compiles
    if run.cycles != job.cycles or not np.array_equal(
        run.values, matmul(job.activations, job.weights)
    ):
        raise SystemExit(f"the model differs: {run.cycles} cycles, not {job.cycles}")
    best, spent = float("inf"), 0.0
    while spent < MODEL_SECONDS:
        start = time.process_time()
        step()
        took = time.process_time() - start
        best, spent = min(best, took), spent + took
    return run.cycles / best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true", help=f"also {LARGE} x {LARGE}")
    sizes = (*SIZES, LARGE) if parser.parse_args().large else SIZES
    print(f"Load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; one is used.")
    print(f"{PATTERN} products, cycles a CPU second:")
    print("  array  dataflow  simulator   cycles         RTL       model   ratio")
    goal = float("inf")
    with tempfile.TemporaryDirectory(prefix="nofm-") as folder:
        for size in sizes:
            accelerator = machine(size)
            built = Array(accelerator, Path(folder))
            built.emit()
            for tool in TOOLS:
                if size > tool.largest:
                    continue
                rtl_run(built, tool.name, product(accelerator, "ws", tool.m, 1))  # builds
                for dataflow in DATAFLOWS:
                    short, long = (
                        product(accelerator, dataflow, tool.m, groups)
                        for groups in (tool.short, tool.long)
                    )
                    rtl = rtl_rate(built, tool.name, short, long)
                    model = model_rate(accelerator, long)
                    print(
                        f"  {size:>2}x{size:<2}  {dataflow:8}  {tool.name:9}  {long.cycles:7,}  "
                        f"{rtl:10,.0f}  {model:10,.0f}  {model / rtl:6,.0f}",
                        flush=True,
                    )
                    if (size, tool.name) == (16, "verilator"):
                        goal = min(goal, model / rtl)
    reached = "reached" if goal >= GOAL else "not reached"
    print(f"At 16x16 the model is at least {goal:,.0f} times as fast as Verilator.")
    print(f"The goal, {GOAL:,} times, is {reached}.")


if __name__ == "__main__":
    main()
