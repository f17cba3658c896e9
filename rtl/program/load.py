"""Loading a tile: runs of memory become segments of a buffer.

The elements of all runs, one after the other, are the elements of all segments, one after the
other: neither knows of the other's borders.

Kept elements lie in memory in blocks of `BLOCK`: first their indices, `index_bits` each, the first
lowest, filled up to whole FP16 words; then their values. The last block of a run is shorter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nofm.rtl.program.sizes import BLOCK, RUN_BITS, ChipSizes
from nofm.rtl.program.walk import WalkShape

Halves = np.ndarray[Any, np.dtype[np.uint16]]
Words = np.ndarray[Any, np.dtype[np.uint32]]


def memory_walk(sizes: ChipSizes) -> WalkShape:
    """A walk over runs in memory: addresses count FP16 elements."""
    return WalkShape(4, {"address": sizes.memory_bits})


def segment_walk(address_bits: int) -> WalkShape:
    """A walk over segments of a buffer."""
    return WalkShape(4, {"to": address_bits})


def _fields(sizes: ChipSizes, address_bits: int) -> dict[str, int]:
    return {
        **memory_walk(sizes).fields("memory_"),
        "run": RUN_BITS,
        **segment_walk(address_bits).fields("segment_"),
        "length": RUN_BITS,
        "skew": 1,
    }


def activation_load_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a job that loads the activation buffer, and their widths.

    memory_...: walk over the runs in memory; run: FP16 elements of each, less one.
    segment_...: walk over the segments in the buffer; length: elements of each, less one.
    skew: how the buffer's banks are numbered (`nofm.rtl.chip.banks`).
    """
    return _fields(sizes, sizes.activation_bits)


def weight_load_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a job that loads the weight buffer, and their widths.

    As `activation_load_fields`, with segments of kept elements, and
    compressed, index_bits, kept: whether indices come before values; bits of each; kept elements \
of a run, less one. Without them every FP16 element of a run is one, with index 0.
    """
    return {
        **_fields(sizes, sizes.weight_bits),
        "compressed": 1,
        "index_bits": (sizes.index_bits).bit_length(),
        "kept": RUN_BITS,
    }


def blocks(kept: int, index_bits: int) -> list[tuple[int, int]]:
    """Kept elements and FP16 words of indices of every block of a run."""
    sizes = [min(BLOCK, kept - first) for first in range(0, kept, BLOCK)]
    return [(size, -(-size * index_bits // 16)) for size in sizes]


def compressed_halves(kept: int, index_bits: int) -> int:
    """FP16 words that a run of kept elements takes in memory."""
    return sum(size + words for size, words in blocks(kept, index_bits))


def pack_kept(values: Halves, index: Any, index_bits: int) -> Halves:
    """A run of kept elements as it lies in memory."""
    parts: list[Halves] = []
    first = 0
    for size, words in blocks(len(values), index_bits):
        bits = sum(int(index[first + i]) << i * index_bits for i in range(size))
        parts.append(np.array([bits >> 16 * k & 0xFFFF for k in range(words)], np.uint16))
        parts.append(values[first : first + size])
        first += size
    return np.concatenate(parts) if parts else np.zeros(0, np.uint16)


def unpack_kept(halves: Halves, kept: int, index_bits: int) -> Words:
    """The inverse of `pack_kept`: values with their indices above them."""
    out, at = np.zeros(kept, np.uint32), 0
    first = 0
    for size, words in blocks(kept, index_bits):
        bits = sum(int(halves[at + k]) << 16 * k for k in range(words))
        at += words
        for i in range(size):
            index = bits >> i * index_bits & (1 << index_bits) - 1
            out[first + i] = int(halves[at + i]) | index << 16
        at += size
        first += size
    return out


def _runs(sizes: ChipSizes, values: Mapping[str, int], memory: Halves) -> list[Halves]:
    length = values["run"] + 1
    return [
        memory[each["address"] : each["address"] + length]
        for each in memory_walk(sizes).passes("memory_", values)
    ]


def load_activations(
    sizes: ChipSizes, values: Mapping[str, int], memory: Halves, buffer: Halves
) -> None:
    """What a job does to the activation buffer: uint16 [activation_elements]."""
    data = np.concatenate(_runs(sizes, values, memory))
    _place(sizes.activation_bits, values, data, buffer)


def load_weights(
    sizes: ChipSizes, values: Mapping[str, int], memory: Halves, buffer: Words
) -> None:
    """What a job does to the weight buffer: uint32 [weight_elements], values with their indices
    above them."""
    runs = _runs(sizes, values, memory)
    if values["compressed"]:
        kept = values["kept"] + 1
        data = np.concatenate([unpack_kept(run, kept, values["index_bits"]) for run in runs])
    else:
        data = np.concatenate(runs).astype(np.uint32)
    _place(sizes.weight_bits, values, data, buffer)


def _place(address_bits: int, values: Mapping[str, int], data: Any, buffer: Any) -> None:
    length = values["length"] + 1
    starts = [each["to"] for each in segment_walk(address_bits).passes("segment_", values)]
    if len(data) != len(starts) * length:
        raise ValueError(f"{len(data)} elements in runs, {len(starts)} x {length} in segments")
    for k, start in enumerate(starts):
        buffer[start : start + length] = data[k * length : (k + 1) * length]
