"""The page that goes with emitted engines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nofm.rtl.axi.ports import MASTER
from nofm.rtl.emit.core import core_name
from nofm.rtl.emit.design import Design

TEXT = """# Engines of {name}

Verilog-2001, written by NofM {version} from `hardware.toml`. To write the same again:

    nofm rtl --hardware hardware.toml {engines} -o FOLDER

| engine | top module | modules | job, bits | |
|---|---|---|---|---|
{table}

All modules have one clock, `clk`, and a synchronous reset, `rst`, active high. A stream `x` has the
ports `x_valid`, `x_ready` and `x_data`; a word moves in a cycle in which valid and ready are high.
`manifest.json` describes every port, job field, counter and module.

| file | what it is |
|---|---|
{files}

With `{first}` as the example, in this folder:

    verilator --lint-only -Wall --top-module {top} lint.vlt -f {first}.f
    yosys -p "read_verilog verilog/*.v; hierarchy -check -top {top}; proc; check -assert"
    iverilog -g2005 -t null -s {top} -c {first}.f
    yosys -p "read_verilog verilog/*.v; synth_xilinx -family xcup -top {top}"

Anywhere else, with `DIR` for this folder:

    verilator --lint-only -Wall --top-module {top} DIR/lint.vlt -F DIR/{first}.f
    vivado -mode batch -source DIR/{first}.tcl
    fusesoc --cores-root DIR run --target lint_{first} {core}
{bench}{chip}
NofM replaces this folder as long as it holds nothing but what NofM wrote: build elsewhere.
"""

FILES = {
    "verilog/": "one file for each module",
    "<engine>.f": "the files of an engine, for tools that read file lists",
    "<engine>.tcl": "synthesis of an engine in Vivado",
    "nofm.core": "FuseSoC core, `{core}`",
    "lint.vlt": "Verilator's warnings that mean nothing here, each with the reason",
    "manifest.json": "the engines for programs",
    "hardware.toml": "the accelerator",
}
"""Files of every folder, and what they are."""

BENCH_FILES = {
    "bench/`, `cases/`, `run.py": "the cocotb bench, cases, and the command that runs them",
}
"""Those where the bench applies to an engine."""

CHIP_FILES = {
    "{chip}.xdc": "the clock that synthesis of the chip alone aims at",
    "{chip}_ip.tcl": "packages the chip as an IP core for block designs in Vivado",
    "{chip}_registers.md": "the chip's registers for people",
    "{chip}_registers.h": "the same for C",
    "{chip}_registers.rdl": "the same as SystemRDL",
    "{chip}_registers.svd": "the same as CMSIS-SVD, for debuggers",
    "{chip}_program.md": "the descriptors that programs consist of, for people",
    "{chip}_program.h": "the same for C, with functions that write and seal them",
}
"""Those of a chip."""

BENCH = """    python DIR/run.py {first}

`run.py` runs the engine through the cases of its file in `cases/`, or of the file that it is given,
in Icarus, or in Verilator with `--tool verilator`. It compares every word that comes out, and the
counters that a case names. With `--keep FOLDER` build and waveform stay. It needs the Python
packages cocotb and numpy. FuseSoC runs the same by

    export NOFM_ARGUMENTS=cases/{first}.json NOFM_RESULTS=results.json
    export GPI_USERS="$(cocotb-config --libpython);$(cocotb-config --pygpi-entry-point)"
    fusesoc --cores-root DIR run --target sim_{first} {core}
"""

CHIP = """
`{chip}` is the whole accelerator: `s_axi` (AXI4-Lite, 32 bits, {register_bytes} bytes of registers)
goes to a processor, `m_axi` (AXI4, {bus_bits} bits of data, addresses of {address_bits} bits) to
memory, and `irq` to an interrupt, which is high until it is cleared. It has no stream of jobs and
no cases: a host writes programs to memory and begins them. As an IP core, in the folder IP:

    vivado -mode batch -source DIR/{chip}_ip.tcl -tclargs IP

and in the project of a board:

    set_property ip_repo_paths IP [current_project]; update_ip_catalog
    create_bd_cell -type ip -vlnv nofm:rtl:{chip} chip

On the board, `nofm.rtl.Driver` of the Python package drives it, with `hardware.toml` and programs
that were made for it; `{chip}_registers.h` and `{chip}_program.h` are for drivers of your own.
"""


def readme(design: Design, document: Mapping[str, Any]) -> str:
    """The page of a design, in Markdown.

    Args:
        design: the engines.
        document: their manifest.
    """
    engines = document["engines"]
    rows = [
        f"| `{each['engine']}` | `{each['top']}` | {len(each['files'])} "
        f"| {sum(field['width'] for field in each['job']) or ''} | {each['title']} |"
        for each in engines
    ]
    chips = [each for each in engines if design.engines[each["engine"]].host]
    plain = [each for each in engines if each not in chips]
    first = [*plain, *chips][0]
    words = {
        "first": first["engine"],
        "top": first["top"],
        "core": core_name(design),
    }
    files, bench, chip = dict(FILES), "", ""
    if plain:
        files |= BENCH_FILES
        bench = BENCH.format(**words)
    for each in chips:
        files |= {name.format(chip=each["engine"]): what for name, what in CHIP_FILES.items()}
        chip += CHIP.format(chip=each["engine"], **_sizes(design, each))
    return TEXT.format(
        name=json.dumps(design.accelerator.name)[1:-1],
        version=document["version"],
        engines=" ".join(f"--engine {name}" for name in design.engines),
        table="\n".join(rows),
        files="\n".join(f"| `{name}` | {what.format(**words)} |" for name, what in files.items()),
        bench=bench,
        chip=chip,
        **words,
    )


def _sizes(design: Design, engine: Mapping[str, Any]) -> dict[str, int]:
    host = design.engines[engine["engine"]].host
    assert host is not None
    widths = {port["port"]: port["width"] for port in engine["ports"]}
    return {
        "register_bytes": 1 << host.registers.address_bits,
        "bus_bits": widths[f"{MASTER}_wdata"],
        "address_bits": widths[f"{MASTER}_awaddr"],
    }
