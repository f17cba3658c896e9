"""Which elements of every group are kept, for whole tensors at the speed of memory.

The N largest by magnitude are; of equal ones the lower index; NaN counts as larger than everything,
-0 and +0 as equal. Every element of a group gets its
rank by comparing it with the others, `LANES` groups side by side, so that the compiler makes vector
code of it; nothing is sorted and nothing branches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from nofm.kernels.pattern import Pattern
from nofm.kernels.threads import side_by_side

Bits = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]

LANES = 64
"""Groups that are ranked side by side."""

ELEMENTS_A_THREAD = 1 << 18
"""Fewer elements than this are not worth a thread of their own."""


def keep(bits: Bits, infinity: int, pattern: Pattern, threads: int = 1) -> Bits:
    """A copy of `bits` with 0 in place of what is dropped.

    Args:
        bits: floating-point numbers seen as signed integers of their size, [outer, length, inner],
            contiguous; groups lie along `length`, each of the outer * inner runs by itself.
        infinity: the bits of the format's infinity.
        pattern: N:M.
        threads: at most so many are used.
    """
    out = np.empty_like(bits)
    _run(_keep, bits, infinity, pattern, (out,), threads)
    return out


def mask(bits: Bits, infinity: int, pattern: Pattern, threads: int = 1) -> Any:
    """uint8, 1 where `bits` is kept and 0 where it is dropped; arguments as those of `keep`."""
    out = np.empty(bits.shape, np.uint8)
    _run(_mask, bits, infinity, pattern, (out,), threads)
    return out


def compress(bits: Bits, infinity: int, pattern: Pattern, threads: int = 1) -> tuple[Bits, Any]:
    """What is kept and where: `bits` and uint8 [outer, groups, N, inner], places ascending.

    Slots of a ragged group that keep nothing hold 0 and their own number. Arguments as of `keep`.
    """
    outer, length, inner = bits.shape
    shape = (outer, pattern.groups(length), pattern.n, inner)
    kept, index = np.empty(shape, bits.dtype), np.empty(shape, np.uint8)
    _run(_compress, bits, infinity, pattern, (kept, index), threads)
    return kept, index


def _run(
    kernel: Any,
    bits: Bits,
    infinity: int,
    pattern: Pattern,
    outs: tuple[Any, ...],
    threads: int,
) -> None:
    outer, length, inner = bits.shape
    columns = outer * pattern.groups(length) * inner
    parts = max(1, min(threads, bits.size // ELEMENTS_A_THREAD))
    flat = (bits.reshape(-1), *(out.reshape(-1) for out in outs))

    def part(nth: int) -> None:
        edges = columns * nth // parts, columns * (nth + 1) // parts
        kernel(*flat, bits.dtype.type(infinity), pattern.n, pattern.m, length, inner, *edges)

    side_by_side(part, parts)


@njit(cache=True, nogil=True)
def _gather(
    bits: Any, column: Any, lanes: Any, m: Any, length: Any, inner: Any, group: Any, size: Any
) -> None:
    """Fill `group` [m, LANES] with the groups from `column` on, and `size` with theirs."""
    groups = (length + m - 1) // m
    run, nth, place = column // (groups * inner), column // inner % groups, column % inner
    if place + lanes <= inner:
        first, full = (run * length + nth * m) * inner + place, min(m, length - nth * m)
        for i in range(full):
            row = bits[first + i * inner : first + i * inner + lanes]
            for lane in range(lanes):
                group[i, lane] = row[lane]
        size[:] = full
        return
    for lane in range(lanes):
        first, full = (run * length + nth * m) * inner + place, min(m, length - nth * m)
        for i in range(full):
            group[i, lane] = bits[np.uintp(first + i * inner)]
        size[lane] = full
        place += 1
        if place == inner:
            place, nth = 0, nth + 1
            if nth == groups:
                nth, run = 0, run + 1


@njit(cache=True, nogil=True)
def _scatter(
    out: Any, column: Any, lanes: Any, m: Any, length: Any, inner: Any, group: Any
) -> None:
    """Put the groups of `group` [m, LANES] where `_gather` took them from."""
    groups = (length + m - 1) // m
    run, nth, place = column // (groups * inner), column // inner % groups, column % inner
    if place + lanes <= inner:
        first = (run * length + nth * m) * inner + place
        for i in range(min(m, length - nth * m)):
            row = out[first + i * inner : first + i * inner + lanes]
            for lane in range(lanes):
                row[lane] = group[i, lane]
        return
    for lane in range(lanes):
        first = (run * length + nth * m) * inner + place
        for i in range(min(m, length - nth * m)):
            out[np.uintp(first + i * inner)] = group[i, lane]
        place += 1
        if place == inner:
            place, nth = 0, nth + 1
            if nth == groups:
                nth, run = 0, run + 1


@njit(cache=True, nogil=True)
def _rank(group: Any, size: Any, infinity: Any, magnitude: Any, rank: Any) -> None:
    """Fill `rank` [m, LANES]: how many elements of its group go before each one."""
    m, kind = group.shape[0], group.dtype.type
    largest, positive = kind(infinity + kind(1)), kind(~(kind(1) << (8 * group.itemsize - 1)))
    one, zero, absent = kind(1), kind(0), kind(-1)
    for i in range(m):
        for lane in range(LANES):
            # Without their sign, bit patterns order like magnitudes, with every NaN on top.
            value = min(kind(group[i, lane] & positive), largest)
            magnitude[i, lane] = value if i < size[lane] else absent
    rank[:] = zero
    for i in range(1, m):
        for j in range(i):
            for lane in range(LANES):
                before = one if magnitude[j, lane] >= magnitude[i, lane] else zero
                rank[i, lane] += before
                rank[j, lane] += one - before


@njit(cache=True, nogil=True)
def _keep(
    bits: Any,
    out: Any,
    infinity: Any,
    n: Any,
    m: Any,
    length: Any,
    inner: Any,
    first: Any,
    last: Any,
) -> None:
    size = np.empty(LANES, np.int64)
    group = np.zeros((m, LANES), bits.dtype)
    magnitude, rank = np.empty_like(group), np.empty_like(group)
    every, none = bits.dtype.type(-1), bits.dtype.type(0)
    for column in range(first, last, LANES):
        lanes = min(LANES, last - column)
        _gather(bits, column, lanes, m, length, inner, group, size)
        _rank(group, size, infinity, magnitude, rank)
        for i in range(m):
            for lane in range(LANES):
                group[i, lane] &= every if rank[i, lane] < n else none
        _scatter(out, column, lanes, m, length, inner, group)


@njit(cache=True, nogil=True)
def _mask(
    bits: Any,
    out: Any,
    infinity: Any,
    n: Any,
    m: Any,
    length: Any,
    inner: Any,
    first: Any,
    last: Any,
) -> None:
    size = np.empty(LANES, np.int64)
    group = np.zeros((m, LANES), bits.dtype)
    magnitude, rank = np.empty_like(group), np.empty_like(group)
    kept = np.empty((m, LANES), np.uint8)
    for column in range(first, last, LANES):
        lanes = min(LANES, last - column)
        _gather(bits, column, lanes, m, length, inner, group, size)
        _rank(group, size, infinity, magnitude, rank)
        for i in range(m):
            for lane in range(LANES):
                kept[i, lane] = rank[i, lane] < n
        _scatter(out, column, lanes, m, length, inner, kept)


@njit(cache=True, nogil=True)
def _compress(
    bits: Any,
    kept: Any,
    index: Any,
    infinity: Any,
    n: Any,
    m: Any,
    length: Any,
    inner: Any,
    first: Any,
    last: Any,
) -> None:
    size = np.empty(LANES, np.int64)
    group = np.zeros((m, LANES), bits.dtype)
    magnitude, rank = np.empty_like(group), np.empty_like(group)
    values, places = np.empty((n, LANES), bits.dtype), np.empty((n, LANES), np.uint8)
    one, zero = bits.dtype.type(1), bits.dtype.type(0)
    before = np.empty(LANES, bits.dtype)
    for column in range(first, last, LANES):
        lanes = min(LANES, last - column)
        _gather(bits, column, lanes, m, length, inner, group, size)
        _rank(group, size, infinity, magnitude, rank)
        before[:] = zero
        for slot in range(n):
            for lane in range(LANES):
                values[slot, lane] = zero
                places[slot, lane] = slot
        for i in range(m):
            # The i-th element is in one of the slots up to i, if it is kept.
            for slot in range(min(i + 1, n)):
                place, number = np.uint8(i), bits.dtype.type(slot)
                for lane in range(LANES):
                    here = (rank[i, lane] < n) & (i < size[lane]) & (before[lane] == number)
                    values[slot, lane] = group[i, lane] if here else values[slot, lane]
                    places[slot, lane] = place if here else places[slot, lane]
            for lane in range(LANES):
                before[lane] += one if (rank[i, lane] < n) & (i < size[lane]) else zero
        _scatter(kept, column, lanes, n, groups_length(n, m, length), inner, values)
        _scatter(index, column, lanes, n, groups_length(n, m, length), inner, places)


@njit(cache=True, nogil=True)
def groups_length(n: Any, m: Any, length: Any) -> Any:
    """Slots of a run: a group has N of them, the ragged one too."""
    return (length + m - 1) // m * n
