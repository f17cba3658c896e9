"""The chip's control is clean under Verilator's and Yosys's lint."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nofm.dataflow.accelerator import load
from nofm.rtl.axi.bus import Bus
from nofm.rtl.chip.control import Control
from nofm.rtl.chip.gate import BusGate
from nofm.rtl.chip.window import WriteWindow
from nofm.rtl.emit.lint import Waiver, control_file
from nofm.rtl.hierarchy import Unit, modules
from nofm.rtl.tools import find, yosys

OWN = (
    Waiver(
        "UNUSEDSIGNAL",
        "What comes with a beat of a program.",
        "It consists of whole words, and the fetcher knows where it ends.",
        ("Bits of signal are not used: 'in_data'*",),
        ("nofm_chip_fetcher_*",),
    ),
)
TOPS = {
    "control": lambda: Control(load("sat-4x4"), Bus(address_bits=40, length_bits=24)),
    "wide gate": lambda: BusGate(Bus(data_bits=512, address_bits=40, length_bits=24)),
    "window": lambda: WriteWindow(Bus(address_bits=40, length_bits=24)),
}


@pytest.mark.parametrize("name", TOPS)
def test_it_is_clean(name: str, tmp_path: Path) -> None:
    top: Unit = TOPS[name]()
    texts = modules(top)
    for module, text in texts.items():
        (tmp_path / f"{module}.v").write_text(text, "utf-8")
    lines = [line for waiver in OWN for line in waiver.lines()]
    (tmp_path / "lint.vlt").write_text("\n".join([control_file(), *lines, ""]), "utf-8")
    tool = find.verilator()
    done = subprocess.run(
        [
            *(tool.path, "--quiet", "--lint-only", "-Wall", "--top-module", top.module_name),
            *(str(tmp_path / "lint.vlt"), "-y", str(tmp_path)),
            str(tmp_path / f"{top.module_name}.v"),
        ],
        env=tool.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    read = [f"read_verilog {tmp_path / module}.v" for module in texts]
    script = [*read, f"hierarchy -check -top {top.module_name}", "proc", "check -assert", ""]
    yosys.run("\n".join(script), tmp_path, "check")
