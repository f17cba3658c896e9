"""The page that goes with emitted engines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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
| `verilog/` | one file for each module |
| `<engine>.f` | the files of an engine, for tools that read file lists |
| `<engine>.tcl` | synthesis of an engine in Vivado |
| `nofm.core` | FuseSoC core, `{core}` |
| `lint.vlt` | Verilator's warnings that mean nothing here, each with the reason |
| `manifest.json` | the engines for programs |
| `hardware.toml` | the accelerator |
| `bench/`, `cases/`, `run.py` | the cocotb bench, cases, and the command that runs them |

With `{first}` as the example, in this folder:

    verilator --lint-only -Wall --top-module {top} lint.vlt -f {first}.f
    yosys -p "read_verilog verilog/*.v; hierarchy -check -top {top}; proc; check -assert"
    iverilog -g2005 -t null -s {top} -c {first}.f
    yosys -p "read_verilog verilog/*.v; synth_xilinx -family xcup -top {top}"

Anywhere else, with `DIR` for this folder:

    verilator --lint-only -Wall --top-module {top} DIR/lint.vlt -F DIR/{first}.f
    vivado -mode batch -source DIR/{first}.tcl
    fusesoc --cores-root DIR run --target lint_{first} {core}
    python DIR/run.py {first}

`run.py` runs the engine through the cases of its file in `cases/`, or of the file that it is given,
in Icarus, or in Verilator with `--tool verilator`. It compares every word that comes out, and the
counters that a case names. With `--keep FOLDER` build and waveform stay. It needs the Python
packages cocotb and numpy. FuseSoC runs the same by

    export NOFM_ARGUMENTS=cases/{first}.json NOFM_RESULTS=results.json
    export GPI_USERS="$(cocotb-config --libpython);$(cocotb-config --pygpi-entry-point)"
    fusesoc --cores-root DIR run --target sim_{first} {core}

NofM replaces this folder as long as it holds nothing but what NofM wrote: build elsewhere.
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
        f"| {sum(field['width'] for field in each['job'])} | {each['title']} |"
        for each in engines
    ]
    return TEXT.format(
        name=json.dumps(design.accelerator.name)[1:-1],
        version=document["version"],
        engines=" ".join(f"--engine {name}" for name in design.engines),
        table="\n".join(rows),
        core=core_name(design),
        first=engines[0]["engine"],
        top=engines[0]["top"],
    )
