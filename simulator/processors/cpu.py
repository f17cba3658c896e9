"""Products on a CPU: instructions that its ports can take, and bytes that its memories can bring.

The N:M kernel (`kernels.spmm`; docs/kernels.md) multiplies tiles of `rows` outputs that share a
mask by `vectors` of samples. For each kept element a tile loads its vectors of activations and its
`rows` weights, for rows x vectors multiply-adds. The terms are *added*: what overlaps is
a matter of calibration, whose factors are least squares of the relative error (`calibration`).
"""

from __future__ import annotations

from math import ceil

from nofm.simulator.processors.description import Cpu
from nofm.simulator.processors.prediction import Product

BRANCH_CYCLES = 16
"""Of a branch that was not foreseen, about, on any core of these days."""

HALF_WIDENING = 1
"""Instructions that widen a vector, or a broadcast weight, of halves."""


def sparse_terms(cpu: Cpu, product: Product) -> dict[str, float]:
    """Seconds of the N:M product: the ports of the tile loop, the loop's beginnings and ends,
    packing activations, streaming weights, writing results, and the call."""
    p, tile = product, cpu.tile(product.sharing)
    vectors = tile.vectors if p.m > cpu.lanes else 1
    blocks = ceil(p.k * 4 * vectors * cpu.lanes / (cpu.panel_kib * 1024))
    wide = vectors * cpu.lanes
    panels = ceil(p.m / wide)
    tiles = ceil(p.n / p.sharing) * (p.sharing // tile.rows)
    fmas, loads = tile.rows * vectors, vectors + ceil(tile.rows / cpu.weights_per_load)
    instructions = fmas + loads + 2  # the place, and the loop
    if p.itemsize == 2:
        instructions += HALF_WIDENING * loads
    cycles = max(
        fmas / cpu.fma_per_cycle,
        (loads + 0.5) / cpu.loads_per_cycle,
        instructions / cpu.issue_per_cycle,
    )
    clock = cpu.clock_mhz * 1e6 * p.threads
    masks = ceil(p.n / p.sharing)
    weight_bytes = p.kept * (p.n * p.itemsize + 4 * masks)
    return {
        "tiles": panels * tiles * p.kept * cycles / clock,
        # Of every block of the reduction a tile's loop is left by a branch that is not foreseen,
        # and its results are added to those before.
        "starts": blocks * panels * tiles * BRANCH_CYCLES / clock,
        "sums": blocks * panels * tiles * 2 * fmas / cpu.loads_per_cycle / clock,
        "packing": p.m * p.k * (p.itemsize + 4) / (cpu.l2_gbps * 1e9 * p.threads),
        "weights": weight_bytes / (cpu.memory_gbps * 1e9 * p.threads),
        "results": 4 * p.m * p.n / (cpu.memory_gbps * 1e9 * p.threads),
        "call": cpu.overhead_us * 1e-6,
    }


def dense_terms(cpu: Cpu, product: Product) -> dict[str, float]:
    """Seconds of the dense product in a BLAS: multiply-adds, packing both operands, results, and
    the call."""
    p = product
    rate = cpu.clock_mhz * 1e6 * cpu.fma_per_cycle * cpu.lanes * p.threads
    samples = cpu.lanes * ceil(p.m / cpu.lanes)
    return {
        "multiply": samples * p.k * p.n / rate,
        "packing": 8 * (p.m * p.k + p.k * p.n) / (cpu.l2_gbps * 1e9 * p.threads),
        "weights": 4 * p.k * p.n / (cpu.memory_gbps * 1e9 * p.threads),
        "results": 4 * p.m * p.n / (cpu.memory_gbps * 1e9 * p.threads),
        "call": cpu.overhead_us * 1e-6,
    }
