"""N:M selection on torch tensors: operators that autograd, `torch.compile` and export pass whole.

`torch.ops.nofm.keep` and `torch.ops.nofm.mask` select along the middle axis of [outer, length,
inner]. On a CPU they run `kernels.selection`; on another device they rank by a stable sort.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nofm.kernels import selection
from nofm.kernels.pattern import Pattern

BITS: dict[torch.dtype, torch.dtype] = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
"""Element types that can be pruned, each with the integers that hold its bits."""


def _infinity(dtype: torch.dtype) -> int:
    return int(torch.tensor(torch.inf, dtype=dtype).view(BITS[dtype]))


_INFINITY = {dtype: _infinity(dtype) for dtype in BITS}


@torch.library.custom_op("nofm::keep", mutates_args=())
def keep(runs: Tensor, n: int, m: int) -> Tensor:
    """`runs` with +0 in place of all but the N largest of every M.

    Args:
        runs: floating point [outer, length, inner]; groups lie along `length`.
        n, m: the pattern.
    """
    if runs.device.type != "cpu":
        return torch.where(_ranks(runs, m) < n, runs, torch.zeros((), dtype=runs.dtype))
    bits = runs.detach().contiguous().view(BITS[runs.dtype]).numpy()
    kept = selection.keep(bits, _INFINITY[runs.dtype], Pattern(n, m), torch.get_num_threads())
    return torch.from_numpy(kept).view(runs.dtype)


@keep.register_fake
def _(runs: Tensor, n: int, m: int) -> Tensor:
    return torch.empty_like(runs, memory_format=torch.contiguous_format)


@torch.library.custom_op("nofm::mask", mutates_args=())
def mask(runs: Tensor, n: int, m: int) -> Tensor:
    """uint8, 1 at the N largest of every M of `runs` and 0 elsewhere; arguments as `keep`."""
    if runs.device.type != "cpu":
        return (_ranks(runs, m) < n).to(torch.uint8)
    bits = runs.detach().contiguous().view(BITS[runs.dtype]).numpy()
    found = selection.mask(bits, _INFINITY[runs.dtype], Pattern(n, m), torch.get_num_threads())
    return torch.from_numpy(found)


@mask.register_fake
def _(runs: Tensor, n: int, m: int) -> Tensor:
    return torch.empty_like(runs, dtype=torch.uint8, memory_format=torch.contiguous_format)


def _ranks(runs: Tensor, m: int) -> Tensor:
    """How many elements of its group go before each one, by sorting."""
    outer, length, inner = runs.shape
    groups = -(-length // m)
    integers = BITS[runs.dtype]
    bits = runs.detach().contiguous().view(integers) & torch.iinfo(integers).max
    magnitude = bits.clamp(max=_INFINITY[runs.dtype] + 1)
    padded = magnitude.new_full((outer, groups * m, inner), -1)
    padded[:, :length] = magnitude
    order = padded.view(outer, groups, m, inner).sort(dim=2, descending=True, stable=True).indices
    ranks = torch.empty_like(order)
    places = torch.arange(m, device=runs.device).view(1, 1, m, 1).expand_as(order)
    ranks.scatter_(2, order, places)
    return ranks.view(outer, groups * m, inner)[:, :length]
