"""Compiled loops that are interpreted as long as compiling them would take longer.

Compiling a large function takes Numba seconds, a single simulated step needs milliseconds of it:
a `Tiered` function runs as plain Python until its process has asked for enough work. Both ways
give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable

JIT_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
"""No check for zero divisors: sizes are checked where they come in."""

helper = register_jitable(**JIT_OPTIONS)
"""Decorator of functions that a `Tiered` function calls."""


class Tiered:
    """A function that fills record arrays it is given; `helper` functions may serve it.

    Interpreted, it sees each record array as a list of objects with integer attributes: many
    times quicker for Python than NumPy's records, and written back afterwards.

    Args:
        function: plain Python that Numba compiles. It and its helpers stand in one file, for
            Numba's cache watches only the file of the function itself.
        patience: units of work that the process interprets before it compiles.
    """

    def __init__(self, function: Callable[..., None], patience: int) -> None:
        self.function = function
        self.compiled = njit(cache=True, nogil=True, **JIT_OPTIONS)(function)
        self.patience = patience
        self.__doc__ = function.__doc__

    def __call__(self, work: int, *arguments: Any) -> None:
        """Run on `arguments`, which take `work` units of work."""
        self.patience -= work
        if self.patience < 0:
            self.compiled(*arguments)
        else:
            self.interpreted(*arguments)

    def interpreted(self, *arguments: Any) -> None:
        """Run as plain Python."""
        records = {
            i: a for i, a in enumerate(arguments) if getattr(a, "dtype", None) and a.dtype.names
        }
        views = {i: _objects(array) for i, array in records.items()}
        self.function(*(views.get(i, argument) for i, argument in enumerate(arguments)))
        for i, array in records.items():
            if array.flags.writeable:
                array[:] = [tuple(vars(item).values()) for item in views[i]]


def _objects(array: np.ndarray[Any, Any]) -> list[SimpleNamespace]:
    names = array.dtype.names or ()
    return [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in array.tolist()]


def tiered(patience: int) -> Callable[[Callable[..., None]], Tiered]:
    """Decorator form of `Tiered`."""
    return lambda function: Tiered(function, patience)


def integers(*names: str) -> np.dtype[Any]:
    """A record of 64-bit integers whose fields are attributes, interpreted and compiled alike."""
    return np.dtype((np.record, [(name, np.int64) for name in names]))
