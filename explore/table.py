"""The front of a sweep as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from nofm.explore.columns import COLUMNS
from nofm.explore.space import Space
from nofm.simulator.report.tables import Column, text_table
from nofm.simulator.report.units import scale_for

SHOWN = 20
"""Designs of the front that are shown."""

FIGURES = ("seconds", "energy_joules", "cycles", "dram_bytes")
"""Figures that are shown whatever was asked for."""

LONG = 1e4
"""Ratio of figures in a column from which the small ones lose digits."""

TITLES = {"seconds": "time", "energy_joules": "energy", "edp": "energy\nx time"} | {
    "dram_bytes": "DRAM\nbytes",
    "peak_macs_per_cycle": "USPEs",
    "buffers_kib": "buffers\nKiB",
    "power_watts": "power",
}


def front_table(space: Space, document: Mapping[str, Any]) -> Table:
    """The first designs of the front: what varies, and what they cost.

    Args:
        space: the space.
        document: `nofm.explore/1`.
    """
    rows = document["front"][:SHOWN]
    count, of = len(document["front"]), document["feasible"]
    title = f"Pareto front: {count:,} of {of:,} feasible designs"
    if count > SHOWN:
        title += f", the first {SHOWN}"
    return text_table(title, list(_columns(space, rows)), wrap=True)


def _columns(space: Space, rows: Sequence[Mapping[str, Any]]) -> Iterator[Column]:
    yield "design", "right", [f"{row['design']:,}" for row in rows]
    for parameter in space.parameters:
        if len(parameter.values) > 1:
            values = [row[parameter.name] for row in rows]
            cells = [str(v) if isinstance(v, str | bool) else f"{v:,}" for v in values]
            side = "right" if parameter.numeric else "left"
            yield parameter.name.replace(".", "\n").replace("_", " "), side, cells
    asked = [o.name for o in space.objectives] + [c.name for c in space.constraints]
    for name in dict.fromkeys([*asked, *FIGURES]):
        if name in COLUMNS:
            yield _figure(name, [row[name] for row in rows])


def _figure(name: str, values: Sequence[float | None]) -> Column:
    known = [v for v in values if v is not None]
    # The least has three digits too, unless the greatest would be too long.
    shortest = [min(known)] if known and max(known) < LONG * min(known) else known
    scale = scale_for(shortest, COLUMNS[name].units)
    title = TITLES.get(name, name)
    header = f"{title}\n{scale.unit}" if scale.unit else title
    return header, "right", ["" if v is None else scale.text(v) for v in values]
