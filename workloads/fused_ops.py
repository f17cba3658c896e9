"""Functions that every backend runs as one kernel, but that fall apart on the meta device.

Each gets a stand-in that moves the same elements in one operator, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def _rms_norm(
    x: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    return functional.layer_norm(x, list(normalized_shape), weight)


def _activation(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    return functional.hardswish(x, inplace)


STAND_INS: dict[Callable[..., Any], tuple[str, Callable[..., torch.Tensor]]] = {
    functional.rms_norm: ("rms_norm", _rms_norm),
    functional.silu: ("silu", _activation),
    functional.mish: ("mish", _activation),
}
"""Name and stand-in by function."""


class StandIns(TorchFunctionMode):
    """Runs the stand-ins in place of their functions.

    Args:
        named: makes the context in which a stand-in runs, given the function's own name.
    """

    def __init__(self, named: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._named = named

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in STAND_INS:
            return func(*args, **kwargs)
        name, stand_in = STAND_INS[func]
        if "input" in kwargs:
            args = (kwargs.pop("input"), *args)
        with self._named(name):
            return stand_in(*args, **kwargs)
