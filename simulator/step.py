"""Simulate one training step: jobs, their mappings, what each costs, and the same step dense."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, hardware_record
from nofm.dataflow.formats import BITS
from nofm.dataflow.jobs import ENGINES, Job, Patterns, Widths, jobs
from nofm.dataflow.methods import METHODS, Method
from nofm.dataflow.products import Product, products
from nofm.dataflow.schedule import MAX_CYCLES, POLICIES, Schedule, allowed_dataflows, plan
from nofm.kernels.errors import InputError, unknown
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator import energy
from nofm.simulator.result import ENERGIES, STALLS, TENSORS, StepResult
from nofm.simulator.timing import ENGINE_JOB, engine_cycles, evaluate
from nofm.workloads.layer import Convolution, Linear, VectorWork
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

COUNTED = {"cycles": "cycles", "macs": "multiply-accumulates", "dram_bytes": "bytes to move"}
"""Columns whose sums are the largest numbers of a step, each with its unit."""

Key = tuple[Product, str]
"""A product and the stage it belongs to: what the scheduler maps once, however often it occurs."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The three dataflow optimisations of the paper, each of which can be switched off.

    Attributes:
        interleave: USPEs work on several sums in turn, so that the adder never waits.
        pregeneration: N:M weights are made when weights are updated; off, SORE prunes before
            each product that needs it.
        schedule: how dataflows are chosen, one of `POLICIES`.
    """

    interleave: bool = True
    pregeneration: bool = True
    schedule: str = "offline"

    def __post_init__(self) -> None:
        if self.schedule not in POLICIES:
            raise unknown("schedule", self.schedule, POLICIES)

    def machine(self, accelerator: Accelerator) -> Accelerator:
        """The accelerator with these optimisations."""
        if self.interleave:
            return accelerator
        return accelerator.with_values(**{"array.interleave": 1})


def step_jobs(
    trace: Trace,
    accelerator: Accelerator,
    method: Method,
    pattern: Pattern | Patterns,
    options: Options,
) -> tuple[Job, ...]:
    """The jobs of one training step on an accelerator.

    Raises:
        InputError: the accelerator lacks a pattern.
    """
    formats = accelerator.formats
    todo = jobs(
        trace,
        method,
        pattern,
        widths=Widths(operand=BITS[formats.operand], master=BITS[formats.master]),
        pregeneration=options.pregeneration,
        fused=accelerator.vector.fused,
    )
    for item in sorted({product.pattern for job in todo for product in job.products}):
        accelerator.require_pattern(item)
    return todo


def simulate_step(
    trace: Trace,
    accelerator: Accelerator,
    method: Method,
    pattern: Pattern | Patterns = DENSE,
    options: Options | None = None,
    *,
    dense: StepResult | None = None,
) -> StepResult:
    """Simulate one training step.

    Args:
        trace: the network's layers.
        accelerator: the machine.
        method: which operands are N:M.
        pattern: of every layer that the method prunes, or a function that gives each layer's.
            What the accelerator lacks of a layer's own patterns it computes as the sparsest one
            that covers it, or densely, with a note.
        options: the dataflow optimisations; all of them when None.
        dense: the same step trained dense, where it is at hand; else it is simulated too.

    Raises:
        InputError: the accelerator lacks the one pattern, or its buffers hold no tile of a product.
    """
    options = options or Options()
    covered: list[str] = []
    if callable(pattern):
        pattern, covered = _covering(trace, accelerator, method, pattern)
    elif method.name != "dense":
        accelerator.require_pattern(pattern)
    todo = step_jobs(trace, accelerator, method, pattern, options)
    if dense is None and method.name != "dense":
        dense = simulate_step(trace, accelerator, METHODS["dense"], DENSE, options)
    name = "by layer" if callable(pattern) else str(pattern)
    return StepResult(
        workload=trace.name,
        batch=trace.batch,
        method=method.name,
        pattern="dense" if method.name == "dense" else name,
        optimizations=asdict(options),
        accelerator=accelerator,
        layers=_table(todo, accelerator, options, dense, trace.name),
        dense=dense,
        notes=(*_notes(trace, accelerator, method), *covered),
    )


def _covering(
    trace: Trace, accelerator: Accelerator, method: Method, pattern_of: Patterns
) -> tuple[Patterns, list[str]]:
    """Each layer's pattern as the accelerator computes it, and notes where that is another."""
    other: dict[tuple[Pattern, Pattern], list[str]] = {}
    for layer in trace.weight_layers:
        wanted = pattern_of(layer)
        has = accelerator.covering(wanted)
        sparse = any(method.operand(stage) is not None for stage in PRODUCT_STAGES)
        if has != wanted and layer.prunable and sparse:
            other.setdefault((wanted, has), []).append(layer.name)
    notes = [
        f"{_count(len(names), 'layer')} of {wanted} ({', '.join(names[:3])}"
        f"{', ...' if len(names) > 3 else ''}): computed as {has}, since accelerator "
        f"{accelerator.name!r} has no {wanted}"
        for (wanted, has), names in other.items()
    ]
    return lambda layer: accelerator.covering(pattern_of(layer)), notes


