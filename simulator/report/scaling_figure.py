"""Picture of training on many boards: throughput, efficiency, speedup, and where the time goes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nofm.dataflow.methods import METHODS
from nofm.simulator.report import figures
from nofm.simulator.report.units import COUNT, plain, shorten
from nofm.simulator.scaleout.scaling import SCALINGS, ScaleOut

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS: dict[str, Any] = {
    "weak": {"color": "#0072B2", "marker": "o"},
    "strong": {"color": "#D55E00", "marker": "s"},
}
IDEAL: dict[str, Any] = {"color": "#7F8C99", "linewidth": 0.8, "linestyle": (0, (4, 2))}
PARTS: dict[str, tuple[str, str]] = {
    "forward_cycles": ("forward", figures.STAGE_COLOURS["ff"]),
    "backward_cycles": ("backward", figures.STAGE_COLOURS["bp"]),
    "update_cycles": ("updates", figures.STAGE_COLOURS["update"]),
    "exposed_cycles": ("waiting for the network", "#3B3B3B"),
}
"""Columns that sum to the step's cycles, with their names and colours."""


def figure(found: ScaleOut) -> Figure:
    """Curves of weak and strong scaling above, the parts of a step's time below."""
    with figures.styled():
        drawn = figures.canvas(figures.TEXT_INCHES, 4.3)
        compared = found.method != "dense"
        grid = drawn.add_gridspec(2, 6, height_ratios=(1.15, 1))
        width = 2 if compared else 3
        upper = [drawn.add_subplot(grid[0, i : i + width]) for i in range(0, 6, width)]
        lower = [drawn.add_subplot(grid[1, i : i + 3]) for i in (0, 3)]
        by_scaling = {
            name: found.points[found.points["scaling"] == name].sort_values("boards")
            for name in SCALINGS
        }
        _throughput(upper[0], by_scaling)
        _efficiency(upper[1], by_scaling)
        if compared:
            _speedup(upper[2], by_scaling)
        letters = "de" if compared else "cd"
        titles = {
            "weak": f"{letters[0]}  weak scaling, {found.batch:,} samples a board",
            "strong": f"{letters[1]}  strong scaling, {found.global_batch:,} samples in all",
        }
        for axes, name in zip(lower, SCALINGS, strict=True):
            _parts(axes, by_scaling[name], titles[name])
        most = float(found.points["boards"].max())
        for axes in (*upper, *lower):
            _board_axis(axes, 1.0, most)
        _legends(drawn, upper[0], lower[0])
        drawn.suptitle(_title(found), fontsize=8, fontweight="bold")
        return drawn


def _title(found: ScaleOut) -> str:
    method = METHODS[found.method].title if found.method in METHODS else found.method
    trained = "dense" if found.method == "dense" else f"{method} {found.pattern}"
    return shorten(
        plain(
            f"{found.workload}, {trained}, {found.accelerator.name}, {found.interconnect.name}: "
            f"{found.sharing.exchange} exchange"
        ),
        120,
    )


def _throughput(axes: Axes, by_scaling: dict[str, pd.DataFrame]) -> None:
    for name, rows in by_scaling.items():
        if rows.empty:
            continue
        one = float(rows["samples_per_second"].iloc[0] / rows["scaling_speedup"].iloc[0])
        ends = [1, int(rows["boards"].max())]
        axes.plot(ends, [one * end for end in ends], **IDEAL, zorder=1)
        _curve(axes, rows, "samples_per_second", name)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = _ticks(low, high)
    axes.set_yticks(ticks, [_number(tick) for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylim(low, high)
    axes.set_ylabel("samples a second")
    axes.set_title("a  throughput", loc="left")
    axes.grid(axis="y")


def _efficiency(axes: Axes, by_scaling: dict[str, pd.DataFrame]) -> None:
    axes.axhline(100, **IDEAL, zorder=1)
    highest = 100.0
    for name, rows in by_scaling.items():
        percent = rows.assign(efficiency=100 * rows["efficiency"])
        highest = max(highest, float(percent["efficiency"].max()) if len(percent) else 0.0)
        _curve(axes, percent, "efficiency", name)
    axes.set_ylim(0, 1.06 * highest)
    axes.set_ylabel("% of ideal")
    axes.set_title("b  efficiency", loc="left")
    axes.grid(axis="y")


def _speedup(axes: Axes, by_scaling: dict[str, pd.DataFrame]) -> None:
    axes.axhline(1, color="black", linewidth=0.6, zorder=1)
    highest = 1.0
    for name, rows in by_scaling.items():
        highest = max(highest, float(rows["speedup"].max()) if len(rows) else 0.0)
        _curve(axes, rows, "speedup", name)
    axes.set_ylim(0, 1.12 * highest)
    axes.set_ylabel("over dense, same boards")
    axes.set_title("c  speedup of N:M training", loc="left")
    axes.grid(axis="y")


def _curve(axes: Axes, rows: pd.DataFrame, column: str, scaling: str) -> None:
    axes.plot(
        rows["boards"],
        rows[column],
        **LOOKS[scaling],
        markersize=2.6,
        linewidth=1.0,
        label=f"{scaling} scaling",
        # Where both are the same, both are seen.
        markerfacecolor="white" if scaling == "weak" else None,
        zorder=3 if scaling == "weak" else 2,
    )


def _parts(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    boards = [int(count) for count in rows["boards"]]
    # Bars on a logarithmic axis: all as wide as the closest neighbours allow.
    apart = min((b / a for a, b in pairwise(boards)), default=2.0) ** 0.4
    widths = [count * (apart - 1 / apart) for count in boards]
    below = [0.0] * len(boards)
    for column, (name, colour) in PARTS.items():
        shares = [
            100 * part / whole for part, whole in zip(rows[column], rows["cycles"], strict=True)
        ]
        axes.bar(
            [count / apart for count in boards],
            shares,
            widths,
            below,
            align="edge",
            color=colour,
            linewidth=0,
            label=name,
        )
        below = [low + share for low, share in zip(below, shares, strict=True)]
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of a step's time")
    axes.set_title(title, loc="left")


def _board_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    high = max(high, 2.0)
    axes.set_xlim(low / 1.4, high * 1.4)
    ticks = _ticks(low, high) if high >= 10 else [1.0, 2.0, 4.0, 8.0]
    ticks = [tick for tick in ticks if tick <= high]
    axes.set_xticks(ticks, [_number(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("boards")


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`; where they are too few, 1, 2, 5, 10, 20, ..."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)):
        found = [step * 10.0**power for power in powers for step in steps]
        found = [tick for tick in found if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9)]
        if len(found) >= 3:
            break
    return found


def _number(value: float) -> str:
    """A tick's number, as 10k."""
    unit = max((u for u in COUNT.items() if value >= u[1]), default=("", 1), key=lambda u: u[1])
    return f"{value / unit[1]:g}{unit[0]}"


def _legends(drawn: Figure, upper: Axes, lower: Axes) -> None:
    from matplotlib.lines import Line2D

    handles, labels = upper.get_legend_handles_labels()
    parts, names = lower.get_legend_handles_labels()
    ideal = Line2D([], [], **IDEAL)
    drawn.legend(
        [*handles, ideal, *parts],
        [*labels, "ideal", *names],
        loc="outside lower center",
        ncols=7,
    )
