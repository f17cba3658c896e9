"""The golden update: against PyTorch, exact arithmetic, and its own rules."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.kernels.errors import InputError
from nofm.kernels.optimizer import Sgd, update

Array = np.ndarray[Any, Any]


def _case(seed: int, size: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(size).astype(np.float32)
    momenta = (0.1 * rng.standard_normal(size)).astype(np.float32)
    gradients = (0.1 * rng.standard_normal(size)).astype(np.float16)
    return weights, momenta, gradients


def _torch_steps(
    weights: Array, momenta: Array | None, gradients: list[Array], by: Sgd
) -> Iterator[tuple[Array, Array]]:
    """Weights and momenta after each gradient of the list, by torch.optim.SGD."""
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.from_numpy(weights.copy()))
    optimizer = torch.optim.SGD(
        [parameter], lr=by.learning_rate, momentum=by.momentum, weight_decay=by.weight_decay
    )
    if momenta is not None:
        optimizer.state[parameter]["momentum_buffer"] = torch.from_numpy(momenta.copy())
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.astype(np.float32))
        optimizer.step()
        state = optimizer.state[parameter]["momentum_buffer"]
        yield parameter.detach().numpy().copy(), state.numpy().copy()


def test_products_that_are_exact_give_the_bits_of_torch() -> None:
    """Powers of two make wd w and lr v exact, so that fusing changes nothing: equal bits on every
    machine, from the first step on, whose momenta are 0."""
    by = Sgd(learning_rate=0.125, momentum=0.9, weight_decay=2.0**-11)
    weights, _, _ = _case(0, 20_011)
    gradients = [_case(seed, weights.size)[2] for seed in range(5)]
    w, v = weights, np.zeros_like(weights)
    for gradient, (expected_w, expected_v) in zip(
        gradients, _torch_steps(weights, None, gradients, by), strict=True
    ):
        after = update(w, v, gradient, by)
        w, v = after.weights, after.momenta
        np.testing.assert_array_equal(w.view(np.uint32), expected_w.view(np.uint32))
        np.testing.assert_array_equal(v.view(np.uint32), expected_v.view(np.uint32))


def test_fused_kernels_differ_by_their_roundings_only() -> None:
    """Each result is off by no more than half a unit in the last place of what was rounded."""
    by = Sgd(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    weights, momenta, gradients = _case(1, 100_003)
    after = update(weights, momenta, gradients, by)
    ((w, v),) = _torch_steps(weights, momenta, [gradients], by)

    half_unit = 2.0**-24
    decay = by.weight_decay * np.abs(weights.astype(np.float64))
    decayed = np.abs(gradients) + decay
    off_decayed = half_unit * (decay + 2 * decayed)
    off_v = off_decayed + 2 * half_unit * np.abs(v.astype(np.float64))
    step = by.learning_rate * np.abs(v.astype(np.float64))
    off_w = by.learning_rate * off_v + half_unit * (step + 2 * np.abs(w.astype(np.float64)))
    # Second-order terms.
    slack = 1 + 2.0**-20
    assert np.all(np.abs(after.momenta.astype(np.float64) - v) <= slack * off_v)
    assert np.all(np.abs(after.weights.astype(np.float64) - w) <= slack * off_w)


UNFUSED = """
import sys
import numpy as np, torch
assert torch.backends.cpu.get_cpu_capability() == "DEFAULT"
given = np.load(sys.argv[1])
parameter = torch.nn.Parameter(torch.from_numpy(given["weights"]))
parameter.grad = torch.from_numpy(given["gradients"].astype(np.float32))
lr, momentum, decay = (float(x) for x in given["by"])
optimizer = torch.optim.SGD([parameter], lr=lr, momentum=momentum, weight_decay=decay)
optimizer.state[parameter]["momentum_buffer"] = torch.from_numpy(given["momenta"])
optimizer.step()
np.savez(
    sys.argv[2],
    weights=parameter.detach().numpy(),
    momenta=optimizer.state[parameter]["momentum_buffer"].numpy(),
)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="PyTorch fuses on this processor")
def test_unfused_kernels_give_the_same_bits(tmp_path: Path) -> None:
    """PyTorch without AVX2 rounds as WUVE does: normal numbers, and every kind of others."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    weights, momenta, gradients = _case(2, 100_003)
    weights[::7] = rng.integers(0, 2**32, weights[::7].size, np.uint32).view(np.float32)
    momenta[::5] = rng.integers(0, 2**32, momenta[::5].size, np.uint32).view(np.float32)
    gradients[::3] = rng.integers(0, 2**16, gradients[::3].size, np.uint16).view(np.float16)
    by = Sgd(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    np.savez(
        tmp_path / "given.npz",
        weights=weights,
        momenta=momenta,
        gradients=gradients,
        by=[by.learning_rate, by.momentum, by.weight_decay],
    )
    subprocess.run(
        [sys.executable, "-c", UNFUSED, tmp_path / "given.npz", tmp_path / "done.npz"],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
        check=True,
    )
    expected, after = np.load(tmp_path / "done.npz"), update(weights, momenta, gradients, by)
    for name in ("weights", "momenta"):
        bits = np.where(np.isnan(expected[name]), np.float32(np.nan), expected[name])
        np.testing.assert_array_equal(
            getattr(after, name).view(np.uint32), bits.view(np.uint32), name
        )


def _rounded(value: Fraction) -> np.float32:
    """The FP32 number nearest to a fraction, ties to even: by search among its neighbours."""
    guess = np.float32(value.numerator / value.denominator)
    near = [np.nextafter(guess, np.float32(side)) for side in (-np.inf, np.inf)]
    return min(
        (guess, *near),
        key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(np.uint32)) & 1),
    )


def test_each_operation_is_rounded_once() -> None:
    """The order and the roundings, by exact fractions."""
    weights, momenta, gradients = _case(3, 300)
    weights[:20] *= np.float32(2.0**-140)
    momenta[:20] *= np.float32(2.0**-140)
    gradients[:10] = 0
    by = Sgd(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    lr, mu, wd = map(Fraction, (by.learning_rate, by.momentum, by.weight_decay))
    after = update(weights, momenta, gradients, by)
    for i in range(weights.size):
        w, v, g = (Fraction(float(x[i])) for x in (weights, momenta, gradients))
        decay = Fraction(float(_rounded(wd * w)))
        d = Fraction(float(_rounded(g + decay)))
        kept = Fraction(float(_rounded(mu * v)))
        new_v = _rounded(kept + d)
        step = Fraction(float(_rounded(lr * Fraction(float(new_v)))))
        assert after.momenta[i] == new_v
        assert after.weights[i] == _rounded(w - step)


def test_not_a_number_is_canonical() -> None:
    odd = np.array([0xFFC12345, 0x7F800001, 0x7F800000, 0], np.uint32).view(np.float32)
    even = np.array([0, 0, 0xFE01, 0x7D01], np.uint16).view(np.float16)
    after = update(odd, np.zeros(4, np.float32), even, Sgd(learning_rate=1.0))
    assert [hex(x) for x in after.weights.view(np.uint32)] == ["0x7fc00000"] * 4
    # Without decay, infinity times zero is what makes the third one.
    assert [hex(x) for x in after.momenta.view(np.uint32)] == ["0x7fc00000"] * 4
    assert [hex(x) for x in after.halves.view(np.uint16)] == ["0x7e00"] * 4


def test_halves_round_to_even_and_overflow() -> None:
    weights = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, 65520.0, 65519.9, 2.0**-25], np.float32)
    still = Sgd(learning_rate=0.0)
    after = update(weights, np.zeros(5, np.float32), np.zeros(5, np.float16), still)
    np.testing.assert_array_equal(after.weights, weights)
    np.testing.assert_array_equal(after.halves, [1, 1 + 2.0**-9, np.inf, 65504, 0])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"learning_rate": -0.1}, "learning rate must be a finite FP32 number from 0 on, not -0.1"),
        (
            {"learning_rate": 0.1, "momentum": float("nan")},
            "momentum must be a finite FP32 number from 0 on, not nan",
        ),
        (
            {"learning_rate": 0.1, "weight_decay": 1e39},
            "weight decay must be a finite FP32 number from 0 on, not 1e+39",
        ),
    ],
)
def test_hyper_parameters_are_checked(values: dict[str, float], text: str) -> None:
    with pytest.raises(InputError) as caught:
        Sgd(**values)
    assert str(caught.value) == text


def test_operands_are_checked() -> None:
    weights, momenta, gradients = _case(4, 6)
    with pytest.raises(InputError) as caught:
        update(weights, momenta[:5], gradients, Sgd(learning_rate=0.1))
    assert str(caught.value) == "momenta must be float32 [6] like the weights, not float32 [5]"
    with pytest.raises(InputError) as caught:
        update(weights, momenta, weights, Sgd(learning_rate=0.1))
    assert str(caught.value) == "gradients must be float16 [6] like the weights, not float32 [6]"
    with pytest.raises(InputError) as caught:
        update(gradients, momenta, gradients, Sgd(learning_rate=0.1))
    assert str(caught.value) == "weights must be float32 [6] like the weights, not float16 [6]"
