"""Predicted beside measured: speedups of every product, and how far the prediction is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nofm.kernels.errors import InputError
from nofm.simulator.processors import times
from nofm.simulator.processors.description import Cpu, Gpu
from nofm.simulator.processors.prediction import Product, measured_seconds

QUANTITIES = ("speedup", "dense_seconds", "sparse_seconds")


def compare(processor: Cpu | Gpu, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Predict what was measured: the document `nofm.compare/1`.

    Args:
        processor: what to predict for.
        rows: results as docs/kernels.md describes them.

    Raises:
        InputError: there are none.
    """
    if not rows:
        raise InputError("there are no measured results to compare with")
    results = [_predicted(processor, row) for row in rows]
    return {
        "schema": "nofm.compare/1",
        "processor": processor.name,
        "calibrated_with": processor.calibration.source,
        "errors": {name: errors(results, name) for name in QUANTITIES},
        "results": results,
    }


def _predicted(processor: Cpu | Gpu, row: Mapping[str, Any]) -> dict[str, Any]:
    product = Product.of(row)
    dense_seconds, sparse_seconds = measured_seconds(row)
    dense, sparse = times.dense_time(processor, product), times.sparse_time(processor, product)
    names = ("m", "k", "n", "pattern", "mask_sharing", "dtype", "layout", "threads", "kernel")
    return {name: row.get(name) for name in names} | {
        "dense_seconds": dense_seconds,
        "sparse_seconds": sparse_seconds,
        "speedup": dense_seconds / sparse_seconds,
        "predicted_dense_seconds": dense.seconds,
        "predicted_sparse_seconds": sparse.seconds,
        "predicted_speedup": dense.seconds / sparse.seconds,
        "dense_bound": dense.bound,
        "sparse_bound": sparse.bound,
    }


def errors(results: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Mean absolute and largest error of `predicted_<name>`, as fractions of what was measured,
    and the rank correlation (Spearman's; null where nothing differs)."""
    measured = np.array([row[name] for row in results])
    predicted = np.array([row[f"predicted_{name}"] for row in results])
    off = np.abs(predicted / measured - 1)
    return {
        "mean_absolute": float(off.mean()),
        "largest": float(off.max()),
        "rank_correlation": _rank_correlation(measured, predicted),
    }


def _rank_correlation(left: Any, right: Any) -> float | None:
    first, second = _ranks(left), _ranks(right)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Any) -> Any:
    """Ranks, where equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
