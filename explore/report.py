"""A sweep as one page of HTML that needs nothing else: no network, no other file, no library.

The page's frame, style and the parts of its script stand in `page/`. What it shows is embedded as
JSON; the script puts it in as text, never as markup, so that no name can become an element.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.explore import details, pictures, sensitivity
from nofm.explore.space import OPTIONS
from nofm.explore.space_info import SpaceInfo
from nofm.explore.style import subtitle
from nofm.explore.template import template, written
from nofm.explore.view import Integers, View, is_hardware, shown, title, units
from nofm.kernels.errors import InputError
from nofm.kernels.folder import write_folder
from nofm.simulator.report import figures, summary
from nofm.simulator.report.page_parts import (
    asset,
    card,
    copyable,
    definitions,
    inline_figure,
    policy,
    text,
)
from nofm.simulator.report.units import amount, plain
from nofm.simulator.result import STALLS

if TYPE_CHECKING:
    import pandas as pd

DESIGNS = 5_000
"""Designs that the page holds: all of the front, and of the others as many as there is room for,
evenly over the table."""

DETAILS = 16
"""Designs whose training step the page holds: the best, and others evenly over the front."""


SCRIPTS = ("elements", "numbers", "plots", "table", "design", "steps", "filter", "front", "start")
"""Parts of the page's one script, in their order."""

MEANS = 12
"""Values of a parameter whose means are listed; of more, the least and the greatest mean."""


def write(
    folder: str | os.PathLike[str],
    table: pd.DataFrame,
    space_info: SpaceInfo,
    *,
    designs: int = DESIGNS,
    steps: int = DETAILS,
    command: str = "",
) -> Path:
    """Write `report.html` into a folder, or nothing when something fails.

    Args:
        folder: where to; it is made if need be, and a page that is there is replaced.
        table: the designs, see `View`.
        space_info: the space.
        designs: most designs that the page holds, see `DESIGNS`.
        steps: most designs whose training step is simulated for it, see `DETAILS`.
        command: what to run to get the same again; left out when empty.

    Raises:
        InputError: a column is missing, or the folder cannot be written.
    """
    text = page(View(table, space_info), designs=designs, steps=steps, command=command)
    return write_folder(folder, {"report.html": text.encode()})[0]


def page(view: View, *, designs: int = DESIGNS, steps: int = DETAILS, command: str = "") -> str:
    """The page, see `write`."""
    drawn: dict[str, bytes] = {}
    if view.best >= 0 and view.varying:
        chosen = {k: v for k, v in pictures.sweep_figures(view).items() if k != "pareto"}
        drawn = {name: figures.render(figure, "svg") for name, figure in chosen.items()}
    content = data(view, designs=designs, steps=steps)
    script = "".join(_asset(f"{name}.js") for name in SCRIPTS) + asset("copy.js")
    return Template(_asset("report.html")).substitute(
        title=text(f"Designs: {subtitle(view)}"),
        policy=policy(script),
        style=asset("page.css") + _asset("report.css"),
        workload=text(shown(view.constant.get("workload", "Designs"))),
        lead=text(_lead(view)),
        cards=_cards(view),
        front_rule=text(_front_rule(view)),
        held=text(_held(view, content)),
        figures="\n".join(
            inline_figure(name, svg, pictures.CAPTIONS[name]) for name, svg in drawn.items()
        )
        or "<p>No feasible design, or no parameter that varies: nothing to draw.</p>",
        explained=_explained(view),
        constant=definitions({name: shown(value) for name, value in view.constant.items()}),
        base=text(view.info.base.name),
        toml=copyable(view.info.base.to_toml()),
        command=f"<h3>To get the same again</h3>\n{copyable(plain(command))}" if command else "",
        version=text(metadata.version("nofm")),
        data=_embedded(content),
        script=script,
    )


def _asset(name: str) -> str:
    return asset(f"page/{name}", "nofm.explore")


