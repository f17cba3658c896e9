"""Texts of programs: a C header, Markdown tables, and a listing for people."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence

from nofm.rtl.program.descriptors import (
    CHECKSUM_START,
    FAULTS,
    FLAGS,
    HEADER,
    HEADER_MEANINGS,
    MAGIC,
    MOST_WORDS,
    WORD_BITS,
    WORD_BYTES,
    ProgramFormat,
    UnitLayout,
)
from nofm.rtl.program.encoding import Descriptor

SHOWN = 3
"""Fields of each job that a listing shows: the first that are not 0."""


def _places(widths: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    """Every field with its lowest bit and its width."""
    at = 0
    for name, bits in widths.items():
        yield name, at, bits
        at += bits


_HELPERS = f"""
/* A field of `bits` bits, 1 to 64, whose lowest bit is bit `low` of an array of words. */
static inline uint64_t nofm_get(const uint64_t *words, unsigned low, unsigned bits) {{
  uint64_t value = words[low / 64] >> low % 64;
  if (low % 64 + bits > 64)
    value |= words[low / 64 + 1] << (64 - low % 64);
  return bits < 64 ? value & (((uint64_t)1 << bits) - 1) : value;
}}

/* Sets one; what of `value` does not fit is cut off. */
static inline void nofm_set(uint64_t *words, unsigned low, unsigned bits, uint64_t value) {{
  uint64_t mask = bits < 64 ? ((uint64_t)1 << bits) - 1 : ~(uint64_t)0;
  value &= mask;
  words[low / 64] = (words[low / 64] & ~(mask << low % 64)) | value << low % 64;
  if (low % 64 + bits > 64) {{
    unsigned done = 64 - low % 64;
    words[low / 64 + 1] = (words[low / 64 + 1] & ~(mask >> done)) | value >> done;
  }}
}}

