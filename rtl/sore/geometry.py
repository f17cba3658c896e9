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
        feed: elements that come in a cycle, where something stands before the lanes that gives
            fewer than they take.
    """

    lanes: int
    entries: int
    group: int
    latency_cycles: int
    feed: int | None = None

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

    def parts(self, columns: int) -> int:
        """Cycles in which a beat of so many columns comes in."""
        return 1 if self.feed is None else -(-columns // self.feed)

    @property
    def part_bits(self) -> int:
        """Bits that number the parts of a beat."""
        return (self.parts(self.lanes) - 1).bit_length()

    @property
    def waiting(self) -> int:
        """Rows of a group that can wait outside the chain at a time, if above 0: their states have
        left it, and the group's other rows have not all entered."""
        return self.group - self.half // self.parts(self.half)

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
        sizes = (self.lanes, self.entries, self.group, self.latency_cycles, self.feed)
        return "_".join(str(size) for size in sizes if size is not None)
