"""The FuseSoC core: a CAPI2 description of emitted engines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import version

from nofm.rtl.emit.design import Design
from nofm.rtl.emit.lint import CONTROL_FILE
from nofm.rtl.emit.vivado import PART
from nofm.rtl.engines import ENGINES

NO_STOP = "-Wno-fatal"
"""Verilator stops at every warning of style, if it is not told otherwise."""


def core_name(design: Design) -> str:
    """Vendor, library, name and version of the core.

    FuseSoC allows few characters; where a hardware's name has others, each run of them becomes a
    hyphen.
    """
    name = re.sub(r"[^a-z0-9_]+", "-", design.accelerator.name.lower()).strip("-")
    return f"nofm:rtl:{name or 'accelerator'}:{version('nofm')}"


def core(design: Design, paths: Sequence[str], bench: Sequence[str]) -> str:
    """The text of the core file.

    Targets: `default` for cores that depend on this one, and `lint_<engine>`, `sim_<engine>` and
    `synth_<engine>` for each engine; `sim_` not for a chip, for which there are no cases, and whose
    synthesis reads its constraints.

    Args:
        design: the engines.
        paths: the Verilog files.
        bench: files of the bench and its cases, which are copied into the simulator's folder.
    """
    lines = [
        "CAPI=2:",
        "",
        f"name: {core_name(design)}",
        f"description: {json.dumps(_description(design))}",
        "",
        "filesets:",
        "  rtl:",
        "    files:",
        *(f"      - {path}" for path in paths),
        "    file_type: verilogSource",
        "  lint:",
        "    files:",
        f"      - {CONTROL_FILE}",
        "    file_type: vlt",
    ]
    if bench:
        lines += [
            "  bench:",
            "    files:",
            *(f"      - {path}: {{copyto: {path}}}" for path in bench),
            "    file_type: user",
        ]
    for engine, built in design.engines.items():
        if built.host:
            lines += [
                f"  {engine}_constraints:",
                "    files:",
                f"      - {engine}.xdc",
                "    file_type: xdc",
            ]
    lines += [
        "",
        "targets:",
        "  default:",
        "    filesets: [rtl]",
    ]
    for engine, built in design.engines.items():
        top = f"    toplevel: {built.top.module_name}"
        lines += [
            "",
            f"  lint_{engine}:",
            _describe(engine, "checked by Verilator"),
            "    flow: lint",
            "    flow_options:",
            "      tool: verilator",
            "      verilator_options: [-Wall]",
            "    filesets: [rtl, lint]",
            top,
            "",
        ]
        if not built.host:
            lines += [
                f"  sim_{engine}:",
                _describe(engine, "run through the cases of NOFM_ARGUMENTS"),
                "    flow: sim",
                "    flow_options:",
                "      tool: icarus",
                f"      verilator_options: [{NO_STOP}]",
                "      cocotb_module: bench.replay",
                "    filesets: [rtl, bench]",
                top,
                "",
            ]
        lines += [
            f"  synth_{engine}:",
            _describe(engine, "alone, on the device of a VCU1525"),
            "    flow: vivado",
            "    flow_options:",
            f"      part: {PART}",
            "      pnr: none",
            f"    filesets: [rtl{f', {engine}_constraints' if built.host else ''}]",
            top,
        ]
    return "\n".join(lines) + "\n"


def _description(design: Design) -> str:
    return f"Engines of the N:M sparse training accelerator {design.accelerator.name}"


def _describe(engine: str, how: str) -> str:
    # In quotes, a colon is only text.
    return f"    description: {json.dumps(f'{ENGINES[engine].title}, {how}')}"
