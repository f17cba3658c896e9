"""Control words: what the sequencer tells the rows and the edges of the array."""

from __future__ import annotations

from amaranth.lib import data

from nofm.rtl.stce.geometry import SIZE_BITS, Geometry, bits


def sent_control(geometry: Geometry) -> data.StructLayout:
    """What slots say to an array row.

    slot: a slot enters the row. Of that slot: `first` addition to its sum, `leaves` the row
    downward after it (WS), `swap` to the other weight bank (WS, first slot of a fold), `half` of
    the replay buffer and `group` in it that has its activations, `sum` its sum's place (bank,
    turn), `entry` its weight's place in the bank (WS) or its number in the group (OS).
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
        }
    )


def fetch_control(geometry: Geometry) -> data.StructLayout:
    """What fetching says to an array row.

    fetch: a beat of activations comes from the port, for group `fetch_sum`, beat `fetch_beat`, into
    `fetch_half`; `fetch_short` in folds that not all rows work on.
    """
    return data.StructLayout(
        {
            "fetch": 1,
            "fetch_half": 1,
            "fetch_sum": geometry.turn_bits,
            "fetch_beat": geometry.beat_bits,
            "fetch_short": 1,
        }
    )


def load_control(geometry: Geometry) -> data.StructLayout:
    """What loading says to an array row.

    load: a weight enters at the left edge (WS), number `load_slot` of its group; `load_short` in
    folds that not all rows work on.
    """
    return data.StructLayout({"load": 1, "load_short": 1, "load_slot": geometry.entry_bits})


def row_control(geometry: Geometry) -> data.StructLayout:
    """What an array row does in a cycle; the same word reaches the next row some cycles later.

    Slots, fetching and loading have a part of it each, the first one lowest.
    """
    parts = (sent_control(geometry), fetch_control(geometry), load_control(geometry))
    return data.StructLayout({name: size for part in parts for name, size in part.members.items()})


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

    Whatever can be known of a job ahead is: the hardware counts, and calculates nothing.

    output_stationary, dense: the dataflow; whether weights come without indices.
    passes, beats: N - 1; beats of a group, less one.
    sums, sums_last: V - 1, and that of a last column fold.
    sums_ragged: sums of a fold's last block in WS, less one.
    period, period_last: P - 1, and that of a last column fold.
    unit, unit_last: cycles of a block (WS) or group (OS), less one; in a last column fold.
    units: blocks (WS) or groups (OS) of a fold, less one.
    products: less one.
    outer_folds, column_folds: folds along groups (WS) or rows (OS), and along columns, less one.
    vectors: m, less one.
    rows_last: rows that the last outer fold uses.
    columns_last: columns that the last of the interleaved sums of a last column fold uses.
    first_fetch: cycles until the first block (WS) or group (OS) is there, less one.
    first_load, load, load_last: cycles in which the weights of a first fold, any fold, a last \
column fold enter, less one (WS).
    row_delay: cycles between an array row and the next.
    returns: cycles from a fold's begin to its first sum being back at the top, less one (WS).
    ahead: folds that may have begun while a fold of the same columns is not back (WS).
    wait, wait_into_last, wait_after_last: cycles that a fold waits for the drain of the one \
before (OS): if neither is a last column fold, if it is, if the one before is.
    last_drain: cycles that the job's last drain takes (OS).
    finish: cycles from the begin of the job's last block or group to its last cycle, less two.
    continues, continued: sums start from what the accumulation buffer holds; they stay there, and \
nothing is a result (WS).
    """
    g = geometry
    row_delay = max(1, g.longest_row_delay).bit_length()
    unit, load = bits(g.longest_unit), bits(g.columns * g.registers)
    drain = (g.rows * g.sums).bit_length()
    returns = g.longest_return.bit_length()
    return {
        "output_stationary": 1,
        "dense": 1,
        "passes": g.entry_bits,
        "beats": g.beat_bits,
        "sums": g.turn_bits,
        "sums_last": g.turn_bits,
        "sums_ragged": g.turn_bits,
        "period": bits(g.period),
        "period_last": bits(g.period),
        "unit": unit,
        "unit_last": unit,
        "units": SIZE_BITS,
        "products": SIZE_BITS,
        "outer_folds": SIZE_BITS,
        "column_folds": SIZE_BITS,
        "vectors": SIZE_BITS,
        "rows_last": g.rows.bit_length(),
        "columns_last": g.used_bits,
        "first_fetch": unit,
        "first_load": load,
        "load": load,
        "load_last": load,
        "row_delay": row_delay,
        "returns": returns,
        "ahead": returns,
        "wait": drain,
        "wait_into_last": drain,
        "wait_after_last": drain,
        "last_drain": drain,
        "finish": g.longest_finish.bit_length(),
        "continues": 1,
        "continued": 1,
    }


def job_layout(geometry: Geometry) -> data.StructLayout:
    """The packed form of `job_fields`."""
    return data.StructLayout(job_fields(geometry))
