"""What an `Accelerator` says of WUVE, as the numbers that its hardware is made from."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError
from nofm.rtl.arithmetic.depth import MAX_DEPTH

_MULTIPLY, _ADD, _CONVERT = 5, 6, 2

LOGIC = dict(
    decay=_MULTIPLY, decayed=_ADD, momentum=_ADD, step=_MULTIPLY, weight=_ADD, half=_CONVERT
)
"""How long the logic of each unit is, in parts that a register can stand between."""


@dataclass(frozen=True)
class Depths:
    """Pipeline depths of the units that a parameter passes, in the order of the formulas

        d = g + wd w;  v' = mu v + d;  w' = w - lr v';  h = FP16(w')

    Attributes:
        decay: of the product wd w, and of mu v beside it.
        decayed: of the sum d.
        momentum: of the sum v'.
        step: of the product lr v'.
        weight: of the difference w'.
        half: of the conversion h.
    """

    decay: int
    decayed: int
    momentum: int
    step: int
    weight: int
    half: int

    @classmethod
    def of(cls, cycles: int) -> Depths:
        """Depths that sum to `cycles`: each goes where the logic between registers is longest.

        `cycles` is from the number of units to `MAX_DEPTH` times that.
        """
        depths = dict.fromkeys(LOGIC, 1)
        for _ in range(cycles - len(depths)):
            open_units = [name for name, depth in depths.items() if depth < MAX_DEPTH]
            depths[max(open_units, key=lambda name: LOGIC[name] / depths[name])] += 1
        return cls(**depths)


UNITS = len(fields(Depths))
"""Units that a parameter passes one after the other."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of a WUVE.

    Attributes:
        lanes: parameters taken a cycle.
        depths: pipeline depths of a lane's units.
    """

    lanes: int
    depths: Depths

    @classmethod
    def of(cls, accelerator: Accelerator) -> Geometry:
        """The geometry of an accelerator's WUVE.

        Raises:
            InputError: a format is another than FP16 for operands and FP32 for masters, or
                `wuve.latency_cycles` cannot be shared among the units.
        """
        what = f"WUVE of accelerator {accelerator.name!r}"
        formats, cycles = accelerator.formats, accelerator.wuve.latency_cycles
        for name, given, built in (
            ("operand", formats.operand, "fp16"),
            ("master", formats.master, "fp32"),
        ):
            if given != built:
                raise InputError(f"{what}: formats.{name} must be {built}, not {given}")
        if not UNITS <= cycles <= UNITS * MAX_DEPTH:
            raise InputError(
                f"{what}: wuve.latency_cycles must be from {UNITS}, a cycle for each of its units, "
                f"to {UNITS * MAX_DEPTH}, not {cycles}"
            )
        return cls(lanes=accelerator.wuve.lanes, depths=Depths.of(cycles))

    @property
    def latency_cycles(self) -> int:
        """From a parameter being taken to its results."""
        return sum(astuple(self.depths))

    @property
    def suffix(self) -> str:
        """What tells module names of different geometries apart."""
        return f"{self.lanes}_{self.latency_cycles}"
