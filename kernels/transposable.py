"""Transposable masks: N:M along the rows and along the columns at once.

In every M x M tile at most N elements of each row and of each column are kept; in a full tile the
exact mask keeps exactly N. The exact mask is the one of largest sum of magnitudes among those that
keep the most: an assignment problem, solved by augmenting paths of largest gain (successive longest
paths, which keep the sum optimal at every number of kept elements). Hubara et al., *Accelerated
Sparse Neural Training: A Provable and Efficient Method to Find N:M Transposable Masks*, NeurIPS
2021, give it as a flow problem (section 4), and the greedy mask, whose sum is at least half of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def transposable_mask(
    matrices: Floats, pattern: Pattern, exact: bool = True
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [count, rows, columns], 1 where a matrix is kept.

    Args:
        matrices: float [count, rows, columns]; NaN and infinity count as the largest magnitude.
        pattern: N:M; tiles at the edges are smaller.
        exact: the mask of largest sum; else the greedy one, which may keep fewer.

    Raises:
        InputError: `matrices` has another number of dimensions.
    """
    if matrices.ndim != 3:
        raise InputError(f"matrices must be [count, rows, columns], not {list(matrices.shape)}")
    magnitude = np.abs(matrices.astype(np.float64))
    finite = np.isfinite(magnitude)
    largest = magnitude.max(initial=1.0, where=finite)
    magnitude[~finite] = 2 * largest
    mask = np.zeros(matrices.shape, np.uint8)
    (_exact if exact else _greedy)(magnitude, pattern.n, pattern.m, mask)
    return mask


@njit(cache=True, nogil=True)
def _greedy(magnitude: Any, n: int, m: int, mask: Any) -> None:
    """Take elements from the largest down, while their row and column have room."""
    count, rows, columns = magnitude.shape
    for matrix in range(count):
        for top in range(0, rows, m):
            for left in range(0, columns, m):
                tile = magnitude[matrix, top : top + m, left : left + m]
                kept = mask[matrix, top : top + m, left : left + m]
                height, width = tile.shape
                in_row, in_column = np.zeros(height, np.int64), np.zeros(width, np.int64)
                # A stable sort takes the lower place of equal magnitudes first.
                for place in np.argsort(-tile.copy().reshape(-1), kind="mergesort"):
                    row, column = place // width, place % width
                    if in_row[row] < n and in_column[column] < n:
                        kept[row, column] = 1
                        in_row[row] += 1
                        in_column[column] += 1


@njit(cache=True, nogil=True)
def _exact(magnitude: Any, n: int, m: int, mask: Any) -> None:
    """Add one element after the other, each by the augmenting path of largest gain."""
    count, rows, columns = magnitude.shape
    gain = np.empty(2 * m, np.float64)
    before = np.empty(2 * m, np.int64)
    for matrix in range(count):
        for top in range(0, rows, m):
            for left in range(0, columns, m):
                tile = magnitude[matrix, top : top + m, left : left + m]
                kept = mask[matrix, top : top + m, left : left + m]
                height, width = tile.shape
                in_row, in_column = np.zeros(height, np.int64), np.zeros(width, np.int64)
                # Less than this is rounding, and must not make a cycle of a path.
                least = 1e-12 * tile.max()
                while _augment(tile, kept, n, in_row, in_column, gain, before, least):
                    pass


@njit(cache=True, nogil=True)
def _augment(
    tile: Any,
    kept: Any,
    n: int,
    in_row: Any,
    in_column: Any,
    gain: Any,
    before: Any,
    least: float,
) -> bool:
    """Flip the path of largest gain from a row with room to a column with room.

    Rows are nodes 0 to height - 1 and columns follow. A path goes from a row to a column over an
    element that is not kept, which it adds, and back over one that is, which it drops.
    """
    height, width = tile.shape
    for row in range(height):
        gain[row] = 0.0 if in_row[row] < n else -np.inf
        before[row] = -1
    for column in range(width):
        gain[height + column] = -np.inf
        before[height + column] = -1
    changed = True
    while changed:
        changed = False
        for row in range(height):
            for column in range(width):
                node = height + column
                if kept[row, column] == 0:
                    if gain[row] + tile[row, column] > gain[node] + least:
                        gain[node] = gain[row] + tile[row, column]
                        before[node] = row
                        changed = True
                elif gain[node] - tile[row, column] > gain[row] + least:
                    gain[row] = gain[node] - tile[row, column]
                    before[row] = node
                    changed = True
    best = -1
    for column in range(width):
        node = height + column
        if in_column[column] < n and gain[node] > -np.inf and (best < 0 or gain[node] > gain[best]):
            best = node
    if best < 0:
        return False
    in_column[best - height] += 1
    node = best
    while before[node] >= 0:
        last = before[node]
        if node >= height:
            kept[last, node - height] = 1
        else:
            kept[node, last - height] = 0
        node = last
    in_row[node] += 1
    return True
