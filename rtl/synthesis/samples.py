"""The parts that the resource models are fitted to, and the engines they are checked with.

    python -m nofm.rtl.synthesis.samples [FOLDER]

synthesizes them all again for xcup (about half an hour), keeps logs in FOLDER, and replaces the
table `counts.csv` beside this file.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from nofm.rtl.synthesis.families import KINDS, Resources
from nofm.rtl.synthesis.parts import ALL, REST, Parameters, measure

TABLE = "counts.csv"

BASE: dict[str, dict[str, int]] = {
    "stce": dict(
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
    ),
    "sore": dict(lanes=4, entries=4, group=16, latency_cycles=4),
    "wuve": dict(lanes=4, latency_cycles=24),
}
"""The engines of the presets, small; every sample is one of these with some values changed."""

COUNTED = ("rows", "columns", "lanes")
"""Parameters that say how often parts stand, and hardly more."""

Changes = tuple[dict[str, int], ...]

FITTED: dict[tuple[str, str], Changes] = {
    ("stce", "uspe"): (
        {},
        {"group": 2, "registers": 2, "sums": 2},
        {"group": 4, "adder_cycles": 1},
        {"group": 8, "adder_cycles": 2},
        {"group": 24, "adder_cycles": 6},
        {"group": 32, "adder_cycles": 3},
        {"group": 64, "adder_cycles": 5},
        {"group": 128, "adder_cycles": 7},
        {"registers": 1, "multiplier_cycles": 1},
        {"registers": 2, "multiplier_cycles": 3},
        {"registers": 8, "multiplier_cycles": 4},
        {"registers": 16, "multiplier_cycles": 6},
        {"registers": 3, "sums": 1},
        {"registers": 12, "multiplier_cycles": 5},
        {"sums": 4, "adder_cycles": 8},
        {"sums": 32, "multiplier_cycles": 3},
        {"sums": 64, "multiplier_cycles": 7},
        {"group": 32, "registers": 8},
        {"group": 8, "registers": 8, "multiplier_cycles": 1},
        {"group": 64, "registers": 2, "multiplier_cycles": 4},
        {"adder_cycles": 1, "multiplier_cycles": 1},
        {"adder_cycles": 6, "multiplier_cycles": 3, "sums": 16},
        {"group": 8, "multiplier_cycles": 3},
        {"group": 32, "multiplier_cycles": 3},
        {"group": 64, "registers": 8},
        {"group": 128, "multiplier_cycles": 4},
        {"group": 24, "multiplier_cycles": 3},
        {"group": 12},
        {"group": 24, "registers": 6, "multiplier_cycles": 4},
        {"registers": 6},
    ),
    ("stce", "row edge"): (
        {},
        {"group": 4},
        {"group": 8, "port": 2, "sums": 1},
        {"group": 32, "registers": 8},
        {"group": 64, "port": 16, "sums": 4},
        {"group": 24, "port": 5, "registers": 2},
        {"port": 1, "sums": 16},
        {"port": 4, "registers": 16},
        {"port": 16, "sums": 32},
        {"port": 2, "sums": 64},
        {"group": 32, "port": 32, "sums": 16},
        {"group": 64, "port": 4},
    ),
    ("stce", "row delay"): (
        {},
        {"registers": 1, "sums": 1, "group": 4},
        {"registers": 2, "sums": 32},
        {"registers": 8, "sums": 16},
        {"registers": 16, "group": 64, "port": 2},
        {"registers": 16, "sums": 64},
    ),
    ("stce", "group port"): tuple({"port": port} for port in (1, 2, 4, 5, 8, 16, 32)),
    ("stce", "weight port"): tuple({"group": group} for group in (2, 8, 16, 64)),
    ("stce", "column edge"): (
        {},
        {"accumulator_words": 32},
        {"accumulator_words": 128, "columns": 8},
        {"accumulator_words": 512, "accumulator_cycles": 1, "registers": 1},
        {"accumulator_words": 1000, "multiplier_cycles": 1},
        {"accumulator_words": 4096, "accumulator_cycles": 3, "columns": 32},
        {"accumulator_words": 8192, "group": 64},
        {"accumulator_words": 256, "accumulator_cycles": 4},
        {"accumulator_words": 1024, "sums": 32},
        {"accumulator_words": 3000, "registers": 16, "columns": 16},
    ),
    ("stce", "result port"): ({},),
    ("stce", REST): (
        {},
        {"rows": 1, "columns": 1},
        {"rows": 1, "columns": 8, "sums": 4},
        {"rows": 8, "columns": 1, "registers": 8},
        {"rows": 16, "columns": 4, "adder_cycles": 6},
        {"rows": 4, "columns": 16, "group": 64},
        {"registers": 1, "sums": 1, "multiplier_cycles": 1, "accumulator_cycles": 1},
        {"registers": 16, "adder_cycles": 2, "accumulator_words": 256},
        {"rows": 3, "multiplier_cycles": 4, "adder_cycles": 8, "accumulator_cycles": 4},
    ),
    ("sore", "lane"): (
        {},
        {"entries": 1},
        {"entries": 1, "group": 4},
        {"entries": 2},
        {"entries": 2, "group": 4},
        {"entries": 2, "group": 64},
        {"entries": 4, "group": 8},
        {"entries": 6},
        {"entries": 8, "group": 32},
        {"entries": 12, "group": 64},
        {"entries": 16, "group": 32},
        {"entries": 3},
        {"entries": 3, "group": 8},
        {"entries": 7},
    ),
    ("sore", REST): (
        {},
        {"lanes": 2},
        {"lanes": 8, "latency_cycles": 1},
        {"lanes": 16, "entries": 2},
        {"lanes": 16, "latency_cycles": 8, "group": 8},
        {"lanes": 5, "entries": 1, "group": 4},
        {"lanes": 4, "entries": 2, "group": 64},
        {"lanes": 64, "entries": 1, "group": 2, "latency_cycles": 5},
    ),
    ("wuve", "lane"): tuple(
        {"latency_cycles": cycles} for cycles in (6, 8, 9, 10, 12, 14, 19, 24, 36)
    ),
    ("wuve", "stream"): tuple({"lanes": lanes} for lanes in (1, 4, 16)),
    ("wuve", REST): (
        {},
        {"lanes": 16, "latency_cycles": 36},
    ),
}
"""What is changed in `BASE` for every part of an engine that the fit may see."""

KEPT_OUT: dict[str, Changes] = {
    "stce": (
        {"rows": 4, "columns": 4},
        {"rows": 6, "columns": 6, "accumulator_words": 4096},
        {"rows": 8, "columns": 8},
        {"rows": 4, "columns": 4, "group": 8, "registers": 2, "port": 4, "sums": 4},
        {"rows": 3, "columns": 5, "group": 32, "registers": 8, "sums": 16, "adder_cycles": 6},
        {
            **{"rows": 6, "columns": 3, "sums": 12, "registers": 2, "group": 32, "port": 4},
            **{"multiplier_cycles": 3, "adder_cycles": 5},
            **{"accumulator_cycles": 3, "accumulator_words": 1000},
        },
        {
            **{"rows": 2, "columns": 9, "sums": 4, "registers": 8, "group": 8, "port": 2},
            **{"multiplier_cycles": 1, "adder_cycles": 3},
            **{"accumulator_cycles": 1, "accumulator_words": 512},
        },
        {
            **{"rows": 7, "columns": 2, "sums": 24, "registers": 6, "group": 12, "port": 5},
            **{"multiplier_cycles": 4, "adder_cycles": 7},
            **{"accumulator_cycles": 4, "accumulator_words": 3000},
        },
        {
            **{"rows": 3, "columns": 3, "sums": 2, "registers": 16, "group": 64},
            **{"accumulator_words": 1024},
        },
        {
            **{"rows": 4, "columns": 3, "sums": 10, "registers": 5, "group": 20, "port": 6},
            **{"multiplier_cycles": 3, "adder_cycles": 5, "accumulator_words": 600},
        },
    ),
    "sore": (
        {"lanes": 6, "entries": 3, "group": 12, "latency_cycles": 5},
        {"lanes": 32},
        {"lanes": 20, "entries": 1, "group": 8, "latency_cycles": 8},
        {"lanes": 9, "entries": 5, "group": 24, "latency_cycles": 2},
    ),
    "wuve": (
        {"lanes": 3, "latency_cycles": 11},
        {"lanes": 7, "latency_cycles": 17},
    ),
}
"""What is changed in `BASE` for whole engines that no fit sees, chosen before there was one."""


@dataclass(frozen=True)
class Sample:
    """What was synthesized, and what it takes.

    Attributes:
        engine, part: names in `parts.ENGINES`; the part may be `REST` of it, or `ALL`.
        parameters: of the engine.
        resources: of one such part. The fit never sees those of a whole engine.
    """

    engine: str
    part: str
    parameters: Mapping[str, int]
    resources: Resources

    @property
    def fitted(self) -> bool:
        """Whether the fit may see it."""
        return self.part != ALL


def plan() -> Iterator[tuple[str, str, Parameters]]:
    """Engine, part and parameters of everything to synthesize."""
    for (engine, part), changed in FITTED.items():
        for changes in changed:
            yield engine, part, BASE[engine] | changes
    for engine, changed in KEPT_OUT.items():
        for changes in changed:
            yield engine, ALL, BASE[engine] | changes


def write(samples: list[Sample], path: Path) -> None:
    """Write samples as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["engine", "part", "parameters", *KINDS])
    for sample in samples:
        parameters = " ".join(f"{name}={value}" for name, value in sample.parameters.items())
        counts = (f"{value:g}" for value in sample.resources.values())
        writer.writerow([sample.engine, sample.part, parameters, *counts])
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text.getvalue(), "utf-8")
    os.replace(temporary, path)


