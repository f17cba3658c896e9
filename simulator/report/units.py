"""Numbers for people: one unit for a column, chosen by its largest value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Units = Mapping[str, float]
"""Names of a quantity's units and their sizes, from the smallest to the largest."""

BYTES: Units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
COUNT: Units = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
ENERGY_PJ: Units = {"pJ": 1, "nJ": 1e3, "µJ": 1e6, "mJ": 1e9, "J": 1e12, "kJ": 1e15, "MJ": 1e18}
SECONDS: Units = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit and how many decimals to show.

    >>> scale_for([64534585, 1514], COUNT).text(64534585)
    '64.5'
    """

    unit: str
    size: float
    decimals: int

    def text(self, value: float) -> str:
        """`value` in this unit; what would round to zero is shown as below the last decimal."""
        if value == 0:
            return "0"
        scaled = value / self.size
        last = 10.0**-self.decimals
        if abs(scaled) < last / 2:
            return f"<{last:.{self.decimals}f}"
        return f"{scaled:,.{self.decimals}f}"


def scale_for(values: Iterable[float], units: Units) -> Scale:
    """The largest unit that the largest of `values` (not negative) reaches, with three digits."""
    largest = max(values, default=0)
    smallest = next(iter(units))
    unit = [smallest, *(name for name, size in units.items() if largest >= size)][-1]
    size = units[unit]
    scaled = largest / size
    # Bytes and counts are whole numbers.
    whole = unit == smallest and size == 1 and largest == int(largest)
    decimals = 0 if whole or scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return Scale(unit, size, decimals)


def amount(value: float, units: Units) -> str:
    """One value with its unit.

    >>> amount(25_000_000, ENERGY_PJ)
    '25.0 µJ'
    """
    scale = scale_for([value], units)
    return f"{scale.text(value)} {scale.unit}".rstrip()


def plain(text: str) -> str:
    """`text` on one line without control characters, which a file's layer names may hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters; the middle goes, since a layer's name says most at
    both ends.

    >>> shorten("encoder.layers.11.attention.query", 16)
    'encoder…on.query'
    """
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    tail = width - 1 - head
    return f"{text[:head]}…{text[len(text) - tail :]}"
