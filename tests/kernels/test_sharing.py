"""Masks that columns share, packed indices, and V:N:M, against what they mean."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofm.kernels import packing
from nofm.kernels.compressed import (
    Compressed,
    compress,
    compressed_bits,
    decompress,
    from_packed,
    prune,
)
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.kernels.venom import VectorPattern, compress_vnm

Array = np.ndarray[Any, Any]
SHARING = (1, 2, 4, 8, 32)
POOL = [0.0, -0.0, 1, -1, 0.5, 6e-8, 65504, -65504, np.inf, -np.inf, np.nan]


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    m = draw(st.integers(1, 32))
    return Pattern(draw(st.integers(1, m)), m)


@st.composite
def matrices(draw: st.DrawFn) -> Array:
    """[lead, taps, length, n], halves or singles, with ties and special numbers."""
    shape = draw(
        st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 70), st.integers(1, 40))
    )
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.standard_normal(shape)
    special = rng.choice(POOL, shape)
    share = draw(st.sampled_from([0, 0, 0.1, 1]))
    return np.where(rng.random(shape) < share, special, values).astype(dtype)


def rank(magnitude: float, place: int) -> tuple[float, float, int]:
    """Smaller for what is kept first: NaN, then the largest, then the lower place."""
    return (0, 0, place) if math.isnan(magnitude) else (1, -magnitude, place)


def naive(dense: Array, pattern: Pattern, sharing: int) -> Array:
    """[length, n] with +0 where a block of columns drops a place."""
    out = np.zeros_like(dense)
    length, n = dense.shape
    for left in range(0, n, sharing):
        block = dense[:, left : left + sharing]
        for first in range(0, length, pattern.m):
            sums = [sum(abs(float(x)) for x in row) for row in block[first : first + pattern.m]]
            order = sorted(range(len(sums)), key=lambda i: rank(sums[i], i))
            for i in order[: pattern.n]:
                out[first + i, left : left + sharing] = block[first + i]
    return out


def bits(values: Array) -> Array:
    return values.view(f"u{values.dtype.itemsize}")


@settings(max_examples=40)
@given(matrices(), patterns(), st.sampled_from(SHARING))
def test_a_block_keeps_its_largest_sums(dense: Array, pattern: Pattern, sharing: int) -> None:
    found = decompress(compress(dense, pattern, sharing))
    for at in np.ndindex(dense.shape[:2]):
        np.testing.assert_array_equal(bits(found[at]), bits(naive(dense[at], pattern, sharing)))


@given(matrices(), patterns(), st.sampled_from(SHARING))
def test_packed_and_back(dense: Array, pattern: Pattern, sharing: int) -> None:
    form = compress(dense, pattern, sharing)
    packed = form.packed_index()
    lead, taps, length, n = dense.shape
    kept = lead * taps * pattern.kept(length)
    assert packed.size == form.index_bytes
    assert form.index_bytes == math.ceil(kept * -(-n // sharing) * pattern.index_bits / 8)
    assert form.value_bytes == kept * n * dense.itemsize
    total = lead * compressed_bits(pattern, taps, length, n, 8 * dense.itemsize, sharing)
    assert total == 8 * form.value_bytes + kept * -(-n // sharing) * pattern.index_bits
    back = from_packed(form.values, packed, pattern, taps, length, sharing)
    np.testing.assert_array_equal(back.index, form.index)


@given(matrices(), patterns(), st.sampled_from(SHARING))
def test_unshared_is_the_same_matrix(dense: Array, pattern: Pattern, sharing: int) -> None:
    form = compress(dense, pattern, sharing)
    assert form.unshared().sharing == 1
    np.testing.assert_array_equal(bits(decompress(form)), bits(decompress(form.unshared())))
    if dense.dtype == np.float16:
        a = np.ones((dense.shape[0], 2, *dense.shape[1:3]), np.float16)
        np.testing.assert_array_equal(matmul(a, form), matmul(a, form.unshared()))


@pytest.mark.parametrize("axis", [0, 1])
def test_pruning_along_either_axis(axis: int) -> None:
    dense = np.random.default_rng(1).standard_normal((24, 20)).astype(np.float32)
    found = prune(dense, Pattern(2, 8), axis, sharing=4)
    lines = dense if axis == 0 else dense.T
    expected = naive(lines, Pattern(2, 8), 4)
    np.testing.assert_array_equal(found, expected if axis == 0 else expected.T)


def test_the_packed_bits() -> None:
    """2:4 as a nibble a group, the first group and the first index lowest."""
    index = np.array([[0, 3], [1, 2], [2, 3], [0, 1]], np.uint8)[..., np.newaxis]
    form = Compressed(np.ones((4, 2, 1), np.float16), index, Pattern(2, 4), 1, 16)
    assert form.packed_index().tolist() == [0b1001_1100, 0b0100_1110]


@given(st.integers(0, 8), st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_packing(width: int, seed: int, count: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 1 << width, count, dtype=np.uint8)
    packed = packing.pack(numbers, width)
    assert packed.size == packing.size_bytes(count, width)
    np.testing.assert_array_equal(packing.unpack(packed, width, count), numbers)


def test_packing_refuses() -> None:
    with pytest.raises(InputError) as error:
        packing.unpack(np.zeros(3, np.uint8), 3, 5)
    assert str(error.value) == "5 packed numbers of 3 bits must be uint8 [2], not uint8 [3]"


@given(
    st.sampled_from(["1:2:4", "4:2:4", "8:2:8", "64:2:16", "3:1:5", "2:4:12"]),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
)
def test_vnm_is_two_prunings(text: str, groups: int, n: int, seed: int) -> None:
    pattern = VectorPattern.parse(text)
    assert str(pattern) == text
    length = groups * pattern.m
    dense = np.random.default_rng(seed).standard_normal((1, length, n)).astype(np.float16)
    found = compress_vnm(dense, pattern)
    kept = naive(dense[0], Pattern(4, pattern.m), pattern.v)
    expected = np.zeros_like(kept)
    for first in range(0, length, pattern.m):
        for column in range(n):
            group = np.abs(kept[first : first + pattern.m, column])
            top = np.argsort(-group, kind="stable")[: pattern.n]
            expected[first + top, column] = kept[first + top, column]
    np.testing.assert_array_equal(decompress(found.flat)[0], expected)
    blocks = -(-n // pattern.v)
    chosen = 0 if pattern.m == 4 else (pattern.m - 1).bit_length()
    places = 0 if pattern.n == 4 else 2
    assert found.index_bytes == math.ceil(groups * 4 * blocks * chosen / 8) + math.ceil(
        groups * pattern.n * n * places / 8
    )
    assert found.value_bytes == groups * pattern.n * n * 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("2:4", "a V:N:M pattern must look like 64:2:16, not '2:4'"),
        ("0:2:4", "pattern 0:2:4: V must be a whole number from 1 to 1024, not 0"),
        ("4:5:8", "pattern 4:5:8: N must be from 1 to 4 and M at least 4"),
        ("4:2:3", "pattern 4:2:3: N must be from 1 to 4 and M at least 4"),
        ("4:2:999", "pattern 2:999: M must be from 1 to 256, not 999"),
    ],
)
def test_vnm_refuses_a_pattern(text: str, error: str) -> None:
    with pytest.raises(InputError) as found:
        VectorPattern.parse(text)
    assert str(found.value) == error


def test_vnm_refuses_a_ragged_length() -> None:
    with pytest.raises(InputError) as error:
        compress_vnm(np.ones((1, 12, 4), np.float16), VectorPattern(4, 2, 8))
    assert str(error.value) == ("pattern 4:2:8 needs a length that is a multiple of M = 8, not 12")


def test_a_wrong_shared_form_is_refused() -> None:
    form = compress(np.ones((1, 8, 6), np.float16), Pattern(2, 4), 4)
    assert form.index.shape == (2, 2, 2)
    with pytest.raises(InputError) as error:
        replace(form, sharing=2)
    assert str(error.value) == (
        "compressed index must be uint8 of 2 columns a mask, [2, 2, 3], not uint8 [2, 2, 2]"
    )
    with pytest.raises(InputError) as error:
        replace(form, sharing=0)
    assert str(error.value) == "sharing must be a whole number from 1 to 1024, not 0"
