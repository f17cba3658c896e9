"""Tensors of a real training step, by layer: what a trace may carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import InputError, unknown
from nofm.workloads.layer import Convolution, Layer, Linear, WeightLayer
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import numpy as np

WHAT = ("weight", "input", "gradient")
"""What there is of a layer, in torch's shapes: its dense weight [Co, Ci / groups, *kernel], its
input [batch, Ci, *positions] and the gradient of its output [batch, Co, *positions]; of a linear
layer [Co, Ci], [batch, rows, Ci] and [batch, rows, Co]."""

MILLION = 1_000_000


@dataclass(frozen=True, eq=False)
class StepTensors:
    """Tensors of a step.

    Attributes:
        layers: by layer's name and by what they are (`WHAT`): float16 or float32 arrays.
    """

    layers: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]

    def items(self) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """Every tensor with its name in a file, `<layer>/<what>`."""
        for layer, found in self.layers.items():
            for what in WHAT:
                if what in found:
                    yield f"{layer}/{what}", found[what]

    def check(self, trace: Trace) -> None:
        """Refuse tensors that do not fit the trace.

        Raises:
            InputError: a tensor is of no weight layer, or has another shape or type.
        """
        known = {layer.name: layer for layer in trace.weight_layers}
        for name, found in self.layers.items():
            if name not in known:
                raise unknown("layer of tensors", name, known)
            for what, array in found.items():
                if what not in WHAT:
                    raise unknown(f"tensor of layer {name!r}", what, WHAT)
                shape = shape_of(known[name], what)
                if array.shape != shape or array.dtype.name not in ("float16", "float32"):
                    raise InputError(
                        f"layer {name!r}: {what} must be float16 or float32 {list(shape)}, not "
                        f"{array.dtype} {list(array.shape)}"
                    )

    def measured(self, trace: Trace) -> Trace:
        """The trace, its layers with the zeros of their inputs and gradients."""

        def with_zeros(layer: Layer) -> Layer:
            found = self.layers.get(layer.name)
            if found is None or not isinstance(layer, WeightLayer):
                return layer
            shares: dict[str, Any] = {
                f"{what}_zeros_ppm": round(MILLION * float((found[what] == 0).mean()))
                for what in ("input", "gradient")
                if what in found
            }
            return replace(layer, **shares)

        return replace(trace, layers=tuple(map(with_zeros, trace.layers)))


def shape_of(layer: WeightLayer, what: str) -> tuple[int, ...]:
    """The shape of a layer's weight, input or gradient."""
    if isinstance(layer, Linear):
        return {
            "weight": (layer.out_features, layer.in_features),
            "input": (layer.batch, layer.rows, layer.in_features),
            "gradient": (layer.batch, layer.rows, layer.out_features),
        }[what]
    assert isinstance(layer, Convolution)
    ci, co = layer.in_channels, layer.out_channels
    first, second = (ci, co) if layer.transposed else (co, ci)
    return {
        "weight": (first, second // layer.groups, *layer.kernel),
        "input": (layer.batch, ci, *layer.size),
        "gradient": (layer.batch, co, *layer.output_size),
    }[what]
