"""The floating-point adder: two paths, and a register wherever a stage would become long.

The *near* path subtracts numbers whose exponents differ by one at most, when the result has lost
its leading bit: that result is exact, and needs a leading-zero count and a long shift but no
rounding. The *far* path does everything else: a long shift before the addition, then a shift by
one place at most and rounding. So no operand passes two long shifters.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.depth import check_depth
from nofm.rtl.arithmetic.float_format import SINGLE, FloatFormat
from nofm.rtl.arithmetic.pipeline import Pipeline, named
from nofm.rtl.arithmetic.shift import leading_zeros, shift_left, shift_right_sticky
from nofm.rtl.hierarchy import Unit

# Cut points: 0 exponents compared, 1 operands swapped, 2 smaller one aligned (far) or subtracted
# (near), 3 added (far) or zeros counted (near), 4 normalised, 5 the output.
_CUTS = (
    (5,),
    (2, 5),
    (1, 3, 5),
    (1, 2, 3, 5),
    (1, 2, 3, 4, 5),
    (0, 1, 2, 3, 4, 5),
)

# Guard, round and sticky bits below the last place of the sum.
_EXTRA = 3


class Adder(Unit):
    """The sum of two floating-point numbers, rounded to nearest even.

    | port | width | direction | |
    |---|---|---|---|
    | a, b | form.width | in | numbers |
    | advance | 1 | in | when low, nothing changes |
    | sum | form.width | out | a + b of the operands of `depth` advancing cycles before |

    Latency: `depth` cycles, 1 to 64. Throughput: a sum a cycle. x + -x is +0, -0 + -0 is -0,
    infinity minus infinity is NaN; every NaN is the canonical one.

    Args:
        depth: registers from operands to sum.
        subnormals: whether operands or sums can be subnormal. Without them the adder is shorter;
            sums of FP16 products are multiples of 2^-48, so in FP32 there are none.
        form: format of operands and sum, FP32 if not given.

    Raises:
        InputError: `depth` is outside 1 to 64.
    """

    def __init__(self, depth: int, subnormals: bool, form: FloatFormat = SINGLE) -> None:
        self.depth = check_depth("adder", depth)
        self.subnormals = subnormals
        self.form = form
        range_name = "full" if subnormals else "normal"
        self.module_name = f"nofm_adder_{form.name}_{range_name}_{depth}"
        width = form.width
        super().__init__({"a": In(width), "b": In(width), "advance": In(1), "sum": Out(width)})

    @property
    def delay(self) -> int:
        """Cycles from operands to sum."""
        return self.depth

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipe = Pipeline(m, _CUTS, self.depth)
        compared = pipe.cut(**self._compare(m))
        ordered = pipe.cut(**self._order(m, compared))
        aligned = pipe.cut(**self._align(m, ordered))
        added = pipe.cut(**self._add(m, aligned))
        normal = pipe.cut(**self._normalise(m, added))
        m.d.comb += self.sum.eq(pipe.cut(result=self._round(m, normal)).result)
        return EnableInserter(self.advance)(m)

    def _compare(self, m: Module) -> dict[str, Value]:
        """Exponents, and their difference both ways."""
        form = self.form
        values: dict[str, Value] = {}
        for name, bits in (("a", self.a), ("b", self.b)):
            field, fraction = form.exponent(bits), form.fraction(bits)
            hidden = named(m, f"hidden_{name}", field.any())
            special = named(m, f"special_{name}", field.all())
            values |= {
                f"sign_{name}": form.sign(bits),
                # A subnormal number has the exponent of the smallest normal ones.
                f"exponent_{name}": Cat(field[0] | ~hidden, field[1:])
                if self.subnormals
                else field,
                f"significand_{name}": Cat(fraction, hidden),
                f"special_{name}": special,
                f"nan_{name}": special & fraction.any(),
            }
        a, b = values["exponent_a"], values["exponent_b"]
        return values | {"a_minus_b": (a - b).as_unsigned(), "b_minus_a": (b - a).as_unsigned()}

    def _order(self, m: Module, v: Any) -> dict[str, Value]:
        """The operand of the larger exponent is `big`, the other one `small`."""
        swap = named(m, "swap", v.a_minus_b[-1])
        subtract = named(m, "subtract", v.sign_a ^ v.sign_b)
        return {
            "sign": Mux(swap, v.sign_b, v.sign_a),
            "subtract": subtract,
            "exponent": Mux(swap, v.exponent_b, v.exponent_a),
            "distance": Mux(swap, v.b_minus_a, v.a_minus_b)[:-1],
            "big": Mux(swap, v.significand_b, v.significand_a),
            "small": Mux(swap, v.significand_a, v.significand_b),
            "infinite": v.special_a | v.special_b,
            "invalid": v.nan_a | v.nan_b | (v.special_a & v.special_b & subtract),
        }

    def _align(self, m: Module, v: Any) -> dict[str, Value]:
        """Far: `small` shifted to `big`'s exponent. Near: their difference, in half units."""
        extended = Cat(Const(0, _EXTRA), v.small)
        addend = shift_right_sticky(m, "align", extended, v.distance)

        big = named(m, "near_big", Cat(Const(0, 1), v.big))
        small = named(
            m,
            "near_small",
            Mux(v.distance[0], Cat(v.small, Const(0, 1)), Cat(Const(0, 1), v.small)),
        )
        # Only operands of the same exponent can give a negative difference.
        difference = named(m, "near_difference", (big - small).as_unsigned())
        opposite = named(m, "near_opposite", (small - big).as_unsigned())
        negative = difference[-1]
        size = named(m, "near_size", Mux(negative, opposite, difference)[:-1])
        return {
            "sign": v.sign,
            "subtract": v.subtract,
            "exponent": v.exponent,
            "big": v.big,
            "addend": addend ^ v.subtract.replicate(len(addend)),
            # A larger subnormal operand may be the `small` one: of equal exponents, all are near.
            "near": v.subtract & ~v.distance[1:].any() & ~(size[-1] & v.distance[0]),
            "near_size": size,
            "near_sign": v.sign ^ negative,
            "infinite": v.infinite,
            "invalid": v.invalid,
        }

    def _add(self, m: Module, v: Any) -> dict[str, Value]:
        """Far: the sum. Near: how far the difference must move up."""
        # The carry into the lowest place completes the negation of a subtracted addend.
        left = Cat(v.subtract, Const(0, _EXTRA), v.big)
        right = Cat(v.subtract, v.addend)
        total = named(m, "total", (left + right)[1:])
        zeros = leading_zeros(m, "near_zeros", v.near_size[:-1])
        near_one = named(m, "near_one", v.near_size.any())
        near_shift: Value = zeros
        normal: Value = Const(1, 1)
        if self.subnormals:
            # A subnormal difference moves up only as far as the smallest exponent allows.
            room = named(m, "near_room", _minus_one(v.exponent))
            normal = named(m, "near_room_left", room > zeros)
            near_shift = Mux(normal, zeros, room)[: len(zeros)]
        return {
            "sign": Mux(v.near, v.near_sign & near_one, v.sign),
            "exponent": v.exponent,
            "up": (v.exponent + 1)[: len(v.exponent)],
            "down": _minus_one(v.exponent),
            "carry": total[-1] & ~v.subtract,
            "lost": ~total[-2] & v.subtract,
            "total": total[:-1],
            "near": v.near,
            "near_size": v.near_size,
            "near_shift": near_shift,
            "near_normal": near_one & normal,
            "infinite": v.infinite,
            "invalid": v.invalid,
        }

    def _normalise(self, m: Module, v: Any) -> dict[str, Value]:
        """The leading one in its place, and whether to round up."""
        bits = self.form.fraction_bits
        # Without subnormals, the difference's leading one is always the hidden one.
        near = shift_left(m, "near", v.near_size[: bits + self.subnormals], v.near_shift)
        near_fraction = near[:bits]
        near_exponent: Value = Const(0, len(v.exponent))
        exponent = v.exponent
        if self.subnormals:
            near_exponent = Cat(v.near_size[-1], near_exponent[1:])
            near_fraction = Mux(v.near_normal, near_fraction, near[1:])
            exponent = Mux(v.total[-1] | v.lost, exponent, 0)
        near_normal_exponent = (v.down - v.near_shift)[: len(v.down)]
        near_exponent = Mux(v.near_normal, near_normal_exponent, near_exponent)

        # The sum's leading one stands one place up (carry), in its place, or one down (lost).
        def choose(up: Value, same: Value, down: Value) -> Value:
            return Mux(v.carry, up, Mux(v.lost, down, same))

        def rounds_up(last: int) -> Value:
            """Above half of the last place, which is bit `last`, or half and odd."""
            return v.total[last - 1] & (v.total[last] | v.total[: last - 1].any())

        return {
            "sign": v.sign,
            "exponent": choose(v.up, exponent, v.down),
            "fraction": choose(*(v.total[last : last + bits] for last in (4, 3, 2))),
            "increment": choose(*(rounds_up(last) for last in (4, 3, 2))),
            "near": v.near,
            "near_exponent": near_exponent,
            "near_fraction": near_fraction,
            "infinite": v.infinite | (v.carry & v.up.all()),
            "invalid": v.invalid,
        }

    def _round(self, m: Module, v: Any) -> Value:
        """The sum's bits. A fraction that rounds up past its end carries into the exponent."""
        form = self.form
        carried = (Cat(v.fraction, v.exponent) + v.increment)[: form.width - 1]
        rounded = named(m, "rounded", carried)
        chosen = named(m, "chosen", Mux(v.near, Cat(v.near_fraction, v.near_exponent), rounded))
        fraction = chosen[: form.fraction_bits] & ~v.infinite.replicate(form.fraction_bits)
        exponent = chosen[form.fraction_bits :] | v.infinite.replicate(form.exponent_bits)
        number = named(m, "number", Cat(fraction, exponent, v.sign))
        return Mux(v.invalid, form.nan, number)


def _minus_one(value: Value) -> Value:
    """`value` - 1 at the width of `value`."""
    return (value - 1)[: len(value)]
