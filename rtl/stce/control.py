"""Control words: what the sequencer tells the rows and the edges of the array."""

from __future__ import annotations

from amaranth.lib import data

from nofm.rtl.stce.geometry import SIZE_BITS, Geometry


def row_control(geometry: Geometry) -> data.StructLayout:
    """What an array row does in a cycle; the same word reaches the next row some cycles later.

    slot: a slot enters the row. Of that slot: `first` addition to its sum, `leaves` the row
    downward after it (WS), `swap` to the other weight bank (WS, first slot of a fold), `half` of
    the replay buffer and `group` in it that has its activations, `sum` its sum's place (bank,
    turn), `entry` its weight's place in the bank (WS) or its number in the group (OS).

    fetch: a beat of activations comes from the port, for group `fetch_sum`, beat `fetch_beat`, into
    `fetch_half`; `fetch_short` in folds that not all rows work on.

    load: a weight enters at the left edge (WS), number `load_slot` of its group; `load_short`
    like `fetch_short`.
    """
    return data.StructLayout(
        {
            "slot": 1,
            "first": 1,
            "leaves": 1,
            "swap": 1,
            "half": 1,
            "group": geometry.turn_bits,
            "sum": geometry.sum_bits,
            "entry": geometry.entry_bits,
            "fetch": 1,
            "fetch_half": 1,
            "fetch_sum": geometry.turn_bits,
            "fetch_beat": geometry.beat_bits,
            "fetch_short": 1,
            "load": 1,
            "load_short": 1,
            "load_slot": geometry.entry_bits,
        }
    )


def slot_control(geometry: Geometry) -> data.StructLayout:
    """What travels along a row with each slot: the part of `row_control` that USPEs need."""
    return data.StructLayout(
        {
            "slot": 1,
            "first": 1,
            "swap": 1,
            "sum": geometry.sum_bits,
            "entry": geometry.entry_bits,
        }
    )


def weight(geometry: Geometry) -> data.StructLayout:
    """A kept weight inside the array: a normalised half and its place in the group."""
    return data.StructLayout({"value": 17, "index": geometry.index_bits})


def top_control(geometry: Geometry) -> data.StructLayout:
    """What travels along the top edge in OS: a weight is due in the columns below `used`, number
    `entry` of its group."""
    return data.StructLayout({"slot": 1, "entry": geometry.entry_bits, "used": geometry.used_bits})


def read_control(geometry: Geometry) -> data.StructLayout:
    """What travels along the accumulation buffer with each sum that enters the array: where it
    is, or that it is +0."""
    return data.StructLayout({"read": 1, "zero": 1, "address": geometry.word_bits})


def write_control(geometry: Geometry) -> data.StructLayout:
    """What travels along the bottom edge with each sum that leaves in WS: where it goes, or that
    it is final, a result of the columns below `used`."""
    return data.StructLayout(
        {
            "write": 1,
            "final": 1,
            "address": geometry.word_bits,
            "used": geometry.used_bits,
        }
    )


def drain_control(geometry: Geometry) -> data.StructLayout:
    """What travels along the columns as they drain in OS: `load` all rows' sums from place `sum`
    into the chain; what leaves is a result (`write`) of the columns below `used`."""
    return data.StructLayout(
        {
            "load": 1,
            "sum": geometry.sum_bits,
            "write": 1,
            "used": geometry.used_bits,
        }
    )


def job_fields(geometry: Geometry) -> dict[str, int]:
    """Fields of a job's word and their widths; `nofm.rtl.stce.job` fills them.

    output_stationary, dense: the dataflow; whether weights come without indices.
    passes, beats: N - 1; beats of a group, less one.
    sums, sums_last: V - 1, and that of a last column fold.
    period, period_last: P - 1, and that of a last column fold.
    products: less one.
    outer_folds, column_folds: folds along groups (WS) or rows (OS), and along columns, less one.
    vectors: m.
    groups: of all taps, less one.
    rows_last, columns_last: rows that the last outer fold uses; columns that the last one uses.
    row_delay: cycles between an array row and the next.
    drain, drain_last: cycles that a fold's drain takes; a last column fold's.
    fold_cycles, fold_cycles_last: cycles of a fold in OS, as far as the field can hold.
    tail: cycles after the last slot (WS), or after the cycle in which the last fold ends (OS).
    """
    drain = (geometry.rows * geometry.sums).bit_length()
    row_delay = max(1, geometry.longest_row_delay).bit_length()
    return {
        "output_stationary": 1,
        "dense": 1,
        "passes": geometry.entry_bits,
        "beats": geometry.beat_bits,
        "sums": geometry.turn_bits,
        "sums_last": geometry.turn_bits,
        "period": geometry.period.bit_length(),
        "period_last": geometry.period.bit_length(),
        "products": SIZE_BITS,
        "outer_folds": SIZE_BITS,
        "column_folds": SIZE_BITS,
        "vectors": SIZE_BITS,
        "groups": SIZE_BITS,
        "rows_last": (geometry.rows).bit_length(),
        "columns_last": (geometry.columns * geometry.sums).bit_length(),
        "row_delay": row_delay,
        "drain": drain,
        "drain_last": drain,
        "fold_cycles": drain,
        "fold_cycles_last": drain,
        "tail": SIZE_BITS,
    }


def job_layout(geometry: Geometry) -> data.StructLayout:
    """The packed form of `job_fields`."""
    return data.StructLayout(job_fields(geometry))
