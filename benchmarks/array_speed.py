"""How fast the cycle-stepped array runs on one core, against the same loops interpreted by Python.

    python benchmarks/array_speed.py

Prints USPE-cycles (rows x columns x cycles) a CPU second, and the ratio to the interpreted loops,
both measured in this run. Every run's cycles are compared with the closed form, and its values with
the golden product. Operands are drawn with a fixed seed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, DataflowName, hardware_record, load
from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.simulator import array, stepping
from nofm.simulator.timing import array_cycles

SEED = 1
PATTERNS = (Pattern(4, 4), Pattern(2, 4), Pattern(2, 8), Pattern(1, 8))
# A 3x3 convolution of 128 to 128 channels on a 28x28 map, and 1/98 of its output rows.
LAYER, PIECE = (784, 9, 128, 128), (8, 9, 128, 128)
INTERLEAVE = 8


def operands(shape: tuple[int, int, int, int], pattern: Pattern) -> tuple[Any, Compressed]:
    """Normal activations [1, m, taps, length] and compressed weights [.., n]."""
    m, taps, length, n = shape
    rng = np.random.default_rng(SEED)
    activations = rng.standard_normal((1, m, taps, length)).astype(np.float16)
    weights = rng.standard_normal((1, taps, length, n)).astype(np.float16)
    return activations, compress(weights, pattern)


def seconds(job: Callable[[], array.ArrayRun], repeats: int) -> tuple[float, array.ArrayRun]:
    """Least CPU time of a few runs, and what the last gave."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        result = job()
        best = min(best, time.process_time() - start)
    return best, result


def interpreted() -> ModuleType:
    """The same loops as plain Python on NumPy arrays."""
    module = ModuleType("interpreted_stepping")
    source = Path(stepping.__file__).read_text(encoding="utf-8")
    plain = "def njit(**_): return lambda function: function\n"
    exec(source.replace("from numba import njit\n", plain), module.__dict__)
    return module


def main() -> None:
    """Measure and print."""
    print(f"Load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; one is used.")
    machine = load("sat-32x32")
    hardware = hardware_record(machine)
    print(f"{machine.name}, [{LAYER[0]}, {LAYER[1]} x {LAYER[2]}] by [.., {LAYER[3]}]:")
    slowest = float("inf")
    for number, dataflow in enumerate(DATAFLOWS):
        for pattern in PATTERNS:
            activations, weights = operands(LAYER, pattern)

            def job(
                dataflow: DataflowName = dataflow,
                pattern: Pattern = pattern,
                activations: Any = activations,
                weights: Compressed = weights,
            ) -> array.ArrayRun:
                return array.run(machine, pattern, dataflow, INTERLEAVE, activations, weights)

            took, result = seconds(job, 4)
            closed = array_cycles(hardware, number, INTERLEAVE, pattern.n, pattern.m, 1, *LAYER)
            assert closed.tolist() == [result.cycles, *result.parts.values()]
            assert np.array_equal(result.values, matmul(activations, weights))
            rate = result.uspe_cycles / took
            slowest = min(slowest, rate)
            name = f"dense in groups of {pattern.m}" if pattern.dense else str(pattern)
            print(
                f"  {dataflow} {name:20} {result.cycles:7,} cycles  "
                f"{rate / 1e6:4.0f} million USPE-cycles a second"
            )
    print(f"Slowest: {slowest / 1e6:.0f} million USPE-cycles a second.")

    for dataflow in DATAFLOWS:
        activations, weights = operands(PIECE, Pattern(2, 8))
        rates = []
        for module, repeats in ((stepping, 4), (interpreted(), 1)):
            with patch.object(array, "stepping", module):
                took, result = seconds(
                    lambda d=dataflow, a=activations, w=weights: array.run(  # type: ignore[misc]
                        machine, Pattern(2, 8), d, INTERLEAVE, a, w
                    ),
                    repeats,
                )
            rates.append(result.uspe_cycles / took)
        print(
            f"{dataflow} 2:8, {PIECE[0]} rows: {rates[0] / rates[1]:,.0f} times the interpreted "
            f"loops ({rates[1] / 1e6:.2f} million a second)."
        )


if __name__ == "__main__":
    main()
