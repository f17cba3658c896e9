"""A step among other boards: what is sent while gradients are still made, and what is waited for.

Two things work side by side. The board computes one job at a time: forward, backward, then the
updates. The network carries one bucket of gradients at a time, in the order in which they are
there; a bucket may go when its last gradient is there and the bucket before it has passed. Each
bucket's weights are updated when it has arrived and the backward pass is over. Where that ends the
step, no other order of the board's jobs ends sooner: updates before the end of the backward pass
only hold back the gradients that are still to come.

In a sharded exchange the new weights follow, bucket by bucket, when all reductions have passed.
The next step begins when the last update is done, or the last weight has arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from nofm.simulator.scaleout.collectives import Cost, Fabric
from nofm.simulator.scaleout.gradients import Gradient, LocalStep


@dataclass(frozen=True, slots=True)
class Bucket:
    """Gradients that are sent together, and what becomes of them.

    Attributes:
        ready_cycle: when the last of them is there.
        reduce_cycles, gather_cycles: of the network, for the gradients and for the new weights.
        update_cycles: of this board.
    """

    ready_cycle: int
    reduce_cycles: int
    update_cycles: int
    gather_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """A step among other boards, in cycles of the accelerator.

    Attributes:
        cycles: of the step.
        update_cycles: of this board's updates.
        communication_cycles: in which the network carries something.
        exposed_cycles: in which the board waits for it: `cycles` less all that it computes.
        sent_bytes, dram_bytes: of all collectives, as in `Cost`.
        buckets: how many.
        algorithms: that ran them, in the order of first use.
    """

    cycles: int
    update_cycles: int
    communication_cycles: int
    exposed_cycles: int
    sent_bytes: int
    dram_bytes: int
    buckets: int
    algorithms: tuple[str, ...]


def fill(gradients: Iterable[Gradient], bucket_bytes: int) -> list[tuple[Gradient, ...]]:
    """Gradients in buckets: one is full, and sent, as soon as it has `bucket_bytes` of whole
    gradients, whatever is sent of them (as in Li et al., *PyTorch Distributed*, VLDB 2020, and its
    hooks that compress). A gradient is never cut."""
    buckets: list[tuple[Gradient, ...]] = []
    waiting: list[Gradient] = []
    for gradient in gradients:
        waiting.append(gradient)
        if sum(item.gradient_bytes for item in waiting) >= bucket_bytes:
            buckets.append(tuple(waiting))
            waiting = []
    return [*buckets, tuple(waiting)] if waiting else buckets


def end_of(buckets: Sequence[Bucket], pass_cycles: int, overlap: bool = True) -> int:
    """The cycle in which the step ends.

    Args:
        buckets: in the order in which they are ready.
        pass_cycles: when the backward pass ends.
        overlap: whether buckets are sent before that.
    """
    network, board = 0, pass_cycles
    updated: list[int] = []
    for bucket in buckets:
        ready = bucket.ready_cycle if overlap else pass_cycles
        network = max(network, ready) + bucket.reduce_cycles
        board = max(board, network) + bucket.update_cycles
        updated.append(board)
    for bucket, done in zip(buckets, updated, strict=True):
        if bucket.gather_cycles:
            network = max(network, done) + bucket.gather_cycles
    return max(network, board)


def time_step(
    step: LocalStep,
    boards: int,
    fabric: Fabric,
    clock_hz: int,
    *,
    exchange: str,
    bucket_bytes: int,
    overlap: bool = True,
) -> Timing:
    """A board's step among `boards` alike.

    Args:
        step: the board's own.
        boards: that train together.
        fabric: what joins them.
        clock_hz: of the accelerator, whose cycles everything is counted in.
        exchange: one of `EXCHANGES`.
        bucket_bytes: as in `fill`.
        overlap: as in `end_of`.
    """
    sharded = exchange == "sharded"
    costs: list[Cost] = []
    buckets: list[Bucket] = []

    def carried(cost: Cost) -> int:
        costs.append(cost)
        return ceil(Fraction(cost.seconds) * clock_hz)

    for gradients in fill(step.gradients, bucket_bytes):
        sent = sum(gradient.sent_bytes(exchange) for gradient in gradients)
        whole = sum(gradient.update_cycles for gradient in gradients)
        ready = gradients[-1].ready_cycle
        if not sharded:
            reduced = carried(fabric.cost("all_reduce", sent, boards))
            buckets.append(Bucket(ready, reduced, whole))
            continue
        new = sum(gradient.weight_bytes for gradient in gradients)
        buckets.append(
            Bucket(
                ready,
                carried(fabric.cost("reduce_scatter", sent, boards)),
                sum(gradient.shard_cycles(boards) for gradient in gradients),
                carried(fabric.cost("all_gather", new, boards)),
            )
        )
    cycles = end_of(buckets, step.pass_cycles, overlap)
    updates = sum(bucket.update_cycles for bucket in buckets)
    return Timing(
        cycles=cycles,
        update_cycles=updates,
        communication_cycles=sum(b.reduce_cycles + b.gather_cycles for b in buckets),
        exposed_cycles=cycles - step.pass_cycles - updates,
        sent_bytes=sum(cost.sent_bytes for cost in costs),
        dram_bytes=sum(cost.dram_bytes for cost in costs),
        buckets=len(buckets),
        algorithms=tuple(dict.fromkeys(cost.algorithm for cost in costs if cost.algorithm)),
    )
