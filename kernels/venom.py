"""V:N:M: four columns of every M are chosen for a block of V rows, and N of those four in each row.

So N:4 hardware, the 2:4 of GPUs, computes patterns as sparse as 2:16: Castro et al., *VENOM: A
Vectorized N:M Format for Unleashing the Power of Sparse Tensor Cores*, SC 2023. Here as elsewhere
weights are [length, n] and groups lie along `length`, so a row of that paper is a column.

Such a matrix is N:M, and `Venom.flat` gives it in that form; only its indices are smaller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.kernels import packing
from nofm.kernels.compressed import MAX_SHARING, Compressed, Floats, Indices, compress
from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern

CHOSEN = 4
"""Columns of M that a block of V rows chooses."""


@dataclass(frozen=True, order=True, slots=True)
class VectorPattern:
    """V:N:M, as 64:2:16.

    Attributes:
        v: rows that choose together.
        n, m: N of the four chosen of every M are kept in a row.
    """

    v: int
    n: int
    m: int

    def __post_init__(self) -> None:
        positive(f"pattern {self}: V", self.v, at_most=MAX_SHARING)
        if not 1 <= self.n <= CHOSEN <= self.m:
            raise InputError(
                f"pattern {self}: N must be from 1 to {CHOSEN} and M at least {CHOSEN}"
            )
        _ = self.flat

    @classmethod
    def parse(cls, text: str) -> VectorPattern:
        """Read `"64:2:16"`.

        Raises:
            InputError: the text is no such pattern.
        """
        match = re.fullmatch(r"\s*(\d{1,9}):(\d{1,9}):(\d{1,9})\s*", text, re.ASCII)
        if match is None:
            raise InputError(f"a V:N:M pattern must look like 64:2:16, not {text!r}")
        return cls(*map(int, match.groups()))

    @property
    def flat(self) -> Pattern:
        """The N:M that a row keeps."""
        return Pattern(self.n, self.m)

    def __str__(self) -> str:
        return f"{self.v}:{self.n}:{self.m}"


@dataclass(frozen=True, eq=False)
class Venom:
    """Matrices in V:N:M form.

    Attributes:
        pattern: V:N:M.
        columns: uint8 [..., groups, 4, blocks], the places of every M that a block chose,
            ascending.
        inner: N of these four, [..., groups * 4, n] compressed by N:4.
        flat: the same matrices by N:M, a mask for each row.
    """

    pattern: VectorPattern
    columns: Indices
    inner: Compressed

    @property
    def flat(self) -> Compressed:
        """The same matrices by N:M."""
        chosen = np.repeat(self.columns, self.pattern.v, axis=-1)[..., : self.inner.n]
        index = np.take_along_axis(chosen, self.inner.index.astype(np.intp), axis=-2)
        length = self.inner.length // CHOSEN * self.pattern.m
        return Compressed(
            self.inner.values, index, self.pattern.flat, self.inner.taps, length, sharing=1
        )

    @property
    def value_bytes(self) -> int:
        """Bytes of the kept elements."""
        return self.inner.value_bytes

    @property
    def index_bytes(self) -> int:
        """Bytes of the packed indices: of the chosen columns, and of the places among them."""
        bits = (self.pattern.m - 1).bit_length() if self.pattern.m > CHOSEN else 0
        return packing.size_bytes(self.columns.size, bits) + self.inner.index_bytes


def compress_vnm(dense: Floats, pattern: VectorPattern, threads: int = 1) -> Venom:
    """Prune by V:N:M and compress along the second last axis.

    Args:
        dense: float [..., taps, length, n], `length` a multiple of M.
        pattern: a block chooses the columns of largest summed magnitude, as a shared mask does.
        threads: at most so many are used.

    Raises:
        InputError: `dense` does not fit.
    """
    if dense.ndim < 3 or 0 in dense.shape[-3:]:
        raise InputError(f"dense must be [..., taps, length, n], not {list(dense.shape)}")
    *lead, taps, length, n = dense.shape
    if length % pattern.m:
        raise InputError(
            f"pattern {pattern} needs a length that is a multiple of M = {pattern.m}, not {length}"
        )
    chosen = compress(dense, Pattern(CHOSEN, pattern.m), pattern.v, threads)
    four: Any = chosen.values.reshape(*lead, taps, length // pattern.m * CHOSEN, n)
    inner = compress(four, Pattern(pattern.n, CHOSEN), 1, threads)
    return Venom(pattern, chosen.index, inner)
