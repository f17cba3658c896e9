"""Control words: what the sequencer tells the rows and the edges of the array."""

from __future__ import annotations

from amaranth.lib import data

from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import job_fields


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


def job_layout(geometry: Geometry) -> data.StructLayout:
    """The packed form of `job_fields`."""
    return data.StructLayout(job_fields(geometry))
