"""The fused update against the golden update and the compressed form: every bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.kernels import fused_update
from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.errors import InputError
from nofm.kernels.fused_update import update_and_compress
from nofm.kernels.optimizer import Sgd, update
from nofm.kernels.pattern import Pattern

Array = np.ndarray[Any, Any]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65520, 2.0**-24, 2.0**-25, 3.4e38]


def draw(seed: int, shape: tuple[int, int], special: float, dtype: Any) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 12, shape)
    with np.errstate(over="ignore"):
        chosen = np.where(rng.random(shape) < special, rng.choice(SPECIAL, shape), values)
        return chosen.astype(dtype)


def assert_same(found: Compressed, expected: Compressed) -> None:
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.values.view(np.int16), expected.values.view(np.int16))
    assert (found.length, found.n) == (expected.length, expected.n)


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from(["2:4", "2:8", "1:8", "3:5", "7:16", "dense"]),
    st.sampled_from([(0.1, 0.9, 1e-4), (1.0, 0.0, 0.0), (3e38, 0.9, 3e38)]),
    st.sampled_from([0, 0.1, 0.7]),
    st.integers(1, 3),
)
def test_every_bit(
    seed: int,
    shape: tuple[int, int],
    text: str,
    factors: tuple[float, float, float],
    special: float,
    threads: int,
) -> None:
    pattern = Pattern.parse(text)
    by = Sgd(learning_rate=factors[0], momentum=factors[1], weight_decay=factors[2])
    weights, momenta = (draw(seed + i, shape, special, np.float32) for i in range(2))
    gradients = draw(seed + 2, shape, special, np.float16)
    expected = update(weights, momenta, gradients, by)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_update, "TILE", (16, 24))
        found = update_and_compress(weights, momenta, gradients, by, pattern, threads)
    np.testing.assert_array_equal(weights.view(np.int32), expected.weights.view(np.int32))
    np.testing.assert_array_equal(momenta.view(np.int32), expected.momenta.view(np.int32))
    assert_same(found.ff, compress(expected.halves[np.newaxis], pattern))
    assert_same(found.bp, compress(expected.halves.T[np.newaxis], pattern))


def test_a_processor_without_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, by = (20, 12), Sgd(learning_rate=0.1, momentum=0.9)
    one, two = (
        [draw(1, shape, 0.1, np.float32), draw(2, shape, 0.1, np.float32)] for _ in range(2)
    )
    gradients = draw(3, shape, 0.1, np.float16)
    first = update_and_compress(*one, gradients, by, Pattern(2, 8))
    monkeypatch.setattr(fused_update, "HALVES", False)
    second = update_and_compress(*two, gradients, by, Pattern(2, 8))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert_same(first.ff, second.ff)
    assert_same(first.bp, second.bp)


ONES = np.ones((4, 4), np.float32)


@pytest.mark.parametrize(
    ("weights", "momenta", "text"),
    [
        (ONES[0], ONES[0], "weights must be [k, n] with elements, not [4]"),
        (ONES.T[:, :2], ONES[:, :2].copy(), None),
        (
            ONES,
            ONES[:2],
            "momenta must be float32 [4, 4] like the weights, not float32 [2, 4]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(weights: Array, momenta: Array, text: str | None) -> None:
    text = text or "weights must be contiguous and writable to be updated in place"
    gradients = np.ones(weights.shape, np.float16)
    with pytest.raises(InputError) as error:
        update_and_compress(weights, momenta, gradients, Sgd(learning_rate=0.1), Pattern(2, 4))
    assert str(error.value) == text
