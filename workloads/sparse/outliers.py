"""OWL's allocation: an N for every layer, by the share of its weights that are outliers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads.methods.owl import Owl


def allocate(
    model: nn.Module, layers: Mapping[str, nn.Module], pattern: Pattern, method: Owl, batch: Any
) -> dict[str, Pattern]:
    """Each layer's pattern.

    Densities are the pattern's plus the layer's outlier ratio, scaled to a range of twice
    `method.spread` and centred. The N are rounded so that they add up to what N:M in every layer
    would have (largest remainders first), and stay from 1 to M.

    Args:
        model: in any mode; it is run once without gradients, in evaluation mode.
        layers: those to be pruned, by name.
        pattern: the mean.
        batch: the model's input: a tensor, or a tuple of positional arguments.
    """
    ratios = outlier_ratios(model, layers, method.outlier, batch)
    low, high = min(ratios.values()), max(ratios.values())
    scaled = {
        name: (ratio - low) / (high - low) * 2 * method.spread if high > low else 0.0
        for name, ratio in ratios.items()
    }
    mean = sum(scaled.values()) / len(scaled)
    wanted = {name: (pattern.density + each - mean) * pattern.m for name, each in scaled.items()}
    kept = {name: min(pattern.m, max(1, int(each))) for name, each in wanted.items()}
    missing = pattern.n * len(layers) - sum(kept.values())
    by_remainder = sorted(wanted, key=lambda name: kept[name] - wanted[name])
    for name in by_remainder:
        if missing > 0 and kept[name] < pattern.m:
            kept[name] += 1
            missing -= 1
    for name in reversed(by_remainder):
        if missing < 0 and kept[name] > 1:
            kept[name] -= 1
            missing += 1
    return {name: Pattern(n, pattern.m) for name, n in kept.items()}


@torch.no_grad()
def outlier_ratios(
    model: nn.Module, layers: Mapping[str, nn.Module], outlier: float, batch: Any
) -> dict[str, float]:
    """The share of each layer's weights whose |W| ||A|| is more than `outlier` times its mean; A is
    the input channel's activations in `batch`."""
    norms: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, layer in layers.items():
            handle = layer.register_forward_pre_hook(_recorder(norms, name))
            hooks.callback(handle.remove)
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            model(*batch) if isinstance(batch, tuple) else model(batch)
        finally:
            for module in training:
                module.training = True
    missing = sorted(set(layers) - set(norms))
    if missing:
        raise InputError(f"layer {missing[0]!r} does not run on the calibration batch")
    ratios = {}
    for name, layer in layers.items():
        weight: Any = layer.weight
        norm = norms[name].view(getattr(layer, "groups", 1), -1)
        per_group = weight.detach().abs().view(norm.shape[0], -1, *weight.shape[1:])
        score = per_group * norm.view(norm.shape[0], 1, -1, *(1,) * (weight.ndim - 2))
        ratios[name] = float((score > outlier * score.mean()).double().mean())
    return ratios


def _recorder(norms: dict[str, Tensor], name: str) -> Any:
    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().float()
        channels = x.ndim - 1 if isinstance(layer, nn.Linear) else 1
        others = [each for each in range(x.ndim) if each != channels]
        norms[name] = x.square().sum(others).sqrt()

    return record
