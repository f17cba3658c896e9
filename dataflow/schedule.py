"""The offline scheduler: a mapping for every product, chosen ahead of time.

It lists what fits (`mapping.candidates`), asks a timing model what each costs, and keeps the
fastest; of equally fast ones the one that moves fewer bytes, then the first. What it considered
stays on record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.mapping import candidates
from nofm.dataflow.products import Product, product_records
from nofm.kernels.errors import InputError
from nofm.kernels.tiered import tiered

Records = np.ndarray[Any, Any]
MAX_CYCLES = 2**62
"""What takes longer cannot be counted in 63 bits."""

Evaluate = Callable[[Records, Records, Records], Records]
"""A timing model: hardware, products and mappings to the mappings' costs, whose fields `cycles`
(MAX_CYCLES for what it cannot count), `left_bytes`, `right_bytes` and `out_bytes` the scheduler
reads."""

PATIENCE = 100_000
"""Candidates that a process compares before it compiles: about a tenth of a second's worth."""
POLICIES: dict[str, str] = {
    "offline": "the faster dataflow and tiles for each product, chosen ahead of time",
    "fixed": "by stage: weights stay in FF and BP (WS), their gradients stay in WU (OS)",
    "ws": "weight stationary for every product",
    "os": "output stationary for every product",
}
"""How dataflows are chosen. Tiles are searched under every policy."""


def allowed_dataflows(policy: str, stages: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """bool [len(stages), 2]: whether a product of each stage may use WS and OS."""
    allowed = np.ones((len(stages), 2), np.bool_)
    for row, stage in zip(allowed, stages, strict=True):
        if policy == "ws" or (policy == "fixed" and stage != "wu"):
            row[1] = False
        elif policy in ("os", "fixed"):
            row[0] = False
    return allowed


@tiered(PATIENCE)
def _fastest(firsts: Any, cycles: Any, moved: Any, best: Any) -> None:
    for pair in range(len(firsts) - 1):
        best[pair] = -1
        for i in range(firsts[pair], firsts[pair + 1]):
            j = best[pair]
            if j < 0 or cycles[i] < cycles[j] or (cycles[i] == cycles[j] and moved[i] < moved[j]):
                best[pair] = i


def fastest(firsts: Records, costs: Records) -> Records:
    """int64 [len(firsts) - 1]: the best candidate of each pair, -1 where there is none."""
    cycles = np.ascontiguousarray(costs["cycles"])
    moved = costs["left_bytes"] + costs["right_bytes"] + costs["out_bytes"]
    best = np.empty(len(firsts) - 1, np.int64)
    _fastest(len(costs), firsts, cycles, moved, best)
    return best


@dataclass(frozen=True)
class Schedule:
    """The mapping of every product, and what else was considered.

    Attributes:
        mappings: `MAPPING` [p], the chosen ones.
        costs: what the timing model said of them [p].
        considered: candidates compared for each product, int64 [p].
        all_mappings, all_costs, firsts: every candidate; those of product p are the entries from
            firsts[p] to firsts[p + 1].
    """

    mappings: Records
    costs: Records
    considered: Records
    all_mappings: Records
    all_costs: Records
    firsts: Records


def plan(
    items: Sequence[Product],
    names: Sequence[str],
    accelerator: Accelerator,
    hardware: Records,
    allowed: np.ndarray[Any, np.dtype[np.bool_]],
    evaluate: Evaluate,
) -> Schedule:
    """Choose a mapping for every product.

    Args:
        items, names: the products, and what to call each in an error.
        accelerator: named in errors.
        hardware: its `HARDWARE` record.
        allowed: bool [p, 2], as from `allowed_dataflows`.

    Raises:
        InputError: the buffers hold no tile of a product, or no dataflow that is allowed exists.
    """
    records = product_records(list(items))
    machine = np.atleast_1d(hardware)
    exists = np.array([machine[0]["has_ws"], machine[0]["has_os"]], np.bool_)
    # A policy that names a dataflow which the hardware lacks falls back on what there is.
    usable = allowed & exists
    usable[~usable.any(axis=1)] = exists
    mappings, firsts = candidates(machine, records, usable)
    costs = evaluate(machine, records, mappings)
    best = fastest(firsts, costs)
    if (missing := np.flatnonzero(best < 0)).size:
        item, name = items[missing[0]], names[missing[0]]
        if item.pattern.n > accelerator.array.weight_registers and not usable[missing[0], 1]:
            raise InputError(
                f"{name}: pattern {item.pattern} needs {item.pattern.n} weight registers in WS, "
                f"but accelerator {accelerator.name!r} has {accelerator.array.weight_registers}"
            )
        buffers = accelerator.buffers
        raise InputError(
            f"{name}: the buffers of accelerator {accelerator.name!r} cannot hold one tile of "
            f"{item.m} x {item.k} x {item.n} (activation {buffers.activation_kib} KiB, weight "
            f"{buffers.weight_kib} KiB, output {buffers.output_kib} KiB)"
        )
    if (endless := np.flatnonzero(costs["cycles"][best] >= MAX_CYCLES)).size:
        item, name = items[endless[0]], names[endless[0]]
        raise InputError(
            f"{name}: {item.count} x {item.m} x {item.k} x {item.n} must take fewer than 2^62 "
            f"cycles on accelerator {accelerator.name!r}, and may take more"
        )
    return Schedule(mappings[best], costs[best], np.diff(firsts), mappings, costs, firsts)
