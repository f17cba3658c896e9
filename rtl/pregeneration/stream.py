"""What streams into the chain and out of it: parameters in the order of SORE's beats."""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.kernels.optimizer import Updated
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.sore.stream import walk
from nofm.rtl.wuve import stream
from nofm.rtl.wuve.stream import used_bits

Array = np.ndarray[Any, Any]
Order = np.ndarray[Any, np.dtype[np.int64]]


def order(job: SoreJob, geometry: Geometry) -> Order:
    """Which parameter each lane of each word has: int64 [words x lanes of WUVE].

    Parameters are numbered through the matrix [taps, length, columns]; -1 stands for none.
    """
    lanes = geometry.wuve.lanes
    width = job.parts(geometry.sore) * lanes
    beats = []
    for tap, row, column, _ in walk(job, geometry.sore):
        beat = np.full(width, -1)
        count = min(job.elements(geometry.sore), job.columns - column)
        first = (tap * job.length + row) * job.columns + column
        beat[:count] = np.arange(first, first + count)
        beats.append(beat)
    return np.concatenate(beats)


def input_beats(
    weights: Array, momenta: Array, gradients: Array, by: Order, lanes: int
) -> list[int]:
    """Words for the engine's input; lanes without a parameter hold 0.

    Args:
        weights, momenta: float32 [taps, length, columns].
        gradients: float16 [taps, length, columns].
        by: their `order`.
        lanes: of WUVE.
    """
    return stream.input_beats(
        _arranged(weights, by), _arranged(momenta, by), _arranged(gradients, by), lanes
    )


def updated_beats(after: Updated, by: Order, lanes: int) -> tuple[list[int], list[int]]:
    """Words of the engine's output of updates, and the bits of them that mean something.

    Args:
        after: arrays of [taps, length, columns].
        by: their `order`.
        lanes: of WUVE.
    """
    arranged = Updated(
        _arranged(after.weights, by), _arranged(after.momenta, by), _arranged(after.halves, by)
    )
    return stream.output_beats(arranged, lanes), used_bits(by >= 0, lanes)


def _arranged(values: Array, by: Order) -> Array:
    return np.where(by < 0, values.dtype.type(0), values.reshape(-1)[by])
