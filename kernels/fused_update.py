"""The optimizer and the pruner in one pass: weights are updated and compressed while in the cache.

The bits are those of `optimizer.update` and then `compressed.compress`, along both axes: what
pre-generation does in hardware. A tile of the weights is updated in place; its halves are then
ranked along the inputs (for FF) and along the outputs (for BP) before the next tile is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from threading import Lock
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from nofm.kernels import optimizer, selection
from nofm.kernels.compressed import Compressed
from nofm.kernels.errors import InputError, positive
from nofm.kernels.lanes import HALVES
from nofm.kernels.optimizer import Halves, Sgd, Singles, check_operands
from nofm.kernels.pattern import Pattern
from nofm.kernels.threads import side_by_side

TILE = (64, 1024)
"""Rows and columns of a tile, about: whole groups along both."""

HALF_INFINITY = 0x7C00


@dataclass(frozen=True, eq=False)
class Pregenerated:
    """Both compressed forms of the new weights, float16.

    Attributes:
        ff: [k, n] with groups along the inputs.
        bp: the transposed [n, k] with groups along the outputs.
    """

    ff: Compressed
    bp: Compressed


def update_and_compress(
    weights: Singles,
    momenta: Singles,
    gradients: Halves,
    by: Sgd,
    pattern: Pattern,
    threads: int = 1,
) -> Pregenerated:
    """One step of SGD, in place, and the N:M weights of the next step.

    Args:
        weights: float32 [k, n], contiguous; overwritten with w'.
        momenta: float32 [k, n], contiguous; overwritten with v'.
        gradients: float16 [k, n].
        by: the hyper-parameters.
        pattern: of both forms.
        threads: at most so many are used.

    Raises:
        InputError: a shape or a type is another.
    """
    check_operands(weights, momenta, gradients)
    if weights.ndim != 2 or weights.size == 0:
        raise InputError(f"weights must be [k, n] with elements, not {list(weights.shape)}")
    for name, array in (("weights", weights), ("momenta", momenta)):
        if not array.flags.c_contiguous or not array.flags.writeable:
            raise InputError(f"{name} must be contiguous and writable to be updated in place")
    positive("threads", threads, at_most=1024)
    k, n = weights.shape
    forms = [
        (np.empty((pattern.groups(length), pattern.n, width), kind))
        for length, width in ((k, n), (n, k))
        for kind in (np.int16, np.uint8)
    ]
    gradients = np.ascontiguousarray(gradients)
    tiles = list(product(_starts(k, TILE[0], pattern), _starts(n, TILE[1], pattern)))

    def part(tile: tuple[slice, slice]) -> None:
        rows, columns = tile
        bits = _updated(weights[tile], momenta[tile], gradients[tile], by)
        ff, ff_index = selection.compress(bits[np.newaxis], HALF_INFINITY, pattern)
        turned = np.ascontiguousarray(bits.T)[np.newaxis]
        bp, bp_index = selection.compress(turned, HALF_INFINITY, pattern)
        for form, found in zip(forms[:2], (ff, ff_index), strict=True):
            form[_groups(rows, pattern), :, columns] = found[0]
        for form, found in zip(forms[2:], (bp, bp_index), strict=True):
            form[_groups(columns, pattern), :, rows] = found[0]

    # Each tile is taken by the thread that is free first.
    left = iter(tiles)
    lock = Lock()

    def work(nth: int) -> None:
        while True:
            with lock:
                tile = next(left, None)
            if tile is None:
                return
            part(tile)

    side_by_side(work, min(threads, len(tiles)))
    ff, bp = (
        Compressed(values.view(np.float16), index, pattern, 1, length)
        for values, index, length in ((*forms[:2], k), (*forms[2:], n))
    )
    return Pregenerated(ff, bp)


def _starts(length: int, about: int, pattern: Pattern) -> list[slice]:
    step = max(1, about // pattern.m) * pattern.m
    return [slice(start, min(length, start + step)) for start in range(0, length, step)]


def _groups(part: slice, pattern: Pattern) -> slice:
    return slice(part.start // pattern.m, pattern.groups(part.stop))


def _updated(weights: Any, momenta: Any, gradients: Any, by: Sgd) -> Any:
    """int16, the bits of the new halves of a tile; weights and momenta are overwritten."""
    if not HALVES:
        new = optimizer.update(weights, momenta, gradients, by)
        weights[:], momenta[:] = new.weights, new.momenta
        return new.halves.view(np.int16)
    bits = np.empty(weights.shape, np.int16)
    lr, mu, wd = map(np.float32, (by.learning_rate, by.momentum, by.weight_decay))
    _update(weights, momenta, gradients.view(np.int16), lr, mu, wd, bits)
    return bits


def _emit_widen(typing: Any, half: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.int16), codegen


def _emit_narrow(typing: Any, single: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.int16(types.float32), codegen


_widen: Any = intrinsic(_emit_widen)
_narrow: Any = intrinsic(_emit_narrow)


@njit(cache=True, nogil=True)
def _update(
    weights: Any, momenta: Any, gradients: Any, lr: Any, mu: Any, wd: Any, out: Any
) -> None:
    nan = np.float32(np.nan)
    for row in range(weights.shape[0]):
        w, v, g, half = weights[row], momenta[row], gradients[row], out[row]
        for i in range(w.size):
            decayed = _widen(g[i]) + wd * w[i]
            momentum = mu * v[i] + decayed
            weight = w[i] - lr * momentum
            # Every NaN is the canonical one.
            weight = weight if weight == weight else nan
            v[i] = momentum if momentum == momentum else nan
            w[i] = weight
            half[i] = _narrow(weight)
