"""Tables of a simulated step for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nofm.simulator.report import summary
from nofm.simulator.report.units import (
    BYTES,
    COUNT,
    ENERGY_PJ,
    SECONDS,
    Units,
    amount,
    plain,
    scale_for,
    shorten,
)
from nofm.simulator.result import STALLS, TENSORS, StepResult

if TYPE_CHECKING:
    import pandas as pd

SLOWEST = 20
"""Jobs that are shown unless all are asked for."""

Column = tuple[str, str, list[str]]
"""Header, "left" or "right", and cells."""


def step_tables(
    result: StepResult, *, width: int = 120, all_rows: bool = False
) -> RenderableType:
    """The tables of a step: its slowest jobs (or all, in order), its stages, its total.

    Args:
        result: the step.
        width: columns of the terminal; narrow ones get the more important figures only.
        all_rows: show every job, in the order of execution.
    """
    return Group(
        job_table(result, width=width, all_rows=all_rows),
        "",
        stage_table(result, width=width),
        "",
        total_lines(result),
    )


def job_table(result: StepResult, *, width: int = 120, all_rows: bool = False) -> Table:
    """A row for each job: in order of execution, or the `SLOWEST` first."""
    rows = result.layers
    title = f"{summary.title(result)}: every job, in order"
    if not all_rows and len(rows) > SLOWEST:
        slowest = rows.nlargest(SLOWEST, "cycles")
        share = slowest["cycles"].sum() / rows["cycles"].sum()
        title = (
            f"{summary.title(result)}: the {SLOWEST} slowest of {len(rows)} jobs, "
            f"{share:.0%} of the cycles"
        )
        rows = slowest
    return _table(title, _job_columns(rows, result.dense is not None, width))


def _job_columns(rows: pd.DataFrame, compared: bool, width: int) -> Iterable[Column]:
    by_tensor = width >= 118
    names = 18 if width < 90 else 22
    yield "layer", "left", [shorten(plain(name), names) for name in rows["layer"]]
    yield "stage", "left", list(rows["stage"])
    if width >= 90:
        yield "N:M", "left", list(rows["pattern"])
        yield "flow", "left", list(rows["dataflow"])
    if width >= 100:
        yield "tile", "left", [tile.replace(" ", "") for tile in rows["tile"]]
    yield _scaled("{}cycles", rows["cycles"], COUNT)
    yield "util\n%", "right", [_percent(share) if share else "–" for share in rows["utilization"]]
    shares = rows["stall_cycles"] / rows["cycles"]
    yield "stall\n%", "right", [_percent(share) for share in shares]
    causes = summary.top_causes(rows)
    yield "mostly", "left", [summary.CAUSE_TITLES.get(cause, "") for cause in causes]
    if by_tensor:
        scale = scale_for(rows[[f"dram_{tensor}_bytes" for tensor in TENSORS]].max(), BYTES)
        for tensor, short in summary.TENSOR_TITLES.items():
            moved = rows[f"dram_{tensor}_bytes"]
            if moved.any():
                cells = [scale.text(count) if count else "–" for count in moved]
                yield f"{short}\n{scale.unit}", "right", cells
    else:
        yield _scaled("DRAM\n{}", rows["dram_bytes"], BYTES)
    if width >= 90:
        yield _scaled("energy\n{}", rows["energy_pj"], ENERGY_PJ)
    if compared:
        yield "speed\n-up", "right", [_speedup(value) for value in rows["speedup"]]


def stage_table(result: StepResult, *, width: int = 120) -> Table:
    """A row for each stage, and one for the step."""
    stages = summary.by_stage(result)
    total = result.total
    whole = total["cycles"] or 1

    def column(
        header: str, name: str, units: Units
    ) -> Column:
        values = [*stages[name], total[name]]
        scale = scale_for(values, units)
        return header.format(scale.unit), "right", [scale.text(value) for value in values]

    def percent(header: str, parts: Iterable[float], last: float) -> Column:
        return header, "right", [*map(_percent, parts), _percent(last)]

    cycles = stages["cycles"].where(stages["cycles"] > 0, 1)
    columns: list[Column] = [
        ("stage", "left", [*(f"{s} ({summary.STAGE_TITLES[s]})" for s in stages.index), "step"]),
        ("jobs", "right", [*map(str, stages["jobs"]), str(len(result.layers))]),
        column("{}cycles", "cycles", COUNT),
        percent("share\n%", stages["cycles"] / whole, 1.0),
        percent("util\n%", stages["utilization"], total["utilization"]),
        percent("stall\n%", stages["stall_cycles"] / cycles, total["stall_cycles"] / whole),
        column("DRAM\n{}", "dram_bytes", BYTES),
    ]
    if width >= 90:
        columns.append(column("energy\n{}", "energy_pj", ENERGY_PJ))
    if result.dense is not None:
        columns.append(column("dense\n{}cycles", "dense_cycles", COUNT))
        speedups = [*stages["speedup"], total["speedup"]]
        columns.append(("speed\n-up", "right", [_speedup(value) for value in speedups]))
    return _table("By stage", columns, totals=1)


def total_lines(result: StepResult) -> Text:
    """The step in a few lines: speedup, time, energy, DRAM bytes, and what it waits for."""
    total = result.total
    clock = f"{result.accelerator.clock_mhz:g} MHz"
    text = Text()
    if result.dense is not None:
        text.append(f"{total['speedup']:.2f}x", style="bold green")
        text.append(
            f" as fast as dense training ({total['product_speedup']:.2f}x in the matrix products "
            "alone)\n"
        )
    text.append(
        f"{amount(total['cycles'], COUNT)} cycles, {amount(total['seconds'], SECONDS)} at {clock}"
    )
    if result.dense is not None:
        text.append(f" (dense: {amount(total['dense_cycles'], COUNT)} cycles)")
    text.append(
        f"; {amount(total['energy_pj'], ENERGY_PJ)}, {amount(total['dram_bytes'], BYTES)} of DRAM "
        "traffic\n"
    )
    text.append("Stalls: ")
    waits = {cause: total[f"stall_{cause}_cycles"] for cause in STALLS}
    order = sorted((cause for cause in waits if waits[cause]), key=lambda cause: -waits[cause])
    shares = [
        f"{summary.CAUSE_TITLES[cause]} {_percent(waits[cause] / total['cycles'])} %"
        for cause in order
    ]
    text.append(", ".join(shares) or "none")
    return text


def records_table(
    title: str, records: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> Table:
    """A table of any records.

    Args:
        title: above it.
        records: a row each; a key that is missing or None leaves its cell empty.
        columns: keys to show, and their headers (with units). A column of numbers is aligned to
            the right; integers are shown in full, other numbers with two decimals.
    """

    def cell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return plain(str(value))
        return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"

    shown: list[Column] = []
    for key, header in columns.items():
        values = [record.get(key) for record in records]
        numbers = all(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            for value in values
        )
        shown.append((header, "right" if numbers else "left", [cell(value) for value in values]))
    return _table(title, shown)


def _table(title: str, columns: Iterable[Column], totals: int = 0) -> Table:
    columns = list(columns)
    table = Table(
        title=Text(plain(title)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for header, justify, _ in columns:
        table.add_column(
            Text(header),
            justify="right" if justify == "right" else "left",
            vertical="bottom",
            no_wrap=True,
        )
    rows = list(zip(*(cells for _, _, cells in columns), strict=True))
    for place, row in enumerate(rows):
        last = place == len(rows) - totals - 1 and totals > 0
        style = "bold" if place >= len(rows) - totals else None
        # As `Text`, a layer's name is no markup.
        table.add_row(*map(Text, row), end_section=last, style=style)
    return table


def _scaled(header: str, values: pd.Series[Any], units: Units) -> Column:
    scale = scale_for(values, units)
    return header.format(scale.unit), "right", [scale.text(value) for value in values]


def _percent(share: float) -> str:
    return scale_for([100.0], COUNT).text(100 * share) if share >= 0.9995 else _small(100 * share)


_small: Callable[[float], str] = scale_for([10.0], COUNT).text
"""A percentage below 100, with a decimal."""


def _speedup(value: float) -> str:
    return f"{value:.2f}" if value else "–"
