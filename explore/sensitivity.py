"""How much of a figure's variation each parameter explains by itself.

With y the figure of a design (its logarithm where all are positive, so that what multiplies it
adds up) and p a parameter, the share is the first-order effect

    S_p = Var(E[y | p]) / Var(y),

the variance between the means of p's levels over the whole variance, levels weighted by their
designs. Over a full factorial space this is Sobol's first-order index with every level equally
likely (I. M. Sobol', "Sensitivity estimates for nonlinear mathematical models", 1993): the shares
sum to at most 1, and what is missing comes from parameters acting together. Where designs were
chosen otherwise, or some are infeasible, levels are not evenly mixed: shares then overlap, and
even a parameter without any effect explains about (levels - 1) / (designs - 1). A number of which
most values occur only a few times is there cut into ranges, which take the place of its levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nofm.explore.view import Floats, Integers, View, shown

BINS = 8
"""Ranges, equally full, that a numeric parameter with more than twice as many values is cut into
where designs are no full factorial."""


@dataclass(frozen=True)
class Effect:
    """What one parameter does to one figure, all others left as they come.

    Attributes:
        share: S of the parameter, 0 to 1.
        chance: what a parameter without effect explains by chance where designs are a sample.
        logarithmic: whether `share` is of the figure's logarithm.
        levels: its values, or ranges of them.
        means: mean figure of each level (geometric where logarithmic), in the figure's unit.
    """

    parameter: str
    share: float
    chance: float
    logarithmic: bool
    levels: tuple[str, ...]
    means: tuple[float, ...]

    @property
    def swing(self) -> float:
        """The greatest mean over the least where logarithmic, else their difference."""
        most, least = max(self.means), min(self.means)
        return most / least if self.logarithmic else most - least


def effects(view: View, figure: str) -> list[Effect]:
    """The effect of every varying parameter on a figure, the greatest first.

    Only feasible designs that have the figure count; without any there are no effects.
    """
    values = view.values(figure)
    rows = np.flatnonzero(view.feasible & np.isfinite(values))
    if not len(rows):
        return []
    y = values[rows]
    logarithmic = bool((y > 0).all())
    if logarithmic:
        y = np.log(y)
    found = []
    whole = complete(view)
    for name in view.varying:
        levels = view.levels(name)
        places, labels = levels.places[rows], [shown(value) for value in levels.values]
        if not whole and levels.numeric and len(labels) > 2 * BINS:
            labels, places = _ranges(levels.values, places)
        share, means = explained(y, places, len(labels))
        kept = [i for i, mean in enumerate(means) if not np.isnan(mean)]
        found.append(
            Effect(
                parameter=name,
                share=share,
                chance=(len(kept) - 1) / max(1, len(rows) - 1),
                logarithmic=logarithmic,
                levels=tuple(labels[i] for i in kept),
                means=tuple(float(np.exp(means[i]) if logarithmic else means[i]) for i in kept),
            )
        )
    return sorted(found, key=lambda effect: -effect.share)


def explained(y: Floats, places: Integers, levels: int) -> tuple[float, Floats]:
    """S of a parameter, and the mean of y at each level (NaN where it has no design).

    Args:
        y: float64 [designs].
        places: int64 [designs], the parameter's level, below `levels`.
    """
    counts = np.bincount(places, minlength=levels)
    centred = y - y.mean()
    sums = np.bincount(places, centred, minlength=levels)
    with np.errstate(invalid="ignore"):
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    whole = float((centred**2).sum())
    # What rounding leaves of equal numbers is no variance.
    if whole <= len(y) * (1e-12 * max(1.0, float(np.abs(y).max()))) ** 2:
        return 0.0, means + y.mean()
    between = float((counts * np.nan_to_num(means) ** 2).sum())
    return min(1.0, between / whole), means + y.mean()


def complete(view: View) -> bool:
    """Whether the feasible designs are a full factorial: every combination of the levels that
    they have, once."""
    rows = np.flatnonzero(view.feasible)
    size = 1
    number = np.zeros(len(rows), np.int64)
    for name in view.varying:
        present, places = np.unique(view.levels(name).places[rows], return_inverse=True)
        size *= len(present)
        if size > len(rows):
            return False
        number = number * len(present) + places
    return size == len(rows) and len(np.unique(number)) == len(rows)


def _ranges(values: Sequence[object], places: Integers) -> tuple[list[str], Integers]:
    """Names of `BINS` ranges of ascending numbers, and each design's."""
    starts = np.unique(np.sort(places)[np.arange(BINS) * len(places) // BINS])
    part = np.searchsorted(starts, places, side="right") - 1
    ends = [*(int(start) - 1 for start in starts[1:]), int(places.max())]
    names = [
        f"{shown(values[int(start)])} to {shown(values[end])}"
        for start, end in zip(starts, ends, strict=True)
    ]
    return names, np.asarray(part, np.int64)
