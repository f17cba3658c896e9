"""The compressed N:M form: which elements of every group are kept, their values and places.

The rule is that of SORE, the pruner: the N largest by magnitude are kept; of equal ones the lower
index; NaN counts as larger than everything, -0 and +0 as equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Indices = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, eq=False)
class Compressed:
    """Dense matrices of `taps` runs of `length` rows and `n` columns, N kept of every M rows.

    Groups lie inside a run, so run t has the groups from t * pattern.groups(length). A ragged
    group at the end of a run may keep fewer than N; its other slots, the last ones, hold value 0
    and their own number as index.

    Attributes:
        values: float [..., groups, N, n], the kept elements.
        index: uint8 [..., groups, N, n], their places in the group, ascending along N.
        pattern, taps, length: how rows fall into groups.
    """

    values: Floats
    index: Indices
    pattern: Pattern
    taps: int
    length: int

    def __post_init__(self) -> None:
        groups = self.taps * self.pattern.groups(self.length)
        rule = f"[..., {groups}, {self.pattern.n}, n]"
        if self.values.ndim < 3 or self.values.shape[-3:-1] != (groups, self.pattern.n):
            raise InputError(f"compressed values must be {rule}, not {list(self.values.shape)}")
        if self.index.shape != self.values.shape or self.index.dtype != np.uint8:
            raise InputError(
                f"compressed index must be uint8 of the values' shape {list(self.values.shape)}, "
                f"not {self.index.dtype} {list(self.index.shape)}"
            )
        if np.any(self.index >= self.pattern.m) or np.any(
            self.index[..., 1:, :] <= self.index[..., :-1, :]
        ):
            raise InputError(
                f"compressed index must ascend within each group and stay below M = "
                f"{self.pattern.m}"
            )
        sizes, empty = self._group_sizes()[:, np.newaxis, np.newaxis], ~self.kept
        if np.any((self.index >= sizes)[..., self.kept, :]):
            raise InputError("compressed index must stay inside a ragged group")
        slots = np.arange(self.pattern.n)[:, np.newaxis]
        if np.any(self.values[..., empty, :] != 0) or np.any((self.index != slots)[..., empty, :]):
            raise InputError("slots that keep nothing must hold value 0 and their own number")

    @property
    def n(self) -> int:
        """Columns."""
        return int(self.values.shape[-1])

    @property
    def groups(self) -> int:
        """Groups over all taps."""
        return int(self.values.shape[-3])

    @property
    def kept(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """bool [groups, N]: slots that hold an element; False only in a ragged group."""
        return np.arange(self.pattern.n) < self._group_sizes()[:, np.newaxis]

    def _group_sizes(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int64 [groups]: elements in each group, kept or not."""
        first = self.pattern.m * np.arange(self.pattern.groups(self.length))
        return np.tile(np.minimum(self.pattern.m, self.length - first), self.taps)


def compress(dense: Floats, pattern: Pattern) -> Compressed:
    """Prune and compress along the second last axis.

    Args:
        dense: float [..., taps, length, n].
        pattern: N:M, groups along `length`; N = M keeps everything.

    Raises:
        InputError: `dense` is not floating point, lacks an axis, or one of its axes is empty.
    """
    if dense.ndim < 3 or 0 in dense.shape[-3:]:
        raise InputError(f"dense must be [..., taps, length, n], not {list(dense.shape)}")
    *lead, taps, length, n = dense.shape
    index = _kept_index(dense.reshape(-1, length, n), pattern)
    runs, per_run = index.shape[:2]
    padded = np.zeros((runs, per_run * pattern.m, n), dense.dtype)
    padded[:, :length] = dense.reshape(-1, length, n)
    values = np.take_along_axis(
        padded.reshape(runs, per_run, pattern.m, n), index.astype(np.intp), axis=2
    )
    shape = (*lead, taps * per_run, pattern.n, n)
    return Compressed(values.reshape(shape), index.reshape(shape), pattern, taps, length)


