"""The chip's registers: one list, from which hardware, driver, headers and documents are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.axi.register_map import WORD_BYTES, Access, Field, Register, RegisterMap
from nofm.rtl.program.descriptors import FAULTS, PROGRAM_BITS, ProgramFormat
from nofm.rtl.program.descriptors import WORD_BYTES as PROGRAM_BYTES
from nofm.rtl.program.sizes import ADDRESS_BITS, ChipSizes

RW, RO, W1C, PULSE = Access.RW, Access.RO, Access.W1C, Access.PULSE

IDENTIFICATION = 0x4D664F4E
"""The letters NOfM, the first one in the lowest byte."""

MAJOR, MINOR = 1, 0
"""Version of the registers: another major one is driven in another way."""

MOST_PATTERNS = 16

COUNTER_BITS = 48
"""Bits of a performance counter: more than two weeks at 200 MHz."""

CONTROL_OFFSET, COUNTER_OFFSET, UNIT_OFFSET = 0x100, 0x200, 0x300
"""Where parts begin: what a chip has more or fewer of never moves the others."""

COUNTERS: dict[str, str] = {
    "cycles": "Cycles in which a program was under way.",
    "waits_words": "Of these, cycles in which the dispatcher had no word of the program.",
    "waits_idle": "Cycles in which a unit that a descriptor waits for was busy.",
    "waits_unit": "Cycles in which a unit did not take its job.",
    "waits_end": "Cycles in which a unit was busy, and all descriptors were done.",
    "read_bytes": "Bytes that memory gave.",
    "written_bytes": "Bytes that memory took.",
    "descriptors": "Descriptors that were done.",
}
"""Performance counters beside those of the units; they begin again with each program."""

SPENT = {
    "issue": "Cycles in which the array took a kept weight in each row.",
    "interleave": "Cycles in which it waited for its adders.",
    "activation_port": "Cycles in which it waited for groups to come through their ports.",
    "weight_load": "Cycles in which it waited for weights to be loaded.",
    "accumulate": "Cycles in which it waited for sums to come back.",
    "drain": "Cycles in which it waited for sums to leave.",
    "fill": "Cycles in which its last sums were on their way.",
    "stalled_activations": "Cycles in which it stood still for activations.",
    "stalled_weights": "Cycles in which it stood still for weights.",
    "stalled_results": "Cycles in which it stood still, as results were not taken.",
}
"""What the array's cycles go to (docs/timing.md); it tells at the end of each of its jobs."""

CONFLICTS = {
    "conflict_activations": "Cycles in which rows wanted several words of one bank.",
    "conflict_weights": "The same of the weight buffer.",
}
"""What is counted of the feeders."""

ALL_COUNTERS = {**COUNTERS, **{f"array_{name}": text for name, text in SPENT.items()}, **CONFLICTS}
"""All counters but the units' own."""

_SIZES = {
    "rows": "Rows of the array.",
    "columns": "Columns of the array.",
    "port": "FP16 elements of a word of the activation buffer.",
    "index_bits": "Bits of a kept element's place in its group.",
    "bus_bits": "Width of the memory bus.",
    "activation_banks": "Banks of the activation buffer.",
    "activation_depth": "Words of each of them.",
    "weight_banks": "Banks of the weight buffer.",
    "weight_depth": "Kept elements of each of them.",
    "result_depth": "Results in each column's bank.",
}


def configuration(accelerator: Accelerator) -> dict[str, int]:
    """What the chip of an accelerator says of itself: a value for each of its first registers."""
    sizes, form = ChipSizes.of(accelerator), ProgramFormat.of(accelerator)
    patterns = accelerator.array.patterns
    if len(patterns) > MOST_PATTERNS:
        raise InputError(
            f"array.patterns of a chip must be {MOST_PATTERNS} at most, not {len(patterns)}"
        )
    known = {
        "identification": IDENTIFICATION,
        "version": MAJOR << 16 | MINOR,
        "program_format": form.digest,
        "units": (1 << len(form.units)) - 1,
        "clock_khz": round(accelerator.clock_mhz * 1e3),
        "dataflows": sum(
            (name in accelerator.array.dataflows) << i for i, name in enumerate(DATAFLOWS)
        ),
    }
    known |= {field.name: getattr(sizes, field.name) for field in fields(sizes)}
    for number in range(MOST_PATTERNS):
        each = patterns[number] if number < len(patterns) else None
        known[f"pattern_{number}"] = each.n | each.m << 16 if each else 0
    return known


def pattern_of(value: int) -> Pattern | None:
    """The pattern that a register `pattern_...` says."""
    return Pattern(value & 0xFFFF, value >> 16) if value else None


