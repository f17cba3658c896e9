"""The paper's experiment as tables, pictures and files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from nofm.dataflow.methods import METHODS
from nofm.kernels.folder import write_folder
from nofm.simulator.report.tables import records_table
from nofm.simulator.reproduce import (
    ABLATION,
    COMPARED,
    HEADLINE,
    PAPER_SPEEDUP,
    PATTERNS,
    Reproduction,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

AVERAGE = "average"
FORMS: tuple[Literal["png"], Literal["svg"]] = ("png", "svg")


def networks(found: Reproduction) -> list[str]:
    """The networks, in their order."""
    return list(dict.fromkeys(row["network"] for row in found.speedups))


def speedup_records(found: Reproduction) -> list[dict[str, Any]]:
    """A row for each method and pattern: the speedup of each network, and their average."""
    records = []
    for method in COMPARED:
        for pattern in map(str, PATTERNS):
            rows = {
                row["network"]: row["speedup"]
                for row in found.speedups
                if (row["method"], row["pattern"]) == (method, pattern)
            }
            records.append(
                {
                    "method": METHODS[method].title,
                    "pattern": pattern,
                    **rows,
                    AVERAGE: found.average(method, pattern),
                    "products": found.average(method, pattern, "product_speedup"),
                    "bound": found.average(method, pattern, "bound"),
                }
            )
    return records


def ablation_records(found: Reproduction) -> list[dict[str, Any]]:
    """A row for each variant: its speedup over dense training on each network."""
    records = []
    for variant in ABLATION:
        rows = {
            row["network"]: row["speedup"] for row in found.ablation if row["variant"] == variant
        }
        records.append({"variant": variant, **rows, AVERAGE: fmean(rows.values())})
    return records


def sensitivity_records(found: Reproduction) -> list[dict[str, Any]]:
    """A row for each parameter: the average speedup at each value, the largest swing first."""
    base = headline(found)
    by_name: dict[str, dict[str, Any]] = {}
    for row in found.sensitivity:
        record = by_name.setdefault(
            row["parameter"], {"parameter": row["parameter"], "preset": _text(row["preset"])}
        )
        side = "low" if "low" not in record else "high"
        record[side] = _text(row["value"])
        record[f"{side} speedup"] = row["speedup"]
    for record in by_name.values():
        record["swing"] = max(abs(record[f"{side} speedup"] - base) for side in ("low", "high"))
    return sorted(by_name.values(), key=lambda record: -record["swing"])


def headline(found: Reproduction) -> float:
    method, pattern = HEADLINE
    return found.average(method, str(pattern))


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def conclusion(found: Reproduction) -> str:
    """The headline beside the paper's, in one sentence."""
    return (
        f"BDWP at 2:8 trains {headline(found):.2f} times faster than dense training on average "
        f"here; the paper says {PAPER_SPEEDUP:.2f}."
    )


def tables(found: Reproduction) -> Iterator[RenderableType]:
    """The experiment's tables for a terminal."""
    names = {name: name for name in networks(found)}
    yield records_table(
        f"Speedup of a training step over dense training, batch {found.batch}, {found.hardware}",
        speedup_records(found),
        {
            "method": "method",
            "pattern": "N:M",
            **names,
            AVERAGE: AVERAGE,
            "products": "average,\nproducts alone",
            "bound": "average\nMAC bound",
        },
    )
    yield records_table(
        "Speedup of BDWP 2:8 over dense training with all optimisations, as each is left out",
        ablation_records(found),
        {"variant": "variant", **names, AVERAGE: AVERAGE},
    )
    yield records_table(
        f"Average speedup of BDWP 2:8 ({headline(found):.3f}) as one assumed parameter changes",
        [
            record
            | {
                side: f"{record[f'{side} speedup']:.3f} at {record[side]}"
                for side in ("low", "high")
            }
            for record in sensitivity_records(found)
        ],
        {"parameter": "parameter", "preset": "preset", "low": "low", "high": "high"},
    )


def print_tables(found: Reproduction, console: Console) -> None:
    """Print the tables and the conclusion."""
    for table in tables(found):
        console.print(table)
        console.print()
    console.print(conclusion(found))


def markdown(found: Reproduction) -> str:
    """The speedups as the README shows them."""
    rows = speedup_records(found)
    columns = list(rows[0])
    lines = [
        "| "
        + " | ".join(
            {"pattern": "N:M", "products": "products alone", "bound": "MAC bound"}.get(c, c)
            for c in columns
        )
        + " |",
        "|---|---|" + "---:|" * (len(columns) - 2),
    ]
    for row in rows:
        cells = (f"{row[c]:.2f}" if isinstance(row[c], float) else row[c] for c in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(found: Reproduction, folder: str | os.PathLike[str]) -> list[Path]:
    """Write tables (CSV, Markdown), the JSON document and the figures into a folder.

    Raises:
        InputError: the folder cannot be written.
    """
    import pandas as pd

    from nofm.simulator.report import figures, reproduction_figures

    files = {
        "reproduce.json": json.dumps(to_json(found), allow_nan=False, indent=1).encode(),
        "reproduce.md": markdown(found).encode(),
    }
    for name, records in (
        ("speedups", found.speedups),
        ("ablation", found.ablation),
        ("sensitivity", sensitivity_records(found)),
    ):
        text = pd.DataFrame(records).to_csv(index=False, lineterminator="\n")
        files[f"reproduce-{name}.csv"] = text.encode()
    for name, draw in reproduction_figures.FIGURES.items():
        figure = draw(found)
        for form in FORMS:
            files[f"reproduce-{name}.{form}"] = figures.render(figure, form)
    return write_folder(folder, files)


def to_json(found: Reproduction) -> dict[str, Any]:
    """The JSON document of `nofm reproduce`."""
    method, pattern = HEADLINE
    return {
        "schema": "nofm.reproduce/1",
        "paper_speedup": PAPER_SPEEDUP,
        "average_speedup": found.average(method, str(pattern)),
        **asdict(found),
    }
