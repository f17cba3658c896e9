"""Figure: how much faster than dense each layer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nofm.simulator.report import figures, summary
from nofm.simulator.report.units import plain, shorten
from nofm.simulator.result import STAGES, StepResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST_BARS = 60
"""Layers that get a bar of their own; longer networks are drawn by module."""
MOST_IN_COLUMN = 22
"""Layers that fit one column of a paper."""


def sparse_stages(result: StepResult) -> list[str]:
    sparse = result.layers[result.layers["pattern"] != "dense"]
    return [stage for stage in STAGES if stage in set(sparse["stage"])] if result.dense else []


def speedup_figure(result: StepResult) -> Figure:
    """Speedup of every layer's products over dense, a bar for each sparse stage."""
    from matplotlib.ticker import MaxNLocator

    stages = sparse_stages(result)
    groups = _layer_speedups(result, stages)
    sparse = {text for text in result.layers["pattern"] if text != "dense"}
    with figures.styled():
        narrow = len(groups) <= MOST_IN_COLUMN
        names = [shorten(plain(name), 24) for name in groups.index]
        label_inches = 0.048 * max(map(len, names))
        figure = figures.canvas(
            figures.COLUMN_INCHES if narrow else figures.TEXT_INCHES, 2.1 + label_inches
        )
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
                color=figures.STAGE_COLOURS[stage],
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
            speedup,
            color="#D55E00",
            linestyle=":",
            linewidth=1.2,
            label=f"whole step {speedup:.2f}×",
        )
        thinned = slice(None, None, -(-len(groups) // MOST_BARS))
        axes.set_xticks(places[thinned], names[thinned])
        axes.tick_params("x", rotation=90, length=0, labelsize=6 if narrow else 5.5)
        margin = 0.6 + max(0, 6 - len(groups)) / 2
        axes.set_xlim(-margin, len(groups) - 1 + margin)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_ylabel("speedup over dense")
        axes.grid(axis="y")
        by_module = "" if groups.attrs["single"] else ", by module"
        figures.heading(figure, f"Speedup over dense{by_module}", result)
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
    sums = layers.assign(layer=layers["layer"].map(names)).groupby(["layer", "stage"])
    table = (sums["dense_cycles"].sum() / sums["cycles"].sum()).unstack("stage", fill_value=0)
    table = table.reindex(list(dict.fromkeys(names.values())))
    table.attrs["single"] = len(table) == len(names)
    return table
