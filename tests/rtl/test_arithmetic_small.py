"""Arithmetic in formats so small that every pair of operands is tried, against exact rationals.

The generators are the same as those of FP16 and FP32. The reference knows nothing of bits but how
they are decoded: it takes the nearest of all numbers that the format has.
"""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.convert import Narrow
from nofm.rtl.arithmetic.float_format import FloatFormat
from nofm.rtl.arithmetic.multiplier import Multiplier
from nofm.rtl.arithmetic.normalise import normalise, normalised_format
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.tools.pump import Pump

FORMATS = [FloatFormat(2, 2), FloatFormat(3, 3), FloatFormat(3, 4), FloatFormat(4, 3)]
NARROWED = [
    (FloatFormat(4, 6), FloatFormat(3, 3)),
    (FloatFormat(5, 6), FloatFormat(3, 2)),
    (FloatFormat(5, 7), FloatFormat(4, 4)),
]
DEPTH = 2
WIDTH = 13


def pair_name(wide: FloatFormat, narrow: FloatFormat) -> str:
    return f"{wide.name}_{narrow.name}"


class Small(Unit):
    """Every small unit, on the low bits of the same operands."""

    module_name = "nofm_small"

    def __init__(self) -> None:
        self.results: dict[str, tuple[Unit, str]] = {}
        for form in FORMATS:
            self.results |= {
                f"sum_{form.name}": (Adder(DEPTH, True, form), "sum"),
                f"normal_sum_{form.name}": (Adder(DEPTH, False, form), "sum"),
                f"product_{form.name}": (Multiplier(DEPTH, form), "product"),
            }
        for wide, narrow in NARROWED:
            unit = Narrow(DEPTH, wide, narrow)
            self.results[f"narrow_{pair_name(wide, narrow)}"] = (unit, "narrow")
        outputs = {name: len(getattr(unit, port)) for name, (unit, port) in self.results.items()}
        outputs |= {f"normalised_{form.name}": form.width + 1 for form in FORMATS}
        super().__init__(
            {"a": In(WIDTH), "b": In(WIDTH), "advance": In(1)}
            | {name: Out(width) for name, width in outputs.items()}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, (unit, port) in self.results.items():
            place(m, platform, f"unit_{name}", unit)
            for operand in unit.signature.members.keys() - {port, "advance"}:
                source = self.b if operand == "b" else self.a
                into = getattr(unit, operand)
                m.d.comb += into.eq(source[: len(into)])
            m.d.comb += [unit.advance.eq(self.advance), getattr(self, name).eq(getattr(unit, port))]
        for form in FORMATS:
            normalised = normalise(m, form.name, form, self.a[: form.width])
            m.d.comb += getattr(self, f"normalised_{form.name}").eq(normalised)
        return m


@pytest.fixture(scope="module")
def pump(pytestconfig: pytest.Config) -> Pump:
    unit = Small()
    delays = dict.fromkeys(unit.results, DEPTH)
    delays |= {f"normalised_{form.name}": 0 for form in FORMATS}
    return Pump(unit, delays, pytestconfig.cache.mkdir("pump"))


@dataclass(frozen=True)
class Number:
    """A number: its sign, and its size (None: infinite). NaN is None instead of a number."""

    negative: bool
    size: Fraction | None

    @property
    def value(self) -> Fraction:
        assert self.size is not None
        return -self.size if self.negative else self.size


def decode(form: FloatFormat, bits: int) -> Number | None:
    """What `bits` stand for."""
    fraction = bits % (1 << form.fraction_bits)
    exponent = bits >> form.fraction_bits & form.infinite_exponent
    negative = bool(bits >> (form.width - 1))
    if exponent == form.infinite_exponent:
        return None if fraction else Number(negative, None)
    hidden = 1 << form.fraction_bits if exponent else 0
    power = max(exponent, 1) - form.bias - form.fraction_bits
    return Number(negative, (hidden + fraction) * Fraction(2) ** power)


@functools.cache
def sizes(form: FloatFormat) -> list[Fraction]:
    """The size of every finite positive number, by its bits; then what the next one would be."""
    finite = [decode(form, bits) for bits in range(form.infinite_exponent << form.fraction_bits)]
    known = [number.value for number in finite if number is not None]
    return [*known, 2 * known[-1] - known[-2]]


def encode(form: FloatFormat, number: Number | None) -> int:
    """The bits nearest to `number`, the even ones of two that are equally near."""
    if number is None:
        return form.nan
    sign = number.negative << (form.width - 1)
    known = sizes(form)
    if number.size is None or number.size >= known[-1]:
        return sign | form.infinite_exponent << form.fraction_bits
    above = bisect.bisect_right(known, number.size)
    below = above - 1
    rest, gap = number.size - known[below], known[above] - known[below]
    up = 2 * rest > gap or (2 * rest == gap and below % 2 == 1)
    return sign | (above if up else below)


def add(a: Number | None, b: Number | None) -> Number | None:
    if a is None or b is None:
        return None
    if a.size is None or b.size is None:
        if a.size is None and b.size is None and a.negative != b.negative:
            return None
        return a if a.size is None else b
    total = a.value + b.value
    return Number(total < 0 or (a.negative and b.negative), abs(total))


def multiply(a: Number | None, b: Number | None) -> Number | None:
    if a is None or b is None:
        return None
    negative = a.negative != b.negative
    if a.size is None or b.size is None:
        return None if 0 in (a.size, b.size) else Number(negative, None)
    return Number(negative, a.size * b.size)


def subnormal(form: FloatFormat, number: Number | None) -> bool:
    if number is None or number.size is None:
        return False
    return 0 < number.size < Fraction(2) ** (1 - form.bias)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_pair(form: FloatFormat, pump: Pump) -> None:
    count = 1 << form.width
    a, b = np.divmod(np.arange(count * count), count)
    results = pump(a=a, b=b)
    numbers = [decode(form, bits) for bits in range(count)]
    sums = [add(x, y) for x in numbers for y in numbers]
    products = [multiply(x, y) for x in numbers for y in numbers]
    # The adder without subnormals is defined where neither operands nor the exact sum are.
    small = np.array([subnormal(form, number) for number in numbers])
    normal = ~(small[a] | small[b] | np.array([subnormal(form, number) for number in sums]))
    everywhere = np.ones_like(normal)
    for name, exact, where in (
        ("sum", sums, everywhere),
        ("normal_sum", sums, normal),
        ("product", products, everywhere),
    ):
        expected = np.array([encode(form, number) for number in exact])
        wrong = (results[f"{name}_{form.name}"] != expected) & where
        assert not wrong.any(), (name, a[wrong][:4], b[wrong][:4])
    assert normal.mean() > 0.2


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_normalised_number(form: FloatFormat, pump: Pump) -> None:
    bits = np.arange(1 << form.width)
    normal = normalised_format(form)
    for given, found in zip(
        bits.tolist(), pump(a=bits, b=bits)[f"normalised_{form.name}"].tolist(), strict=True
    ):
        number = decode(form, given)
        assert decode(normal, found) == number
        fields = found >> form.fraction_bits & normal.infinite_exponent
        assert (fields == 0) == (number is not None and number.size == 0)


@pytest.mark.parametrize(("wide", "narrow"), NARROWED, ids=lambda form: form.name)
def test_every_number_narrowed(wide: FloatFormat, narrow: FloatFormat, pump: Pump) -> None:
    bits = np.arange(1 << wide.width)
    results = pump(a=bits, b=bits)
    expected = [encode(narrow, decode(wide, int(given))) for given in bits]
    wrong = np.flatnonzero(results[f"narrow_{pair_name(wide, narrow)}"] != expected)
    assert wrong.size == 0, wrong[:4]


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (FloatFormat(4, 7), FloatFormat(4, 4)),
        (FloatFormat(4, 6), FloatFormat(3, 4)),
        (FloatFormat(5, 5), FloatFormat(3, 4)),
    ],
    ids=lambda form: form.name,
)
def test_formats_that_are_too_close(wide: FloatFormat, narrow: FloatFormat) -> None:
    with pytest.raises(ValueError, match=f"^{wide.name} is too near to {narrow.name}$"):
        Narrow(1, wide, narrow)
