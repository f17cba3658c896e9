"""Every method's training step against a plain one in float64.

The reference prunes by sorting Python lists, and computes each product by itself with torch's own
layers and autograd: y from the FF weight, dx from the BP weight and gradient, dw from the WU
gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nofm.kernels.pattern import Pattern
from nofm.workloads.methods import METHODS
from nofm.workloads.sparse.convert import sparsify

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(13, 11), (10, 13)),
    "sequence": (lambda: nn.Linear(8, 12, bias=False), (3, 5, 8)),
    "conv1d": (lambda: nn.Conv1d(6, 9, 3, stride=2, padding=1), (3, 6, 11)),
    "conv2d": (lambda: nn.Conv2d(5, 10, 3, padding=1), (2, 5, 6, 4)),
    "grouped": (lambda: nn.Conv2d(12, 18, (3, 2), stride=2, groups=3), (2, 12, 7, 6)),
    "same": (lambda: nn.Conv2d(5, 6, (2, 3), padding="same", dilation=2), (2, 5, 6, 6)),
    "reflected": (
        lambda: nn.Conv1d(5, 6, 3, padding=2, padding_mode="reflect", bias=False),
        (2, 5, 7),
    ),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6), (2, 6, 5, 5)),
}


@dataclass
class Case:
    """One layer and what runs through it, with the weight's and gradients' runs spelled out."""

    layer: Any
    pattern: Pattern
    weight: Tensor
    gradient: Tensor

    @property
    def groups(self) -> int:
        return getattr(self.layer, "groups", 1)

    def along_ci(self, weight: Tensor) -> Tensor:
        return pruned(weight, 1, self.pattern)

    def along_co(self, weight: Tensor) -> Tensor:
        parts = [pruned(part, 0, self.pattern) for part in weight.chunk(self.groups)]
        return torch.cat(parts)

    def rows(self, gradient: Tensor) -> Tensor:
        return (
            gradient.flatten(0, -2)
            if isinstance(self.layer, nn.Linear)
            else (gradient.movedim(1, -1).flatten(0, -2))
        )

    def back(self, rows: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return rows.view_as(self.gradient)
        return rows.view(self.gradient.movedim(1, -1).shape).movedim(-1, 1)


@dataclass
class Operands:
    """What the reference puts into the three products."""

    ff: Tensor
    bp: Tensor
    bp_gradient: Tensor
    wu_gradient: Tensor
    penalty: float = 0.0


def pruned(tensor: Tensor, dim: int, pattern: Pattern) -> Tensor:
    """Only the N largest magnitudes of every M along `dim`; the first of equal ones stay."""
    out = tensor.clone()
    for run in _runs(out, dim):
        for first in range(0, len(run), pattern.m):
            group = run[first : first + pattern.m]
            order = sorted(range(len(group)), key=lambda i: (-abs(float(group[i])), i))
            for i in order[pattern.n :]:
                group[i] = 0
    return out


def _runs(tensor: Tensor, dim: int):
    """Views of a tensor along one dimension."""
    others = [range(size) for d, size in enumerate(tensor.shape) if d != dim]
    for place in itertools.product(*others):
        index: list[Any] = list(place)
        index.insert(dim, slice(None))
        yield tensor[tuple(index)]


def dense(case: Case) -> Operands:
    return Operands(case.weight, case.weight, case.gradient, case.gradient)


def srste(case: Case) -> Operands:
    kept = case.along_ci(case.weight)
    return Operands(kept, kept, case.gradient, case.gradient, penalty=2e-4)


def sdgp(case: Case) -> Operands:
    rows = case.rows(case.gradient)
    kept = torch.cat([pruned(part, 1, case.pattern) for part in rows.chunk(case.groups, 1)], 1)
    y = case.back(kept)
    linear = isinstance(case.layer, nn.Linear)
    if case.gradient.ndim > 2 and case.pattern.kept(rows.shape[1] // case.groups) < (
        rows.shape[1] // case.groups
    ):
        y = y.clone()
        for sample, channel in itertools.product(
            range(len(y)), range(y.shape[-1 if linear else 1])
        ):
            at = (sample, ..., channel) if linear else (sample, channel)
            y[at] *= case.gradient[at].abs().sum() / (y[at].abs().sum() + 1e-4)
    return Operands(case.weight, case.weight, y, case.gradient)


def sdwp(case: Case) -> Operands:
    return Operands(case.weight, case.along_co(case.weight), case.gradient, case.gradient)


def bdwp(case: Case) -> Operands:
    ff, bp = case.along_ci(case.weight), case.along_co(case.weight)
    return Operands(ff, bp, case.gradient, case.gradient, penalty=1e-2)


@cache
def all_masks(rows: int, columns: int, n: int) -> Tensor:
    """Every mask with at most N in each row and column, those of most elements alone."""
    of_row = [row for row in itertools.product((0, 1), repeat=columns) if sum(row) <= n]
    found = torch.tensor(list(itertools.product(of_row, repeat=rows))).double()
    found = found[(found.sum(1) <= n).all(1)]
    kept = found.sum((1, 2))
    return found[kept == kept.max()]


def best_tile(tile: Tensor, n: int) -> Tensor:
    """The mask of most elements, and of those of largest sum, by trying all."""
    masks = all_masks(*tile.shape, n)
    return masks[(masks * tile.abs()).sum((1, 2)).argmax()]


def transposable(case: Case) -> Operands:
    mask = torch.zeros_like(case.weight)
    m = case.pattern.m
    for part, own in zip(case.weight.chunk(case.groups), mask.chunk(case.groups), strict=True):
        for tap in itertools.product(*(range(size) for size in part.shape[2:])):
            matrix, kept = part[(..., *tap)], own[(..., *tap)]
            for top, left in itertools.product(
                range(0, matrix.shape[0], m), range(0, matrix.shape[1], m)
            ):
                at = (slice(top, top + m), slice(left, left + m))
                kept[at] = best_tile(matrix[at], case.pattern.n)
    kept = case.weight * mask
    return Operands(kept, kept, case.gradient, case.gradient)


def fst(case: Case) -> Operands:
    found = transposable(case)
    found.wu_gradient = drawn(case)
    return found


def drawn(case: Case) -> Tensor:
    """The unbiased estimate, group by group in plain Python, from the same random numbers."""
    rows, pattern = case.rows(case.gradient), case.pattern
    if pattern.kept(len(rows)) == len(rows):
        return case.gradient
    uniform = 1 - torch.rand(pattern.groups(len(rows)), 1, rows.shape[1], dtype=torch.float64)
    out = torch.zeros_like(rows)
    for column in range(rows.shape[1]):
        for group in range(pattern.groups(len(rows))):
            places = range(group * pattern.m, min((group + 1) * pattern.m, len(rows)))
            sizes = {i: abs(float(rows[i, column])) for i in places}
            sure: set[int] = set()
            while True:
                rest = sum(size for i, size in sizes.items() if i not in sure)
                c = (pattern.n - len(sure)) / rest if rest else 0.0
                more = {i for i in sizes if i not in sure and sizes[i] * c >= 1 - 1e-14}
                if not more:
                    break
                sure |= more
            total, first = 0.0, float(uniform[group, 0, column])
            for i in places:
                chance = 1.0 if i in sure else sizes[i] * c
                hit = math.floor(min(total + chance, pattern.n) - first) > math.floor(total - first)
                out[i, column] = rows[i, column] / chance if hit and chance else 0
                total += chance
    return case.back(out)


def sste(case: Case) -> Operands:
    soft = case.weight.clone()
    for run in _runs(soft, 1):
        for first in range(0, len(run), case.pattern.m):
            group = run[first : first + case.pattern.m]
            sizes = sorted((abs(float(x)) for x in group), reverse=True)
            threshold = sizes[case.pattern.n] if len(sizes) > case.pattern.n else 0.0
            for i, x in enumerate(group.tolist()):
                group[i] = math.copysign(max(abs(x) - threshold, 0.0), x)
    scale = float((case.weight * soft).sum() / (soft * soft).sum())
    ff = soft * torch.tensor(scale, dtype=torch.float32).double()
    return Operands(ff, ff, case.gradient, drawn(case))


def bimask(case: Case) -> Operands:
    ff = case.along_ci(case.weight)
    bp = torch.zeros_like(ff)
    per_group = ff.shape[0] // case.groups
    for group, order in enumerate(case.layer.nofm_order):
        channels = group * per_group + order
        bp[channels] = pruned(ff[channels], 0, case.pattern)
    return Operands(ff, bp, case.gradient, case.gradient, penalty=2e-4)


def pgf(case: Case) -> Operands:
    kept = case.along_ci(case.weight)
    faded = kept + 0.75 * (case.weight - kept)
    return Operands(faded, faded, case.gradient, case.gradient)


def asp(case: Case) -> Operands:
    kept = case.along_ci(case.weight)
    return Operands(kept, kept, case.gradient, case.gradient)


REFERENCES: dict[str, Callable[[Case], Operands]] = {
    "dense": dense,
    "srste": srste,
    "sdgp": sdgp,
    "sdwp": sdwp,
    "bdwp": bdwp,
    "transposable": transposable,
    "bimask": bimask,
    "pgf": pgf,
    "fst": fst,
    "sste": sste,
    "cast": dense,
    "asp": asp,
    "owl": asp,
}
SETTINGS: dict[str, dict[str, Any]] = {"bdwp": {"decay": 1e-2}, "pgf": {"coefficient": 0.25}}
# PGF's second step is the first that fades anything.
STEPS = {"pgf": 2}


def test_every_method_has_a_reference() -> None:
    assert set(REFERENCES) == set(METHODS)


def plain(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's output by torch's own function."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    return layer._conv_forward(x, weight, bias)


# With ties, several transposable masks have the largest sum.
TIES = [(name, True) for name in METHODS if name not in ("transposable", "fst")]


@pytest.mark.parametrize("shape", LAYERS)
@pytest.mark.parametrize(("name", "ties"), [*((name, False) for name in METHODS), *TIES])
def test_a_step_is_the_references(name: str, ties: bool, shape: str) -> None:
    make, size = LAYERS[shape]
    torch.manual_seed(7)
    torch.set_num_threads(1)
    layer = make().double()
    if ties:
        with torch.no_grad():
            layer.weight.copy_((layer.weight * 8).round() / 4)
    pattern = Pattern(2, 4)
    model = sparsify(nn.Sequential(layer), name, {"0": pattern}, **SETTINGS.get(name, {}))
    for _ in range(STEPS.get(name, 1)):
        layer.zero_grad()
        x = torch.randn(size, dtype=torch.float64, requires_grad=True)
        y = model(x)
        gradient = torch.randn_like(y)
        if ties:
            gradient = (gradient * 2).round()
        torch.manual_seed(11)
        y.backward(gradient)

    weight = layer.weight.detach()
    torch.manual_seed(11)
    case = Case(layer, pattern, weight, gradient)
    expected = REFERENCES[name](case)
    bias = None if layer.bias is None else layer.bias.detach().requires_grad_()
    assert close(y, plain(layer, x, expected.ff, bias))
    (dx,) = torch.autograd.grad(plain(layer, x, expected.bp, None), x, expected.bp_gradient)
    assert close(x.grad, dx)
    free = weight.clone().requires_grad_()
    (dw,) = torch.autograd.grad(plain(layer, x.detach(), free, None), free, expected.wu_gradient)
    assert close(layer.weight.grad, dw + expected.penalty * (weight - expected.ff))
    if bias is not None:
        (db,) = torch.autograd.grad(plain(layer, x.detach(), weight, bias), bias, gradient)
        assert close(layer.bias.grad, db)


def close(found: Tensor | None, expected: Tensor) -> bool:
    assert found is not None
    return torch.allclose(found, expected, rtol=1e-9, atol=1e-10)
