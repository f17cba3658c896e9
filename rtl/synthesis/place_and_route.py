"""Place and route for ECP5: the clock that a design reaches, and the path that limits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nofm.kernels.errors import InputError
from nofm.rtl.synthesis.critical_path import CriticalPath, describe
from nofm.rtl.synthesis.design import read
from nofm.rtl.synthesis.families import Resources
from nofm.rtl.synthesis.harness import TOP, harness
from nofm.rtl.synthesis.synthesize import Synthesis, map_design
from nofm.rtl.tools import nextpnr

DEVICE = "85k"
"""The largest ECP5: what does not fit here fits none."""

SPEED_GRADE = 8
"""The fastest."""


@dataclass(frozen=True)
class Layout:
    """A placed and routed design.

    Attributes:
        synthesis: of the design, without its harness.
        resources: what is placed, without the harness.
        clock_mhz: highest clock, in the slowest process corner of the speed grade.
        path: what limits it.
        seed: of the placer; another one moves the clock by several percent.
    """

    synthesis: Synthesis
    resources: Resources
    clock_mhz: float
    path: CriticalPath
    seed: int


def place_and_route(
    sources: Mapping[str, str],
    top: str,
    folder: Path,
    *,
    flat: bool = False,
    target_mhz: float = 150.0,
    seed: int = 1,
) -> Layout:
    """Synthesize, place and route modules, Verilog by name, for an ECP5-85 of speed grade 8.

    The design stands in a harness (see `harness`), whose cells are counted and taken off. It is
    synthesized as by `synthesize`, and flattened afterwards.

    Args:
        sources: Verilog by module name.
        top: the module whose clock is asked for; it has an input `clk`.
        folder: for scripts, logs and netlists; made if it is missing.
        flat: flatten everything before synthesis.
        target_mhz: what the placer works towards; missing it is no error.
        seed: of the placer. Equal arguments give equal results.

    Raises:
        InputError: an unknown top, or one without clock or output; a tool that is not installed or
            failed, as nextpnr does when the device is too small.
    """
    design = read(sources, top, folder)
    if TOP in sources:
        raise InputError(f"no module may be named {TOP}, as place and route needs the name")
    framed = read({**sources, TOP: harness(design)}, TOP, folder)
    kept = [top] if flat else sorted({top, *design.repeated})
    whole = map_design(framed, "ecp5", kept, "netlist.json")
    _, frame = whole.modules[TOP]
    own = {module: found for module, found in whole.modules.items() if module != TOP}
    report = nextpnr.place_and_route(
        "netlist.json",
        folder,
        device=DEVICE,
        speed=SPEED_GRADE,
        target_mhz=target_mhz,
        seed=seed,
    )
    placed = Resources(
        lut=report.used["TRELLIS_COMB"],
        # Four look-up tables hold its words, and the write port blocks two more.
        lut_ram=6 * report.used["TRELLIS_RAMW"],
        ff=report.used["TRELLIS_FF"],
        dsp=report.used["MULT18X18D"],
        bram=report.used["DP16KD"],
        carry=whole.resources.carry,
    )
    return Layout(
        synthesis=Synthesis(top, "ecp5", whole.resources - frame, own),
        resources=placed - frame,
        clock_mhz=report.clock_mhz,
        path=describe(report.path, framed),
        seed=seed,
    )
