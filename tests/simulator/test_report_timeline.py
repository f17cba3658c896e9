from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from nofm.simulator.report.timeline import THREADS, to_timeline
from nofm.simulator.result import StepResult

ENGINE_OF = {name: engine for engine, name in THREADS.items()}


def slices(result: StepResult) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """Slices by process and engine, in order of time; times in whole ns."""
    document = to_timeline(result)
    events = json.loads(json.dumps(document, allow_nan=False))["traceEvents"]
    names = {
        (e["pid"], e["tid"]): ENGINE_OF[e["args"]["name"]]
        for e in events
        if e["ph"] == "M" and e["name"] == "thread_name"
    }
    found = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            start, duration = round(event["ts"] * 1000), round(event["dur"] * 1000)
            event |= {"start": start, "end": start + duration}
            found[event["pid"], names[event["pid"], event["tid"]]].append(event)
    for some in found.values():
        some.sort(key=lambda event: event["start"])
    return dict(found)


@pytest.mark.parametrize("clock_mhz", [200.0, 333.3, 3000.0])
def test_slices_of_a_thread_never_overlap_and_end_with_the_step(
    step: StepResult, clock_mhz: float
) -> None:
    accelerator = step.accelerator.with_values(clock_mhz=clock_mhz)
    dense = replace(step.dense, accelerator=accelerator)
    result = replace(step, accelerator=accelerator, dense=dense)
    found = slices(result)
    for some in found.values():
        for before, after in pairwise(some):
            assert before["end"] <= after["start"]
    for process, of in ((1, result), (2, dense)):
        end = max(event["end"] for (p, _), some in found.items() for event in some if p == process)
        assert end == round(of.total["cycles"] * 1e9 / accelerator.clock_hz)


def test_every_job_is_a_slice_of_its_engine(step: StepResult) -> None:
    found = slices(step)
    for engine, dataflows in {
        "array": {"ws", "os", "ws+os"},
        "vector": {"vector"},
        "wuve": {"wuve", "wuve+sore"},
        "sore": {"sore", "wuve+sore"},
    }.items():
        rows = step.layers[step.layers["dataflow"].isin(dataflows)]
        assert [e["name"] for e in found[1, engine]] == [
            f"{row.layer} {row.stage}" for row in rows.itertuples()
        ]


def test_a_slice_says_what_its_row_says(step: StepResult) -> None:
    first = slices(step)[1, "array"][0]
    row = step.layers.iloc[0]
    for name in ("m", "k", "n", "cycles", "stall_cycles", "dram_bytes", "dataflow", "tile"):
        assert first["args"][name] == row[name]
    assert first["dur"] == row["cycles"] / 200
    shares = [v for k, v in first["args"].items() if k.startswith("stall: ")]
    assert sum(shares) == row["stall_cycles"]


def test_the_phases_cover_the_step(step: StepResult) -> None:
    forward, backward = slices(step)[1, "step"]
    assert (forward["name"], backward["name"]) == ("forward", "backward and update")
    assert forward["start"] == 0
    assert forward["end"] == backward["start"]
    assert forward["args"]["cycles"] + backward["args"]["cycles"] == step.total["cycles"]


def test_counters_give_traffic_job_by_job_and_end_at_zero(step: StepResult) -> None:
    counters = [
        e
        for e in to_timeline(step)["traceEvents"]
        if e["ph"] == "C" and e["pid"] == 1 and e["name"] == "DRAM traffic (bytes/cycle)"
    ]
    assert len(counters) == len(step.layers) + 1
    assert counters[-1]["args"] == {"value": 0.0}
    moved = sum(
        counter["args"]["value"] * cycles
        for counter, cycles in zip(counters, step.layers["cycles"], strict=False)
    )
    assert moved == pytest.approx(step.total["dram_bytes"], rel=1e-5)


def test_a_dense_step_is_one_process(dense_step: StepResult) -> None:
    assert {process for process, _ in slices(dense_step)} == {1}
