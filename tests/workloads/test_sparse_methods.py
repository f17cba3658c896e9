"""What single methods do over the steps: schedules, stored masks, searches, draws, AdamS, OWL."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import nofm
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads.methods import METHODS, Method
from nofm.workloads.methods.pgf import Pgf
from nofm.workloads.sparse.drawing import draw, probabilities
from nofm.workloads.sparse.outliers import outlier_ratios
from nofm.workloads.sparse.watch import watching


def one_layer(method: str, pattern: str = "2:4", seed: int = 0, **options: Any) -> nn.Sequential:
    """A model of one 16 x 24 linear layer."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    return nofm.sparsify(nn.Sequential(nn.Linear(24, 16)), method, {"0": pattern}, **options)


def step(model: nn.Module, change: float = 0.0) -> dict[str, tuple[Tensor, Tensor]]:
    """One step, after which the weights change at random; the operands of its products."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    with watching(lambda layer, stage, left, right: seen.update({stage: (left, right.clone())})):
        y = model(torch.randn(6, 24, requires_grad=True))
        y.square().sum().backward()
    with torch.no_grad():
        model[0].weight += change * torch.randn(16, 24)
    return seen


def mask(seen: dict[str, tuple[Tensor, Tensor]], stage: str = "ff") -> Tensor:
    return seen[stage][1] != 0


@pytest.mark.parametrize("method", ["transposable", "fst"])
def test_masks_are_chosen_every_so_many_steps(method: str) -> None:
    model = one_layer(method, refresh_steps=3)
    masks = [mask(step(model, change=1.0)) for _ in range(7)]
    same = [bool(before.equal(after)) for before, after in pairwise(masks)]
    assert same == [True, True, False, True, True, False]
    assert METHODS[method].refresh_steps == 40
    model.eval()
    kept = model[0].nofm_mask.clone()
    model(torch.randn(2, 24))  # nothing trains: no step
    assert torch.equal(model[0].nofm_mask, kept)
    assert int(model[0].nofm_step) == 7


def test_asp_keeps_the_mask_that_it_began_with() -> None:
    model = one_layer("asp")
    first = mask(step(model, change=5.0))
    assert all(mask(step(model, change=5.0)).equal(first) for _ in range(3))
    assert first.sum() == 16 * 24 / 2


def test_bimask_searches_again_and_finds_better_orders() -> None:
    model = one_layer("bimask", refresh_steps=2)
    orders = []
    for _ in range(4):
        step(model, change=0.1)
        orders.append(model[0].nofm_order.clone())
    assert orders[0].equal(orders[1])
    assert not orders[1].equal(orders[2])
    assert orders[0][0].sort().values.equal(torch.arange(16))
    weight, site = model[0].weight.detach(), model[0].nofm
    kept = site.keep_weight(weight, "ff")
    counts = {}
    for permutations in (1, 100):
        order = site.channel_order(weight)
        torch.manual_seed(4)
        site.method.with_settings(permutations=permutations).choose(
            weight, site, {"order": order}, 0
        )
        counts[permutations] = int(site.keep_permuted(kept, order).count_nonzero())
    assert counts[100] > counts[1]


@pytest.mark.parametrize(
    ("settings", "betas"),
    [
        ({"coefficient": 0.25}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ({"coefficient": 0.5, "schedule": "exponential"}, [math.exp(-t / 2) for t in range(6)]),
        (
            {"coefficient": 0.5, "schedule": "exponential", "binary_after": 3},
            [1, math.exp(-0.5), math.exp(-1), 0, 0, 0],
        ),
    ],
)
def test_pgf_fades(settings: dict[str, Any], betas: list[float]) -> None:
    model = one_layer("pgf", **settings)
    weight = model[0].weight.detach().clone()
    kept = model[0].nofm.keep_weight(weight, "ff")
    for beta in betas:
        used = step(model)["ff"][1]
        assert torch.allclose(used, kept + beta * (weight - kept), atol=1e-7)
    model.eval()
    with watching(lambda layer, stage, left, right: masks.append(right)), torch.no_grad():
        masks: list[Tensor] = []
        model(torch.randn(1, 24))
    assert torch.equal(masks[0], kept)  # what is deployed is N:M at any time


def test_pgf_in_stages() -> None:
    model = one_layer("pgf", "1:8", schedule="staged", stage_steps=2)
    kept = [int(mask(step(model)).sum()) * 8 // (16 * 24) for _ in range(9)]
    assert kept == [7, 7, 4, 4, 2, 2, 1, 1, 1]


@given(st.integers(1, 33), st.data())
def test_pgf_stages_go_down_to_the_pattern(m: int, data: st.DataObject) -> None:
    pattern = Pattern(data.draw(st.integers(1, m)), m)
    stages = [each.n for each in Pgf().stages(pattern)]
    assert stages[-1] == pattern.n
    assert stages == sorted(set(stages), reverse=True)
    assert all(each.m == m for each in Pgf().stages(pattern))


def test_sste_is_continuous_and_its_scale_stays() -> None:
    model = one_layer("sste")
    scale = model[0].nofm_scale.clone()
    weight, site = model[0].weight.detach().clone(), model[0].nofm
    soft = site.soft_threshold(weight)
    # No other scale brings the pruned weights nearer to the dense ones.
    errors = [(weight - factor * scale * soft).square().sum() for factor in (0.99, 1.0, 1.01)]
    assert min(errors) == errors[1]
    step(model, change=1.0)
    assert torch.equal(model[0].nofm_scale, scale)
    nudged = weight.clone()
    nudged[:, 0] += 1e-6
    assert (site.soft_threshold(nudged) - soft).abs().max() < 3e-6


@settings(max_examples=30)
@given(st.data())
def test_draws_have_probabilities_of_least_variance(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 9))
    n = data.draw(st.integers(1, m))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    group = torch.rand(1, m, 1, generator=random, dtype=torch.float64)
    group[group < data.draw(st.sampled_from([0.0, 0.3, 0.9]))] = 0
    chance = probabilities(group, n)[0, :, 0]
    sizes, filled = group[0, :, 0], int(group.count_nonzero())
    assert float(chance.sum()) == pytest.approx(min(n, filled))
    assert bool((chance <= 1 + 1e-12).all())
    assert bool(((chance > 0) == (sizes > 0)).all())
    # Least variance: where the chance is not 1, it is in proportion to the magnitude, and no
    # larger element has less.
    free = (chance < 1 - 1e-9) & (sizes > 0)
    if free.any():
        share = chance[free] / sizes[free]
        assert float(share.max() - share.min()) < 1e-9 * float(share.max())
        assert bool((sizes[chance >= 1 - 1e-9] * share[0] >= 1 - 1e-9).all())


@pytest.mark.parametrize(("n", "m", "length"), [(2, 4, 8), (1, 2, 6), (2, 8, 11), (1, 8, 16)])
def test_draws_are_unbiased(n: int, m: int, length: int) -> None:
    torch.manual_seed(6)
    rows = torch.randn(length, 1, dtype=torch.float64).expand(length, 20000)
    drawn = draw(rows, Pattern(n, m))
    for first in range(0, length, m):
        kept = drawn[first : first + m].count_nonzero(dim=0)
        assert bool((kept == min(n, length - first)).all())
    error = drawn.mean(1) - rows[:, 0]
    assert bool((error.abs() <= 5 * drawn.std(1) / 20000**0.5 + 1e-12).all())


def test_draws_leave_what_is_not_finite_to_be_found() -> None:
    rows = torch.tensor([[1.0, 1.0], [torch.inf, 2.0], [3.0, torch.nan], [-4.0, 0.5]])
    drawn = draw(rows, Pattern(2, 4))
    assert torch.equal(drawn[:, 0], torch.tensor([0, torch.inf, 0, -4.0]))
    assert drawn[2, 1].isnan()
    assert drawn[:, 1].count_nonzero() == 2


def test_owl_gives_layers_with_outliers_more() -> None:
    torch.manual_seed(8)
    model = nn.Sequential(*(nn.Linear(32, 32) for _ in range(6)))
    with torch.no_grad():
        model[2].weight[::4, ::4] *= 20
    layers = {name: layer for name, layer in model.named_children() if name not in "05"}
    batch = torch.randn(64, 32)
    ratios = outlier_ratios(model, layers, 5.0, batch)
    norm = model[1](model[0](batch)).norm(dim=0)
    score = model[2].weight.abs() * norm
    assert ratios["2"] == float((score > 5 * score.mean()).double().mean())
    assert max(ratios, key=lambda name: ratios[name]) == "2"
    assert model.training
    for pattern in ("2:8", "4:8", "2:4"):
        sparse = nofm.sparsify(
            nofm.desparsify(model), "owl", pattern, calibration=batch, spread=0.2
        )
        patterns = {name: sparse[int(name)].nofm.pattern for name in layers}
        assert sum(each.n for each in patterns.values()) == 4 * Pattern.parse(pattern).n
        assert max(patterns, key=lambda name: patterns[name].n) == "2"
        assert patterns["2"].n > min(each.n for each in patterns.values())


def test_owl_needs_every_layer_to_run() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(InputError) as caught:
        nofm.sparsify(Skips(), "owl", "2:4", inner=True, calibration=torch.randn(2, 4))
    assert str(caught.value) == "layer 'unused' does not run on the calibration batch"


def test_adams_takes_the_papers_steps() -> None:
    """Algorithm 1, for one number after the other."""
    model = one_layer("cast", decay=0.3, refresh_steps=2).double().float()
    optimizer = nofm.AdamS(model, total_steps=4, lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    weight, bias = (p.detach().double().clone() for p in model.parameters())
    moments = {
        name: (torch.zeros_like(p), torch.zeros_like(p))
        for name, p in zip("wb", (weight, bias), strict=True)
    }
    for t in range(6):
        step(model)
        kept = model[0].nofm_mask
        gradients = {"w": model[0].weight.grad.double(), "b": model[0].bias.grad.double()}
        optimizer.step()
        optimizer.zero_grad()
        for name, parameter in (("w", weight), ("b", bias)):
            momentum, second = moments[name]
            for place in torch.cartesian_prod(*map(torch.arange, parameter.shape)).reshape(
                parameter.numel(), -1
            ):
                at = tuple(place.tolist())
                momentum[at] = 0.9 * momentum[at] + 0.1 * gradients[name][at]
                taken, alpha = float(momentum[at]), min(1, t / 4)
                if name == "w" and not kept[at]:
                    taken = (1 - alpha) * taken + alpha * 0.3 * math.copysign(1, parameter[at])
                second[at] = 0.99 * second[at] + 0.01 * taken**2
                scale = math.sqrt(second[at] / (1 - 0.99 ** (t + 1))) + 1e-8
                parameter[at] -= 0.01 * taken / (1 - 0.9 ** (t + 1)) / scale
        assert torch.allclose(model[0].weight.double(), weight, atol=1e-5)
        assert torch.allclose(model[0].bias.double(), bias, atol=1e-5)


def test_adams_shrinks_what_will_be_dropped() -> None:
    """Without gradients, dropped weights go to zero and kept ones stay."""
    model = one_layer("cast", decay=1e-3)
    assert nofm.inspect(model).rows[0]["density"] == 1.0  # training is dense
    weight = model[0].weight
    before = model[0].nofm.keep_weight(weight.detach().clone(), "ff")
    optimizer = nofm.AdamS(model, total_steps=100, lr=1e-3)
    for _ in range(200):
        model(torch.zeros(1, 24)).sum().backward()
        weight.grad.zero_()
        optimizer.step()
    kept = model[0].nofm.keep_weight(weight.detach(), "ff")
    assert torch.equal(kept, before)
    assert float((weight.detach() - kept).abs().max()) < 5e-3 < float(before.abs().max())


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            one_layer("bdwp"),
            "AdamS needs a model that nofm.sparsify made train by method 'cast'",
        ),
        (
            one_layer("cast").half(),
            "layer '0': AdamS needs float32 weights, not float16: use autocast for half precision",
        ),
    ],
)
def test_adams_refuses(model: nn.Module, line: str) -> None:
    with pytest.raises(InputError) as caught:
        nofm.AdamS(model, total_steps=10)
    assert str(caught.value) == line


def test_inspection() -> None:
    model = one_layer("bdwp", "2:8")
    first = nofm.inspect(model)
    (row,) = first.rows
    weight = model[0].weight.detach()
    kept = model[0].nofm.keep_weight(weight, "ff")
    assert row == {
        "layer": "0",
        "method": "bdwp",
        "pattern": "2:8",
        "weights": 384,
        "density": 0.25,
        "retained_energy": pytest.approx(float(kept.square().sum() / weight.square().sum())),
        "sad": None,
        "churn": None,
    }
    assert first.sad is None
    with torch.no_grad():
        model[0].weight[0, :8] = torch.tensor([9.0, 8, 0, 0, 0, 0, 0, 0])
        model[0].weight[1:, :] *= 3
    old = first.masks["0"][0, :8]
    new = torch.tensor([True, True] + [False] * 6)
    second = nofm.inspect(model, since=first)
    assert second.sad == int((old != new).sum())
    assert second.rows[0]["churn"] == second.sad / 384
    assert list(second.layers.columns) == list(row)
    assert nofm.inspect(model, since=second).sad == 0


def test_inspection_refuses() -> None:
    with pytest.raises(InputError) as caught:
        nofm.inspect(nn.Linear(4, 4))
    assert str(caught.value) == "the model has no sparse layer: call nofm.sparsify first"
    both = nofm.sparsify(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), inner=True)
    with pytest.raises(InputError) as caught:
        nofm.inspect(one_layer("bdwp"), since=nofm.inspect(both))
    assert str(caught.value) == "the earlier inspection has other layers than the model"


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_what_a_method_adds_to_its_record(name: str) -> None:
    method = METHODS[name]
    record = {field.name for field in fields(Method)} - {"refresh_steps"}
    assert not record & set(method.settings())
    assert method.with_settings(**method.settings()) == method
    assert method.chooses == ("refresh_steps" in method.settings())
