"""Figures of a simulated step, at the width of a paper's column.

Figures are plain `Figure` objects: nothing here touches pyplot or its global state.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nofm.simulator.report import summary
from nofm.simulator.report.units import COUNT, plain, scale_for, shorten
from nofm.simulator.result import STAGES, STALLS, StepResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_INCHES = 3.5
TEXT_INCHES = 7.16
"""Widths of a column and of two columns in IEEE's format."""

DPI = 200

_POWERS = {
    unit: f"cycles (10{power})" if power else "cycles"
    for unit, power in zip(COUNT, ("", "³", "⁶", "⁹", "¹²", "¹⁵", "¹⁸"), strict=True)
}

# Okabe and Ito's colours for stages and Tol's "muted" ones for causes: both keep apart for every
# common colour blindness.
STAGE_COLOURS: dict[str, str] = {
    "ff": "#0072B2",
    "bp": "#E69F00",
    "wu": "#009E73",
    "update": "#CC79A7",
    "prune": "#D55E00",
}
COMPUTE_COLOURS: dict[str, str] = {"array": "#5B6B7F", "engine": "#A9B4C0"}
"""Of cycles in which the array computes, and in which another engine does."""
CAUSE_COLOURS: dict[str, str] = {
    "interleave": "#CC6677",
    "activation_port": "#DDCC77",
    "weight_load": "#117733",
    "accumulate": "#332288",
    "drain": "#44AA99",
    "fill": "#999933",
    "dram_read": "#88CCEE",
    "dram_write": "#882255",
}
MARKERS: dict[str, str] = {"ws": "o", "os": "s", "ws+os": "D"}
_Fill = Literal["full", "left", "right"]
_FILLS: dict[str, _Fill] = {"ff": "left", "bp": "right"}
"""FF and BP of a layer often cost the same: their half markers then make up one of two colours."""
_FLOW_TITLES = {"ws": "WS", "os": "OS", "ws+os": "WS and OS"}

CAPTIONS: dict[str, str] = {
    "speedup": "Speedup of each layer over dense training",
    "roofline": "Roofline: what bounds each product",
    "cycles": "Where the cycles go",
    "ablation": "What each dataflow optimisation is worth",
}
"""Every figure by name."""

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "#D9D9D9",
    "lines.linewidth": 1.0,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # A layer's name may hold dollar signs.
    "text.parse_math": False,
    # The same bytes every time: no random identifiers, glyphs drawn.
    "svg.hashsalt": "nofm",
    "svg.fonttype": "path",
}

MOST_BARS = 60
"""Layers that get a bar of their own; longer networks are drawn by module."""
MOST_IN_COLUMN = 22
"""Layers that fit one column of a paper."""


@contextmanager
def _styled() -> Iterator[None]:
    from matplotlib import rc_context

    with warnings.catch_warnings(), rc_context(_STYLE):
        # A name in a script that the font lacks shows boxes; that is no one's mistake.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def render(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    """A figure as the bytes of a file; the same figure gives the same bytes."""
    data = io.BytesIO()
    nothing = {"Date": None} if form == "svg" else {"Software": None}
    with _styled():
        figure.savefig(data, format=form, dpi=DPI, metadata=nothing)
    return data.getvalue()


def step_figures(
    result: StepResult, ablation: Sequence[tuple[str, StepResult | Mapping[str, Any]]] = ()
) -> dict[str, Figure]:
    """The figures that a step has something to show in, by the names in `CAPTIONS`.

    A dense step has no speedup, and a step without matrix products no roofline.
    """
    figures = {}
    products = summary.is_product(result.layers)
    if _sparse_stages(result):
        figures["speedup"] = speedup_figure(result)
    if products.any():
        figures["roofline"] = roofline_figure(result)
    figures["cycles"] = cycles_figure(result)
    if ablation:
        figures["ablation"] = ablation_figure(ablation)
    return figures


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _sparse_stages(result: StepResult) -> list[str]:
    sparse = result.layers[result.layers["pattern"] != "dense"]
    return [stage for stage in STAGES if stage in set(sparse["stage"])] if result.dense else []


