"""Recording: the trace of a model with the tensors of one real training step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.kernels.errors import InputError
from nofm.workloads.capture import capture
from nofm.workloads.layer import WeightLayer
from nofm.workloads.step_tensors import StepTensors, shape_of
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import torch


def record(
    model: torch.nn.Module,
    inputs: torch.Tensor | tuple[torch.Tensor, ...],
    loss: Callable[[Any], torch.Tensor],
    *,
    name: str | None = None,
    inner: bool = False,
) -> tuple[Trace, StepTensors]:
    """Run one forward and backward pass, and keep what the weight layers saw.

    A model that `nofm.sparsify` changed runs as it trains; its weights are the dense ones. A module
    that runs more than once is recorded the first time. Gradients are left as they
    were; buffers move as in any pass.

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
    from nofm.workloads.sparse.convert import desparsify

    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    plain = desparsify(copy.deepcopy(model))
    trace = capture(plain, list(arguments), name=name or type(model).__name__, inner=inner)
    layers = {layer.name: layer for layer in trace.weight_layers}
    seen: dict[str, dict[str, np.ndarray[Any, Any]]] = {}

    def watch(layer: WeightLayer) -> Callable[..., None]:
        def hook(module: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if layer.name in seen:
                return
            found = seen[layer.name] = {
                "weight": _array(module.weight, layer, "weight"),
                "input": _array(given[0], layer, "input"),
            }

            def keep(gradient: torch.Tensor) -> None:
                found["gradient"] = _array(gradient, layer, "gradient")

            if output.requires_grad:
                output.register_hook(keep)  # type: ignore[no-untyped-call]

        return hook

    modules = dict(model.named_modules())
    handles = [
        modules[layer.name].register_forward_hook(watch(layer))
        for layer in layers.values()
        if layer.name in modules
    ]
    parameters = list(model.parameters())
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        # Copies, so that no gradient is left in what was given.
        copies = [given.detach().requires_grad_(given.requires_grad) for given in arguments]
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
    tensors = StepTensors(seen)
    return tensors.measured(trace), tensors


def _array(tensor: torch.Tensor, layer: WeightLayer, what: str) -> np.ndarray[Any, Any]:
    found = tensor.detach().float().cpu().contiguous().numpy().copy()
    return found.reshape(shape_of(layer, what))
