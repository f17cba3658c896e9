"""What an `Accelerator` says of SORE, as the numbers that its hardware is made from."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError

VALUE_BITS = 16


@dataclass(frozen=True)
class Geometry:
    """Sizes of a SORE.

    Attributes:
        lanes: elements taken a cycle where one form is made.
        entries: elements that a lane can keep, the largest N.
        group: largest M.
        latency_cycles: from a group's last element being taken to its result leaving the lane.
    """

    lanes: int
    entries: int
    group: int
    latency_cycles: int

    @classmethod
    def of(cls, accelerator: Accelerator) -> Geometry:
        """The geometry of an accelerator's SORE.

        Raises:
            InputError: the accelerator has no pattern, no FP16 operands, or no cycle for a lane's
                register.
        """
        patterns, sore = accelerator.array.patterns, accelerator.sore
        what = f"SORE of accelerator {accelerator.name!r}"
        if not patterns:
            raise InputError(f"{what}: array.patterns must name a pattern, and is empty")
        if accelerator.formats.operand != "fp16":
            raise InputError(
                f"{what}: formats.operand must be fp16, not {accelerator.formats.operand}"
            )
        if sore.latency_cycles < 1:
            raise InputError(
                f"{what}: sore.latency_cycles must be at least 1, not {sore.latency_cycles}"
            )
        return cls(
            lanes=sore.lanes,
            entries=max(pattern.n for pattern in patterns),
            group=max(pattern.m for pattern in patterns),
            latency_cycles=sore.latency_cycles,
        )

    @property
    def half(self) -> int:
        """Lanes of each form, and elements taken a cycle, where both forms are made."""
        return self.lanes // 2

    @property
    def entry_bits(self) -> int:
        """Bits of an entry's number."""
        return max(1, (self.entries - 1).bit_length())

    @property
    def index_bits(self) -> int:
        """Bits of an element's place in its group."""
        return (self.group - 1).bit_length()

    @property
    def result_bits(self) -> int:
        """Bits of a lane's result: values, then indices, of all its entries."""
        return self.entries * (VALUE_BITS + self.index_bits)

    @property
    def state_bits(self) -> int:
        """Bits of a lane's state: its result, which entries are NaN, and how they compare."""
        return self.result_bits + self.entries + self.entries * (self.entries - 1) // 2

    @property
    def suffix(self) -> str:
        """What tells module names of different geometries apart."""
        return f"{self.lanes}_{self.entries}_{self.group}_{self.latency_cycles}"
