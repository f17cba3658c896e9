"""Pruning and the compressed form against a naive top-N, and the laws that both must keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.kernels.compressed import Compressed, compress, compressed_bits, decompress, prune
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

Array = np.ndarray[Any, Any]

PATTERNS = [
    *(Pattern(g, g) for g in (1, 2, 3, 4, 16)),
    *map(Pattern.parse, ("1:2", "1:4", "2:4", "3:4", "1:8", "2:8", "4:8", "2:16", "3:5", "7:256")),
]
# Ties, both zeros, subnormals, the largest number, infinities and NaN of both signs.
POOL = np.array(
    [0.0, -0.0, 1, -1, 0.5, -0.5, 6e-8, -6e-8, 65504, -65504, np.inf, -np.inf, np.nan, -np.nan]
)


def top(group: list[float], n: int) -> list[int]:
    """Places of the n largest by magnitude, the lower one of equals, NaN above all: SORE's rule."""

    def rank(place: int) -> tuple[float, float, int]:
        value = group[place]
        return (0, 0, place) if math.isnan(value) else (1, -abs(value), place)

    return sorted(sorted(range(len(group)), key=rank)[:n])


def pruned(run: Array, pattern: Pattern) -> Array:
    """One run [length] with +0 where nothing is kept."""
    out = np.zeros_like(run)
    for first in range(0, run.size, pattern.m):
        group = run[first : first + pattern.m]
        for place in top(group.tolist(), pattern.n):
            out[first + place] = group[place]
    return out


def bits(values: Array) -> Array:
    """As integers, so that -0 is not +0 and a NaN is equal to itself."""
    return values.view(f"u{values.dtype.itemsize}")


def draw_dense(seed: int, shape: tuple[int, ...], kind: str) -> Array:
    rng = np.random.default_rng(seed)
    if kind == "normal":
        return rng.standard_normal(shape).astype(np.float16)
    if kind == "pool":
        return rng.choice(POOL, shape).astype(np.float16)
    return rng.integers(0, 1 << 16, shape, dtype=np.uint16).view(np.float16)


dense_arrays = st.builds(
    draw_dense,
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 5)),
    st.sampled_from(["normal", "pool", "bits"]),
)


@given(dense_arrays, st.sampled_from(PATTERNS))
def test_form_and_round_trip(dense: Array, pattern: Pattern) -> None:
    count, taps, length, n = dense.shape
    compressed = compress(dense, pattern)
    groups = taps * pattern.groups(length)
    assert compressed.values.shape == compressed.index.shape == (count, groups, pattern.n, n)
    assert compressed.values.dtype == np.float16
    assert compressed.groups == groups
    assert compressed.n == n
    assert compressed.kept.sum() == taps * pattern.kept(length)

    back = decompress(compressed)
    expected = np.empty_like(dense)
    for at in np.ndindex(count, taps, n):
        run = (at[0], at[1], slice(None), at[2])
        expected[run] = pruned(dense[run], pattern)
    np.testing.assert_array_equal(bits(back), bits(expected))
    if pattern.dense:
        np.testing.assert_array_equal(bits(back), bits(dense))
    # Pruned again, no magnitude is lost.
    again = decompress(compress(back, pattern))
    np.testing.assert_array_equal(bits(np.abs(again)), bits(np.abs(back)))


@given(dense_arrays, st.sampled_from(PATTERNS), st.integers(-4, 3))
def test_prune_along_any_axis(dense: Array, pattern: Pattern, axis: int) -> None:
    expected = np.apply_along_axis(lambda run: pruned(run, pattern), axis, dense)
    np.testing.assert_array_equal(bits(prune(dense, pattern, axis)), bits(expected))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_format(dtype: type) -> None:
    run = np.array([1, -3, np.nan, 2, 0, -np.inf, -5, np.inf], dtype)
    np.testing.assert_array_equal(
        prune(run, Pattern(2, 4), 0), np.array([0, -3, np.nan, 0, 0, -np.inf, 0, np.inf], dtype)
    )


@pytest.mark.parametrize(
    ("group", "kept"),
    [
        ([1, -1, 1, -1], [0, 1]),
        ([0, -0.0, 0, -0.0], [0, 1]),
        ([-0.0, 0, 1, 0], [0, 2]),
        ([np.inf, np.nan, -np.nan, np.nan], [1, 2]),
        ([np.inf, 1, -np.inf, np.nan], [0, 3]),
        ([1, 2, 3, 4], [2, 3]),
    ],
)
def test_ties_keep_the_lower_index(group: list[float], kept: list[int]) -> None:
    dense = np.array(group, np.float16).reshape(1, 4, 1)
    assert compress(dense, Pattern(2, 4)).index.ravel().tolist() == kept