def data(view: View, *, designs: int = DESIGNS, steps: int = DETAILS) -> dict[str, Any]:
    """What the page's script works with, as plain values.

    Columns of designs are lists, in the order of the table; a figure that is unknown is None. A
    parameter's value is its place among its `levels`.
    """
    rows = held(view, designs)
    hardware = [name for name in view.info.parameters if is_hardware(name)]
    toml, machines = _toml(view, rows, hardware)
    errors: dict[str, int] = {}
    told = [
        errors.setdefault(plain(str(error or "")), len(errors))
        for error in view.table["error"].iloc[rows]
    ]
    in_front = np.zeros(len(view), np.bool_)
    in_front[view.front] = True
    return {
        "parameters": [_parameter(view, name, rows, toml.get(name)) for name in _order(view)],
        "figures": [_figure(view, name, rows) for name in view.figures],
        "design": view.designs[rows].tolist(),
        "feasible": view.feasible[rows].astype(int).tolist(),
        "front": in_front[rows].astype(int).tolist(),
        "machine": machines,
        "error": told,
        "errors": list(errors),
        "best": rows.tolist().index(view.best) if view.best >= 0 else -1,
        "fixed": {name: plain(shown(value)) for name, value in view.constant.items()},
        "base": template(view.info.base, hardware),
        "hardware": hardware,
        "counts": {
            "designs": len(view),
            "feasible": int(view.feasible.sum()),
            "front": len(view.front),
        },
        "details": details.details(view, details.chosen(view, steps)),
        "stages": {k: [v, figures.STAGE_COLOURS[k]] for k, v in summary.STAGE_TITLES.items()},
        "stalls": {
            cause: [summary.CAUSE_TITLES[cause], figures.CAUSE_COLOURS[cause], text]
            for cause, text in STALLS.items()
        },
        "compute": figures.COMPUTE_COLOURS,
        "units": {
            name: list(map(list, units(of).items()))
            for name, of in (("count", "cycles"), ("seconds", "seconds"), ("bytes", "dram_bytes"))
        }
        | {"joules": list(map(list, units("energy_joules").items()))},
    }


def held(view: View, most: int) -> Integers:
    """Rows that the page holds, ascending: the whole front, and others evenly up to `most`."""
    others = np.setdiff1d(np.arange(len(view)), view.front)
    room = min(len(others), max(0, most - len(view.front)))
    places = np.linspace(0, len(others) - 1, room).round().astype(np.int64)
    return np.sort(np.concatenate([view.front, others[places]]))


def _order(view: View) -> list[str]:
    """The parameters, those that vary first."""
    return [*view.varying, *(n for n in view.info.parameters if n not in view.varying)]


def _parameter(view: View, name: str, rows: Integers, toml: list[str] | None) -> dict[str, Any]:
    levels = view.levels(name)
    return {
        "name": plain(name),
        "varies": name in view.varying,
        "option": name in OPTIONS,
        "numeric": levels.numeric,
        "values": levels.values if levels.numeric else [],
        "levels": [shown(value) for value in levels.values],
        "toml": toml,
        "of": levels.places[rows].tolist(),
    }


def _figure(view: View, name: str, rows: Integers) -> dict[str, Any]:
    column = view.table[name].iloc[rows]
    values = [
        None if missing else value for value, missing in zip(column, column.isna(), strict=True)
    ]
    plain_values = [v.item() if isinstance(v, np.generic) else v for v in values]
    return {
        "name": plain(name),
        "title": title(name),
        "units": [[unit, size] for unit, size in units(name).items()],
        "objective": name in view.info.objectives,
        "maximise": bool(view.info.objectives.get(name, name == "accuracy")),
        "values": [None if v is None or not np.isfinite(v) else v for v in plain_values],
    }


