"""What each unit of a chip takes of an AMD UltraScale+ FPGA, counted by Yosys.

    python benchmarks/chip_resources.py [HARDWARE] [UNIT ...]

Synthesizes the units of the chip of `sat-4x4`, or of another hardware, one by one and out of
context, and prints a table in the order in which they are done, and the share of an XCVU9P. With
units, only these. That of docs/chip.md is of all.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

from nofm.dataflow.accelerator import load
from nofm.rtl.chip.chip import Chip
from nofm.rtl.hierarchy import emitted
from nofm.rtl.synthesis.design import read
from nofm.rtl.synthesis.devices import device
from nofm.rtl.synthesis.families import Resources, number
from nofm.rtl.synthesis.synthesize import map_design, synthesize

INSIDE = "nofm_chip_datapath"
"""The module of a chip whose units are told in its place."""
INSTANCE = re.compile(r"^ +(nofm_\w+) (\w+) \($", re.MULTILINE)
BETWEEN = "between them"
DEVICE = "xcvu9p"


def main() -> None:
    """Measure and print."""
    hardware, *asked = sys.argv[1:] or ["sat-4x4"]
    chip = Chip(load(hardware))
    below: dict[str, tuple[str, ...]] = {}
    sources: dict[str, str] = {}
    for each in emitted(chip):
        name = each.unit.module_name
        sources[name], below[name] = each.verilog, each.places

    def needed(top: str) -> set[str]:
        return {top}.union(*map(needed, below[top]))

    print("| unit | LUT | of it RAM | FF | DSP | BRAM | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as here:
        folder = Path(here)
        units = {
            name: module
            for holder in (chip.module_name, INSIDE)
            for module, name in INSTANCE.findall(sources[holder])
            if module != INSIDE
        }
        total = Resources()
        for name in asked or [*units, BETWEEN]:
            start = time.perf_counter()
            if name == BETWEEN:
                design = read(sources, chip.module_name, folder / name)
                found = map_design(design, "xcup", [], known=sorted(set(units.values())))
            else:
                own = {module: sources[module] for module in needed(units[name])}
                found = synthesize(own, units[name], "xcup", folder / name)
            total += found.resources
            row(name, found.resources, f"{time.perf_counter() - start:.0f}")
    row("all", total)
    of = device(DEVICE)
    shares = [100 * getattr(total, kind) / of[kind] for kind in ("lut", "ff", "dsp", "bram")]
    lut, *others = (f"{share:.1f} %" for share in shares)
    print(f"| of {DEVICE.upper()} |", " | ".join([lut, "", *others, ""]), "|")


def row(name: str, taken: Resources, seconds: str = "") -> None:
    """Print a line of the table."""
    counts = (taken.lut, taken.lut_ram, taken.ff, taken.dsp, taken.bram)
    cells = [*(f"{number(count):,}" for count in counts), seconds]
    print(f"| {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
