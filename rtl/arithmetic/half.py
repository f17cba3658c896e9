"""FP16 operands: their normalised form, and the multiplier that takes it.

A normalised half has 17 bits: sign (most significant), exponent (6, biased by 31, so that
subnormal numbers have a hidden one as well), fraction (10). Zero has exponent 0 and fraction 0;
infinity and NaN have exponent 63, with a fraction of 0 and not 0. Numbers are normalised once at
the edge of an array, so that the many multipliers inside need no subnormals.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic import normalise as normalisation
from nofm.rtl.arithmetic.depth import check_depth
from nofm.rtl.arithmetic.float_format import HALF, SINGLE
from nofm.rtl.arithmetic.pipeline import Pipeline, named
from nofm.rtl.hierarchy import Unit

NORMALISED = normalisation.normalised_format(HALF)
WIDTH = NORMALISED.width
ZERO = 0

# Cut points: 0 before the multiplication, 1 behind it, 2 the output.
_CUTS = ((2,), (1, 2), (0, 1, 2))


def normalise(m: Module, name: str, half: Value) -> Signal:
    """The normalised half of an FP16 number `half` (16 bits); unsigned [17]. Combinational."""
    return normalisation.normalise(m, name, HALF, half)


class HalfMultiplier(Unit):
    """The exact product of two FP16 numbers, in FP32.

    A product of FP16 numbers is 0 or at least 2^-48: never subnormal in FP32, and never rounded.
    Its 11 x 11 bit multiplication is one DSP block.

    | port | width | direction | |
    |---|---|---|---|
    | a, b | 17 | in | normalised halves |
    | advance | 1 | in | when low, nothing changes |
    | product | 32 | out | FP32 product of the operands of `depth` advancing cycles before |

    Latency: `depth` cycles, 1 to 64. Throughput: a product a cycle. Zero times infinity is NaN;
    every NaN is the canonical one.

    Raises:
        InputError: `depth` is outside 1 to 64.
    """

    def __init__(self, depth: int) -> None:
        self.depth = check_depth("multiplier", depth)
        self.module_name = f"nofm_half_multiplier_{depth}"
        super().__init__(
            {"a": In(WIDTH), "b": In(WIDTH), "advance": In(1), "product": Out(SINGLE.width)}
        )

    @property
    def delay(self) -> int:
        """Cycles from operands to product."""
        return self.depth

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipe = Pipeline(m, _CUTS, self.depth)
        operands = pipe.cut(a=self.a, b=self.b)

        significands = []
        zero: Value = Const(0, 1)
        infinite: Value = Const(0, 1)
        invalid: Value = Const(0, 1)
        for name in ("a", "b"):
            operand = getattr(operands, name)
            exponent, fraction = NORMALISED.exponent(operand), NORMALISED.fraction(operand)
            # A zero gets a hidden one too, which keeps the way to the DSP block short.
            significands.append(named(m, f"significand_{name}", Cat(fraction, Const(1, 1))))
            special = named(m, f"special_{name}", exponent.all())
            zero = zero | ~exponent.any()
            infinite = infinite | special
            invalid = invalid | (special & fraction.any())
        multiplied = Signal(2 * len(significands[0]))
        m.d.comb += multiplied.eq(significands[0] * significands[1])
        exponent_a, exponent_b = (NORMALISED.exponent(x) for x in (operands.a, operands.b))
        exponent = Signal(SINGLE.exponent_bits)
        # Two biases of 31 leave, that of FP32 comes.
        m.d.comb += exponent.eq(exponent_a + exponent_b + (SINGLE.bias - 2 * NORMALISED.bias))
        values = pipe.cut(
            significand=multiplied,
            exponent=exponent,
            sign=NORMALISED.sign(operands.a) ^ NORMALISED.sign(operands.b),
            zero=zero,
            infinite=infinite,
            invalid=invalid | (zero & infinite),
        )

        # The significand is in [1, 4): the higher bit of the two before the point is its top bit.
        top = values.significand[-1]
        shifted = Mux(top, values.significand[:-1], Cat(Const(0, 1), values.significand[:-2]))
        fraction = Cat(Const(0, SINGLE.fraction_bits - len(shifted)), shifted)
        result = Signal(SINGLE.width)
        m.d.comb += result.eq(Cat(fraction, (values.exponent + top)[:8], values.sign))
        with m.If(values.invalid):
            m.d.comb += result.eq(SINGLE.nan)
        with m.Elif(values.infinite):
            m.d.comb += result[:-1].eq(SINGLE.infinite_exponent << SINGLE.fraction_bits)
        with m.Elif(values.zero):
            m.d.comb += result[:-1].eq(0)
        m.d.comb += self.product.eq(pipe.cut(result=result).result)
        return EnableInserter(self.advance)(m)
