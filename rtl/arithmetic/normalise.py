"""Normalised numbers: every finite number but zero with a hidden one, subnormal ones too.

A number of a format with E exponent and F fraction bits becomes a sign (most significant bit), an
exponent of E + 1 bits biased by 2^E - 1, and a fraction of F bits. Zero has exponent 0 and
fraction 0; infinity and NaN have an exponent of all ones, and the fraction that they had.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from nofm.rtl.arithmetic.float_format import FloatFormat
from nofm.rtl.arithmetic.pipeline import named
from nofm.rtl.arithmetic.shift import leading_zeros, shift_left


def normalised_format(form: FloatFormat) -> FloatFormat:
    """The fields of a normalised number of `form`; its bias is this format's `bias`."""
    return FloatFormat(form.exponent_bits + 1, form.fraction_bits)


def normalise(m: Module, name: str, form: FloatFormat, bits: Value) -> Signal:
    """`bits`, a number of `form`, as a normalised one; unsigned [form.width + 1].

    Combinational: a leading-zero count and a shift of the fraction.
    """
    half_range = 1 << (form.exponent_bits - 1)
    fraction, exponent = form.fraction(bits), form.exponent(bits)
    normal = named(m, f"{name}_normal", exponent.any())
    zeros = leading_zeros(m, f"{name}_zeros", fraction)
    # The highest one of a subnormal number's fraction becomes hidden.
    shifted = shift_left(m, f"{name}_fraction", Cat(Const(0, 1), fraction[:-1]), zeros)
    out = Signal(form.width + 1, name=f"{name}_normalised")
    out_exponent = Signal(form.exponent_bits + 1, name=f"{name}_exponent")
    with m.If(exponent.all()):
        m.d.comb += out_exponent.eq((1 << len(out_exponent)) - 1)
    with m.Elif(normal):
        m.d.comb += out_exponent.eq(exponent + half_range)
    with m.Elif(fraction.any()):
        m.d.comb += out_exponent.eq(half_range - zeros)
    m.d.comb += out.eq(Cat(Mux(normal, fraction, shifted), out_exponent, form.sign(bits)))
    return out
