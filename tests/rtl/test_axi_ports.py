"""The emitted bus side is clean under both lints, and tells Vivado what its ports are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.register_map import Access, Field, Register, RegisterMap
from nofm.rtl.axi.registers import Registers
from nofm.rtl.axi.strided import StridedRead, StridedWrite
from nofm.rtl.axi.strider import Walk
from nofm.rtl.emit.lint import CONTROL_FILE, control_file
from nofm.rtl.hierarchy import Unit, modules
from nofm.rtl.tools import find, yosys

MAP = RegisterMap(
    "lint",
    "One register of each access, with bits left out.",
    tuple(
        Register(access.value, "", (Field("f", 1, access, "", low=3),), offset=8 * number)
        for number, access in enumerate(Access)
    ),
)
SMALL = Bus(data_bits=64, burst_beats=2, outstanding=1, queue_beats=3, tag_bits=2, granule_bytes=1)
WIDE = Bus(data_bits=512, address_bits=40, burst_beats=64, granule_bytes=4)
UNITS: dict[str, Unit] = {
    "small read": StridedRead(SMALL, Walk(loops=2, axes=1, count_bits=1, position_bits=2)),
    "small write": StridedWrite(SMALL, Walk(loops=3, axes=0)),
    "usual read": StridedRead(Bus(), Walk()),
    "wide write": StridedWrite(WIDE, Walk(loops=2, axes=0)),
    "registers": Registers(MAP),
}


SLOW = ("small write", "usual read", "wide write")


@pytest.fixture(
    params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in UNITS]
)
def unit(request: pytest.FixtureRequest) -> Unit:
    return UNITS[request.param]


def test_lints_find_nothing(unit: Unit, tmp_path: Path) -> None:
    """With the waivers of the engines, and no more."""
    files = []
    for name, text in modules(unit).items():
        files.append(str(tmp_path / f"{name}.v"))
        Path(files[-1]).write_text(text, "utf-8")
    control = tmp_path / CONTROL_FILE
    control.write_text(control_file(), "utf-8")
    tool = find.verilator()
    command = [tool.path, "--quiet", "--lint-only", "-Wall", "--top-module", unit.module_name]
    done = subprocess.run(
        [*command, str(control), *files],
        env=tool.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    lines = [*(f"read_verilog {file}" for file in files)]
    lines += [f"hierarchy -check -top {unit.module_name}", "proc", "check -assert", ""]
    yosys.run("\n".join(lines), tmp_path, "check")


def test_vivado_is_told_what_ports_are() -> None:
    """Each AXI port carries its interface's name, and the clock the interfaces that it drives."""
    for unit, prefix in ((UNITS["small read"], "m_axi"), (UNITS["registers"], "s_axi")):
        text = modules(unit)[unit.module_name]
        told = dict(
            re.findall(
                r'\(\* X_INTERFACE_INFO = "([^"]+)" \*\)\n(?:  \(\*.*\*\)\n)?'
                r"  (?:input|output) (?:\[\d+:0\] )?(\w+);",
                text,
            )
        )
        by_port = {port: info for info, port in told.items()}
        for port in unit.signature.members:
            if port.startswith(f"{prefix}_"):
                signal = port.removeprefix(f"{prefix}_").upper()
                assert by_port[port] == f"xilinx.com:interface:aximm:1.0 {prefix} {signal}"
            else:
                assert port not in by_port
        assert by_port["clk"] == "xilinx.com:signal:clock:1.0 clk CLK"
        assert by_port["rst"] == "xilinx.com:signal:reset:1.0 rst RST"
        assert f"ASSOCIATED_BUSIF {prefix}, ASSOCIATED_RESET rst" in text
        assert "POLARITY ACTIVE_HIGH" in text