def _configuration() -> Iterator[Register]:
    meanings = {
        "identification": "NOfM in ASCII, the first letter lowest.",
        "version": "Of these registers: major one in the high half, minor one in the low half.",
        "program_format": "Digest of the fields of all descriptors: that of a program's maker.",
        "units": "The units that there are, a bit each, as in a descriptor's `wait`.",
        "clock_khz": "The clock that it was made for, in kHz.",
        "dataflows": f"Of the array: {', '.join(f'bit {i} {n}' for i, n in enumerate(DATAFLOWS))}.",
        **_SIZES,
    }
    for name, meaning in meanings.items():
        yield Register(name, meaning, (Field("value", 32, RO, "Fixed."),))
    for number in range(MOST_PATTERNS):
        yield Register(
            f"pattern_{number}",
            "A pattern of the array, N in the low half and M in the high half; 0 for none.",
            (Field("value", 32, RO, "Fixed."),),
        )


def _address(name: str, meaning: str, low: int) -> Iterator[Register]:
    """Two registers of an address in bytes, a multiple of 2^low."""
    yield Register(
        f"{name}_low",
        meaning,
        (Field("value", 32 - low, RW, "Bits from here up to bit 31.", low=low),),
    )
    yield Register(
        f"{name}_high", meaning, (Field("value", ADDRESS_BITS - 32, RW, "Bits from 32 on."),)
    )


def _control() -> Iterator[Register]:
    yield Register(
        "control",
        "What to do.",
        (
            Field(
                "start", 1, PULSE, "Begin the program, if none is under way and no error stands."
            ),
            Field("reset", 1, PULSE, "End what is on the bus, then reset all units."),
            Field("snapshot", 1, PULSE, "Copy all counters to where they are read."),
        ),
        offset=CONTROL_OFFSET,
    )
    yield Register(
        "status",
        "What goes on.",
        (
            Field("busy", 1, RO, "A program is under way."),
            Field("done", 1, RO, "The last program has ended well."),
            Field("error", 1, RO, "It stopped, and waits for a reset."),
            Field("resetting", 1, RO, "A reset is under way."),
        ),
    )
    for name, access, meaning in (
        ("interrupt_enable", RW, "Which events raise the interrupt."),
        ("interrupt_status", W1C, "Which events came."),
    ):
        yield Register(
            name,
            meaning,
            (
                Field("done", 1, access, "A program ended well."),
                Field("error", 1, access, "A program stopped."),
            ),
        )
    low = (PROGRAM_BYTES - 1).bit_length()
    yield from _address("program", "Address of the program; read by `start`.", low)
    words = f"Words of {PROGRAM_BYTES} bytes of the program; read by `start`."
    yield Register("program_words", words, (Field("value", PROGRAM_BITS, RW, "How many."),))
    yield from _address("window_base", "First address that may be written.", 1)
    yield Register(
        "window_limit_low",
        "First address behind the window that may be written; 0 after reset, so nothing may.",
        (Field("value", 31, RW, "Bits from here up to bit 31.", low=1),),
    )
    yield Register(
        "window_limit_high",
        "Its high half.",
        (Field("value", ADDRESS_BITS - 32 + 1, RW, "Bits from 32 on."),),
    )
    yield Register(
        "watchdog",
        "Cycles in which nothing moves after which a program is stopped; 0 for none.",
        (Field("cycles", 32, RW, "How many."),),
    )
    codes = ", ".join(f"{fault.code} {name}" for name, fault in FAULTS.items())
    yield Register(
        "error",
        "The first error; it stands until a reset.",
        (
            Field("code", 8, RO, f"0 for none; {codes}."),
            Field("detail", 8, RO, "The unit's number, or memory's response (RRESP, BRESP)."),
        ),
    )
    yield Register(
        "error_descriptor",
        "The descriptor at hand then.",
        (Field("number", 32, RO, "From 0 on."),),
    )
    for half, bits in (("low", 32), ("high", ADDRESS_BITS - 32)):
        yield Register(
            f"error_address_{half}",
            "Address of the descriptor, or in memory that was read or written.",
            (Field("value", bits, RO, f"Its {half} half."),),
        )
    yield Register(
        "descriptor",
        "The descriptor at hand.",
        (Field("number", 32, RO, "From 0 on."),),
    )


def _counter(name: str, meaning: str, offset: int) -> Iterator[Register]:
    for half, bits, at in (("low", 32, offset), ("high", COUNTER_BITS - 32, offset + WORD_BYTES)):
        yield Register(
            f"count_{name}_{half}",
            meaning,
            (Field("value", bits, RO, f"Its {half} half, of the last snapshot."),),
            offset=at,
        )


def counter_names(form: ProgramFormat) -> dict[str, str]:
    """Every performance counter and its meaning."""
    busy = {f"busy_{unit.name}": f"Cycles in which {unit.name} was busy." for unit in form.units}
    return ALL_COUNTERS | busy


def chip_registers(form: ProgramFormat) -> RegisterMap:
    """The registers of a chip whose programs have this format."""
    found = [*_configuration(), *_control()]
    for number, (name, meaning) in enumerate(ALL_COUNTERS.items()):
        found += _counter(name, meaning, COUNTER_OFFSET + 2 * WORD_BYTES * number)
    for unit in form.units:
        name = f"busy_{unit.name}"
        offset = UNIT_OFFSET + 2 * WORD_BYTES * unit.number
        found += _counter(name, counter_names(form)[name], offset)
    return RegisterMap(
        "nofm_chip", "Registers of an N:M sparse training accelerator.", tuple(found)
    )
