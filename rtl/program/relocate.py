"""Programs for memory that begins elsewhere.

Every address of memory in a job is that of a walk's first pass; all others follow from it by
addition. Places in buffers have other names, and stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nofm.kernels.errors import InputError
from nofm.rtl.program.encoding import Descriptor
from nofm.rtl.program.sizes import ADDRESS_BITS, HALF_BYTES

PAGE = 4096
"""Bytes that a base is a multiple of. No burst crosses such a border, so that a program takes the
same bursts, and cycles, wherever it is."""

START = "start_address"
"""What the fields end with that hold a memory walk's first address (`walk.WalkShape.fields`)."""

_PLACES = (1 << ADDRESS_BITS) // HALF_BYTES


def checked_base(base: int, size: int = 0) -> int:
    """`base`, as a place for memory of so many bytes.

    Raises:
        InputError: it is none.
    """
    most = 1 << ADDRESS_BITS
    if base % PAGE or not 0 <= base <= most - size:
        raise InputError(
            f"a memory of {size} bytes must begin at a multiple of {PAGE} and end at {most:#x} at "
            f"most, not begin at {base:#x}"
        )
    return base


def relocated(program: Iterable[Descriptor], by: int) -> list[Descriptor]:
    """The same program for memory that lies `by` bytes further on, or back where negative.

    Raises:
        InputError: not whole pages, or further than addresses reach.
    """
    checked_base(abs(by))
    elements = by // HALF_BYTES
    return [
        replace(each, jobs={unit: _moved(job, elements) for unit, job in each.jobs.items()})
        for each in program
    ]


def _moved(job: Mapping[str, int], elements: int) -> dict[str, int]:
    # Addresses wrap round, as they do in hardware.
    return {
        name: (value + elements) % _PLACES if name.endswith(START) else value
        for name, value in job.items()
    }
