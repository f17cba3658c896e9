"""Streams of a job: operands in the order in which the array uses them, results as they leave."""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.kernels.compressed import Compressed
from nofm.kernels.reference import Halves, Singles
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import Folds, StceJob

Lane = list[int]


def activation_lanes(geometry: Geometry, job: StceJob, activations: Halves) -> list[Lane]:
    """Beats of `port` FP16 numbers for every array row, ragged groups filled with +0.

    A row without a group or a vector in a fold gets no beat for it.

    Args:
        activations: float16 [count, m, taps, length].
    """
    g, folds, m_group = geometry, job.folds(geometry), job.pattern.m
    beats = -(-m_group // g.port)
    count, m, taps, length = activations.shape
    per_run = job.pattern.groups(length)
    runs = np.zeros((count, m, taps, per_run * m_group), np.uint16)
    runs[..., :length] = activations.view(np.uint16)
    groups = np.zeros((count, m, job.groups, beats * g.port), np.uint16)
    groups[..., :m_group] = runs.reshape(count, m, job.groups, m_group)
    words = _join(groups.reshape(count, m, job.groups, beats, g.port), 16)
    lanes: list[Lane] = []
    for r in range(g.rows):
        lane: Lane = []
        for p in range(count):
            for outer in range(folds.outer):
                at = outer * g.rows + r
                if job.dataflow == "ws" and at < job.groups:
                    lane += words[p, :, at].ravel().tolist() * folds.columns
                elif job.dataflow == "os" and at < m:
                    lane += words[p, at].ravel().tolist() * folds.columns
        lanes.append(lane)
    return lanes


def row_weight_lanes(geometry: Geometry, job: StceJob, weights: Compressed) -> list[Lane]:
    """WS: kept weights for every array row, the right-most column's of a fold first; an index
    above the FP16 number. Empty in OS.

    Args:
        weights: compressed float16 [count, groups, N, n].
    """
    lanes: list[Lane] = [[] for _ in range(geometry.rows)]
    if job.dataflow == "os":
        return lanes
    words, folds = _weight_words(weights), job.folds(geometry)
    for r, lane in enumerate(lanes):
        for p in range(job.count):
            for group in range(r, job.groups, geometry.rows):
                for j in range(folds.columns):
                    first = j * geometry.columns
                    used = words[p, group, :, first : first + geometry.columns]
                    lane += used[:, ::-1].T.ravel().tolist()
    return lanes


def column_weight_lanes(geometry: Geometry, job: StceJob, weights: Compressed) -> list[Lane]:
    """OS: kept weights for every array column, the interleaved sums' in turn. Empty in WS.

    Args:
        weights: compressed float16 [count, groups, N, n].
    """
    lanes: list[Lane] = [[] for _ in range(geometry.columns)]
    if job.dataflow == "ws":
        return lanes
    words, folds = _weight_words(weights), job.folds(geometry)
    for c, lane in enumerate(lanes):
        for p in range(job.count):
            one: Lane = []
            for j in range(folds.columns):
                first = j * geometry.columns * folds.sums
                last = min(job.n, first + geometry.columns * folds.sums)
                one += words[p, :, :, first + c : last : geometry.columns].ravel().tolist()
            lane += one * folds.outer
    return lanes


def result_lanes(geometry: Geometry, job: StceJob, values: Singles) -> list[Lane]:
    """FP32 results as every array column gives them; NaN is the canonical one.

    Args:
        values: float32 [count, m, n].
    """
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    folds = job.folds(geometry)
    return [
        bits[tuple(_order(geometry, job, folds, c).T)].tolist() for c in range(geometry.columns)
    ]


def results(geometry: Geometry, job: StceJob, lanes: list[Lane]) -> Singles:
    """The inverse of `result_lanes`: float32 [count, m, n]; NaN where a lane is too short."""
    folds = job.folds(geometry)
    bits = np.full((job.count, job.m, job.n), 0x7FC00000, np.uint32)
    for c, lane in enumerate(lanes):
        order = _order(geometry, job, folds, c)[: len(lane)]
        bits[tuple(order.T)] = np.array(lane[: len(order)], np.uint32)
    return bits.view(np.float32)


def _order(
    geometry: Geometry, job: StceJob, folds: Folds, column: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64 [results, 3]: product, row and column of each result of an array column, in turn."""
    order: list[tuple[int, int, int]] = []
    rows, columns = geometry.rows, geometry.columns
    for p in range(job.count):
        if job.dataflow == "ws":
            order += [(p, i, n) for n in range(column, job.n, columns) for i in range(job.m)]
            continue
        for outer in range(folds.outer):
            # The bottom row's sums leave first.
            used = range(min(job.m, (outer + 1) * rows) - 1, outer * rows - 1, -1)
            order += [(p, i, n) for n in range(column, job.n, columns) for i in used]
    return np.array(order, np.int64).reshape(-1, 3)


def _weight_words(weights: Compressed) -> Any:
    """uint32 [count, groups, N, n]: FP16 numbers with their indices; dense ones come without."""
    index = weights.unshared().index.astype(np.uint32)
    if weights.pattern.dense:
        index[:] = 0
    return weights.values.view(np.uint16).astype(np.uint32) | (index << 16)


def _join(words: Any, width: int) -> Any:
    """Object array of the last axis's words packed into one integer each, the first lowest."""
    joined = np.zeros(words.shape[:-1], object)
    for k in range(words.shape[-1]):
        joined |= words[..., k].astype(object) << width * k
    return joined