def simulate_product(
    m: int,
    k: int,
    n: int,
    accelerator: Accelerator,
    stage: str = "ff",
    pattern: Pattern = DENSE,
    options: Options | None = None,
) -> StepResult:
    """Simulate one product [m, k] x [k, n], its right operand N:M along k.

    Args:
        stage: ff, bp or wu; it says which tensors the operands are and how they lie in memory.

    Raises:
        InputError: as `simulate_step`, or a size or stage that makes no sense.
    """
    if stage not in PRODUCT_STAGES:
        raise unknown("stage", stage, PRODUCT_STAGES)
    options = options or Options()
    accelerator.require_pattern(pattern)
    sizes = dict(zip(PRODUCT_STAGES[stage], (m, k, n), strict=True))
    layer = Linear(
        name="gemm",
        rows=sizes["rows"],
        in_features=sizes["in_features"],
        out_features=sizes["out_features"],
    )
    (product,) = products(layer, stage, METHODS["dense"], DENSE)
    name = f"{m}x{k}x{n}"

    def result(of: Product, dense: StepResult | None) -> StepResult:
        todo = (Job(layer="gemm", kind="linear", stage=stage, engine="array", products=(of,)),)
        return StepResult(
            workload=name,
            batch=1,
            method="product",
            pattern=str(of.pattern),
            optimizations=asdict(options),
            accelerator=accelerator,
            layers=_table(todo, accelerator, options, dense, name),
            dense=dense,
        )

    dense = result(product, None)
    if pattern.kept(k) == k:  # dense, or too short to prune
        return dense
    return result(replace(product, pattern=pattern, right_tiled=True), dense)


def forward_table(
    items: Sequence[tuple[str, tuple[Product, ...]]], accelerator: Accelerator, options: Options
) -> pd.DataFrame:
    """Rows of forward products alone, each item a layer's name and its products."""
    todo = [
        Job(layer=name, kind="product", stage="ff", engine="array", products=found)
        for name, found in items
    ]
    return _table(todo, accelerator, options, None, "forward products")


PRODUCT_STAGES: dict[str, tuple[str, str, str]] = {
    "ff": ("rows", "in_features", "out_features"),
    "bp": ("rows", "out_features", "in_features"),
    "wu": ("in_features", "rows", "out_features"),
}
"""Stages that are products, and what m, k and n are of a linear layer there."""


