"""Rounding to nearest even into a format, with its subnormal numbers and its overflow."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Value

from nofm.rtl.arithmetic.float_format import FloatFormat
from nofm.rtl.arithmetic.pipeline import Pipeline, named
from nofm.rtl.arithmetic.shift import shift_right_sticky


def round_to(
    m: Module,
    pipe: Pipeline,
    form: FloatFormat,
    *,
    sign: Value,
    exponent: Value,
    significand: Value,
    infinite: Value,
    invalid: Value,
) -> Value:
    """The number of `form` that is nearest to significand x 2^exponent; unsigned [form.width].

    One cut point of `pipe` lies in it, between the shift of subnormal results and the rounding.

    Args:
        m: the module that the logic goes into.
        pipe: the unit's pipeline.
        form: the result's format.
        sign: of the result.
        exponent: signed, biased by `form.bias`, of the significand's top bit.
        significand: its top bit is set, or it is 0; longer than `form`'s by 2 bits or more.
        infinite: the result is infinity (or NaN).
        invalid: the result is NaN.
    """
    bits = form.fraction_bits
    low = named(m, "low", exponent < 1)
    # A significand that is shifted out altogether rounds to 0 however far it goes.
    reach = (bits + 2).bit_length()
    down = named(m, "down", (1 - exponent).as_unsigned())
    amount = Mux(down[reach:].any(), (1 << reach) - 1, down[:reach])
    shifted = shift_right_sticky(m, "subnormal", significand, Mux(low, amount, 0))
    zero = ~significand[-1]
    over = ~low & (exponent >= form.infinite_exponent)
    v: Any = pipe.cut(
        sign=sign,
        exponent=Mux(low | zero, 0, exponent)[: form.exponent_bits],
        significand=shifted,
        infinite=infinite | (over & ~zero),
        invalid=invalid,
    )

    rest = len(v.significand) - bits - 1
    fraction = v.significand[rest:-1]
    increment = v.significand[rest - 1] & (fraction[0] | v.significand[: rest - 1].any())
    # A fraction that rounds up past its end carries into the exponent.
    carried = (Cat(fraction, v.exponent) + increment)[: form.width - 1]
    rounded = named(m, "rounded", carried)
    infinity = Const(form.infinite_exponent << bits, form.width - 1)
    size = Mux(v.infinite, infinity, rounded)
    return Mux(v.invalid, Const(form.nan, form.width), Cat(size, v.sign))
