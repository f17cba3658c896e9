"""Golden numerics: the exact bits of a matrix product on the array.

A product of two FP16 numbers is exact in FP32. A sum starts at +0 and takes one product at a time,
in ascending order of the reduction index, each addition rounded to nearest even in FP32. Products
are multiples of 2^-48, so every partial sum is one too, and none is a subnormal FP32 number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.kernels.compressed import Compressed
from nofm.kernels.errors import InputError, positive

Halves = np.ndarray[Any, np.dtype[np.float16]]
Singles = np.ndarray[Any, np.dtype[np.float32]]


def matmul(a: Halves, w: Halves | Compressed, tile_length: int | None = None) -> Singles:
    """Products of activations and weights, one reduction index after the other.

    Args:
        a: float16 [count, m, taps, length].
        w: float16 [count, taps, length, n], or the compressed form of it.
        tile_length: elements of a run that are taken at a time: those of all taps come before the
            next ones (docs/timing.md, "Order of additions"). All of them, where not given.

    Returns:
        float32 [count, m, n].

    Raises:
        InputError: a shape or a type is another, or `tile_length` cuts a group.
    """
    check_operands(a, w)
    tile = a.shape[3] if tile_length is None else positive("tile_length", tile_length)
    wide = a.astype(np.float32)
    # Overflow to infinity and invalid operations are results here, as they are in hardware.
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(w, Compressed):
            return _compressed(wide, w, tile)
        dense = w.astype(np.float32)
        out = np.zeros((*a.shape[:2], w.shape[-1]), np.float32)
        for first in range(0, a.shape[3], tile):
            for tap in range(a.shape[2]):
                for k in range(first, min(first + tile, a.shape[3])):
                    out += wide[:, :, tap, k, np.newaxis] * dense[:, np.newaxis, tap, k, :]
        return out


def _compressed(a: Singles, w: Compressed, tile: int) -> Singles:
    count, m, _, length = a.shape
    if tile < length and tile % w.pattern.m:
        raise InputError(f"tile_length must be a multiple of {w.pattern.m}, not {tile}")
    values, index = w.values.astype(np.float32), w.unshared().index.astype(np.intp)
    per_run = w.pattern.groups(length)
    out = np.zeros((count, m, w.n), np.float32)
    rows, products = np.arange(m)[:, np.newaxis], np.arange(count)
    kept_of = w.kept.sum(axis=1)
    # Groups of all taps, as many of each as a tile has.
    number = np.arange(w.groups)
    order = np.lexsort((number, number % per_run * w.pattern.m // tile))
    for group in order.tolist():
        tap, first = group // per_run, group % per_run * w.pattern.m
        kept = kept_of[group]
        for slot in range(kept):
            for product in products:
                selected = a[product, rows, tap, first + index[product, group, slot]]
                out[product] += selected * values[product, group, slot]
    return out


def check_operands(a: Halves, w: Halves | Compressed) -> None:
    """Refuse operands that do not make `count` products.

    Raises:
        InputError: `a` is not float16 [count, m, taps, length] with elements, or `w` is not
            float16 weights of the same count, taps and length.
    """
    if a.ndim != 4 or a.size == 0 or a.dtype != np.float16:
        raise InputError(
            f"activations must be float16 [count, m, taps, length], not {a.dtype} {list(a.shape)}"
        )
    count, _, taps, length = a.shape
    if isinstance(w, Compressed):
        values = w.values
        fits = values.ndim == 4 and (values.shape[0], w.taps, w.length) == (count, taps, length)
        found = f"{list(values.shape[:-3])} x ({w.taps} x {w.length}) x {w.n}"
    else:
        values = w
        fits = w.ndim == 4 and w.shape[:3] == (count, taps, length)
        found = str(list(w.shape))
    if not fits or values.size == 0 or values.dtype != np.float16:
        raise InputError(
            f"weights must be float16 [{count}, {taps}, {length}, n] like the activations, "
            f"not {values.dtype} {found}"
        )
