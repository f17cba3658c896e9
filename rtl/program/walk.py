"""Walks: nested loops that move places, which is all that the chip knows of tiles and windows.

A walk visits the passes of a nest of loops, from any pass on and for any number of them, and gives
the *places* of each: addresses, positions in a map. Places move by addition only: a loop that goes
on adds its own stride less all that the loops inside of it have added, which is known ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nofm.kernels.errors import InputError

Places = np.ndarray[Any, np.dtype[np.int64]]

COUNT_BITS = 20
"""Bits of a loop's passes, less one."""

TOTAL_BITS = 24
"""Bits of a walk's passes, less one."""


@dataclass(frozen=True)
class Loop:
    """One loop: its passes, and what each moves every place (none, where not given)."""

    count: int
    strides: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Nest:
    """Nested loops, the innermost first.

    Attributes:
        start: places of the nest's very first pass; 0 where not given.
        loops: at least one.
        first: the pass that the walk begins with.
        total: passes of the walk; all from `first` on, where not given.
    """

    start: Mapping[str, int]
    loops: tuple[Loop, ...]
    first: int = 0
    total: int | None = None

    @property
    def passes(self) -> int:
        """Passes of the walk."""
        whole = 1
        for loop in self.loops:
            whole *= loop.count
        return whole - self.first if self.total is None else self.total


@dataclass(frozen=True)
class WalkShape:
    """Sizes of a walk in hardware: its loops, and the width of every place, which wraps round."""

    loops: int
    places: Mapping[str, int]

    def fields(self, prefix: str) -> dict[str, int]:
        """Fields of a walk and their widths.

        total: passes, less one.
        count_i, left_i: passes of loop i, less one; those that are left in its first round after \
the first of them. The outermost loop has neither: the walk's end ends it.
        start_p: place p of the first pass.
        step_p_i: what place p moves when loop i goes on and those inside begin again.
        """
        fields = {f"{prefix}total": TOTAL_BITS}
        for i in range(self.loops - 1):
            fields |= {f"{prefix}count_{i}": COUNT_BITS, f"{prefix}left_{i}": COUNT_BITS}
        for place, width in self.places.items():
            fields[f"{prefix}start_{place}"] = width
            fields |= {f"{prefix}step_{place}_{i}": width for i in range(self.loops)}
        return fields

    def encode(self, prefix: str, nest: Nest) -> dict[str, int]:
        """Values of `fields`.

        Raises:
            InputError: the nest has more loops than the hardware, or a number does not fit.
        """
        if len(nest.loops) > self.loops:
            raise InputError(f"a walk must have {self.loops} loops at most, not {len(nest.loops)}")
        loops = [*nest.loops, *[Loop(1)] * (self.loops - len(nest.loops))]
        values = {f"{prefix}total": _count(nest.passes, TOTAL_BITS)}
        at, rounds = [], nest.first
        for loop in loops:
            at.append(rounds % loop.count)
            rounds //= loop.count
        if rounds:
            raise InputError(f"a walk must begin within its loops, not with pass {nest.first}")
        for i, loop in enumerate(loops[:-1]):
            values[f"{prefix}count_{i}"] = _count(loop.count, COUNT_BITS)
            values[f"{prefix}left_{i}"] = loop.count - 1 - at[i]
        for place, width in self.places.items():
            strides = [loop.strides.get(place, 0) for loop in loops]
            start = nest.start.get(place, 0) + sum(
                stride * done for stride, done in zip(strides, at, strict=True)
            )
            values[f"{prefix}start_{place}"] = start % (1 << width)
            inside = 0
            for i, (loop, stride) in enumerate(zip(loops, strides, strict=True)):
                values[f"{prefix}step_{place}_{i}"] = (stride - inside) % (1 << width)
                inside += (loop.count - 1) * stride
        return values

    def passes(self, prefix: str, values: Mapping[str, int]) -> Iterator[dict[str, int]]:
        """The places of every pass, as the hardware finds them from the values of `fields`."""
        inner = range(self.loops - 1)
        places = {place: values[f"{prefix}start_{place}"] for place in self.places}
        left = [values[f"{prefix}left_{i}"] for i in inner]
        for _ in range(values[f"{prefix}total"]):
            yield dict(places)
            loop = next((i for i in inner if left[i]), self.loops - 1)
            for place, width in self.places.items():
                moved = places[place] + values[f"{prefix}step_{place}_{loop}"]
                places[place] = moved % (1 << width)
            if loop < self.loops - 1:
                left[loop] -= 1
            left[:loop] = [values[f"{prefix}count_{i}"] for i in range(loop)]
        yield dict(places)

    def places_of(self, prefix: str, values: Mapping[str, int]) -> dict[str, Places]:
        """The same at once: int64 [passes] by place."""
        rounds = np.arange(values[f"{prefix}total"] + 1)
        digits = []
        for i in range(self.loops - 1):
            count = values[f"{prefix}count_{i}"]
            rounds = rounds + (count - values[f"{prefix}left_{i}"])
            digits.append(rounds % (count + 1) - (count - values[f"{prefix}left_{i}"]))
            rounds = rounds // (count + 1)
        digits.append(rounds)
        found = {}
        for place, width in self.places.items():
            at = np.full(len(rounds), values[f"{prefix}start_{place}"], np.int64)
            inside = 0
            for i, digit in enumerate(digits):
                stride = (values[f"{prefix}step_{place}_{i}"] + inside) % (1 << width)
                at = at + digit * signed(stride, width)
                if i < self.loops - 1:
                    inside += values[f"{prefix}count_{i}"] * stride
            found[place] = at % (1 << width)
        return found


def signed(value: int, width: int) -> int:
    """A place as a signed number."""
    return value - (1 << width) if value >> width - 1 else value


def _count(passes: int, width: int) -> int:
    if not 1 <= passes <= 1 << width:
        raise InputError(f"passes of a walk must be from 1 to 2^{width}, not {passes}")
    return passes - 1
