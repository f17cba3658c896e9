"""Shifting and counting: the barrel shifters and the leading-zero count of normalisation."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from nofm.rtl.arithmetic.pipeline import named


def shift_left(m: Module, name: str, value: Value, amount: Value) -> Signal:
    """`value` shifted left by `amount` at its own width, zeros coming in.

    Combinational: a row of multiplexers for each bit of `amount`.
    """
    for level in reversed(range(len(amount))):
        shifted = Cat(Const(0, min(1 << level, len(value))), value)[: len(value)]
        value = named(m, f"{name}_left_{level}", Mux(amount[level], shifted, value))
    return value


def shift_right_sticky(m: Module, name: str, value: Value, amount: Value) -> Signal:
    """`value` shifted right by `amount` at its own width; bit 0 also tells what was shifted out.

    Combinational. Bit 0 is the OR of itself and all bits that left (the sticky bit), so that
    rounding sees whether the shift was exact. Any `amount` is right, past the width as well.
    """
    width = len(value)
    levels = (width - 1).bit_length()
    lost: Value = Const(0, 1)
    for level in range(min(levels, len(amount))):
        out = value[: 1 << level].any()
        lost = named(m, f"{name}_lost_{level}", lost | (amount[level] & out))
        shifted = Cat(value[1 << level :], Const(0, min(1 << level, width)))[:width]
        value = named(m, f"{name}_right_{level}", Mux(amount[level], shifted, value))
    if len(amount) > levels:
        past = named(m, f"{name}_past", amount[levels:].any())
        lost = Mux(past, value.any() | lost, lost)
        value = Mux(past, Const(0, width), value)
    return named(m, f"{name}_sticky", Cat(value[0] | lost, value[1:]))


def leading_zeros(m: Module, name: str, value: Value) -> Signal:
    """Zeros above the highest one of `value`, which is not 0; unsigned [ceil(log2(width))].

    Combinational: a tree of halves. For a value of 0 the count means nothing.
    """
    width = len(value)
    padded = 1 << max(1, (width - 1).bit_length())
    _, count = _count(m, name, Cat(Const(0, padded - width), value))
    return count


def _count(m: Module, name: str, value: Value) -> tuple[Value, Signal]:
    """Whether `value` is 0, and its leading zeros modulo its width, a power of two."""
    width = len(value)
    if width == 2:
        return ~value.any(), named(m, f"{name}_count_{width}", ~value[1])
    half = width // 2
    none_low, low = _count(m, f"{name}_l", value[:half])
    none_high, high = _count(m, f"{name}_h", value[half:])
    none_high = named(m, f"{name}_h_none_{half}", none_high)
    return (
        none_low & none_high,
        named(m, f"{name}_count_{width}", Cat(Mux(none_high, low, high), none_high)),
    )
