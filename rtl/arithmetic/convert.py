"""Conversions between FP16 and FP32."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, EnableInserter, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.depth import check_depth
from nofm.rtl.arithmetic.float_format import HALF, SINGLE, FloatFormat
from nofm.rtl.arithmetic.half import NORMALISED, normalise
from nofm.rtl.arithmetic.pipeline import Pipeline, named
from nofm.rtl.arithmetic.rounding import round_to
from nofm.rtl.hierarchy import Unit


def half_to_single(m: Module, name: str, half: Value) -> Signal:
    """The FP32 number equal to the FP16 number `half` (16 bits); unsigned [32]. Combinational.

    A NaN becomes the canonical one.
    """
    normal = normalise(m, name, half)
    exponent, fraction = NORMALISED.exponent(normal), NORMALISED.fraction(normal)
    extra = Const(0, SINGLE.fraction_bits - HALF.fraction_bits)
    single = Signal(SINGLE.width, name=f"{name}_single")
    m.d.comb += single[-1].eq(half[-1])
    with m.If(exponent.all() & fraction.any()):
        m.d.comb += single.eq(SINGLE.nan)
    with m.Elif(exponent.all()):
        m.d.comb += single[:-1].eq(SINGLE.infinite_exponent << SINGLE.fraction_bits)
    with m.Elif(exponent.any()):
        shifted = exponent + (SINGLE.bias - NORMALISED.bias)
        m.d.comb += single[:-1].eq(Cat(extra, fraction, shifted))
    return single


class Narrow(Unit):
    """A number in a format with fewer bits, rounded to nearest even.

    | port | width | direction | |
    |---|---|---|---|
    | wide | wide_form.width | in | number |
    | advance | 1 | in | when low, nothing changes |
    | narrow | narrow_form.width | out | `wide` of `depth` advancing cycles before |

    Latency: `depth` cycles, 1 to 64. Throughput: a number a cycle. Numbers too large become
    infinity, small ones subnormal numbers or zero; every NaN is the canonical one.

    Args:
        depth: registers from input to output.
        wide_form, narrow_form: formats. The wide one has 2 fraction bits more at least, and every
            subnormal number of it lies below half the smallest number of the narrow one.

    Raises:
        InputError: `depth` is outside 1 to 64.
        ValueError: the formats are too near to each other.
    """

    # Cut points: 0 aligned for rounding, 1 the output.
    _CUTS = ((1,), (0, 1))

    def __init__(self, depth: int, wide_form: FloatFormat, narrow_form: FloatFormat) -> None:
        self.depth = check_depth("conversion", depth)
        lowest = narrow_form.bias + narrow_form.fraction_bits + 1
        if wide_form.fraction_bits < narrow_form.fraction_bits + 2 or wide_form.bias < lowest:
            raise ValueError(f"{wide_form.name} is too near to {narrow_form.name}")
        self.wide_form, self.narrow_form = wide_form, narrow_form
        self.module_name = f"nofm_narrow_{wide_form.name}_{narrow_form.name}_{depth}"
        super().__init__(
            {"wide": In(wide_form.width), "advance": In(1), "narrow": Out(narrow_form.width)}
        )

    @property
    def delay(self) -> int:
        """Cycles from input to output."""
        return self.depth

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        wide = self.wide_form
        field, fraction = wide.exponent(self.wide), wide.fraction(self.wide)
        # A subnormal number is far below the narrow format's smallest one, and counts as zero.
        normal = named(m, "normal", field.any())
        special = named(m, "special", field.all())
        exponent = Signal(signed(wide.exponent_bits + 2))
        m.d.comb += exponent.eq(field + (self.narrow_form.bias - wide.bias))
        pipe = Pipeline(m, self._CUTS, self.depth)
        result = round_to(
            m,
            pipe,
            self.narrow_form,
            sign=wide.sign(self.wide),
            exponent=exponent,
            significand=Cat(fraction & normal.replicate(wide.fraction_bits), normal),
            infinite=special,
            invalid=special & fraction.any(),
        )
        m.d.comb += self.narrow.eq(pipe.cut(result=result).result)
        return EnableInserter(self.advance)(m)


class SingleToHalf(Narrow):
    """FP32 to FP16: `Narrow` from 32-bit `wide` to 16-bit `narrow`."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth, SINGLE, HALF)
