"""N:M patterns: N kept of every M consecutive elements."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nofm.kernels.errors import InputError

MAX_GROUP = 256
"""Largest M of any pattern: an index then still fits one byte."""


@dataclass(frozen=True, order=True, slots=True)
class Pattern:
    """N kept of every M consecutive elements along the reduction dimension.

    `Pattern(n, n)` keeps everything: it is a dense product whose group is n elements wide.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.m <= MAX_GROUP:
            raise InputError(
                f"pattern {self.n}:{self.m}: M must be from 1 to {MAX_GROUP}, not {self.m}"
            )
        if not 1 <= self.n <= self.m:
            raise InputError(
                f"pattern {self.n}:{self.m}: N must be from 1 to M = {self.m}, not {self.n}"
            )

    @classmethod
    def parse(cls, text: str | Pattern) -> Pattern:
        """Read `"2:8"` or `"dense"`.

        Raises:
            InputError: the text is neither.
        """
        if isinstance(text, Pattern):
            return text
        if text == "dense":
            return DENSE
        match = re.fullmatch(r"\s*([+-]?\d{1,9}):([+-]?\d{1,9})\s*", str(text), re.ASCII)
        if match is None:
            raise InputError(f"pattern must look like 2:8 or be 'dense', not {text!r}")
        return cls(int(match[1]), int(match[2]))

    @property
    def dense(self) -> bool:
        """Whether nothing is pruned."""
        return self.n == self.m

    @property
    def density(self) -> float:
        """The kept share, N/M."""
        return self.n / self.m

    @property
    def index_bits(self) -> int:
        """Bits of one kept element's position in its group; 0 when nothing is pruned."""
        return 0 if self.dense else (self.m - 1).bit_length()

    def groups(self, length: int) -> int:
        """Groups in a run of `length` elements; the last one may be ragged."""
        return -(-length // self.m)

    def kept(self, length: int) -> int:
        """Elements kept of a run of `length`; a ragged last group keeps at most N."""
        return length // self.m * self.n + min(length % self.m, self.n)

    def covers(self, other: Pattern) -> bool:
        """Whether whatever is N:M by the other pattern is so by this one, too.

        >>> Pattern(4, 8).covers(Pattern(3, 8)), Pattern(2, 8).covers(Pattern(1, 4))
        (True, True)
        >>> Pattern(1, 4).covers(Pattern(2, 8))
        False
        """

        def most(first: int) -> int:
            """Elements that the other pattern may keep from `first` on in a group of this one."""
            found, at, end = 0, first, first + self.m
            while at < end:
                following = min(end, (at // other.m + 1) * other.m)
                found += min(other.n, following - at)
                at = following
            return found

        period = math.lcm(self.m, other.m)
        return all(most(first) <= self.n for first in range(0, period, self.m))

    def __str__(self) -> str:
        return "dense" if self.dense else f"{self.n}:{self.m}"


DENSE = Pattern(1, 1)
