"""Factors of a model's terms, fitted to what was measured on a machine.

Each time is a sum of terms in seconds; the factors are those of least squares of the *relative*
error, none below 0 (Lawson and Hanson, *Solving Least Squares Problems*, 1974, chapter 23, here by
coordinate descent: there are six factors). A term that no measured product has keeps the factor 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nofm.kernels.errors import InputError
from nofm.simulator.processors import times
from nofm.simulator.processors.description import Calibration, Cpu, Gpu
from nofm.simulator.processors.prediction import Product, measured_seconds

SWEEPS = 20_000
SETTLED = 1e-12


def calibrate(processor: Cpu | Gpu, rows: Sequence[Mapping[str, Any]], source: str) -> Cpu | Gpu:
    """The processor with factors fitted to measured results.

    Args:
        processor: whatever its calibration was, it counts for nothing.
        rows: results as docs/kernels.md describes them.
        source: their file's name, which the calibration keeps.

    Raises:
        InputError: there are none.
    """
    if not rows:
        raise InputError("calibration needs measured results, and there are none")
    plain = processor.model_copy(update={"calibration": Calibration()})
    given = [Product.of(row) for row in rows]
    dense_seconds, sparse_seconds = zip(*map(measured_seconds, rows), strict=True)
    dense = _factors(
        [times.dense_time(plain, product).terms for product in given],
        dense_seconds,
    )
    sparse = _factors(
        [times.sparse_time(plain, product).terms for product in given],
        sparse_seconds,
    )
    found = Calibration(source=source, dense=dense, sparse=sparse)
    return processor.model_copy(update={"calibration": found})


def _factors(terms: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> dict[str, float]:
    names = list(dict.fromkeys(name for own in terms for name in own))
    matrix = np.array(
        [
            [own.get(name, 0.0) / taken for name in names]
            for own, taken in zip(terms, seconds, strict=True)
        ]
    )
    solved = _not_negative(matrix, np.ones(len(matrix)))
    return {name: float(f"{value:.4g}") for name, value in zip(names, solved, strict=True)}


def _not_negative(matrix: Any, wanted: Any) -> Any:
    """x >= 0 with the least |matrix x - wanted|."""
    scale = np.linalg.norm(matrix, axis=0)
    gram = matrix.T @ matrix / np.outer(scale, scale)
    target = matrix.T @ wanted / scale
    x = np.zeros(len(scale))
    for _ in range(SWEEPS):
        moved = 0.0
        for i in range(len(x)):
            new = max(0.0, x[i] + target[i] - gram[i] @ x)
            moved, x[i] = max(moved, abs(new - x[i])), new
        if moved < SETTLED:
            break
    return x / scale