/* The checksum of a descriptor: its header, whose own checksum does not count, and payload. */
static inline uint16_t nofm_checksum(const uint64_t *words) {{
  unsigned count = 1 + (unsigned)nofm_get(words, NOFM_HEADER_LENGTH_LOW, NOFM_HEADER_LENGTH_BITS);
  uint16_t crc = {CHECKSUM_START:#x};
  for (unsigned byte = 0; byte < {WORD_BYTES} * count; byte++) {{
    uint64_t word = words[byte / {WORD_BYTES}];
    if (byte < {WORD_BYTES})
      word &= ((uint64_t)1 << NOFM_HEADER_CHECKSUM_LOW) - 1;
    crc ^= (uint16_t)((word >> 8 * (byte % {WORD_BYTES}) & 255) << 8);
    for (int bit = 0; bit < 8; bit++)
      crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
  }}
  return crc;
}}

/* Writes the header of a descriptor whose payload is there, and its checksum. */
static inline void nofm_seal(uint64_t *words, unsigned opcode, unsigned length, unsigned wait,
                             unsigned flags) {{
  words[0] = 0;
  nofm_set(words, NOFM_HEADER_MAGIC_LOW, NOFM_HEADER_MAGIC_BITS, NOFM_MAGIC);
  nofm_set(words, NOFM_HEADER_OPCODE_LOW, NOFM_HEADER_OPCODE_BITS, opcode);
  nofm_set(words, NOFM_HEADER_LENGTH_LOW, NOFM_HEADER_LENGTH_BITS, length);
  nofm_set(words, NOFM_HEADER_WAIT_LOW, NOFM_HEADER_WAIT_BITS, wait);
  nofm_set(words, NOFM_HEADER_FLAGS_LOW, NOFM_HEADER_FLAGS_BITS, flags);
  nofm_set(words, NOFM_HEADER_CHECKSUM_LOW, NOFM_HEADER_CHECKSUM_BITS, nofm_checksum(words));
}}
"""


def c_header(form: ProgramFormat) -> str:
    """Constants of a format, and functions that read, write and seal descriptors.

    Places of fields are bits of the descriptor, from its header on: `nofm_set(words, NOFM_X_LOW,
    NOFM_X_BITS, value)`.
    """
    lines = [
        "/* Programs of an N:M sparse training accelerator: descriptors in 64-bit words. */",
        "#ifndef NOFM_PROGRAM_H",
        "#define NOFM_PROGRAM_H",
        "#include <stdint.h>",
        "",
        f"#define NOFM_PROGRAM_FORMAT {form.digest:#010x}u",
        f"#define NOFM_MAGIC {MAGIC:#x}u",
        f"#define NOFM_MOST_WORDS {MOST_WORDS}u",
    ]

    def field(name: str, low: int, bits: int) -> None:
        lines.extend([f"#define NOFM_{name}_LOW {low}u", f"#define NOFM_{name}_BITS {bits}u"])

    lines += ["", "/* Fields of a header. */"]
    for name, low, bits in _places(HEADER):
        field(f"HEADER_{name.upper()}", low, bits)
    lines += [f"#define NOFM_FLAG_{flag.upper()} {1 << i}u" for i, flag in enumerate(FLAGS)]
    lines += ["", "/* Units, as bits of `wait`. */"]
    lines += [
        f"#define NOFM_UNIT_{unit.name.upper()} {1 << unit.number:#x}u" for unit in form.units
    ]
    lines += ["", "/* Errors. */"]
    lines += [f"#define NOFM_ERROR_{name.upper()} {fault.code}u" for name, fault in FAULTS.items()]
    for each in form.operations:
        name = each.name.upper()
        lines += ["", f"/* {each.name}: {each.meaning}. */"]
        lines += [f"#define NOFM_OPCODE_{name} {each.opcode:#x}u"]
        lines += [f"#define NOFM_LENGTH_{name} {each.words}u"]
        for k, (first, unit) in enumerate(each.placed()):
            inside = unit.name.upper()
            if each.chooses:
                field(f"{name}_HAS_{inside}", WORD_BITS + k, 1)
            for entry, low, bits in _places(unit.fields):
                field(f"{inside}_{entry.upper()}", WORD_BITS * (1 + first) + low, bits)
    return "\n".join([*lines, _HELPERS, "#endif", ""])


def header_table(form: ProgramFormat) -> str:
    """Markdown: the fields of a header."""
    del form
    lines = ["| bits | field | meaning |", "|---|---|---|"]
    for name, low, bits in _places(HEADER):
        lines.append(f"| {low + bits - 1}:{low} | `{name}` | {HEADER_MEANINGS[name]} |")
    return "\n".join([*lines, ""])


def operation_table(form: ProgramFormat) -> str:
    """Markdown: every operation with its units."""
    lines = [
        "| opcode | operation | what it does | words | units (bit of `wait`: bits of the job) |",
        "|---:|---|---|---:|---|",
    ]
    for each in form.operations:
        units = ", ".join(f"`{u.name}` ({u.number}: {u.width})" for u in each.units)
        lines.append(
            f"| {each.opcode:#x} | `{each.name}` | {each.meaning} | {each.words} | {units} |"
        )
    return "\n".join([*lines, ""])


def field_table(form: ProgramFormat) -> str:
    """Markdown: of every unit, the fields of its job with their widths, the lowest first."""
    lines = []
    for unit in form.units:
        said = ", ".join(f"`{name}` {bits}" for name, bits in unit.fields.items())
        lines += textwrap.wrap(
            f"- `{unit.name}`: {said}", 118, subsequent_indent="  ", break_on_hyphens=False
        )
    return "\n".join([*lines, ""])


def fault_table(form: ProgramFormat) -> str:
    """Markdown: every error."""
    del form
    lines = ["| code | error | meaning |", "|---:|---|---|"]
    lines += [f"| {fault.code} | `{name}` | {fault.meaning} |" for name, fault in FAULTS.items()]
    return "\n".join([*lines, ""])


TABLES: dict[str, Callable[[ProgramFormat], str]] = {
    "header": header_table,
    "operations": operation_table,
    "fields": field_table,
    "errors": fault_table,
}
"""Tables of docs/program.md by name."""


def markdown(form: ProgramFormat) -> str:
    """A page of all tables."""
    parts = [f"## {name.capitalize()}\n\n{table(form)}" for name, table in TABLES.items()]
    return "# Programs\n\n" + "\n".join(parts)


def describe(form: ProgramFormat, descriptors: Sequence[Descriptor]) -> str:
    """A listing of a program: a row for each job, with the first of its fields that are not 0.

    >>> from nofm.dataflow.accelerator import load
    >>> form = ProgramFormat.of(load("sat-4x4"))
    >>> print(describe(form, [Descriptor("barrier", wait=("store", "array"), last=True)]), end="")
    number  word  operation  waits for     job
         0     0  barrier    array, store  (last)
    """
    rows = [("number", "word", "operation", "waits for", "job")]
    word = 0
    for number, each in enumerate(descriptors):
        layout = form.by_name[each.operation]
        waits = ", ".join(unit.name for unit in form.units if unit.name in each.wait)
        jobs = [_job(unit, each) for unit in layout.units if unit.name in each.jobs] or [""]
        jobs[-1] += (" " * bool(jobs[-1]) + "(last)") * each.last
        rows.append((str(number), str(word), each.operation, waits, jobs[0]))
        rows += [("", "", "", "", job) for job in jobs[1:]]
        word += 1 + layout.words
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if column < 2 else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    return "\n".join([*lines, ""])


def _job(unit: UnitLayout, descriptor: Descriptor) -> str:
    shown = [f"{name} {value}" for name, value in descriptor.jobs[unit.name].items() if value]
    more = f", {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return f"{unit.name}: {', '.join(shown[:SHOWN]) or 'all 0'}{more}"
