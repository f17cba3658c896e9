"""A trace: the layers of one training step, in forward order."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nofm.kernels.errors import InputError, positive
from nofm.workloads.layer import Layer, WeightLayer


@dataclass(frozen=True)
class Trace:
    """The layers of one training step.

    Attributes:
        name: the network's name.
        batch: samples a step.
        layers: in forward order; the backward pass runs them in reverse.
        source: where the trace came from, for people ("torch 2.13.0, nofm.workloads...").
        notes: what the capture could not lower or had to assume, one line each.
        parameters: trainable parameters outside the weights of `layers` (biases, norm scales,
            embeddings): the optimizer updates them too.
    """

    name: str
    batch: int
    layers: tuple[Layer, ...]
    source: str = ""
    notes: tuple[str, ...] = ()
    parameters: int = 0

    def __post_init__(self) -> None:
        positive(f"trace {self.name!r}: batch", self.batch)
        if not self.layers:
            raise InputError(f"trace {self.name!r}: at least one layer is needed, not none")
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise InputError(
                    f"trace {self.name!r}: layer names must be unique, but {layer.name!r} repeats"
                )
            seen.add(layer.name)
            if layer.batched and layer.batch != self.batch * layer.passes:
                raise InputError(
                    f"trace {self.name!r}: every layer must have the trace's batch of "
                    f"{self.batch}, but {layer.name!r} has {layer.batch}"
                )

    def with_batch(self, batch: int) -> Trace:
        """The same network trained with another batch."""
        positive("batch", batch)
        layers = tuple(layer.with_batch(batch) for layer in self.layers)
        return replace(self, batch=batch, layers=layers)

    @property
    def weight_layers(self) -> tuple[WeightLayer, ...]:
        """The layers with a trainable weight, in forward order."""
        return tuple(layer for layer in self.layers if isinstance(layer, WeightLayer))
