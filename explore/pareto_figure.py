"""Figure: every design by two objectives, the Pareto front on top, with names."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.explore.style import BEST, FRONT, OTHERS, label_of, measure, named, subtitle
from nofm.explore.view import Floats, Integers, View
from nofm.simulator.report import figures
from nofm.simulator.report.labels import Direction, Mark, label_points
from nofm.simulator.report.units import plain, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 3
"""Most pairs of objectives that are drawn."""

POINTS = 2_000
"""Designs that are drawn as points; more of them are counted in hexagons."""

MANY = 40
"""Designs of a front that have room for large points."""

LABELS = 7
"""Designs of the front that are named, where there is room."""


def pareto_figure(view: View) -> Figure:
    """All feasible designs by pairs of objectives (of `figures` where there is one objective).

    The front is of all objectives together, so in one pair of several some of its designs lie
    behind others; a line joins it where there are two. Hexagons take the place of more than
    `POINTS` designs, darker for more of them.
    """
    pairs = _pairs(view)
    with figures.styled():
        wide = figures.COLUMN_INCHES if len(pairs) == 1 else figures.TEXT_INCHES
        figure = figures.canvas(wide, 3.1 if len(pairs) == 1 else 2.9)
        panels = figure.subplots(1, len(pairs), squeeze=False)[0]
        for axes, (x, y) in zip(panels, pairs, strict=True):
            _panel(axes, view, x, y)
        figure.suptitle("Pareto front", fontsize=8, fontweight="bold")
        panels[0].set_title(
            _below(view) if len(pairs) == 1 else shorten(subtitle(view), 54),
            fontsize=6.5,
            color="#444444",
            loc="center" if len(pairs) == 1 else "left",
        )
        columns = 2 if len(pairs) == 1 else 3
        figure.legend(handles=_legend(view), loc="outside lower center", ncols=columns)
        figure.draw_without_rendering()
        for axes, (x, y) in zip(panels, pairs, strict=True):
            _name(axes, view, x, y, long=len(pairs) == 1)
    return figure


def _pairs(view: View) -> list[tuple[str, str]]:
    objectives = list(view.info.objectives)
    if len(objectives) < 2:
        others = [name for name in view.figures if name not in objectives]
        objectives += [name for name in others if np.isfinite(view.values(name)).any()][:1]
    if len(objectives) < 2:
        # One figure alone is drawn against itself rather than not at all.
        objectives *= 2
    return list(combinations(objectives, 2))[:PANELS]


def _below(view: View) -> str:
    """The lines below the title: what was swept, and what labels give."""
    names = " / ".join(name.rsplit(".", 1)[-1] for name in named(view))
    lines = [subtitle(view), *([f"labels: number: {plain(names)}"] if names else [])]
    return "\n".join(shorten(line, 54) for line in lines)


def _panel(axes: Axes, view: View, x: str, y: str) -> None:
    across, up = measure(view, x), measure(view, y)
    xs, ys = across.values, up.values
    axes.set_xscale("log" if across.log else "linear")
    axes.set_yscale("log" if up.log else "linear")
    axes.set_xlabel(across.label)
    axes.set_ylabel(up.label)
    best = np.array([view.best])
    others = np.setdiff1d(np.flatnonzero(view.feasible), view.front)
    others = others[np.isfinite(xs[others]) & np.isfinite(ys[others])]
    if len(others) > POINTS:
        _hexagons(axes, xs[others], ys[others])
    elif len(others):
        axes.scatter(xs[others], ys[others], s=5, color=OTHERS, linewidths=0, zorder=2)
    if len(view.info.objectives) == 2:
        _join(axes, view, x, xs[view.front], ys[view.front])
    axes.scatter(
        xs[view.front],
        ys[view.front],
        s=16 if len(view.front) <= MANY else 7,
        color=FRONT,
        edgecolors="white",
        linewidths=0.4 if len(view.front) <= MANY else 0.0,
        zorder=4,
    )
    axes.scatter(
        xs[best],
        ys[best],
        s=58,
        marker="*",
        color=BEST,
        edgecolors="black",
        linewidths=0.4,
        zorder=5,
    )
    axes.grid(which="major")
    axes.margins(0.09)
    _make_room(axes, view, x)
    for axis, log in ((axes.xaxis, across.log), (axes.yaxis, up.log)):
        if log:
            figures.number_ticks(axis)


def _make_room(axes: Axes, view: View, x: str) -> None:
    """Widen the better side of the front, where names stand."""
    scale = axes.xaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_xlim()))
    more = 0.15 * (high - low)
    low, high = (low, high + more) if view.info.objectives.get(x) else (low - more, high)
    axes.set_xlim(*scale.inverted().transform(np.array([low, high])))


def _hexagons(axes: Axes, xs: Floats, ys: Floats) -> None:
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    greys = LinearSegmentedColormap.from_list("counts", ["#DCE1E7", "#4A5563"])
    axes.hexbin(
        xs,
        ys,
        gridsize=60,
        xscale=axes.get_xscale(),  # type: ignore[arg-type]
        yscale=axes.get_yscale(),  # type: ignore[arg-type]
        norm=LogNorm(),
        mincnt=1,
        cmap=greys,
        linewidths=0.1,
        rasterized=True,
        zorder=2,
    )


def _join(axes: Axes, view: View, x: str, xs: Floats, ys: Floats) -> None:
    """A staircase through the front: what lies on its far side is beaten."""
    order = np.argsort(xs)
    if view.info.objectives[x]:
        order = order[::-1]
    across, up = np.repeat(xs[order], 2)[1:], np.repeat(ys[order], 2)[:-1]
    axes.plot(across, up, color=FRONT, linewidth=0.8, zorder=3)


def _directions(view: View, x: str, y: str) -> list[Direction]:
    """Where names go: first to where nothing is, the better side of the front."""
    right = 1.0 if view.info.objectives.get(x) else -1.0
    up = 1.0 if view.info.objectives.get(y) else -1.0
    better, worse = ("left", "right") if right > 0 else ("right", "left")
    return [
        (right * 0.5, up * 1.2, better),
        (right * 1.0, up * 0.5, better),
        (right * 1.0, -up * 0.7, better),
        (0.0, up * 1.4, "center"),
        (-right * 0.5, up * 1.2, worse),
        (-right * 1.0, -up * 0.7, worse),
        (-right * 1.0, up * 0.7, worse),
    ]


def _name(axes: Axes, view: View, x: str, y: str, *, long: bool) -> None:
    xs, ys = measure(view, x).values, measure(view, y).values
    rows = _spread(view.front, LABELS)
    rows = np.concatenate([[view.best], rows[rows != view.best]])
    rest = np.setdiff1d(view.front, rows)
    names = [label_of(view, int(row)) if long else f"#{view.designs[row]}" for row in rows]
    marks = [
        Mark(float(xs[row]), float(ys[row]), 24, name)
        for row, name in zip(rows, names, strict=True)
    ]
    marks += [Mark(float(xs[row]), float(ys[row]), 16) for row in rest]
    lines = [axes.transData.transform_path(line.get_path()) for line in axes.lines]
    label_points(axes, marks, most=LABELS, directions=_directions(view, x, y), lines=lines)


def _spread(rows: Integers, most: int) -> Integers:
    """Some of the rows, evenly from the first to the last."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)
    return rows[places]


def _legend(view: View) -> list[Any]:
    from matplotlib.lines import Line2D

    def dot(colour: str, marker: str, size: float, label: str, edge: str = "none") -> Line2D:
        return Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            markersize=size,
            markeredgecolor=edge,
            markeredgewidth=0.4,
            linestyle="",
            label=label,
        )

    handles = []
    others = int(view.feasible.sum()) - len(view.front)
    if others:
        kind = "hexagons: " if others > POINTS else ""
        handles.append(dot(OTHERS, "h" if kind else "o", 3, f"{kind}{others:,} other designs"))
    handles.append(dot(FRONT, "o", 4, f"front, {len(view.front):,} designs"))
    handles.append(dot(BEST, "*", 7, "least product of the objectives", "black"))
    return handles
