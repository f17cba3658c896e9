"""Transposable masks against every mask that there is, and their laws at any size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.transposable import transposable_mask


def best(tile, n: int) -> tuple[int, float]:
    """The most elements that a mask keeps, and the largest sum among those masks, by trying all."""
    rows = [row for row in itertools.product((0, 1), repeat=tile.shape[1]) if sum(row) <= n]
    masks = (np.array(rows_of) for rows_of in itertools.product(rows, repeat=tile.shape[0]))
    return max(
        (int(mask.sum()), float((mask * tile).sum()))
        for mask in masks
        if mask.sum(axis=0).max() <= n
    )


@settings(max_examples=30)
@given(st.data())
def test_exact_masks_are_the_best_of_all(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 4))
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    if data.draw(st.booleans()):
        tile = np.array(data.draw(st.lists(st.integers(0, 3), min_size=16, max_size=16)), float)
        tile = tile[: shape[0] * shape[1]].reshape(shape)
    else:
        tile = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).random(shape)
    pattern = Pattern(n, 4)
    mask = transposable_mask(-tile[np.newaxis], pattern)[0]
    assert max(*mask.sum(axis=0), *mask.sum(axis=1)) <= n
    kept, total = best(tile, n)
    assert mask.sum() == kept
    assert (mask * tile).sum() == pytest.approx(total, abs=1e-9)
    greedy = transposable_mask(tile[np.newaxis], pattern, exact=False)[0]
    assert max(*greedy.sum(axis=0), *greedy.sum(axis=1)) <= n
    assert (greedy * tile).sum() >= total / 2 - 1e-9


@pytest.mark.parametrize("pattern", ["2:4", "2:8", "1:8", "3:16", "5:5"])
@pytest.mark.parametrize("shape", [(2, 48, 64), (1, 37, 21), (3, 5, 80)])
def test_masks_are_sparse_along_both_axes(pattern: str, shape: tuple[int, ...]) -> None:
    parsed = Pattern.parse(pattern)
    values = np.random.default_rng(3).normal(size=shape)
    mask = transposable_mask(values, parsed)
    greedy = transposable_mask(values, parsed, exact=False)
    for matrix in (*mask, *greedy):
        for along in (matrix, matrix.T):
            for first in range(0, len(along), parsed.m):
                assert along[first : first + parsed.m].sum(axis=0).max() <= parsed.n
    full = [size // parsed.m * parsed.m for size in shape[1:]]
    inside = mask[:, : full[0], : full[1]]
    assert inside.sum() == inside.size * parsed.n / parsed.m  # exactly N in every full tile
    assert (mask * abs(values)).sum() >= (greedy * abs(values)).sum() - 1e-9


def test_numbers_that_are_not_finite_are_the_largest() -> None:
    tile = np.array([[1.0, 9.0, 2.0], [3.0, np.nan, 1.0], [np.inf, 1.0, 5.0]])
    mask = transposable_mask(tile[np.newaxis], Pattern(1, 3))[0]
    assert (mask[1, 1], mask[2, 0], mask[0, 2]) == (1, 1, 1)


def test_what_is_no_matrix() -> None:
    with pytest.raises(InputError) as caught:
        transposable_mask(np.zeros((4, 4)), Pattern(2, 4))
    assert str(caught.value) == "matrices must be [count, rows, columns], not [4, 4]"
