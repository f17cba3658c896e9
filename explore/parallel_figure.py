"""Figure: parallel coordinates, a line through each design's parameters and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nofm.explore.sensitivity import effects
from nofm.explore.style import BEST, OTHERS, digits, measure, subtitle
from nofm.explore.view import Floats, Integers, View, shown
from nofm.simulator.report import figures
from nofm.simulator.report.units import plain, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 400
"""Designs beside the front that are drawn, spread evenly over the table."""

FRONT_LINES = 100
"""Designs of the front that are drawn, spread evenly over it."""

PARAMETERS = 8
"""Parameters that have an axis: those that explain most of an objective."""

LEVELS = 12
"""Most values of a parameter that stand apart on its axis; a numeric one with more has a scale."""


@dataclass(frozen=True)
class _Axis:
    """One coordinate: places of all designs from 0 to 1, and what is written beside it."""

    title: str
    places: Floats
    ticks: list[tuple[float, str]]


def parallel_figure(view: View) -> Figure:
    """Feasible designs as lines; the front is coloured by the first objective.

    Parameters stand on the left, each value as far apart as the next; lines are spread a little
    around a value, in the order of the first objective. Figures stand on the right, objectives
    first, an arrow pointing to where they are better.
    """
    others = np.setdiff1d(np.flatnonzero(view.feasible), view.front)
    some, best = _spread(others, LINES), view.best
    front = _spread(view.front, FRONT_LINES)
    parameters = _parameters(view)
    # Headings must not meet: about this many characters fit side by side.
    wide = min(20, 110 // (len(parameters) + len(view.info.objectives)))
    axes_of = [_parameter_axis(view, name, wide) for name in parameters]
    axes_of += [_figure_axis(view, name) for name in view.info.objectives]
    with figures.styled():
        from matplotlib import colormaps
        from matplotlib.collections import LineCollection

        figure = figures.canvas(figures.TEXT_INCHES, 3.0)
        axes = figure.add_subplot()
        places = np.stack([axis.places for axis in axes_of], axis=1)
        across = np.arange(len(axes_of), dtype=np.float64)

        def lines(rows: Integers) -> list[Floats]:
            return [np.column_stack([across, places[row]]) for row in rows]

        axes.add_collection(
            LineCollection(lines(some), colors=OTHERS, linewidths=0.35, alpha=0.5, zorder=2)
        )
        shades = np.linspace(0.0, 0.85, max(1, len(front)))
        axes.add_collection(
            LineCollection(
                lines(front),
                colors=colormaps["viridis"](shades),
                linewidths=1.0 if len(front) <= 30 else 0.5,
                zorder=3,
            )
        )
        axes.add_collection(
            LineCollection(lines(np.array([best])), colors=BEST, linewidths=1.8, zorder=4)
        )
        for place, axis in enumerate(axes_of):
            _draw_axis(axes, place, axis)
        axes.set_xlim(-0.25, len(axes_of) - 1 + 0.45)
        axes.set_ylim(-0.06, 1.06)
        axes.set_yticks([])
        axes.set_xticks(across, [axis.title for axis in axes_of])
        axes.tick_params(axis="x", length=0, pad=4)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_title(
            shorten(_below(view, len(some), len(front)), 130), fontsize=6.5, color="#444444"
        )
        figure.suptitle("Designs in parallel coordinates", fontsize=8, fontweight="bold")
        figure.legend(handles=_legend(len(front)), loc="outside lower center", ncols=3)
    return figure


def _below(view: View, some: int, front: int) -> str:
    others = int(view.feasible.sum()) - len(view.front)
    words = [f"{len(view.front):,} of the front", f"{others:,} others that are feasible"]
    if front < len(view.front):
        words[0] = f"{front} of {words[0]}"
    if some < others:
        words[1] = f"{some} of {words[1]}"
    return f"{subtitle(view)}: {', '.join(words)}"


def _spread(rows: Integers, most: int) -> Integers:
    """Some of the rows, evenly over all of them."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)
    return rows[places]


def _parameters(view: View) -> list[str]:
    """The parameters that have an axis, in the space's order."""
    weight = dict.fromkeys(view.varying, 0.0)
    for objective in view.info.objectives:
        for effect in effects(view, objective):
            weight[effect.parameter] = max(weight[effect.parameter], effect.share)
    most = sorted(weight, key=lambda name: -weight[name])[:PARAMETERS]
    return [name for name in view.varying if name in most]


def _parameter_axis(view: View, name: str, wide: int) -> _Axis:
    levels = view.levels(name)
    heading = plain(name).replace(".", ".\n", 1)
    heading = "\n".join(shorten(line, wide) for line in heading.split("\n"))
    count = len(levels.values)
    if levels.numeric and count > LEVELS:
        numbers = np.array(levels.values, np.float64)
        # As far apart as their values, or their logarithms where those span decades.
        scaled = np.log(numbers) if numbers[0] > 0 and numbers[-1] > 20 * numbers[0] else numbers
        spots = (scaled - scaled[0]) / (scaled[-1] - scaled[0])
        at = [int(np.argmin(abs(spots - part))) for part in (0, 0.25, 0.5, 0.75, 1)]
        ticks = [(float(spots[i]), shown(levels.values[i])) for i in dict.fromkeys(at)]
        return _Axis(heading, spots[levels.places], ticks)
    spots = np.linspace(0, 1, count)
    every = -(-count // 24)
    ticks = [(float(spots[i]), shown(levels.values[i])) for i in range(0, count, every)]
    return _Axis(heading, spots[levels.places] + _jitter(view, min(0.02, 0.2 / count)), ticks)


def _jitter(view: View, size: float) -> Floats:
    """From -size to size by the rank of each design in the first objective."""
    values = view.values(next(iter(view.info.objectives)))
    rank = np.argsort(np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable"))
    return np.asarray(size * (2 * rank / max(1, len(rank) - 1) - 1), np.float64)


def _figure_axis(view: View, name: str) -> _Axis:
    found = measure(view, name)
    known = found.values[view.feasible]
    low, high = float(known.min()), float(known.max())
    arrow = "better ↑" if view.info.objectives[name] else "better ↓"
    heading = f"{found.label}\n{arrow}"
    if low == high:
        return _Axis(heading, np.full(len(view), 0.5), [(0.5, digits(low))])

    def place(values: Floats) -> Floats:
        ends = np.array([low, high])
        if found.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                values, ends = np.log(values), np.log(ends)
        return (values - ends[0]) / (ends[1] - ends[0])

    middle = np.sqrt(low * high) if found.log else (low + high) / 2
    ticks = [(float(place(np.array(v))), digits(float(v))) for v in (low, middle, high)]
    return _Axis(heading, place(found.values), ticks)


def _draw_axis(axes: Axes, place: int, axis: _Axis) -> None:
    axes.axvline(place, 0.05, 0.95, color="black", linewidth=0.6, zorder=5)
    for spot, name in axis.ticks:
        axes.annotate(
            shorten(plain(name), 14),
            (place, spot),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=5.5,
            zorder=6,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6},
        )


def _legend(front: int) -> list[object]:
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    shade = colormaps["viridis"](0.45)
    return [
        Line2D([], [], color=OTHERS, linewidth=0.8, label="other designs"),
        Line2D([], [], color=shade, label="front, dark to light by the first objective"),
        Line2D([], [], color=BEST, linewidth=1.8, label="least product of the objectives"),
    ]
