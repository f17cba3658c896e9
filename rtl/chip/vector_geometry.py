"""What an `Accelerator` says of the vector unit, as the numbers that its hardware is made from."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError
from nofm.rtl.arithmetic.depth import MAX_DEPTH
from nofm.rtl.program.vector import LINE

LOGIC = dict(add=6, scale=5, half=2)
"""How long the logic of each unit is, in parts that a register can stand between."""

FIXED = 2
"""Cycles before the first of them: the line is read, and operands are chosen."""


@dataclass(frozen=True)
class Depths:
    """Pipeline depths of the units that an element passes: of the sum, of the product with the
    scale, and of the conversion to FP16."""

    add: int
    scale: int
    half: int

    @classmethod
    def of(cls, cycles: int) -> Depths:
        """Depths that sum to `cycles`: each goes where the logic between registers is longest."""
        depths = dict.fromkeys(LOGIC, 1)
        for _ in range(cycles - len(depths)):
            open_units = [name for name, depth in depths.items() if depth < MAX_DEPTH]
            depths[max(open_units, key=lambda name: LOGIC[name] / depths[name])] += 1
        return cls(**depths)


UNITS = len(fields(Depths))


@dataclass(frozen=True)
class VectorGeometry:
    """Sizes of a vector unit.

    Attributes:
        lanes: elements taken a cycle.
        depths: of a lane's arithmetic.
    """

    lanes: int
    depths: Depths

    @classmethod
    def of(cls, accelerator: Accelerator) -> VectorGeometry:
        """The geometry of an accelerator's vector unit.

        Raises:
            InputError: operands are not FP16, or `vector.latency_cycles` cannot be shared among
                the units.
        """
        what = f"vector unit of accelerator {accelerator.name!r}"
        if accelerator.formats.operand != "fp16":
            raise InputError(
                f"{what}: formats.operand must be fp16, not {accelerator.formats.operand}"
            )
        cycles, least, most = (
            accelerator.vector.latency_cycles,
            FIXED + UNITS,
            FIXED + UNITS * MAX_DEPTH,
        )
        if not least <= cycles <= most:
            raise InputError(
                f"{what}: vector.latency_cycles must be from {least} to {most}, not {cycles}"
            )
        return cls(accelerator.vector.lanes, Depths.of(cycles - FIXED))

    @property
    def latency_cycles(self) -> int:
        """From an element being taken to its result."""
        return FIXED + sum(astuple(self.depths))

    @property
    def rows(self) -> int:
        """Words of the line, of one element of each lane."""
        return max(2, -(-LINE // self.lanes))

    @property
    def row_bits(self) -> int:
        """Bits of a row's number."""
        return (self.rows - 1).bit_length()

    def line_cycles(self, late: bool) -> int:
        """Cycles from a row's being read to the first in which what was written then is read.

        Args:
            late: whether sums are written, else what the operands are.
        """
        return 3 + (self.depths.add if late else 0)

    @property
    def suffix(self) -> str:
        """What tells module names of different geometries apart."""
        return f"{self.lanes}_{self.latency_cycles}"