def _table(
    todo: Sequence[Job],
    accelerator: Accelerator,
    options: Options,
    dense: StepResult | None,
    name: str,
) -> pd.DataFrame:
    import pandas as pd

    machine = options.machine(accelerator)
    hardware = hardware_record(machine)
    keys, chosen = schedule_jobs(todo, machine, hardware, options.schedule)
    rows = _rows(todo, machine, hardware, keys, chosen)
    for what, unit in COUNTED.items():
        if (total := sum(row[what] for row in rows)) >= MAX_CYCLES:
            raise InputError(f"{name}: a step must have fewer than 2^62 {unit}, not {total}")
    known: dict[tuple[str, str], int] = {}
    if dense is not None:
        sums = dense.layers.groupby(["layer", "stage"])["cycles"].sum()
        known = dict(zip(sums.index, sums.tolist(), strict=True))
    for row in rows:
        alone = row["cycles"] if dense is None else 0
        row["dense_cycles"] = int(known.get((row["layer"], row["stage"]), alone))
        row["speedup"] = row["dense_cycles"] / row["cycles"]
    return pd.DataFrame(rows)


def schedule_jobs(
    todo: Sequence[Job], machine: Accelerator, hardware: np.ndarray[Any, Any], policy: str
) -> tuple[dict[Key, int], Schedule | None]:
    """Map every product of the jobs once: each one's place in the schedule, and the schedule."""
    names: dict[Key, str] = {}
    for job in todo:
        for product in job.products:
            names.setdefault((product, job.stage), f"layer {job.layer!r}, {job.stage}")
    if not names:
        return {}, None
    chosen = plan(
        [product for product, _ in names],
        list(names.values()),
        machine,
        hardware,
        allowed_dataflows(policy, [stage for _, stage in names]),
        evaluate,
    )
    return {key: index for index, key in enumerate(names)}, chosen


def _rows(
    todo: Sequence[Job],
    machine: Accelerator,
    hardware: np.ndarray[Any, Any],
    keys: dict[Key, int],
    chosen: Schedule | None,
) -> list[dict[str, Any]]:
    streaming = [job for job in todo if job.engine != "array"]
    timed = iter(engine_cycles(hardware, engine_records(streaming)).tolist())
    rows = []
    start = 0
    for job in todo:
        if job.engine == "array":
            assert chosen is not None
            row = _product_row(job, machine, keys, chosen)
        else:
            row = _engine_row(job, machine, next(timed))
        rows.append({"layer": job.layer, "kind": job.kind, "stage": job.stage, **row})
        rows[-1]["start_cycle"] = start
        start += row["cycles"]
    return rows


