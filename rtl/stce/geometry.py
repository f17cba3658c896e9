"""What of an `Accelerator` decides the array's hardware, and the widths that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError

SIZE_BITS = 24
"""Bits of every size and count of folds in a job."""


def bits(values: int) -> int:
    """Bits that number `values` things, at least one."""
    return max(1, (values - 1).bit_length())


@dataclass(frozen=True)
class Geometry:
    """Sizes of the array.

    Attributes:
        rows, columns: of USPEs.
        sums: interleaved sums of a USPE.
        registers: kept weights in each of a USPE's two banks.
        group: elements of the longest group.
        port: activations that a row takes a cycle.
        multiplier_cycles, adder_cycles, accumulator_cycles: as in the `Accelerator`.
        accumulator_words: sums that the accumulation buffer holds for each column.
    """

    rows: int
    columns: int
    sums: int
    registers: int
    group: int
    port: int
    multiplier_cycles: int
    adder_cycles: int
    accumulator_cycles: int
    accumulator_words: int

    @classmethod
    def of(cls, accelerator: Accelerator) -> Geometry:
        """The geometry of an accelerator's array.

        Raises:
            InputError: a column of the accumulation buffer holds no sum.
        """
        array = accelerator.array
        words = accelerator.buffers.output_kib * 1024 // 2 // 4 // array.columns
        if words < 1:
            raise InputError(
                "buffers.output_kib must hold a sum for every column in each of its two banks, "
                f"but {accelerator.buffers.output_kib} KiB do not for {array.columns} columns"
            )
        return cls(
            rows=array.rows,
            columns=array.columns,
            sums=array.interleave,
            registers=array.weight_registers,
            group=max([array.weight_registers, *(pattern.m for pattern in array.patterns)]),
            port=array.group_port_elements,
            multiplier_cycles=array.multiplier_cycles,
            adder_cycles=array.adder_cycles,
            accumulator_cycles=array.accumulator_cycles,
            accumulator_words=words,
        )

    @property
    def beats(self) -> int:
        """Cycles in which the port delivers the longest group."""
        return -(-self.group // self.port)

    @property
    def turn_bits(self) -> int:
        """Bits of an interleaved sum's number."""
        return bits(self.sums)

    @property
    def sum_bits(self) -> int:
        """Bits of a sum's place in the two banks of a USPE."""
        return self.turn_bits + 1

    @property
    def entry_bits(self) -> int:
        """Bits of a place in a weight bank."""
        return bits(self.registers)

    @property
    def index_bits(self) -> int:
        """Bits of a kept weight's place in its group."""
        return bits(self.group)

    @property
    def beat_bits(self) -> int:
        """Bits of a beat's number within a group."""
        return bits(self.beats)

    @property
    def used_bits(self) -> int:
        """Bits of a number of columns in use."""
        return bits(self.columns + 1)

    @property
    def word_bits(self) -> int:
        """Bits of an address in the accumulation buffer."""
        return bits(self.accumulator_words)

    @property
    def period(self) -> int:
        """Longest period of the interleaved sums."""
        return max(self.sums, self.adder_cycles)

    @property
    def longest_row_delay(self) -> int:
        """Most cycles between two rows, in WS with all registers in use."""
        return (self.registers - 1) * self.period + self.adder_cycles

    @property
    def read_cycles(self) -> int:
        """Cycles in which a sum comes out of the accumulation buffer: the second one is a register
        behind its memory, where the other depths leave the time for it."""
        return 2 if min(self.multiplier_cycles, self.accumulator_cycles) > 1 else 1

    @property
    def fill(self) -> int:
        """Cycles from a slot entering the first column to its sum being readable below the last
        one, in the same row."""
        across = self.columns - 1 + self.multiplier_cycles + self.adder_cycles
        return across + self.accumulator_cycles

    @property
    def longest_unit(self) -> int:
        """Most cycles of a block of vectors (WS) or a group (OS)."""
        return max(self.registers * self.period, self.sums * self.beats)

    @property
    def longest_return(self) -> int:
        """Most cycles from a fold's begin to its first sum being back at the top (WS)."""
        return self.rows * self.longest_row_delay + self.accumulator_cycles

    @property
    def longest_finish(self) -> int:
        """More cycles than any job takes from the begin of its last block or group."""
        drain = self.rows * self.sums
        return self.longest_unit + self.longest_return + drain + self.fill
