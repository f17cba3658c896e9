"""Co-design: accuracy against simulated training speedup, of methods and patterns on a network."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.methods import METHODS
from nofm.dataflow.methods import method as find_method
from nofm.kernels.errors import InputError
from nofm.kernels.folder import write_folder
from nofm.kernels.pattern import DENSE, Pattern
from nofm.training import Progress, train
from nofm.workloads.training.run import Recipe

PATTERNS = (Pattern(2, 4), Pattern(2, 8), Pattern(1, 8))
"""Patterns unless others are asked for."""

FIELDS = (
    "method",
    "pattern",
    "accuracy",
    "accuracy_spread",
    "training_macs",
    "inference_macs",
    "speedup",
    "energy_ratio",
    "training_seconds",
    "training_joules",
    "pareto",
)
"""Fields of a point."""


def codesign(
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    methods: Sequence[str] = (),
    patterns: Sequence[Pattern] = PATTERNS,
    seeds: Sequence[int] = (0, 1, 2),
    folder: Path | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and simulate every method with every pattern, and dense training.

    Args:
        recipe: with any method and pattern.
        methods: by name; all of them where none is named.
        patterns: N:M, at least one.
        accelerator, seeds, folder, threads, progress: as `nofm.training.train`.

    Returns:
        The document that `nofm codesign --json` prints (docs/json.md).

    Raises:
        InputError: as `nofm.training.train`.
    """
    if not patterns:
        raise InputError("codesign needs at least one pattern, not none")
    chosen = [find_method(name) for name in methods or METHODS]
    todo = [(METHODS["dense"], DENSE)]
    todo += [(each, own) for each in chosen if each.name != "dense" for own in patterns]
    documents = []
    for done, (method, pattern) in enumerate(todo):
        if progress is not None:
            progress(f"{method.name} {pattern}", done, len(todo))
        one = replace(recipe, method=method, pattern=pattern)
        documents.append(train(one, accelerator, seeds=seeds, folder=folder, threads=threads))
    points = [{name: each.get(name) for name in FIELDS} for each in documents]
    for point in points:
        point["pareto"] = not any(dominates(other, point) for other in points)
    described = {
        key: value
        for key, value in recipe.describe().items()
        if key not in ("method", "settings", "pattern", "seed")
    }
    return {
        "schema": "nofm.codesign/1",
        **described,
        "hardware": accelerator.name,
        "seeds": list(seeds),
        "dense_training_macs": documents[0]["dense_training_macs"],
        "dense_inference_macs": documents[0]["dense_inference_macs"],
        "points": points,
        "trainings": documents,
    }


def dominates(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether `left` is at least as accurate and as fast, and better in one of both. What was not
    simulated dominates nothing, and counts as slower than everything that was."""
    fast, other = (point["speedup"] or 0.0 for point in (left, right))
    if fast == 0.0:
        return False
    ahead = left["accuracy"] - right["accuracy"], fast - other
    return min(ahead) >= 0 and max(ahead) > 0


def table_csv(document: Mapping[str, Any]) -> str:
    """The points as CSV, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(document["points"])
    return text.getvalue()


def write(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write codesign.json, codesign.csv, and the picture as PNG and SVG.

    Raises:
        InputError: the folder cannot be written.
    """
    from nofm.codesign_figure import figure
    from nofm.simulator.report import figures

    drawn = figure(document)
    files = {
        "codesign.json": json.dumps(document, allow_nan=False).encode() + b"\n",
        "codesign.csv": table_csv(document).encode(),
        "codesign.png": figures.render(drawn, "png"),
        "codesign.svg": figures.render(drawn, "svg"),
    }
    return write_folder(folder, files)
