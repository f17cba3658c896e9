"""A simulated step as one page of HTML that needs nothing else: no network, no other file.

The page's frame, style and script stand beside this file; here they are filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib import metadata
from string import Template
from typing import TYPE_CHECKING, Any

from nofm.simulator.report import figures, summary
from nofm.simulator.report.gallery import CAPTIONS
from nofm.simulator.report.page_parts import (
    asset,
    card,
    copyable,
    definitions,
    inline_figure,
    policy,
    text,
)
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
)
from nofm.simulator.result import STALLS, TENSORS, StepResult

if TYPE_CHECKING:
    import pandas as pd

_PERCENT = Scale("%", 0.01, 1)
_RATIO = Scale("", 1, 2)


def page(result: StepResult, svg: Mapping[str, bytes], *, command: str = "") -> str:
    """The page.

    Args:
        result: the step.
        svg: its figures by name, as SVG files.
        command: what to run to get the same again; left out when empty.
    """
    script = asset("page.js") + asset("copy.js")
    stages = dict.fromkeys(result.layers["stage"])
    accelerator = result.accelerator
    return Template(asset("page.html")).substitute(
        title=text(summary.title(result)),
        policy=policy(script),
        style=asset("page.css"),
        workload=text(result.workload),
        lead=text(_lead(result)),
        cards=_cards(result),
        stages=_stage_table(result),
        figures="\n".join(inline_figure(name, data, CAPTIONS[name]) for name, data in svg.items()),
        legend=_legend(result.layers),
        stage_options="".join(f"<option>{text(stage)}</option>" for stage in stages),
        jobs=_job_table(result),
        glossary=definitions(_glossary(result)),
        simulated=definitions(_simulated(result)),
        notes=_notes(result.notes),
        command=_command(command),
        accelerator=text(accelerator.name),
        toml=copyable(accelerator.to_toml()),
        version=text(metadata.version("nofm")),
        script=script,
    )


def _lead(result: StepResult) -> str:
    what = "One matrix product"
    if not summary.of_product(result):
        what = f"One training step, batch {result.batch}"
    return f"{what}, {summary.variant(result)}, on {result.accelerator.name}"


def _cards(result: StepResult) -> str:
    total, dense = result.total, result.dense.total if result.dense else None

    def against(name: str, units: Units) -> str:
        return f"dense: {amount(dense[name], units)}" if dense else ""

    cards = [
        ("time", amount(total["seconds"], SECONDS), against("seconds", SECONDS)),
        ("cycles", amount(total["cycles"], COUNT), against("cycles", COUNT)),
        (
            "utilisation",
            f"{_PERCENT.text(total['utilization'])} %",
            "effective MACs over USPE-cycles",
        ),
        ("energy", amount(total["energy_pj"], ENERGY_PJ), against("energy_pj", ENERGY_PJ)),
        ("DRAM traffic", amount(total["dram_bytes"], BYTES), against("dram_bytes", BYTES)),
    ]
    lines = [card(*one) for one in cards]
    if dense:
        products = "over dense"
        if not summary.of_product(result):
            products += f"; products alone: {total['product_speedup']:.2f}×"
        lines.insert(0, card("speedup", f"{total['speedup']:.2f}×", products, "main"))
    return "\n".join(lines)


def _table(columns: Iterable[tuple[str, list[str]]], *, sortable: bool, totals: int = 0) -> str:
    """A table of ready cells; the first column heads the rows."""
    columns = list(columns)
    names = [name for name, _ in columns]
    rows = list(zip(*(cells for _, cells in columns), strict=True))
    heads = []
    for place, (name, cells) in enumerate(columns):
        label = f'<button type="button">{name}</button>' if sortable else name
        left = ' class="text"' if place == 0 or "text" in "".join(cells[:1]) else ""
        heads.append(f'<th scope="col"{left}>{label}</th>')
    cycles = next(place for place, name in enumerate(names) if name.endswith("cycles"))
    lines = [f'<table data-cycles="{cycles}">', f"<thead><tr>{''.join(heads)}</tr></thead>"]
    lines.append("<tbody>")
    for place, row in enumerate(rows):
        total = ' class="total"' if place >= len(rows) - totals else ""
        lines.append(f"<tr{total}>{''.join(row)}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def _heads(values: Iterable[object]) -> list[str]:
    return [f'<th scope="row" class="text">{text(value)}</th>' for value in values]


def _texts(values: Iterable[object]) -> list[str]:
    return [f'<td class="text">{text(value)}</td>' for value in values]


def _numbers(values: Iterable[float], scale: Scale, *, none: str = "0") -> list[str]:
    return [
        f'<td data-v="{value}">{escape(scale.text(value)) if value else none}</td>'
        for value in values
    ]


def _stage_table(result: StepResult) -> str:
    stages, total = summary.by_stage(result), result.total
    names = [*(f"{stage} ({summary.STAGE_TITLES[stage]})" for stage in stages.index), "step"]

    def scaled(head: str, name: str, units: Units) -> tuple[str, list[str]]:
        values = [*stages[name].tolist(), total[name]]
        scale = scale_for(values, units)
        return head.format(scale.unit), _numbers(values, scale)

    def shares(head: str, name: str) -> tuple[str, list[str]]:
        whole = [*stages["cycles"].tolist(), total["cycles"]]
        parts = [*stages[name].tolist(), total[name]]
        values = [part / of if of else 0.0 for part, of in zip(parts, whole, strict=True)]
        return head, _numbers(values, _PERCENT)

    step = total["cycles"] or 1
    share = [*(stages["cycles"] / step).tolist(), 1.0]
    columns = [
        ("stage", _heads(names)),
        ("jobs", _numbers([*stages["jobs"].tolist(), len(result.layers)], Scale("", 1, 0))),
        scaled("{}cycles", "cycles", COUNT),
        ("share\n%", _numbers(share, _PERCENT)),
        (
            "utilisation\n%",
            _numbers([*stages["utilization"].tolist(), total["utilization"]], _PERCENT, none="–"),
        ),
        shares("stalled\n%", "stall_cycles"),
        scaled("DRAM\n{}", "dram_bytes", BYTES),
        scaled("energy\n{}", "energy_pj", ENERGY_PJ),
    ]
    if result.dense is not None:
        columns.append(scaled("dense\n{}cycles", "dense_cycles", COUNT))
        speedups = [*stages["speedup"].tolist(), total["speedup"]]
        columns.append(("speedup", _numbers(speedups, _RATIO, none="–")))
    return _table(columns, sortable=False, totals=1)


def _job_table(result: StepResult) -> str:
    rows = result.layers

    def scaled(head: str, name: str, units: Units) -> tuple[str, list[str]]:
        scale = scale_for(rows[name], units)
        return head.format(scale.unit), _numbers(rows[name].tolist(), scale, none="–")

    def whole(head: str, name: str) -> tuple[str, list[str]]:
        return head, _numbers(rows[name].tolist(), Scale("", 1, 0))

    stalled = (rows["stall_cycles"] / rows["cycles"]).tolist()
    moved = [f"dram_{tensor}_bytes" for tensor in TENSORS]
    scale = scale_for(rows["dram_bytes"], BYTES)
    causes = [summary.CAUSE_TITLES.get(cause, "") for cause in summary.top_causes(rows)]
    columns = [
        ("layer", _heads(rows["layer"])),
        ("stage", _texts(rows["stage"])),
        scaled("{}cycles", "cycles", COUNT),
        ("cycles by use", _bars(rows)),
        ("util.\n%", _numbers(rows["utilization"].tolist(), _PERCENT, none="–")),
        ("stalled\n%", _numbers(stalled, _PERCENT)),
        ("mostly", _texts(causes)),
        ("N:M", _texts(rows["pattern"])),
        ("on", _texts(rows["dataflow"])),
        ("tile", _texts(rows["tile"])),
        whole("M", "m"),
        whole("K", "k"),
        whole("N", "n"),
        whole("count", "count"),
        (f"DRAM\n{scale.unit}", _numbers(rows["dram_bytes"].tolist(), scale)),
        *(
            (
                f"{summary.TENSOR_SYMBOLS[tensor]}\n{scale.unit}",
                _numbers(rows[name].tolist(), scale, none="–"),
            )
            for tensor, name in zip(TENSORS, moved, strict=True)
        ),
        scaled("energy\n{}", "energy_pj", ENERGY_PJ),
    ]
    if result.dense is not None:
        speedups = _numbers(rows["speedup"].tolist(), _RATIO, none="–")
        columns.insert(2, ("speedup", speedups))
    return _table(columns, sortable=True)


def _parts(row: Mapping[str, Any]) -> dict[str, int]:
    engine = "array" if row["macs"] > 0 else "engine"
    return {engine: row["compute_cycles"]} | {
        cause: row[f"stall_{cause}_cycles"] for cause in STALLS
    }


_PART_COLOURS = figures.COMPUTE_COLOURS | figures.CAUSE_COLOURS
_PART_TITLES = {"array": "array computes", "engine": "another engine computes"} | {
    cause: f"stall: {title}" for cause, title in summary.CAUSE_TITLES.items()
}


def _bars(rows: pd.DataFrame) -> list[str]:
    cells = []
    for row in summary.records(rows):
        pieces = []
        for part, cycles in _parts(row).items():
            share = 100 * cycles / row["cycles"]
            if share >= 0.5:
                colour = _PART_COLOURS[part]
                pieces.append(f'<i style="width:{share:.1f}%;background:{colour}"></i>')
        share = row["stall_cycles"] / row["cycles"]
        cells.append(f'<td data-v="{share}"><span class="bar">{"".join(pieces)}</span></td>')
    return cells


def _legend(rows: pd.DataFrame) -> str:
    used = {part for row in summary.records(rows) for part, n in _parts(row).items() if n}
    return "\n".join(
        f'<li><i style="background:{colour}"></i>{text(_PART_TITLES[part])}</li>'
        for part, colour in _PART_COLOURS.items()
        if part in used
    )


def _glossary(result: StepResult) -> dict[str, str]:
    words = {
        "utilisation": "multiply-accumulates on kept elements over cycles times USPEs",
        "speedup": "cycles of the same work trained dense, over cycles",
    }
    words |= {
        stage: f"stage: {title}"
        for stage, title in summary.STAGE_TITLES.items()
        if stage in set(result.layers["stage"])
    }
    words |= {summary.CAUSE_TITLES[cause]: f"stall: {text}" for cause, text in STALLS.items()}
    words |= {summary.TENSOR_SYMBOLS[tensor]: f"DRAM: {text}" for tensor, text in TENSORS.items()}
    return words


def _simulated(result: StepResult) -> dict[str, str]:
    array = result.accelerator.array
    options = {
        name: value if isinstance(value, str) else "on" if value else "off"
        for name, value in result.optimizations.items()
    }
    return {
        "workload": result.workload,
        "batch": str(result.batch),
        "method": result.method,
        "pattern": result.pattern,
        **options,
        "accelerator": result.accelerator.name,
        "array": f"{array.rows} x {array.columns} USPEs at {result.accelerator.clock_mhz:g} MHz",
        "DRAM": f"{result.accelerator.dram.bandwidth_gbps:g} GB/s",
    }


def _notes(notes: Iterable[str]) -> str:
    lines = "\n".join(f"<li>{text(note)}</li>" for note in notes)
    return f"<h3>Notes and assumptions</h3>\n<ul>\n{lines}\n</ul>" if lines else ""


def _command(command: str) -> str:
    if not command:
        return ""
    return f"<h3>To get the same again</h3>\n{copyable(plain(command))}"
