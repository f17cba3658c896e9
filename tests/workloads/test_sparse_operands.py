"""What really enters the three products is N:M along the axis that each method's record claims."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nofm.kernels.pattern import Pattern
from nofm.workloads.methods import METHODS
from nofm.workloads.sparse.convert import sparsify
from nofm.workloads.sparse.watch import watching

# PGF's weights have faded out after its second step.
SETTINGS: dict[str, dict[str, Any]] = {"pgf": {"coefficient": 1.0}}


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """A layer, and the shape of its input."""
    batch = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(["linear", "conv1d", "conv2d"]))
    bias = draw(st.booleans())
    if kind == "linear":
        ci, co = draw(st.integers(1, 20)), draw(st.integers(1, 20))
        between = draw(st.sampled_from([(), (3,), (2, 3)]))
        return nn.Linear(ci, co, bias), (batch, *between, ci)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    ci, co = groups * draw(st.integers(1, 9)), groups * draw(st.integers(1, 9))
    options = {
        "stride": draw(st.integers(1, 2)),
        "padding": draw(st.integers(0, 1)),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
        "bias": bias,
    }
    size = draw(st.integers(5, 7))
    if kind == "conv1d":
        return nn.Conv1d(ci, co, 2, **options), (batch, ci, size)
    return nn.Conv2d(ci, co, (2, 1), **options), (batch, ci, size, 5)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=12)
@given(data=st.data())
def test_operands_are_n_m_where_the_record_says(name: str, data: st.DataObject) -> None:
    method = METHODS[name]
    layer, shape = data.draw(layers())
    m = data.draw(st.integers(2, 8))
    pattern = Pattern(data.draw(st.integers(1, m)), m)
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    model = sparsify(nn.Sequential(layer), method, {"0": pattern}, **SETTINGS.get(name, {}))
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    with watching(lambda layer, stage, left, right: seen.update({stage: (left, right)})):
        for _ in range(2):
            x = torch.randn(shape, requires_grad=True)
            y = model(x)
            y.backward(torch.randn_like(y))
    assert set(seen) == {"ff", "bp", "wu"}
    for stage, (left, right) in seen.items():
        operand = method.operand(stage)
        if operand is None:
            continue
        tensor = right if operand == "weight" else left
        if (name, stage) == ("bimask", "bp"):
            tensor = permuted(tensor, model[0].nofm_order)
            assert bool((tensor == permuted(seen["ff"][1], model[0].nofm_order))[tensor != 0].all())
        for run in runs(tensor, operand, stage, layer):
            check(run, pattern, exact=not may_drop_more(name, stage))


def may_drop_more(name: str, stage: str) -> bool:
    """Whether fewer than N may be kept: a transposable mask is bound by the other axis too, and
    Bi-Mask's backward mask keeps only what its forward mask does."""
    return (name in ("transposable", "fst") and stage != "wu") or (name, stage) == ("bimask", "bp")


def permuted(weight: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The weight with the output channels of each group in the order that Bi-Mask prunes them."""
    return torch.cat([part[own] for part, own in zip(weight.chunk(len(order)), order, strict=True)])


def runs(tensor: torch.Tensor, operand: str, stage: str, layer: nn.Module) -> list[torch.Tensor]:
    """The tensor as lists of elements that one output of the product sums over: Ci in FF, Co in BP,
    positions of the whole batch in WU; a kernel's taps and channel groups each by themselves."""
    groups = getattr(layer, "groups", 1)
    if operand == "weight":
        taps = tensor.flatten(2) if tensor.ndim > 2 else tensor.unsqueeze(-1)
        if stage == "ff":
            return list(taps.movedim(1, -1).flatten(0, 1))
        return [run for part in taps.chunk(groups) for run in part.movedim(0, -1).flatten(0, 1)]
    channels_last = tensor if isinstance(layer, nn.Linear) else tensor.movedim(1, -1)
    rows = channels_last.flatten(0, -2)
    if stage == "wu":
        return list(rows.t())
    return [run for part in rows.chunk(groups, dim=1) for run in part]


def check(run: torch.Tensor, pattern: Pattern, exact: bool) -> None:
    for group in run.split(pattern.m):
        kept = int(group.count_nonzero())
        assert kept <= pattern.n
        if exact:
            assert kept == min(pattern.n, len(group))
