"""Figure: what each dataflow optimisation is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nofm.simulator.report import figures
from nofm.simulator.report.units import plain
from nofm.simulator.result import StepResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ablation_figure(entries: Sequence[tuple[str, StepResult | Mapping[str, Any]]]) -> Figure:
    """Speedup over dense with each optimisation taken away, and the time that it costs.

    Args:
        entries: labels with a step, or with its total (`cycles`, `dense_cycles`). The first has
            every optimisation: its dense step is what all are compared with.
    """
    totals = [
        (label, step.total if isinstance(step, StepResult) else step) for label, step in entries
    ]
    whole, dense = totals[0][1]["cycles"], totals[0][1]["dense_cycles"]
    with figures.styled():
        figure = figures.canvas(figures.COLUMN_INCHES, 0.85 + 0.22 * len(totals))
        axes = figure.add_subplot()
        speedups = [dense / total["cycles"] for _, total in totals]
        colours = [figures.STAGE_COLOURS["ff"], *["#8FB8D6"] * (len(totals) - 1)]
        axes.barh(range(len(totals)), speedups, 0.7, color=colours)
        for place, ((_, total), speedup) in enumerate(zip(totals, speedups, strict=True)):
            time = total["cycles"] / whole
            axes.annotate(
                f"{speedup:.2f}×, time {time:.2f}",
                (speedup, place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
            )
        axes.axvline(1.0, color="black", linestyle=(0, (4, 2)))
        axes.set_yticks(range(len(totals)), [plain(label) for label, _ in totals])
        axes.tick_params("y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, max([1.0, *speedups]) * 1.6)
        axes.set_xlabel(f"speedup over dense\n(time: relative to {plain(totals[0][0])})")
        axes.grid(axis="x")
        first = entries[0][1]
        figures.heading(
            figure,
            "Each dataflow optimisation taken away",
            first if isinstance(first, StepResult) else None,
        )
    return figure
