"""The floating-point multiplier, rounded to nearest even, with subnormal numbers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.depth import check_depth
from nofm.rtl.arithmetic.float_format import SINGLE, FloatFormat
from nofm.rtl.arithmetic.normalise import normalise, normalised_format
from nofm.rtl.arithmetic.pipeline import Pipeline
from nofm.rtl.arithmetic.rounding import round_to
from nofm.rtl.hierarchy import Unit

# Cut points: 0 operands normalised, 1 multiplied, 2 leading one in its place, 3 aligned for
# rounding, 4 the output.
_CUTS = ((4,), (1, 4), (0, 1, 4), (0, 1, 3, 4), (0, 1, 2, 3, 4))


class Multiplier(Unit):
    """The product of two floating-point numbers, rounded to nearest even.

    | port | width | direction | |
    |---|---|---|---|
    | a, b | form.width | in | numbers, subnormal ones too |
    | advance | 1 | in | when low, nothing changes |
    | product | form.width | out | a x b of the operands of `depth` advancing cycles before |

    Latency: `depth` cycles, 1 to 64. Throughput: a product a cycle. Zero times infinity is NaN;
    every NaN is the canonical one.

    Args:
        depth: registers from operands to product.
        form: format of operands and product, FP32 if not given.

    Raises:
        InputError: `depth` is outside 1 to 64.
    """

    def __init__(self, depth: int, form: FloatFormat = SINGLE) -> None:
        self.depth = check_depth("multiplier", depth)
        self.form = form
        self.module_name = f"nofm_multiplier_{form.name}_{depth}"
        width = form.width
        super().__init__({"a": In(width), "b": In(width), "advance": In(1), "product": Out(width)})

    @property
    def delay(self) -> int:
        """Cycles from operands to product."""
        return self.depth

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        form, normal = self.form, normalised_format(self.form)
        pipe = Pipeline(m, _CUTS, self.depth)
        v = pipe.cut(
            a=normalise(m, "a", form, self.a),
            b=normalise(m, "b", form, self.b),
        )

        hidden = Const(1, 1)
        left, right = Signal(form.fraction_bits + 1), Signal(form.fraction_bits + 1)
        significand = Signal(2 * len(left))
        exponent = Signal(signed(normal.exponent_bits + 2))
        zero: Value = Const(0, 1)
        infinite: Value = Const(0, 1)
        invalid: Value = Const(0, 1)
        for operand in (v.a, v.b):
            special = normal.exponent(operand).all()
            zero = zero | ~normal.exponent(operand).any()
            infinite = infinite | special
            invalid = invalid | (special & normal.fraction(operand).any())
        m.d.comb += [
            left.eq(Cat(normal.fraction(v.a), hidden)),
            right.eq(Cat(normal.fraction(v.b), hidden)),
            significand.eq(left * right),
            exponent.eq(
                normal.exponent(v.a) + normal.exponent(v.b) + (form.bias - 2 * normal.bias)
            ),
        ]
        v = pipe.cut(
            sign=normal.sign(v.a) ^ normal.sign(v.b),
            exponent=exponent,
            significand=significand,
            zero=zero,
            infinite=infinite,
            invalid=invalid | (zero & infinite),
        )

        # The product of two significands is in [1, 4); a zero's was taken for a 1.
        top = v.significand[-1]
        v = pipe.cut(
            sign=v.sign,
            exponent=(v.exponent.as_signed() + top).as_unsigned()[: len(exponent)],
            significand=Mux(
                v.zero, 0, Mux(top, v.significand, Cat(Const(0, 1), v.significand[:-1]))
            ),
            infinite=v.infinite,
            invalid=v.invalid,
        )
        result = round_to(
            m,
            pipe,
            form,
            sign=v.sign,
            exponent=v.exponent.as_signed(),
            significand=v.significand,
            infinite=v.infinite,
            invalid=v.invalid,
        )
        m.d.comb += self.product.eq(pipe.cut(result=result).result)
        return EnableInserter(self.advance)(m)
