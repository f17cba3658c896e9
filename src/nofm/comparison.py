"""Files of measured results, compared with a processor's predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nofm.kernels import results_file
from nofm.kernels.errors import InputError
from nofm.kernels.folder import write_folder
from nofm.simulator.processors import comparison, description
from nofm.simulator.processors.calibration import calibrate as fit
from nofm.simulator.processors.description import Cpu, Gpu

KINDS = {"cpu": Cpu, "arm": Cpu, "cuda": Gpu}
"""Of a results file's device, the kind of processor that it can be compared with."""


def compare(
    results: Path, hardware: str, calibrate: Path | None = None
) -> tuple[dict[str, Any], Cpu | Gpu]:
    """The document `nofm.compare/1`, and the processor, calibrated if that was asked for.

    Args:
        results: a file of `nofm bench`.
        hardware: a processor's name or TOML file.
        calibrate: another such file, to fit the processor's factors to.

    Raises:
        InputError: a file cannot be used, or is of another kind of device.
    """
    processor = description.load(hardware)
    measured = _read(results, processor)
    notes = []
    if calibrate is not None:
        other = _read(calibrate, processor)
        if other["machine"].get("cpu") != measured["machine"].get("cpu"):
            notes.append("the model was fitted to results of another machine")
        processor = fit(processor, other["results"], calibrate.name)
        shapes = {_shape(row) for row in other["results"]}
        again = sum(_shape(row) in shapes for row in measured["results"])
        if again:
            notes.append(f"{again} of the products were seen by the fit")
    document = comparison.compare(processor, measured["results"])
    if processor.calibration.source == "none":
        notes.append("the model is not calibrated: its times are those of data sheets")
    document["notes"] = notes
    return document, processor


def _shape(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("m", "k", "n"))


def _read(path: Path, processor: Cpu | Gpu) -> dict[str, Any]:
    document = results_file.read(path)
    device = document.get("device")
    if KINDS.get(str(device)) is not type(processor):
        raise InputError(f"{path} was measured on device {device!r}, which {processor.name} is not")
    if not document["results"]:
        raise InputError(f"{path} has no results")
    return document


def write(document: Mapping[str, Any], processor: Cpu | Gpu, folder: Path) -> list[Path]:
    """Write compare.json, compare.csv, the picture as PNG and SVG, and processor.toml.

    Raises:
        InputError: the folder cannot be written.
    """
    from nofm.simulator.report import comparison_figure, figures

    drawn = comparison_figure.figure(document)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(document["results"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(document["results"])
    files = {
        "compare.json": json.dumps(document, allow_nan=False).encode() + b"\n",
        "compare.csv": text.getvalue().encode(),
        "compare.png": figures.render(drawn, "png"),
        "compare.svg": figures.render(drawn, "svg"),
        "processor.toml": description.to_toml(processor).encode(),
    }
    return write_folder(folder, files)
