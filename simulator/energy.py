"""Energy of a job: events times the energies of the accelerator's table.

The table's figures and their source stand in the presets. FPGA boards differ: treat the sums as
estimates, and ratios between designs on one table as what they are good for.
"""

from __future__ import annotations

from typing import Any, Protocol


class Priced(Protocol):
    """What an energy needs to know: an `Accelerator`, or the same entries of many as arrays."""

    @property
    def energy(self) -> Any:
        """Energy by event."""

    @property
    def clock_hz(self) -> Any:
        """Clock in Hz."""


def of_products(
    accelerator: Priced,
    *,
    effective_macs: int,
    selected_macs: int,
    buffer_bytes: Any,
    dram_bytes: Any,
    cycles: Any,
) -> dict[str, Any]:
    """Energy in pJ by part of a matrix product.

    Integers, or arrays with a value for each of many accelerators.

    Args:
        effective_macs: multiply-accumulates on kept elements.
        selected_macs: those of them whose activation an index selected.
        buffer_bytes, dram_bytes: bytes moved.
        cycles: how long it took, for static power.
    """
    table = accelerator.energy
    return {
        "mac": effective_macs * table.multiply_accumulate_pj + selected_macs * table.select_pj,
        "buffer": buffer_bytes * table.buffer_pj_per_byte,
        "dram": dram_bytes * table.dram_pj_per_byte,
        "vector": 0.0,
        "static": _static_pj(accelerator, cycles),
    }


def of_engine(
    accelerator: Priced, *, updates: int, compares: int, dram_bytes: int, cycles: Any
) -> dict[str, Any]:
    """Energy in pJ by part of an engine's streaming job, or of several.

    Args:
        updates: parameters updated, or elements of vector work.
        compares: comparisons of the pruner, N for each element.
        dram_bytes: bytes moved; each passes a buffer once.
        cycles: how long it took, for static power.
    """
    table = accelerator.energy
    return {
        "mac": 0.0,
        "buffer": dram_bytes * table.buffer_pj_per_byte,
        "dram": dram_bytes * table.dram_pj_per_byte,
        "vector": updates * table.update_pj + compares * table.compare_pj,
        "static": _static_pj(accelerator, cycles),
    }


def _static_pj(accelerator: Priced, cycles: Any) -> Any:
    return accelerator.energy.static_w * cycles / accelerator.clock_hz * 1e12
