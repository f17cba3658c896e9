"""What accelerators take of an FPGA: array, SORE, WUVE and buffers of many designs at once.

The engines' figures are those of models fitted to synthesized hardware (`nofm.rtl.synthesis.fit`);
the buffers', whose hardware NofM does not generate, are arithmetic of the device's block memories.
docs/synthesis.md says how either is organised, what is left out, and how far the models are off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nofm.dataflow.formats import BITS
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.engines import FORMATS
from nofm.rtl.synthesis.devices import bram36, device, uram288
from nofm.rtl.synthesis.fit import models
from nofm.rtl.synthesis.terms import bits

if TYPE_CHECKING:
    from nofm.dataflow.accelerator import Accelerator

Array = npt.NDArray[np.float64]

KINDS = ("lut", "ff", "dsp", "bram", "uram")
"""Look-up tables, flip-flops, DSP48E2, RAMB36E2 (a RAMB18E2 is half of one), URAM288."""

BANKS = 2
"""Banks of every buffer: one is filled while the other is used."""


class Designs(Protocol):
    """A table of designs, such as `nofm.dataflow.design_table.DesignTable`."""

    @property
    def base(self) -> Accelerator:
        """What all designs are variants of."""

    def column(self, name: str) -> npt.NDArray[Any]:
        """Values [n] of an entry of the accelerator, by dotted name."""


def resources(table: Designs, target: str = "xcvu9p") -> dict[str, Array]:
    """What every design takes of a device, by `KINDS`: float64 [n].

    Where an engine cannot be built as described (`sore.latency_cycles` 0, `wuve.latency_cycles`
    below 6, an output buffer without a sum for every column), the nearest one is counted.

    Raises:
        InputError: an unknown device, or a number format that no engine computes in.
    """
    parts = by_part(table, target).values()
    return {kind: np.sum([part[kind] for part in parts], axis=0) for kind in KINDS}


def by_part(table: Designs, target: str = "xcvu9p") -> dict[str, dict[str, Array]]:
    """The same for each part: `array`, `sore`, `wuve`, and the three buffers.

    The output buffer's bank that sums are added up in is the array's own. Without a pattern there
    is no SORE.

    Raises:
        InputError: as `resources`.
    """
    has = device(target)
    _check_formats(table)
    of = parameters(table)
    fitted = [kind for kind in KINDS if kind != "uram"]
    parts = {
        "array" if engine == "stce" else engine: model.predict(of[engine], fitted)
        for engine, model in models().items()
    }
    exists = largest_pattern(table)[0] > 0
    parts["sore"] = {kind: count * exists for kind, count in parts["sore"].items()}
    for part in parts.values():
        part["uram"] = np.zeros(len(exists))
    for name, memories in _buffers(table, of["stce"]).items():
        parts[f"{name} buffer"] = _in_blocks(*memories, has)
    return parts


def device_fits(taken: Mapping[str, Array], target: str = "xcvu9p") -> npt.NDArray[np.bool_]:
    """Which designs a device has enough of everything for: bool [n].

    Args:
        taken: of `resources`.
        target: the device.

    Raises:
        InputError: an unknown device.
    """
    has = device(target)
    return np.logical_and.reduce([taken[kind] <= has[kind] for kind in KINDS])


def parameters(table: Designs) -> dict[str, dict[str, Array]]:
    """Parameters of the designs' engines as the models take them, by engine: float64 [n] each."""

    def column(name: str) -> Array:
        return np.asarray(table.column(name), np.float64)

    registers, columns = column("array.weight_registers"), column("array.columns")
    kept, group = largest_pattern(table)
    # As `nofm.rtl.stce.geometry.Geometry.of` has it.
    words = np.floor(column("buffers.output_kib") * 1024 / BANKS / 4 / columns)
    return {
        "stce": {
            "rows": column("array.rows"),
            "columns": columns,
            "sums": column("array.interleave"),
            "registers": registers,
            "group": np.maximum(registers, group),
            "port": column("array.group_port_elements"),
            "multiplier_cycles": column("array.multiplier_cycles"),
            "adder_cycles": column("array.adder_cycles"),
            "accumulator_cycles": column("array.accumulator_cycles"),
            "accumulator_words": np.maximum(1, words),
        },
        "sore": {
            "lanes": column("sore.lanes"),
            "entries": np.maximum(1, kept),
            "group": np.maximum(2, group),
            "latency_cycles": np.maximum(1, column("sore.latency_cycles")),
        },
        "wuve": {
            "lanes": column("wuve.lanes"),
            "latency_cycles": np.maximum(6, column("wuve.latency_cycles")),
        },
    }


def largest_pattern(table: Designs) -> tuple[Array, Array]:
    """Largest N, and largest M, of each design's patterns: float64 [n] each; 0 without patterns."""
    column = table.column("array.patterns")
    _, first, codes = np.unique(
        np.fromiter(map(id, column), np.int64, len(column)), return_index=True, return_inverse=True
    )
    found = [[Pattern.parse(text) for text in column[i]] for i in first]
    n = np.array([max((pattern.n for pattern in each), default=0) for each in found], np.float64)
    m = np.array([max((pattern.m for pattern in each), default=0) for each in found], np.float64)
    return n[codes], m[codes]


def _check_formats(table: Designs) -> None:
    for entry, needed in FORMATS.items():
        column = table.column(f"formats.{entry}")
        if (other := column != needed).any():
            raise InputError(
                f"what hardware takes is known for formats.{entry} = {needed} only, "
                f"not {column[other][0]}"
            )


def _buffers(table: Designs, array: dict[str, Array]) -> dict[str, tuple[Array, Array, Array]]:
    """Memories of each buffer: how many, words of one, and bits of a word.

    Every row or column of the array has a memory of its own in each bank, since each runs through
    its operands at times of its own.
    """
    operand = float(BITS["fp16"])
    rows, columns = array["rows"], array["columns"]
    lanes = np.maximum(rows, columns)

    def shared(name: str, lanes: Array, width: Array) -> tuple[Array, Array, Array]:
        bank = np.asarray(table.column(f"buffers.{name}_kib"), np.float64) * 1024 * 8 / BANKS
        return BANKS * lanes, np.ceil(bank / lanes / width), width

    return {
        "activation": shared("activation", rows, operand * array["port"]),
        "weight": shared("weight", lanes, operand + bits(array["group"])),
        # The other bank is the array's accumulation buffer.
        "output": (columns, array["accumulator_words"], np.full_like(columns, 32)),
    }


def _in_blocks(
    count: Array, words: Array, width: Array, has: Mapping[str, int]
) -> dict[str, Array]:
    """A buffer in the kind of block memory of which it takes the smaller share of the device."""
    bram, uram = count * bram36(words, width), count * uram288(words, width)
    in_uram = uram * has["bram"] < bram * has["uram"]
    nothing = np.zeros_like(bram)
    return {
        **dict.fromkeys(("lut", "ff", "dsp"), nothing),
        "bram": np.where(in_uram, 0, bram),
        "uram": np.where(in_uram, uram, 0),
    }
