"""Feeding the array: what its rows and columns get out of the buffers.

A *held* place stands in every lane, and an *inner* walk moves over what all of them get in turn;
the sum of both is a lane's place in the buffer and in the map. In WS a row holds a group's place,
and the walk visits vectors; in OS a row holds a vector's, and the walk visits groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.walk import COUNT_BITS, WalkShape, signed

POSITION_BITS = 16
"""Bits of a place along an axis of a map, signed."""

COLUMN_BITS = 24
"""Bits of a column's number."""

AXES = ("c", "y", "x")

Lanes = list[list[int]]


def map_walk(sizes: ChipSizes) -> WalkShape:
    """A walk over a map in the activation buffer: the element's address, its channel, row and
    column."""
    return WalkShape(4, {"at": sizes.activation_bits, **dict.fromkeys(AXES, POSITION_BITS)})


def activation_feed_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a job of the activation feeder, and their widths.

    outer: folds, less one; each gives every lane a new held place.
    repeats: times that the inner walk is done in every fold, less one.
    held_...: walk whose passes are the held places, lane after lane, fold after fold; the last \
fold has as many lanes as there are places left.
    inner_...: walk that all lanes do together.
    size_c, size_y, size_x: of the map; what lies outside of it is +0.
    take: elements that a pass gives, less one: neighbours within a word of the buffer.
    gather: passes of which a beat is made, less one; with any, a pass gives one element, the \
first lowest, and what the last beat of a walk lacks is +0.
    skew: how the buffer's banks are numbered.
    """
    walk = map_walk(sizes)
    return {
        "outer": COUNT_BITS,
        "repeats": COUNT_BITS,
        **walk.fields("held_"),
        **walk.fields("inner_"),
        **dict.fromkeys((f"size_{axis}" for axis in AXES), POSITION_BITS),
        "take": max(1, (sizes.port - 1).bit_length()),
        "gather": max(1, (sizes.port - 1).bit_length()),
        "skew": 1,
    }


def column_walk(sizes: ChipSizes) -> WalkShape:
    """A walk over kept elements in the weight buffer: the address and the column."""
    return WalkShape(4, {"at": sizes.weight_bits, "n": COLUMN_BITS})


def weight_feed_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a job of the weight feeder, and their widths.

    to_rows: lanes are the array's rows (WS), else its columns (OS).
    outer, held_...: as of `activation_feed_fields`.
    hold_once: the held places of the first fold stay, and there are no others.
    full, full_..., last_...: what lanes get in every fold: where `full`, the passes of the one \
walk; then those of the other.
    size_n: a pass gives a lane nothing where its column is not below this.
    skew: how the buffer's banks are numbered.
    """
    walk = column_walk(sizes)
    return {
        "to_rows": 1,
        "outer": COUNT_BITS,
        "hold_once": 1,
        **walk.fields("held_"),
        "full": 1,
        **walk.fields("full_"),
        **walk.fields("last_"),
        "size_n": COLUMN_BITS,
        "skew": 1,
    }


def activation_beats(
    sizes: ChipSizes, values: Mapping[str, int], buffer: np.ndarray[Any, np.dtype[np.uint16]]
) -> Lanes:
    """Beats of every array row: integers of `port` FP16 elements, the first lowest.

    Args:
        buffer: uint16 [activation_elements].
    """
    walk = map_walk(sizes)
    inner = list(walk.passes("inner_", values))
    lanes: Lanes = [[] for _ in range(sizes.rows)]
    for held in _folds(sizes.rows, values["outer"] + 1, walk.passes("held_", values)):
        for lane, place in zip(lanes, held, strict=False):
            found = [_read(sizes, walk, values, buffer, place, each) for each in inner]
            if size := values["gather"]:
                size += 1
                found = [_joined(found[k : k + size]) for k in range(0, len(found), size)]
            lane += found * (values["repeats"] + 1)
    return lanes


def weight_words(
    sizes: ChipSizes, values: Mapping[str, int], buffer: np.ndarray[Any, np.dtype[np.uint32]]
) -> Lanes:
    """Kept elements of every array row or column: values with their indices above them.

    Args:
        buffer: uint32 [weight_elements].
    """
    walk = column_walk(sizes)
    inner = [*walk.passes("full_", values)] if values["full"] else []
    inner += walk.passes("last_", values)
    count = sizes.rows if values["to_rows"] else sizes.columns
    lanes: Lanes = [[] for _ in range(count)]
    folds = values["outer"] + 1
    once = values["hold_once"]
    given = _folds(count, 1 if once else folds, walk.passes("held_", values))
    for held in given * (folds if once else 1):
        for lane, place in zip(lanes, held, strict=False):
            for each in inner:
                column = (place["n"] + each["n"]) % (1 << COLUMN_BITS)
                if column < values["size_n"]:
                    at = (place["at"] + each["at"]) % (1 << sizes.weight_bits)
                    lane.append(int(buffer[at]))
    return lanes


def _folds(lanes: int, folds: int, held: Iterator[dict[str, int]]) -> list[list[dict[str, int]]]:
    """The held places of every fold."""
    places = list(held)
    if -(-len(places) // lanes) != folds:
        raise ValueError(f"{len(places)} held places for {folds} folds of {lanes} lanes")
    return [places[fold * lanes : (fold + 1) * lanes] for fold in range(folds)]


def _read(
    sizes: ChipSizes,
    walk: WalkShape,
    values: Mapping[str, int],
    buffer: np.ndarray[Any, np.dtype[np.uint16]],
    held: Mapping[str, int],
    inner: Mapping[str, int],
) -> int:
    """What one pass gives one lane: neighbouring elements, the first lowest."""
    places = {
        name: (held[name] + inner[name]) % (1 << width) for name, width in walk.places.items()
    }
    c, y, x = (signed(places[axis], POSITION_BITS) for axis in AXES)
    if not (0 <= y < values["size_y"] and 0 <= x < values["size_x"]):
        return 0
    first, inside = places["at"], [0 <= c + k < values["size_c"] for k in range(values["take"] + 1)]
    return _joined([int(buffer[first + k]) if ok else 0 for k, ok in enumerate(inside)])


def _joined(elements: list[int]) -> int:
    return sum(element << 16 * k for k, element in enumerate(elements))
