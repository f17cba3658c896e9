"""The FuseSoC core: a CAPI2 description of emitted engines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from nofm import __version__
from nofm.rtl.emit.design import Design
from nofm.rtl.engines import ENGINES


def core_name(design: Design) -> str:
    """Vendor, library, name and version of the core.

    FuseSoC allows few characters; where a hardware's name has others, each run of them becomes a
    hyphen.
    """
    name = re.sub(r"[^a-z0-9_]+", "-", design.accelerator.name.lower()).strip("-")
    return f"nofm:rtl:{name or 'accelerator'}:{__version__}"


def core(design: Design, paths: Sequence[str], bench: Mapping[str, str], replay: str) -> str:
    """The text of the core file.

    Targets: `default` for cores that depend on this one, and `lint_<engine>`, `sim_<engine>` and
    `synth_<engine>` for each engine.

    Args:
        design: the engines.
        paths: the Verilog files.
        bench: where each file of the bench is to stand in the simulator's folder.
        replay: the bench's module, as Python imports it there.
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
        "  bench:",
        "    files:",
        *(f"      - {path}: {{copyto: {place}}}" for path, place in bench.items()),
        "    file_type: user",
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
            f"    description: {ENGINES[engine].title}, checked by Verilator",
            "    flow: lint",
            "    flow_options:",
            "      tool: verilator",
            "    filesets: [rtl]",
            top,
            "",
            f"  sim_{engine}:",
            f"    description: {ENGINES[engine].title}, with the cases of NOFM_ARGUMENTS",
            "    flow: sim",
            "    flow_options:",
            "      tool: icarus",
            f"      cocotb_module: {replay}",
            "    filesets: [rtl, bench]",
            top,
            "",
            f"  synth_{engine}:",
            f"    description: {ENGINES[engine].title}, alone on a VCU1525's device",
            "    flow: vivado",
            "    flow_options:",
            "      part: xcvu9p-fsgd2104-2L-e",
            "      pnr: none",
            "    filesets: [rtl]",
            top,
        ]
    return "\n".join(lines) + "\n"


def _description(design: Design) -> str:
    return f"Engines of the N:M sparse training accelerator {design.accelerator.name}"
