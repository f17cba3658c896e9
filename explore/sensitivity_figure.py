"""Figure: how much of each objective's variation every parameter explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nofm.explore.sensitivity import Effect, complete, effects
from nofm.explore.style import BEST, FRONT, subtitle
from nofm.explore.view import View, title
from nofm.simulator.report import figures
from nofm.simulator.report.units import plain, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 3
"""Most objectives that are drawn."""

PARAMETERS = 12
"""Most parameters that are drawn: those that matter most."""


def sensitivity_figure(view: View) -> Figure:
    """Bars: the first-order effect (`sensitivity.Effect`) of each parameter on each objective.

    A bar is named by how far the means of the parameter's levels lie apart, and by the level of
    the best mean. Over a full factorial a last bar shows what parameters do together; elsewhere a
    mark in each bar shows what chance alone would explain.
    """
    objectives = list(view.info.objectives)[:PANELS]
    found = {name: effects(view, name) for name in objectives}
    weight: dict[str, float] = {}
    for effect in (effect for some in found.values() for effect in some):
        weight[effect.parameter] = max(weight.get(effect.parameter, 0.0), effect.share)
    order = sorted(weight, key=lambda name: -weight[name])[:PARAMETERS]
    whole = complete(view)
    rows = len(order) + whole
    with figures.styled():
        wide = figures.COLUMN_INCHES if len(objectives) == 1 else figures.TEXT_INCHES
        figure = figures.canvas(wide, 1.15 + 0.26 * rows)
        panels = figure.subplots(1, len(objectives), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, objectives, strict=True):
            by_name = {effect.parameter: effect for effect in found[name]}
            together = _together(view, name, found[name]) if whole else None
            _panel(axes, view, name, [by_name[one] for one in order], together)
        names = [shorten(plain(name), 28) for name in order]
        panels[0].set_yticks(range(rows), [*names, *(["together"] if whole else [])])
        panels[0].set_ylim(rows - 0.4, -0.6)
        figure.suptitle("What each parameter explains", fontsize=8, fontweight="bold")
        below = subtitle(view) + ("" if whole else f", {int(view.feasible.sum()):,} feasible")
        figure.supxlabel(_explanation(below, whole, len(objectives) > 1), fontsize=6)
    return figure


def _explanation(below: str, whole: bool, wide: bool) -> str:
    kind = "full factorial" if whole else "no full factorial: shares overlap; | chance alone"
    formula = "share = Var(mean by level) / Var"
    return f"{below}; {kind}{'; ' if wide else chr(10)}{formula}"


def _together(view: View, name: str, found: list[Effect]) -> float:
    """The share that no parameter explains by itself."""
    values = view.values(name)[view.feasible]
    if not len(values) or values.min() == values.max():
        return 0.0
    return max(0.0, 1 - sum(effect.share for effect in found))


def _panel(axes: Axes, view: View, name: str, shown: list[Effect], together: float | None) -> None:
    shares = [100 * effect.share for effect in shown]
    axes.barh(range(len(shown)), shares, height=0.66, color=FRONT, zorder=2)
    maximise = view.info.objectives[name]
    for place, effect in enumerate(shown):
        chance = 100 * effect.chance if together is None else 0.0
        if chance:
            axes.plot([chance] * 2, [place - 0.33, place + 0.33], color=BEST, linewidth=1.2)
        axes.annotate(
            _note(effect, maximise),
            (max(100 * effect.share, chance), place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=5.5,
        )
    if together is not None:
        rest = 100 * together
        axes.barh(len(shown), rest, height=0.66, color="#A9B4C0", zorder=2)
        axes.annotate(
            f"{rest:.0f} %" if rest >= 0.5 else "below 1 %",
            (rest, len(shown)),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=5.5,
        )
    log = "log " if shown and shown[0].logarithmic else ""
    axes.set_xlabel(f"% of the variance of {log}{title(name)}")
    # Names of bars stand to their right.
    axes.set_xlim(0, 155)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _note(effect: Effect, maximise: bool) -> str:
    """How far the levels' means lie apart, and which level's is best."""
    if len(effect.means) < 2 or effect.share < 0.0005:
        return "no effect" if effect.share < 1e-9 else "below 0.1 %"
    best = max if maximise else min
    level = effect.levels[effect.means.index(best(effect.means))]
    swing = f"×{effect.swing:.3g}" if effect.logarithmic else f"±{effect.swing / 2:.3g}"
    return f"{100 * effect.share:.0f} %, {swing}, best {shorten(level, 12)}"
