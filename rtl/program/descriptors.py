"""Descriptors: the one definition of what a program in memory consists of.

A program is descriptors one behind the other, in 64-bit words, low bytes first. A descriptor is a
header and a payload; the payload is the job of one unit, or those of several. Encoder, decoder,
hardware, C header and page are all made from the tables here.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError
from nofm.rtl.program.feed import activation_feed_fields, weight_feed_fields
from nofm.rtl.program.load import activation_load_fields, weight_load_fields
from nofm.rtl.program.results import collect_fields, store_fields
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.vector import vector_fields

WORD_BITS, WORD_BYTES = 64, 8

MAGIC = 0xA7
"""What every header begins with; memory that was never written does not."""

HEADER = {"magic": 8, "opcode": 8, "length": 12, "wait": 16, "flags": 4, "checksum": 16}
"""Fields of a header and their widths, the lowest first."""

HEADER_MEANINGS = {
    "magic": f"{MAGIC:#x}",
    "opcode": "what to do",
    "length": "words of the payload: those that the opcode has",
    "wait": "units that must be idle before the jobs are handed out, a bit each",
    "flags": "bit 0, `last`: the program ends with it, when all units are idle; the others are 0",
    "checksum": "of the header, with 0 in this place, and the payload",
}

FLAGS = ("last",)
"""What bits of `flags` mean, the lowest first."""

PROGRAM_BITS = 22
"""Bits of a program's length in words."""

MOST_WORDS = (1 << PROGRAM_BITS) - 1
"""Words of the longest program: 32 MiB, less one word."""

LONGEST_PAYLOAD = 510
"""Words of a payload, at most: up to 32,751 bits the checksum tells any three flipped ones."""

CHECKSUM_START = 0xFFFF

Widths = Mapping[str, int]
Fields = Callable[[Accelerator], Widths]


@dataclass(frozen=True)
class Operation:
    """What a descriptor can ask for.

    Attributes:
        opcode: its number.
        meaning: for people.
        units: what gives each of its units the fields of its job. With more than one, a descriptor
            may leave some out.
    """

    opcode: int
    meaning: str
    units: Mapping[str, Fields]


def _array(accelerator: Accelerator) -> Widths:
    from nofm.rtl.stce.geometry import Geometry
    from nofm.rtl.stce.job import job_fields

    return job_fields(Geometry.of(accelerator))


def _update(accelerator: Accelerator) -> Widths:
    from nofm.rtl.pregeneration.geometry import Geometry
    from nofm.rtl.program.update import update_fields

    return update_fields(ChipSizes.of(accelerator), Geometry.of(accelerator))


def _prune(accelerator: Accelerator) -> Widths:
    from nofm.rtl.program.prune import prune_fields
    from nofm.rtl.sore.geometry import Geometry

    return prune_fields(ChipSizes.of(accelerator), Geometry.of(accelerator))


OPERATIONS: dict[str, Operation] = {
    "barrier": Operation(0x01, "nothing but to wait", {}),
    "load_activations": Operation(
        0x02,
        "memory into the activation buffer",
        {"load_activations": lambda a: activation_load_fields(ChipSizes.of(a))},
    ),
    "load_weights": Operation(
        0x03,
        "memory into the weight buffer",
        {"load_weights": lambda a: weight_load_fields(ChipSizes.of(a))},
    ),
    "product": Operation(
        0x04,
        "a product on the array: what feeds it, and what collects its results",
        {
            "array": _array,
            "feed_activations": lambda a: activation_feed_fields(ChipSizes.of(a)),
            "feed_weights": lambda a: weight_feed_fields(ChipSizes.of(a)),
            "collect": lambda a: collect_fields(ChipSizes.of(a)),
        },
    ),
    "store": Operation(
        0x05, "results into memory", {"store": lambda a: store_fields(ChipSizes.of(a))}
    ),
    "vector": Operation(
        0x06,
        "element-wise work, pooling, sums",
        {"vector": lambda a: vector_fields(ChipSizes.of(a))},
    ),
    "update": Operation(0x07, "new weights and their compressed forms", {"update": _update}),
    "prune": Operation(0x08, "compressed forms of a matrix", {"prune": _prune}),
}
"""Every operation. Units are numbered in this order, so a new one comes last."""


@dataclass(frozen=True)
class Fault:
    """Why a program is refused, or stops.

    Attributes:
        code: what the chip's register says.
        meaning: for people.
    """

    code: int
    meaning: str


FAULTS: dict[str, Fault] = {
    "magic": Fault(1, "a header does not begin with the magic number"),
    "opcode": Fault(2, "no such operation"),
    "length": Fault(3, "the operation's payload has another length"),
    "reserved": Fault(4, "bits that must be 0 are not"),
    "truncated": Fault(5, "the program ends inside of a descriptor"),
    "trailing": Fault(6, "words follow the last descriptor"),
    "unfinished": Fault(7, "the program ends without a last descriptor"),
    "checksum": Fault(8, "the checksum is that of other bits"),
    "address": Fault(9, "the program goes over the end of the address space"),
    "window": Fault(16, "a write outside of the window"),
    "read": Fault(17, "memory answered a read with an error"),
    "write": Fault(18, "memory answered a write with an error"),
    "unit": Fault(19, "a unit found an error in its job"),
    "stalled": Fault(20, "nothing has moved for as long as the watchdog allows"),
}
"""Faults, the first ones those of programs: what is first in a header is told first."""


