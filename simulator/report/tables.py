"""Tables of a simulated step, or of any records, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import Box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nofm.simulator.report import summary
from nofm.simulator.report.units import (
    BYTES,
    COUNT,
    ENERGY_PJ,
    SECONDS,
    Scale,
    Units,
    amount,
    plain,
    scale_for,
    shorten,
)
from nofm.simulator.result import STALLS, TENSORS, StepResult

if TYPE_CHECKING:
    import pandas as pd

COSTLIEST = 20
"""Kinds of jobs that are shown unless every job is asked for."""

NAME_WIDTH = 16
"""Least width of the column of layers; where the rest leaves less, there are fewer columns."""

RULES = Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")
"""Lines below the header and above a total, nothing else."""

Column = tuple[str, str, list[str]]
"""Header, "left" or "right", and cells."""


def step_tables(result: StepResult, *, width: int = 120, all_rows: bool = False) -> RenderableType:
    """The tables of a step: its jobs, its stages, its total, and what was assumed.

    Args:
        result: the step.
        width: columns of the terminal; a narrow one gets the more important figures only.
        all_rows: show every job in order, not the costliest kinds.
    """
    return Group(
        job_table(result, width=width, all_rows=all_rows),
        "",
        stage_table(result, width=width),
        "",
        total_lines(result),
        *(Text(f"- {plain(note)}") for note in result.notes),
    )


def job_table(result: StepResult, *, width: int = 120, all_rows: bool = False) -> Table:
    """Every job in order of execution, or the `COSTLIEST` kinds.

    Jobs that differ in nothing but their layer are of one kind and share a row, which gives their
    sums; networks repeat blocks, and the same few rows would else fill the table.
    """
    rows, title = result.layers.assign(jobs=1), "every job, in order"
    if not all_rows:
        kinds = _kinds(rows)
        rows = kinds.nlargest(COSTLIEST, "cycles")
        share = rows["cycles"].sum() / kinds["cycles"].sum()
        title = f"{_count(len(kinds), 'kind')} of job ({_count(len(result.layers), 'job')})"
        if len(rows) < len(kinds):
            title = f"the {len(rows)} costliest of {title}, {share:.0%} of the cycles"
    for detail, gap in ((3, 2), (3, 1), (2, 2), (2, 1), (1, 1), (0, 1)):
        columns = list(_job_columns(rows, result.dense is not None, detail))
        room = width - sum(_width(column) + gap for column in columns)
        if room >= NAME_WIDTH:
            break
    names = [
        shorten(plain(name), max(room, NAME_WIDTH) - len(more)) + more
        for name, more in zip(
            rows["layer"], [f" x{n}" if n > 1 else "" for n in rows["jobs"]], strict=True
        )
    ]
    columns.insert(0, ("layer", "left", names))
    return text_table(f"{summary.title(result)}: {title}", columns, gap=gap)


def _kinds(rows: pd.DataFrame) -> pd.DataFrame:
    sums = [
        name
        for name in rows.columns
        if name.endswith(("cycles", "_bytes", "_pj")) or name in ("jobs", "considered")
    ]
    apart = [name for name in rows.columns if name not in (*sums, "layer", "start_cycle")]
    same = rows.groupby([*apart, "cycles"], sort=False)
    kinds = same[[name for name in sums if name != "cycles"]].sum()
    kinds["layer"] = same["layer"].first()
    kinds = kinds.reset_index()
    kinds["cycles"] *= kinds["jobs"]
    return kinds


def _job_columns(rows: pd.DataFrame, compared: bool, detail: int) -> Iterable[Column]:
    yield "stage", "left", list(rows["stage"])
    if detail >= 1:
        patterns = ["–" if text == "dense" else text for text in rows["pattern"]]
        yield "N:M", "left", patterns
        yield "on", "left", list(rows["dataflow"])
    if detail >= 2:
        yield "tile", "left", [tile.replace(" ", "") for tile in rows["tile"]]
    yield _scaled("{}cycles", rows["cycles"], COUNT)
    yield "util\n%", "right", [_percent(share) if share else "–" for share in rows["utilization"]]
    shares = rows["stall_cycles"] / rows["cycles"]
    yield "stall\n%", "right", [_percent(share) for share in shares]
    causes = summary.top_causes(rows)
    yield "mostly", "left", [summary.CAUSE_TITLES.get(cause, "") for cause in causes]
    if detail >= 3:
        scale = scale_for(rows[[f"dram_{tensor}_bytes" for tensor in TENSORS]].max(), BYTES)
        for tensor, symbol in summary.TENSOR_SYMBOLS.items():
            moved = rows[f"dram_{tensor}_bytes"]
            if moved.any():
                cells = [scale.text(count) if count else "–" for count in moved]
                yield f"{symbol}\n{scale.unit}", "right", cells
    else:
        yield _scaled("DRAM\n{}", rows["dram_bytes"], BYTES)
    if detail >= 1:
        yield _scaled("energy\n{}", rows["energy_pj"], ENERGY_PJ)
    if compared:
        yield "speed\n-up", "right", [_speedup(value) for value in rows["speedup"]]


def stage_table(result: StepResult, *, width: int = 120) -> Table:
    """A row for each stage, and one for the step."""
    stages = summary.by_stage(result)
    total = result.total
    whole = total["cycles"] or 1

    def column(header: str, name: str, units: Units) -> Column:
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
    return text_table("By stage", columns, totals=1)


def total_lines(result: StepResult) -> Text:
    """The step in a few lines: speedup, time, energy, DRAM bytes, and what it waits for."""
    total = result.total
    clock = f"{result.accelerator.clock_mhz:g} MHz"
    text = Text()
    if result.dense is not None:
        text.append(f"{total['speedup']:.2f}x", style="bold green")
        products = f"{total['product_speedup']:.2f}x in the matrix products alone"
        text.append(
            " as fast as the dense product\n"
            if summary.of_product(result)
            else f" as fast as dense training ({products})\n"
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
            the right; integers are shown in full, other numbers with two decimals. Where the
            terminal is too narrow, text is folded, and nothing is left out.
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
    return text_table(title, shown, wrap=True)


def text_table(
    title: str, columns: Sequence[Column], *, totals: int = 0, gap: int = 2, wrap: bool = False
) -> Table:
    """A table of columns that are texts already.

    Args:
        title: above it.
        columns: headers, how they are aligned, and cells.
        totals: rows at the end that are sums, below a line.
        gap: spaces between columns.
        wrap: fold what is too wide, in place of leaving it out.
    """
    table = Table(
        title=Text(plain(title)),
        title_justify="left",
        title_style="bold",
        box=RULES,  # its divider is one of the spaces between columns
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    tallest = max((header.count("\n") for header, _, _ in columns), default=0)
    for header, justify, _ in columns:
        right = justify == "right"
        table.add_column(
            Text("\n" * (tallest - header.count("\n")) + header),
            justify="right" if right else "left",
            no_wrap=right or not wrap,
            overflow="fold" if wrap else "ellipsis",
        )
    rows = list(zip(*(cells for _, _, cells in columns), strict=True))
    for place, row in enumerate(rows):
        last = place == len(rows) - totals - 1 and totals > 0
        style = "bold" if place >= len(rows) - totals else None
        # As `Text`, a layer's name is no markup.
        table.add_row(*map(Text, row), end_section=last, style=style)
    return table


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _width(column: Column) -> int:
    header, _, cells = column
    return max(map(cell_len, [*header.split("\n"), *cells]))


def _scaled(header: str, values: pd.Series[Any], units: Units) -> Column:
    scale = scale_for(values, units)
    return header.format(scale.unit), "right", [scale.text(value) for value in values]


def _percent(share: float) -> str:
    return "100" if share >= 0.9995 else Scale("%", 0.01, 1).text(share)


def _speedup(value: float) -> str:
    return f"{value:.2f}" if value else "–"
