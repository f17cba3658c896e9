"""Made-up steps for the tests of reports: they obey the schema's laws, and need no simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from nofm.dataflow.accelerator import load
from nofm.simulator.result import ENERGIES, STALLS, TENSORS, StepResult

MakeStep = Callable[..., StepResult]


def _row(layer: str, stage: str, number: int, pattern: str, dataflow: str) -> dict[str, Any]:
    product = stage in ("ff", "bp", "wu") and dataflow != "vector"
    m, k, n = (256 + 64 * number, 576, 64) if product else (1000 * (number + 1), 1, 1)
    macs = m * k * n if product else 0
    kept, group = (1, 1) if pattern == "dense" else map(int, pattern.split(":"))
    effective = macs * kept // group
    compute = max(1, effective // 1024) if product else m // 32
    stalls = {cause: (number * 7 + place * 13) % 40 for place, cause in enumerate(STALLS)}
    moved = {tensor: 64 * ((number + place) % 5) * m for place, tensor in enumerate(TENSORS)}
    moved["activation"] += 64
    energies = {
        part: 1.25 * (place + 1) * (number + 1) * 1e6 for place, part in enumerate(ENERGIES)
    }
    cycles = compute + sum(stalls.values())
    return {
        "layer": layer,
        "kind": "linear" if product else "vector",
        "stage": stage,
        "m": m,
        "k": k,
        "n": n,
        "count": 1,
        "parts": 1,
        "pattern": pattern,
        "dataflow": dataflow,
        "interleave": 4 if product else 1,
        "tile": f"{min(m, 512)} x {k} x {n}" if product else "",
        "cycles": cycles,
        "compute_cycles": compute,
        "stall_cycles": cycles - compute,
        **{f"stall_{cause}_cycles": count for cause, count in stalls.items()},
        "macs": macs,
        "effective_macs": effective,
        "utilization": effective / (cycles * 1024),
        "dram_bytes": sum(moved.values()),
        **{f"dram_{tensor}_bytes": count for tensor, count in moved.items()},
        "energy_pj": sum(energies.values()),
        **{f"energy_{part}_pj": value for part, value in energies.items()},
        "considered": 5 if product else 0,
    }


def _layers(names: list[str], pattern: str) -> pd.DataFrame:
    rows = []
    for number, name in enumerate(names):
        sparse = "dense" if number == 0 else pattern
        rows.append(_row(name, "ff", number, sparse, "ws" if number % 2 else "os"))
        rows.append(_row(f"{name}.norm", "ff", number, "dense", "vector"))
    for number, name in reversed(list(enumerate(names))):
        if number:
            rows.append(_row(name, "bp", number, pattern, "ws+os" if number % 3 else "os"))
        rows.append(_row(name, "wu", number, "dense", "os"))
        engine = "wuve" if number == 0 or pattern == "dense" else "wuve+sore"
        rows.append(_row(name, "update", number, "dense", engine))
        if number == 1 and pattern != "dense":
            rows.append(_row(name, "prune", number, "dense", "sore"))
    start = 0
    for row in rows:
        row["start_cycle"] = start
        start += row["cycles"]
    return pd.DataFrame(rows)


def _make_step(
    layers: int = 20, *, pattern: str = "2:8", names: list[str] | None = None
) -> StepResult:
    names = names or [f"stages.{i // 5}.{i // 2 % 3}.conv{i % 2 + 1}.n{i}" for i in range(layers)]
    options = {"interleave": True, "pregeneration": True, "schedule": "offline"}
    accelerator = load("sat-32x32")

    def step(pattern: str, dense: StepResult | None) -> StepResult:
        table = _layers(names, pattern)
        known: dict[Any, int] = {}
        if dense is not None:
            known = dense.layers.set_index(["layer", "stage"])["cycles"].to_dict()
        table["dense_cycles"] = [
            known.get((row.layer, row.stage), row.cycles if dense is None else 0)
            for row in table.itertuples()
        ]
        table["speedup"] = table["dense_cycles"] / table["cycles"]
        return StepResult(
            workload="net",
            batch=8,
            method="dense" if pattern == "dense" else "bdwp",
            pattern=pattern,
            optimizations=options,
            accelerator=accelerator,
            layers=table,
            dense=dense,
            notes=("made up",),
        )

    dense = step("dense", None)
    return dense if pattern == "dense" else step(pattern, dense)


@pytest.fixture(scope="session")
def make_step() -> MakeStep:
    """Makes a step: `make_step(layers, pattern=..., names=...)`; its layers are products, each with
    a normalisation; the first stays dense; one is pruned on its own."""
    return _make_step


@pytest.fixture(scope="session")
def step(make_step: MakeStep) -> StepResult:
    """A step of 20 layers, BDWP 2:8."""
    return make_step()


@pytest.fixture(scope="session")
def long_step(make_step: MakeStep) -> StepResult:
    """A step of 75 layers, BDWP 2:8."""
    return make_step(75)


@pytest.fixture(scope="session")
def dense_step(make_step: MakeStep) -> StepResult:
    """A dense step of 20 layers."""
    return make_step(pattern="dense")