@dataclass(frozen=True)
class UnitLayout:
    """A unit as programs see it.

    Attributes:
        name: of the unit.
        number: its bit in `wait`.
        fields: of its job, and their widths; the first one is lowest.
    """

    name: str
    number: int
    fields: Widths

    @property
    def width(self) -> int:
        """Bits of its job."""
        return sum(self.fields.values())

    @property
    def words(self) -> int:
        """Words that its job takes in a payload; what is left of the last one is 0."""
        return -(-self.width // WORD_BITS)


@dataclass(frozen=True)
class OperationLayout:
    """An operation as it lies in memory: where it has several units, a word that says by a bit each
    which of them are there, the first lowest; then the job of each unit, from a word of its own on.
    The job of a unit that is not there is 0.
    """

    name: str
    opcode: int
    meaning: str
    units: tuple[UnitLayout, ...]

    @property
    def chooses(self) -> bool:
        """Whether the payload begins with a word that says which units are there."""
        return len(self.units) > 1

    @property
    def words(self) -> int:
        """Words of the payload."""
        return self.chooses + sum(unit.words for unit in self.units)

    def placed(self) -> Iterator[tuple[int, UnitLayout]]:
        """Every unit with the first word of its job in the payload."""
        at = int(self.chooses)
        for unit in self.units:
            yield at, unit
            at += unit.words

    def used_bits(self) -> dict[int, int]:
        """Words of the payload that are not used to the end, and how many bits of each are."""
        used = {0: len(self.units)} if self.chooses else {}
        used |= {
            at + unit.words - 1: (unit.width - 1) % WORD_BITS + 1 for at, unit in self.placed()
        }
        return {word: bits for word, bits in used.items() if bits < WORD_BITS}


@dataclass(frozen=True, eq=False)
class ProgramFormat:
    """The descriptors of one accelerator.

    Attributes:
        operations: in the order of `OPERATIONS`.

    Raises:
        InputError: operations that programs cannot hold.
    """

    operations: tuple[OperationLayout, ...]

    @classmethod
    def of(cls, accelerator: Accelerator) -> ProgramFormat:
        """Those of the chip of an accelerator.

        Raises:
            InputError: the chip cannot be built.
        """
        return cls.made(OPERATIONS, accelerator)

    @classmethod
    def made(cls, operations: Mapping[str, Operation], accelerator: Accelerator) -> ProgramFormat:
        """Those of any table of operations."""
        found: list[OperationLayout] = []
        number = 0
        for name, operation in operations.items():
            units = []
            for unit, fields in operation.units.items():
                units.append(UnitLayout(unit, number, dict(fields(accelerator))))
                number += 1
            found.append(OperationLayout(name, operation.opcode, operation.meaning, tuple(units)))
        return cls(tuple(found))

    def __post_init__(self) -> None:
        for what, names in (
            ("units", [unit.name for unit in self.units]),
            ("opcodes", [each.opcode for each in self.operations]),
        ):
            if len(set(names)) != len(names):
                raise InputError(f"{what} of a program's format must differ: {names}")
        if len(self.units) > HEADER["wait"]:
            raise InputError(
                f"units of a program's format must be {HEADER['wait']} at most, "
                f"not {len(self.units)}"
            )
        for each in self.operations:
            if each.words > LONGEST_PAYLOAD:
                raise InputError(
                    f"words of a payload must be {LONGEST_PAYLOAD} at most, and {each.name} has "
                    f"{each.words}"
                )
        for unit in self.units:
            if not unit.fields or not all(1 <= bits <= WORD_BITS for bits in unit.fields.values()):
                raise InputError(
                    f"unit {unit.name} must have fields, of 1 to {WORD_BITS} bits each"
                )

    @cached_property
    def units(self) -> tuple[UnitLayout, ...]:
        """Every unit, in the order of their bits in `wait`."""
        return tuple(unit for each in self.operations for unit in each.units)

    @cached_property
    def by_name(self) -> dict[str, OperationLayout]:
        """Every operation."""
        return {each.name: each for each in self.operations}

    @cached_property
    def by_opcode(self) -> dict[int, OperationLayout]:
        """Every operation by its number."""
        return {each.opcode: each for each in self.operations}

    @property
    def longest(self) -> int:
        """Words of the longest descriptor, with its header."""
        return 1 + max(each.words for each in self.operations)

    @cached_property
    def digest(self) -> int:
        """32 bits that tell formats apart: a chip's registers and a program's maker must agree."""
        told = [f"{MAGIC} {CHECKSUM_START} {list(HEADER.items())}"]
        for each in self.operations:
            told.append(f"{each.name} {each.opcode} {each.words}")
            told += [f"{u.name} {u.number} {list(u.fields.items())}" for u in each.units]
        return zlib.crc32("\n".join(told).encode())


def checksum(words: Sequence[int]) -> int:
    """The checksum of a descriptor: CRC-16/IBM-3740 (polynomial 0x1021, from 0xFFFF on, high bits
    first) of its bytes in memory, with 0 in the place of the checksum.

    >>> hex(binascii.crc_hqx(b"123456789", CHECKSUM_START))
    '0x29b1'
    """
    kept = WORD_BITS - HEADER["checksum"]
    head = words[0] & (1 << kept) - 1
    return binascii.crc_hqx(struct.pack(f"<{len(words)}Q", head, *words[1:]), CHECKSUM_START)


def sealed(words: Sequence[int]) -> list[int]:
    """A descriptor with the checksum that it must have."""
    kept = WORD_BITS - HEADER["checksum"]
    head = words[0] & (1 << kept) - 1
    return [head | checksum(words) << kept, *words[1:]]