def engine_records(streaming: Sequence[Job]) -> np.ndarray[Any, Any]:
    """`ENGINE_JOB` records of jobs that do not run on the array."""
    return np.array(
        [
            (
                ENGINES.index(job.engine),
                job.elements,
                len(job.forms) == 2,
                job.forms[0].m if job.forms else 0,
                job.matrix.taps,
                job.matrix.length,
                job.matrix.columns,
                sum(-(-bits // 8) for bits in job.read_bits.values()),
                sum(-(-bits // 8) for bits in job.written_bits.values()),
            )
            for job in streaming
        ],
        ENGINE_JOB,
    )


def _product_row(
    job: Job, machine: Accelerator, keys: dict[Key, int], chosen: Schedule
) -> dict[str, Any]:
    places = [keys[product, job.stage] for product in job.products]
    costs = chosen.costs[places]
    total = {name: sum(costs[name].tolist()) for name in costs.dtype.names}
    largest = max(range(len(places)), key=lambda i: job.products[i].macs)
    product, mapping = job.products[largest], chosen.mappings[places[largest]]
    effective = sum(item.effective_macs for item in job.products)
    moved = dict.fromkeys(TENSORS, 0)
    for item, cost in zip(job.products, costs, strict=True):
        for side in ("left", "right", "out"):
            moved[getattr(item, side)] += int(cost[f"{side}_bytes"])
    selected = sum(item.effective_macs for item in job.products if not item.pattern.dense)
    parts = energy.of_products(
        machine,
        effective_macs=effective,
        selected_macs=selected,
        buffer_bytes=total["buffer_bytes"],
        dram_bytes=sum(moved.values()),
        cycles=total["cycles"],
    )
    dataflows = {DATAFLOWS[int(chosen.mappings[place]["dataflow"])] for place in places}
    return {
        "m": product.m,
        "k": product.k,
        "n": product.n,
        "count": product.count,
        "parts": len(job.products),
        "pattern": str(product.pattern),
        "dataflow": "+".join(name for name in DATAFLOWS if name in dataflows),
        "interleave": int(mapping["interleave"]),
        "tile": tile_text(product, mapping),
        "cycles": total["cycles"],
        "compute_cycles": total["issue"],
        "stall_cycles": total["cycles"] - total["issue"],
        **{f"stall_{cause}_cycles": total[cause] for cause in STALLS},
        "macs": sum(item.macs for item in job.products),
        "effective_macs": effective,
        "utilization": effective / (total["cycles"] * machine.peak_macs_per_cycle),
        **_sums(moved, parts),
        "considered": int(chosen.considered[places].sum()),
    }


def tile_text(product: Product, mapping: Any) -> str:
    """A mapping's tile for people, m x k x n."""
    tile_k = product.taps * int(mapping["tile_length"])
    return f"{mapping['tile_m']} x {tile_k} x {mapping['tile_n']}"


def _sums(moved: dict[str, int], parts: dict[str, float]) -> dict[str, Any]:
    """Columns of DRAM bytes by tensor and energy by part, and of their sums."""
    return {
        "dram_bytes": sum(moved.values()),
        **{f"dram_{tensor}_bytes": count for tensor, count in moved.items()},
        "energy_pj": sum(parts.values()),
        **{f"energy_{part}_pj": parts[part] for part in ENERGIES},
    }


def _engine_row(job: Job, machine: Accelerator, timed: Sequence[int]) -> dict[str, Any]:
    cycles, work, fill, read, written = timed
    moved = dict.fromkeys(TENSORS, 0)
    for bits in (job.read_bits, job.written_bits):
        for tensor, count in bits.items():
            moved[tensor] += -(-count // 8)
    parts = energy.of_engine(
        machine,
        updates=0 if job.engine == "sore" else job.elements,
        compares=job.elements * sum(form.n for form in job.forms),
        dram_bytes=sum(moved.values()),
        cycles=cycles,
    )
    stalls = dict.fromkeys(STALLS, 0) | {"fill": fill, "dram_read": read, "dram_write": written}
    return {
        "m": job.elements,
        "k": 1,
        "n": 1,
        "count": 1,
        "parts": 1,
        "pattern": "dense",
        "dataflow": job.engine,
        "interleave": 1,
        "tile": "",
        "cycles": cycles,
        "compute_cycles": work,
        "stall_cycles": cycles - work,
        **{f"stall_{cause}_cycles": count for cause, count in stalls.items()},
        "macs": 0,
        "effective_macs": 0,
        "utilization": 0.0,
        **_sums(moved, parts),
        "considered": 0,
    }


def _notes(trace: Trace, accelerator: Accelerator, method: Method) -> tuple[str, ...]:
    notes = list(trace.notes)
    fused = accelerator.vector.fused
    if riding := sum(isinstance(x, VectorWork) and x.work in fused for x in trace.layers):
        notes.append(
            f"{_count(riding, 'layer')} of {', '.join(fused)} work: no cost of its own, it rides "
            "along with a neighbour"
        )
    columns = accelerator.array.columns
    narrow = [
        layer
        for layer in trace.layers
        if isinstance(layer, Convolution)
        and layer.groups > 1
        and layer.out_channels // layer.groups < columns
    ]
    if narrow:
        notes.append(
            f"{_count(len(narrow), 'convolution')} in narrow channel groups (such as depthwise): "
            f"one product a group, which fills few of the array's {columns} columns"
        )
    if method.note:
        notes.append(f"{method.title}: {method.note}")
    return tuple(notes)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
