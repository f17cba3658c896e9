"""Compressed forms as a pruner writes them to memory: what the weight loader reads.

Every form is [tap][group][n][slot]: the kept elements of a *row*, which is all columns n of a tap's
group, are one run as `load.pack_kept` packs it. Every group has N slots. A ragged group may keep
fewer: its last slots hold the value 0 and their own number as index, which lies outside of the
group, where the array gets +0.

A weight [taps, length, columns], whose groups along `length` FF reads and whose groups along
`columns` BP does, has

    rows      FF: taps x ceil(length / M) rows of columns x N kept elements
    columns   BP: taps x ceil(columns / M) rows of length x N kept elements

The second form is made `BLOCK` of the weight's rows at a time, so it is written in *pieces*: the
BLOCK x N kept elements (fewer at the end) of a row that these are, which are whole blocks. The walk
visits the pieces of all groups first, then goes on along the rows, then to the next tap.

A large weight is cut into jobs of a part of its columns, or of its rows, at multiples of M that are
multiples of `BLOCK` too: what each writes is then a part of the forms that one job would write.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.program.load import compressed_halves, memory_walk, pack_kept
from nofm.rtl.program.sizes import BLOCK, RUN_BITS, ChipSizes
from nofm.rtl.program.stream import Halves, encode_stream, stream_fields, write
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import SoreJob

TURNED = 128
"""Column groups of a weight whose second form is made: those that BLOCK rows are kept of. A weight
with more of them is cut into several jobs."""


def forms_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of the forms of a job, and their widths.

    pruned: whether forms are written; the second one where the pruner's job makes `both`.
    index_bits: bits of an index in memory.
    length: rows of a tap, less one.
    rows_...: where the first form goes (`stream_fields`).
    rows_kept: kept elements of a row, less one.
    columns_...: walk over the pieces of the second form.
    columns_run, columns_run_last: FP16 words of a piece, less one; of one of a tap's last rows.
    columns_kept, columns_kept_last: the same in kept elements.
    columns_groups: groups along the columns, less one.
    """
    return {
        "pruned": 1,
        "index_bits": sizes.index_bits.bit_length(),
        "length": RUN_BITS,
        **stream_fields(sizes, "rows_"),
        "rows_kept": RUN_BITS,
        **stream_fields(sizes, "columns_"),
        "columns_run_last": RUN_BITS,
        "columns_kept": RUN_BITS,
        "columns_kept_last": RUN_BITS,
        "columns_groups": RUN_BITS,
    }


def row_halves(columns: int, pattern: Pattern) -> int:
    """FP16 words of a form's row in memory."""
    return compressed_halves(columns * pattern.n, pattern.index_bits)


def encode_rows(
    sizes: ChipSizes, job: SoreJob, address: int, pitch: int | None = None
) -> dict[str, int]:
    """Where the first form goes.

    Args:
        address: of its first row, in FP16 elements.
        pitch: from a row to the next; without a gap, where not given.
    """
    run = row_halves(job.columns, job.pattern)
    rows = job.taps * job.pattern.groups(job.length)
    loop = Loop(rows, {"address": run if pitch is None else pitch})
    values = encode_stream(sizes, "rows_", Nest({"address": address}, (loop,)), run)
    return {**values, "rows_kept": job.columns * job.pattern.n - 1}


