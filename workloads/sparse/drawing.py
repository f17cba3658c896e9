"""Minimum-variance unbiased N:M estimates: random, sparse, and right on average.

Of every group N elements are drawn, element i with probability p_i, and what is drawn is divided by
it. Then the mean is the element itself, and its variance x_i^2 (1/p_i - 1) is least in sum where
p_i = min(1, c |x_i|), with the c that makes the p_i of a group add up to N (Chmiel et al., *Minimum
Variance Unbiased N:M Sparsity for the Neural Gradients*, ICLR 2023). One uniform number a group
draws exactly N with these probabilities: element i is drawn when a point of the grid u, u + 1, ...
falls into its stretch of the running sum of p (systematic sampling).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nofm.kernels.pattern import Pattern
from nofm.workloads.sparse.selection import keep


def draw(rows: Tensor, pattern: Pattern) -> Tensor:
    """A minimum-variance unbiased estimate of `rows`, N:M along its first dimension.

    Uses torch's random numbers. Where a group has NaN or infinity, its N largest stay as they are,
    so that whoever looks for such values finds them.

    Args:
        rows: floating point [length, columns].
        pattern: N:M; a ragged last group keeps at most N.
    """
    length, columns = rows.shape
    groups, n, m = pattern.groups(length), pattern.n, pattern.m
    padded = rows.new_zeros(groups * m, columns)
    padded[:length] = rows
    grouped = padded.view(groups, m, columns)
    chance = probabilities(grouped.abs(), n)
    first = 1 - torch.rand(groups, 1, columns, dtype=torch.float64, device=rows.device)
    # Rounding must not make room for one more than N.
    running = chance.cumsum(1).clamp(max=n)
    points = torch.floor(running - first)
    before = torch.cat([torch.full_like(first, -1.0), points[:, :-1]], dim=1)
    drawn = (points > before) & (chance > 0)
    estimate = torch.where(drawn, grouped.double() / chance, 0.0).to(rows.dtype)
    finite = grouped.isfinite().all(1, keepdim=True)
    if not bool(finite.all()):
        whole = keep(padded.view(1, groups * m, columns), n, m).view(groups, m, columns)
        estimate = torch.where(finite, estimate, whole)
    return estimate.view(groups * m, columns)[:length]


def probabilities(magnitude: Tensor, n: int) -> Tensor:
    """float64 of the same shape: min(1, c |x|), adding up to N along dimension 1; where no more
    than N elements are not zero, 1 for each of them."""
    magnitude = magnitude.double()
    certain = torch.zeros_like(magnitude, dtype=torch.bool)
    for _ in range(n):
        rest = torch.where(certain, 0.0, magnitude).sum(1, keepdim=True)
        share = (n - certain.sum(1, keepdim=True)) / rest
        certain = certain | (magnitude * share >= 1)
    rest = torch.where(certain, 0.0, magnitude).sum(1, keepdim=True)
    share = (n - certain.sum(1, keepdim=True)) / rest
    spread = torch.where(magnitude > 0, magnitude * share, 0.0).clamp(max=1)
    return torch.where(certain, torch.ones_like(magnitude), spread)
