"""Products of activations and N:M weights by the NEON kernel, on whatever runs it.

The weights are those of `kernels.spmm.prepare`, in tiles that fit 32 vector registers; the order of
additions is that of `kernels.spmm`, and so are its bound and its bits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

from nofm.kernels import spmm
from nofm.kernels.arm.emulate import Field
from nofm.kernels.compressed import Compressed
from nofm.kernels.spmm import Floats, Prepared, Singles

KERNEL = "C with NEON intrinsics, 128-bit vectors"

LANES = 4
"""Singles of a vector."""

VECTORS = {8: 2, 4: 4, 2: 8, 1: 8}
"""Vectors of the widest tile by its rows, as the kernel's list of instances has them."""


class Runner(Protocol):
    """What runs compiled functions: `emulate.Emulator`, `native.Native`."""

    def call(self, function: str, fields: Mapping[str, Field], written: Collection[str]) -> int:
        """As `emulate.Emulator.call`."""


def prepare(weights: Compressed) -> Prepared:
    """As `kernels.spmm.prepare`, with tiles of up to eight rows."""
    return spmm.prepare(weights, VECTORS, LANES)


def matmul(
    runner: Runner,
    a: Floats,
    weights: Prepared,
    *,
    layout: str = "rows",
    samples: tuple[int, int] | None = None,
    out: Singles | None = None,
) -> Singles:
    """Activations times N:M weights.

    Args:
        runner: what runs the kernel.
        a: float32 or float16, [m, k] by rows, or [k, m] by columns.
        weights: prepared for this kernel, or for `kernels.spmm.matmul`.
        layout: "rows" or "columns", as in `kernels.spmm.matmul`.
        samples: the first one to compute, and the first one not to; all when None.
        out: contiguous float32, where to; made, and 0 where nothing is computed, when None.

    Returns:
        float32 [m, n] by rows, or [n, m] by columns.

    Raises:
        InputError: an array does not fit.
    """
    spmm.check_activations(a, weights.k, layout)
    by_rows = layout == "rows"
    m = a.shape[int(not by_rows)]
    if out is None:
        out = np.zeros((m, weights.n) if by_rows else (weights.n, m), np.float32)
    values: Any = weights.values
    if a.dtype != values.dtype:
        a, values = a.astype(np.float32), values.astype(np.float32)
    first, last = samples or (0, m)
    # The struct `job` of spmm.c, field by field.
    fields: dict[str, Field] = {
        "a": np.ascontiguousarray(a),
        "values": values,
        "places": weights.rows,
        "edges": weights.edges,
        "kept": weights.kept,
        "room": np.zeros(0, np.float32),
        "out": out,
        "m": m,
        "n": weights.n,
        "k": weights.k,
        "blocks": len(weights.edges) - 1,
        "masks": weights.masks,
        "tiles": weights.tiles,
        "tile_rows": weights.tile_rows,
        "by_rows": int(by_rows),
        "halves": int(values.dtype == np.float16),
        "first": first,
        "last": last,
    }
    fields["room"] = np.empty(runner.call("nofm_spmm_room", fields, ()), np.float32)
    runner.call("nofm_spmm", fields, ("room", "out"))
    return out
