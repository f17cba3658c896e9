"""The fast selection against the compressed form's, for every shape, pattern, type and thread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nofm.kernels import selection
from nofm.kernels.compressed import prune
from nofm.kernels.pattern import Pattern

BITS = {np.float16: np.int16, np.float32: np.int32, np.float64: np.int64}


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    m = draw(st.integers(1, 17))
    return Pattern(draw(st.integers(1, m)), m)


@st.composite
def tensors(draw: st.DrawFn):
    """[outer, length, inner] with ties, zeros of both signs, NaN of any payload and infinities."""
    dtype = draw(st.sampled_from(list(BITS)))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 70)))
    special = [0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, -np.nan, 5.0, -3.0]
    elements = st.sampled_from(special)
    if draw(st.booleans()):
        seed = draw(st.integers(0, 2**32 - 1))
        return np.random.default_rng(seed).normal(size=shape).astype(dtype)
    return draw(hnp.arrays(dtype, shape, elements=elements, fill=st.just(1.0)))


def keep(values, pattern: Pattern, threads: int = 1):
    bits = BITS[values.dtype.type]
    infinity = int(np.array(np.inf, values.dtype).view(bits))
    return selection.keep(values.view(bits), infinity, pattern, threads).view(values.dtype)


def mask(values, pattern: Pattern):
    bits = BITS[values.dtype.type]
    infinity = int(np.array(np.inf, values.dtype).view(bits))
    return selection.mask(values.view(bits), infinity, pattern)


@given(tensors(), patterns())
def test_keeps_what_the_compressed_form_keeps(values, pattern: Pattern) -> None:
    bits = BITS[values.dtype.type]
    expected = prune(values, pattern, 1)
    assert np.array_equal(keep(values, pattern).view(bits), expected.view(bits))


@given(tensors(), patterns())
def test_a_mask_says_what_is_kept(values, pattern: Pattern) -> None:
    """Ones in place of zeros, so that what is kept shows."""
    values = np.where(values == 0, values.dtype.type(1e-3), values)
    assert np.array_equal(mask(values, pattern), prune(values, pattern, 1) != 0)
    for first in range(0, values.shape[1], pattern.m):
        size = min(pattern.m, values.shape[1] - first)
        kept = mask(values, pattern)[:, first : first + size].sum(axis=1)
        assert np.all(kept == min(pattern.n, size))


@pytest.mark.parametrize("shape", [(1, 256, 30), (77, 103, 1), (13, 65, 10)])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_change_nothing(
    shape: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    alone = keep(values, Pattern(2, 8))
    monkeypatch.setattr(selection, "ELEMENTS_A_THREAD", 1000)
    assert np.array_equal(keep(values, Pattern(2, 8), threads), alone)


def test_the_largest_pattern() -> None:
    values = np.random.default_rng(2).normal(size=(2, 300, 5)).astype(np.float16)
    assert np.array_equal(keep(values, Pattern(100, 256)), prune(values, Pattern(100, 256), 1))