def speedup_figure(result: StepResult) -> Figure:
    """Speedup of every layer's products over dense, a bar for each sparse stage."""
    stages = _sparse_stages(result)
    groups = _layer_speedups(result, stages)
    sparse = {text for text in result.layers["pattern"] if text != "dense"}
    with _styled():
        narrow = len(groups) <= MOST_IN_COLUMN
        names = [shorten(plain(name), 24) for name in groups.index]
        label_inches = 0.048 * max(map(len, names))
        figure = _figure(COLUMN_INCHES if narrow else TEXT_INCHES, 2.1 + label_inches)
        axes = figure.add_subplot()
        places = np.arange(len(groups))
        bar = 0.8 / len(stages)
        for index, stage in enumerate(stages):
            values = groups[stage].to_numpy()
            present = values[values > 0]
            mean = float(np.exp(np.log(present).mean()))
            axes.bar(
                places + (index - (len(stages) - 1) / 2) * bar,
                values,
                bar,
                color=STAGE_COLOURS[stage],
                label=f"{stage.upper()}, geometric mean {mean:.2f}×",
            )
        if len(sparse) == 1:
            kept, group = map(int, sparse.copy().pop().split(":"))
            axes.axhline(
                group / kept,
                color="black",
                linestyle=(0, (4, 2)),
                label=f"M/N = {group / kept:g}×",
            )
        speedup = result.total["speedup"]
        axes.axhline(
            speedup, color="#D55E00", linestyle=":", linewidth=1.2, label=f"whole step {speedup:.2f}×"
        )
        thinned = slice(None, None, -(-len(groups) // MOST_BARS))
        axes.set_xticks(places[thinned], names[thinned])
        axes.tick_params("x", rotation=90, length=0, labelsize=6 if narrow else 5.5)
        margin = 0.6 + max(0, 6 - len(groups)) / 2
        axes.set_xlim(-margin, len(groups) - 1 + margin)
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel("speedup over dense")
        axes.grid(axis="y")
        by_module = "" if groups.attrs["single"] else ", by module"
        _head(figure, f"Speedup over dense{by_module}", result)
        figure.legend(loc="outside lower center", ncols=2 if narrow else 4)
    return figure


def _layer_speedups(result: StepResult, stages: Sequence[str]) -> pd.DataFrame:
    """Speedup by layer (rows, in forward order) and stage; 0 where a stage does not occur.

    Beyond `MOST_BARS` layers the last part of every dotted name goes, again and again, and names
    that become equal share a row.
    """
    layers = result.layers[summary.is_product(result.layers) & result.layers["stage"].isin(stages)]
    forward = result.layers.loc[summary.is_product(result.layers), "layer"]
    names = {name: name for name in dict.fromkeys(forward) if name in set(layers["layer"])}
    depth = max(name.count(".") for name in names) + 1
    while len(set(names.values())) > MOST_BARS and depth > 1:
        depth -= 1
        names = {name: ".".join(name.split(".")[:depth]) for name in names}
    sums = layers.assign(layer=layers["layer"].map(names)).pivot_table(
        index="layer", columns="stage", values=["cycles", "dense_cycles"], aggfunc="sum"
    )
    table = (sums["dense_cycles"] / sums["cycles"]).fillna(0.0)
    table = table.reindex(dict.fromkeys(names.values()))
    table.attrs["single"] = len(table) == len(names)
    return table


def roofline_figure(result: StepResult) -> Figure:
    """Achieved rate of every product over its arithmetic intensity, below what bounds it.

    Both axes count dense multiply-accumulates, so that a sparse product may pass the dense peak,
    up to M/N times as high.
    """
    from matplotlib.markers import MarkerStyle

    machine = result.accelerator
    bandwidth = machine.dram.bandwidth_gbps
    dense_peak = machine.peak_macs_per_cycle * machine.clock_hz / 1e9
    points = _roofline_points(result)
    ratios = sorted({float(r) for r in points["ratio"] if r > 1})
    with _styled():
        figure = _figure(COLUMN_INCHES, 3.2)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        top = dense_peak * max([1.0, *ratios])
        left = min(points["intensity"].min(), dense_peak / bandwidth) / 2
        right = max(points["intensity"].max(), top / bandwidth) * 3
        knee = top / bandwidth
        axes.plot([left, knee], [left * bandwidth, top], color="black")
        peaks = {1.0: "dense peak"} | {r: _peak_name(points, r) for r in ratios}
        for ratio, name in peaks.items():
            peak = dense_peak * ratio
            axes.plot([peak / bandwidth, right], [peak, peak], color="black")
            axes.annotate(
                f"{name}, {peak:,.4g} GMAC/s",
                (right, peak),
                (-2, 6),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=6,
            )
        for point in points.sort_values("cycles", ascending=False, kind="stable").itertuples():
            axes.scatter(
                point.intensity,
                point.rate,
                s=14 + 80 * point.cycles / points["cycles"].max(),
                marker=MarkerStyle(MARKERS[point.dataflow], _FILLS.get(point.stage, "full")),
                color=STAGE_COLOURS[point.stage],
                linewidths=0.3,
                edgecolors="white",
                zorder=3,
            )
        axes.set_xlim(left, right)
        axes.set_ylim(min(points["rate"].min(), left * bandwidth * 2) / 2, top * 2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            between = "25" if high < 100 * low else ""
            axis.set_minor_formatter(
                lambda value, _, shown=between: f"{value:,.12g}" if f"{value:e}"[0] in shown else ""
            )
            axis.set_tick_params(which="minor", labelsize=6)
        axes.grid(which="major")
        axes.set_xlabel("arithmetic intensity (dense-equivalent MAC / DRAM byte)")
        axes.set_ylabel("rate (dense-equivalent GMAC/s)")
        _head(figure, "Roofline, a point for each kind of product", result)
        figure.legend(
            handles=_roofline_legend(points), loc="outside lower center", ncols=3
        )
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
        _label_points(axes, points.nlargest(4, "cycles"), points)
    return figure


def _roofline_points(result: StepResult) -> pd.DataFrame:
    """Products that lie in the same place, of one stage and dataflow, as one point."""
    layers = result.layers[summary.is_product(result.layers)]
    seconds = layers["cycles"] / result.accelerator.clock_hz
    points = layers[["layer", "stage", "dataflow", "pattern", "cycles"]].assign(
        intensity=layers["macs"] / layers["dram_bytes"].clip(lower=1),
        rate=layers["macs"] / seconds / 1e9,
        ratio=[_ratio(text) for text in layers["pattern"]],
    )
    same = [points["stage"], points["dataflow"], points["pattern"]]
    same += [np.log10(points[name]).round(2) for name in ("intensity", "rate")]
    merged = points.groupby(same, sort=False, as_index=False)
    table: pd.DataFrame = merged.agg(
        layer=("layer", "first"),
        stage=("stage", "first"),
        dataflow=("dataflow", "first"),
        pattern=("pattern", "first"),
        ratio=("ratio", "first"),
        intensity=("intensity", "mean"),
        rate=("rate", "mean"),
        cycles=("cycles", "sum"),
        layers=("layer", "size"),
    )
    return table


def _ratio(pattern: str) -> float:
    if pattern == "dense":
        return 1.0
    kept, group = pattern.split(":")
    return int(group) / int(kept)


def _peak_name(points: pd.DataFrame, ratio: float) -> str:
    patterns = dict.fromkeys(points.loc[points["ratio"] == ratio, "pattern"])
    return f"{'/'.join(patterns)} peak"


def _slope_degrees(axes: Axes, bandwidth: float, left: float, right: float) -> float:
    ends = np.array([(x, x * bandwidth) for x in (left, right)])
    (x0, y0), (x1, y1) = axes.transData.transform(ends)
    return float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))


def _roofline_legend(points: pd.DataFrame) -> list[Any]:
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

    stages = [stage for stage in STAGES if stage in set(points["stage"])]
    flows = [flow for flow in MARKERS if flow in set(points["dataflow"])]
    return [
        *(
            dot(STAGE_COLOURS[stage], "o", stage.upper(), _FILLS.get(stage, "full"))
            for stage in stages
        ),
        *(dot("#555555", MARKERS[flow], _FLOW_TITLES[flow]) for flow in flows),
    ]


_DIRECTIONS = (
    (0.5, -1.2, "left"),
    (-0.5, -1.2, "right"),
    (0.0, -1.4, "center"),
    (1.0, -0.6, "left"),
    (-1.0, -0.6, "right"),
    (-1.0, 0.8, "right"),
)
"""Where a label may lie from its point, and how it is aligned there."""


def _label_points(axes: Axes, chosen: pd.DataFrame, points: pd.DataFrame) -> None:
    """Name points where there is room: each label takes the first place around its point that
    covers no other label and no centre of a point, and is left out where there is none."""
    from matplotlib.text import Text

    frame = axes.get_window_extent()
    centres = axes.transData.transform(points[["intensity", "rate"]].to_numpy())
    taken = [text.get_window_extent().padded(3) for text in axes.texts]
    around = [
        (distance * x, distance * y, align)
        for distance in (8, 16, 28, 40)
        for x, y, align in _DIRECTIONS
    ]
    for point in chosen.itertuples():
        more = f" ×{point.layers}" if point.layers > 1 else ""
        text = f"{shorten(plain(point.layer), 22)} {point.stage.upper()}{more}"
        for x, y, align in around:
            note = axes.annotate(
                text,
                (point.intensity, point.rate),
                (x, y),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=5.5,
                bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.5},
                zorder=2.5,
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 1},
            )
            note.get_window_extent()  # places it; that box would hold the leader too
            box = Text.get_window_extent(note)
            free = (
                frame.x0 <= box.x0
                and box.x1 <= frame.x1
                and frame.y0 <= box.y0
                and not any(box.overlaps(other) for other in taken)
                and not box.count_contains(centres)
            )
            if free:
                taken.append(box.padded(3))
                break
            note.remove()


