"""Jobs of SORE: the matrix to prune, and the fields that tell the hardware its shape."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern
from nofm.rtl.fields import pack
from nofm.rtl.sore.geometry import Geometry

COUNT_BITS = 32


def job_fields(geometry: Geometry) -> dict[str, int]:
    """Fields of a job's word and their widths. Counts are one less than what they count.

    both: whether both forms are made, or the one with groups along the rows' direction.
    last_entry: N - 1.
    last_index: M - 1.
    last_row: rows of the last row group of a tap, - 1.
    taps, groups, slots: taps; row groups of a tap; column slots of a row group; each - 1.
    last_columns: columns of the last column slot.
    step: columns of a column slot, modulo M.
    last_part: where a beat may take several cycles: how many, - 1.
    """
    fields = {
        "both": 1,
        "last_entry": geometry.entry_bits,
        "last_index": geometry.index_bits,
        "last_row": geometry.index_bits,
        "taps": COUNT_BITS,
        "groups": COUNT_BITS,
        "slots": COUNT_BITS,
        "last_columns": geometry.lanes.bit_length(),
        "step": geometry.index_bits,
    }
    return fields | ({"last_part": geometry.part_bits} if geometry.part_bits else {})


@dataclass(frozen=True, kw_only=True)
class SoreJob:
    """Prune a matrix of `taps` runs of `length` rows and `columns` columns to N of every M.

    Groups lie along the rows of a run. Where `both` forms are made, groups of a second form lie
    along the columns of each row. A ragged group ends every run, or row.
    """

    pattern: Pattern
    taps: int
    length: int
    columns: int
    both: bool = False

    def elements(self, geometry: Geometry) -> int:
        """E, columns that enter in a cycle."""
        return geometry.half if self.both else geometry.lanes

    def slots(self, geometry: Geometry) -> int:
        """Column slots, each of E columns or what is left of them."""
        return -(-self.columns // self.elements(geometry))

    def parts(self, geometry: Geometry) -> int:
        """Cycles in which each beat comes in."""
        return geometry.parts(min(self.elements(geometry), self.columns))

    def fields(self, geometry: Geometry) -> dict[str, int]:
        """Values of `job_fields`.

        Raises:
            InputError: the SORE does not do such a job.
        """
        n, m = self.pattern.n, self.pattern.m
        if self.pattern.dense or n > geometry.entries or m > geometry.group:
            raise InputError(
                f"SORE keeps up to {geometry.entries} of up to {geometry.group} elements, and "
                f"fewer than all: it has no pattern {n}:{m}"
            )
        for name in ("taps", "length", "columns"):
            positive(f"{name} of a SORE job", getattr(self, name), at_most=1 << COUNT_BITS)
        groups, slots = self.pattern.groups(self.length), self.slots(geometry)
        elements = self.elements(geometry)
        fields = {
            "both": int(self.both),
            "last_entry": n - 1,
            "last_index": m - 1,
            "last_row": (self.length - 1) % m,
            "taps": self.taps - 1,
            "groups": groups - 1,
            "slots": slots - 1,
            "last_columns": self.columns - (slots - 1) * elements,
            "step": elements % m,
            "last_part": self.parts(geometry) - 1,
        }
        return {name: fields[name] for name in job_fields(geometry)}

    def encode(self, geometry: Geometry) -> int:
        """The packed word of the job.

        Raises:
            InputError: the SORE does not do such a job.
        """
        return pack(job_fields(geometry), self.fields(geometry))
