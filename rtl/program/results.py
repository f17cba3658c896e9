"""Results: how they are collected from the array's columns, and stored in memory.

Every column has a bank. A column's results lie there in the order in which the array gives them:
k-th of `inner`, in a *slot* of `pitch` results for each of its columns of the product, and for OS
again for each fold of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nofm.rtl.program.feed import COLUMN_BITS
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.sizes import RUN_BITS, ChipSizes
from nofm.rtl.program.walk import COUNT_BITS, WalkShape

Halves = np.ndarray[Any, np.dtype[np.uint16]]


def collect_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a job of the collector, and their widths.

    Result k of slot s in outer fold f goes to place base + f outer_pitch + s pitch + k of its
    column's bank, as FP16.

    outer: outer folds, less one.
    inner, inner_last: results of a slot, less one; in the last outer fold.
    slots, short_from: slots of a column, less one; columns from `short_from` on have one fewer.
    base, pitch, outer_pitch: places in a bank.
    """
    bits = sizes.result_bits
    return {
        "outer": COUNT_BITS,
        "inner": COUNT_BITS,
        "inner_last": COUNT_BITS,
        "slots": COUNT_BITS,
        "short_from": sizes.columns.bit_length(),
        "base": bits,
        "pitch": bits,
        "outer_pitch": bits,
    }


def row_walk(sizes: ChipSizes) -> WalkShape:
    """A walk over segments of results: the place of their row in a bank, and their first column."""
    return WalkShape(4, {"row": sizes.result_bits, "n": COLUMN_BITS})


def store_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a job that stores results, and their widths.

    The elements of all segments, one after the other, are those of all runs, one after the other.

    segment_...: walk over segments; length: neighbouring columns of each, less one. Column n of a \
row lies in bank n mod C, in place row + floor(n / C) pitch.
    memory_...: walk over the runs in memory; run: FP16 elements of each, less one.
    """
    return {
        **row_walk(sizes).fields("segment_"),
        "length": RUN_BITS,
        "pitch": sizes.result_bits,
        **memory_walk(sizes).fields("memory_"),
        "run": RUN_BITS,
    }


def collect(
    sizes: ChipSizes, values: Mapping[str, int], lanes: list[list[int]], banks: Halves
) -> None:
    """What a job does to the banks, uint16 [columns, result_depth].

    Args:
        lanes: FP32 results of every column, as bits, in the order in which the array gives them.
    """
    mask = (1 << sizes.result_bits) - 1
    for column, lane in enumerate(lanes):
        slots = values["slots"] + (column < values["short_from"])
        at = 0
        for fold in range(values["outer"] + 1):
            last = fold == values["outer"]
            inner = values["inner_last" if last else "inner"] + 1
            for slot in range(slots):
                first = values["base"] + fold * values["outer_pitch"] + slot * values["pitch"]
                given = np.array(lane[at : at + inner], np.uint32).view(np.float32)
                with np.errstate(over="ignore", invalid="ignore"):
                    half = given.astype(np.float16).view(np.uint16)
                half = np.where(np.isnan(given), np.uint16(0x7E00), half)
                banks[column, (first + np.arange(inner)) & mask] = half
                at += inner
        if at != len(lane):
            raise ValueError(f"column {column} gives {len(lane)} results, and the job takes {at}")


def store(sizes: ChipSizes, values: Mapping[str, int], banks: Halves, memory: Halves) -> None:
    """What a job does to memory, uint16 elements."""
    mask = (1 << sizes.result_bits) - 1
    places = np.arange(values["length"] + 1)
    parts = []
    for each in row_walk(sizes).passes("segment_", values):
        n = each["n"] + places
        row = each["row"] + n // sizes.columns * values["pitch"]
        parts.append(banks[n % sizes.columns, row & mask])
    data, run = np.concatenate(parts), values["run"] + 1
    starts = [each["address"] for each in memory_walk(sizes).passes("memory_", values)]
    if len(data) != len(starts) * run:
        raise ValueError(f"{len(data)} elements in segments, {len(starts)} x {run} in runs")
    for k, start in enumerate(starts):
        memory[start : start + run] = data[k * run : (k + 1) * run]
