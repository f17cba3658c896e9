"""Turning a word's granules round by a number of lanes, and which lanes lie below a number."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value


def turned(m: Module, name: str, word: Value, lanes: Value, granule_bits: int) -> Value:
    """`word` with granule l in lane l - `lanes`; what leaves below comes in above.

    Args:
        m: where the wires are.
        name: of these.
        word: a power of two of granules.
        lanes: how far; as wide as the number of a lane.
        granule_bits: width of a granule.
    """
    for step in range(len(lanes)):
        by = granule_bits << step
        moved = Signal(len(word), name=f"{name}_{step}")
        m.d.comb += moved.eq(Mux(lanes[step], Cat(word[by:], word[:by]), word))
        word = moved
    return word


def less(m: Module, name: str, value: Value, lanes: int) -> list[Value]:
    """For every number from 0 to `lanes`, whether `value`, a lane's number, is less."""
    bits = Signal(lanes - 1, name=name)
    m.d.comb += bits.eq(Cat(value < lane for lane in range(1, lanes)))
    return [Const(0, 1), *bits, Const(1, 1)]
