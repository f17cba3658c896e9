"""What every engine of an accelerator takes of an FPGA family, and its clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.engines import build, build_all
from nofm.rtl.synthesis.families import family as find_family
from nofm.rtl.synthesis.measure import ROUTED, Row, measure


def _stce(accelerator: Accelerator) -> dict[str, int | str]:
    array = accelerator.array
    return {
        "array": f"{array.rows} x {array.columns}",
        "multiplier": array.multiplier_cycles,
        "adder": array.adder_cycles,
    }


def _sore(accelerator: Accelerator) -> dict[str, int | str]:
    return {"lanes": accelerator.sore.lanes, "latency": accelerator.sore.latency_cycles}


def _wuve(accelerator: Accelerator) -> dict[str, int | str]:
    return {"lanes": accelerator.wuve.lanes, "latency": accelerator.wuve.latency_cycles}


def _pregeneration(accelerator: Accelerator) -> dict[str, int | str]:
    return {"lanes": f"{accelerator.wuve.lanes}+{accelerator.sore.lanes}"}


def _chip(accelerator: Accelerator) -> dict[str, int | str]:
    from nofm.rtl.program.sizes import ChipSizes

    array = accelerator.array
    return {
        "array": f"{array.rows} x {array.columns}",
        "bus": ChipSizes.of(accelerator).bus_bits,
    }


PARAMETERS: dict[str, Callable[[Accelerator], dict[str, int | str]]] = {
    "stce": _stce,
    "sore": _sore,
    "wuve": _wuve,
    "pregeneration": _pregeneration,
    "chip": _chip,
}
"""What tells an engine's rows of different accelerators apart; depths and latencies in cycles."""


def measure_engines(
    accelerator: Accelerator,
    family: str,
    folder: Path,
    names: Sequence[str] = (),
    *,
    route: bool = True,
    seed: int = 1,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> tuple[list[Row], Mapping[str, str]]:
    """Synthesize engines, and place and route them where the family can be.

    Args:
        accelerator: whose engines.
        family: one of `families.FAMILIES`.
        folder: for scripts, logs and netlists, in a folder for each engine.
        names: of engines; all that can be built, if none are given.
        route: place and route too.
        seed: of the placer.
        progress: told what comes next, how many engines are done, and of how many.

    Returns:
        A row for each engine, and why engines were left out, by their names.

    Raises:
        InputError: an unknown family or engine; an engine that was named cannot be built; a tool
            is not installed or failed.
    """
    find_family(family)
    if names:
        built, left_out = build(accelerator, names), dict[str, str]()
    else:
        built, left_out = build_all(accelerator)
    routes = route and family in ROUTED
    work = "placing and routing" if routes else "synthesizing"
    rows: list[Row] = []
    for name, engine in built.items():
        progress(f"{work} {name}", len(rows), len(built))
        rows.append(
            measure(
                name,
                engine.top,
                family,
                folder / name,
                parameters=PARAMETERS[name](accelerator),
                route=routes,
                seed=seed,
            )
        )
    progress("", len(rows), len(built))
    return rows, left_out
