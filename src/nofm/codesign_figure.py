"""The figure of co-design: accuracy over simulated training speedup, a panel for each pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from nofm.dataflow.methods import METHODS, Method
from nofm.simulator.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPARSE: dict[tuple[str, ...], tuple[str, str]] = {
    ("ff",): ("FF", "#0072B2"),
    ("bp",): ("BP", "#E69F00"),
    ("ff", "bp"): ("FF, BP", "#009E73"),
    ("ff", "wu"): ("FF, WU", "#CC79A7"),
    ("ff", "bp", "wu"): ("FF, BP, WU", "#D55E00"),
    (): ("none", "#555555"),
}
"""Products that a method makes sparse, which decide its speed: their name and their colour."""
MARKERS = "osD^v<>pP*Xhd"
FAR_OUT = 3.0
"""Points further below the lower quartile than this many interquartile ranges are off the scale:
Tukey's "far out"."""


def figure(document: Mapping[str, Any]) -> Figure:
    """Accuracy over speedup, a panel for each pattern.

    Filled points are those that no other one beats in both. Colours say which products are sparse,
    a line how accurate dense training is. Points that would stretch the scale for all others stand
    at its lower end with their accuracy in figures.

    Args:
        document: of `nofm.codesign.codesign`.
    """
    points = [point for point in document["points"] if point["speedup"] is not None]
    dense = next(point for point in points if point["method"] == "dense")
    sparse = [point for point in points if point["method"] != "dense"]
    patterns = list(dict.fromkeys(point["pattern"] for point in sparse))
    lowest = _lowest(points)
    with figures.styled():
        drawn = figures.canvas(figures.TEXT_INCHES, 3.1)
        panels = drawn.subplots(1, max(1, len(patterns)), sharex=True, sharey=True, squeeze=False)
        handles: dict[str, Any] = {}
        for axes, pattern in zip(panels[0], patterns or [""], strict=True):
            _dense_line(axes, dense)
            for point in sparse:
                if point["pattern"] == pattern:
                    handles[point["method"]] = _point(axes, point, lowest)
            axes.set_title(pattern, loc="left", fontweight="bold")
            axes.grid()
        panels[0][0].set_ylabel("accuracy, %")
        drawn.supxlabel(
            f"simulated training speedup over dense on {document['hardware']}", fontsize=7
        )
        drawn.suptitle(
            f"{document['network']} on {document['dataset']}", fontsize=8, fontweight="bold"
        )
        _legend(drawn, handles)
        return drawn


def _lowest(points: Sequence[Mapping[str, Any]]) -> float:
    """The accuracy, in %, below which points are off the scale."""
    accuracies = sorted(100 * point["accuracy"] for point in points)
    if len(accuracies) < 4:
        return accuracies[0]
    first, _, third = quantiles(accuracies, n=4)
    fence = first - FAR_OUT * (third - first)
    return min(accuracy for accuracy in accuracies if accuracy >= fence)


def _dense_line(axes: Axes, dense: Mapping[str, Any]) -> None:
    level, spread = 100 * dense["accuracy"], 100 * dense["accuracy_spread"]
    axes.axhline(level, color="#888888", linewidth=0.8, linestyle="--", zorder=1)
    axes.axhspan(level - spread, level + spread, color="#888888", alpha=0.12, linewidth=0)


def _look(method: str) -> dict[str, Any]:
    """Colour and marker of a method, the same in every figure."""
    return {
        "color": SPARSE[_products(METHODS[method])][1],
        "marker": MARKERS[(list(METHODS).index(method) - 1) % len(MARKERS)],
        "markersize": 4.5,
        "markeredgewidth": 0.9,
        "linestyle": "none",
    }


def _products(method: Method) -> tuple[str, ...]:
    return tuple(stage for stage in ("ff", "bp", "wu") if method.operand(stage) is not None)


def _point(axes: Axes, point: Mapping[str, Any], lowest: float) -> Any:
    """Draw a point; returns what stands for its method in the legend."""
    look = _look(point["method"])
    accuracy, spread = 100 * point["accuracy"], 100 * point["accuracy_spread"]
    off = accuracy < lowest
    face = look["color"] if point["pareto"] else "white"
    if off:
        axes.annotate(
            f"{accuracy:.0f} %",
            (point["speedup"], lowest),
            xytext=(6, -2),
            textcoords="offset points",
            fontsize=6,
            color=look["color"],
        )
        axes.annotate(
            "",
            (point["speedup"], lowest),
            xytext=(0, -11),
            textcoords="offset points",
            arrowprops={"arrowstyle": "<|-", "linewidth": 0.7, "color": look["color"]},
        )
    else:
        axes.errorbar(
            point["speedup"],
            accuracy,
            yerr=spread,
            fmt="none",
            ecolor=look["color"],
            elinewidth=0.6,
            alpha=0.45,
            zorder=2,
        )
    axes.plot(point["speedup"], max(accuracy, lowest), markerfacecolor=face, zorder=3, **look)
    return look


def _legend(drawn: Figure, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Methods by the products that they make sparse, and what is filled and what is grey."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for products, (title, _) in SPARSE.items():
        own = [name for name in looks if _products(METHODS[name]) == products]
        if own:
            handles.append(Line2D([], [], linestyle="none", label=f"sparse: {title}"))
        handles += [
            Line2D([], [], markerfacecolor="white", label=METHODS[name].title, **looks[name])
            for name in own
        ]
    handles.append(Line2D([], [], linestyle="none", label=""))
    handles.append(
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            markersize=4.5,
            color="black",
            label="best for its speed",
        )
    )
    handles.append(Line2D([], [], color="#888888", linestyle="--", label="dense training"))
    handles.append(Patch(color="#888888", alpha=0.12, label="its spread"))
    found = drawn.legend(handles=handles, loc="outside right upper", fontsize=6, handletextpad=0.3)
    for text in found.get_texts():
        if text.get_text().startswith("sparse: "):
            text.set_fontweight("bold")
