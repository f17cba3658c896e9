"""Predicted speedups over measured ones, a point for each product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nofm.simulator.report import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#5B6B7F")
MARKERS = "osD^v<>"
BAND = 0.1
"""Of the measured speedup: the goal of a calibrated model."""


def figure(document: Mapping[str, Any]) -> Figure:
    """The scatter of a document `nofm.compare/1`."""
    rows = document["results"]
    kinds = sorted(
        {(row["pattern"], row["mask_sharing"]) for row in rows},
        key=lambda kind: (len(kind[0]), kind),
    )
    values = [row[name] for row in rows for name in ("speedup", "predicted_speedup")]
    low, high = min(values) / 1.15, max(values) * 1.15
    with figures.styled():
        drawn = figures.canvas(figures.COLUMN_INCHES * 1.2, 3.0)
        axes = drawn.subplots()
        ends = [low, high]
        axes.fill_between(
            ends,
            [end * (1 - BAND) for end in ends],
            [end * (1 + BAND) for end in ends],
            color="#E8ECF0",
            label="within 10 %",
        )
        axes.plot(ends, ends, color="#A9B4C0", linewidth=0.8)
        for place, (pattern, sharing) in enumerate(kinds):
            own = [r for r in rows if (r["pattern"], r["mask_sharing"]) == (pattern, sharing)]
            axes.scatter(
                [row["speedup"] for row in own],
                [row["predicted_speedup"] for row in own],
                s=14,
                marker=MARKERS[place // len(COLOURS) % len(MARKERS)],
                color=COLOURS[place % len(COLOURS)],
                linewidths=0,
                alpha=0.85,
                label=f"{pattern}, {sharing} a mask",
            )
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        ticks = [tick for tick in (0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16) if low <= tick <= high]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_ticks([], minor=True)
        axes.set_xlabel("measured speedup over dense")
        axes.set_ylabel("predicted speedup")
        off = 100 * document["errors"]["speedup"]["mean_absolute"]
        axes.set_title(f"{document['processor']}: off by {off:.1f} % on average", loc="left")
        axes.set_aspect("equal")
        drawn.legend(loc="outside right upper")
        return drawn
