"""Binary floating-point formats of IEEE 754's kind: a sign, a biased exponent and a fraction."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Value


@dataclass(frozen=True)
class FloatFormat:
    """A format by its field widths: sign (most significant bit), exponent, fraction.

    The exponent is biased by `bias`; exponent 0 stands for zero and subnormal numbers, and all
    ones for infinity and NaN.
    """

    exponent_bits: int
    fraction_bits: int

    @property
    def name(self) -> str:
        """What module names call it: `e5f10` is FP16."""
        return f"e{self.exponent_bits}f{self.fraction_bits}"

    @property
    def width(self) -> int:
        """Bits of a number."""
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """What the exponent field holds for the exponent 0."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def infinite_exponent(self) -> int:
        """The exponent field of infinity and NaN: all ones."""
        return (1 << self.exponent_bits) - 1

    @property
    def nan(self) -> int:
        """Bits of the canonical quiet NaN: positive, and only the fraction's top bit set."""
        return (self.infinite_exponent << self.fraction_bits) | 1 << (self.fraction_bits - 1)

    def sign(self, bits: Value) -> Value:
        """The sign bit of the number `bits`."""
        return bits[-1]

    def exponent(self, bits: Value) -> Value:
        """The exponent field of the number `bits`."""
        return bits[self.fraction_bits : -1]

    def fraction(self, bits: Value) -> Value:
        """The fraction field of the number `bits`."""
        return bits[: self.fraction_bits]


HALF = FloatFormat(5, 10)
SINGLE = FloatFormat(8, 23)
