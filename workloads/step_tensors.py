"""Tensors of a real training step, by layer: what a trace may carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import InputError, unknown
from nofm.kernels.pattern import Pattern
from nofm.workloads.layer import Convolution, Layer, Linear, WeightLayer
from nofm.workloads.methods import method as find_method
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import numpy as np

DENSE_WHAT = ("weight", "input", "gradient")
"""What there is of every layer, in torch's shapes: its dense weight [Co, Ci / groups, *kernel], its
input [batch, Ci, *positions] and the gradient of its output [batch, Co, *positions]; of a linear
layer [Co, Ci], [batch, rows, Ci] and [batch, rows, Co]."""

ENTERED_WHAT = ("ff_weight", "bp_weight", "bp_gradient", "wu_gradient")
"""What entered the products of a layer that a method trained, in the same shapes, where it is not
the dense tensor."""

ORDER = "bp_order"
"""int32 [groups, Co / groups]: output channels in the order that groups of BP lie along, where that
is not their own."""

WHAT = (*DENSE_WHAT, *ENTERED_WHAT, ORDER)

MILLION = 1_000_000


@dataclass(frozen=True)
class Trained:
    """How a layer trained.

    Attributes:
        method: by name.
        pattern: the layer's.
    """

    method: str
    pattern: Pattern

    def __post_init__(self) -> None:
        find_method(self.method)


@dataclass(frozen=True, eq=False)
class StepTensors:
    """Tensors of a step.

    Attributes:
        layers: by layer's name and by what they are (`WHAT`): float16 or float32 arrays.
        trained: how those layers trained that a method changed, by name.
    """

    layers: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]
    trained: Mapping[str, Trained] = field(default_factory=dict)

    def items(self) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """Every tensor with its name in a file, `<layer>/<what>`."""
        for layer, found in self.layers.items():
            for what in WHAT:
                if what in found:
                    yield f"{layer}/{what}", found[what]

    def check(self, trace: Trace) -> None:
        """Refuse tensors that do not fit the trace.

        Raises:
            InputError: a tensor is of no weight layer, has another shape or type, or is of a
                training that the layer had not; an order is none.
        """
        known = {layer.name: layer for layer in trace.weight_layers}
        for name in self.trained:
            if name not in known:
                raise unknown("layer that a method trained", name, known)
        for name, found in self.layers.items():
            if name not in known:
                raise unknown("layer of tensors", name, known)
            for what, array in found.items():
                if what not in WHAT:
                    raise unknown(f"tensor of layer {name!r}", what, WHAT)
                if what not in DENSE_WHAT and name not in self.trained:
                    raise InputError(f"layer {name!r}: {what} is of a method, but none trained it")
                shape = shape_of(known[name], what)
                types = ("int32",) if what == ORDER else ("float16", "float32")
                if array.shape != shape or array.dtype.name not in types:
                    raise InputError(
                        f"layer {name!r}: {what} must be {' or '.join(types)} {list(shape)}, not "
                        f"{array.dtype} {list(array.shape)}"
                    )
                if what == ORDER and any(sorted(own) != [*range(shape[1])] for own in array):
                    raise InputError(
                        f"layer {name!r}: {what} must have each of the {shape[1]} channels of a "
                        "group once"
                    )

    def measured(self, trace: Trace) -> Trace:
        """The trace, its layers with the zeros of their inputs and gradients."""

        def with_zeros(layer: Layer) -> Layer:
            found = self.layers.get(layer.name)
            if found is None or not isinstance(layer, WeightLayer):
                return layer
            shares: dict[str, Any] = {
                f"{what}_zeros_ppm": round(MILLION * float((found[what] == 0).mean()))
                for what in DENSE_WHAT[1:]
                if what in found
            }
            return replace(layer, **shares)

        return replace(trace, layers=tuple(map(with_zeros, trace.layers)))


def shape_of(layer: WeightLayer, what: str) -> tuple[int, ...]:
    """The shape of a tensor of a layer, one of `WHAT`."""
    if isinstance(layer, Linear):
        shapes = {
            "weight": (layer.out_features, layer.in_features),
            "input": (layer.batch, layer.rows, layer.in_features),
            "gradient": (layer.batch, layer.rows, layer.out_features),
            "order": (1, layer.out_features),
        }
    else:
        assert isinstance(layer, Convolution)
        ci, co = layer.in_channels, layer.out_channels
        first, second = (ci, co) if layer.transposed else (co, ci)
        shapes = {
            "weight": (first, second // layer.groups, *layer.kernel),
            "input": (layer.batch, ci, *layer.size),
            "gradient": (layer.batch, co, *layer.output_size),
            "order": (layer.groups, co // layer.groups),
        }
    return shapes[what.rpartition("_")[2]]