def _toml(
    view: View, rows: Integers, hardware: list[str]
) -> tuple[dict[str, list[str]], list[int]]:
    """Lines of TOML for each value of each entry of the hardware, and which designs are machines.

    A value is written as a machine that has it writes it; one that no machine has stays "".
    """
    lines = {name: [""] * len(view.levels(name).values) for name in hardware}
    machines = []
    for row in rows.tolist():
        try:
            machine = view.accelerator(row)
        except InputError:
            machines.append(0)
            continue
        machines.append(1)
        places = {name: int(view.levels(name).places[row]) for name in hardware}
        if any(not lines[name][place] for name, place in places.items()):
            for name, line in zip(hardware, written(machine, hardware), strict=True):
                lines[name][places[name]] = line
    return lines, machines


def _embedded(content: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no text in it can end that element."""
    written = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return written.replace("<", "\\u003c")


def _lead(view: View) -> str:
    constant = view.constant
    words = [f"{len(view):,} designs"]
    if "batch" in constant:
        words.append(f"batch {shown(constant['batch'])}")
    words += [shown(constant[name]) for name in ("method", "pattern") if name in constant]
    return ", ".join([*words, f"based on {view.info.base.name}"])


def _cards(view: View) -> str:
    feasible = int(view.feasible.sum())
    lines = [
        card("designs", f"{len(view):,}", f"{feasible:,} feasible"),
        card("Pareto front", f"{len(view.front):,}", "designs that none beats", "main"),
    ]
    known = np.flatnonzero(view.feasible)
    for name, maximise in view.info.objectives.items():
        if not len(known):
            continue
        values = view.values(name)
        row = known[int((np.argmax if maximise else np.argmin)(values[known]))]
        figure = amount(float(values[row]), units(name))
        most = "most" if maximise else "least"
        lines.append(card(f"{most} {title(name)}", figure, f"design {view.designs[row]}"))
    return "\n".join(lines)


def _front_rule(view: View) -> str:
    names = [
        f"{title(name)} ({'more' if maximise else 'less'} is better)"
        for name, maximise in view.info.objectives.items()
    ]
    return (
        f"The front is of {', '.join(names)}: no other design is as good in each and better in one."
    )


def _held(view: View, content: Mapping[str, Any]) -> str:
    """What of the sweep the page holds."""
    shown_designs, steps = len(content["design"]), len(content["details"])
    front, all_of = len(view.front), len(view)
    words = f"The page holds all {all_of:,} designs"
    if shown_designs < all_of:
        words = (
            f"The page holds {shown_designs:,} of {all_of:,} designs: all {front:,} of the front, "
            f"and {shown_designs - front:,} of the {all_of - front:,} others, evenly over the table"
        )
    if not steps:
        return f"{words}."
    which = f"all {front:,}" if steps >= front else f"{steps:,} of the {front:,}"
    return (
        f"{words}. The training steps of {which} designs of the front were simulated when it was "
        "written: these open with their layers, roofline and timeline."
    )


def _explained(view: View) -> str:
    """The effects of the sensitivity figure as a table."""
    rows = []
    for name in view.info.objectives:
        for effect in sensitivity.effects(view, name):
            levels = list(zip(effect.levels, effect.means, strict=True))
            if len(levels) > MEANS:
                levels = sorted(levels, key=lambda level: level[1])
                levels = [levels[0], levels[-1]]
            means = "; ".join(f"{level}: {amount(mean, units(name))}" for level, mean in levels)
            rows.append(
                f'<tr><th scope="row" class="text">{text(effect.parameter)}</th>'
                f'<td class="text">{text(title(name))}</td><td>{100 * effect.share:.1f}</td>'
                f'<td class="text means">{text(means)}</td></tr>'
            )
    if not rows:
        return ""
    lines = "\n".join(rows)
    return f"""<details>
<summary>The same as a table</summary>
<p>Share: variance between the means of the parameter's values over the whole variance, in
logarithms where all figures are positive. Only feasible designs count.</p>
<div class="scroll tall" tabindex="0" role="region" aria-label="What each parameter explains">
<table>
<thead><tr><th scope="col" class="text">parameter</th><th scope="col" class="text">objective</th>
<th scope="col">share\n%</th><th scope="col" class="text">mean by value</th></tr></thead>
<tbody>
{lines}
</tbody>
</table>
</div>
</details>"""
