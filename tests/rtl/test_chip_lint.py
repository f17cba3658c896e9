"""The feeders' Verilog is clean under Verilator's and Yosys's lint, with the engines' waivers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nofm.rtl.chip.activation_feeder import ActivationFeeder
from nofm.rtl.chip.weight_feeder import WeightFeeder
from nofm.rtl.emit.lint import control_file
from nofm.rtl.hierarchy import modules
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.tools import find, yosys

SMALL = {
    "rows": 3,
    "columns": 4,
    "port": 8,
    "index_bits": 3,
    "bus_bits": 64,
    "activation_banks": 4,
    "activation_depth": 6,
    "weight_banks": 4,
    "weight_depth": 50,
    "result_depth": 16,
}
CHIPS = {
    "small": SMALL,
    "one of everything": {**SMALL, "rows": 1, "columns": 1, "port": 1, "index_bits": 1},
    "two banks": {**SMALL, "rows": 1, "columns": 8, "port": 4, "activation_banks": 2},
}


@pytest.mark.parametrize(
    "kind", [ActivationFeeder, pytest.param(WeightFeeder, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "chip", [pytest.param(n, marks=[] if n == "small" else pytest.mark.slow) for n in CHIPS]
)
def test_feeders_are_clean(
    chip: str, kind: type[ActivationFeeder | WeightFeeder], tmp_path: Path
) -> None:
    top = kind(ChipSizes(**CHIPS[chip]), 64)
    files = []
    for name, text in modules(top).items():
        files.append(tmp_path / f"{name}.v")
        files[-1].write_text(text, "utf-8")
    control = tmp_path / "lint.vlt"
    control.write_text(control_file(), "utf-8")
    tool = find.verilator()
    options = ["--quiet", "--lint-only", "-Wall", "--top-module", top.module_name]
    done = subprocess.run(
        [tool.path, *options, str(control), *map(str, files)],
        env=tool.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    lines = [
        *(f"read_verilog {file}" for file in files),
        f"hierarchy -check -top {top.module_name}",
    ]
    yosys.run("\n".join([*lines, "proc", "check -assert", ""]), tmp_path, "check")
