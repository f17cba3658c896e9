"""Streams between memory and a unit: the elements of all runs of a walk, one after the other.

The unit does not know of the runs' borders: it takes as many elements at a time as it likes. So a
tensor that lies in one piece is one run, whatever the unit makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nofm.kernels.errors import InputError
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.sizes import RUN_BITS, ChipSizes
from nofm.rtl.program.walk import Loop, Nest

Halves = np.ndarray[Any, np.dtype[np.uint16]]


def stream_fields(sizes: ChipSizes, prefix: str) -> dict[str, int]:
    """Fields of a stream of a job, and their widths.

    {prefix}...: walk over the runs in memory.
    {prefix}run: FP16 elements of each run, less one. An FP32 number is two of them, the low half \
first.
    """
    return {**memory_walk(sizes).fields(prefix), f"{prefix}run": RUN_BITS}


def encode_stream(sizes: ChipSizes, prefix: str, nest: Nest, run: int) -> dict[str, int]:
    """Values of `stream_fields`.

    Args:
        nest: loops that move the place "address".
        run: FP16 elements of each run.

    Raises:
        InputError: a number does not fit.
    """
    if not 1 <= run <= 1 << RUN_BITS:
        raise InputError(f"elements of a run must be from 1 to 2^{RUN_BITS}, not {run}")
    return {**memory_walk(sizes).encode(prefix, nest), f"{prefix}run": run - 1}


def one_run(sizes: ChipSizes, prefix: str, address: int, elements: int) -> dict[str, int]:
    """Values of `stream_fields` for FP16 elements that lie in one piece.

    More than 2^24 of them are runs of the same length, if they can be.

    Raises:
        InputError: they cannot be.
    """
    most = 1 << RUN_BITS
    runs = next((n for n in range(1, 1 << 16) if elements % n == 0 and elements // n <= most), None)
    if runs is None:
        raise InputError(f"{elements} elements must divide into equal runs of 2^{RUN_BITS} at most")
    run = elements // runs
    return encode_stream(
        sizes, prefix, Nest({"address": address}, (Loop(runs, {"address": run}),)), run
    )


def read(sizes: ChipSizes, prefix: str, values: Mapping[str, int], memory: Halves) -> Halves:
    """The elements of a stream that is read."""
    run = values[f"{prefix}run"] + 1
    starts = [each["address"] for each in memory_walk(sizes).passes(prefix, values)]
    return np.concatenate([memory[start : start + run] for start in starts])


def write(
    sizes: ChipSizes, prefix: str, values: Mapping[str, int], data: Halves, memory: Halves
) -> None:
    """Place the elements of a stream that is written."""
    run = values[f"{prefix}run"] + 1
    starts = [each["address"] for each in memory_walk(sizes).passes(prefix, values)]
    if len(data) != len(starts) * run:
        raise ValueError(f"{len(data)} elements given, {len(starts)} x {run} in runs of {prefix}")
    for k, start in enumerate(starts):
        memory[start : start + run] = data[k * run : (k + 1) * run]


def as_singles(halves: Halves) -> np.ndarray[Any, np.dtype[np.float32]]:
    """FP32 numbers of which each is two halves, the low one first."""
    return np.ascontiguousarray(halves).view("<f4")


def as_halves(numbers: Any) -> Halves:
    """FP16 or FP32 numbers as they lie in memory."""
    return np.ascontiguousarray(numbers).reshape(-1).view("<u2")
