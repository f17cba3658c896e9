"""Picture of training on many boards: throughput, efficiency, speedup, and where the time goes."""

from __future__ import annotations

import math
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
    trained = method if found.method == "dense" else f"{method} {found.pattern}"
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
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    axes.set_yticks([10.0**power for power in powers], [_power(power) for power in powers])
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
    if not rows.empty:
        whole = rows["cycles"]
        shares = [100 * rows[column] / whole for column in PARTS]
        colours = [colour for _, colour in PARTS.values()]
        names = [name for name, _ in PARTS.values()]
        if len(rows) == 1:  # an area needs two points
            below = 0.0
            for share, colour, name in zip(shares, colours, names, strict=True):
                height = float(share.iloc[0])
                axes.bar(rows["boards"], [height], bottom=below, color=colour, label=name)
                below += height
        else:
            axes.stackplot(rows["boards"], *shares, colors=colours, labels=names, linewidth=0)
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of a step's time")
    axes.set_title(title, loc="left")


def _board_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low / 1.15, max(high, 2.0) * 1.15)
    powers = [power for power in range(7) if 10**power <= max(high, 2.0)]
    if high < 10:
        axes.set_xticks([1, 2, 4, 8][: int(high).bit_length()])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_xticks([10**power for power in powers], [_power(power) for power in powers])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("boards")


def _power(power: int) -> str:
    """A power of ten for a tick, as 10k.

    >>> [_power(power) for power in (-2, 0, 2, 4, 9)]
    ['0.01', '1', '100', '10k', '1G']
    """
    if power < 0:
        return f"{10.0**power:g}"
    unit = list(COUNT)[power // 3]
    return f"{10 ** (power % 3)}{unit}"


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
