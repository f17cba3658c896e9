"""Figure: which engine works when in a step, and how hard the array and DRAM do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.simulator.report import figures, summary, timeline
from nofm.simulator.report.units import SECONDS, scale_for
from nofm.simulator.result import STAGES, StepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Which engine works when: a bar for each job, coloured by stage. Below, job by job, how much "
    "of the array and of DRAM's bandwidth is used."
)

_LANES = {"array": "STCE (array)", "vector": "vector", "wuve": "WUVE", "sore": "SORE"}


def timeline_figure(result: StepResult) -> Figure:
    """A lane for each engine that works, and below it the use of the array and of DRAM.

    The use of DRAM is a job's bytes over what DRAM moves at its peak in the job's time.
    """
    rows = summary.records(result.layers)
    clock = result.accelerator.clock_hz
    whole = sum(row["cycles"] for row in rows) / clock
    scale = scale_for([whole], SECONDS)
    tick = 1 / clock / scale.size
    used = {engine for row in rows for engine in timeline.engines(row)}
    lanes = [engine for engine in _LANES if engine in used]
    with figures.styled():
        figure = figures.canvas(figures.TEXT_INCHES, 1.9 + 0.2 * len(lanes))
        heights = [0.32 * len(lanes), 1.1]
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=heights)
        for place, engine in enumerate(lanes):
            for stage in STAGES:
                spans = [
                    (row["start_cycle"] * tick, row["cycles"] * tick)
                    for row in rows
                    if row["stage"] == stage and engine in timeline.engines(row)
                ]
                if spans:
                    upper.broken_barh(
                        spans, (place - 0.38, 0.76), color=figures.STAGE_COLOURS[stage], linewidth=0
                    )
        upper.set_yticks(range(len(lanes)), [_LANES[engine] for engine in lanes])
        upper.set_ylim(len(lanes) - 0.5, -0.5)
        upper.tick_params(axis="x", length=0)
        upper.spines["bottom"].set_visible(False)
        _use(lower, result, rows, tick)
        lower.set_xlim(0, whole / scale.size)
        lower.set_xlabel(f"time ({scale.unit})")
        figures.heading(figure, "Engines over a training step", result)
        stages = [stage for stage in STAGES if stage in set(result.layers["stage"])]
        figure.legend(handles=_legend(stages), loc="outside lower center", ncols=len(stages) + 2)
    return figure


def _use(axes: Axes, result: StepResult, rows: list[dict[str, Any]], tick: float) -> None:
    ends = [row["start_cycle"] + row["cycles"] for row in rows]
    edges = np.array([0, *ends]) * tick
    peak = result.accelerator.dram.bandwidth_gbps * 1e9 / result.accelerator.clock_hz
    dram = [100 * row["dram_bytes"] / (row["cycles"] * peak) for row in rows]
    array = [100 * row["utilization"] for row in rows]
    axes.stairs(dram, edges, fill=True, color=_DRAM, linewidth=0)
    axes.stairs(array, edges, color=_ARRAY, linewidth=0.8, baseline=None)
    axes.set_ylim(0, 104)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("use (%)")
    axes.grid(axis="y")


_DRAM = "#A9D3EE"
_ARRAY = "black"


def _legend(stages: list[str]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        *(
            Patch(color=figures.STAGE_COLOURS[stage], label=summary.STAGE_TITLES[stage])
            for stage in stages
        ),
        Line2D([], [], color=_ARRAY, linewidth=0.8, label="array used"),
        Patch(color=_DRAM, label="DRAM bandwidth used"),
    ]
