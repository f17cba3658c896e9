"""What many designs cost in one training step, as columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.dataflow.design_table import DesignTable
from nofm.kernels.errors import InputError
from nofm.simulator.batch import StepBatch
from nofm.simulator.step import simulate_step

Values = np.ndarray[Any, Any]

BUFFERS = ("buffers.activation_kib", "buffers.weight_kib", "buffers.output_kib")


def costs(steps: StepBatch, table: DesignTable) -> tuple[dict[str, Values], Values]:
    """Figures of designs by column, and their errors.

    Returns:
        The figures, [n] each (of no meaning where there is an error); and object [n], why a
        design cannot be built or simulated, else None.
    """
    count = len(table)
    cycles, moved = np.zeros(count, np.int64), np.zeros(count, np.int64)
    energy, errors = np.zeros(count), table.errors()
    for i in range(count):
        if errors[i] is not None:
            continue
        try:
            total = simulate_step(
                steps.trace, table.accelerator(i), steps.method, steps.pattern, steps.options
            ).total
        except InputError as error:
            errors[i] = str(error)
            continue
        cycles[i], moved[i], energy[i] = total["cycles"], total["dram_bytes"], total["energy_pj"]
    seconds = cycles / np.rint(_floats(table, "clock_mhz") * 1e6)
    joules = energy * 1e-12
    return {
        "cycles": cycles,
        "seconds": seconds,
        "energy_joules": joules,
        "edp": joules * seconds,
        "dram_bytes": moved,
        "peak_macs_per_cycle": _whole(table, "array.rows") * _whole(table, "array.columns"),
        "buffers_kib": np.sum([_whole(table, name) for name in BUFFERS], axis=0),
    }, errors


def _floats(table: DesignTable, name: str) -> Values:
    return np.asarray(table.column(name), np.float64)


def _whole(table: DesignTable, name: str) -> Values:
    return np.asarray(table.column(name), np.int64)
