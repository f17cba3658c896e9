"""Pictures of the paper's experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nofm.dataflow.methods import METHODS
from nofm.simulator.report import figures
from nofm.simulator.report.reproduction import (
    AVERAGE,
    ablation_records,
    headline,
    networks,
    sensitivity_records,
    speedup_records,
)
from nofm.simulator.reproduce import COMPARED, HEADLINE, PAPER_SPEEDUP, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHOD_COLOURS = dict(zip(COMPARED, ("#88CCEE", "#DDCC77", "#CC6677", "#332288"), strict=True))
"""Tol's "muted" colours."""


def speedup_figure(found: Reproduction) -> Figure:
    """Bars: each network's speedup by method at the headline's pattern, and the average."""
    with figures.styled():
        figure = figures.canvas(figures.TEXT_INCHES, 2.4)
        axes = figure.subplots()
        groups = [*networks(found), AVERAGE]
        rows = [row for row in speedup_records(found) if row["pattern"] == str(HEADLINE[1])]
        width = 0.8 / len(COMPARED)
        for place, (method, row) in enumerate(zip(COMPARED, rows, strict=True)):
            at = [x + (place - (len(COMPARED) - 1) / 2) * width for x in range(len(groups))]
            bars = axes.bar(
                at,
                [row[group] for group in groups],
                width * 0.92,
                color=METHOD_COLOURS[method],
                label=METHODS[method].title,
            )
            axes.bar_label(bars, fmt="%.2f", fontsize=5.5, padding=1)
        axes.axhline(1, color="black", linewidth=0.6, zorder=0.9)
        axes.axhline(PAPER_SPEEDUP, color="black", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0.9)
        axes.set_ylim(top=1.06 * max(row[group] for row in rows for group in groups))
        axes.text(
            len(groups) - 0.45,
            PAPER_SPEEDUP,
            f"paper's average\nfor BDWP: {PAPER_SPEEDUP}",
            va="center",
            fontsize=6,
        )
        axes.axvline(len(groups) - 1.5, color="#999999", linewidth=0.6, linestyle=":")
        axes.set_xticks(range(len(groups)), groups)
        axes.set_xlim(-0.6, len(groups) - 0.5)
        axes.set_ylabel("speedup over dense training")
        axes.set_title(
            f"A training step at {HEADLINE[1]}, batch {found.batch}, on {found.hardware}",
            loc="left",
        )
        axes.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=len(COMPARED))
        return figure


def ablation_figure(found: Reproduction) -> Figure:
    """Bars: the average speedup as each optimisation is left out."""
    with figures.styled():
        figure = figures.canvas(figures.COLUMN_INCHES, 2.0)
        axes = figure.subplots()
        rows = ablation_records(found)
        names = [row["variant"] for row in rows]
        bars = axes.barh(
            names,
            [row[AVERAGE] for row in rows],
            color=[METHOD_COLOURS["bdwp"], *["#A9B4C0"] * (len(rows) - 1)],
        )
        axes.bar_label(bars, fmt="%.2f", fontsize=6, padding=2)
        axes.invert_yaxis()
        axes.axvline(1, color="black", linewidth=0.6, zorder=0.9)
        axes.margins(x=0.12)
        axes.set_xlabel("average speedup over dense training\nwith all optimisations")
        axes.set_title(f"BDWP {HEADLINE[1]}: what each optimisation is worth", loc="right")
        axes.grid(axis="x")
        return figure


VISIBLE = 0.001
"""A change of the speedup that the tornado shows."""


def sensitivity_figure(found: Reproduction) -> Figure:
    """A tornado: the average speedup at a lower and a higher value of each assumed parameter.

    Parameters that change it by less than `VISIBLE` are left to the table.
    """
    with figures.styled():
        figure = figures.canvas(figures.COLUMN_INCHES, 2.8)
        axes = figure.subplots()
        rows = [row for row in sensitivity_records(found) if row["swing"] >= VISIBLE]
        base = headline(found)
        for place, row in enumerate(rows):
            for side, colour in (("low", "#E69F00"), ("high", "#0072B2")):
                value = row[f"{side} speedup"]
                axes.barh(
                    place,
                    value - base,
                    left=base,
                    color=colour,
                    height=0.7,
                    label=f"{side}er value" if place == 0 else None,
                )
                if abs(value - base) >= VISIBLE:
                    right = value > base
                    axes.annotate(
                        row[side] if len(row[side]) < 12 else "all but copies",
                        (value, place),
                        xytext=(2 if right else -2, 0),
                        textcoords="offset points",
                        ha="left" if right else "right",
                        va="center",
                        fontsize=5,
                    )
        axes.axvline(base, color="black", linewidth=0.6)
        axes.set_yticks(
            range(len(rows)),
            [f"{row['parameter']} ({row['preset']})" for row in rows],
            fontsize=5.5,
        )
        axes.invert_yaxis()
        axes.margins(x=0.25)
        axes.set_xlabel(f"average speedup of BDWP {HEADLINE[1]}\n({base:.2f} as assumed)")
        axes.set_title("Sensitivity to what is assumed", loc="right")
        figure.legend(loc="outside lower center", ncols=2)
        axes.grid(axis="x")
        return figure


FIGURES = {
    "speedups": speedup_figure,
    "ablation": ablation_figure,
    "sensitivity": sensitivity_figure,
}
"""Every figure by name."""
