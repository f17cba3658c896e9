"""One row of a resource table: an engine, synthesized for a family, and its clock where asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nofm.kernels.errors import InputError
from nofm.rtl.hierarchy import Unit, modules
from nofm.rtl.synthesis.critical_path import CriticalPath
from nofm.rtl.synthesis.families import KINDS, Resources, number
from nofm.rtl.synthesis.place_and_route import place_and_route
from nofm.rtl.synthesis.synthesize import Synthesis, synthesize

ROUTED = ("ecp5",)
"""Families with a place and route."""


@dataclass(frozen=True)
class Row:
    """What an engine takes of a family, and its clock.

    Attributes:
        engine: its name, for people.
        parameters: what of the hardware it was built with, by name.
        synthesis: of the engine.
        resources: placed, if it was placed and routed, else synthesized.
        clock_mhz: after place and route, else None.
        path: what limits the clock, else None.
    """

    engine: str
    parameters: Mapping[str, int | str]
    synthesis: Synthesis
    resources: Resources
    clock_mhz: float | None = None
    path: CriticalPath | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object; counts are those of `resources`."""
        taken = {kind: number(getattr(self.resources, kind)) for kind in KINDS}
        return {
            "engine": self.engine,
            "parameters": dict(self.parameters),
            "family": self.synthesis.family,
            "method": self.synthesis.method,
            "placed": self.path is not None,
            **taken,
            "clock_mhz": None if self.clock_mhz is None else round(self.clock_mhz, 2),
            "path": None if self.path is None else self.path.to_json(),
            "modules": {
                module: {
                    "instances": instances,
                    **{kind: number(getattr(own, kind)) for kind in KINDS},
                }
                for module, (instances, own) in self.synthesis.modules.items()
            },
        }


def measure(
    engine: str,
    unit: Unit,
    family: str,
    folder: Path,
    *,
    parameters: Mapping[str, int | str] | None = None,
    flat: bool = False,
    route: bool = False,
    seed: int = 1,
) -> Row:
    """Synthesize a unit for a family and, with `route`, find its clock.

    Args:
        engine: its name in the row.
        unit: the hardware.
        family: one of `families.FAMILIES`.
        folder: for scripts, logs and netlists; made if it is missing.
        parameters: for the row.
        flat: see `synthesize`.
        route: place and route too; only families in `ROUTED` can be.
        seed: of the placer.

    Raises:
        InputError: an unknown family; a tool that is not installed or failed; or a family that
            cannot be placed and routed.
    """
    if route and family not in ROUTED:
        raise InputError(f"place and route exists for {', '.join(ROUTED)}, not {family}")
    sources, top = modules(unit), unit.module_name
    if not route:
        found = synthesize(sources, top, family, folder, flat=flat)
        return Row(engine, parameters or {}, found, found.resources)
    layout = place_and_route(sources, top, folder, flat=flat, seed=seed)
    return Row(
        engine,
        parameters or {},
        layout.synthesis,
        layout.resources,
        clock_mhz=layout.clock_mhz,
        path=layout.path,
    )
