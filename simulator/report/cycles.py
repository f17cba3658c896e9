"""Figure: where the cycles of each stage go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nofm.simulator.report import figures, summary
from nofm.simulator.report.units import COUNT, scale_for
from nofm.simulator.result import STAGES, STALLS, StepResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_POWERS = {
    unit: f"cycles (10{power})" if power else "cycles"
    for unit, power in zip(COUNT, ("", "³", "⁶", "⁹", "¹²", "¹⁵", "¹⁸"), strict=True)
}


def cycles_figure(result: StepResult) -> Figure:
    """Cycles of every stage by what the engines do in them, dense beside sparse."""
    steps = [(summary.variant(result), result)]
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
    with figures.styled():
        figure = figures.canvas(figures.COLUMN_INCHES, 1.05 + 0.19 * len(bars))
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
        figures.heading(figure, "Where the cycles go", result)
        figure.legend(
            handles=_patches([_PARTS[part] for part in used]),
            loc="outside lower center",
            ncols=3,
        )
    return figure


_PARTS: dict[str, tuple[str, str]] = {
    "array": ("array computes", figures.COMPUTE_COLOURS["array"]),
    "engine": ("others compute", figures.COMPUTE_COLOURS["engine"]),
    **{
        cause: (f"stall: {summary.CAUSE_TITLES[cause]}", figures.CAUSE_COLOURS[cause])
        for cause in STALLS
    },
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
