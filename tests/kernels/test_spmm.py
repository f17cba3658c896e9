"""The CPU kernel against float64, within the bound that its order of additions gives."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nofm.kernels.compressed import Compressed, compress, decompress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul as golden
from nofm.kernels.spmm import Prepared, matmul, prepare
from nofm.kernels.venom import VectorPattern, compress_vnm

Array = np.ndarray[Any, Any]
UNIT = 2.0**-24


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    m = draw(st.integers(1, 32))
    return Pattern(draw(st.integers(1, m)), m)


def draw_values(seed: int, shape: tuple[int, ...], special: float, dtype: Any) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 8, shape)
    specials = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0], shape)
    return np.where(rng.random(shape) < special, specials, values).astype(dtype)


def kept(weights: Compressed) -> Array:
    """bool [k, n]: what is kept, whatever its value."""
    ones = replace(
        weights,
        values=np.broadcast_to(weights.kept[..., np.newaxis], weights.values.shape).astype(
            np.float32
        ),
    )
    return decompress(ones).reshape(-1, weights.n) != 0


def exact(a: Array, weights: Compressed) -> tuple[Array, Array]:
    """The product [m, n] in float64, and the sum of magnitudes; pruned places do not count."""
    dense = decompress(weights).reshape(-1, weights.n).astype(np.float64)
    with np.errstate(invalid="ignore"):
        products = np.where(kept(weights), a.astype(np.float64)[..., np.newaxis] * dense, 0)
        return products.sum(axis=1), np.abs(products).sum(axis=1)


def assert_close(found: Array, a: Array, weights: Compressed, prepared: Prepared) -> None:
    expected, magnitude = exact(a, weights)
    finite = np.isfinite(magnitude)
    np.testing.assert_array_equal(found[~finite], expected[~finite].astype(np.float32))
    q = prepared.roundings
    bound = q * UNIT / (1 - q * UNIT) * magnitude + q * 2.0**-150
    error = np.abs(found[finite].astype(np.float64) - expected[finite])
    assert np.all(error <= bound[finite])


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 60), st.integers(1, 2), st.integers(1, 80), st.integers(1, 40)),
    patterns(),
    # Each number of rows of a tile; halves with one of them, for compiling each takes seconds.
    st.sampled_from([(1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (8, 0), (32, 0), (32, 1)]),
    st.sampled_from(["rows", "columns"]),
    st.integers(1, 3),
    st.sampled_from([0, 0, 0.02, 0.3]),
)
@example(1, (30, 1, 900, 40), Pattern(1, 8), (4, 0), "rows", 1, 0)
@example(2, (25, 2, 300, 17), Pattern(7, 32), (1, 0), "columns", 2, 0)
@example(3, (61, 1, 700, 21), Pattern(2, 4), (8, 1), "columns", 1, 0.01)
@example(4, (1, 1, 1, 1), Pattern(1, 1), (1, 0), "rows", 1, 0)
def test_product(
    seed: int,
    sizes: tuple[int, int, int, int],
    pattern: Pattern,
    kind: tuple[int, int],
    layout: str,
    threads: int,
    special: float,
) -> None:
    m, taps, length, n = sizes
    sharing, dtype = kind[0], (np.float32, np.float16)[kind[1]]
    if kind not in ((4, 0), (8, 0), (32, 0)):
        m += 8  # a product of few samples has code of its own: once is enough
    a = draw_values(seed, (m, taps * length), special, dtype)
    with np.errstate(over="ignore"):
        weights = compress(
            draw_values(seed + 1, (taps, length, n), special, dtype), pattern, sharing
        )
    prepared = prepare(weights)
    given_a = a if layout == "rows" else np.ascontiguousarray(a.T)
    guarded = np.full(m * n + 64, 77, np.float32)
    out = guarded[32 : 32 + m * n].reshape((m, n) if layout == "rows" else (n, m))
    found = matmul(given_a, prepared, layout=layout, threads=threads, out=out)
    assert found is out
    assert np.all(guarded[:32] == 77)
    assert np.all(guarded[32 + m * n :] == 77)
    assert_close(found if layout == "rows" else found.T, a, weights, prepared)
    # Whoever shares out the work, the additions are the same.
    alone = matmul(given_a, prepared, layout=layout)
    np.testing.assert_array_equal(alone.view(np.uint32), found.view(np.uint32))


@given(st.integers(0, 2**32 - 1), st.integers(9, 40), st.integers(1, 60), patterns())
def test_golden_product_is_as_near(seed: int, m: int, length: int, pattern: Pattern) -> None:
    a = draw_values(seed, (m, length), 0, np.float16)
    weights = compress(draw_values(seed + 1, (1, length, 12), 0, np.float16), pattern, 4)
    found = matmul(a, weights)
    one = replace(weights, values=weights.values[np.newaxis], index=weights.index[np.newaxis])
    expected = golden(a.reshape(1, m, 1, length), one)[0]
    _, magnitude = exact(a, weights)
    q = pattern.kept(length) + prepare(weights).roundings
    assert np.all(np.abs(found - expected) <= 2 * q * UNIT * magnitude)


def test_both_directions_of_training_from_one_master() -> None:
    """FF has its groups along the inputs, and BP along the outputs of the same dense weights."""
    rng = np.random.default_rng(1)
    master = rng.standard_normal((40, 56)).astype(np.float32)
    a, gradient = (rng.standard_normal((30, size)).astype(np.float32) for size in (40, 56))
    for left, dense in ((a, master), (gradient, master.T)):
        weights = compress(dense[np.newaxis], Pattern(2, 8), 4)
        np.testing.assert_allclose(
            matmul(left, weights), left @ decompress(weights)[0], rtol=1e-4, atol=1e-4
        )


def test_vnm_weights() -> None:
    rng = np.random.default_rng(2)
    a, dense = rng.standard_normal((30, 64)), rng.standard_normal((1, 64, 24))
    weights = compress_vnm(dense.astype(np.float32), VectorPattern(8, 2, 16)).flat
    prepared = prepare(weights)
    assert_close(matmul(a.astype(np.float32), prepared), a.astype(np.float32), weights, prepared)


def test_no_samples() -> None:
    weights = compress(np.ones((1, 8, 4), np.float32), Pattern(2, 4))
    assert matmul(np.ones((0, 8), np.float32), weights).shape == (0, 4)
    assert matmul(np.ones((8, 0), np.float32), weights, layout="columns").shape == (4, 0)


def test_a_product_of_many_blocks_and_stretches() -> None:
    """More weights than a stretch holds, more panels than are packed together."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal((130, 600)).astype(np.float32)
    weights = compress(rng.standard_normal((1, 600, 700)).astype(np.float32), Pattern(4, 8), 4)
    prepared = prepare(weights)
    assert len(prepared.edges) == 4
    dense = decompress(weights)[0].astype(np.float64)
    expected, magnitude = a @ dense, np.abs(a) @ np.abs(dense)
    q = prepared.roundings
    assert q == 128 + 3
    for layout in ("rows", "columns"):
        found = matmul(
            a if layout == "rows" else np.ascontiguousarray(a.T), prepared, layout=layout
        )
        found = found if layout == "rows" else found.T
        assert np.all(np.abs(found - expected) <= q * UNIT / (1 - q * UNIT) * magnitude)


