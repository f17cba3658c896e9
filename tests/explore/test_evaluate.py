"""What a part says of each design is what the simulator says of it alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.methods import METHODS
from nofm.explore.evaluate import evaluate, only, schema
from nofm.explore.read import read
from nofm.explore.space import Space
from nofm.explore.workers import packed, unpacked
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.simulator.step import Options, simulate_step
from nofm.workloads.resolve import resolve

Make = Callable[..., dict[str, Any]]
STEP = ("workload", "batch", "method", "pattern", "interleave", "pregeneration", "schedule")

WIDE = {
    "batch": [2, 4],
    "method": ["dense", "bdwp", "sdgp"],
    "pattern": ["2:4", "1:8"],
    "interleave": [True, False],
    "schedule": ["offline", "fixed", "os"],
    "array.rows": {"from": 3, "to": 48, "factor": 4},
    "array.patterns": [["2:4", "1:8"], ["1:8"], ["2:4", "9:16"]],
    "array.dataflows": [["ws"], ["ws", "os"]],
    "clock_mhz": [100, 333.3],
    "dram.bandwidth_gbps": [1e-4, 25.6],
    "formats.operand": ["fp16", "int8"],
    "buffers.weight_kib": [1, 2048],
    "vector.fused": [[], ["elementwise"]],
}


def alone(space: Space, number: int) -> tuple[dict[str, Any], Accelerator, Any]:
    """A design's values, its accelerator, and its step's total or why there is none."""
    values = space.design(number)
    hardware = {name: value for name, value in values.items() if name not in STEP}
    step = {"batch": None} | {name: value for name, value in values.items() if name in STEP}
    options = {name: step[name] for name in STEP[4:] if name in step}
    accelerator = space.base
    try:
        accelerator = space.base.with_values(**hardware)
        total: Any = simulate_step(
            resolve(step["workload"], step["batch"]),
            accelerator,
            METHODS[step["method"]],
            Pattern.parse(step["pattern"]),
            Options(**options),
        ).total
    except InputError as error:
        total = error
    return values, accelerator, total


def test_equals_the_simulator(small: Make) -> None:
    space = read(small(parameters=WIDE))
    designs = np.random.default_rng(4).permutation(space.count)[:60]
    table = evaluate(space, designs)
    assert table.schema == schema(space)
    failed = 0
    for row, number in zip(table.to_pylist(), designs.tolist(), strict=True):
        values, accelerator, total = alone(space, number)
        assert row["design"] == number
        for name, value in values.items():
            assert row[name] == (" ".join(value) if isinstance(value, list) else value)
        if isinstance(total, InputError):
            failed += 1
            assert row["error"]
            assert not row["feasible"]
            assert [row[name] for name in space.figures] == [None] * len(space.figures)
            continue
        assert (row["error"], row["feasible"]) == ("", True)
        assert (row["cycles"], row["dram_bytes"]) == (total["cycles"], total["dram_bytes"])
        assert row["seconds"] == total["seconds"]
        assert row["energy_joules"] == pytest.approx(total["energy_pj"] * 1e-12, rel=1e-12)
        assert row["edp"] == row["energy_joules"] * row["seconds"]
        assert row["peak_macs_per_cycle"] == accelerator.peak_macs_per_cycle
        assert row["buffers_kib"] == sum(accelerator.buffers.model_dump().values())
    assert 10 < failed < 50


def test_why_designs_fail(small: Make) -> None:
    parameters = {
        "pattern": ["2:4", "1:8"],
        "array.patterns": [["2:4"], ["2:4", "1:8"], ["1:8", "9:16"]],
        "buffers.weight_kib": [1, 64],
        "array.columns": [512],
    }
    table = evaluate(read(small(parameters=parameters)), np.arange(12))
    errors = table["error"].to_pylist()
    assert errors[3] == ""
    assert errors[5] == (
        "accelerator 'sat-32x32': array: weight_registers must be at least N of every pattern, "
        "but 9:16 needs 9 and there are 4"
    )
    assert errors[6] == "accelerator 'sat-32x32' does not support pattern 1:8 (it has: 2:4)"
    assert all("\n" not in error for error in errors)


def test_all_designs_may_fail(small: Make) -> None:
    space = read(small(parameters={"array.weight_registers": [2, 3]}))
    table = evaluate(space, np.arange(2))
    assert all(table["error"].to_pylist())
    assert not any(table["feasible"].to_pylist())
    assert table.select(space.figures).to_pylist() == [dict.fromkeys(space.figures)] * 2


def test_a_part_alone_is_the_part_of_the_whole(small: Make) -> None:
    space = read(small(parameters=WIDE))
    designs = np.arange(3000, 3040)
    whole = evaluate(space, designs)
    order = np.random.default_rng(1).permutation(len(designs))
    pieces = [evaluate(only(space, piece), piece) for piece in np.split(designs[order], [7, 20])]
    mixed = pa.concat_tables(pieces).take(np.argsort(order)).combine_chunks()
    assert mixed.equals(whole)
    assert unpacked(packed(whole)).equals(whole)


def test_only_leaves_out_other_layers(small: Make) -> None:
    space = read(small(parameters=WIDE))
    assert set(only(space, np.arange(3)).traces) == {(space.values("workload")[0], 2)}
    assert set(only(space, np.array([0, space.count - 1])).traces) == set(space.traces)


def test_constraints(small: Make) -> None:
    parameters = {"array.rows": [4, 8, 16], "dram.bandwidth_gbps": [6.4, 25.6, 51.2]}
    plain = evaluate(read(small(parameters=parameters)), np.arange(9)).to_pandas()
    assert plain["feasible"].all()
    middle = sorted(plain["seconds"])[4]
    bounds = {
        "seconds": {"max": middle},
        "dram.bandwidth_gbps": {"min": 25.6},
        "buffers_kib": {"max": 6144, "min": 6144},
    }
    found = evaluate(read(small(parameters=parameters, constraints=bounds)), np.arange(9))
    wanted = (plain["seconds"] <= middle) & (plain["dram.bandwidth_gbps"] >= 25.6)
    assert 0 < wanted.sum() < 6
    assert found["feasible"].to_pylist() == wanted.tolist()
    bounds["buffers_kib"] = {"max": 6143.5}
    found = evaluate(read(small(parameters=parameters, constraints=bounds)), np.arange(9))
    assert not any(found["feasible"].to_pylist())


def test_accuracy(small: Make) -> None:
    parameters = {"method": ["bdwp", "sdgp", "dense"], "pattern": ["2:4", "1:8", "dense"]}
    accuracy = {"dense": 0.75, "bdwp": {"2:4": 0.5, "1:8": 0.25}}
    space = read(small(parameters=parameters, accuracy=accuracy))
    table = evaluate(space, np.arange(9))
    assert table["accuracy"].to_pylist() == [0.5, 0.25, 0.75, None, None, 0.75, 0.75, 0.75, 0.75]
    assert all(table["feasible"].to_pylist())
    bounds = {"accuracy": {"min": 0.5}}
    parameters["method"] = ["bdwp", "dense"]
    space = read(small(parameters=parameters, accuracy=accuracy, constraints=bounds))
    table = evaluate(space, np.arange(6))
    assert table["feasible"].to_pylist() == [True, False, True, True, True, True]
