"""CAST's weight scaling against a plain float64 step, its optimizer's step, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nofm
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads.recording import record

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(16, 5), (3, 16)),
    "ragged": (lambda: nn.Linear(13, 5, bias=False), (3, 2, 13)),
    "conv2d": (lambda: nn.Conv2d(10, 4, 3, stride=2, padding=1), (2, 10, 5, 4)),
    "grouped": (lambda: nn.Conv1d(12, 6, 2, groups=2), (2, 12, 5)),
}
P24 = Pattern(2, 4)


def scaled(weight: Tensor, scale: Tensor, blocks: int) -> Tensor:
    """Element by element: blocks are whole groups of 4, as many as fit into that many of them."""
    ci = weight.shape[1]
    groups = (ci + 3) // 4
    per_block = (groups + blocks - 1) // blocks
    rows = [
        torch.stack([weight[r, c] * scale[r, c // 4 // per_block] for c in range(ci)])
        for r in range(len(weight))
    ]
    return torch.stack(rows)


def pruned(weight: Tensor) -> Tensor:
    out = weight.clone()
    flat = out.reshape(len(out), out.shape[1], -1)
    for row in flat:
        for tap in row.unbind(1):
            for first in range(0, len(tap), 4):
                group = tap[first : first + 4]
                for place in sorted(range(len(group)), key=lambda i: -abs(group[i]))[2:]:
                    group[place] = 0
    return out


def case(name: str, blocks: int) -> tuple[Any, Any, Tensor]:
    """A sparse layer with scales that are not 1, the same plain one in float64, and an input."""
    torch.manual_seed(1)
    make, shape = LAYERS[name]
    plain: Any = make().double()
    layer: Any = make()
    layer.load_state_dict({key: value.float() for key, value in plain.state_dict().items()})
    plain.load_state_dict({key: value.double() for key, value in layer.state_dict().items()})
    nofm.sparsify(nn.Sequential(layer), "cast", {"0": P24}, scaling_groups=blocks)
    with torch.no_grad():
        layer.nofm_scale.copy_(torch.rand_like(layer.nofm_scale) + 0.5)
    return layer, plain, torch.randn(shape)


def run(plain: Any, x: Tensor, weight: Tensor) -> Tensor:
    return torch.func.functional_call(plain, {"weight": weight}, (x,))


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_a_step_is_that_of_scaled_weights(name: str, blocks: int) -> None:
    layer, plain, x = case(name, blocks)
    ours = x.clone().requires_grad_()
    y = layer(ours)
    out = torch.randn_like(y)
    y.backward(out)
    theirs = x.double().requires_grad_()
    scale = layer.nofm_scale.detach().double().requires_grad_()
    weight = plain.weight.detach().requires_grad_()
    found = run(plain, theirs, scaled(weight, scale, blocks))
    found.backward(out.double())
    pairs = [
        (y, found),
        (ours.grad, theirs.grad),
        (layer.weight.grad, weight.grad),
        (layer.nofm_scale.grad, scale.grad),
    ]
    for mine, wanted in pairs:
        assert torch.allclose(mine.double(), wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(layer.nofm_mask.bool(), pruned(layer.weight.detach()) != 0)


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_deployed_is_pruned_then_scaled(name: str) -> None:
    layer, plain, x = case(name, 2)
    weight = scaled(pruned(plain.weight.detach()), layer.nofm_scale.detach().double(), 2)
    with torch.no_grad():
        assert torch.allclose(layer.eval()(x).double(), run(plain, x.double(), weight), atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_plain_layers_have_the_scales_in_their_weights(name: str) -> None:
    layer, plain, x = case(name, 2)
    y = layer(x)
    weight = scaled(plain.weight.detach(), layer.nofm_scale.detach().double(), 2)
    nofm.desparsify(nn.Sequential(layer))
    assert set(dict(layer.named_parameters())) == set(dict(plain.named_parameters()))
    assert torch.allclose(layer.weight.double(), weight, rtol=1e-6)
    assert torch.equal(layer(x), y)


def test_scales_begin_as_one_and_take_adams_steps() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(5, 4)
    before = model(x)
    nofm.sparsify(model, "cast", "2:4", scaling_groups=2)
    assert torch.equal(model(x), before)
    scale: Any = model[2].nofm_scale
    assert torch.equal(scale, torch.ones(8, 2))
    optimizer = nofm.AdamS(model, total_steps=4, lr=0.01)
    value, mu, v = scale.detach().double().clone(), 0.0, 0.0
    for step in range(1, 4):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        mu = 0.9 * mu + 0.1 * scale.grad.double()
        v = 0.999 * v + 0.001 * mu**2
        value -= 0.01 * mu / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        optimizer.step()
        assert torch.allclose(scale.double(), value, atol=1e-5)


def test_the_recorded_step_has_the_scaled_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    nofm.sparsify(model, "cast", "2:4", scaling_groups=2)
    layer: Any = model[2]
    with torch.no_grad():
        layer.nofm_scale.mul_(2)
    _, tensors = record(model, torch.randn(5, 4), lambda y: y.square().mean())
    weight = layer.weight.detach().numpy()
    assert np.array_equal(tensors.layers["2"]["weight"], weight)
    assert np.array_equal(tensors.layers["2"]["ff_weight"], 2 * weight)
    assert np.array_equal(tensors.layers["2"]["bp_weight"], 2 * weight)


def test_what_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        nofm.sparsify(nn.Linear(4, 4), "cast", {"": "2:4"}, scaling_groups=0)
    assert str(caught.value) == (
        "method 'cast': scaling_groups must be a whole number from 1 to 2147483647, not 0"
    )
