"""A layer seen by its training method: its pattern, and where its groups lie.

A site is stored as text, `Site.encode`, which can be pickled, compared and passed to operators.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from nofm.kernels.pattern import Pattern
from nofm.kernels.transposable import transposable_mask
from nofm.workloads.methods import METHODS, Method
from nofm.workloads.sparse import selection
from nofm.workloads.sparse.drawing import draw

Runs = tuple[int, int, int]
"""[outer, length, inner]: how a contiguous tensor falls into runs that groups lie along."""


@dataclass(frozen=True)
class Site:
    """One sparse layer.

    Weights are [Co, Ci / groups, *kernel]; output gradients [batch, *positions, Co] of a linear
    layer and [batch, Co, *positions] of a convolution. Every channel group is reduced by itself.

    Attributes:
        name: the module's path.
        method: with its settings.
        pattern: N:M.
        groups: channel groups of a convolution; 1 for a linear layer.
        linear: whether the layer is linear, not a convolution.
    """

    name: str
    method: Method
    pattern: Pattern
    groups: int = 1
    linear: bool = True

    def encode(self) -> str:
        """The site as text: JSON."""
        settings = {name: getattr(self.method, name) for name in self.method.settings()}
        return json.dumps(
            {
                "name": self.name,
                "method": self.method.name,
                "settings": settings,
                "pattern": [self.pattern.n, self.pattern.m],
                "groups": self.groups,
                "linear": self.linear,
            }
        )

    def weight_runs(self, weight: Tensor, stage: Literal["ff", "bp"]) -> Runs:
        """Runs of a weight along the reduction of FF (Ci) or of BP (Co)."""
        co, ci = weight.shape[:2]
        taps = math.prod(weight.shape[2:])
        return (co, ci, taps) if stage == "ff" else (self.groups, co // self.groups, ci * taps)

    def keep_weight(
        self, weight: Tensor, stage: Literal["ff", "bp"], pattern: Pattern | None = None
    ) -> Tensor:
        """The weight pruned along the reduction of a stage; itself where nothing is dropped.

        Args:
            pattern: in place of the layer's own.
        """
        return self._keep(weight, self.weight_runs(weight, stage), pattern or self.pattern)

    def mask_weight(self, weight: Tensor, stage: Literal["ff", "bp"]) -> Tensor:
        """uint8, 1 where `keep_weight` keeps the weight."""
        flat = weight.contiguous().view(self.weight_runs(weight, stage))
        return selection.mask(flat, self.pattern.n, self.pattern.m).view(weight.shape)

    def masked(self, weight: Tensor, mask: Tensor) -> Tensor:
        """The weight with +0 where the mask is 0."""
        return torch.where(mask.bool(), weight, weight.new_zeros(()))

    def transposable_mask(self, weight: Tensor, exact: bool = True) -> Tensor:
        """uint8, the transposable mask of the weight: N:M along Ci and along Co, for each kernel
        tap and channel group by itself."""
        co, ci = weight.shape[:2]
        # [groups, taps, Co / groups, Ci / groups]
        tiled = weight.detach().reshape(self.groups, co // self.groups, ci, -1).movedim(-1, 1)
        matrices = tiled.reshape(-1, co // self.groups, ci).double().cpu().numpy()
        found = torch.from_numpy(transposable_mask(matrices, self.pattern, exact))
        mask = found.view(tiled.shape).movedim(1, -1).reshape(weight.shape)
        return mask.to(weight.device).contiguous()

    def channel_order(self, weight: Tensor) -> Tensor:
        """int64 [groups, Co / groups]: the output channels of each group in their own order."""
        per_group = weight.shape[0] // self.groups
        return torch.arange(per_group, device=weight.device).repeat(self.groups, 1)

    def shuffled(self, order: Tensor) -> Tensor:
        """Random orders of each group's output channels."""
        return torch.rand(order.shape, device=order.device).argsort(dim=1)

    def keep_permuted(self, weight: Tensor, order: Tensor) -> Tensor:
        """The weight pruned along Co taken in another order, int64 [groups, Co / groups]; itself
        where nothing is dropped."""
        _, length, inner = self.weight_runs(weight, "bp")
        if self.pattern.kept(length) == length:
            return weight
        runs = weight.contiguous().view(self.groups, length, inner)
        index = order.unsqueeze(-1).expand_as(runs)
        kept = selection.keep(runs.gather(1, index), self.pattern.n, self.pattern.m)
        return torch.empty_like(runs).scatter_(1, index, kept).view(weight.shape)

    def soft_threshold(self, weight: Tensor) -> Tensor:
        """The weight pruned along Ci, its magnitudes less the largest dropped one of their group;
        itself where nothing is dropped."""
        kept = self.keep_weight(weight, "ff")
        if kept is weight:
            return weight
        outer, length, inner = self.weight_runs(weight, "ff")
        groups, m = self.pattern.groups(length), self.pattern.m
        dropped = weight.new_zeros(outer, groups * m, inner)
        dropped[:, :length] = (weight - kept).abs().reshape(outer, length, inner)
        largest = dropped.view(outer, groups, m, inner).amax(2, keepdim=True)
        threshold = largest.expand(-1, -1, m, -1).reshape(outer, groups * m, inner)[:, :length]
        return kept - kept.sign() * threshold.reshape(weight.shape)

    def draw_gradient(self, gradient: Tensor) -> Tensor:
        """A random N:M tensor along the reduction of WU (positions of all samples), whose mean is
        the output gradient and whose variance is the least; itself where nothing is dropped."""
        flat = self.rows(gradient)
        if self.pattern.kept(flat.shape[0]) == flat.shape[0]:
            return gradient
        return self.from_rows(draw(flat, self.pattern), gradient)

    def keep_gradient(self, gradient: Tensor, stage: Literal["bp", "wu"]) -> Tensor:
        """The output gradient pruned along the reduction of BP (Co) or of WU (positions of all
        samples); itself where nothing is dropped."""
        if stage == "bp":
            return self._keep(gradient, self.channel_runs(gradient), self.pattern)
        flat = self.rows(gradient)
        kept = self._keep(flat, (1, flat.shape[0], flat.shape[1]), self.pattern)
        return gradient if kept is flat else self.from_rows(kept, gradient)

    def channel_runs(self, gradient: Tensor) -> Runs:
        """Runs of an output gradient along Co."""
        if self.linear:
            co = gradient.shape[-1]
            return (gradient.numel() // max(co, 1), co, 1)
        batch, co = gradient.shape[:2]
        return (batch * self.groups, co // self.groups, math.prod(gradient.shape[2:]))

    def rows(self, gradient: Tensor) -> Tensor:
        """The output gradient as [batch x positions, Co]: WU reduces over the rows."""
        return rows(gradient, self.linear)

    def from_rows(self, flat: Tensor, like: Tensor) -> Tensor:
        """What `rows` gave, in the shape of the gradient `like` again."""
        if self.linear:
            return flat.reshape(like.shape)
        batch, co, *positions = like.shape
        return flat.reshape(batch, *positions, co).movedim(-1, 1).contiguous()

    def positions(self, gradient: Tensor) -> tuple[int, ...]:
        """The dimensions of an output gradient that are positions in a sample."""
        return tuple(range(1, gradient.ndim - 1) if self.linear else range(2, gradient.ndim))

    def _keep(self, tensor: Tensor, runs: Runs, pattern: Pattern) -> Tensor:
        length = runs[1]
        if pattern.kept(length) == length or tensor.numel() == 0:
            return tensor
        flat = tensor.contiguous().view(runs)
        return selection.keep(flat, pattern.n, pattern.m).view(tensor.shape)


def rows(tensor: Tensor, linear: bool) -> Tensor:
    """A tensor of [batch, *positions, channels] (linear) or [batch, channels, *positions] as
    [batch x positions, channels]."""
    if not linear:
        tensor = tensor.movedim(1, -1)
    return tensor.reshape(-1, tensor.shape[-1])


@cache
def decode(text: str) -> Site:
    """The site that `Site.encode` wrote."""
    found = json.loads(text)
    return Site(
        found["name"],
        METHODS[found["method"]].with_settings(**found["settings"]),
        Pattern(*found["pattern"]),
        groups=found["groups"],
        linear=found["linear"],
    )
