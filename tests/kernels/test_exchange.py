"""Other libraries' forms: torch's and SciPy's own functions read and write the same arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.kernels import exchange
from nofm.kernels.compressed import Compressed, compress, decompress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

Array = np.ndarray[Any, Any]


def dense(seed: int, length: int, n: int, zeros: float, dtype: type) -> Array:
    rng = np.random.default_rng(seed)
    # Torch scatters a single as two halves, and changes a lower one that looks like a NaN.
    values = rng.standard_normal((1, length, n)).astype(np.float16)
    return np.where(rng.random(values.shape) < zeros, 0, values).astype(dtype)


def assert_same(found: Compressed, expected: Compressed) -> None:
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.index, expected.index)
    assert (found.pattern, found.length) == (expected.pattern, expected.length)
    assert found.sharing == expected.sharing


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([0, 0.5, 0.9]),
    st.sampled_from([(np.float16, "2:4", 16), (np.float32, "1:2", 8)]),
)
def test_torch_has_the_same_bits(
    seed: int, rows: int, words: int, zeros: float, kind: tuple[type, str, int]
) -> None:
    torch = pytest.importorskip("torch")
    from torch.sparse._semi_structured_conversions import (
        sparse_semi_structured_from_dense_cutlass as from_dense,
    )
    from torch.sparse._semi_structured_conversions import (
        sparse_semi_structured_to_dense_cutlass as to_dense,
    )

    dtype, text, by = kind
    # Torch's order of the metadata pairs its columns: it needs an even number of them.
    values = dense(seed, 2 * words * by, 32 * rows, zeros, dtype)
    form = compress(values, Pattern.parse(text))
    pruned = torch.from_numpy(np.ascontiguousarray(decompress(form)[0].T))
    theirs, meta = from_dense(pruned)
    ours = exchange.to_torch(form)
    np.testing.assert_array_equal(ours.values, theirs.numpy())
    np.testing.assert_array_equal(ours.meta, meta.numpy())
    back = to_dense(torch.from_numpy(ours.values), torch.from_numpy(ours.meta))
    np.testing.assert_array_equal(back.numpy(), pruned.numpy())
    np.testing.assert_array_equal(decompress(exchange.from_torch(ours)), decompress(form))
    if not zeros:
        assert_same(exchange.from_torch(ours), form)
    assert ours.value_bytes == form.value_bytes
    assert ours.index_bytes == form.index_bytes * (1 if dtype is np.float16 else 4)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from(["2:4", "1:8", "3:5", "dense", "1:1"]),
)
def test_scipy_has_the_same_matrix(seed: int, length: int, n: int, text: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    form = compress(dense(seed, length, n, 0.2, np.float32), Pattern.parse(text))
    csr = exchange.to_csr(form)
    matrix = sparse.csr_matrix((csr.data, csr.indices, csr.indptr), csr.shape)
    np.testing.assert_array_equal(matrix.toarray(), decompress(form)[0].T)
    assert matrix.has_sorted_indices
    assert_same(exchange.from_csr(csr, form.pattern), form)
    kept = form.pattern.kept(length)
    assert (csr.value_bytes, csr.index_bytes) == (4 * kept * n, 4 * kept * n + 4 * (n + 1))


def walk(given_form: exchange.Deltas, activations: Array, n: int) -> Array:
    """XNNPACK's loop over blocks: one pointer that moves by the deltas."""
    row_bytes = activations.strides[0]
    out = np.empty((n, activations.shape[1]), np.float64)
    place, nth, value = given_form.first_bytes, 0, 0
    for block, count in enumerate(given_form.counts):
        columns = slice(block * given_form.sharing, (block + 1) * given_form.sharing)
        weights = given_form.values[value : value + given_form.sharing]
        value += given_form.sharing
        out[columns] = weights[:, np.newaxis]
        for _ in range(count):
            weights = given_form.values[value : value + given_form.sharing]
            value += given_form.sharing
            out[columns] += weights[:, np.newaxis] * activations[place // row_bytes]
            place += int(given_form.deltas[nth])
            nth += 1
    assert place == given_form.first_bytes
    return out


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 4),
    st.sampled_from([1, 2, 4]),
    st.sampled_from(["2:4", "1:8", "3:5"]),
)
def test_xnnpack_walks_over_the_same_matrix(
    seed: int, length: int, blocks: int, sharing: int, text: str
) -> None:
    rng = np.random.default_rng(seed)
    n = blocks * sharing
    form = compress(dense(seed, length, n, 0, np.float32), Pattern.parse(text), sharing)
    activations = rng.standard_normal((length, 3)).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32)
    found = exchange.to_deltas(form, activations.strides[0], bias)
    expected = decompress(form)[0].T.astype(np.float64) @ activations + bias[:, np.newaxis]
    np.testing.assert_allclose(walk(found, activations, n), expected, rtol=1e-4, atol=1e-4)
    back = exchange.from_deltas(found, form.pattern, length, activations.strides[0])
    assert_same(back, form)
    kept = form.pattern.kept(length)
    assert found.value_bytes == 4 * n * (kept + 1)
    assert found.index_bytes == 4 * blocks * (kept + 1)


