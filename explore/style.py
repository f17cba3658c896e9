"""What the figures of a sweep share: colours, axes of figures, names of designs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nofm.explore.view import Floats, View, shown, title, units
from nofm.simulator.report.units import scale_for, shorten

FRONT = "#0072B2"
BEST = "#E69F00"
OTHERS = "#B4BCC6"
"""Of the front, of the best design in it and of all others: Okabe and Ito's blue and orange."""

NAMED = 4
"""Parameters that a label gives."""


def subtitle(view: View) -> str:
    """What was swept, in one line: the constant parameters of the training step, and how many."""
    constant = view.constant
    words = [shown(constant[name]) for name in ("workload",) if name in constant]
    if "batch" in constant:
        words.append(f"batch {shown(constant['batch'])}")
    words += [shown(constant[name]) for name in ("method", "pattern") if name in constant]
    return ", ".join([*words, f"{len(view):,} designs"])


def named(view: View) -> list[str]:
    """The parameters that differ within the front, up to `NAMED`, those of most values first."""
    kinds = {name: len(np.unique(view.levels(name).places[view.front])) for name in view.varying}
    most = sorted((n for n in kinds if kinds[n] > 1), key=lambda name: -kinds[name])[:NAMED]
    return [name for name in view.varying if name in most]


def label_of(view: View, row: int) -> str:
    """A design's number and its values of the `named` parameters."""
    values = view.parameters(row)
    parts = [shorten(shown(values[name]), 12) for name in named(view)]
    return f"#{view.designs[row]}" + (f": {' / '.join(parts)}" if parts else "")


@dataclass(frozen=True)
class Measure:
    """A figure of all designs as an axis shows it.

    Attributes:
        values: float64 [designs], in the unit of `label`.
        label: name and unit.
        log: whether the axis is logarithmic: all values are positive, and far apart.
    """

    values: Floats
    label: str
    log: bool


def measure(view: View, name: str) -> Measure:
    """A figure in the unit that suits its feasible designs."""
    values = view.values(name)
    known = values[view.feasible & np.isfinite(values)]
    positive = bool(len(known)) and bool((known > 0).all())
    # The unit suits the middle, in proportion, so that neither end has too many digits.
    middle = [float(np.sqrt(known.min()) * np.sqrt(known.max()))] if positive else []
    scale = scale_for(middle, units(name))
    unit = _POWERS.get(scale.unit, scale.unit)
    words = shorten(title(name), 30)
    log = positive and bool(known.max() > 3 * known.min())
    return Measure(values / scale.size, f"{words} ({unit})" if unit else words, log)


_POWERS = {"k": "10³", "M": "10⁶", "G": "10⁹", "T": "10¹²", "P": "10¹⁵", "E": "10¹⁸"}
"""Of counts, which have no unit of their own."""


def digits(value: float) -> str:
    """A number in three digits, a whole one in five, without an exponent.

    >>> digits(1563.3), digits(1024.0), digits(0.0423)
    ('1,560', '1,024', '0.0423')
    """
    if value == int(value) and abs(value) < 1e5:
        return f"{int(value):,}"
    return f"{float(f'{value:.3g}'):,.12g}"
