"""A simulated step as files, and as the JSON document of the command line."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import unknown
from nofm.kernels.folder import write_folder
from nofm.simulator.report import figures, html, summary, timeline
from nofm.simulator.report.gallery import step_figures
from nofm.simulator.result import ENERGIES, STALLS, TENSORS, StepResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "nofm.step/1"

Ablation = Sequence[tuple[str, StepResult | Mapping[str, Any]]]
"""Labels with the step simulated that way, or its total; see `ablation.ablation_figure`."""


def to_json(result: StepResult) -> dict[str, Any]:
    """The step as one document of plain values; docs/json.md lists its fields."""
    return {
        "schema": SCHEMA,
        "workload": result.workload,
        "batch": result.batch,
        "method": result.method,
        "pattern": result.pattern,
        "optimizations": dict(result.optimizations),
        "hardware": result.accelerator.to_document(),
        "total": dict(result.total),
        "layers": [_job(row) for row in summary.records(result.layers)],
        "notes": list(result.notes),
    }


def _job(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the columns of a split gathered in one object."""
    splits = {
        "stalls": {cause: row.pop(f"stall_{cause}_cycles") for cause in STALLS},
        "dram_bytes_by_tensor": {tensor: row.pop(f"dram_{tensor}_bytes") for tensor in TENSORS},
        "energy_pj_by_part": {part: row.pop(f"energy_{part}_pj") for part in ENERGIES},
    }
    return row | splits


def write(
    result: StepResult,
    folder: str | os.PathLike[str],
    formats: Iterable[str] | None = None,
    *,
    ablation: Ablation = (),
    command: str = "",
) -> list[Path]:
    """Write the step into a folder: everything, or nothing when something fails.

    Args:
        result: the step.
        folder: where to; it is made if need be, and files in it of the same names are replaced.
        formats: some of `FORMATS`; all when None.
        ablation: adds a figure of the dataflow optimisations.
        command: what to run to get the same again, for the page.

    Returns:
        Paths of the files.

    Raises:
        InputError: an unknown format, or a folder that cannot be written.
    """
    wanted = list(FORMATS) if formats is None else list(dict.fromkeys(formats))
    for name in wanted:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    export = _Export(result, ablation, command)
    files: dict[str, bytes] = {}
    for name in wanted:
        files |= FORMATS[name](export)
    return write_folder(folder, files)


class _Export:
    """What the formats draw on. Figures are drawn when first asked for, and once."""

    def __init__(self, result: StepResult, ablation: Ablation, command: str) -> None:
        self.result = result
        self.command = command
        self._ablation = ablation
        self._figures: dict[str, Figure] | None = None
        self._svg: dict[str, bytes] | None = None

    def figures(self) -> dict[str, Figure]:
        if self._figures is None:
            self._figures = step_figures(self.result, self._ablation)
        return self._figures

    def svg(self) -> dict[str, bytes]:
        if self._svg is None:
            self._svg = {k: figures.render(v, "svg") for k, v in self.figures().items()}
        return self._svg


def _csv(export: _Export) -> dict[str, bytes]:
    text = export.result.layers.to_csv(index=False, lineterminator="\n")
    return {"layers.csv": text.encode()}


def _parquet(export: _Export) -> dict[str, bytes]:
    data = io.BytesIO()
    export.result.layers.to_parquet(data, index=False)
    return {"layers.parquet": data.getvalue()}


def _json(export: _Export) -> dict[str, bytes]:
    return {"step.json": _document(to_json(export.result), indent=1)}


def _toml(export: _Export) -> dict[str, bytes]:
    return {"hardware.toml": export.result.accelerator.to_toml().encode()}


def _png(export: _Export) -> dict[str, bytes]:
    return {f"{k}.png": figures.render(v, "png") for k, v in export.figures().items()}


def _svg(export: _Export) -> dict[str, bytes]:
    return {f"{name}.svg": data for name, data in export.svg().items()}


def _timeline(export: _Export) -> dict[str, bytes]:
    return {"timeline.json": _document(timeline.to_timeline(export.result), indent=None)}


def _html(export: _Export) -> dict[str, bytes]:
    page = html.page(export.result, export.svg(), command=export.command)
    return {"report.html": page.encode()}


def _document(content: Any, indent: int | None) -> bytes:
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, indent=indent)
    return (text + "\n").encode()


FORMATS: dict[str, Callable[[_Export], dict[str, bytes]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "json": _json,
    "toml": _toml,
    "png": _png,
    "svg": _svg,
    "timeline": _timeline,
    "html": _html,
}
"""Every kind of file, and what makes its files' contents by name."""
