"""Tensors as they lie in memory (`nofm.rtl.program.layout`), and back; torch's shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nofm.kernels.compressed import compress
from nofm.kernels.pattern import Pattern
from nofm.rtl.program.layout import Beats, FeatureMap, pack_form
from nofm.workloads.layer import Convolution, WeightLayer

Array = np.ndarray[Any, Any]
Halves = np.ndarray[Any, np.dtype[np.uint16]]


def feature_map(layer: WeightLayer, size: tuple[int, ...], channels: int, at: int) -> FeatureMap:
    """The place of a map of a layer: `size` positions of one of its maps."""
    if not isinstance(layer, Convolution):
        return FeatureMap(at, layer.batch * math.prod(size), 1, 1, channels)
    height, width = (1, *size)[-2:]
    return FeatureMap(at, layer.batch, height, width, channels)


def map_halves(of: FeatureMap, values: Array) -> Halves:
    """A map float16 [batch, channels, *size], or [..., channels] of a linear layer, as it lies in
    memory."""
    if of.height * of.width > 1:
        values = values.reshape(of.batch, of.channels, -1).swapaxes(1, 2)
    return np.ascontiguousarray(values).reshape(-1).view(np.uint16)


def map_values(of: FeatureMap, memory: Halves) -> Array:
    """The map in memory, float16 [batch, channels, height, width]."""
    flat = memory[of.address : of.address + of.elements].view(np.float16)
    return np.moveaxis(flat.reshape(of.batch, of.height, of.width, of.channels), 3, 1)


def by_tap(layer: WeightLayer, weight: Array) -> Array:
    """A weight in torch's shape as [groups, taps, channels of the large map, of the small map]."""
    groups = layer.groups if isinstance(layer, Convolution) else 1
    split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return np.ascontiguousarray(split.transpose(0, 3, 2, 1))


def form_halves(taps: Array, pattern: Pattern, *, large: bool) -> Halves:
    """A compressed form of a weight from `by_tap`, along the channels of the large or small map."""
    dense = taps if large else np.ascontiguousarray(taps.swapaxes(2, 3))
    return pack_form(compress(dense, pattern))


def beat_order(taps: int, rows: int, columns: int, beats: Beats) -> np.ndarray[Any, Any]:
    """Which element of [taps, rows, columns] stands at each place of the order of beats."""
    whole = np.arange(taps * rows * columns).reshape(taps, rows, columns)
    parts = [
        whole[tap, row : row + beats.group, column : column + beats.columns].reshape(-1)
        for tap in range(taps)
        for row in range(0, rows, beats.group)
        for column in range(0, columns, beats.columns)
    ]
    return np.concatenate(parts)
