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
from nofm.dataflow.products import ALONG_REDUCTION, Product, product_records
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


def usable_dataflows(hardware: Any, allowed: Records) -> Records:
    """bool [p, 2]: of the allowed dataflows those that one machine has.

    A policy that names a dataflow which the machine lacks falls back on what there is.
    """
    exists = np.array([hardware["has_ws"], hardware["has_os"]], np.bool_)
    usable: Records = allowed & exists
    usable[~usable.any(axis=1)] = exists
    return usable


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
    best = np.empty(len(firsts) - 1, np.int64)
    _fastest(len(costs), firsts, cycles, moved_bytes(costs), best)
    return best


SPLITS = (2, 8)
"""A tile's rows are also tried divided by these, where its job waits for DRAM."""
PATIENT = 64
"""A job that waits for DRAM for less than this part of its cycles is not looked at again."""


@dataclass(frozen=True)
class Schedule:
    """The mapping of every product, for h machines and p products, and what else was considered.

    Attributes:
        mappings, costs: the fastest of each pair, `MAPPING` and its cost [h * p]; what stands
            there is void where `fits` is False.
        fits: bool [h * p], whether the buffers hold any tile.
        considered: int64 [h * p], mappings that were compared.
        parts: those mappings and their costs, as they were found.
    """

    mappings: Records
    costs: Records
    fits: Records
    considered: Records
    parts: tuple[tuple[Records, Records], ...]

    def everything(self) -> tuple[Records, Records]:
        """All mappings that were compared, and their costs; a mapping names its product."""
        mappings, costs = zip(*self.parts, strict=True)
        return np.concatenate(mappings), np.concatenate(costs)


def search(hardware: Records, products: Records, allowed: Records, evaluate: Evaluate) -> Schedule:
    """Find the fastest mapping of every product on every machine.

    The largest tiles move the fewest bytes, but nothing hides the first load and the last store of
    a job: where that counts, the best mapping's tile is tried with fewer rows, too.

    Args:
        hardware, products: `HARDWARE` [h], `PRODUCT` [p].
        allowed: bool [p, 2], as from `allowed_dataflows`.
    """
    mappings, firsts = candidates(hardware, products, allowed)
    costs = evaluate(hardware, products, mappings)
    pair = mappings["hardware"] * len(products) + mappings["product"]
    considered = np.diff(firsts)
    best = fastest(firsts, costs)
    fits = best >= 0
    if not fits.any():
        return Schedule(mappings[:0], costs[:0], fits, considered, ((mappings, costs),))
    chosen, chosen_costs = mappings[best], costs[best]
    # The best of each dataflow, for the slower one may gain more; candidates are in their order.
    by_dataflow = np.bincount(2 * pair + mappings["dataflow"], minlength=2 * len(considered))
    best = fastest(np.concatenate([[0], np.cumsum(by_dataflow)]), costs)
    best = best[best >= 0]
    waits = costs["dram_read"][best] + costs["dram_write"][best]
    least = costs["cycles"][best] - waits
    promising = (waits > least // PATIENT) & (least < chosen_costs["cycles"][pair[best]])
    parts = [(mappings, costs)]
    for dataflow in range(2):
        slow = mappings[best[promising]]
        slow = slow[slow["dataflow"] == dataflow]
        image = products[slow["product"]]
        unit = np.where(image["image_axis"] == ALONG_REDUCTION, image["image_taps"], 1)
        for split in SPLITS:
            finer = slow.copy()
            finer["tile_m"] = -(-slow["tile_m"] // (split * unit)) * unit
            finer = finer[finer["tile_m"] < slow["tile_m"]]
            finer_costs = evaluate(hardware, products, finer)
            parts.append((finer, finer_costs))
            # Each pair is in here once at most.
            pair = finer["hardware"] * len(products) + finer["product"]
            considered[pair] += 1
            cycles, least = finer_costs["cycles"], chosen_costs["cycles"][pair]
            fewer = moved_bytes(finer_costs) < moved_bytes(chosen_costs[pair])
            better = (cycles < least) | ((cycles == least) & fewer)
            chosen[pair[better]] = finer[better]
            chosen_costs[pair[better]] = finer_costs[better]
    return Schedule(chosen, chosen_costs, fits, considered, tuple(parts))


def moved_bytes(costs: Records) -> Records:
    """DRAM bytes of each mapping, all operands together."""
    moved: Records = costs["left_bytes"] + costs["right_bytes"] + costs["out_bytes"]
    return moved


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
    usable = usable_dataflows(machine[0], allowed)
    found = search(machine, records, usable, evaluate)
    if (missing := np.flatnonzero(~found.fits)).size:
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
    if (endless := np.flatnonzero(found.costs["cycles"] >= MAX_CYCLES)).size:
        item, name = items[endless[0]], names[endless[0]]
        raise InputError(
            f"{name}: {item.count} x {item.m} x {item.k} x {item.n} must take fewer than 2^62 "
            f"cycles on accelerator {accelerator.name!r}, and may take more"
        )
    return found