GOOD = compress(dense(1, 32, 32, 0, np.float16), Pattern(2, 4))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: exchange.to_torch(compress(np.ones((1, 32, 32), np.float32), Pattern(2, 4))),
            "torch's semi-structured form is float16 by 2:4 or float32 by 1:2, not float32 by 2:4",
        ),
        (
            lambda: exchange.to_torch(compress(np.ones((1, 32, 31), np.float16), Pattern(2, 4))),
            "torch's semi-structured form needs outputs by 32 and a reduction by 32, not 31 and 32",
        ),
        (
            lambda: exchange.to_torch(compress(np.ones((2, 8, 32), np.float16), Pattern(2, 4))),
            "one matrix of one tap is needed, not [] of 2",
        ),
        (
            lambda: exchange.from_torch(
                exchange.SemiStructured(np.ones((32, 16)), np.zeros((32, 2), np.int16))
            ),
            "torch's semi-structured form has float16 or float32 values and int16 metadata, not "
            "float64 [32, 16] and int16",
        ),
        (
            lambda: exchange.from_torch(
                replace(exchange.to_torch(GOOD), meta=np.zeros((32, 3), np.int16))
            ),
            "values [32, 16] need metadata [32, 2], not [32, 3]",
        ),
        (
            lambda: exchange.from_torch(
                exchange.SemiStructured(np.ones((32, 4), np.float16), np.ones((32, 1), np.int16))
            ),
            "torch's semi-structured values must be [outputs by 32, kept by 16], not [32, 4]",
        ),
        (
            lambda: exchange.from_torch(
                exchange.SemiStructured(np.ones((32, 8), np.float32), np.ones((32, 2), np.int16))
            ),
            "a nibble of 1:2 metadata must be 4 or 14",
        ),
        (
            lambda: exchange.to_deltas(compress(np.ones((1, 4, 6)), Pattern(2, 4), 4), 4),
            "XNNPACK's form needs outputs by 4, not 6",
        ),
        (
            lambda: exchange.to_deltas(GOOD, 4, np.zeros(3, np.float16)),
            "the bias must be float16 [32], not float16 [3]",
        ),
        (
            lambda: exchange.to_deltas(GOOD, 2**31),
            "row_bytes must be at least 1 and deltas below 2^31, not 2147483648",
        ),
        (
            lambda: exchange.from_deltas(exchange.to_deltas(GOOD, 4), Pattern(1, 4), 32, 4),
            "1:4 of 32 keeps 8 inputs of each block: that is 288 values and 256 deltas, "
            "not 544 and 512",
        ),
        (
            lambda: exchange.from_csr(exchange.to_csr(GOOD), Pattern(1, 4)),
            "1:4 of 32 keeps 8 elements of every row",
        ),
        (
            lambda: exchange.from_csr(
                replace(exchange.to_csr(GOOD), indices=np.zeros(512, np.int32)), Pattern(2, 4)
            ),
            "every group of 2:4 must keep its own elements, in order",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, text: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == text
