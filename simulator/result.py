"""What a simulated training step gives back: a row for each job, and their total."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from nofm.dataflow.accelerator import Accelerator

STAGES = ("ff", "bp", "wu", "update", "prune")
"""Forward, backward and weight-update products, the optimizer's update, and pruning."""

STALLS: dict[str, str] = {
    "interleave": "adder waits: fewer interleaved sums than pipeline stages",
    "activation_port": "buffer hands over an activation group too slowly",
    "weight_load": "array waits for stationary weights",
    "accumulate": "partial sums return too late from the accumulation buffer",
    "drain": "array waits until results have left",
    "fill": "pipeline and array skew fill and empty",
    "dram_read": "DRAM reads that nothing hides",
    "dram_write": "DRAM writes that nothing hides",
}
"""Every cause of a stall, with what it means. `cycles = compute_cycles + sum of the stalls`."""

TENSORS: dict[str, str] = {
    "activation": "activations",
    "weight": "weights as the products use them, N:M compressed or dense",
    "gradient": "gradients of activations",
    "weight_gradient": "gradients of weights",
    "optimizer": "master weights and optimizer state",
}
"""Every tensor that DRAM traffic is counted for."""

ENERGIES: dict[str, str] = {
    "mac": "multiply-accumulates and index select",
    "buffer": "on-chip buffers",
    "dram": "DRAM",
    "vector": "optimizer and pruner",
    "static": "static power",
}
"""Every part of the energy."""


@dataclass(frozen=True)
class StepResult:
    """One simulated training step.

    Attributes:
        workload, batch, method, pattern, optimizations: what was simulated; `optimizations` maps
            `interleave`, `pregeneration` (bool) and `schedule` (str) to what was used.
        accelerator: on what.
        layers: a pandas DataFrame, one row for each job in the order of execution, with

            - `layer`, `kind` (convolution, linear, matmul, vector), `stage` (one of `STAGES`),
              `start_cycle`;
            - `m`, `k`, `n`, `count` (independent products of that size), `parts` (products that
              the job is made of; sizes and tile are those of the largest), `pattern`, `dataflow`
              (ws, os, ws+os where parts differ, or the engine: vector, wuve, sore, wuve+sore),
              `interleave`, `tile` ("m x k x n"); engines other than the array take `m` elements,
              with k = n = 1;
            - `cycles`, `compute_cycles`, `stall_cycles` and `stall_<cause>_cycles` by `STALLS`;
            - `macs` (dense multiply-accumulates), `effective_macs` (on kept elements),
              `utilization` (effective MACs over USPE-cycles, 0 to 1);
            - `dram_bytes` and `dram_<tensor>_bytes` by `TENSORS`;
            - `energy_pj` (float) and `energy_<part>_pj` by `ENERGIES`;
            - `dense_cycles` (the same layer and stage trained dense on the same accelerator, with
              the same optimizations; 0 for `prune`) and `speedup` = dense_cycles / cycles;
            - `considered`: mappings that the scheduler compared.
        dense: the same step trained dense, or None when this one is dense itself.
        notes: what was assumed or left out, one line each.
    """

    workload: str
    batch: int
    method: str
    pattern: str
    optimizations: dict[str, Any]
    accelerator: Accelerator
    layers: pd.DataFrame
    dense: StepResult | None = None
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def total(self) -> dict[str, Any]:
        """Sums over the step; `speedup` is dense cycles over cycles, `seconds` at the clock,
        `product_speedup` the same over rows that are matrix products."""
        table = self.layers
        cycles = int(table["cycles"].sum())
        dense = self.dense or self
        dense_cycles = int(dense.layers["cycles"].sum())
        products = table["macs"] > 0
        dense_products = dense.layers["macs"] > 0
        product_cycles = int(table.loc[products, "cycles"].sum())
        dense_product_cycles = int(dense.layers.loc[dense_products, "cycles"].sum())
        sums = {
            name: table[name].to_numpy().sum().item()
            for name in table.columns
            if name.startswith(("stall_", "dram_", "energy_"))
            or name in ("compute_cycles", "macs", "effective_macs")
        }
        peak = self.accelerator.peak_macs_per_cycle
        return {
            "cycles": cycles,
            "dense_cycles": dense_cycles,
            "speedup": dense_cycles / cycles if cycles else 1.0,
            "product_speedup": dense_product_cycles / product_cycles if product_cycles else 1.0,
            "seconds": cycles / self.accelerator.clock_hz,
            "utilization": sums["effective_macs"] / (cycles * peak) if cycles else 0.0,
            **sums,
        }
