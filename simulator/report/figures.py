"""What every figure shares: the width of a paper's column, colours, a canvas, a way to a file.

Figures are plain `Figure` objects: nothing touches pyplot or its global state.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from nofm.simulator.report import summary
from nofm.simulator.report.units import plain, shorten
from nofm.simulator.result import StepResult

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLUMN_INCHES = 3.5
TEXT_INCHES = 7.16
"""Widths of a column and of two columns in IEEE's format."""

DPI = 200

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
"""Of cycles lost to each cause of a stall."""

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
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


@contextmanager
def styled() -> Iterator[None]:
    """Within it, figures are made (and drawn) in the house's style."""
    from matplotlib import rc_context

    with warnings.catch_warnings(), rc_context(_STYLE):
        # A name in a script that the font lacks shows boxes; that is no one's mistake.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure of that many inches whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def heading(figure: Figure, what: str, result: StepResult | None) -> None:
    """Say above a figure (of one plot) what it shows and, where given, of which step."""
    figure.suptitle(what, fontsize=8, fontweight="bold")
    if result is None:
        return
    wide = 64 if figure.get_figwidth() < TEXT_INCHES else 140
    below = shorten(plain(summary.title(result)), wide)
    figure.axes[0].set_title(below, fontsize=6.5, color="#444444")


def number_ticks(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis, also between powers of ten where there are few of those.

    The axis must have its limits.
    """
    low, high = axis.get_view_interval()

    def number(value: float) -> str:
        return f"{value:,.12g}"

    def between(value: float) -> str:
        return number(value) if f"{value:e}"[0] in "25" else ""

    axis.set_major_formatter(lambda value, _: number(value))
    axis.set_minor_formatter(lambda value, _: between(value) if high < 100 * low else "")
    axis.set_tick_params(which="minor", labelsize=6)


def render(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    """A figure as the bytes of a file; the same figure gives the same bytes."""
    data = io.BytesIO()
    nothing = {"Date": None} if form == "svg" else {"Software": None}
    with styled():
        figure.savefig(data, format=form, dpi=DPI, metadata=nothing)
    return data.getvalue()
