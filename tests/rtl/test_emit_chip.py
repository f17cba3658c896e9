"""What an emitted folder holds for a chip: with a stand-in that has its ports and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Out

from nofm.dataflow.accelerator import Accelerator, load
from nofm.rtl import engines
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.ports import lite_ports, read_ports, write_ports
from nofm.rtl.axi.register_text import TEXTS
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.chip import Chip
from nofm.rtl.chip.register_file import chip_registers
from nofm.rtl.elastic import Elastic
from nofm.rtl.emit.folder import emit
from nofm.rtl.engines import Built, Engine, Host
from nofm.rtl.hierarchy import Unit, emitted
from nofm.rtl.program.descriptors import ProgramFormat

MACHINE = load("sat-4x4")
FORM = ProgramFormat.of(MACHINE)
HOST = Host(chip_registers(FORM), FORM)
CASE = Case(name="a", inputs={"in": [[1]]}, outputs={"out": [[1]]}, jobs=0, limit=9)


class Ports(Unit):
    """The ports of a chip.

    | port | width | direction | |
    |---|---|---|---|
    | s_axi_... | 32 | | registers |
    | m_axi_... | 256 | | memory |
    | irq | 1 | out | interrupt |
    """

    module_name = "nofm_ports"

    def __init__(self) -> None:
        bus = Bus(data_bits=256, address_bits=36)
        super().__init__(
            {**lite_ports(12), **read_ports(bus), **write_ports(bus), "irq": Out(1)},
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.irq.eq(~self.irq)
        return m


def _chip(accelerator: Accelerator) -> Built:
    return Built(Ports(), {}, "", HOST)


def _plain(accelerator: Accelerator) -> Built:
    return Built(Elastic(4), {}, "")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that are emitted at once."""
    table = {
        "plain": Engine("a buffer", _plain),
        "chip": Engine("ports of a chip", _chip, asked_for=True),
    }
    monkeypatch.setattr(engines, "ENGINES", table)
    monkeypatch.setattr("nofm.rtl.emit.manifest.ENGINES", table)
    monkeypatch.setattr("nofm.rtl.emit.core.ENGINES", table)


def written(folder: Path, *names: str) -> dict[str, str]:
    """Emit engines, the plain one with a case; all texts by path."""
    emit(MACHINE, folder, names, lambda engine: [CASE] if engine == "plain" else [])
    return {
        str(path.relative_to(folder)): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".npz"
    }


def test_it_is_there_only_if_it_is_named(tmp_path: Path) -> None:
    assert not [path for path in written(tmp_path / "a") if path.startswith("chip")]
    assert "chip.f" in written(tmp_path / "b", "chip", "plain")
    document = json.loads((tmp_path / "a/manifest.json").read_text("utf-8"))
    assert document["left_out"] == []


def test_a_chip_alone_has_no_bench(tmp_path: Path) -> None:
    assert sorted(written(tmp_path, "chip")) == [
        "README.md",
        "chip.f",
        "chip.tcl",
        "chip.xdc",
        "chip_ip.tcl",
        "chip_program.h",
        "chip_program.md",
        "chip_registers.h",
        "chip_registers.md",
        "chip_registers.rdl",
        "chip_registers.svd",
        "hardware.toml",
        "lint.vlt",
        "manifest.json",
        "nofm.core",
        "verilog/nofm_ports.v",
    ]


