"""The Triton kernels, interpreted where there is no GPU, against the compressed form and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nofm.kernels.compressed import Compressed, compress, decompress
from nofm.kernels.errors import InputError
from nofm.kernels.gpu import products, pruning
from nofm.kernels.gpu.operand import from_device, to_device
from nofm.kernels.gpu.triton import device
from nofm.kernels.optimizer import Sgd
from nofm.kernels.optimizer import update as reference_update
from nofm.kernels.pattern import Pattern

PATTERNS = ["1:1", "1:2", "2:4", "3:7", "1:8", "2:8", "4:8", "2:16", "5:32", "32:32"]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 6e-8]


def numbers(rng: np.random.Generator, *shape: int, special: float = 0.0) -> Any:
    """float16 with ties, and a share of special values."""
    drawn = rng.integers(-12, 13, shape).astype(np.float16) / np.float16(4)
    return np.where(rng.random(shape) < special, rng.choice(SPECIAL, shape), drawn).astype(
        np.float16
    )


def tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device())


def one(dense: Any, pattern: Pattern, sharing: int) -> Compressed:
    """The compressed form of [length, n]."""
    form = compress(dense[np.newaxis], pattern, sharing)
    assert form.values.ndim == 3
    return form


def bound(x: Any, w: Any) -> Any:
    """Sums of k terms in any order are off by at most gamma(k) times the sum of magnitudes
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1); products of halves are
    exact in FP32."""
    k = x.shape[1]
    unit = k * 2.0**-24
    return unit / (1 - unit) * (np.abs(x) @ np.abs(w)) + 1e-45


@pytest.mark.parametrize("text", PATTERNS)
@pytest.mark.parametrize("seed", range(2))
def test_products(text: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *map(ord, text)])
    pattern = Pattern.parse(text)
    m, n = rng.integers(1, 40, 2)
    length = int(rng.integers(1, 3 * pattern.m + 2))
    sharing = int(rng.choice([1, 4, 8, 16, 32, 64]))
    form = one(numbers(rng, length, n), pattern, sharing)
    w = decompress(form)[0].astype(np.float64)
    operand = to_device(form, device())
    x, y = numbers(rng, m, length), numbers(rng, m, n)
    forward = products.matmul(tensor(x), operand).cpu().numpy()
    wide = x.astype(np.float64)
    assert np.all(np.abs(forward - wide @ w) <= bound(wide, w))
    # The same operand with the strides of a transposed one.
    turned = products.matmul(tensor(x.T).T, operand).cpu().numpy()
    assert np.array_equal(turned, forward)
    backward = products.matmul_transposed(tensor(y), operand).cpu().numpy()
    wide = y.astype(np.float64)
    assert np.all(np.abs(backward - wide @ w.T) <= bound(wide, w.T))


@pytest.mark.parametrize("sharing", [1, 32])
def test_special_values_reach_what_they_meet(sharing: int) -> None:
    """NaN and infinity in weights or activations; in shared masks, only where they are chosen."""
    rng = np.random.default_rng(sharing)
    form = one(numbers(rng, 21, 33, special=0.02), Pattern(2, 8), sharing)
    x = numbers(rng, 9, 21, special=0.02)
    got = products.matmul(tensor(x), to_device(form, device())).cpu().numpy()
    w = decompress(form)[0].astype(np.float64)
    with np.errstate(invalid="ignore"):
        terms = x.astype(np.float64)[:, :, np.newaxis] * w
    if sharing > 1:
        kept = np.zeros(w.shape, bool)
        places = 8 * np.arange(3)[:, np.newaxis, np.newaxis] + form.index
        columns = np.repeat(places, sharing, axis=-1)[..., : w.shape[1]]
        columns = np.where(form.kept[..., np.newaxis], columns, -1)
        for column in range(w.shape[1]):
            kept[columns[..., column][columns[..., column] >= 0], column] = True
        terms = np.where(kept, terms, 0)  # as infinity times a dropped weight is not computed
    with np.errstate(invalid="ignore"):
        expected = terms.sum(axis=1)
    assert np.isnan(expected).any()
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    finite = np.isfinite(expected)
    assert np.allclose(got[finite], expected[finite], rtol=1e-5)
    assert np.array_equal(got[np.isinf(expected)], expected[np.isinf(expected)])


@pytest.mark.parametrize("text", PATTERNS)
@pytest.mark.parametrize("sharing", [1, 4])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_compression(text: str, sharing: int, dtype: Any) -> None:
    rng = np.random.default_rng([sharing, *map(ord, text)])
    pattern = Pattern.parse(text)
    dense = numbers(rng, int(rng.integers(1, 3 * pattern.m + 2)), 23, special=0.1).astype(dtype)
    for matrix in (dense, dense.T):
        expected = one(np.ascontiguousarray(matrix), pattern, sharing)
        given = tensor(dense) if matrix is dense else tensor(dense).T
        found = from_device(pruning.compress(given, pattern, sharing))
        assert np.array_equal(found.index, expected.index)
        assert found.values.tobytes() == expected.values.tobytes()


@pytest.mark.parametrize("text", ["2:4", "2:8", "3:7"])
def test_update(text: str) -> None:
    rng = np.random.default_rng(list(map(ord, text)))
    shape, by = (19, 21), Sgd(learning_rate=0.3, momentum=0.9, weight_decay=1e-3)
    special = np.array(SPECIAL, np.float32)
    weights, momenta = (
        np.where(
            rng.random(shape) < 0.05, rng.choice(special, shape), rng.normal(size=shape)
        ).astype(np.float32)
        for _ in range(2)
    )
    gradients = numbers(rng, *shape, special=0.05)
    pattern = Pattern.parse(text)
    expected = reference_update(weights, momenta, gradients, by)
    *found, operand = pruning.update(
        tensor(weights), tensor(momenta), tensor(gradients), by, pattern
    )
    for got, wanted in zip(
        found, (expected.weights, expected.momenta, expected.halves), strict=True
    ):
        assert got.cpu().numpy().tobytes() == wanted.tobytes()
    form = one(expected.halves, pattern, 1)
    assert np.array_equal(from_device(operand).index, form.index)
    assert from_device(operand).values.tobytes() == form.values.tobytes()


def test_nothing_outside_is_touched() -> None:
    """The buffers lie inside larger ones, whose other bytes stay as they were."""
    rng = np.random.default_rng(5)
    around = torch.full((400,), 7.0, dtype=torch.float32, device=device())
    form = one(numbers(rng, 11, 9), Pattern(2, 8), 1)
    inner = around[100 : 100 + 11 * 9].view(11, 9)
    inner.copy_(tensor(decompress(form)[0].astype(np.float32)))
    kept = inner.clone()
    pruning.compress(inner, Pattern(2, 8))
    assert torch.equal(inner, kept)
    assert torch.all(around[:100] == 7)
    assert torch.all(around[199:] == 7)


def test_bad_input() -> None:
    rng = np.random.default_rng(0)
    form = one(numbers(rng, 8, 4), Pattern(2, 4), 1)
    operand = to_device(form, device())
    with pytest.raises(InputError, match=r"x must be \[m, 8\] with m of at least 1, not \[2, 7\]"):
        products.matmul(tensor(numbers(rng, 2, 7)), operand)
    with pytest.raises(InputError, match=r"x must be torch\.float16 on .* not torch\.float32"):
        products.matmul(tensor(numbers(rng, 2, 8).astype(np.float32)), operand)
    with pytest.raises(InputError, match="GPU pruning takes M of at most 64, not 128"):
        pruning.compress(tensor(numbers(rng, 8, 4)), Pattern(2, 128))
    with pytest.raises(
        InputError, match=r"what is pruned must be float16 or float32 \[length, n\]"
    ):
        pruning.compress(tensor(numbers(rng, 8, 4, 2)), Pattern(2, 4))
    taps = compress(numbers(rng, 2, 8, 4), Pattern(2, 4))
    with pytest.raises(InputError, match="takes one matrix of one run, not"):
        to_device(taps, device())
    weights = tensor(np.zeros((8, 4), np.float32))
    with pytest.raises(InputError, match=r"gradients must be contiguous torch\.float16"):
        pruning.update(weights, weights, weights, Sgd(learning_rate=1), Pattern(2, 4))
