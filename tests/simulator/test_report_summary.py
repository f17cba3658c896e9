from __future__ import annotations

from dataclasses import replace

import pytest

from nofm.simulator.report import summary
from nofm.simulator.result import STALLS, TENSORS, StepResult


def test_stages_sum_to_the_step_and_compare_with_the_dense_one(step: StepResult) -> None:
    stages = summary.by_stage(step)
    assert list(stages.index) == ["ff", "bp", "wu", "update", "prune"]
    assert stages["jobs"].sum() == len(step.layers)
    for name in ("cycles", "stall_cycles", "dram_bytes", "macs"):
        assert stages[name].sum() == step.total[name]
    assert stages["dense_cycles"].sum() == step.total["dense_cycles"]
    assert stages.loc["prune", ["dense_cycles", "speedup"]].tolist() == [0, 0]
    dense = step.dense.layers
    forward = dense.loc[dense["stage"] == "ff", "cycles"].sum()
    assert stages.loc["ff", "dense_cycles"] == forward
    assert stages.loc["ff", "speedup"] == forward / stages.loc["ff", "cycles"]


def test_a_stage_that_only_dense_training_has_is_there(step: StepResult) -> None:
    without = replace(step, layers=step.layers[step.layers["stage"] != "wu"])
    stages = summary.by_stage(without)
    assert stages.loc["wu", "cycles"] == 0
    assert stages.loc["wu", "dense_cycles"] > 0
    assert stages.loc["wu", "utilization"] == 0


def test_titles_say_what_was_simulated(step: StepResult, dense_step: StepResult) -> None:
    product = replace(step, workload="4x8x2", batch=1, method="product")
    assert summary.title(step) == "net, batch 8, bdwp 2:8 on sat-32x32"
    assert summary.title(dense_step) == "net, batch 8, dense on sat-32x32"
    assert summary.title(product) == "4x8x2, 2:8 on sat-32x32"
    assert summary.title(replace(product, pattern="dense")) == "4x8x2, dense on sat-32x32"


def test_the_top_cause_has_the_most_cycles(step: StepResult) -> None:
    layers = step.layers.copy()
    layers.loc[0, [f"stall_{cause}_cycles" for cause in STALLS]] = 0
    causes = summary.top_causes(layers)
    assert causes[0] == ""
    for cause, row in zip(causes[1:], summary.records(layers)[1:], strict=True):
        assert row[f"stall_{cause}_cycles"] == max(row[f"stall_{c}_cycles"] for c in STALLS)


@pytest.mark.parametrize(
    ("titles", "names"),
    [(summary.CAUSE_TITLES, STALLS), (summary.TENSOR_SYMBOLS, TENSORS)],
)
def test_every_cause_and_tensor_has_a_short_name_of_its_own(
    titles: dict[str, str], names: dict[str, str]
) -> None:
    assert list(titles) == list(names)
    assert len(set(titles.values())) == len(names)