def test_every_file_is_explained(tmp_path: Path) -> None:
    for number, names in enumerate([("chip",), ("chip", "plain")]):
        texts = written(tmp_path / str(number), *names)
        page = texts["README.md"]
        told = re.findall(r"^\| (`.*`) \| .{9,} \|$", page, re.MULTILINE)
        known = set(re.findall(r"`([^`]+)`", " ".join(told)))
        for path in texts:
            top = path.split("/")[0] + ("/" if "/" in path else "")
            general = re.sub(r"^\w+\.(f|tcl)$", r"<engine>.\1", top)
            assert {top, general} & known or top == "README.md", path
        # And no other ones.
        there = {path.split("/")[0].replace("plain.", "<engine>.") for path in texts}
        there |= {re.sub(r"^chip\.(f|tcl)$", r"<engine>.\1", name) for name in there}
        files = re.findall(r"^\| (`.*`) \| [a-zV].* \|$", page.split("| file |")[1], re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", " ".join(files)):
            assert name.rstrip("/") in there, name
        assert ("run.py" in page) == ("plain" in names)
        assert "AXI4, 256 bits of data, addresses of 36 bits" in re.sub(r"\s+", " ", page)
        assert "4096 bytes of registers" in page


def test_texts_are_those_of_the_chip(tmp_path: Path) -> None:
    texts = written(tmp_path, "chip")
    for ending, make in TEXTS.items():
        assert texts[f"chip_registers{ending}"] == make(HOST.registers)
    assert f"#define NOFM_PROGRAM_FORMAT {FORM.digest:#010x}u" in texts["chip_program.h"]
    for unit in FORM.units:
        assert f"`{unit.name}` ({unit.number}: {unit.width})" in texts["chip_program.md"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_both_headers_compile_together(tmp_path: Path) -> None:
    written(tmp_path / "out", "chip")
    source = tmp_path / "both.c"
    source.write_text(
        '#include "chip_registers.h"\n#include "chip_program.h"\n'
        "int main(void) { uint64_t words[2] = {0};\n"
        "  nofm_seal(words, NOFM_OPCODE_BARRIER, 0, NOFM_UNIT_STORE, NOFM_FLAG_LAST);\n"
        "  return NOFM_CHIP_CONTROL_OFFSET == 0x100u && words[0] ? 0 : 1; }\n"
    )
    command = ["cc", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path / 'out'}", str(source)]
    subprocess.run([*command, "-o", str(tmp_path / "both")], check=True)
    subprocess.run([tmp_path / "both"], check=True)


def test_vivado_reads_sources_and_the_clock(tmp_path: Path) -> None:
    texts = written(tmp_path, "chip", "plain")
    assert texts["chip.xdc"].splitlines()[-1] == (
        "create_clock -name clk -period 5.000 [get_ports clk]"  # 200 MHz
    )
    lines = texts["chip.tcl"].splitlines()
    at = {line.split()[0]: number for number, line in enumerate(lines)}
    assert at["read_verilog"] < at["read_xdc"] < at["synth_design"] < at["report_utilization"]
    assert lines[at["read_xdc"]] == "read_xdc -mode out_of_context [file join $here chip.xdc]"
    assert "create_clock" not in at
    assert "read_xdc" not in texts["plain.tcl"]
    assert "create_clock -name clk -period 5.000" in texts["plain.tcl"]
    core = texts["chip_ip.tcl"]
    assert "-source chip_ip.tcl " in core
    assert "\nset_property top nofm_ports [current_fileset]\n" in core
    assert "\nset_property range 4096 $block\n" in core
    assert "read_verilog [file join $here verilog/nofm_ports.v]" in core


def test_targets_of_the_core(tmp_path: Path) -> None:
    core = written(tmp_path, "chip", "plain")["nofm.core"]
    assert re.findall(r"^  (\w+_(?:chip|plain)):$", core, re.MULTILINE) == [
        "lint_plain",
        "sim_plain",
        "synth_plain",
        "lint_chip",
        "synth_chip",
    ]
    synth = core.split("\n  synth_chip:\n")[1]
    assert "    filesets: [rtl, chip_constraints]\n    toplevel: nofm_ports\n" in synth
    constraints = "  chip_constraints:\n    files:\n      - chip.xdc\n    file_type: xdc\n"
    assert constraints in core
    assert "  bench:\n" in core
    assert "bench" not in written(tmp_path, "chip")["nofm.core"]


def test_a_real_chip_tells_vivado_its_interfaces() -> None:
    """Every port, and nothing but the ports; of the top module, which is emitted first."""
    text = next(iter(emitted(Chip(MACHINE)))).verilog
    declared = re.findall(
        r"((?:^  \(\*.*\n)*)^  (?:in|out)put (?:\[\d+:0\] )?(\w+);", text, re.MULTILINE
    )
    assert len(declared) == 53
    for marks, port in declared:
        kind, name, signal = re.findall(r'= "xilinx.com:(\S+):1.0 (\w+) (\w+)"', marks)[0]
        if kind == "interface:aximm":
            assert f"{name}_{signal.lower()}" == port
        else:
            assert (kind, name, signal) == {
                "clk": ("signal:clock", "clk", "CLK"),
                "rst": ("signal:reset", "rst", "RST"),
                "irq": ("signal:interrupt", "irq", "INTERRUPT"),
            }[port]
    assert 'X_INTERFACE_PARAMETER = "XIL_INTERFACENAME irq, SENSITIVITY LEVEL_HIGH"' in text


def test_the_manifest_says_what_ports_are_for(tmp_path: Path) -> None:
    written(tmp_path, "chip")
    (chip,) = json.loads((tmp_path / "manifest.json").read_text("utf-8"))["engines"]
    assert (chip["job"], chip["streams"], chip["counters"]) == ([], [], {})
    meanings = {port["port"]: port["meaning"] for port in chip["ports"]}
    assert meanings["s_axi_wdata"] == "registers"
    assert meanings["m_axi_araddr"] == "memory"
    assert all(meanings.values())
