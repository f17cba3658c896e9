"""The chip's registers on the bus, their places, and their texts."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.register_text import TEXTS
from nofm.rtl.axi.registers import Registers
from nofm.rtl.chip.control import Control
from nofm.rtl.chip.register_file import chip_registers, configuration
from nofm.rtl.hierarchy import modules
from nofm.rtl.program.descriptors import OPERATIONS, Operation, ProgramFormat
from nofm.rtl.program.program_text import c_header
from nofm.rtl.tools.cocotb_runner import run

SAT = load("sat-4x4")
FORM = ProgramFormat.of(SAT)
MAP = chip_registers(FORM)


def phase(seed: int, channels: dict[str, str]) -> dict[str, Any]:
    """Every register read and written once, and addresses where none is."""
    rng = random.Random(seed)
    known = [offset for offset, _ in MAP.placed()]
    addresses = [*known, *(rng.randrange(1 << MAP.address_bits) for _ in range(30))]
    rng.shuffle(addresses)
    return {
        "reads": addresses,
        "writes": [(at, rng.getrandbits(32), rng.choice([15, 15, 3, 12])) for at in addresses],
        "channels": channels,
        "seed": seed,
        "reset_at": None,
        "limit": 5000,
    }


def test_every_register_on_the_bus(tmp_path: Path) -> None:
    """Against a model that knows every port in every cycle."""
    told = [
        {
            "offset": offset,
            "fields": [
                {
                    "port": MAP.port(register, field),
                    "low": low,
                    "bits": field.bits,
                    "access": field.access.value,
                    "reset": field.reset,
                }
                for low, field in register.placed()
            ],
        }
        for offset, register in MAP.placed()
    ]
    done = run(
        *(modules(Registers(MAP)), Registers(MAP).module_name, "nofm.rtl.bench.axi_lite"),
        folder=tmp_path,
        tool="icarus",
        arguments={
            "map": told,
            "phases": [phase(1, {}), phase(2, {"aw": "random:0.5", "r": "random:0.5"})],
        },
    )
    for result in done.results["phases"]:
        assert result["error"] is None
        assert result["reads"] == result["writes"] == sum(1 for _ in MAP.placed()) + 30


def test_registers_stay_where_they_are() -> None:
    """Whatever the accelerator, and with more units: what a driver knows is in its place."""
    other = SAT.with_values(**{"array.rows": 8, "array.patterns": ["1:4"]})
    more = {**OPERATIONS, "new": Operation(9, "", {"new": lambda _: {"x": 1}})}
    grown = chip_registers(ProgramFormat.made(more, SAT))
    here = {register.name: offset for offset, register in MAP.placed()}
    for each in (chip_registers(ProgramFormat.of(other)), grown):
        there = {register.name: offset for offset, register in each.placed()}
        assert there | here == there
    assert set(configuration(SAT)) == {
        register.name for register in MAP.registers[: len(configuration(SAT))]
    }


def test_too_many_patterns_are_refused() -> None:
    patterns = [f"1:{m}" for m in range(2, 19)]
    with pytest.raises(InputError, match=r"^array.patterns of a chip must be 16 at most, not 17$"):
        configuration(SAT.with_values(**{"array.patterns": patterns}))


def test_both_headers_go_together(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "registers.h").write_text(TEXTS[".h"](MAP), "utf-8")
    (tmp_path / "program.h").write_text(c_header(FORM), "utf-8")
    lines = ['#include "program.h"', '#include "registers.h"']
    for offset, register in MAP.placed():
        name = f"NOFM_CHIP_{register.name.upper()}_OFFSET"
        lines.append(f'_Static_assert({name} == {offset}, "{register.name}");')
    (tmp_path / "check.c").write_text("\n".join([*lines, ""]), "utf-8")
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    done = subprocess.run(
        [*command, str(tmp_path / "check.c")], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_control_has_a_port_for_every_unit() -> None:
    control = Control(SAT, Bus(address_bits=40, length_bits=24))
    for unit in FORM.units:
        assert len(getattr(control, f"{unit.name}_data")) == unit.width
