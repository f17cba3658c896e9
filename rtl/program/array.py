"""What the array does with a job, knowing only the job's word and what its lanes get.

The inverse of `nofm.rtl.stce.streams`: operands are read back from the lanes, and added in the
order of `nofm.kernels.reference`: one product after the other, in ascending order of the reduction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.rtl.stce.geometry import Geometry

Lanes = list[list[int]]
Singles = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Shape:
    """Sizes of a job, from its fields.

    Attributes:
        outer, columns: folds.
        vectors: m. groups: of one outer fold's row in OS. kept: N. beats: of a group.
        sums, sums_last: V, and that of the last column fold.
        rows_last, columns_last: that the last of the folds use.
    """

    stationary: bool
    outer: int
    columns: int
    vectors: int
    groups: int
    kept: int
    beats: int
    sums: int
    sums_last: int
    rows_last: int
    columns_last: int

    @classmethod
    def of(cls, values: Mapping[str, int]) -> Shape:
        """The sizes that a job's fields say."""
        return cls(
            stationary=not values["output_stationary"],
            outer=values["outer_folds"] + 1,
            columns=values["column_folds"] + 1,
            vectors=values["vectors"] + 1,
            groups=values["units"] + 1,
            kept=values["passes"] + 1,
            beats=values["beats"] + 1,
            sums=values["sums"] + 1,
            sums_last=values["sums_last"] + 1,
            rows_last=values["rows_last"],
            columns_last=values["columns_last"],
        )

    def rows(self, fold: int, geometry: Geometry) -> int:
        """Rows that an outer fold uses."""
        return self.rows_last if fold == self.outer - 1 else geometry.rows

    def turns(self, fold: int, column: int) -> int:
        """Sums that a USPE of a column owns in a column fold (OS)."""
        if fold < self.columns - 1:
            return self.sums
        return self.sums_last - (column >= self.columns_last)

    def used(self, fold: int, geometry: Geometry) -> int:
        """Columns that a column fold uses (WS)."""
        return self.columns_last if fold == self.columns - 1 else geometry.columns


def needed(geometry: Geometry, values: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """Words of activations that every row gets, and of weights that every row (WS) or column (OS)
    gets."""
    shape = Shape.of(values)
    units = shape.vectors if shape.stationary else shape.groups
    folds = [
        sum(row < shape.rows(fold, geometry) for fold in range(shape.outer))
        for row in range(geometry.rows)
    ]
    activations = [count * shape.columns * units * shape.beats for count in folds]
    if shape.stationary:
        used = sum(shape.used(fold, geometry) for fold in range(shape.columns))
        return activations, [count * used * shape.kept for count in folds]
    turns = [
        sum(shape.turns(fold, column) for fold in range(shape.columns))
        for column in range(geometry.columns)
    ]
    return activations, [shape.outer * shape.groups * shape.kept * count for count in turns]


def compute(
    geometry: Geometry,
    values: Mapping[str, int],
    activations: Lanes,
    weights: Lanes,
    sums: Singles,
) -> tuple[Lanes, Singles]:
    """FP32 results of every column as bits, and what the accumulation buffer then holds.

    Args:
        activations, weights: words of every lane, as many as `needed`.
        sums: float32 [column folds, vectors, columns], where the job continues another.

    Raises:
        ValueError: the job continues another that left no such sums.
    """
    shape = Shape.of(values)
    by_row = [_elements(geometry, lane) for lane in activations]
    if shape.stationary:
        return _stationary(geometry, values, shape, by_row, weights, sums)
    return _moving(geometry, values, shape, by_row, weights), sums


def _stationary(
    geometry: Geometry,
    values: Mapping[str, int],
    shape: Shape,
    by_row: list[Any],
    weights: Lanes,
    sums: Singles,
) -> tuple[Lanes, Singles]:
    width = geometry.columns
    size = shape.columns, shape.vectors, width
    if not values["continues"]:
        sums = np.zeros(size, np.float32)
    elif sums.shape != size:
        raise ValueError(f"a job continues sums {list(size)}, and there are {list(sums.shape)}")
    sums = sums.copy()
    taken = [0] * geometry.rows
    group = geometry.port * shape.beats
    for fold in range(shape.outer):
        for row in range(shape.rows(fold, geometry)):
            # [column fold, vector, element of the group], the same group for all of them.
            count = shape.columns * shape.vectors
            held = by_row[row].reshape(-1, group)[fold * count : (fold + 1) * count]
            held = held.reshape(shape.columns, shape.vectors, group)
            for j in range(shape.columns):
                used = shape.used(j, geometry)
                words = weights[row][taken[row] : taken[row] + used * shape.kept]
                taken[row] += used * shape.kept
                # The right-most column's come first.
                kept = np.array(words, np.uint32).reshape(used, shape.kept)[::-1]
                _add(sums[j, :, :used], held[j][:, np.newaxis, :], kept, values["dense"])
    if values["continued"]:
        return [[] for _ in range(width)], sums
    lanes: Lanes = [[] for _ in range(width)]
    for j in range(shape.columns):
        for column in range(shape.used(j, geometry)):
            lanes[column] += sums[j, :, column].view(np.uint32).tolist()
    return lanes, np.zeros((0, 0, 0), np.float32)


def _moving(
    geometry: Geometry, values: Mapping[str, int], shape: Shape, by_row: list[Any], weights: Lanes
) -> Lanes:
    lanes: Lanes = [[] for _ in range(geometry.columns)]
    taken = [0] * geometry.columns
    group = geometry.port * shape.beats
    for fold in range(shape.outer):
        used = shape.rows(fold, geometry)
        for j in range(shape.columns):
            at = (fold * shape.columns + j) * shape.groups
            held = np.stack(
                [by_row[r].reshape(-1, group)[at : at + shape.groups] for r in range(used)]
            )
            for column in range(geometry.columns):
                turns = shape.turns(j, column)
                count = shape.groups * shape.kept * turns
                words = weights[column][taken[column] : taken[column] + count]
                taken[column] += count
                if turns == 0:
                    continue
                kept = np.array(words, np.uint32).reshape(shape.groups, shape.kept, turns)
                sums = np.zeros((used, turns), np.float32)
                for g in range(shape.groups):
                    _add(sums, held[:, g, np.newaxis, :], kept[g].T, values["dense"])
                # The bottom row's sums leave first.
                lanes[column] += sums[::-1].T.reshape(-1).view(np.uint32).tolist()
    return lanes


def _add(sums: Any, groups: Any, kept: Any, dense: int) -> None:
    """Add the products of one group, slot after slot.

    Args:
        sums: float32 [vectors, columns].
        groups: float32 [vectors, 1, elements].
        kept: uint32 [columns, N], values with indices above them.
    """
    value = (kept & 0xFFFF).astype(np.uint16).view(np.float16).astype(np.float32)
    index = (kept >> 16).astype(np.intp)
    with np.errstate(over="ignore", invalid="ignore"):
        for slot in range(kept.shape[1]):
            place = np.full(len(kept), slot) if dense else index[:, slot]
            sums += groups[:, 0, place] * value[:, slot]


def _elements(geometry: Geometry, lane: list[int]) -> Any:
    """float32: the elements of all words of a lane."""
    size = 2 * geometry.port
    data = b"".join(word.to_bytes(size, "little") for word in lane)
    return np.frombuffer(data, "<f2").astype(np.float32)
