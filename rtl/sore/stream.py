"""What streams into a SORE and out of it: matrices as beats, and beats as compressed forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nofm.kernels.errors import InputError
from nofm.rtl.sore.geometry import VALUE_BITS, Geometry
from nofm.rtl.sore.job import SoreJob

Words = np.ndarray[Any, np.dtype[np.uint16]]
Indices = np.ndarray[Any, np.dtype[np.uint8]]
Form = tuple[Words, Indices]


def input_beats(dense: Words, job: SoreJob, geometry: Geometry) -> list[int]:
    """Words for the engine's input, in their order.

    Args:
        dense: uint16 [taps, length, columns], bits of FP16 elements.

    Raises:
        InputError: the matrix is not that of the job.
    """
    if dense.shape != (job.taps, job.length, job.columns):
        raise InputError(
            f"a SORE job's matrix must be {[job.taps, job.length, job.columns]}, "
            f"not {list(dense.shape)}"
        )
    e, m = job.elements(geometry), job.pattern.m
    beats = []
    for tap in dense.astype("<u2"):
        for first in range(0, job.length, m):
            rows = tap[first : first + m]
            for column in range(0, job.columns, e):
                slot = np.ascontiguousarray(rows[:, column : column + e])
                beats += [int.from_bytes(row.tobytes(), "little") for row in slot]
    return beats


def compressed_forms(beats: Sequence[int], job: SoreJob, geometry: Geometry) -> list[Form]:
    """The compressed forms in the words of the engine's output.

    Returns:
        for groups along the rows, and then for those along the columns where both are made:
        values (bits of FP16) and indices [taps x groups, N, columns], or [.., N, rows], as
        `kernels.compressed` arranges them.

    Raises:
        InputError: a lane gives more or fewer groups than the job has.
    """
    lanes, e = geometry.lanes, job.elements(geometry)
    size = lanes * (1 + geometry.result_bits)
    packed = b"".join(beat.to_bytes(-(-size // 8), "little") for beat in beats)
    bits = np.unpackbits(
        np.frombuffer(packed, np.uint8).reshape(len(beats), -1), axis=1, bitorder="little"
    )
    mask = bits[:, :lanes].astype(bool)
    results = bits[:, lanes:size].reshape(-1, lanes, geometry.result_bits)
    column = np.arange(job.columns)
    ends = (column % job.pattern.m == job.pattern.m - 1) | (column == job.columns - 1)
    forms = [_empty(job, job.length, job.columns)]
    if job.both:
        forms.append(_empty(job, job.columns, job.length))
    for lane in range(lanes):
        given = results[mask[:, lane], lane]
        form, first = divmod(lane, e)
        places: list[tuple[int, int]] = []
        if form < len(forms):
            places = list(_rows_first(job, column[first::e])) if form == 0 else list(
                _columns_first(job, [c for c in column[first::e] if ends[c]], e)
            )
        if len(given) != len(places):
            raise InputError(f"lane {lane} must give {len(places)} groups, not {len(given)}")
        if places:
            at, across = np.array(places).T
            values, index = forms[form]
            values[at, :, across], index[at, :, across] = _entries(given, job.pattern.n, geometry)
    return forms


def _empty(job: SoreJob, length: int, across: int) -> Form:
    shape = (job.taps * job.pattern.groups(length), job.pattern.n, across)
    return np.zeros(shape, np.uint16), np.zeros(shape, np.uint8)


def _rows_first(job: SoreJob, columns: Any) -> Any:
    """(group, column) of the groups along the rows that a lane with these columns finishes."""
    for group in range(job.taps * job.pattern.groups(job.length)):
        for column in columns:
            yield group, column


def _columns_first(job: SoreJob, columns: Any, e: int) -> Any:
    """(group, row) of the groups along the columns that end at one of these columns."""
    m, groups = job.pattern.m, job.pattern.groups(job.columns)
    for tap in range(job.taps):
        for first in range(0, job.length, m):
            for column in columns:
                for row in range(first, min(first + m, job.length)):
                    yield tap * groups + column // m, row


def _entries(given: Any, n: int, geometry: Geometry) -> Form:
    """Values and indices [groups, N] of results given as bits [groups, result bits]."""
    split = geometry.entries * VALUE_BITS
    weights = 1 << np.arange(VALUE_BITS)
    values = given[:, :split].reshape(len(given), geometry.entries, VALUE_BITS) @ weights
    index = given[:, split:].reshape(len(given), geometry.entries, geometry.index_bits)
    index = index @ weights[: geometry.index_bits]
    return values[:, :n].astype(np.uint16), index[:, :n].astype(np.uint8)