def stored() -> list[Sample]:
    """The samples of the table that comes with NofM."""
    text = resources.files("nofm.rtl.synthesis").joinpath(TABLE).read_text("utf-8")
    return [
        Sample(
            row["engine"],
            row["part"],
            {
                name: int(value)
                for name, value in (each.split("=") for each in row["parameters"].split())
            },
            Resources(**{kind: float(row[kind]) for kind in KINDS}),
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


def beyond(engine: str, parameters: Parameters) -> list[str]:
    """Parameters of an engine outside those that the fit saw, but for what is only counted."""
    seen = [sample.parameters for sample in stored() if sample.fitted and sample.engine == engine]
    found = []
    for name, value in parameters.items():
        least, most = min(s[name] for s in seen), max(s[name] for s in seen)
        if name not in COUNTED and not least <= value <= most:
            found.append(f"{name} {value} is outside {least} to {most}")
    return found


def main() -> None:
    """Measure the whole plan and replace the stored table."""
    from rich.progress import track

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="nofm-"))
    samples = [
        Sample(engine, part, parameters, measure(engine, part, parameters, folder / f"{number:03}"))
        for number, (engine, part, parameters) in enumerate(track(list(plan()), "Synthesizing"))
    ]
    write(samples, Path(__file__).with_name(TABLE))


if __name__ == "__main__":
    main()
