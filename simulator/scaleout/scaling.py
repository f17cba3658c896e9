"""Weak and strong scaling: a training step on 1, 2, 4, ... boards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.methods import METHODS, Method
from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.scaleout import overlap
from nofm.simulator.scaleout.collectives import AUTO, Fabric
from nofm.simulator.scaleout.gradients import LocalStep, check_exchange, local_step
from nofm.simulator.scaleout.interconnect import Interconnect
from nofm.simulator.step import Options, simulate_step
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "nofm.scale/1"
MOST_BOARDS = 1 << 20
BOARDS = tuple(1 << bit for bit in range(18))
"""1 to 131,072 boards."""

SCALINGS = ("weak", "strong")
"""Every board keeps its batch; the batch is divided among them."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many are, and of how many."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How boards share gradients.

    Attributes:
        exchange: one of `gradients.EXCHANGES`.
        algorithm: one of `collectives.ALGORITHMS`, or "auto", the fastest for each message.
        bucket_bytes: gradients of at least so many bytes are sent together.
        overlap: whether they are sent while the backward pass goes on.
    """

    exchange: str = "dense"
    algorithm: str = AUTO
    bucket_bytes: int = 25 * 2**20
    overlap: bool = True

    def __post_init__(self) -> None:
        positive("bucket_bytes", self.bucket_bytes, at_most=2**40)


@dataclass(frozen=True)
class ScaleOut:
    """A training step on many boards.

    Attributes:
        workload, method, pattern, batch, global_batch, optimizations: what was simulated; `batch`
            is a board's in weak scaling, `global_batch` that of all boards in strong scaling.
        accelerator, interconnect, sharing: on what, joined how, sharing how.
        gradient_bytes, weight_bytes: what a step's reductions add up, and what its updates write
            as new weights.
        points: a pandas DataFrame, a row for each scaling and number of boards, with

            - `scaling` (weak or strong), `boards`, `local_batch`, `global_batch`;
            - `cycles` = `forward_cycles` + `backward_cycles` + `update_cycles` +
              `exposed_cycles` (in which a board waits for the network), `seconds` (of the step);
            - `communication_cycles` (in which the network carries something), `exposed_share` =
              exposed_cycles / cycles, `algorithms` (that ran the collectives, joined by +),
              `buckets`;
            - `sent_bytes` (the most that any board sends in a step), `dram_bytes` (that this
              adds to a board's DRAM traffic), `contention_bound` (by how much, as a share, the
              step were longer if every one of those bytes held up the board: the most that it can
              be);
            - `samples_per_second`, `scaling_speedup` (over one board in the same scaling),
              `efficiency` = scaling_speedup / boards;
            - `dense_cycles` (dense training on as many boards, sharing in the same way but for
              masks), `speedup` = dense_cycles / cycles.
        notes: what was assumed or left out, one line each.
    """

    workload: str
    batch: int
    global_batch: int
    method: str
    pattern: str
    optimizations: dict[str, Any]
    accelerator: Accelerator
    interconnect: Interconnect
    sharing: Sharing
    gradient_bytes: int
    weight_bytes: int
    points: pd.DataFrame
    notes: tuple[str, ...] = field(default=())

    def to_document(self) -> dict[str, Any]:
        """One document of plain values; docs/json.md lists its fields."""
        return {
            "schema": SCHEMA,
            "workload": self.workload,
            "batch": self.batch,
            "global_batch": self.global_batch,
            "method": self.method,
            "pattern": self.pattern,
            "optimizations": dict(self.optimizations),
            "hardware": self.accelerator.to_document(),
            "interconnect": self.interconnect.to_document(),
            "sharing": asdict(self.sharing),
            "gradient_bytes": self.gradient_bytes,
            "weight_bytes": self.weight_bytes,
            "points": self.points.to_dict("records"),
            "notes": list(self.notes),
        }


def scale_out(
    trace: Trace,
    accelerator: Accelerator,
    method: Method,
    pattern: Pattern,
    options: Options,
    interconnect: Interconnect,
    sharing: Sharing,
    *,
    global_batch: int | None = None,
    boards: Sequence[int] = BOARDS,
    progress: Progress = lambda what, done, of: None,
) -> ScaleOut:
    """A step of `trace`, whose batch is that of one board in weak scaling, on many boards.

    Args:
        global_batch: of all boards in strong scaling; the trace's batch when None. Numbers of
            boards that do not divide it are left out there, with a note.
        boards: how many.

    Raises:
        InputError: as `simulate_step`; or an exchange, an algorithm or a number of boards that
            cannot be used.
    """
    import pandas as pd

    check_exchange(sharing.exchange, method)
    counts = _counts(boards)
    whole = trace.batch if global_batch is None else positive("global batch", global_batch)
    fabric = Fabric(interconnect, accelerator.dram.bandwidth_gbps * 1e9, sharing.algorithm)
    todo = [("weak", count, trace.batch) for count in counts]
    todo += [("strong", count, whole // count) for count in counts if whole % count == 0]

    local = {}
    batches = sorted({trace.batch, whole, *(batch for _, _, batch in todo)})
    for place, batch in enumerate(batches):
        progress(f"batch {batch}", place, len(batches))
        local[batch] = _local_steps(trace.with_batch(batch), accelerator, method, pattern, options)
    progress("", len(batches), len(batches))

    def timed(batch: int, count: int, *, dense: bool) -> overlap.Timing:
        return overlap.time_step(
            local[batch].dense if dense else local[batch].own,
            count,
            fabric,
            accelerator.clock_hz,
            exchange=sharing.exchange,
            bucket_bytes=sharing.bucket_bytes,
            overlap=sharing.overlap,
        )

    alone = {
        "weak": trace.batch / timed(trace.batch, 1, dense=False).cycles,
        "strong": whole / timed(whole, 1, dense=False).cycles,
    }
    rows = []
    for scaling, count, batch in todo:
        own, dense = (timed(batch, count, dense=which) for which in (False, True))
        rows.append(_row(scaling, count, local[batch].own, own, dense, alone[scaling], accelerator))
    step = local[trace.batch].own
    return ScaleOut(
        workload=trace.name,
        batch=trace.batch,
        global_batch=whole,
        method=method.name,
        pattern="dense" if method.name == "dense" else str(pattern),
        optimizations=asdict(options),
        accelerator=accelerator,
        interconnect=interconnect,
        sharing=sharing,
        gradient_bytes=sum(item.sent_bytes(sharing.exchange) for item in step.gradients),
        weight_bytes=sum(item.weight_bytes for item in step.gradients),
        points=pd.DataFrame(rows),
        notes=_notes(counts, whole, method, sharing, step),
    )


@dataclass(frozen=True, slots=True)
class _Local:
    own: LocalStep
    dense: LocalStep


def _local_steps(
    trace: Trace, accelerator: Accelerator, method: Method, pattern: Pattern, options: Options
) -> _Local:
    result = simulate_step(trace, accelerator, method, pattern, options)
    own = local_step(result, trace, method, pattern)
    if result.dense is None:
        return _Local(own, own)
    return _Local(own, local_step(result.dense, trace, METHODS["dense"], DENSE))


def _counts(boards: Sequence[int]) -> list[int]:
    if not boards:
        raise InputError("at least one number of boards is needed, not none")
    return sorted({positive("boards", count, at_most=MOST_BOARDS) for count in boards})


def _row(
    scaling: str,
    boards: int,
    step: LocalStep,
    own: overlap.Timing,
    dense: overlap.Timing,
    alone: float,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """A row of `ScaleOut.points`; `alone` is one board's samples a cycle."""
    seconds = own.cycles / accelerator.clock_hz
    samples = boards * step.samples
    speedup = samples / own.cycles / alone
    dram_seconds = own.dram_bytes / (accelerator.dram.bandwidth_gbps * 1e9)
    return {
        "scaling": scaling,
        "boards": boards,
        "local_batch": step.samples,
        "global_batch": samples,
        "cycles": own.cycles,
        "forward_cycles": step.forward_cycles,
        "backward_cycles": step.backward_cycles,
        "update_cycles": own.update_cycles,
        "exposed_cycles": own.exposed_cycles,
        "communication_cycles": own.communication_cycles,
        "seconds": seconds,
        "exposed_share": own.exposed_cycles / own.cycles,
        "samples_per_second": samples / seconds,
        "scaling_speedup": speedup,
        "efficiency": speedup / boards,
        "dense_cycles": dense.cycles,
        "speedup": dense.cycles / own.cycles,
        "algorithms": "+".join(own.algorithms),
        "buckets": own.buckets,
        "sent_bytes": own.sent_bytes,
        "dram_bytes": own.dram_bytes,
        "contention_bound": dram_seconds / seconds,
    }


def _notes(
    counts: Sequence[int], whole: int, method: Method, sharing: Sharing, step: LocalStep
) -> tuple[str, ...]:
    notes = []
    if left := [count for count in counts if whole % count]:
        shown = ", ".join(f"{count:,}" for count in left[:4]) + (", ..." if len(left) > 4 else "")
        notes.append(
            f"strong scaling leaves out {shown} boards: a global batch of {whole:,} does not "
            "divide among them"
        )
    if not step.gradients:
        notes.append("the step updates no weight: nothing is shared")
    if sharing.exchange == "shared-mask" and not method.stored_mask:
        notes.append(
            f"shared-mask: {method.title} also trains with the gradients of weights that the mask "
            "drops; without them masks follow the dropped weights no more"
        )
    if sharing.exchange == "shared-mask":
        notes.append(
            "shared-mask: only what is sent shrinks; each board still computes the whole gradient "
            "and updates all weights"
        )
    if sharing.exchange == "sharded":
        notes.append(
            "sharded: updates wait for the backward pass, and the next step for all new weights"
        )
    notes.append(
        "boards are alike and never late; DRAM traffic of the network delays no job (see "
        "contention_bound)"
    )
    return tuple(notes)
