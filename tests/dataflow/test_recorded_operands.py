"""What is fed to the array is what trained: a recorded step's operands, for every method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nofm
from nofm.dataflow.methods import METHODS
from nofm.dataflow.operands import Operands, operands, recorded_operands
from nofm.kernels.compressed import Compressed, decompress
from nofm.kernels.pattern import DENSE, Pattern
from nofm.workloads.layer import Convolution
from nofm.workloads.recording import record
from nofm.workloads.sparse.watch import watching
from nofm.workloads.step_tensors import Trained

SETTINGS: dict[str, dict[str, Any]] = {"pgf": {"coefficient": 0.6}, "bimask": {"permutations": 3}}
DENSE_METHOD = METHODS["dense"]


@st.composite
def models(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, ...]]:
    """A first layer, one to be pruned, and a head; and the shape of the input."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    batch, bias = draw(st.integers(1, 3)), draw(st.booleans())
    if draw(st.booleans()):
        ci, co = draw(st.integers(2, 12)), draw(st.integers(2, 12))
        between = draw(st.sampled_from([(), (3,)]))
        layers = [nn.Linear(4, ci), nn.ReLU(), nn.Linear(ci, co, bias), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(co, 3)), (batch, *between, 4)
    groups = draw(st.sampled_from([1, 2]))
    ci, co = groups * draw(st.integers(1, 6)), groups * draw(st.integers(1, 6))
    stride = draw(st.integers(1, 3))
    padding = draw(st.sampled_from([(0, "zeros"), (1, "zeros"), (1, "reflect"), ("same", "zeros")]))
    convolution = nn.Conv2d(
        ci,
        co,
        (2, 3),
        stride=1 if padding[0] == "same" else stride,
        padding=padding[0],
        padding_mode=padding[1],
        groups=groups,
        bias=bias,
    )
    layers = [nn.Conv2d(2, ci, 1), nn.ReLU(), convolution, nn.ReLU(), nn.Conv2d(co, 3, 1)]
    return nn.Sequential(*layers), (batch, 2, 5, 4)


def dense_right(each: Operands) -> np.ndarray:
    return decompress(each.right) if isinstance(each.right, Compressed) else each.right


# Torch tells once that it copies the input of such a convolution.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=4)
@given(data=st.data())
def test_operands_are_those_that_trained(name: str, data: st.DataObject) -> None:
    model, shape = data.draw(models())
    m = data.draw(st.integers(2, 8))
    pattern = Pattern(data.draw(st.integers(1, m)), m)
    nofm.sparsify(model, name, {"2": pattern}, **SETTINGS.get(name, {}))
    x = torch.randn(shape)
    for _ in range(2):  # PGF has faded out in the third step, and Bi-Mask's masks are not new.
        model(x).square().mean().backward()
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    with watching(lambda layer, stage, left, right: seen.update({stage: (left, right)})):
        trace, tensors = record(model, x, lambda y: y.square().mean())
    tensors.check(trace)
    assert tensors.trained == {"2": Trained(name, pattern)}
    (layer,) = (each for each in trace.weight_layers if each.name == "2")
    for stage in ("ff", "bp", "wu"):
        # The hooks' tensors, lowered as a dense step's.
        left, right = (tensor.detach().float().numpy() for tensor in seen[stage])
        names = {
            "ff": ("input", "weight"),
            "bp": ("gradient", "weight"),
            "wu": ("gradient", "input"),
        }
        entered = dict(zip(names[stage], (left, right), strict=True))
        shapes = {what: tensors.layers["2"][what].shape for what in entered}
        if "input" in entered and entered["input"].size != math.prod(shapes["input"]):
            # Torch pads one side of "same" before its product, sparse layers all sides.
            entered["input"] = entered["input"][..., 1:-1]
        plain = operands(
            layer,
            {what: array.reshape(shapes[what]) for what, array in entered.items()},
            stage,
            DENSE_METHOD,
            DENSE,
        )
        fed = recorded_operands(layer, tensors.layers["2"], stage, tensors.trained["2"])
        assert len(fed) == len(plain)
        for ours, theirs in zip(fed, plain, strict=True):
            a, b = ours.left, dense_right(ours)
            wanted = theirs.left, dense_right(theirs)
            if ours.product.left == "weight":
                a, b = b.transpose(0, 3, 1, 2), a.transpose(0, 2, 3, 1)
            if (name, stage) == ("bimask", "bp") and not ours.product.pattern.dense:
                order = model[2].nofm_order.numpy()
                back = np.argsort(order, axis=1)
                a = np.take_along_axis(a, back[:, None, None], axis=3)
                b = np.take_along_axis(b, back[:, None, :, None], axis=2)
            assert np.array_equal(a, wanted[0])
            assert np.array_equal(b, wanted[1])
            # Sparse where the record says so, and where there is something to drop.
            length = theirs.product.length
            is_sparse = METHODS[name].operand(stage) is not None and pattern.kept(length) < length
            assert ours.product.pattern == (pattern if is_sparse else theirs.product.pattern)
            assert ours.left.shape[1:] == (ours.product.m, ours.product.taps, ours.product.length)


def test_what_has_not_faded_is_multiplied_densely() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    nofm.sparsify(model, "pgf", "2:8", coefficient=0.01)
    trace, tensors = record(model, torch.randn(5, 4), lambda y: y.square().mean())
    (layer,) = (each for each in trace.weight_layers if each.prunable)
    (found,) = recorded_operands(layer, tensors.layers["2"], "ff", tensors.trained["2"])
    assert found.product.pattern == DENSE
    assert np.array_equal(found.right[0, 0], tensors.layers["2"]["weight"].T.astype(np.float16))


def test_parts_that_were_made_sparse_one_by_one() -> None:
    """Blocks whose layers have the same path in each, and different masks."""
    torch.manual_seed(0)

    def block() -> nn.Sequential:
        return nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    model = nn.Sequential(nn.Linear(4, 8), block(), block(), nn.Linear(8, 3))
    for each in (model[1], model[2]):
        nofm.sparsify(each, "srste", "1:4", inner=True)
    sites = [model[1][0].nofm_site, model[2][0].nofm_site]
    trace, tensors = record(model, torch.randn(5, 4), lambda y: y.square().mean())
    assert [model[1][0].nofm_site, model[2][0].nofm_site] == sites
    assert [layer.name for layer in trace.weight_layers if layer.prunable] == ["1.0", "2.0"]
    for place in (1, 2):
        weight = model[place][0].weight.detach().numpy()
        kept = tensors.layers[f"{place}.0"]["ff_weight"]
        assert np.array_equal(kept[kept != 0], weight[kept != 0])
        assert np.count_nonzero(kept) == 16


def test_a_convolution_that_is_padded_before_its_product() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 2, padding=1, padding_mode="reflect"), nn.Flatten())
    x = torch.randn(2, 3, 5, 5)
    trace, tensors = record(model, x, lambda y: y.square().mean(), inner=True)
    (layer,) = trace.weight_layers
    assert isinstance(layer, Convolution)
    assert layer.size == (7, 7)
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    assert np.array_equal(tensors.layers["0"]["input"], padded.numpy())