# Arrays that end, and arrays that begin, at a page that nobody may touch.
GUARDED = """
import ctypes, itertools, mmap
from dataclasses import replace
import numpy as np
from nofm.kernels.compressed import compress
from nofm.kernels.pattern import Pattern
from nofm.kernels.spmm import matmul, prepare

PAGE = mmap.PAGESIZE
libc, maps = ctypes.CDLL(None, use_errno=True), []

def guarded(values, at_end):
    size = -(-max(values.nbytes, 1) // PAGE) * PAGE
    area = mmap.mmap(-1, size + 2 * PAGE)
    maps.append(area)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for wall in (base, base + PAGE + size):
        assert libc.mprotect(ctypes.c_void_p(wall), PAGE, 0) == 0
    first = PAGE + (size - values.nbytes if at_end else 0)
    copy = np.frombuffer(area, np.uint8, values.nbytes, first).view(values.dtype)
    copy = copy.reshape(values.shape)
    copy[...] = values
    return copy

rng = np.random.default_rng(1)
cases = itertools.product(
    [(9, 5, 3), (24, 32, 8), (25, 33, 9), (47, 300, 13), (8, 31, 4), (1, 1, 1)],
    [("2:4", 4, np.float32), ("3:5", 4, np.float16)],
    ["rows", "columns"], [True, False],
)
for (m, k, n), (pattern, sharing, dtype), layout, at_end in cases:
    m += 8 * (dtype == np.float16)  # few samples have code of their own: once is enough
    dense = rng.standard_normal((1, k, n)).astype(dtype)
    weights = compress(dense, Pattern.parse(pattern), sharing)
    prepared = prepare(weights)
    a = rng.standard_normal((m, k) if layout == "rows" else (k, m)).astype(dtype)
    expected = matmul(a, prepared, layout=layout)
    walled = replace(prepared, values=guarded(prepared.values, at_end),
                     rows=guarded(prepared.rows, at_end))
    out = guarded(np.zeros_like(expected), at_end)
    matmul(guarded(a, at_end), walled, layout=layout, out=out)
    assert np.array_equal(out, expected), (m, k, n, pattern, layout)
print("untouched")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_outside_is_touched() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GUARDED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "untouched"), done.stderr


WEIGHTS = compress(np.ones((1, 8, 6), np.float32), Pattern(2, 4))
A = np.ones((3, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: prepare(compress(np.ones((2, 1, 8, 6), np.float32), Pattern(2, 4))),
            "weights must be one float32 or float16 matrix, not float32 [2, 2, 2, 6]",
        ),
        (
            lambda: prepare(compress(np.ones((1, 8, 6)), Pattern(2, 4))),
            "weights must be one float32 or float16 matrix, not float64 [2, 2, 6]",
        ),
        (
            lambda: matmul(A[:, :7], WEIGHTS),
            "activations must be float32 or float16 [m, 8], not float32 [3, 7]",
        ),
        (
            lambda: matmul(A, WEIGHTS, layout="columns"),
            "activations must be float32 or float16 [8, m], not float32 [3, 8]",
        ),
        (
            lambda: matmul(A.astype(np.float64), WEIGHTS),
            "activations must be float32 or float16 [m, 8], not float64 [3, 8]",
        ),
        (lambda: matmul(A, WEIGHTS, layout="tiles"), "layout must be rows or columns, not 'tiles'"),
        (
            lambda: matmul(A, WEIGHTS, threads=0),
            "threads must be a whole number from 1 to 1024, not 0",
        ),
        (
            lambda: matmul(A, WEIGHTS, out=np.ones((6, 3), np.float32)),
            "out must be contiguous float32 [3, 6], not float32 [6, 3]",
        ),
        (
            lambda: matmul(A, WEIGHTS, out=np.ones((3, 12), np.float32)[:, ::2]),
            "out must be contiguous float32 [3, 6], not float32 [3, 6]",
        ),
        (
            lambda: matmul(A, WEIGHTS, out=A.reshape(-1)[:18].reshape(3, 6)),
            "out must be writable and share no memory with what is read",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, text: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text
