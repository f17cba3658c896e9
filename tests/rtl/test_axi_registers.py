"""Registers against a model that knows every cycle, and the texts of a map against the map."""

from __future__ import annotations

import itertools
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nofm.kernels.errors import InputError
from nofm.rtl.axi.register_map import Access, Field, Register, RegisterMap
from nofm.rtl.axi.register_text import c_header, markdown, svd, system_rdl
from nofm.rtl.axi.registers import Registers
from nofm.rtl.hierarchy import Emitted, Unit, emitted, modules
from nofm.rtl.tools.cocotb_runner import run

RW, RO, W1C, PULSE = Access.RW, Access.RO, Access.W1C, Access.PULSE

MAP = RegisterMap(
    "example",
    'A map with everything: "quotes", a | and */ in its texts.',
    (
        Register(
            "control",
            "What to do.",
            (
                Field("start", 1, PULSE, "Begin | go on."),
                Field("stop", 1, PULSE, "End.", low=6),
                Field("enable", 1, RW, "Whether it may.", low=16),
                Field("mode", 3, RW, 'How: "fast" is 5.', reset=5),
            ),
        ),
        Register(
            "status",
            "What goes on.",
            (Field("busy", 1, RO, "At work."), Field("level", 17, RO, "Words held.", low=9)),
        ),
        Register("events", "What happened.", (Field("seen", 12, W1C, "Bits.", reset=9, low=5),)),
        Register("address_low", "Where.", (Field("value", 32, RW, "Low half.", reset=0xDEADBEEF),)),
        Register(
            "last",
            "Behind a gap.",
            (Field("error", 1, W1C, "It failed."), Field("count", 20, RO, "How often.", low=12)),
            offset=0x40,
        ),
    ),
    address_bits=8,
)
PAUSES = ("steady", "random:0.4")
CHANNELS = ("aw", "w", "b", "ar", "r")


def told(registers: RegisterMap) -> list[dict[str, Any]]:
    """The map as the bench reads it."""
    return [
        {
            "offset": offset,
            "fields": [
                {
                    "port": registers.port(register, field),
                    "low": low,
                    "bits": field.bits,
                    "access": field.access.value,
                    "reset": field.reset,
                }
                for low, field in register.placed()
            ],
        }
        for offset, register in registers.placed()
    ]


def phase(number: int, channels: dict[str, str], count: int = 24, **options: Any) -> dict[str, Any]:
    """Random reads and writes: mostly of registers, or only of the first, at any of their bytes."""
    rng = random.Random(number)
    first = options.pop("first", False)
    known = [0] if first else [offset for offset, _ in MAP.placed()]

    def address() -> int:
        if not first and rng.random() < 0.2:
            return rng.randrange(1 << MAP.address_bits)
        return rng.choice(known) + rng.randrange(4)

    writes = [
        (address(), rng.getrandbits(32), rng.choice([15, 15, rng.randrange(16)]))
        for _ in range(count)
    ]
    reads = [address() for _ in range(count)]
    return {
        "reads": reads,
        "writes": writes,
        "channels": channels,
        "seed": number,
        "reset_at": None,
        "limit": 2000,
        **options,
    }


def phases() -> list[dict[str, Any]]:
    """Every combination of pauses, and resets."""
    combinations = itertools.product(PAUSES, repeat=len(CHANNELS))
    found = [
        phase(number, dict(zip(CHANNELS, pauses, strict=True)))
        for number, pauses in enumerate(combinations)
    ]
    late = {"aw": ({"aw": "bursts:1:7"}), "w": {"w": "bursts:1:7"}, "b": {"b": "bursts:1:9"}}
    found += [phase(40 + number, channels) for number, channels in enumerate(late.values())]
    found.append(phase(45, {"ar": "random:0.7", "aw": "random:0.7"}, 60, first=True))
    return found + [phase(50 + at, {"b": "random:0.5"}, reset_at=at) for at in (1, 4, 9, 30)]


def faults(sources: dict[str, str], told_phases: list[dict[str, Any]], folder: Path) -> list[str]:
    done = run(
        *(sources, Registers(MAP).module_name, "nofm.rtl.bench.axi_lite"),
        folder=folder,
        tool="icarus",
        arguments={"map": told(MAP), "phases": told_phases},
    )
    results = done.results["phases"]
    if all(result["error"] is None for result in results):
        for each, result in zip(told_phases, results, strict=True):
            assert result["writes"] == len(each["writes"])
            assert result["reads"] == len(each["reads"])
        assert sum(result["refused"] for result in results)
    return [result["error"] for result in results if result["error"] is not None]


