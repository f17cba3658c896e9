"""Operands of a real step: the sizes of the products, and torch's results when multiplied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.dataflow.operands import operands
from nofm.kernels.compressed import Compressed, decompress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.kernels.reference import matmul
from nofm.simulator.array import run
from nofm.workloads.recording import record

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(12, 7), (6, 12)),
    "sequence": (nn.Linear(8, 10, bias=False), (2, 3, 8)),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 7)),
    "conv2d": (nn.Conv2d(5, 8, 3, padding=1), (2, 5, 5, 4)),
    "strided": (nn.Conv2d(4, 8, 3, stride=2, padding=1), (2, 4, 7, 6)),
    "grouped": (nn.Conv2d(6, 9, (3, 2), groups=3, stride=(1, 2)), (2, 6, 6, 5)),
    "dilated": (nn.Conv2d(3, 4, 3, dilation=2, padding=2), (1, 3, 6, 6)),
    "patches": (nn.Conv2d(3, 8, 2, stride=2), (2, 3, 6, 4)),
    "pointwise": (nn.Conv2d(6, 4, 1), (2, 6, 3, 3)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), (2, 4, 4, 3)),
    "upsampling": (nn.ConvTranspose1d(4, 6, 2, stride=2), (2, 4, 5)),
}


def recorded(name: str) -> tuple[Any, dict[str, np.ndarray], torch.Tensor, torch.Tensor]:
    """The layer, its tensors in FP16 steps, and torch's y and dx."""
    module, shape = LAYERS[name]
    torch.manual_seed(3)
    half = [torch.randn(size).half().float() for size in (shape, tuple(module.weight.shape))]
    with torch.no_grad():
        module.weight.copy_(half[1])
        if module.bias is not None:
            module.bias.zero_()
    module.weight.grad = None
    x = half[0].requires_grad_()
    model = nn.Sequential(module)
    target = torch.randn(module(x).shape).half().float()
    trace, tensors = record(model, x, lambda y: (y * target).sum(), inner=True)
    (layer,) = trace.weight_layers
    y = module(x)
    y.backward(target)
    return layer, dict(tensors.layers["0"]), y.detach(), x.grad


def results(layer: Any, tensors: dict, stage: str, method: str, pattern: Pattern) -> list:
    """Each product's result in float64, and a check of its sizes."""
    found = []
    for each in operands(layer, tensors, stage, METHODS[method], pattern):
        product, left, right = each.product, each.left, each.right
        assert left.shape == (product.count, product.m, product.taps, product.length)
        if isinstance(right, Compressed):
            assert right.pattern == product.pattern
            right = decompress(right)
        assert right.shape == (product.count, product.taps, product.length, product.n)
        assert left.dtype == right.dtype == np.float16
        found.append(np.einsum("cmtl,ctln->cmn", left.astype(float), right.astype(float)))
    return found


def by_channel(values: list[np.ndarray]) -> list[np.ndarray]:
    """The values of each channel that are not zero, sorted: in whatever order positions are."""
    return [np.sort(channel[abs(channel) > 1e-9]) for channel in values]


@pytest.mark.parametrize("name", LAYERS)
def test_products_of_the_operands_are_torchs(name: str) -> None:
    layer, tensors, y, dx = recorded(name)
    module = LAYERS[name][0]
    groups = getattr(module, "groups", 1)
    last = isinstance(module, nn.Linear)
    for stage, wanted in (("ff", y), ("bp", dx)):
        channels = (wanted if last else wanted.movedim(1, -1)).flatten(0, -2).T.double().numpy()
        per_group = len(channels) // groups
        parts: list[list[np.ndarray]] = [[] for _ in range(len(channels))]
        for found in results(layer, tensors, stage, "dense", DENSE):
            # Where windows do not overlap, n is taps x channels.
            taps = found.shape[2] // per_group
            split = found.reshape(found.shape[0], found.shape[1], taps, per_group)
            for group in range(groups):
                for channel in range(per_group):
                    parts[group * per_group + channel].append(split[group, ..., channel].ravel())
        ours = by_channel([np.concatenate(part) for part in parts])
        for mine, theirs in zip(ours, by_channel(list(channels)), strict=True):
            assert np.allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    (dw,) = results(layer, tensors, "wu", "dense", DENSE)
    weight = module.weight.grad.double()
    taps = weight[0, 0].numel()
    split = weight.reshape(groups, len(weight) // groups, weight.shape[1], taps)
    assert np.allclose(
        dw, split.permute(0, 3, 2, 1).reshape(dw.shape).numpy(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("method", ["srste", "sdgp", "bdwp", "fst"])
@pytest.mark.parametrize("name", LAYERS)
def test_sparse_operands_are_on_the_right(name: str, method: str) -> None:
    layer, tensors, _, _ = recorded(name)
    for stage in ("ff", "bp", "wu"):
        dense = results(layer, tensors, stage, "dense", DENSE)
        sparse = results(layer, tensors, stage, method, Pattern(2, 4))
        assert len(sparse) == len(dense)
        if METHODS[method].operand(stage) is None:
            assert all(np.array_equal(a, b) for a, b in zip(dense, sparse, strict=True))


@pytest.mark.parametrize("stage", ["ff", "bp", "wu"])
def test_the_array_runs_a_real_step(stage: str) -> None:
    """The stepped array's bits are the golden model's on real tensors, in every stage of FST."""
    layer, tensors, _, _ = recorded("strided")
    machine = load("sat-4x4")
    for each in operands(layer, tensors, stage, METHODS["fst"], Pattern(2, 4)):
        assert isinstance(each.right, Compressed)
        ours = run(machine, each.product.pattern, "ws", 1, each.left, each.right)
        golden = matmul(each.left, each.right)
        assert np.array_equal(ours.values.view(np.uint32), golden.view(np.uint32))


def test_what_is_missing() -> None:
    layer, tensors, _, _ = recorded("linear")
    with pytest.raises(InputError) as caught:
        operands(layer, {"weight": tensors["weight"]}, "ff", METHODS["dense"], DENSE)
    assert str(caught.value) == "layer '0': stage ff needs its input, which is missing"
