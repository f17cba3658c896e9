"""Texts of a register map: SystemRDL, CMSIS-SVD, a C header and a Markdown table."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from nofm.rtl.axi.register_map import WORD_BITS, Access, RegisterMap


@dataclass(frozen=True)
class _Said:
    """How an access is written: properties of SystemRDL, entries of CMSIS-SVD, and in words."""

    rdl: str
    svd: dict[str, str]
    words: str


ACCESSES = {
    Access.RW: _Said("sw = rw; hw = r;", {"access": "read-write"}, "read and write"),
    Access.RO: _Said("sw = r; hw = w;", {"access": "read-only"}, "read only"),
    Access.W1C: _Said(
        "sw = rw; onwrite = woclr; hw = rw;",
        {"access": "read-write", "modifiedWriteValues": "oneToClear"},
        "set by hardware, cleared by writing 1",
    ),
    Access.PULSE: _Said(
        "sw = w; singlepulse; hw = r;",
        {"access": "write-only"},
        "writing 1 acts once; reads as 0",
    ),
}


def system_rdl(registers: RegisterMap) -> str:
    """The map as SystemRDL 2.0. Names are escaped: the language has many words of its own."""

    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    lines = [
        f"addrmap {registers.name} {{",
        f"  desc = {quoted(registers.meaning)};",
        f"  default regwidth = {WORD_BITS};",
        f"  default accesswidth = {WORD_BITS};",
    ]
    for offset, register in registers.placed():
        lines += ["", "  reg {", f"    desc = {quoted(register.meaning)};"]
        for low, field in register.placed():
            reset = "" if field.access is Access.RO else f" = {field.reset:#x}"
            lines += [
                "    field {",
                f"      desc = {quoted(field.meaning)};",
                f"      {ACCESSES[field.access].rdl}",
                f"    }} \\{field.name}[{low + field.bits - 1}:{low}]{reset};",
            ]
        lines.append(f"  }} \\{register.name} @ {offset:#x};")
    return "\n".join([*lines, "};", ""])


def svd(registers: RegisterMap) -> str:
    """The map as CMSIS-SVD 1.3: one device of one peripheral, at address 0."""

    def add(parent: ElementTree.Element, **entries: object) -> None:
        for name, text in entries.items():
            ElementTree.SubElement(parent, name).text = str(text)

    def below(parent: ElementTree.Element, name: str) -> ElementTree.Element:
        return ElementTree.SubElement(parent, name)

    device = ElementTree.Element("device", schemaVersion="1.3")
    add(device, name=registers.name, version="1.0", description=registers.meaning)
    add(device, addressUnitBits=8, width=WORD_BITS)
    peripheral = below(below(device, "peripherals"), "peripheral")
    add(peripheral, name=registers.name, description=registers.meaning, baseAddress="0x0")
    size = f"{1 << registers.address_bits:#x}"
    add(below(peripheral, "addressBlock"), offset="0x0", size=size, usage="registers")
    listed = below(peripheral, "registers")
    for offset, register in registers.placed():
        entry = below(listed, "register")
        add(entry, name=register.name, description=register.meaning)
        add(entry, addressOffset=f"{offset:#x}", size=WORD_BITS)
        add(entry, resetValue=f"{register.reset:#x}")
        fields = below(entry, "fields")
        for low, field in register.placed():
            part = below(fields, "field")
            add(part, name=field.name, description=field.meaning)
            add(part, bitOffset=low, bitWidth=field.bits, **ACCESSES[field.access].svd)
    ElementTree.indent(device)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        + ElementTree.tostring(device, encoding="unicode")
        + "\n"
    )


def c_header(registers: RegisterMap) -> str:
    """The map as a C header: offsets in bytes, resets, and of each field position and mask."""
    guard = f"{registers.name}_registers_h".upper()
    lines = [
        *_comment(f"{registers.meaning} Offsets are in bytes; registers have 32 bits."),
        f"#ifndef {guard}",
        f"#define {guard}",
    ]
    for offset, register in registers.placed():
        name = f"{registers.name}_{register.name}".upper()
        lines += ["", *_comment(register.meaning)]
        lines += [
            f"#define {name}_OFFSET {offset:#x}u",
            f"#define {name}_RESET {register.reset:#x}u",
        ]
        for low, field in register.placed():
            said = f"{field.meaning} ({ACCESSES[field.access].words})"
            lines += [
                *_comment(said),
                f"#define {name}_{field.name.upper()}_LOW {low}",
                f"#define {name}_{field.name.upper()}_BITS {field.bits}",
                f"#define {name}_{field.name.upper()}_MASK {field.mask << low:#x}u",
            ]
    return "\n".join([*lines, "", "#endif", ""])


def _comment(text: str) -> Iterator[str]:
    """Lines of a C comment that says `text`."""
    lines = textwrap.wrap(text.replace("*/", "* /"), 94)
    for number, line in enumerate(lines):
        begin = "/* " if number == 0 else "   "
        yield f"{begin}{line}{' */' if number == len(lines) - 1 else ''}"


def markdown(registers: RegisterMap) -> str:
    """The map as a table: a row for each field."""
    lines = [
        registers.meaning,
        "",
        "| offset | register | bits | field | access | reset | meaning |",
        "|---|---|---|---|---|---|---|",
    ]
    for offset, register in registers.placed():
        lines.append(f"| {offset:#05x} | `{register.name}` | | | | | {_cell(register.meaning)} |")
        for low, field in register.placed():
            high = low + field.bits - 1
            bits = f"{high}" if high == low else f"{high}:{low}"
            reset = "" if field.access is Access.RO else f"{field.reset:#x}"
            lines.append(
                f"| | | {bits} | `{field.name}` | {field.access.value} | {reset} | "
                f"{_cell(field.meaning)} |"
            )
    said = "; ".join(f"{access.value}: {ACCESSES[access].words}" for access in Access)
    lines += ["", f"{said}. All other addresses give SLVERR."]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


TEXTS: dict[str, Callable[[RegisterMap], str]] = {
    ".rdl": system_rdl,
    ".svd": svd,
    ".h": c_header,
    ".md": markdown,
}
"""What makes the file of each suffix."""
