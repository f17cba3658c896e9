"""The compiled kernel run by this machine, which must be Linux on AArch64."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from nofm.kernels.arm import spmm
from nofm.kernels.arm.emulate import Field


class Native:
    """The functions of a compiled library."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def call(self, function: str, fields: Mapping[str, Field], written: Collection[str]) -> int:
        """As `emulate.Emulator.call`; nothing stands guard over memory here."""
        words = [one if isinstance(one, int) else one.ctypes.data for one in fields.values()]
        job = (ctypes.c_int64 * len(words))(*words)
        called = self._library[function]
        called.restype = ctypes.c_int64
        return int(called(job))


def matmul(
    native: Native, a: Any, weights: Any, *, layout: str = "rows", threads: int = 1, out: Any
) -> Any:
    """`spmm.matmul` by several threads, which share out the samples."""
    m = a.shape[int(layout != "rows")]

    def part(samples: tuple[int, int]) -> None:
        spmm.matmul(native, a, weights, layout=layout, samples=samples, out=out)

    if threads == 1:
        part((0, m))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, parts(m, threads)))
    return out


def parts(m: int, threads: int) -> list[tuple[int, int]]:
    """Ranges of m samples, one a thread."""
    edges = [m * i // threads for i in range(threads + 1)]
    return list(pairwise(edges))