def test_nan_payloads_tie() -> None:
    dense = np.array([0x7E01, 0x7FFF, 0xFC01], np.uint16).view(np.float16).reshape(1, 3, 1)
    assert compress(dense, Pattern(1, 3)).index.ravel().tolist() == [0]


def test_bits() -> None:
    # 2 taps of 10: two whole groups and two elements of a third, of which two are kept.
    assert compressed_bits(Pattern(2, 4), 2, 10, 3, 16) == 2 * (2 + 2 + 2) * 3 * (16 + 2)
    assert compressed_bits(Pattern(1, 8), 1, 9, 1, 16) == 2 * (16 + 3)
    assert compressed_bits(Pattern(4, 4), 1, 7, 5, 16) == 7 * 5 * 16


@given(dense_arrays, st.sampled_from(PATTERNS))
def test_bits_are_those_of_kept_elements(dense: Array, pattern: Pattern) -> None:
    _, taps, length, n = dense.shape
    kept = int(compress(dense, pattern).kept.sum()) * n
    assert compressed_bits(pattern, taps, length, n, 16) == kept * (16 + pattern.index_bits)


def form(**changes: Any) -> Compressed:
    """Two runs of 5 by one column, 2:4: groups of 4 and of 1; one thing may be wrong."""
    index = np.tile(np.array([0, 3, 0, 1], np.uint8), 2).reshape(4, 2, 1)
    values = np.tile(np.array([1, 2, 3, 0], np.float16), 2).reshape(4, 2, 1)
    good = {"values": values, "index": index, "pattern": Pattern(2, 4), "taps": 2, "length": 5}
    return Compressed(**(good | changes))


def test_a_good_form() -> None:
    expected = [1, 0, 0, 2, 3]
    np.testing.assert_array_equal(decompress(form())[..., 0], [expected, expected])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"length": 9}, "compressed values must be [..., 6, 2, n], not [4, 2, 1]"),
        (
            {"index": np.zeros((4, 2, 2), np.uint8)},
            "compressed index must be uint8 of the values' shape [4, 2, 1], not uint8 [4, 2, 2]",
        ),
        (
            {"index": np.zeros((4, 2, 1), np.int64)},
            "compressed index must be uint8 of the values' shape [4, 2, 1], not int64 [4, 2, 1]",
        ),
        (
            {"index": np.tile(np.array([0, 4, 0, 1], np.uint8), 2).reshape(4, 2, 1)},
            "compressed index must ascend within each group and stay below M = 4",
        ),
        (
            {"index": np.tile(np.array([1, 1, 0, 1], np.uint8), 2).reshape(4, 2, 1)},
            "compressed index must ascend within each group and stay below M = 4",
        ),
        (
            {"index": np.tile(np.array([0, 1, 1, 2], np.uint8), 2).reshape(4, 2, 1)},
            "compressed index must stay inside a ragged group",
        ),
        (
            {"index": np.tile(np.array([0, 1, 0, 2], np.uint8), 2).reshape(4, 2, 1)},
            "slots that keep nothing must hold value 0 and their own number",
        ),
        (
            {"values": np.ones((4, 2, 1), np.float16)},
            "slots that keep nothing must hold value 0 and their own number",
        ),
    ],
)
def test_a_wrong_form_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as error:
        form(**changes)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("dense", "text"),
    [
        (np.zeros((4, 2), np.float16), "dense must be [..., taps, length, n], not [4, 2]"),
        (np.zeros((1, 0, 2), np.float16), "dense must be [..., taps, length, n], not [1, 0, 2]"),
        (
            np.zeros((1, 4, 2), np.int16),
            "N:M pruning needs float16, float32 or float64, not int16",
        ),
    ],
)
def test_compress_refuses(dense: Array, text: str) -> None:
    with pytest.raises(InputError) as error:
        compress(dense, Pattern(2, 4))
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("shape", "axis", "text"),
    [
        ((4, 2), 2, "prune needs elements along axis 2, not shape [4, 2]"),
        ((4, 2), -3, "prune needs elements along axis -3, not shape [4, 2]"),
        ((0, 2), 1, "prune needs elements along axis 1, not shape [0, 2]"),
        ((), 0, "prune needs elements along axis 0, not shape []"),
    ],
)
def test_prune_refuses(shape: tuple[int, ...], axis: int, text: str) -> None:
    with pytest.raises(InputError) as error:
        prune(np.zeros(shape, np.float16), Pattern(2, 4), axis)
    assert str(error.value) == text
