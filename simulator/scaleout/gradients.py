"""What a simulated step has to share: gradients of weights, when each is there, and its bytes.

The step of one accelerator updates a layer's weights as soon as it has their gradient. With other
boards it must wait for theirs, so the jobs that update are taken out of the step, and the others
move together. A gradient is there when the last job that stood before its update has ended; those
of biases, scales and embeddings, which the step updates together at the end, are there at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nofm.dataflow.formats import BITS
from nofm.dataflow.methods import Method
from nofm.dataflow.products import products
from nofm.kernels.errors import InputError, unknown
from nofm.kernels.pattern import Pattern
from nofm.simulator.result import StepResult
from nofm.workloads.layer import WeightLayer
from nofm.workloads.trace import Trace

EXCHANGES: dict[str, str] = {
    "dense": "all-reduce of whole gradients; every board updates all weights",
    "shared-mask": "all-reduce of the gradients of those weights that an N:M mask keeps, the same "
    "on all boards; every board updates all weights",
    "sharded": "reduce-scatter of whole gradients; every board updates its share of the weights; "
    "all-gather of the new weights in the N:M forms that products read",
}
"""How boards share what they learn, by name."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """A weight's gradient.

    Attributes:
        layer: whose update it is for.
        ready_cycle: when it is there, from the step's start.
        elements: of the weight.
        gradient_bytes: in the accelerator's operand format.
        kept_bytes: of the gradients of those elements that the weight's N:M mask keeps, without
            indices, for every board knows the mask; all of them where the weight has none.
        weight_bytes: of the new weight as the update writes it: N:M forms with their indices where
            pruning is part of the update, dense where a product reads it so.
        update_cycles: of the whole update.
        update_fill_cycles: those of them that do not shrink with the weight.
    """

    layer: str
    ready_cycle: int
    elements: int
    gradient_bytes: int
    kept_bytes: int
    weight_bytes: int
    update_cycles: int
    update_fill_cycles: int

    def sent_bytes(self, exchange: str) -> int:
        """Bytes that a reduction adds up."""
        return self.kept_bytes if exchange == "shared-mask" else self.gradient_bytes

    def shard_cycles(self, boards: int) -> int:
        """Cycles in which a board updates its share of the weight."""
        moving = self.update_cycles - self.update_fill_cycles
        return self.update_fill_cycles + -(-moving // boards)


@dataclass(frozen=True, slots=True)
class LocalStep:
    """One board's step without its updates.

    Attributes:
        samples: of this board.
        forward_cycles, backward_cycles: of all jobs but updates.
        gradients: in the order in which they are there.
    """

    samples: int
    forward_cycles: int
    backward_cycles: int
    gradients: tuple[Gradient, ...]

    @property
    def pass_cycles(self) -> int:
        """Cycles of the forward and the backward pass."""
        return self.forward_cycles + self.backward_cycles


READ = ("layer", "stage", "m", "cycles", "stall_fill_cycles", "dram_weight_bytes")
"""Columns of a step's rows that matter here."""


def local_step(result: StepResult, trace: Trace, method: Method, pattern: Pattern) -> LocalStep:
    """A step as a board runs it among others.

    Args:
        result: the simulated step of `trace` by `method` with `pattern`.
        trace, method, pattern: what was simulated.
    """
    bits = BITS[result.accelerator.formats.operand]
    by_weight: dict[str, WeightLayer] = {layer.name: layer for layer in trace.weight_layers}
    rows = result.layers[list(READ)].to_dict("records")
    last_forward = max((i for i, row in enumerate(rows) if row["stage"] == "ff"), default=-1)
    passed, forward = 0, 0
    found: list[Gradient] = []
    for place, row in enumerate(rows):
        if row["stage"] != "update":
            passed += row["cycles"]
            forward = passed if place <= last_forward else forward
            continue
        elements = row["m"]
        layer = by_weight.get(row["layer"])
        kept = elements if layer is None else kept_elements(layer, method, pattern)
        found.append(
            Gradient(
                layer=row["layer"],
                ready_cycle=passed,
                elements=elements,
                gradient_bytes=_bytes(elements * bits),
                kept_bytes=_bytes(kept * bits),
                weight_bytes=row["dram_weight_bytes"],
                update_cycles=row["cycles"],
                update_fill_cycles=row["stall_fill_cycles"],
            )
        )
    return LocalStep(result.batch, forward, passed - forward, tuple(found))


def kept_elements(layer: WeightLayer, method: Method, pattern: Pattern) -> int:
    """Elements of a layer's weight that its N:M mask keeps: that of FF, or of BP where the weight
    is dense in FF; all where it is dense in both."""
    elements = layer.weight_elements
    for stage in ("ff", "bp"):
        if method.operand(stage) != "weight":
            continue
        for product in products(replace(layer, input_gradient=True), stage, method, pattern)[:1]:
            if not product.pattern.dense:
                return elements // product.length * product.pattern.kept(product.length)
    return elements


def check_exchange(exchange: str, method: Method) -> None:
    """Refuse an exchange that is unknown, or that the method has no mask for.

    Raises:
        InputError: which.
    """
    if exchange not in EXCHANGES:
        raise unknown("exchange", exchange, EXCHANGES)
    if exchange == "shared-mask" and "weight" not in (method.ff, method.bp):
        raise InputError(
            f"exchange shared-mask needs a method that prunes weights, which {method.name!r} does "
            "not"
        )


def _bytes(bits: int) -> int:
    return -(-bits // 8)
