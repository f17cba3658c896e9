"""Capture: the trace of any torch model's training step, from one run on the meta device.

No data, no weights and no GPU are needed, and no memory is used: the forward and the backward pass
run on tensors that have only shapes. The loss and the optimizer are not part of a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nofm.kernels.errors import InputError, positive
from nofm.workloads.tensor_spec import TensorSpec, parse
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import torch


def capture(
    model: torch.nn.Module,
    inputs: torch.Tensor | TensorSpec | str | Sequence[torch.Tensor | TensorSpec | str],
    *,
    name: str | None = None,
    batch: int | None = None,
    inner: bool = False,
    allow_unsupported: bool = False,
) -> Trace:
    """The trace of one training step of `model`.

    The first layers (no weight layer or embedding lies between the inputs and them) and the head
    (the last weight layer, when it is linear or a convolution of kernel 1) are marked as not
    prunable, and so is every other layer that shares their weights.

    Args:
        model: any module, in the mode and with the frozen parameters it has; it is left as it is.
        inputs: its positional arguments, as tensors of any device or as shapes such as
            "512x3x224x224" or "8x128:int64". The first size of the first is the batch; so is the
            first size of every other input where it is the same number.
        name: of the trace; the model's class without it.
        batch: replaces the batch of the inputs.
        inner: the model is an inner part of a network, such as one block: gradients of its inputs
            are needed, and no layer is its first or its head.
        allow_unsupported: note products that have no layer in a trace instead of refusing them.

    Raises:
        InputError: the model fails on the meta device, for example where what it does depends on
            values; it has a product that no layer can hold; or nothing in it is trained.
    """
    import torch

    from nofm.workloads.lowering import Lowered, lower
    from nofm.workloads.meta_model import on_meta
    from nofm.workloads.step_events import StepLog
    from nofm.workloads.step_log import record

    if not isinstance(model, torch.nn.Module):
        raise InputError(f"a model must be a torch.nn.Module, not {type(model).__name__}")
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    name = type(model).__name__ if name is None else name
    specs = _specs(inputs)
    given = specs[0].shape[0]
    batch = given if batch is None else positive("batch", batch)
    meta_model = on_meta(name, model)

    def run(samples: int) -> StepLog:
        tensors = []
        for spec in specs:
            sized = spec.with_batch(samples) if spec.shape[0] == given else spec
            dtype = getattr(torch, sized.dtype)
            tensors.append(
                torch.empty(
                    sized.shape,
                    dtype=dtype,
                    device="meta",
                    requires_grad=inner and dtype.is_floating_point,
                )
            )
        return record(name, meta_model, tensors)

    def at(samples: int) -> Lowered:
        log = run(samples)
        try:
            doubled, notes = run(2 * samples), []
        except InputError as error:
            doubled = None
            notes = [f"sizes are those of batch {samples}, whatever the trace's batch: {error}"]
        lowered = lower(
            name,
            log,
            doubled,
            batch=samples,
            inner=inner,
            allow_unsupported=allow_unsupported,
        )
        return replace(lowered, notes=(*notes, *lowered.notes))

    # Sizes of 1 hide what grows with the batch: a batch of 1 is worked out from 2 and 4.
    lowered = at(max(batch, 2))
    if not lowered.scales and batch == 1:
        lowered = at(1)
    mode = () if model.training else ("captured in evaluation mode, as the model was given",)
    return Trace(
        name=name,
        batch=batch,
        layers=tuple(layer.with_batch(batch) for layer in lowered.layers),
        source=f"torch {torch.__version__}, {type(model).__name__} on "
        + ", ".join("x".join(map(str, spec.shape[1:])) or "1" for spec in specs),
        notes=(*mode, *lowered.notes),
        parameters=lowered.parameters,
    )


def capture_from_path(
    path: str,
    inputs: Sequence[str | TensorSpec],
    *,
    name: str | None = None,
    batch: int | None = None,
    inner: bool = False,
    allow_unsupported: bool = False,
) -> Trace:
    """The trace of the model that `package.module:factory` makes; see `capture`.

    Importing the module and calling the factory run their code.

    Raises:
        InputError: as `capture`, and where there is no such module or factory, or it fails.
    """
    from nofm.workloads.meta_model import build

    specs = _specs(inputs)
    return capture(
        build(path),
        specs,
        name=name,
        batch=batch,
        inner=inner,
        allow_unsupported=allow_unsupported,
    )


def _specs(inputs: object) -> list[TensorSpec]:
    items = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not items:
        raise InputError("a model needs at least one input, whose first size is the batch")
    return [_spec(item) for item in items]


def _spec(item: object) -> TensorSpec:
    if isinstance(item, TensorSpec):
        return item
    if isinstance(item, str):
        return parse(item)
    shape, dtype = getattr(item, "shape", None), getattr(item, "dtype", None)
    if shape is None or dtype is None:
        raise InputError(
            f"an input must be a tensor or a shape such as 512x3x224x224, not {item!r:.60}"
        )
    return TensorSpec(tuple(shape), str(dtype).removeprefix("torch."))