def decompress(compressed: Compressed) -> Floats:
    """The pruned matrices, float [..., taps, length, n], +0 where nothing was kept."""
    c = compressed
    lead, per_run = c.values.shape[:-3], c.pattern.groups(c.length)
    padded = np.zeros((*lead, c.groups, c.pattern.m, c.n), c.values.dtype)
    np.put_along_axis(padded, c.index.astype(np.intp), c.values, axis=-2)
    runs = padded.reshape(*lead, c.taps, per_run * c.pattern.m, c.n)
    return runs[..., : c.length, :]


def prune(dense: Floats, pattern: Pattern, axis: int) -> Floats:
    """A copy of `dense` with +0 in place of what SORE drops.

    Args:
        dense: float array of any shape.
        pattern: N:M.
        axis: along which groups lie; the whole axis is one run.

    Raises:
        InputError: `dense` is not floating point, has no such axis, or is empty.
    """
    if not -dense.ndim <= axis < dense.ndim or dense.size == 0:
        raise InputError(f"prune needs elements along axis {axis}, not shape {list(dense.shape)}")
    front = np.moveaxis(dense, axis, 0)
    flat = front.reshape(1, front.shape[0], -1)
    pruned = decompress(compress(flat, pattern)).reshape(front.shape)
    return np.ascontiguousarray(np.moveaxis(pruned, 0, axis))


def compressed_bits(pattern: Pattern, taps: int, length: int, n: int, value_bits: int) -> int:
    """Bits of the compressed form of [taps, length, n]: a value and an index each kept element."""
    return taps * pattern.kept(length) * n * (value_bits + pattern.index_bits)


def _kept_index(runs: Floats, pattern: Pattern) -> Indices:
    """uint8 [runs, groups, N, n]: kept places of `runs` [runs, length, n], ascending along N."""
    if not np.issubdtype(runs.dtype, np.floating) or runs.dtype.itemsize > 8:
        raise InputError(f"N:M pruning needs float16, float32 or float64, not {runs.dtype}")
    # Without their sign, bit patterns order like magnitudes, with every NaN above infinity.
    signed = np.dtype(f"i{runs.dtype.itemsize}")
    infinity = np.array(np.inf, runs.dtype).view(signed)
    bits = np.ascontiguousarray(runs).view(signed) & np.iinfo(signed).max
    magnitude = np.minimum(bits, infinity + signed.type(1))
    shape = (runs.shape[0], pattern.groups(runs.shape[1]), pattern.n, runs.shape[2])
    index = np.empty(shape, np.uint8)
    _select(magnitude, pattern.m, index)
    return index


@njit(cache=True)
def _select(magnitude: Any, m: int, index: Any) -> None:
    """Fill `index` [runs, groups, N, n] from `magnitude` [runs, length, n]: each new element is
    compared with the N kept so far, and replaces the smallest of them when it is larger."""
    runs, length, columns = magnitude.shape
    groups, n = index.shape[1], index.shape[2]
    best = np.empty(n, np.int64)
    place = np.empty(n, np.int64)
    for run in range(runs):
        for group in range(groups):
            first = group * m
            size = min(m, length - first)
            for column in range(columns):
                found = 0
                for i in range(size):
                    value = np.int64(magnitude[run, first + i, column])
                    if found == n and value <= best[n - 1]:
                        continue
                    if found < n:
                        found += 1
                    k = found - 1
                    while k > 0 and best[k - 1] < value:
                        best[k] = best[k - 1]
                        place[k] = place[k - 1]
                        k -= 1
                    best[k] = value
                    place[k] = i
                for k in range(found, n):
                    place[k] = k
                for k in range(1, n):
                    chosen = place[k]
                    i = k
                    while i > 0 and place[i - 1] > chosen:
                        place[i] = place[i - 1]
                        i -= 1
                    place[i] = chosen
                for k in range(n):
                    index[run, group, k, column] = place[k]
