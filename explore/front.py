"""The Pareto front, exactly, and kept up to date while designs come in.

A design is in the front where no other is at least as good in every objective and better in one.
Equal designs do not beat each other: all of them stay. NaN is never in the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

Values = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Front:
    """The front of all designs that were added so far, whatever their order.

    Args:
        maximise: for each objective, whether more is better.

    Attributes:
        designs: int64 [n], numbers of the front's designs, in no order.
    """

    def __init__(self, maximise: Sequence[bool]) -> None:
        self._signs = np.where(np.array(maximise, np.bool_), -1.0, 1.0)
        self.designs: Numbers = np.empty(0, np.int64)
        self._values: Values = np.empty((0, len(self._signs)))

    def __len__(self) -> int:
        return len(self.designs)

    def add(self, designs: Numbers, values: Values) -> None:
        """Take in designs.

        Args:
            designs: int64 [n].
            values: float64 [n, objectives], as they are (not negated).
        """
        values = values * self._signs
        alone = pareto(values)
        designs, values = designs[alone], values[alone]
        new = ~beaten(values, self._values)
        designs, values = designs[new], values[new]
        if not len(designs):
            return
        old = ~beaten(self._values, values)
        self.designs = np.concatenate([self.designs[old], designs])
        self._values = np.concatenate([self._values[old], values])


def pareto(values: Values) -> Mask:
    """bool [n]: which rows of float64 [n, d] no other row beats; less is better."""
    kept = np.zeros(len(values), np.bool_)
    known = np.flatnonzero(~np.isnan(values).any(axis=1))
    order = known[np.lexsort(values[known].T[::-1])]
    ordered = np.ascontiguousarray(values[order])
    kept[order] = _pareto_of_two(ordered) if values.shape[1] <= 2 else _unbeaten(ordered)
    return kept


def beaten(values: Values, by: Values) -> Mask:
    """bool [n]: which rows of float64 [n, d] some row of a front, float64 [m, d], beats."""
    if values.shape[1] > 2:
        return np.asarray(_beaten(np.ascontiguousarray(values), np.ascontiguousarray(by)))
    # In a front of two objectives the second falls where the first rises: of the rows that are not
    # greater in the first, the last one is the least in the second.
    order = np.lexsort(by.T[::-1])
    x, y = by[order, 0], by[order, -1]
    last = np.searchsorted(x, values[:, 0], side="right") - 1
    at = np.maximum(last, 0)
    found: Mask = np.zeros(len(values), np.bool_)
    if len(by):
        found = (last >= 0) & (y[at] <= values[:, -1])
        found &= (x[at] < values[:, 0]) | (y[at] < values[:, -1])
    return found


def _pareto_of_two(ordered: Values) -> Mask:
    """bool [n]: which rows of [n, 1 or 2] in lexicographic order are unbeaten."""
    x, y = ordered[:, 0], ordered[:, -1]
    if not len(x):
        return np.zeros(0, np.bool_)
    first = np.concatenate([[True], x[1:] != x[:-1]])
    lowest = y[first]  # at each x
    earlier = np.concatenate([[np.inf], np.minimum.accumulate(lowest)[:-1]])
    group = np.cumsum(first) - 1
    # Nothing at a smaller x is as low; the first x has nothing before it, even where y is infinite.
    unbeaten: Mask = (y == lowest[group]) & ((y < earlier[group]) | (group == 0))
    return unbeaten


@njit(cache=True)
def _beats(left: Values, right: Values) -> bool:
    better = False
    for k in range(len(left)):
        if left[k] > right[k]:
            return False
        if left[k] < right[k]:
            better = True
    return better


@njit(cache=True)
def _unbeaten(ordered: Values) -> Mask:
    """Which rows in lexicographic order are unbeaten: a row can only be beaten by one before it,
    and then by one that is unbeaten itself."""
    kept = np.zeros(len(ordered), np.bool_)
    front = np.empty(len(ordered), np.int64)
    size = 0
    for i in range(len(ordered)):
        lost = False
        for place in range(size):
            if _beats(ordered[front[place]], ordered[i]):
                lost = True
                break
        if not lost:
            front[size] = i
            size += 1
            kept[i] = True
    return kept


@njit(cache=True)
def _beaten(values: Values, by: Values) -> Mask:
    found = np.zeros(len(values), np.bool_)
    for i in range(len(values)):
        for j in range(len(by)):
            if _beats(by[j], values[i]):
                found[i] = True
                break
    return found
