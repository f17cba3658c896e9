"""Packed words of named fields: one table of widths gives the encoder, the decoder and the layout.

A table maps each field's name to its width in bits; the first field is the lowest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    # A host packs words, too, and has no need of what builds hardware.
    from amaranth.hdl import Value

Widths = Mapping[str, int]


def pack(widths: Widths, values: Mapping[str, int]) -> int:
    """The word that holds `values`, one for each field.

    Raises:
        InputError: a value does not fit its field.
    """
    word, at = 0, 0
    for name, width in widths.items():
        if not 0 <= values[name] < 1 << width:
            raise InputError(
                f"field {name} must be from 0 to {(1 << width) - 1}, not {values[name]}"
            )
        word |= values[name] << at
        at += width
    return word


def unpack(widths: Widths, word: int) -> dict[str, int]:
    """The value of every field of `word`."""
    values, at = {}, 0
    for name, width in widths.items():
        values[name] = word >> at & (1 << width) - 1
        at += width
    return values


def split(widths: Widths, word: Value) -> dict[str, Value]:
    """In hardware: every field of `word` as a slice of it."""
    fields: dict[str, Value] = {}
    at = 0
    for name, width in widths.items():
        fields[name] = word[at : at + width]
        at += width
    return fields
