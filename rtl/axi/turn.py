"""Turning a word's granules round by a number of lanes."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value


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
