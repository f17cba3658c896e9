"""A method's hooks, called eagerly or, where a compiler looks on, as operators that it takes whole.

Methods choose, draw and solve in ways that no compiler follows; as operators they run the same code
under `torch.compile` and in an exported program. An operator may not return what it was given, so
there, and only there, what a method leaves as it is is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nofm.workloads.sparse.site import Site, decode


def weights(
    weight: Tensor, text: str, state: Mapping[str, Tensor], training: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What stands for the weight in FF and in BP, and what is added to its gradient.

    Args:
        text: the layer's `Site`, encoded.
        state: the method's buffers.
        training: whether the model trains.
    """
    if torch.compiler.is_compiling():
        ff, bp, *penalty = _weights(weight, list(state.values()), ",".join(state), text, training)
        return ff, bp, penalty[0] if penalty else None
    site = decode(text)
    ff = _forward_weight(weight, site, state, training)
    bp = site.method.backward_weight(weight, ff, site, state)
    return ff, bp, site.method.penalty(weight, ff)


def deployed(weight: Tensor, text: str, state: Mapping[str, Tensor]) -> Tensor:
    """What stands for the weight when nothing trains; arguments as those of `weights`."""
    if torch.compiler.is_compiling():
        return _deployed(weight, list(state.values()), ",".join(state), text)
    return _forward_weight(weight, decode(text), state, training=False)


def _forward_weight(
    weight: Tensor, site: Site, state: Mapping[str, Tensor], training: bool
) -> Tensor:
    if training:
        return site.method.forward_weight(weight, site, state)
    return site.method.deployed_weight(weight, site, state)


def refresh(weight: Tensor, text: str, state: Mapping[str, Tensor]) -> None:
    """Begin a step of training: count it, and choose anew what is due; arguments as `weights`."""
    if torch.compiler.is_compiling():
        _refresh(weight, list(state.values()), ",".join(state), text)
        return
    site = decode(text)
    site.method.refresh(weight, site, state)


def gradients(gradient: Tensor, text: str) -> tuple[Tensor, Tensor]:
    """What stands for the output's gradient in BP and in WU."""
    if torch.compiler.is_compiling():
        bp, wu = _gradients(gradient, text)
        return bp, wu
    site = decode(text)
    return site.method.gradients(gradient, site)


@torch.library.custom_op("nofm::refresh", mutates_args=("state",))
def _refresh(weight: Tensor, state: Sequence[Tensor], names: str, text: str) -> None:
    refresh(weight, text, dict(zip(names.split(","), state, strict=True)))


@torch.library.custom_op("nofm::weights", mutates_args=())
def _weights(
    weight: Tensor, state: Sequence[Tensor], names: str, text: str, training: bool
) -> list[Tensor]:
    found = weights(weight, text, dict(zip(names.split(","), state, strict=False)), training)
    return _fresh([each for each in found if each is not None], (weight, *state))


@_weights.register_fake
def _(
    weight: Tensor, state: Sequence[Tensor], names: str, text: str, training: bool
) -> list[Tensor]:
    penalised = decode(text).method.penalty(weight, weight) is not None
    return [torch.empty_like(weight) for _ in range(2 + penalised)]


@torch.library.custom_op("nofm::deployed", mutates_args=())
def _deployed(weight: Tensor, state: Sequence[Tensor], names: str, text: str) -> Tensor:
    found = deployed(weight, text, dict(zip(names.split(","), state, strict=False)))
    return _fresh([found], (weight, *state))[0]


@_deployed.register_fake
def _(weight: Tensor, state: Sequence[Tensor], names: str, text: str) -> Tensor:
    return torch.empty_like(weight)


@torch.library.custom_op("nofm::gradients", mutates_args=())
def _gradients(gradient: Tensor, text: str) -> list[Tensor]:
    return _fresh(list(gradients(gradient, text)), (gradient,))


@_gradients.register_fake
def _(gradient: Tensor, text: str) -> list[Tensor]:
    return [torch.empty_like(gradient), torch.empty_like(gradient)]


def _fresh(found: list[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, in their usual memory layout, none sharing its memory with another."""
    taken = {each.untyped_storage().data_ptr() for each in given}
    fresh = []
    for tensor in found:
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        fresh.append(tensor)
    return fresh
