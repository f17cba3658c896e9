"""One design's training step as the page of a sweep shows it: plain lists, to be embedded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nofm.explore.view import View
from nofm.kernels.errors import InputError
from nofm.simulator.report import summary, timeline
from nofm.simulator.report.roofline import roofline_peaks, roofline_points
from nofm.simulator.report.units import plain
from nofm.simulator.result import STALLS, StepResult

JOB_NUMBERS = (
    *("start_cycle", "cycles", "compute_cycles", "stall_cycles"),
    *("utilization", "dram_bytes", "energy_pj", "speedup"),
)
"""Columns of a step's layers that a job's row has as numbers."""

JOB_TEXTS = ("layer", "stage", "pattern", "dataflow", "tile")
"""Columns that it has as texts."""


def chosen(view: View, most: int) -> list[int]:
    """Rows of the designs whose steps are simulated: the best, and others evenly over the front."""
    if not most or not len(view.front):
        return []
    places = np.linspace(0, len(view.front) - 1, min(most, len(view.front))).round()
    rows = [view.best, *view.front[places.astype(np.int64)].tolist()]
    return list(dict.fromkeys(rows))[:most]


def details(view: View, rows: Sequence[int]) -> dict[str, Any]:
    """The steps of some designs by the designs' numbers, as texts: keys of a JSON object.

    A design that cannot be simulated has an `error` and nothing else.
    """
    known: dict[Any, StepResult] = {}
    found: dict[str, Any] = {}
    for row in rows:
        try:
            found[str(view.designs[row])] = of_step(view.step(row, known))
        except InputError as error:
            found[str(view.designs[row])] = {"error": plain(str(error))}
    return found


def of_step(step: StepResult) -> dict[str, Any]:
    """A step: its totals, a list for each column of its jobs, its roofline, its notes."""
    layers, machine = step.layers, step.accelerator
    texts: dict[str, int] = {}

    def numbered(values: Sequence[object]) -> list[int]:
        return [texts.setdefault(plain(str(value)), len(texts)) for value in values]

    jobs: dict[str, Any] = {name: numbered(layers[name].tolist()) for name in JOB_TEXTS}
    jobs |= {name: layers[name].tolist() for name in JOB_NUMBERS}
    jobs["stalls"] = {
        cause: layers[f"stall_{cause}_cycles"].tolist()
        for cause in STALLS
        if layers[f"stall_{cause}_cycles"].any()
    }
    jobs["array"] = summary.is_product(layers).tolist()
    jobs["engines"] = [timeline.engines(row) for row in summary.records(layers)]
    found: dict[str, Any] = {
        "title": plain(summary.title(step)),
        "clock_hz": machine.clock_hz,
        "peak_bytes_per_cycle": machine.dram.bandwidth_gbps * 1e9 / machine.clock_hz,
        "cycles": step.total["cycles"],
        "speedup": step.total["speedup"],
        "utilization": step.total["utilization"],
        "stall_cycles": step.total["stall_cycles"],
        "compared": step.dense is not None,
        "texts": list(texts),
        "jobs": jobs,
        "notes": [plain(note) for note in step.notes],
    }
    if any(jobs["array"]):
        found["roofline"] = _roofline(step)
    return found


def _roofline(step: StepResult) -> dict[str, Any]:
    machine = step.accelerator
    dense = machine.peak_macs_per_cycle * machine.clock_hz / 1e9
    drawn = roofline_points(step)
    return {
        "bandwidth_gbps": machine.dram.bandwidth_gbps,
        "peaks": [[dense * ratio, name] for ratio, name in roofline_peaks(drawn).items()],
        "points": [
            {
                "x": point.intensity,
                "y": point.rate,
                "stage": point.stage,
                "dataflow": point.dataflow,
                "pattern": point.pattern,
                "cycles": point.cycles,
                "layers": [plain(name) for name in point.layers],
            }
            for point in drawn
        ],
    }
