"""Programs as bytes: the encoder, and a strict decoder that hardware agrees with bit for bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nofm.kernels.errors import InputError, unknown
from nofm.rtl.fields import pack, unpack
from nofm.rtl.program.descriptors import (
    FLAGS,
    HEADER,
    MAGIC,
    MOST_WORDS,
    WORD_BITS,
    WORD_BYTES,
    OperationLayout,
    ProgramFormat,
    checksum,
    sealed,
)

Values = Mapping[str, int]

_WORD = (1 << WORD_BITS) - 1
_LAST = 1 << FLAGS.index("last")


@dataclass(frozen=True)
class Descriptor:
    """One descriptor.

    Attributes:
        operation: its name.
        jobs: by unit, a value for each field of the unit's job. Operations of several units may
            leave some out.
        wait: units that must be idle before.
        last: whether the program ends with it.
    """

    operation: str
    jobs: Mapping[str, Values] = field(default_factory=dict)
    wait: tuple[str, ...] = ()
    last: bool = False


class ProgramError(InputError):
    """Bytes that are no program.

    Attributes:
        rule: which of `FAULTS` it is.
        descriptor: number of the descriptor.
        offset: in bytes, of the descriptor.
    """

    def __init__(self, rule: str, descriptor: int, offset: int, what: str) -> None:
        self.rule = rule
        self.descriptor = descriptor
        self.offset = offset
        super().__init__(f"descriptor {descriptor} at byte {offset} ({rule}): {what}")


def encode_descriptor(form: ProgramFormat, descriptor: Descriptor) -> list[int]:
    """The words of one descriptor.

    Raises:
        InputError: an unknown operation, unit or field, one that is missing, or a value that does
            not fit.
    """
    layout = form.by_name.get(descriptor.operation)
    if layout is None:
        raise unknown("operation", descriptor.operation, form.by_name)
    names = [unit.name for unit in layout.units]
    for name in descriptor.jobs:
        if not names:
            raise InputError(f"{layout.name} must have no jobs, not one for {name}")
        if name not in names:
            raise unknown(f"unit of {layout.name}", name, names)
    numbers = {unit.name: unit.number for unit in form.units}
    wait = 0
    for name in descriptor.wait:
        if name not in numbers:
            raise unknown("unit to wait for", name, numbers)
        wait |= 1 << numbers[name]
    payload = []
    if layout.chooses:
        payload.append(sum((name in descriptor.jobs) << i for i, name in enumerate(names)))
    for unit in layout.units:
        job = descriptor.jobs.get(unit.name)
        if job is None and not layout.chooses:
            raise InputError(f"{layout.name} must have a job for {unit.name}, and has none")
        packed = 0
        if job is not None:
            if set(job) != set(unit.fields):
                wrong = sorted(set(job) ^ set(unit.fields))
                raise InputError(
                    f"a job of {unit.name} must have its fields and no others: {wrong[0]} is "
                    f"{'unknown' if wrong[0] in job else 'missing'}"
                )
            packed = pack(unit.fields, job)
        payload += [packed >> WORD_BITS * k & _WORD for k in range(unit.words)]
    values = {
        "magic": MAGIC,
        "opcode": layout.opcode,
        "length": len(payload),
        "wait": wait,
        "flags": _LAST * descriptor.last,
        "checksum": 0,
    }
    return sealed([pack(HEADER, values), *payload])


def encode_program(form: ProgramFormat, descriptors: Sequence[Descriptor]) -> bytes:
    """A program as it lies in memory.

    Raises:
        InputError: as `encode_descriptor`, with the descriptor's number; `last` is not that of the
            last descriptor alone; or it is too long.
    """
    words: list[int] = []
    for number, each in enumerate(descriptors):
        if each.last != (number == len(descriptors) - 1):
            raise InputError(
                f"descriptor {number}: last must be set of the last descriptor and of no other, "
                f"not {each.last}"
            )
        try:
            words += encode_descriptor(form, each)
        except InputError as error:
            raise InputError(f"descriptor {number}: {error}") from None
    if not 1 <= len(words) <= MOST_WORDS:
        raise InputError(
            f"a program must have from 1 to {MOST_WORDS} words of {WORD_BYTES} bytes, "
            f"not {len(words)}"
        )
    return struct.pack(f"<{len(words)}Q", *words)


def decode_program(form: ProgramFormat, data: bytes) -> list[Descriptor]:
    """The descriptors of a program.

    What this accepts, hardware does, and what it refuses, hardware refuses for the same reason.

    Raises:
        ProgramError: the first thing that is wrong, with the descriptor's number and place.
        InputError: bytes that are no whole words, or too many.
    """
    return [descriptor for _, descriptor in walk_program(form, data)]


def walk_program(form: ProgramFormat, data: bytes) -> Iterator[tuple[int, Descriptor]]:
    """Every descriptor of a program with its offset in bytes, as far as they are sound.

    Raises:
        ProgramError, InputError: as `decode_program`.
    """
    if len(data) % WORD_BYTES:
        raise InputError(f"a program's bytes must be a multiple of {WORD_BYTES}, not {len(data)}")
    if len(data) > MOST_WORDS * WORD_BYTES:
        raise InputError(
            f"a program must have {MOST_WORDS} words of {WORD_BYTES} bytes at most, "
            f"not {len(data) // WORD_BYTES}"
        )
    words = memoryview(data).cast("B")
    left, at, number = len(data) // WORD_BYTES, 0, 0
    if not left:
        raise ProgramError(
            "unfinished", 0, 0, "a program must end with a last descriptor, and has none"
        )
    while left:
        (head,) = struct.unpack_from("<Q", words, at)
        header = unpack(HEADER, head)
        layout = _checked_header(form, header, left, number, at)
        payload = struct.unpack_from(f"<{layout.words}Q", words, at + WORD_BYTES)
        _check_payload(layout, header, [head, *payload], number, at)
        yield at, _descriptor(form, layout, header, payload)
        left -= 1 + layout.words
        at += WORD_BYTES * (1 + layout.words)
        number += 1


def _checked_header(
    form: ProgramFormat, header: Values, left: int, number: int, at: int
) -> OperationLayout:
    """The operation of a header, of a program that has `left` words from it on."""

    def check(rule: str, good: bool, what: str) -> None:
        if not good:
            raise ProgramError(rule, number, at, what)

    magic, opcode, length = header["magic"], header["opcode"], header["length"]
    check("magic", magic == MAGIC, f"magic must be {MAGIC:#x}, not {magic:#x}")
    known = ", ".join(f"{code:#x}" for code in form.by_opcode)
    check("opcode", opcode in form.by_opcode, f"opcode must be one of {known}, not {opcode:#x}")
    layout = form.by_opcode[opcode]
    check(
        "length",
        length == layout.words,
        f"length of {layout.name} must be {layout.words} words, not {length}",
    )
    units, flags = len(form.units), header["flags"]
    check(
        "reserved",
        not header["wait"] >> units,
        f"wait must be below 2^{units}, not {header['wait']:#x}",
    )
    check("reserved", flags <= _LAST, f"flags must be 0 or {_LAST}, not {flags:#x}")
    check(
        "truncated",
        1 + length <= left,
        f"words of {layout.name} must be {left} at most, as the program has no more, "
        f"not {1 + length}",
    )
    behind = left - 1 - length
    if flags:
        check("trailing", not behind, f"words behind the last descriptor must be 0, not {behind}")
    else:
        check(
            "unfinished",
            bool(behind),
            "a program must end with a last descriptor, and this is none",
        )
    return layout


def _check_payload(
    layout: OperationLayout, header: Values, words: Sequence[int], number: int, at: int
) -> None:
    wanted = checksum(words)
    if header["checksum"] != wanted:
        raise ProgramError(
            "checksum", number, at, f"it must be {wanted:#06x}, not {header['checksum']:#06x}"
        )
    payload = words[1:]
    for word, bits in layout.used_bits().items():
        if payload[word] >> bits:
            raise ProgramError(
                "reserved",
                number,
                at,
                f"word {word} of the payload must be below 2^{bits}, not {payload[word]:#x}",
            )
    for k, (first, unit) in enumerate(layout.placed()):
        if layout.chooses and not payload[0] >> k & 1:
            for word in range(first, first + unit.words):
                if payload[word]:
                    raise ProgramError(
                        "reserved",
                        number,
                        at,
                        f"word {word} of the payload must be 0, as {unit.name} is not there, "
                        f"not {payload[word]:#x}",
                    )


def _descriptor(
    form: ProgramFormat, layout: OperationLayout, header: Values, payload: Sequence[int]
) -> Descriptor:
    jobs = {}
    for k, (first, unit) in enumerate(layout.placed()):
        if layout.chooses and not payload[0] >> k & 1:
            continue
        packed = sum(payload[first + i] << WORD_BITS * i for i in range(unit.words))
        jobs[unit.name] = unpack(unit.fields, packed)
    wait = tuple(unit.name for unit in form.units if header["wait"] >> unit.number & 1)
    return Descriptor(layout.name, jobs, wait, bool(header["flags"] & _LAST))
