"""Sums over the rows of a step that tables, figures and the page share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nofm.simulator.result import STAGES, STALLS, StepResult

if TYPE_CHECKING:
    import pandas as pd

STAGE_TITLES: dict[str, str] = {
    "ff": "forward",
    "bp": "backward",
    "wu": "weight update",
    "update": "optimizer",
    "prune": "pruning",
}
CAUSE_TITLES: dict[str, str] = {
    "interleave": "adder",
    "activation_port": "activation port",
    "weight_load": "weight load",
    "accumulate": "accumulation",
    "drain": "drain",
    "fill": "fill",
    "dram_read": "DRAM read",
    "dram_write": "DRAM write",
}
"""Short names of the stalls' causes."""
TENSOR_SYMBOLS: dict[str, str] = {
    "activation": "A",
    "weight": "W",
    "gradient": "dA",
    "weight_gradient": "dW",
    "optimizer": "opt",
}
"""Symbols of the tensors."""


def of_product(result: StepResult) -> bool:
    """Whether one product was simulated, and no training step."""
    return result.method == "product"


def title(result: StepResult) -> str:
    """What was simulated, in one line."""
    batch = "" if of_product(result) else f"batch {result.batch}, "
    return f"{result.workload}, {batch}{variant(result)} on {result.accelerator.name}"


def variant(result: StepResult) -> str:
    """Method and pattern, as far as there are any."""
    method = [] if of_product(result) else [result.method]
    pattern = [] if result.pattern == "dense" else [result.pattern]
    return " ".join(method + pattern) or "dense"


def records(layers: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dicts of plain Python values, by column."""
    rows: Any = layers.to_dict("records")
    return rows


def is_product(layers: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are matrix products."""
    return layers["macs"] > 0


def top_causes(layers: pd.DataFrame) -> list[str]:
    """For each row the cause of most of its stall cycles, "" where it never stalls."""
    columns = [f"stall_{cause}_cycles" for cause in STALLS]
    counts = layers[columns].to_numpy()
    causes = list(STALLS)
    return [
        causes[place] if count else ""
        for place, count in zip(counts.argmax(axis=1), counts.max(axis=1), strict=True)
    ]


def by_stage(result: StepResult) -> pd.DataFrame:
    """A row for each stage that occurs in the step or in the dense one, in the order of `STAGES`.

    Columns: `jobs`, the sums of every additive column of the layers, `utilization` (over all
    cycles of the stage), `dense_cycles` (of the dense step) and `speedup` (0 where the stage
    does not occur in both). Indexed by stage.
    """
    layers = result.layers
    additive = [
        name
        for name in layers.columns
        if name.endswith(("_cycles", "_bytes", "_pj")) or name in ("macs", "effective_macs")
    ]
    table = layers.groupby("stage")[["cycles", *additive]].sum()
    table.insert(0, "jobs", layers.groupby("stage").size())
    dense = (result.dense or result).layers.groupby("stage")["cycles"].sum()
    present = [stage for stage in STAGES if stage in table.index or stage in dense.index]
    table = table.reindex(present, fill_value=0)
    table["dense_cycles"] = dense.reindex(present, fill_value=0)
    cycles = table["cycles"].where(table["cycles"] > 0, 1)
    table["utilization"] = table["effective_macs"] / (
        cycles * result.accelerator.peak_macs_per_cycle
    )
    table["speedup"] = (table["dense_cycles"] / cycles).where(table["cycles"] > 0, 0.0)
    return table
