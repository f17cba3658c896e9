"""The bus side with another project's models: cocotbext-axi's memory, and its AXI4-Lite master.

They know nothing of our own bench, and our bench nothing of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.rtl.axi.bus import Bus, Command
from nofm.rtl.axi.cases import read_case, write_case
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.register_map import Access, Field, Register, RegisterMap
from nofm.rtl.axi.registers import Registers
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.hierarchy import Unit, modules
from nofm.rtl.tools.cocotb_runner import run

BUS = Bus(data_bits=128, address_bits=32, burst_beats=4, outstanding=3, queue_beats=16)
SIZE = 0x4000
BENCH = "axi_peer_bench"

pytest.importorskip("cocotb_bus.bus")


def with_identifiers(top: Unit) -> dict[str, str]:
    """The Verilog of a master in a module that has identifiers too, which the models need."""
    texts = modules(top)
    ports = {
        name: (member.flow.name, len(getattr(top, name)))
        for name, member in top.signature.members.items()
    }
    added = {
        name: (flow, 1)
        for name, flow in {"arid": "Out", "rid": "In", "awid": "Out", "bid": "In"}.items()
        if any(port.startswith(f"m_axi_{name[:-2]}") for port in ports)
    }
    declared = ["input clk", "input rst"]
    for name, (flow, width) in {**ports, **{f"m_axi_{k}": v for k, v in added.items()}}.items():
        declared.append(f"{'input' if flow == 'In' else 'output'} [{width - 1}:0] {name}")
    lines = [f"module framed({', '.join(declared)});"]
    lines += [f"  assign m_axi_{name} = 0;" for name, (flow, _) in added.items() if flow == "Out"]
    wired = ", ".join(f".{name}({name})" for name in ["clk", "rst", *ports])
    lines += [f"  {top.module_name} master ({wired});", "endmodule", ""]
    return {"framed": "\n".join(lines), **texts}


def peer(sources: dict[str, str], top: str, folder: Path, **arguments: Any) -> None:
    """Run the bench beside this file."""
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    try:
        done = run(sources, top, BENCH, folder=folder, tool="icarus", arguments=arguments)
    finally:
        sys.path.remove(here)
    assert done.results == {"ok": True, "differences": []}


def commands() -> list[Command]:
    rng = np.random.default_rng(3)
    found = []
    for tag in range(12):
        length = 2 * int(rng.integers(1, 150))
        start = 2 * int(rng.integers(0, (SIZE - length) // 2))
        found.append(Command(address=start, length_bytes=length, tag=tag))
    return found


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_master_with_their_memory(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, SIZE, np.uint8)
    runs = commands()
    if kind == "read":
        case = read_case("", BUS, runs, MemoryCase(), image, limit=1)
        words = case.case.outputs["out"][0]
        top: Unit = ReadMaster(BUS)
    else:
        data = [rng.integers(0, 256, each.length_bytes, np.uint8) for each in runs]
        case = write_case("", BUS, runs, MemoryCase(), image, data, limit=1)
        words = case.case.inputs["in"][0]
        top = WriteMaster(BUS)
    for name, array in (("image", case.image), ("after", case.after)):
        np.save(tmp_path / f"{name}.npy", array)
    peer(
        *(with_identifiers(top), "framed", tmp_path),
        unit=kind,
        image=str(tmp_path / "image.npy"),
        after=str(tmp_path / "after.npy"),
        commands=list(case.case.inputs["command"][0]),
        words=list(words),
    )


MAP = RegisterMap(
    "peer",
    "As the bench knows it.",
    (
        Register(
            "control",
            "",
            (
                Field("start", 1, Access.PULSE, ""),
                Field("enable", 1, Access.RW, "", low=16),
                Field("mode", 3, Access.RW, "", reset=5),
            ),
        ),
        Register(
            "status",
            "",
            (Field("busy", 1, Access.RO, ""), Field("level", 17, Access.RO, "", low=9)),
        ),
        Register("events", "", (Field("seen", 12, Access.W1C, "", reset=9, low=5),)),
        Register("address_low", "", (Field("value", 32, Access.RW, "", reset=0xDEADBEEF),)),
        Register(
            "last",
            "",
            (Field("error", 1, Access.W1C, ""), Field("count", 20, Access.RO, "", low=12)),
            offset=0x40,
        ),
    ),
)


def test_registers_with_their_master(tmp_path: Path) -> None:
    top = Registers(MAP)
    peer(modules(top), top.module_name, tmp_path, unit="registers")
