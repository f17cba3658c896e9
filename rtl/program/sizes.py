"""What of an `Accelerator` decides the chip around its engines, and the widths that follow."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError

BUS_BITS = (64, 128, 256, 512)
"""Widths of the memory bus that there are."""

ADDRESS_BITS = 40
"""Bits of a byte address in memory."""

HALF_BYTES = 2
"""Bytes of an FP16 element: what addresses in memory count."""

RUN_BITS = 24
"""Bits of a run's elements in memory, less one."""

BLOCK = 16
"""Kept elements whose indices stand together before them in memory."""


def _power_of_two(name: str, value: int) -> None:
    if value & (value - 1):
        raise InputError(f"{name} of a chip must be a power of two, not {value}")


def _next_power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()


@dataclass(frozen=True)
class ChipSizes:
    """Sizes of the chip's memories and of its bus.

    Attributes:
        rows, columns: of the array.
        port: FP16 elements of a word of the activation buffer: what a row takes a cycle.
        index_bits: of a kept element's place in the longest group.
        bus_bits: width of the memory bus.
        activation_banks, activation_depth: banks of the activation buffer, and words of each.
        weight_banks, weight_depth: the same of the weight buffer; a word is one kept element.
        result_depth: FP16 results in each column's bank.
    """

    rows: int
    columns: int
    port: int
    index_bits: int
    bus_bits: int
    activation_banks: int
    activation_depth: int
    weight_banks: int
    weight_depth: int
    result_depth: int

    @classmethod
    def of(cls, accelerator: Accelerator) -> ChipSizes:
        """The chip of an accelerator.

        Every buffer holds its two halves one behind the other. Of the output buffer, a half of its
        bytes is the array's accumulation buffer (FP32), and the other half holds results of two
        tiles in FP16.

        Raises:
            InputError: it cannot be built.
        """
        array, buffers = accelerator.array, accelerator.buffers
        _power_of_two("array.columns", array.columns)
        _power_of_two("array.group_port_elements", array.group_port_elements)
        needed = accelerator.dram.bandwidth_gbps * 8e3 / accelerator.clock_mhz
        bus = next((bits for bits in BUS_BITS if bits >= needed), None)
        if bus is None:
            most = BUS_BITS[-1] * accelerator.clock_mhz / 8e3
            raise InputError(
                f"dram.bandwidth_gbps of a chip must be at most {most:g} at "
                f"{accelerator.clock_mhz:g} MHz, which a bus of {BUS_BITS[-1]} bits carries, "
                f"not {accelerator.dram.bandwidth_gbps:g}"
            )
        longest = max([array.weight_registers, *(pattern.m for pattern in array.patterns)])
        index_bits = max(1, (longest - 1).bit_length())
        halves, port = bus // 16, array.group_port_elements
        activation_banks = _next_power_of_two(max(array.rows, halves // port, 2))
        weight_banks = _next_power_of_two(max(array.rows, array.columns, halves))
        sizes = cls(
            rows=array.rows,
            columns=array.columns,
            port=port,
            index_bits=index_bits,
            bus_bits=bus,
            activation_banks=activation_banks,
            activation_depth=buffers.activation_kib
            * 1024
            // (HALF_BYTES * port * activation_banks),
            weight_banks=weight_banks,
            weight_depth=buffers.weight_kib * 8192 // ((16 + index_bits) * weight_banks),
            result_depth=buffers.output_kib * 1024 // 2 // (HALF_BYTES * array.columns),
        )
        for name in ("activation_depth", "weight_depth", "result_depth"):
            if getattr(sizes, name) < 2:
                raise InputError(
                    f"buffers of a chip must hold two words a bank, and {name} is "
                    f"{getattr(sizes, name)}"
                )
        return sizes

    @property
    def halves(self) -> int:
        """FP16 elements of a beat of the bus."""
        return self.bus_bits // 16

    @property
    def memory_bits(self) -> int:
        """Bits of an element's address in memory."""
        return ADDRESS_BITS - 1

    @property
    def activation_elements(self) -> int:
        """FP16 elements of the activation buffer."""
        return self.port * self.activation_banks * self.activation_depth

    @property
    def weight_elements(self) -> int:
        """Kept elements of the weight buffer."""
        return self.weight_banks * self.weight_depth

    @property
    def activation_bits(self) -> int:
        """Bits of an element's address in the activation buffer."""
        return (self.activation_elements - 1).bit_length()

    @property
    def weight_bits(self) -> int:
        """Bits of an element's address in the weight buffer."""
        return (self.weight_elements - 1).bit_length()

    @property
    def result_bits(self) -> int:
        """Bits of an address in a column's bank of results."""
        return (self.result_depth - 1).bit_length()
