"""What streams into a WUVE and out of it: parameters as beats, lane 0 in the low bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nofm.kernels.optimizer import Halves, Singles, Updated

GIVEN = {"weight": 32, "momentum": 32, "gradient": 16}
"""Fields of a lane in an input beat: FP32 w and v, FP16 g."""

UPDATED = {"weight": 32, "momentum": 32, "half": 16}
"""Fields of a lane in an output beat: FP32 w' and v', FP16 h."""


def input_beats(weights: Singles, momenta: Singles, gradients: Halves, lanes: int) -> list[int]:
    """Words for the engine's input; lanes of the last one that no parameter is left for hold 0.

    Args:
        weights, momenta: float32 [elements].
        gradients: float16 [elements].
        lanes: of the engine.
    """
    return _beats(GIVEN, (weights, momenta, gradients), lanes)


def output_beats(after: Updated, lanes: int) -> list[int]:
    """Words of the engine's output, with arrays of [elements]; 0 where they mean nothing."""
    return _beats(UPDATED, (after.weights, after.momenta, after.halves), lanes)


def used_bits(used: np.ndarray[Any, np.dtype[np.bool_]], lanes: int) -> list[int]:
    """Which bits of the engine's output words mean something.

    Args:
        used: [elements], whether there is a parameter.
    """
    ones = [-used.astype(f"i{width // 8}") for width in UPDATED.values()]
    return _beats(UPDATED, ones, lanes)


def _beats(widths: Mapping[str, int], columns: Any, lanes: int) -> list[int]:
    layout = np.dtype([(name, f"<u{width // 8}") for name, width in widths.items()])
    elements = len(columns[0])
    words = np.zeros((-(-elements // lanes), lanes), layout)
    flat = words.reshape(-1)[:elements]
    for name, values in zip(widths, columns, strict=True):
        flat[name] = values.view(layout[name])
    return [int.from_bytes(beat.tobytes(), "little") for beat in words]