def test_every_bit_in_every_cycle(tmp_path: Path) -> None:
    """Reads and writes at the same time, with pauses on every channel in every combination."""
    assert faults(modules(Registers(MAP)), phases(), tmp_path) == []


MUTANTS: dict[str, tuple[str, str, str]] = {
    "w1c does not clear": ("elaborate", "value & ~cleared", "value"),
    "w1c clears what is written as 0": ("elaborate", "cleared = new &", "cleared = ~new &"),
    "a clear wins over a set": (
        "elaborate",
        '(value & ~cleared) | getattr(self, f"{name}_set")',
        '(value | getattr(self, f"{name}_set")) & ~cleared',
    ),
    "strobes do not count": ("elaborate", "value & ~mask) | (new & mask)", "value & 0) | new"),
    "a pulse stays": (
        "elaborate",
        "value.eq(new & mask & written",
        "value.eq(value | new & mask & written",
    ),
    "another register is written": (
        "elaborate",
        "goes & selected[number]",
        "goes & selected[number - 1]",
    ),
    "a pulse reads as it is": ("_word", "Const(0, 1) if", "value if"),
    "fields close ranks": ("_word", "Const(0, low - at), ", ""),
    "unknown reads are okay": ("_read", "SLVERR", "OKAY"),
    "unknown writes are okay": ("_write", "eq(~selected.any())", "eq(0)"),
    "high bits of addresses do not count": ("_selected", "address[2:] ==", "address[2:5] =="),
    "data before its address is lost": ("_write", "(~has_data)", "(has_address & ~has_data)"),
    "a write does not wait for its answer": ("_write", "has_data & ~valid", "has_data"),
    "reads wait for writes": ("_read", "~waits & ~valid", '~waits & ~valid & ~self._bus("bvalid")'),
    "an answer goes away": ("_read", "m.Elif(ready)", "m.Else()"),
}


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Registers(MAP)))


