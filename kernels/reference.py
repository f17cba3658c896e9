"""Golden numerics: the exact bits of a matrix product on the array.

A product of two FP16 numbers is exact in FP32. A sum starts at +0 and takes one product at a time,
in ascending order of the reduction index, each addition rounded to nearest even in FP32. Products
are multiples of 2^-48, so every partial sum is one too, and none is a subnormal FP32 number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.kernels.compressed import Compressed
from nofm.kernels.errors import InputError

Halves = np.ndarray[Any, np.dtype[np.float16]]
Singles = np.ndarray[Any, np.dtype[np.float32]]


def matmul(a: Halves, w: Halves | Compressed) -> Singles:
    """Products of activations and weights, one reduction index after the other.

    Args:
        a: float16 [count, m, taps, length].
        w: float16 [count, taps, length, n], or the compressed form of it.

    Returns:
        float32 [count, m, n].

    Raises:
        InputError: a shape or a type is another.
    """
    check_operands(a, w)
    wide = a.astype(np.float32)
    # Overflow to infinity and invalid operations are results here, as they are in hardware.
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(w, Compressed):
            return _compressed(wide, w)
        dense = w.astype(np.float32)
        out = np.zeros((*a.shape[:2], w.shape[-1]), np.float32)
        for tap in range(a.shape[2]):
            for k in range(a.shape[3]):
                out += wide[:, :, tap, k, np.newaxis] * dense[:, np.newaxis, tap, k, :]
        return out


def _compressed(a: Singles, w: Compressed) -> Singles:
    count, m, _, length = a.shape
    values, index = w.values.astype(np.float32), w.unshared().index.astype(np.intp)
    per_run = w.pattern.groups(length)
    out = np.zeros((count, m, w.n), np.float32)
    rows, products = np.arange(m)[:, np.newaxis], np.arange(count)
    for group, kept in enumerate(w.kept.sum(axis=1)):
        tap, first = group // per_run, group % per_run * w.pattern.m
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
