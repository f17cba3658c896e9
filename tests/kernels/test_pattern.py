"""Patterns: what covers what."""

from __future__ import annotations

from itertools import combinations

import pytest

from nofm.kernels.pattern import DENSE, Pattern

SMALL = [Pattern(n, m) for m in range(1, 5) for n in range(1, m + 1)]


def placements(pattern: Pattern, length: int) -> list[frozenset[int]]:
    """Every way to keep N of each group of a run, as the places that are kept."""
    found = [frozenset[int]()]
    for first in range(0, length, pattern.m):
        group = range(first, min(first + pattern.m, length))
        ways = list(combinations(group, min(pattern.n, len(group))))
        found = [kept | frozenset(way) for kept in found for way in ways]
    return found


@pytest.mark.parametrize("mine", SMALL, ids=str)
def test_what_is_covered(mine: Pattern) -> None:
    """By trying all placements, of runs that end inside groups, too."""
    for other in SMALL:
        every = all(
            len(kept & frozenset(range(first, first + mine.m))) <= mine.n
            for length in (mine.m * other.m, mine.m * other.m - 1)
            for kept in placements(other, length)
            for first in range(0, length, mine.m)
        )
        assert mine.covers(other) == every, (mine, other)


def test_dense_covers_everything() -> None:
    assert all(DENSE.covers(other) for other in (*SMALL, Pattern(7, 256)))
