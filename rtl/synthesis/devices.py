"""FPGAs: what each has, and how many of its block memories a memory takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nofm.kernels.errors import unknown

Array = npt.NDArray[Any]

DEVICES: dict[str, dict[str, int]] = {
    "xcvu9p": {"lut": 1_182_240, "ff": 2_364_480, "dsp": 6_840, "bram": 2_160, "uram": 960},
}
"""What a device has: look-up tables, flip-flops, DSP48E2, RAMB36E2, URAM288. XCVU9P: AMD DS890."""

RAMB18_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a RAMB18E2 with one port to write and one to read (AMD UG573); a RAMB36E2 is
two of them."""

URAM_WORDS, URAM_BITS = 4096, 72
"""The one shape of a URAM288 (AMD UG573)."""


def device(name: str) -> Mapping[str, int]:
    """What the device of that name has.

    Raises:
        InputError: there is none.
    """
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return DEVICES[name]


def bram36(words: Array, bits: Array) -> Array:
    """RAMB36E2 of a memory of `words` of `bits`, in halves: float64, of the arrays' shape.

    All blocks of a memory have one shape, the one that takes the fewest.
    """
    words, bits = np.asarray(words, float), np.asarray(bits, float)
    taken = [np.ceil(words / deep) * np.ceil(bits / wide) for deep, wide in RAMB18_SHAPES]
    return np.minimum.reduce(taken) / 2


def uram288(words: Array, bits: Array) -> Array:
    """URAM288 of a memory of `words` of `bits`: float64, of the arrays' shape.

    Words of at most half a block's bits share a block's word, as many as go in.
    """
    words, bits = np.asarray(words, float), np.asarray(bits, float)
    shared = np.maximum(1, np.floor(URAM_BITS / bits))
    return np.ceil(np.ceil(words / shared) / URAM_WORDS) * np.ceil(bits / URAM_BITS)
