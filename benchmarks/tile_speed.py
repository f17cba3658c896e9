"""How fast the loop of a tile runs alone, by the elements that a block keeps.

    python benchmarks/tile_speed.py

Panel and results stay in the first cache, nothing is packed or unpacked: what is missing to the
peak of multiply-adds is the tile's own cost. Each speed is the best of some runs, by this thread's
time.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit

from nofm.kernels import peaks
from nofm.kernels.lanes import LANES
from nofm.kernels.spmm import VECTORS
from nofm.kernels.spmm_tiles import _tile

MASKS, TURNS, RUNS = 64, 40, 30
BLOCK = 96
"""Rows of a panel, of any tile: even the widest panel is 24 KiB with AVX."""


@njit
def tiles(
    height: Any, vectors: Any, lanes: Any, panel: Any, rows: Any, values: Any, out: Any, turns: Any
) -> None:
    count = rows.shape[1]
    for _ in range(turns):
        for mask in range(rows.shape[0]):
            _tile(
                height,
                vectors,
                lanes,
                panel.ctypes.data,
                rows.ctypes.data + 4 * mask * count,
                values.ctypes.data + 4 * mask * count * len(height),
                count,
                out.ctypes.data,
                1,
            )


def aligned(values: Any) -> Any:
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def gflops(height: int, kept: int) -> float:
    vectors = VECTORS[height]
    wide = vectors * LANES
    rng = np.random.default_rng(1)
    rows = np.sort(rng.random((MASKS, 2 * BLOCK)).argsort(axis=1)[:, :kept] % BLOCK, axis=1)
    panel = aligned(rng.standard_normal((BLOCK, wide)).astype(np.float32))
    values = aligned(1e-3 * rng.standard_normal((MASKS, kept, height)).astype(np.float32))
    places, out = aligned(rows.astype(np.int32)), aligned(np.zeros((height, wide), np.float32))
    shape = ((0,) * height, (0,) * vectors, (0,) * LANES)
    best = np.inf
    for _ in range(RUNS):
        start = time.thread_time()
        tiles(*shape, panel, places, values, out, TURNS)
        best = min(best, time.thread_time() - start)
    return 2 * TURNS * MASKS * kept * height * wide / best / 1e9


def main() -> None:
    peak = peaks.peak_flops() / 1e9
    print(f"multiply-adds in registers: {peak:.1f} GFLOP/s")
    for height in VECTORS:
        gflops(height, 8)
        found = {kept: gflops(height, kept) for kept in (128, 64, 32, 16)}
        text = ", ".join(
            f"{kept} kept {speed:.1f} ({100 * speed / peak:.0f} %)" for kept, speed in found.items()
        )
        print(f"{height} rows a tile: {text}")


if __name__ == "__main__":
    main()
