"""The arrays that the resource model is fitted to, and checked with; `python -m` measures them.

    python -m nofm.rtl.synthesis.samples [FOLDER]

synthesizes them all again for xcup (about a minute each), keeps logs in FOLDER, and replaces the
table `stce.csv` beside this file.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from itertools import cycle
from pathlib import Path

from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis.families import KINDS, Resources

FAMILY = "xcup"
TABLE = "stce.csv"

BASE = Geometry(
    rows=2,
    columns=2,
    sums=8,
    registers=4,
    group=16,
    port=8,
    multiplier_cycles=2,
    adder_cycles=4,
    accumulator_cycles=2,
    accumulator_words=2048,
)
"""The array of the presets, at 2 x 2."""

SIZES = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (4, 1), (3, 3))
"""Rows and columns at which `BASE` is fitted."""

PARAMETERS: tuple[dict[str, int], ...] = (
    {"group": 8},
    {"group": 32},
    {"port": 2},
    {"port": 16},
    {"registers": 2},
    {"registers": 8},
    {"sums": 4},
    {"sums": 32},
    {"adder_cycles": 2},
    {"adder_cycles": 6},
    {"multiplier_cycles": 1},
    {"multiplier_cycles": 3},
    {"accumulator_words": 8192},
)
"""What is changed in `BASE`; by turns, each is fitted at 1 x 2 and at 2 x 1."""

KEPT_OUT: tuple[dict[str, int], ...] = (
    {"rows": 4, "columns": 4},
    {"rows": 6, "columns": 6, "accumulator_words": 4096},
    {"rows": 8, "columns": 8},
    {"rows": 4, "columns": 4, "group": 8, "registers": 2, "port": 4, "sums": 4},
    {"rows": 3, "columns": 5, "group": 32, "registers": 8, "sums": 16, "adder_cycles": 6},
)
"""What is changed in `BASE` for arrays that the fit never sees."""


@dataclass(frozen=True)
class Sample:
    """A synthesized array: its geometry, whether the fit may see it, and what it takes."""

    geometry: Geometry
    fitted: bool
    resources: Resources


def plan() -> Iterator[tuple[Geometry, bool]]:
    """Geometries to synthesize, and whether the fit may see each."""
    for rows, columns in SIZES:
        yield replace(BASE, rows=rows, columns=columns), True
    for changes, (rows, columns) in zip(PARAMETERS, cycle(((1, 2), (2, 1))), strict=False):
        yield replace(BASE, rows=rows, columns=columns, **changes), True
    for changes in KEPT_OUT:
        yield replace(BASE, **changes), False


def measure(geometry: Geometry, folder: Path) -> Resources:
    """Synthesize one array in `folder`.

    Raises:
        InputError: Yosys is not installed, or failed.
    """
    from nofm.rtl.hierarchy import modules
    from nofm.rtl.stce.stce import Stce
    from nofm.rtl.synthesis.synthesize import synthesize

    unit = Stce(geometry)
    return synthesize(modules(unit), unit.module_name, FAMILY, folder).resources


def write(samples: list[Sample], path: Path) -> None:
    """Write samples as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_GEOMETRY, "fitted", *KINDS])
    for sample in samples:
        counts = (f"{value:g}" for value in sample.resources.values())
        writer.writerow([*asdict(sample.geometry).values(), int(sample.fitted), *counts])
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text.getvalue(), "utf-8")
    os.replace(temporary, path)


def stored() -> list[Sample]:
    """The samples of the table that comes with NofM."""
    text = resources.files("nofm.rtl.synthesis").joinpath(TABLE).read_text("utf-8")
    return [
        Sample(
            Geometry(**{name: int(row[name]) for name in _GEOMETRY}),
            row["fitted"] == "1",
            Resources(**{kind: float(row[kind]) for kind in KINDS}),
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


def beyond(geometry: Geometry) -> list[str]:
    """Parameters of a geometry, but for rows and columns, outside those that the fit saw."""
    found = []
    fitted = [asdict(sample.geometry) for sample in stored() if sample.fitted]
    for name, value in asdict(geometry).items():
        seen = [known[name] for known in fitted]
        if name not in ("rows", "columns") and not min(seen) <= value <= max(seen):
            found.append(f"{name} {value} is outside {min(seen)} to {max(seen)}")
    return found


_GEOMETRY = [entry.name for entry in fields(Geometry)]


def main() -> None:
    """Measure the whole plan and replace the stored table."""
    from rich.progress import track

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="nofm-"))
    samples = [
        Sample(geometry, fitted, measure(geometry, folder / f"{number:02}"))
        for number, (geometry, fitted) in enumerate(track(list(plan()), "Synthesizing arrays"))
    ]
    write(samples, Path(__file__).with_name(TABLE))


if __name__ == "__main__":
    main()
