"""The pictures of a sweep as files: what was found, and the best design at work."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nofm.explore.parallel_figure import parallel_figure
from nofm.explore.pareto_figure import pareto_figure
from nofm.explore.sensitivity_figure import sensitivity_figure
from nofm.explore.space_info import SpaceInfo
from nofm.explore.view import View
from nofm.kernels.errors import InputError
from nofm.kernels.folder import write_folder
from nofm.simulator.report import figures, summary
from nofm.simulator.report.roofline import roofline_figure
from nofm.simulator.report.timeline import to_timeline
from nofm.simulator.report.timeline_figure import timeline_figure
from nofm.simulator.result import StepResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Form = Literal["svg", "png"]
FORMS: tuple[Form, ...] = ("svg", "png")

CAPTIONS: dict[str, str] = {
    "pareto": "Every feasible design by its objectives. No design is as good as one of the front "
    "in all objectives and better in one.",
    "parallel": "Each line is a design: its parameters, then its objectives.",
    "sensitivity": "How much of an objective's variance each parameter explains by itself, how far "
    "apart the means of its levels lie, and which level's is best.",
}
"""The figures of all designs by name, and how to read them."""


def sweep_figures(view: View) -> dict[str, Figure]:
    """The figures by the names in `CAPTIONS`; parallel coordinates and sensitivity where a
    parameter varies.

    Raises:
        InputError: there is nothing to draw.
    """
    check_drawable(view)
    found = {"pareto": pareto_figure(view)}
    if view.varying:
        found["parallel"] = parallel_figure(view)
        found["sensitivity"] = sensitivity_figure(view)
    return found


def check_drawable(view: View) -> None:
    """Refuse results in which nothing can be shown.

    Raises:
        InputError: there are no objectives, or no feasible design.
    """
    if not view.info.objectives:
        raise InputError("pictures of designs need at least one objective, and there is none")
    if not view.feasible.any():
        raise InputError(
            f"pictures of designs need a feasible one, and none of {len(view):,} is feasible"
        )
    if not len(view.front):
        raise InputError("pictures of designs need a Pareto front, and no design is marked")


def step_pictures(step: StepResult) -> dict[str, Figure]:
    """The roofline (where there are products) and the timeline of one design's step."""
    found = {}
    if summary.is_product(step.layers).any():
        found["roofline"] = roofline_figure(step)
    return found | {"timeline": timeline_figure(step)}


def write(
    folder: str | os.PathLike[str],
    table: pd.DataFrame,
    space_info: SpaceInfo,
    forms: Iterable[Form] = FORMS,
) -> list[Path]:
    """Write the pictures into a folder: all of them, or none when something fails.

    `pareto`, `parallel` and `sensitivity` are of all designs; `best-roofline`, `best-timeline` and
    `best-timeline.json` (for Perfetto) are of the best design's training step, which is simulated
    for them. `View.best` says which that is.

    Args:
        folder: where to; it is made if need be, and files in it of the same names are replaced.
        table: the designs, see `View`.
        space_info: the space.
        forms: some of `FORMS`.

    Returns:
        Paths of the files.

    Raises:
        InputError: there is nothing to draw, or the folder cannot be written.
    """
    view = View(table, space_info)
    drawn = sweep_figures(view)
    step = view.step(view.best)
    drawn |= {f"best-{name}": figure for name, figure in step_pictures(step).items()}
    files = {
        f"{name}.{form}": figures.render(figure, form)
        for name, figure in drawn.items()
        for form in dict.fromkeys(forms)
    }
    document = json.dumps(to_timeline(step), allow_nan=False, ensure_ascii=False)
    files["best-timeline.json"] = f"{document}\n".encode()
    return write_folder(folder, files)