def cycles_figure(result: StepResult) -> Figure:
    """Cycles of every stage by what the engines do in them, dense beside sparse."""
    steps = [(_step_name(result), result)]
    if result.dense is not None:
        steps.insert(0, ("dense", result.dense))
    bars = [
        (stage, name, _split(step.layers[step.layers["stage"] == stage]))
        for stage in STAGES
        for name, step in steps
        if (step.layers["stage"] == stage).any()
    ]
    longest = max(sum(parts.values()) for _, _, parts in bars)
    bars = [(stage, name, _merged(parts, longest / 400)) for stage, name, parts in bars]
    scale = scale_for([longest], COUNT)
    with _styled():
        figure = _figure(COLUMN_INCHES, 1.05 + 0.19 * len(bars))
        axes = figure.add_subplot()
        places, ticks = [], []
        for index, (stage, name, parts) in enumerate(bars):
            place = index + 0.6 * STAGES.index(stage)
            places.append(place)
            ticks.append(f"{stage if len(stage) > 2 else stage.upper()}, {name}")
            start = 0.0
            for part, cycles in parts.items():
                axes.barh(place, cycles / scale.size, 0.8, start, color=_PARTS[part][1])
                start += cycles / scale.size
            axes.annotate(
                scale.text(sum(parts.values())),
                (start, place),
                (2, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
            )
        axes.set_yticks(places, ticks)
        axes.tick_params("y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, longest / scale.size * 1.12)
        axes.set_xlabel(_POWERS[scale.unit])
        axes.grid(axis="x")
        least = {"rest": longest / 400}
        used = [
            part
            for part in _PARTS
            if any(parts.get(part, 0) > least.get(part, 0) for _, _, parts in bars)
        ]
        _head(figure, "Where the cycles go", result)
        figure.legend(
            handles=_patches([_PARTS[part] for part in used]),
            loc="outside lower center",
            ncols=3,
        )
    return figure


_PARTS: dict[str, tuple[str, str]] = {
    "array": ("array computes", COMPUTE_COLOURS["array"]),
    "engine": ("other engine computes", COMPUTE_COLOURS["engine"]),
    **{cause: (f"stall: {summary.CAUSE_TITLES[cause]}", CAUSE_COLOURS[cause]) for cause in STALLS},
    "rest": ("other stalls", "#DDDDDD"),
}
"""Legend and colour of the parts of a job's cycles."""


def _split(layers: pd.DataFrame) -> dict[str, int]:
    on_array = summary.is_product(layers)
    return {
        "array": int(layers.loc[on_array, "compute_cycles"].sum()),
        "engine": int(layers.loc[~on_array, "compute_cycles"].sum()),
        **{cause: int(layers[f"stall_{cause}_cycles"].sum()) for cause in STALLS},
    }


def _merged(parts: Mapping[str, int], least: float) -> dict[str, int]:
    """Stalls that would be too thin to see, as one part."""
    kept = {part: n for part, n in parts.items() if n and (n >= least or part not in STALLS)}
    rest = sum(parts.values()) - sum(kept.values())
    return kept | ({"rest": rest} if rest else {})


def _patches(entries: Sequence[tuple[str, str]]) -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=colour, label=label) for label, colour in entries]


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
    with _styled():
        figure = _figure(COLUMN_INCHES, 0.85 + 0.22 * len(totals))
        axes = figure.add_subplot()
        speedups = [dense / total["cycles"] for _, total in totals]
        colours = [STAGE_COLOURS["ff"], *["#8FB8D6"] * (len(totals) - 1)]
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
        axes.set_xlim(0, max([1.0, *speedups]) * 1.5)
        axes.set_xlabel("speedup over dense (time: relative to the first bar)")
        axes.grid(axis="x")
        first = entries[0][1]
        _head(
            figure,
            "Each dataflow optimisation taken away",
            first if isinstance(first, StepResult) else None,
        )
    return figure


def _step_name(result: StepResult) -> str:
    return result.method if result.pattern == "dense" else f"{result.method} {result.pattern}"


def _head(figure: Figure, what: str, result: StepResult | None) -> None:
    figure.suptitle(what, fontsize=8, fontweight="bold")
    if result is None:
        return
    wide = 64 if figure.get_figwidth() < TEXT_INCHES else 140
    below = shorten(plain(summary.title(result)), wide)
    figure.axes[0].set_title(below, fontsize=6.5, color="#444444")

