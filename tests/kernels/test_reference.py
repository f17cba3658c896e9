"""The golden product against scalar NumPy float32, and the facts of arithmetic that it rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul

Array = np.ndarray[Any, Any]

SMALLEST_NORMAL = np.finfo(np.float32).smallest_normal
POOL = np.array([0.0, -0.0, 1, -1, 6e-8, -6e-8, 6e-5, 65504, -65504, np.inf, -np.inf, np.nan])
PATTERNS = [Pattern(1, 1), Pattern(3, 3), *map(Pattern.parse, ("1:2", "2:4", "2:8", "3:5"))]


def halves(seed: int, shape: tuple[int, ...], special: float) -> Array:
    """Random float16, a share of them special: zeros, subnormals, the largest, infinities, NaN."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 12, shape)
    specials = rng.choice(POOL, shape)
    with np.errstate(over="ignore"):
        return np.where(rng.random(shape) < special, specials, values).astype(np.float16)


def same_bits(a: Array, b: Array) -> bool:
    """Equal with their signs of zero; a NaN equals a NaN."""
    nan = np.isnan(a)
    return np.array_equal(nan, np.isnan(b)) and np.array_equal(
        a[~nan].view(np.uint32), b[~nan].view(np.uint32)
    )


def naive(a: Array, weights: Compressed) -> tuple[Array, list[np.float32]]:
    """One scalar float32 addition after the other; also every partial sum."""
    count, m, taps, length = a.shape
    pattern, per_run = weights.pattern, weights.pattern.groups(length)
    out = np.zeros((count, m, weights.n), np.float32)
    partials = []
    with np.errstate(over="ignore", invalid="ignore"):
        for product, row, column in np.ndindex(*out.shape):
            total = np.float32(0)
            for tap in range(taps):
                for place in range(length):
                    group = tap * per_run + place // pattern.m
                    for slot in range(pattern.n):
                        if not weights.kept[group, slot]:
                            continue
                        if weights.index[product, group, slot, column] == place % pattern.m:
                            x = np.float32(a[product, row, tap, place])
                            w = np.float32(weights.values[product, group, slot, column])
                            total = np.float32(total + np.float32(x * w))
                            partials.append(total)
            out[product, row, column] = total
    return out, partials


small = st.tuples(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 2), st.integers(1, 11), st.integers(1, 3)
)


@given(small, st.integers(0, 2**32 - 1), st.sampled_from([0, 0, 0.05, 0.5]))
def test_dense_product(shape: tuple[int, ...], seed: int, special: float) -> None:
    count, m, taps, length, n = shape
    a = halves(seed, (count, m, taps, length), special)
    w = halves(seed + 1, (count, taps, length, n), special)
    expected, _ = naive(a, compress(w, Pattern(1, 1)))
    assert same_bits(matmul(a, w), expected)


@given(
    small,
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0, 0.05, 0.5]),
    st.sampled_from(PATTERNS),
)
def test_compressed_product(
    shape: tuple[int, ...], seed: int, special: float, pattern: Pattern
) -> None:
    count, m, taps, length, n = shape
    a = halves(seed, (count, m, taps, length), special)
    weights = compress(halves(seed + 1, (count, taps, length, n), special), pattern)
    out = matmul(a, weights)
    expected, partials = naive(a, weights)
    assert out.dtype == np.float32
    assert same_bits(out, expected)
    # Sums start at +0 and so never become -0: adding a bubble's 0 would change no bit.
    assert not np.any(np.signbit(out) & (out == 0))
    # No partial sum is subnormal: each is a multiple of 2^-48.
    sums = np.array(partials)
    assert not np.any((sums != 0) & (np.abs(sums) < SMALLEST_NORMAL))
    finite = sums[np.isfinite(sums)].astype(np.float64)
    scaled = finite * 2.0**48
    assert np.array_equal(scaled, np.trunc(scaled))


def test_dense_groups_of_any_width_give_the_same_bits() -> None:
    a, w = halves(1, (2, 4, 3, 13), 0.02), halves(2, (2, 3, 13, 5), 0.02)
    for width in range(1, 17):
        assert same_bits(matmul(a, compress(w, Pattern(width, width))), matmul(a, w))


def test_order_matters_and_is_ascending() -> None:
    a = np.array([2048, 1, -2048, 2.0**-14], np.float16).reshape(1, 1, 1, 4)
    w = np.array([32768, 2.0**-14, 32768, 2.0**-14], np.float16).reshape(1, 1, 4, 1)
    # 2^26 swallows 2^-14; what is added after it is gone stays.
    assert matmul(a, w).item() == 2.0**-28


def test_overflow_is_infinity_and_infinities_cancel_to_nan() -> None:
    big = np.full((1, 1, 1, 4), 65504, np.float16)
    w = np.array([[np.inf], [1], [-np.inf], [1]], np.float16).reshape(1, 1, 4, 1)
    assert np.isnan(matmul(big, w).item())
    assert matmul(big, np.abs(w)).item() == np.inf


def test_every_product_of_halves_is_exact_in_single() -> None:
    """All significands by all significands, and every exponent pair with some significands."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every) & ~np.signbit(every)]
    significands = finite[(finite >= 1) & (finite < 2)]
    assert significands.size == 1024
    for left, right in ((significands, significands), (finite[::77], finite[::61])):
        single = left.astype(np.float32)[:, np.newaxis] * right.astype(np.float32)
        double = left.astype(np.float64)[:, np.newaxis] * right.astype(np.float64)
        assert np.array_equal(single.astype(np.float64), double)
        multiples = double * 2.0**48
        assert np.array_equal(multiples, np.trunc(multiples))


def test_multiples_of_two_to_the_minus_48_are_never_subnormal_singles() -> None:
    """A sum of multiples is a multiple, rounding keeps it one (to a coarser step, or not at all),
    and the smallest but 0 is far above the smallest normal single."""
    assert SMALLEST_NORMAL <= 2.0**-48


GOOD_A = np.zeros((2, 3, 1, 4), np.float16)
GOOD_W = np.zeros((2, 1, 4, 5), np.float16)


@pytest.mark.parametrize(
    ("a", "w", "text"),
    [
        (
            GOOD_A.astype(np.float32),
            GOOD_W,
            "activations must be float16 [count, m, taps, length], not float32 [2, 3, 1, 4]",
        ),
        (
            GOOD_A[0],
            GOOD_W,
            "activations must be float16 [count, m, taps, length], not float16 [3, 1, 4]",
        ),
        (
            GOOD_A[:, :0],
            GOOD_W,
            "activations must be float16 [count, m, taps, length], not float16 [2, 0, 1, 4]",
        ),
        (
            GOOD_A,
            GOOD_W[:1],
            "weights must be float16 [2, 1, 4, n] like the activations, not float16 [1, 1, 4, 5]",
        ),
        (
            GOOD_A,
            GOOD_W.astype(np.float64),
            "weights must be float16 [2, 1, 4, n] like the activations, not float64 [2, 1, 4, 5]",
        ),
        (
            GOOD_A,
            compress(GOOD_W[:, :, :3], Pattern(1, 2)),
            "weights must be float16 [2, 1, 4, n] like the activations, "
            "not float16 [2] x (1 x 3) x 5",
        ),
        (
            GOOD_A,
            compress(GOOD_W[0], Pattern(1, 2)),
            "weights must be float16 [2, 1, 4, n] like the activations, "
            "not float16 [] x (1 x 4) x 5",
        ),
    ],
)
def test_operands_that_do_not_fit(a: Array, w: Any, text: str) -> None:
    with pytest.raises(InputError) as error:
        matmul(a, w)
    assert str(error.value) == text
