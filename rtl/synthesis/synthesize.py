"""Synthesis with Yosys: what a design takes of an FPGA family, module by module."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nofm.rtl.synthesis.design import SOURCE, Design, read
from nofm.rtl.synthesis.families import Resources, family
from nofm.rtl.tools import yosys


@dataclass(frozen=True)
class Synthesis:
    """What a design takes.

    Attributes:
        top: name of the top module.
        family: name of the FPGA family.
        resources: of the whole design.
        modules: number of instances and resources of one of them, without those kept below it, by
            module. It holds the top and every module that was synthesized by itself; all others
            were flattened into these. The sum of number times resources is `resources`.
    """

    top: str
    family: str
    resources: Resources
    modules: Mapping[str, tuple[int, Resources]]

    @property
    def method(self) -> str:
        """`flat`, or `repeated modules once`: how the design was synthesized."""
        return "flat" if len(self.modules) == 1 else "repeated modules once"


def synthesize(
    sources: Mapping[str, str], top: str, family: str, folder: Path, *, flat: bool = False
) -> Synthesis:
    """Synthesize modules, Verilog by name, for an FPGA family.

    A module that stands in more than one place is synthesized once and counted as often as it
    stands; all others are flattened into their parents. So an array takes hardly longer than one of
    its cells. What could be optimised across the borders of such a module is not: an input that
    is constant in one place, an output that nobody reads.

    Args:
        sources: Verilog by module name.
        top: the module whose resources are asked for.
        family: one of `families.FAMILIES`.
        folder: for scripts, logs and netlists; made if it is missing.
        flat: flatten everything. Slow for large arrays.

    Raises:
        InputError: an unknown family or top; Yosys is not installed, or it failed.
    """
    design = read(sources, top, folder)
    return map_design(design, family, [] if flat else design.repeated)


def map_design(
    design: Design,
    name: str,
    kept: Sequence[str],
    netlist: str | None = None,
    *,
    known: Sequence[str] = (),
) -> Synthesis:
    """Synthesize a `Design` for the family `name`, the modules `kept` by themselves.

    With `netlist`, the whole is then flattened and written to that JSON file beside it. Modules
    that are `known`, with what lies below them, are left empty and take nothing.
    """
    target = family(name)
    script = [
        f"read_verilog {SOURCE}",
        *(f"blackbox {module}" for module in known),
        f"hierarchy -check -top {design.top}",
        "proc",
        *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in kept),
        "flatten",
        # Aliases of whole vectors that nothing needs can stop later passes.
        "opt_clean -purge",
        f"{target.synthesize} -top {design.top}",
        f"tee -q -o {name}.stat.json stat -json",
    ]
    if netlist is not None:
        script += [
            "setattr -mod -unset keep_hierarchy *",
            "flatten",
            "opt_clean -purge",
            f"write_json {netlist}",
        ]
    yosys.run("\n".join(script) + "\n", design.folder, name)
    stat = json.loads((design.folder / f"{name}.stat.json").read_text("utf-8"))["modules"]
    instances = design.instances
    modules = {}
    for module in (design.top, *kept):
        cells = stat[f"\\{module}"]["num_cells_by_type"]
        own = {cell: number for cell, number in cells.items() if cell not in instances}
        modules[module] = (instances[module], target.count(own))
    total = Resources()
    for number, taken in modules.values():
        total += number * taken
    return Synthesis(design.top, name, total, modules)
