"""Recording: the trace of a model with the tensors of one real training step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.kernels.errors import InputError
from nofm.workloads.capture import capture
from nofm.workloads.layer import Convolution, WeightLayer
from nofm.workloads.step_tensors import ORDER, StepTensors, Trained, shape_of
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import torch

    from nofm.workloads.sparse.layers import SparseLayer

Arrays = dict[str, np.ndarray[Any, Any]]


def record(
    model: torch.nn.Module,
    inputs: torch.Tensor | tuple[torch.Tensor, ...],
    loss: Callable[[Any], torch.Tensor],
    *,
    name: str | None = None,
    inner: bool = False,
) -> tuple[Trace, StepTensors]:
    """Run one forward and backward pass, and keep what entered the products of the weight layers.

    A model that `nofm.sparsify` changed runs as it trains, and what its method put in the place of
    a weight or a gradient is kept beside the dense tensor; of the trace's layers those are prunable
    that it prunes. A module that runs more than once is recorded the first time. Gradients are left
    as they were; buffers move as in any pass.

    Args:
        model: in the mode that it should run in.
        inputs: its positional arguments.
        loss: of the model's output, a scalar.
        name, inner: as for `capture`.

    Returns:
        The trace, with the zeros that were measured, and the tensors, float32.

    Raises:
        InputError: as `capture`; or the loss is not finite.
    """
    from nofm.workloads.sparse.convert import desparsify, sparse_layers

    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    plain = desparsify(copy.deepcopy(model))
    trace = capture(plain, list(arguments), name=name or type(model).__name__, inner=inner)
    modules = dict(model.named_modules())
    layers = {layer.name: layer for layer in trace.weight_layers if layer.name in modules}
    sparse = {name: layer for name, layer in sparse_layers(model).items() if name in layers}
    found: dict[str, Arrays] = {}
    handles = [
        modules[layer.name].register_forward_hook(_dense_tensors(layer, found))
        for layer in layers.values()
    ]
    parameters = list(model.parameters())
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        # Copies, so that no gradient is left in what was given.
        copies = [given.detach().requires_grad_(given.requires_grad) for given in arguments]
        with _entering(sparse, layers) as entered:
            value = loss(model(*copies))
            shown = float(value.detach())
            if not math.isfinite(shown):
                raise InputError(f"the loss of a recorded step must be finite, not {shown}")
            value.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
    for name, arrays in entered.items():
        for what, array in arrays.items():
            dense = found[name].get(what.rpartition("_")[2])
            if dense is None or not np.array_equal(array, dense, equal_nan=True):
                found[name][what] = array
    trained = {
        name: Trained(layer.nofm.method.name, layer.nofm.pattern)
        for name, layer in sparse.items()
        if name in found
    }
    tensors = StepTensors(found, trained)
    return tensors.measured(_pruned_as(trace, trained)), tensors


def _dense_tensors(layer: WeightLayer, found: dict[str, Arrays]) -> Callable[..., None]:
    """A forward hook that keeps a layer's dense tensors."""

    def hook(module: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if layer.name in found:
            return
        kept = found[layer.name] = {
            "weight": _array(module.weight, layer, "weight"),
            "input": _array(_padded(module, layer, given[0]), layer, "input"),
        }

        def keep(gradient: torch.Tensor) -> None:
            kept["gradient"] = _array(gradient, layer, "gradient")

        if output.requires_grad:
            output.register_hook(keep)  # type: ignore[no-untyped-call]

    return hook


@contextmanager
def _entering(
    sparse: Mapping[str, SparseLayer], layers: Mapping[str, WeightLayer]
) -> Iterator[dict[str, Arrays]]:
    """Keep what enters the products of sparse layers, by layer."""
    from nofm.workloads.sparse.watch import watching

    found: dict[str, Arrays] = {name: {} for name in sparse}

    def watch(name: str, stage: str, left: torch.Tensor, right: torch.Tensor) -> None:
        if name not in sparse or (stage == "ff" and "ff_weight" in found[name]):
            return
        kept, layer = found[name], layers[name]
        # Backward passes run in the opposite order: the last one is that of the first forward pass.
        if stage != "wu":
            kept[f"{stage}_weight"] = _array(right, layer, "weight")
        if stage != "ff":
            kept[f"{stage}_gradient"] = _array(left, layer, "gradient")
        order = sparse[name].nofm.method.backward_order(sparse[name].nofm_state())
        if stage == "ff" and order is not None:
            kept[ORDER] = order.cpu().numpy().astype(np.int32)

    # A site has the path under which `sparsify` saw its layer, which may be that in a part of the
    # model, and that of several layers.
    before = {name: layer.nofm_site for name, layer in sparse.items()}
    try:
        for name, layer in sparse.items():
            layer.nofm_site = replace(layer.nofm, name=name).encode()
        with watching(watch):
            yield found
    finally:
        for name, layer in sparse.items():
            layer.nofm_site = before[name]


def _pruned_as(trace: Trace, trained: Mapping[str, Trained]) -> Trace:
    """The trace, prunable where a method prunes: as it is, where none does."""
    if not trained:
        return trace
    layers = (
        replace(layer, prunable=layer.name in trained) if isinstance(layer, WeightLayer) else layer
        for layer in trace.layers
    )
    return replace(trace, layers=tuple(layers))


def _padded(module: Any, layer: WeightLayer, x: torch.Tensor) -> torch.Tensor:
    """A layer's input with the padding that is done before its product, as by reflection."""
    if not isinstance(layer, Convolution) or layer.transposed:
        return x
    from torch.nn.functional import pad

    own = [side for sides in reversed(layer.padding) for side in sides]
    before = [
        whole - part
        for whole, part in zip(module._reversed_padding_repeated_twice, own, strict=True)
    ]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return pad(x, before, mode=mode) if any(before) else x


def _array(tensor: torch.Tensor, layer: WeightLayer, what: str) -> np.ndarray[Any, Any]:
    found = tensor.detach().float().cpu().contiguous().numpy().copy()
    return found.reshape(shape_of(layer, what))
