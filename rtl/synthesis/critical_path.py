"""The path that limits the clock, in words: from what to what, through which modules and cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from nofm.rtl.synthesis.design import Design
from nofm.rtl.synthesis.harness import CATCH, DRIVE, INSTANCE

# Yosys names a cell after the nearest signal that has a name: `sum_TRELLIS_FF_Q_3`.
_CELL = re.compile(
    r"_(TRELLIS_|LUT4_|CCU2C_|PFUMX_|L6MUX21_|MULT18X18D_|DP16KD_|PDPW16KD_).*$|\$.*$"
)


@dataclass(frozen=True)
class CriticalPath:
    """The slowest path between two registers.

    Attributes:
        start, end: register, module and instance at both ends, or the top's input or output.
        modules: what the path runs through, in order, as `module (instance)`.
        cells: look-up tables, carry cells, multipliers and memories on it.
        logic_ns, wires_ns: delay in cells, with clock to output and set-up, and between them.
        harness: all of it belongs to the frame around the design: the design itself is faster.
    """

    start: str
    end: str
    modules: tuple[str, ...]
    cells: int
    logic_ns: float
    wires_ns: float
    harness: bool

    def __str__(self) -> str:
        between = f" through {', '.join(self.modules)}" if self.modules else ""
        if self.harness:
            return f"the harness limits the clock, not the design: {self.start} to {self.end}"
        return (
            f"from {self.start} to {self.end}{between}: "
            f"{self.cells} {'cell' if self.cells == 1 else 'cells'}, "
            f"{self.logic_ns:.1f} ns in cells and {self.wires_ns:.1f} ns in wires"
        )

    def to_json(self) -> dict[str, Any]:
        """The path as a JSON object."""
        return {**asdict(self), "modules": list(self.modules), "words": str(self)}


def describe(path: Sequence[dict[str, Any]], framed: Design) -> CriticalPath:
    """Put nextpnr's path through a design in its harness, `framed`, into words."""
    logic = [step for step in path if step["type"] == "logic"]
    start, end = path[0]["from"]["cell"], path[-1]["to"]["cell"]
    places = [_place(step["from"]["cell"], framed) for step in logic]
    return CriticalPath(
        start=_register(start, framed),
        end=_register(end, framed),
        modules=tuple(place for place, _ in groupby(places)),
        cells=len(logic),
        logic_ns=sum(step["delay"] for step in path if step["type"] != "routing"),
        wires_ns=sum(step["delay"] for step in path if step["type"] == "routing"),
        harness=not any(step["from"]["cell"].startswith(f"{INSTANCE}.") for step in path),
    )


def _place(cell: str, framed: Design) -> str:
    path, module = framed.locate(cell)
    if path == "":
        return "the harness"
    inside = path.removeprefix(INSTANCE).removeprefix(".")
    return f"{module} ({inside})" if inside else module


def _register(cell: str, framed: Design) -> str:
    path, _ = framed.locate(cell)
    name = _CELL.sub("", cell[len(path) :].removeprefix("."))
    if path == "":
        for prefix, kind in ((DRIVE, "input"), (CATCH, "output")):
            if name.startswith(prefix):
                return f"{kind} {name.removeprefix(prefix)}"
    register = f"register {name}" if name else "an unnamed register"
    return f"{register} of {_place(cell, framed)}"
