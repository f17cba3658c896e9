"""The timing model of SCALE-Sim 3.0.0, in closed form.

It is a peer to compare with, no model of SAT. Its cycles equal SCALE-Sim's "Total Cycles" exactly
where its memory does not stall (interface bandwidth CALC). docs/scalesim.md derives the formulas
and says what that model leaves out; `notes` says it in short.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nofm.kernels.errors import InputError, positive, unknown
from nofm.kernels.pattern import Pattern
from nofm.workloads.scalesim_csv import Topology

MAX_SIDE = 2**16
"""Most rows or columns of an array."""
MAX_CYCLES = 2**62
"""Most cycles of a layer: sums of two then still fit 63 bits."""


@dataclass(frozen=True, slots=True)
class PeerDataflow:
    """How a product of M x K by K x N is laid on R x C units.

    Attributes:
        title: for people.
        rows, columns: the dimension along the array's rows and columns.
        streamed: the dimension that streams through.
        crossings: how often a fold crosses the array's height one row a cycle: once for the skew
            of the operands, and once before it where one operand is loaded and then stays.
    """

    title: str
    rows: str
    columns: str
    streamed: str
    crossings: int


DATAFLOWS = {
    "ws": PeerDataflow("weight stationary", rows="k", columns="n", streamed="m", crossings=2),
    "os": PeerDataflow("output stationary", rows="m", columns="n", streamed="k", crossings=1),
    "is": PeerDataflow("input stationary", rows="k", columns="m", streamed="n", crossings=2),
}


@dataclass(frozen=True, slots=True)
class PeerLayer:
    """SCALE-Sim's figures for one layer.

    Attributes:
        layer: its name.
        m, k, n: the product, k before pruning.
        pattern: N:M along k.
        dataflow: a name of `DATAFLOWS`.
        cycles: "Total Cycles" without stalls: the index of the last cycle, so one less than the
            cycles taken.
        folds: tiles of the product that pass over the array one after the other.
        mapping_efficiency: share of the units that a fold uses, on average ("Mapping
            Efficiency %" is 100 times that).
        compute_utilization: share of unit cycles with a product. SCALE-Sim's "Compute Util %" is
            100 times that in os; in ws and is it counts the skew of the columns twice and is lower.
        overall_utilization: m k n products, the pruned ones too, by unit cycles ("Overall
            Util %"); it may pass 1 where the layer is pruned, and is None where `cycles` is 0,
            for SCALE-Sim divides by zero there.
    """

    layer: str
    m: int
    k: int
    n: int
    pattern: Pattern
    dataflow: str
    cycles: int
    folds: int
    mapping_efficiency: float
    compute_utilization: float
    overall_utilization: float | None


def parse_array(text: str) -> tuple[int, int]:
    """Rows and columns of "32x32".

    Raises:
        InputError: it is not of that form, or a side is not from 1 to 65536.
    """
    match = re.fullmatch(r"\s*(\d{1,9})\s*[xX]\s*(\d{1,9})\s*", text, re.ASCII)
    if match is None:
        raise InputError(f"array must be rows x columns such as 32x32, not {text!r}")
    rows, columns = int(match[1]), int(match[2])
    _check_array(rows, columns)
    return rows, columns


def _check_array(rows: int, columns: int) -> None:
    positive("array rows", rows, at_most=MAX_SIDE)
    positive("array columns", columns, at_most=MAX_SIDE)


def folds_and_cycles(
    m: ArrayLike, k: ArrayLike, n: ArrayLike, rows: ArrayLike, columns: ArrayLike, dataflow: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Folds of a product, and the cycles of each; they run one after the other.

    Args:
        m, k, n: the product, k after pruning; whole numbers, broadcast with the others.
        rows, columns: the array, whole numbers.
        dataflow: a name of `DATAFLOWS`.

    Returns:
        Two int64 arrays of the broadcast shape. SCALE-Sim's "Total Cycles" is their product
        minus 1.

    Raises:
        InputError: a size is not positive, the dataflow is unknown, or more than 2^62 cycles.
    """
    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    kind = DATAFLOWS[dataflow]
    sizes = np.broadcast_arrays(*(np.asarray(size, np.int64) for size in (m, k, n, rows, columns)))
    for what, size in zip(("m", "k", "n", "array rows", "array columns"), sizes, strict=True):
        if (least := int(size.min(initial=1))) < 1:
            raise InputError(f"{what} must be a whole number of at least 1, not {least}")
    *product, height, width = sizes
    dimension = dict(zip("mkn", product, strict=True))
    across, along, streamed = (dimension[name] for name in (kind.rows, kind.columns, kind.streamed))
    # In floating point first: it cannot wrap around, and 2^62 leaves room for its rounding.
    estimate = (
        np.ceil(across / height)
        * np.ceil(along / width)
        * (kind.crossings * height.astype(float) + width + streamed)
    )
    if (largest := float(estimate.max(initial=0.0))) > MAX_CYCLES:
        raise InputError(f"a layer may take 2^62 cycles at most, not about {largest:.3g}")
    folds = -(-across // height) * -(-along // width)
    return folds, kind.crossings * height + width + streamed - 2


def simulate_topology(
    topology: Topology, rows: int, columns: int, dataflow: str
) -> list[PeerLayer]:
    """SCALE-Sim's figures for every layer of a topology, in its order.

    A depthwise row gives one layer a channel, as in SCALE-Sim. N:M ratios count as in its
    layer-wise mode (`SparsitySupport = true`, `OptimizedMapping = false`).

    Raises:
        InputError: an array side is not from 1 to 65536, the dataflow is unknown, or a layer
            takes more than 2^62 cycles.
    """
    _check_array(rows, columns)
    shapes = [(row.m, row.k, row.n, row.pattern.kept(row.k)) for row in topology.rows]
    m, k, n, kept = np.array(shapes, np.int64).reshape(-1, 4).T
    folds, fold_cycles = folds_and_cycles(m, kept, n, rows, columns, dataflow)
    cycles = folds * fold_cycles - 1
    kind = DATAFLOWS[dataflow]
    dimension = {"m": m, "k": kept, "n": n}
    units = float(rows * columns)
    mapping = dimension[kind.rows] / folds * dimension[kind.columns] / units
    compute = mapping * dimension[kind.streamed] / fold_cycles
    products = m.astype(float) * k * n
    return [
        PeerLayer(
            layer=name,
            m=row.m,
            k=row.k,
            n=row.n,
            pattern=row.pattern,
            dataflow=dataflow,
            cycles=total,
            folds=count,
            mapping_efficiency=mapped,
            compute_utilization=computed,
            overall_utilization=work / units / total if total else None,
        )
        for row, total, count, mapped, computed, work in zip(
            topology.rows,
            cycles.tolist(),
            folds.tolist(),
            mapping.tolist(),
            compute.tolist(),
            products.tolist(),
            strict=True,
        )
        for name in row.layer_names
    ]


def notes(topology: Topology, dataflow: str) -> tuple[str, ...]:
    """What SCALE-Sim's figures leave out, and what is odd about the topology, one line each."""
    return (*_notes(topology, dataflow), *topology.warnings)


def _notes(topology: Topology, dataflow: str) -> Iterator[str]:
    yield "cycles is SCALE-Sim's Total Cycles: the index of the last cycle, one less than taken"
    yield "each fold fills and drains the array alone; no fold overlaps the next"
    yield "memory never stalls here: neither DRAM nor buffer bandwidth is in these cycles"
    yield "one forward pass of one sample: no batch, no backward pass, no weight update"
    if topology.form == "conv":
        yield "convolutions have no padding, and a stride that leaves a rest rounds the output up"
    if dataflow == "os":
        yield "os: moving the results out of the array takes no cycles of its own"
    if any(row.depthwise for row in topology.rows):
        yield "a layer with DP in its name runs one channel at a time"
    if any(not row.pattern.dense for row in topology.rows):
        yield (
            "N:M shortens the reduction and costs nothing else: choosing the activations that "
            "meet a kept weight, fetching M/N times as many, and making the mask are all free"
        )
        yield "overall utilization counts the pruned products too, so it may pass 100 %"
