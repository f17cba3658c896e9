"""The Pareto front equals the definition, in any order and in any pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.explore.front import Front, Values, pareto


def naive(values: Values) -> list[bool]:
    """By the definition: every row against every other one."""
    found = []
    for row in values:
        beaten = any((o <= row).all() and (o < row).any() for o in values)
        found.append(not beaten and not np.isnan(row).any())
    return found


def clouds(objectives: int, seed: int) -> Values:
    """Points with ties, equal points, NaN and infinities."""
    random = np.random.default_rng(seed)
    count = int(random.integers(0, 120))
    values = random.integers(0, int(random.choice([3, 10, 1000])), (count, objectives)) * 1.0
    for special in (np.nan, np.inf, -np.inf):
        values[random.random(values.shape) < random.choice([0, 0.05])] = special
    return values


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(25))
def test_equals_the_definition(objectives: int, seed: int) -> None:
    values = clouds(objectives, seed)
    assert pareto(values).tolist() == naive(values)


@given(
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(st.integers(0, 120), max_size=6),
)
def test_pieces_and_directions(
    objectives: int, seed: int, maximise: list[bool], cuts: list[int]
) -> None:
    values = clouds(objectives, seed)
    signs = np.where(maximise[:objectives], -1, 1)
    wanted = np.flatnonzero(naive(values * signs)) + 1000
    order = np.random.default_rng(seed).permutation(len(values))
    front = Front(maximise[:objectives])
    for piece in np.split(order, sorted(min(cut, len(order)) for cut in cuts)):
        front.add(piece + 1000, values[piece])
    assert sorted(front.designs.tolist()) == wanted.tolist()
    assert len(front) == len(wanted)


def test_equal_designs_stay_and_nan_never_is() -> None:
    front = Front([False, True])
    nan = np.nan
    front.add(np.arange(5), np.array([[1, 1], [1, 1], [nan, 9], [0, nan], [2, 1.0]]))
    assert sorted(front.designs) == [0, 1]
    front.add(np.array([7]), np.array([[1.0, 1.0]]))
    assert sorted(front.designs) == [0, 1, 7]
    front.add(np.array([8]), np.array([[1.0, 2.0]]))
    assert front.designs.tolist() == [8]


def test_infinities() -> None:
    inf = np.inf
    assert pareto(np.array([[1, inf], [2, inf], [1, inf]])).tolist() == [True, False, True]
    assert pareto(np.array([[-inf, inf], [inf, -inf], [0, 0]])).tolist() == [True] * 3
