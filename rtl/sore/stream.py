"""What streams into a SORE and out of it: a matrix as beats, and its compressed forms as beats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nofm.kernels.compressed import Compressed
from nofm.kernels.errors import InputError
from nofm.rtl.sore.geometry import VALUE_BITS, Geometry
from nofm.rtl.sore.job import SoreJob

Halves = np.ndarray[Any, np.dtype[np.float16]]


def input_beats(dense: Halves, job: SoreJob, geometry: Geometry) -> list[int]:
    """Words for the engine's input, in their order; lanes without a column hold 0.

    Args:
        dense: float16 [taps, length, columns].

    Raises:
        InputError: the matrix is not that of the job.
    """
    if dense.shape != (job.taps, job.length, job.columns):
        raise InputError(
            f"a SORE job's matrix must be {[job.taps, job.length, job.columns]}, "
            f"not {list(dense.shape)}"
        )
    e = job.elements(geometry)
    words = dense.view(np.uint16).astype("<u2")
    return [
        int.from_bytes(words[tap, row, column : column + e].tobytes(), "little")
        for tap, row, column, _ in walk(job, geometry)
    ]


def walk(job: SoreJob, geometry: Geometry) -> Iterator[tuple[int, int, int, int]]:
    """(tap, row, first column, cycle) of every input beat, in the order of the engine's input.

    `cycle` counts those in which the job goes on, from 0, and is that of the beat's last part.
    """
    e, m, parts = job.elements(geometry), job.pattern.m, job.parts(geometry)
    cycle = -1
    for tap in range(job.taps):
        for first in range(0, job.length, m):
            rows = range(first, min(first + m, job.length))
            for column in range(0, job.columns, e):
                for row in rows:
                    cycle += parts
                    yield tap, row, column, cycle
                after = column + e
                if job.both and after < job.columns and after % m:
                    cycle += max(0, e - parts * len(rows))


def output_beats(
    forms: list[Compressed], job: SoreJob, geometry: Geometry
) -> tuple[list[int], list[int]]:
    """Words of the engine's output, in their order, and the bits of them that mean something.

    A word holds the groups that are finished in one cycle: from the low bits up the mask of the
    lanes that finish one, then the lanes' results. A result is its N values and then its N
    indices, of as many entries as the hardware has; the further ones hold what empty slots do.

    Args:
        forms: the matrix compressed along its rows and, where both forms are made, each of its
            taps transposed and compressed too.
    """
    g, m = geometry, job.pattern.m
    e = job.elements(g)
    results = [_results(form, g) for form in forms]
    per_run = [job.pattern.groups(job.length), job.pattern.groups(job.columns)]
    finished: dict[int, dict[int, int]] = {}
    for tap, row, column, cycle in walk(job, g):
        columns = range(column, min(column + e, job.columns))
        if row % m == m - 1 or row == job.length - 1:
            given = results[0][tap * per_run[0] + row // m]
            beat = finished.setdefault(cycle, {})
            beat |= {lane: given[at] for lane, at in enumerate(columns)}
        for lane, at in enumerate(columns if job.both else ()):
            if at % m == m - 1 or at == job.columns - 1:
                given = results[1][tap * per_run[1] + at // m]
                finished.setdefault(cycle + lane, {})[e + lane] = given[row]
    words, cares = [], []
    whole = (1 << g.result_bits) - 1
    for _, beat in sorted(finished.items()):
        words.append(sum(1 << lane for lane in beat))
        cares.append((1 << g.lanes) - 1)
        for lane, result in beat.items():
            at = g.lanes + lane * g.result_bits
            words[-1] |= result << at
            cares[-1] |= whole << at
    return words, cares


def _results(form: Compressed, geometry: Geometry) -> list[list[int]]:
    """[groups][columns] words of a lane's results."""
    g = geometry
    values, index = form.values.view(np.uint16).tolist(), form.index.tolist()
    empty = sum(i << i * g.index_bits for i in range(form.pattern.n, g.entries))
    found = []
    for group_values, group_index in zip(values, index, strict=True):
        words = [empty << g.entries * VALUE_BITS] * form.n
        for entry, (row, places) in enumerate(zip(group_values, group_index, strict=True)):
            value_at = entry * VALUE_BITS
            index_at = g.entries * VALUE_BITS + entry * g.index_bits
            for column, (value, place) in enumerate(zip(row, places, strict=True)):
                words[column] |= value << value_at | place << index_at
        found.append(words)
    return found
