"""Write the tables of docs/program.md: descriptors, errors and registers, as the code knows them.

    python tools/program_page.py

A test compares the page with the code. The tables are those of `sat-4x4`.
"""

from __future__ import annotations

import re
from pathlib import Path

from nofm.dataflow.accelerator import load
from nofm.rtl.axi.register_text import markdown
from nofm.rtl.chip.register_file import chip_registers
from nofm.rtl.program.descriptors import ProgramFormat
from nofm.rtl.program.program_text import TABLES

PAGE = Path(__file__).resolve().parents[1] / "docs/program.md"
MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with its tables written anew."""
    form = ProgramFormat.of(load("sat-4x4"))
    tables = {name: table(form) for name, table in TABLES.items()}
    tables["registers"] = markdown(chip_registers(form))
    return MARK.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
