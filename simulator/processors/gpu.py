"""Products on a GPU with sparse tensor cores: tiles, waves, memories and the launch.

A multiprocessor works on one tile of results at a time. Tiles that the multiprocessors cannot share
evenly leave some idle in the last *wave*, and tiles at the edge compute more than is needed: both
are why small and ragged products gain little from 2:4. Compute and the two memories overlap, so
the slowest of the three counts; the launch is added. Of the tiles that the library has, the one
with the least time is taken, for dense and for 2:4 on their own.

What 2:4 halves is the multiplications and the bytes of weights, to which it adds 2 bits of metadata
for each kept element. Activations and results stay. Other patterns have no sparse tensor core:
where at least 16 outputs share a mask, they are a dense product M/N times shorter (`kernels.gpu`);
where fewer do, no multiplication is saved and only the weights' bytes are.
"""

from __future__ import annotations

from math import ceil

from nofm.kernels.pattern import Pattern
from nofm.simulator.processors.description import Gpu, GpuTile
from nofm.simulator.processors.prediction import Product

TENSOR_CORE = Pattern(2, 4)
SMALLEST_SHARED = 16
"""Outputs that must share a mask for a product of chosen activations."""


def _terms(
    gpu: Gpu, product: Product, tile: GpuTile, length: int, rate: float, weight_bytes: float
) -> dict[str, float]:
    p, clock = product, gpu.clock_mhz * 1e6
    tiles = ceil(p.m / tile.m) * ceil(p.n / tile.n)
    waves = ceil(tiles / gpu.multiprocessors)
    steps = ceil(length / tile.k)
    cycles = steps * tile.m * tile.n * tile.k / rate + gpu.prologue_cycles
    # A row of tiles shares its activations and a column its weights: what leaves the second cache
    # is read again when it is needed again.
    activations, results = p.m * p.k * p.itemsize, p.m * p.n * p.itemsize
    fits = activations + weight_bytes <= gpu.l2_kib * 1024
    again = 1 if fits else ceil(min(ceil(p.m / tile.m), ceil(p.n / tile.n)) / 8)
    memory = again * (activations + weight_bytes) + results
    # Tiles of a cluster, neighbours along m, read their weights together.
    second = ceil(p.n / tile.n) * activations + ceil(p.m / tile.m / gpu.cluster) * weight_bytes
    parts = {
        "multiply": waves * cycles / clock,
        "memory": memory / (gpu.memory_gbps * 1e9),
        "second_cache": second / (gpu.l2_gbps * 1e9),
    }
    slowest = max(parts, key=lambda name: parts[name])
    return {slowest: parts[slowest], "launch": gpu.launch_us * 1e-6}


def _quickest(
    gpu: Gpu, product: Product, length: int, rate: float, weight_bytes: float
) -> dict[str, float]:
    choices = (_terms(gpu, product, tile, length, rate, weight_bytes) for tile in gpu.tiles)
    return min(choices, key=lambda terms: sum(terms.values()))


def dense_terms(gpu: Gpu, product: Product) -> dict[str, float]:
    """Seconds of the dense product in the quickest tile: what bounds it, and the launch."""
    p = product
    return _quickest(gpu, p, p.k, gpu.fma_per_cycle, p.k * p.n * p.itemsize)


def sparse_terms(gpu: Gpu, product: Product) -> dict[str, float]:
    """Seconds of the N:M product in the quickest tile: what bounds it, and the launch."""
    p = product
    values = p.kept * p.n * p.itemsize
    if p.pattern == TENSOR_CORE:
        rate = gpu.fma_per_cycle * gpu.sparse_factor
        return _quickest(gpu, p, p.k, rate, values + p.kept * p.n / 4)
    masks = ceil(p.n / p.sharing)
    length = p.kept if p.sharing >= SMALLEST_SHARED else p.k
    return _quickest(gpu, p, length, gpu.fma_per_cycle, values + p.kept * masks)