QUICK = ("w1c does not clear", "strobes do not count", "a pulse stays", "unknown reads are okay")
"""Those that every run of the tests tries; `make test-slow` tries all."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MUTANTS],
)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    tmp_path: Path,
) -> None:
    kind: type[Unit] = Registers
    mutate(kind, *MUTANTS[name], monkeypatch)
    every = phases()
    few = [every[0], every[31], every[32], every[34], every[35], every[-2]]
    assert faults(remake(sound, kind), few, tmp_path)


Row = tuple[str, int, str, int, int, str, int]
"""Register, offset, field, lowest bit, bits, access, reset."""


def rows() -> list[Row]:
    return [
        (register.name, offset, field.name, low, field.bits, field.access.value, field.reset)
        for offset, register in MAP.placed()
        for low, field in register.placed()
    ]


def test_system_rdl_says_what_the_map_says() -> None:
    text = system_rdl(MAP)
    accesses = {
        "sw = rw; hw = r;": "rw",
        "sw = r; hw = w;": "ro",
        "sw = rw; onwrite = woclr; hw = rw;": "w1c",
        "sw = w; singlepulse; hw = r;": "pulse",
    }
    strings = r'"(?:[^"\\]|\\.)*"'
    bare = re.sub(strings, '""', text)
    found: list[Row] = []
    for body, register, offset in re.findall(r"reg \{(.*?)\n  \} \\(\w+) @ (\w+);", bare, re.S):
        for properties, name, high, low, reset in re.findall(
            r'field \{\s*desc = "";\s*(.*?)\s*\} \\(\w+)\[(\d+):(\d+)\](?: = (\w+))?;', body
        ):
            found.append(
                (
                    *(register, int(offset, 16), name, int(low), int(high) - int(low) + 1),
                    *(accesses[properties], int(reset or "0", 16)),
                )
            )
    assert found == rows()
    assert text.count("{") == text.count("}")
    said = [each[1:-1].replace('\\"', '"') for each in re.findall(strings, text)]
    meanings = [MAP.meaning]
    for register in MAP.registers:
        meanings += [register.meaning, *(field.meaning for field in register.fields)]
    assert said == meanings


def test_svd_says_what_the_map_says() -> None:
    device = ElementTree.fromstring(svd(MAP))

    def number(entry: ElementTree.Element, name: str) -> int:
        return int(entry.findtext(name) or "", 0)

    found: list[Row] = []
    for register in device.iterfind(".//register"):
        reset = number(register, "resetValue")
        for field in register.iterfind(".//field"):
            low, bits = number(field, "bitOffset"), number(field, "bitWidth")
            access = {"read-only": "ro", "write-only": "pulse", "read-write": "rw"}[
                field.findtext("access") or ""
            ]
            if field.findtext("modifiedWriteValues") == "oneToClear":
                access = "w1c"
            found.append(
                (
                    *(register.findtext("name") or "", number(register, "addressOffset")),
                    *(field.findtext("name") or "", low, bits, access),
                    reset >> low & (1 << bits) - 1,
                )
            )
    assert found == rows()
    assert device.findtext("description") == MAP.meaning


def test_the_c_header_compiles_and_says_what_the_map_says(tmp_path: Path) -> None:
    """A compiler asserts every number."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    lines = ['#include "example.h"', '#include "example.h"']
    for register, offset, field, low, bits, _, reset in rows():
        name = f"EXAMPLE_{register}".upper()
        part = f"{name}_{field}".upper()
        for text in (
            f"{name}_OFFSET == {offset}",
            f"{part}_LOW == {low}",
            f"{part}_BITS == {bits}",
            f"{part}_MASK == {((1 << bits) - 1) << low}u",
            f"({name}_RESET & {part}_MASK) >> {part}_LOW == {reset}u",
        ):
            lines += [f'_Static_assert({text}, "{register}.{field}");']
    (tmp_path / "example.h").write_text(c_header(MAP), "utf-8")
    (tmp_path / "check.c").write_text("\n".join([*lines, ""]), "utf-8")
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    done = subprocess.run(
        [*command, str(tmp_path / "check.c")], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert len(re.findall("^#define", c_header(MAP), re.MULTILINE)) == 1 + 2 * 5 + 3 * len(rows())


def test_markdown_says_what_the_map_says() -> None:
    found: list[Row] = []
    register, offset = "", 0
    for line in markdown(MAP).splitlines():
        if not line.startswith("| ") or line.startswith("| offset"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[0]:
            register, offset = cells[1].strip("`"), int(cells[0], 16)
            continue
        high, _, low = cells[2].partition(":")
        bits = int(high) - int(low or high) + 1
        found.append(
            (
                *(register, offset, cells[3].strip("`"), int(low or high), bits),
                *(cells[4], int(cells[5] or "0", 16)),
            )
        )
    assert found == rows()


def field(**values: Any) -> Field:
    return Field(**{"name": "f", "bits": 4, "access": RW, "meaning": "", **values})


def mapped(*registers: Register) -> RegisterMap:
    return RegisterMap("m", "", registers)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: field(name="Go"),
            "a name of a field must be lower-case letters, digits and _, not 'Go'",
        ),
        (lambda: field(bits=33), "bits of field f must be from 1 to 32, not 33"),
        (
            lambda: field(access=PULSE),
            "bits of field f must be 1, as its access is pulse, not 4",
        ),
        (lambda: field(reset=16), "reset of field f must be from 0 to 15, not 16"),
        (
            lambda: field(access=RO, reset=1),
            "reset of field f must be 0, as its access is ro, not 1",
        ),
        (
            lambda: mapped(Register("r", "", (field(), field(name="g", low=3)))),
            "low of field r.g must be from 4 to 28, not 3",
        ),
        (
            lambda: mapped(Register("r", "", (field(),), offset=6)),
            "offset of register r must be a multiple of 4 from 0 to 4092, not 6",
        ),
        (
            lambda: mapped(Register("r", "", (field(),)), Register("q", "", (field(),), offset=0)),
            "offset of register q must be a multiple of 4 from 4 to 4092, not 0",
        ),
        (
            lambda: mapped(Register("r", "", (field(),)), Register("r", "", (field(name="g"),))),
            "names of registers and fields must differ: r stands twice",
        ),
        (
            lambda: mapped(Register("r", "", ())),
            "register map m must have registers, and these fields",
        ),
    ],
)
def test_what_is_no_map_is_refused(make: Any, text: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == text
