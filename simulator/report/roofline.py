"""Figure: what bounds each product, the array or DRAM."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nofm.simulator.report import figures, summary
from nofm.simulator.report.labels import Mark, label_points
from nofm.simulator.report.units import plain, shorten
from nofm.simulator.result import STAGES, StepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS: dict[str, str] = {"ws": "o", "os": "s", "ws+os": "D"}
_Fill = Literal["full", "left", "right"]
_FILLS: dict[str, _Fill] = {"ff": "left", "bp": "right"}
"""FF and BP of a layer often cost the same: their half markers then make up one of two colours."""
_FLOW_TITLES = {"ws": "WS", "os": "OS", "ws+os": "WS and OS"}


def roofline_figure(result: StepResult) -> Figure:
    """Achieved rate of every product over its arithmetic intensity, below what bounds it.

    Both axes count dense multiply-accumulates, so that a sparse product may pass the dense peak,
    up to M/N times as high.
    """
    from matplotlib.markers import MarkerStyle

    machine = result.accelerator
    bandwidth = machine.dram.bandwidth_gbps
    dense_peak = machine.peak_macs_per_cycle * machine.clock_hz / 1e9
    points = roofline_points(result)
    peaks = roofline_peaks(points)
    with figures.styled():
        figure = figures.canvas(figures.COLUMN_INCHES, 3.2)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        top = dense_peak * max(peaks)
        left = min(*(point.intensity for point in points), dense_peak / bandwidth) / 2
        right = max(*(point.intensity for point in points), top / bandwidth) * 4
        knee = top / bandwidth
        axes.plot([left, knee], [left * bandwidth, top], color="black")
        for ratio, name in peaks.items():
            peak = dense_peak * ratio
            axes.plot([peak / bandwidth, right], [peak, peak], color="black")
            axes.annotate(
                f"{name} {peak:,.4g}",
                (right, peak),
                (-2, 6),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=6,
            )
        for point in points:
            axes.scatter(
                point.intensity,
                point.rate,
                s=point.area,
                marker=MarkerStyle(MARKERS[point.dataflow], _FILLS.get(point.stage, "full")),
                color=figures.STAGE_COLOURS[point.stage],
                linewidths=0.3,
                edgecolors="white",
                zorder=3,
            )
        axes.set_xlim(left, right)
        axes.set_ylim(min(*(point.rate for point in points), left * bandwidth * 2) / 2, top * 2)
        figures.number_ticks(axes.xaxis)
        figures.number_ticks(axes.yaxis)
        axes.grid(which="major")
        axes.set_xlabel("arithmetic intensity (dense-equivalent MAC / DRAM byte)")
        axes.set_ylabel("rate (dense-equivalent GMAC/s)")
        figures.heading(figure, "Roofline, a point for each kind of product", result)
        figure.legend(handles=_legend(points), loc="outside lower center", ncols=3)
        figure.draw_without_rendering()
        axes.annotate(
            f"DRAM {bandwidth:g} GB/s",
            (np.sqrt(left * knee), np.sqrt(left * knee) * bandwidth),
            (-3, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=_slope_degrees(axes, bandwidth, left, knee),
            rotation_mode="anchor",
            fontsize=6,
        )
        label_points(axes, [_mark(point) for point in points], most=LABELS)
    return figure


@dataclass
class Point:
    """Products of one stage, dataflow and pattern that lie in the same place.

    Attributes:
        intensity: dense multiply-accumulates by DRAM byte.
        rate: 10^9 dense multiply-accumulates a second.
        cycles: of all of them.
        layers: whose they are.
        area: of the marker, in square points.
    """

    stage: str
    dataflow: str
    pattern: str
    intensity: float
    rate: float
    cycles: int = 0
    layers: list[str] = field(default_factory=list)
    area: float = 0.0


def roofline_points(result: StepResult) -> list[Point]:
    """What the figure shows, the costliest first."""
    layers = result.layers[summary.is_product(result.layers)]
    points: dict[tuple[Any, ...], Point] = {}
    for row in summary.records(layers):
        intensity = row["macs"] / max(row["dram_bytes"], 1)
        rate = row["macs"] * result.accelerator.clock_hz / row["cycles"] / 1e9
        kind = (row["stage"], row["dataflow"], row["pattern"])
        # Within about 2 %, no eye keeps them apart.
        place = (round(math.log10(intensity), 2), round(math.log10(rate), 2))
        point = points.setdefault((*kind, *place), Point(*kind, intensity, rate))
        point.cycles += row["cycles"]
        point.layers.append(row["layer"])
    most = max(point.cycles for point in points.values())
    for point in points.values():
        point.area = 14 + 80 * point.cycles / most
    return sorted(points.values(), key=lambda point: -point.cycles)


def _ratio(pattern: str) -> float:
    if pattern == "dense":
        return 1.0
    kept, group = pattern.split(":")
    return int(group) / int(kept)


def roofline_peaks(points: Iterable[Point]) -> dict[float, str]:
    """Names of the array's peaks by how many times the dense one they are."""
    peaks = {1.0: ["dense"]}
    for point in points:
        names = peaks.setdefault(_ratio(point.pattern), [])
        if point.pattern not in names:
            names.append(point.pattern)
    return {ratio: f"{'/'.join(names)} peak" for ratio, names in sorted(peaks.items())}


def _slope_degrees(axes: Axes, bandwidth: float, left: float, right: float) -> float:
    ends = np.array([(x, x * bandwidth) for x in (left, right)])
    (x0, y0), (x1, y1) = axes.transData.transform(ends)
    return float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))


def _legend(points: Sequence[Point]) -> list[Any]:
    from matplotlib.lines import Line2D

    def dot(colour: str, marker: str, label: str, fill: _Fill = "full") -> Line2D:
        return Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            fillstyle=fill,
            markerfacecoloralt="none",
            markeredgewidth=0.0 if fill == "full" else 0.4,
            linestyle="",
            markersize=5,
            label=label,
        )

    stages = [stage for stage in STAGES if stage in {point.stage for point in points}]
    flows = [flow for flow in MARKERS if flow in {point.dataflow for point in points}]
    return [
        *(
            dot(figures.STAGE_COLOURS[stage], "o", stage.upper(), _FILLS.get(stage, "full"))
            for stage in stages
        ),
        *(dot("#555555", MARKERS[flow], _FLOW_TITLES[flow]) for flow in flows),
    ]


LABELS = 4
"""Points that are named."""


def _mark(point: Point) -> Mark:
    more = f" ×{len(point.layers)}" if len(point.layers) > 1 else ""
    name = f"{shorten(plain(point.layers[0]), 22)} {point.stage.upper()}{more}"
    return Mark(point.intensity, point.rate, point.area, name)
