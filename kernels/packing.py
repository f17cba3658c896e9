"""Small numbers packed into bytes, a fixed number of bits each, the lowest bit of a byte first."""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.kernels.errors import InputError

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def size_bytes(count: int, bits: int) -> int:
    """Bytes of `count` numbers of `bits` bits; the last byte may have room left."""
    return -(-count * bits // 8)


def pack(numbers: Bytes, bits: int) -> Bytes:
    """uint8 [size_bytes]: `numbers`, uint8 [count] and below 2^bits, one after the other."""
    digits = np.unpackbits(numbers[:, np.newaxis], axis=1, count=bits, bitorder="little")
    return np.packbits(digits, bitorder="little")


def unpack(packed: Bytes, bits: int, count: int) -> Bytes:
    """uint8 [count]: the numbers that `pack` was given.

    Raises:
        InputError: `packed` is not uint8 of the size of `count` numbers.
    """
    size = size_bytes(count, bits)
    if packed.dtype != np.uint8 or packed.shape != (size,):
        raise InputError(
            f"{count} packed numbers of {bits} bits must be uint8 [{size}], "
            f"not {packed.dtype} {list(packed.shape)}"
        )
    if bits == 0:
        return np.zeros(count, np.uint8)
    digits = np.unpackbits(packed, count=count * bits, bitorder="little")
    return np.packbits(digits.reshape(count, bits), axis=1, bitorder="little").reshape(count)