def encode_columns(
    sizes: ChipSizes,
    job: SoreJob,
    address: int,
    pitch: int | None = None,
    tap_pitch: int | None = None,
) -> dict[str, int]:
    """Where the second form goes.

    Args:
        address: of its first row, in FP16 elements.
        pitch: from a row to the next; without a gap, where not given.
        tap_pitch: from a tap to the next; without a gap, where not given.

    Raises:
        InputError: the weight has too many columns.
    """
    of, groups = job.pattern, job.pattern.groups(job.columns)
    if groups > TURNED:
        raise InputError(f"groups along columns must be {TURNED} at most in a job, not {groups}")
    pitch = row_halves(job.length, of) if pitch is None else pitch
    pieces = -(-job.length // BLOCK)
    whole, last = min(BLOCK, job.length), job.length - (pieces - 1) * BLOCK
    loops = (
        Loop(groups, {"address": pitch}),
        Loop(pieces, {"address": row_halves(BLOCK, of)}),
        Loop(job.taps, {"address": groups * pitch if tap_pitch is None else tap_pitch}),
    )
    nest = Nest({"address": address}, loops)
    return {
        **encode_stream(sizes, "columns_", nest, row_halves(whole, of)),
        "columns_run_last": row_halves(last, of) - 1,
        "columns_kept": whole * of.n - 1,
        "columns_kept_last": last * of.n - 1,
        "columns_groups": groups - 1,
    }


def encode_forms(
    sizes: ChipSizes, job: SoreJob, rows: dict[str, int], columns: dict[str, int] | None = None
) -> dict[str, int]:
    """Values of `forms_fields`.

    Args:
        rows, columns: from `encode_rows` and `encode_columns`.
    """
    fields = dict.fromkeys(forms_fields(sizes), 0)
    shape = {"pruned": 1, "index_bits": job.pattern.index_bits, "length": job.length - 1}
    return {**fields, **shape, **rows, **(columns or {})}


def no_forms(sizes: ChipSizes) -> dict[str, int]:
    """Values of `forms_fields` of a job that prunes nothing."""
    return dict.fromkeys(forms_fields(sizes), 0)


def sore_job(geometry: Geometry, values: Mapping[str, int]) -> SoreJob:
    """The pruner's job whose fields these are."""
    m, both = values["last_index"] + 1, bool(values["both"])
    elements = geometry.half if both else geometry.lanes
    return SoreJob(
        pattern=Pattern(values["last_entry"] + 1, m),
        taps=values["taps"] + 1,
        length=values["groups"] * m + values["last_row"] + 1,
        columns=values["slots"] * elements + values["last_columns"],
        both=both,
    )


def write_forms(
    sizes: ChipSizes,
    job: SoreJob,
    values: Mapping[str, int],
    dense: np.ndarray[tuple[int, int, int], np.dtype[np.float16]],
    memory: Halves,
) -> None:
    """Prune and write what a job says.

    Args:
        dense: float16 [taps, length, columns].
    """
    if not values["pruned"]:
        return
    bits = values["index_bits"]
    rows = [pack_kept(*row, bits) for row in _rows(compress(dense, job.pattern))]
    write(sizes, "rows_", values, np.concatenate(rows), memory)
    if not job.both:
        return
    form = _rows(compress(np.ascontiguousarray(np.swapaxes(dense, 1, 2)), job.pattern))
    groups, n = job.pattern.groups(job.columns), job.pattern.n
    places = memory_walk(sizes).passes("columns_", values)
    for tap in range(job.taps):
        for first in range(0, job.length, BLOCK):
            run = values["columns_run_last" if first + BLOCK >= job.length else "columns_run"] + 1
            kept = slice(first * n, (first + BLOCK) * n)
            for group in range(groups):
                kept_values, index = form[tap * groups + group]
                piece = pack_kept(kept_values[kept], index[kept], bits)
                if len(piece) != run:
                    raise ValueError(f"a piece has {len(piece)} words, and its run {run}")
                at = next(places)["address"]
                memory[at : at + run] = piece
    if next(places, None) is not None:
        raise ValueError("more pieces in the walk than in the form")


def _rows(form: Compressed) -> list[tuple[Halves, Halves]]:
    """Values and indices of every row, in the order of memory."""
    values = np.swapaxes(form.values.view(np.uint16), 1, 2)
    index = np.swapaxes(form.index, 1, 2)
    return [
        (v.reshape(-1), i.reshape(-1).astype(np.uint16)) for v, i in zip(values, index, strict=True)
    ]
