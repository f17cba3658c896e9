"""What many designs cost in one training step, and what hardware they take, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nofm.dataflow.design_table import DesignTable
from nofm.explore import area, power
from nofm.explore.columns import AREA
from nofm.kernels.errors import InputError
from nofm.rtl.engines import FORMATS
from nofm.simulator.batch import StepBatch

Values = np.ndarray[Any, Any]

TARGET = "xcvu9p"
"""The FPGA that hardware's figures are for, unless a space names another."""

BUFFERS = ("buffers.activation_kib", "buffers.weight_kib", "buffers.output_kib")


def costs(
    steps: StepBatch, table: DesignTable, target: str = ""
) -> tuple[dict[str, Values], Values]:
    """Figures of designs by column, and their errors.

    Args:
        steps: the training step.
        table: the designs.
        target: the FPGA; `TARGET` where none is named.

    Returns:
        The figures, [n] each (of no meaning where there is an error, NaN where unknown); and
        object [n], why a design cannot be built or simulated, else None.
    """
    result = steps.evaluate_table(table)
    joules = result.energy_pj * 1e-12
    found = {
        "cycles": result.cycles,
        "seconds": result.seconds,
        "energy_joules": joules,
        "edp": joules * result.seconds,
        "dram_bytes": result.dram_bytes,
    }
    fine = np.flatnonzero(~result.errors.astype(bool))
    for name, values in _sizes(table.take(fine), target or TARGET).items():
        whole = values.dtype.kind == "i"
        found[name] = np.zeros(len(table), np.int64) if whole else np.full(len(table), np.nan)
        found[name][fine] = values
    return found, result.errors


def _sizes(table: DesignTable, target: str) -> dict[str, Values]:
    """Figures of designs that depend on no training step."""

    def whole(name: str) -> Values:
        return np.asarray(table.column(name), np.int64)

    found: dict[str, Values] = {
        "peak_macs_per_cycle": whole("array.rows") * whole("array.columns"),
        "buffers_kib": np.sum([whole(name) for name in BUFFERS], axis=0),
    }
    # Hardware is known for one choice of formats.
    known = np.logical_and.reduce(
        [table.column(f"formats.{entry}") == needed for entry, needed in FORMATS.items()]
    )
    taken = dict.fromkeys(AREA, np.full(len(table), np.nan))
    if known.any():
        built = table.take(np.flatnonzero(known))
        resources = area.resources(built, target)
        resources["power_watts"] = power.of_resources(built, resources, target)
        for name, values in resources.items():
            taken[name] = np.full(len(table), np.nan)
            taken[name][known] = values
    return found | taken


def fits(figures: dict[str, Values], target: str) -> Values:
    """Which designs a device has room for: bool [n]. What is not known does not fit."""
    found: Values = area.device_fits({kind: figures[kind] for kind in area.KINDS}, target)
    return found


def has_area(formats: Mapping[str, Sequence[str]]) -> bool:
    """Whether hardware's figures are known of all designs.

    Args:
        formats: entries of `formats`, each with the values that designs have.
    """
    return all(set(formats[entry]) == {needed} for entry, needed in FORMATS.items())


def check_area(names: Sequence[str], formats: Mapping[str, Sequence[str]]) -> None:
    """Refuse to ask for hardware's figures where no design has them.

    Args:
        names: figures that are asked for.
        formats: as in `has_area`.

    Raises:
        InputError: no design has the formats that engines compute in.
    """
    for entry, needed in FORMATS.items():
        values = formats[entry]
        if names and needed not in values:
            raise InputError(
                f"{names[0]} is known for formats.{entry} = {needed} only, not {', '.join(values)}"
            )
