"""Accuracy by method and pattern: given in the space, or measured by `nofm codesign`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nofm.dataflow.methods import method as find_method
from nofm.explore.values import plain, shown
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads.bounded_file import read_bytes

MAX_FILE_BYTES = 1 << 28

Accuracies = dict[tuple[str, str], float]
"""From 0 to 1, by method and pattern; dense training is ("dense", "dense")."""


def read(table: Mapping[str, Any]) -> Accuracies:
    """The accuracies of an `[accuracy]` table: `file`, or numbers by method and pattern.

    Raises:
        InputError: the file or an entry cannot be used.
    """
    if "file" in table:
        if len(table) > 1 or not isinstance(table["file"], str):
            raise InputError("accuracy must have a file or methods, one of both")
        return _from_file(Path(table["file"]))
    points = []
    for method, entry in table.items():
        if not isinstance(entry, Mapping):
            entry = {"dense": entry}
        points += [(method, pattern, plain(value)) for pattern, value in entry.items()]
    return _from_points(points, "accuracy")


def of(accuracies: Mapping[tuple[str, str], float], method: str, pattern: str) -> float | None:
    """Accuracy of a method with a pattern, None where it is not given."""
    if method == "dense" or pattern == "dense":
        return accuracies.get(("dense", "dense"))
    return accuracies.get((method, pattern))


def _from_file(path: Path) -> Accuracies:
    data = read_bytes(path, "a file of accuracies", MAX_FILE_BYTES)
    try:
        if path.suffix == ".json":
            rows = json.loads(data)["points"]
            points = [(row["method"], row["pattern"], row["accuracy"]) for row in rows]
        elif path.suffix == ".csv":
            table = csv.DictReader(io.StringIO(data.decode("utf-8")))
            points = [(r["method"], r["pattern"], float(r["accuracy"])) for r in table]
        else:
            raise InputError(f"a file of accuracies is codesign.json or a CSV, not {path.name!r}")
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error):
        raise InputError(
            f"{path}: not a codesign.json, nor a CSV with method, pattern and accuracy"
        ) from None
    return _from_points(points, str(path))


def _from_points(points: Iterable[tuple[Any, Any, Any]], source: str) -> Accuracies:
    found: Accuracies = {}
    for method, pattern, value in points:
        name = find_method(str(method)).name
        parsed = Pattern.parse(str(pattern))
        if (name == "dense") != parsed.dense:
            raise InputError(
                f"{source}: dense training, and it alone, is dense, not {name} {parsed}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise InputError(
                f"{source}: {name} {pattern} must be a number from 0 to 1, not {shown(value)}"
            )
        key = (name, "dense" if parsed.dense else str(parsed))
        if key in found:
            raise InputError(f"{source}: {name} {pattern} is given twice")
        found[key] = float(value)
    if not found:
        raise InputError(f"{source}: at least one accuracy is needed, not none")
    return found
