"""Golden numerics: the exact bits of a parameter update, SGD with momentum and weight decay.

The formulas are those of `torch.optim.SGD` with dampening 0 and without Nesterov momentum. WUVE
rounds every operation to nearest even in FP32 and fuses none. PyTorch's CPU kernels do the same
where the processor has no fused multiply-add, bit for bit. Where it has one (AVX2, ARM), they round
wd w + g and w - lr v once instead of twice. With weight decay or momentum 0 PyTorch skips the
product, which here gives NaN when the factor is infinite, and may turn -0 into +0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nofm.kernels.errors import InputError

Halves = np.ndarray[Any, np.dtype[np.float16]]
Singles = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Hyper-parameters of an update; each is rounded to FP32.

    Attributes:
        learning_rate, momentum, weight_decay: lr, mu and wd of the formulas.

    Raises:
        InputError: one of them is negative, or not finite in FP32.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            given = getattr(self, field.name)
            with np.errstate(over="ignore"):
                value = float(np.float32(given))
            if not 0 <= value < np.inf:
                name = field.name.replace("_", " ")
                raise InputError(f"{name} must be a finite FP32 number from 0 on, not {given!r}")
            object.__setattr__(self, field.name, value)


@dataclass(frozen=True, eq=False)
class Updated:
    """What an update gives, each in the shape of the weights.

    Attributes:
        weights: float32, the new master weights w'.
        momenta: float32, the new momenta v'.
        halves: float16, w' rounded to nearest even: what the next step computes with.
    """

    weights: Singles
    momenta: Singles
    halves: Halves


def update(weights: Singles, momenta: Singles, gradients: Halves, by: Sgd) -> Updated:
    """One step of SGD: d = g + wd w; v' = mu v + d; w' = w - lr v'.

    Overflow gives infinity and an invalid operation NaN, as in hardware; every NaN is the canonical
    quiet one (FP32 7FC00000, FP16 7E00), whatever went in. A first step begins with momenta of 0.

    Args:
        weights: float32 [...], the master weights w.
        momenta: float32 of the same shape, v.
        gradients: float16 of the same shape, g.
        by: the hyper-parameters.

    Raises:
        InputError: a shape or a type is another.
    """
    check_operands(weights, momenta, gradients)
    lr, mu, wd = map(np.float32, (by.learning_rate, by.momentum, by.weight_decay))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        decayed = gradients.astype(np.float32) + wd * weights
        new_momenta = mu * momenta + decayed
        new_weights = weights - lr * new_momenta
        halves = new_weights.astype(np.float16)
    return Updated(_canonical(new_weights), _canonical(new_momenta), _canonical(halves))


def check_operands(weights: Singles, momenta: Singles, gradients: Halves) -> None:
    """Refuse what is no operand of an update.

    Raises:
        InputError: a shape or a type is another.
    """
    for name, array, dtype in (
        ("weights", weights, np.float32),
        ("momenta", momenta, np.float32),
        ("gradients", gradients, np.float16),
    ):
        if array.dtype != dtype or array.shape != weights.shape:
            raise InputError(
                f"{name} must be {np.dtype(dtype)} {list(weights.shape)} like the weights, "
                f"not {array.dtype} {list(array.shape)}"
            )


def _canonical(values: Any) -> Any:
    return np.where(np.isnan(values), values.dtype.type(np.nan), values)
