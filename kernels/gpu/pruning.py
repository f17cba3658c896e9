"""Pruning, compression and the parameter update on a GPU, as Triton kernels.

The rule is SORE's, as in `kernels.compressed`: the N largest magnitudes, of equal ones the lower
place; NaN is the largest; columns that share a mask add their magnitudes in FP64. The update is
that of `kernels.optimizer`, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nofm.kernels.compressed import MAX_SHARING
from nofm.kernels.errors import InputError, positive
from nofm.kernels.gpu.operand import Operand
from nofm.kernels.gpu.triton import launch_options, tl, triton, tuned
from nofm.kernels.optimizer import Sgd
from nofm.kernels.pattern import Pattern

LARGEST_GROUP = 64
"""Largest M: every element of a group is compared with every other one."""

CHOICES = [({"BLOCK": 16}, 4, 1), ({"BLOCK": 32}, 4, 1), ({"BLOCK": 64}, 4, 1)]


@triton.jit
def _choose(
    magnitude,
    there,
    WIDE: tl.constexpr,
    N: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Of magnitudes [GROUP, masks], what is kept, and the slot that it goes to."""
    # As integers magnitudes have the same order, with every NaN above infinity.
    if WIDE:
        key = tl.minimum(magnitude.to(tl.int64, bitcast=True), 0x7FF0000000000001)
    else:
        key = tl.minimum(magnitude.to(tl.int32, bitcast=True), 0x7F800001)
    key = tl.where(there, key, -1)
    place = tl.arange(0, GROUP)
    lower = (place[None, :] < place[:, None])[:, :, None]
    other, own = key[None, :, :], key[:, None, :]
    before = (other > own) | ((other == own) & lower)
    rank = tl.sum(before.to(tl.int32), axis=1)
    kept = there & (rank < N)
    slot = tl.cumsum(kept.to(tl.int32), axis=0) - kept.to(tl.int32)
    return kept, slot


@tuned(CHOICES, key=["length", "n", "M"])
@triton.jit
def _compress(
    dense,
    values,
    index,
    length,
    n,
    masks,
    sharing,
    row,
    column,
    N: tl.constexpr,
    M: tl.constexpr,
    GROUP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One group of `BLOCK` masks of dense [length, n]."""
    group = tl.program_id(0)
    mask = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = tl.arange(0, GROUP)
    rows = group * M + place
    there = ((place < M) & (rows < length))[:, None] & (mask < masks)[None, :]
    start = dense + rows.to(tl.int64)[:, None] * row
    total = tl.zeros((GROUP, BLOCK), tl.float64 if WIDE else tl.float32)
    for each in range(sharing):
        columns = (mask * sharing + each)[None, :]
        value = tl.load(start + columns.to(tl.int64) * column, there & (columns < n), 0)
        total += tl.abs(value.to(total.dtype))
    kept, slot = _choose(total, there, WIDE, N, GROUP)
    line = (group * N + slot).to(tl.int64)
    tl.store(index + line * masks + mask[None, :], place[:, None].to(tl.uint8), kept)
    for each in range(sharing):
        columns = (mask * sharing + each)[None, :]
        used = kept & (columns < n)
        value = tl.load(start + columns.to(tl.int64) * column, used, 0)
        tl.store(values + line * n + columns, value, used)


@triton.jit
def _canonical(value):
    return tl.where(value != value, float("nan"), value)


@tuned(CHOICES, key=["length", "n", "M"])
@triton.jit
def _update(
    weights,
    momenta,
    gradients,
    new_weights,
    new_momenta,
    halves,
    values,
    index,
    length,
    n,
    learning_rate,
    momentum,
    weight_decay,
    N: tl.constexpr,
    M: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Update one group of `BLOCK` columns of weights [length, n], and compress it."""
    group = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = tl.arange(0, GROUP)
    rows = group * M + place
    there = ((place < M) & (rows < length))[:, None] & (columns < n)[None, :]
    at = rows.to(tl.int64)[:, None] * n + columns[None, :]
    weight = tl.load(weights + at, there, 0)
    decayed = tl.load(gradients + at, there, 0).to(tl.float32) + weight_decay * weight
    velocity = _canonical(momentum * tl.load(momenta + at, there, 0) + decayed)
    weight = _canonical(weight - learning_rate * velocity)
    half = _canonical(weight.to(tl.float16))
    tl.store(new_weights + at, weight, there)
    tl.store(new_momenta + at, velocity, there)
    tl.store(halves + at, half, there)
    kept, slot = _choose(tl.abs(half.to(tl.float32)), there, False, N, GROUP)
    line = (group * N + slot).to(tl.int64) * n + columns[None, :]
    tl.store(values + line, half, kept)
    tl.store(index + line, place[:, None].to(tl.uint8), kept)


def compress(dense: Tensor, pattern: Pattern, sharing: int = 1) -> Operand:
    """Prune and compress along the first axis; the transposed matrix gives the other way.

    Args:
        dense: float16 or float32 [length, n], with any strides.
        pattern: N:M, groups along `length`; M at most `LARGEST_GROUP`.
        sharing: so many neighbouring columns share a mask.

    Raises:
        InputError: a shape, a type or a pattern that does not fit.
    """
    _check(dense, pattern)
    positive("sharing", sharing, at_most=MAX_SHARING)
    length, n = dense.shape
    found = _empty(pattern, length, n, sharing, dense.dtype, dense.device)

    def grid(blocks: dict[str, int]) -> tuple[int, int]:
        return (found.groups, triton.cdiv(found.masks, blocks["BLOCK"]))

    _compress[grid](
        dense,
        found.values,
        found.index,
        length,
        n,
        found.masks,
        sharing,
        dense.stride(0),
        dense.stride(1),
        N=pattern.n,
        M=pattern.m,
        GROUP=triton.next_power_of_2(pattern.m),
        WIDE=sharing > 1,
        **launch_options(),
    )
    return found


def update(
    weights: Tensor, momenta: Tensor, gradients: Tensor, by: Sgd, pattern: Pattern
) -> tuple[Tensor, Tensor, Tensor, Operand]:
    """One step of SGD with momentum and weight decay, and the new weights' N:M form.

    Args:
        weights, momenta: float32 [length, n], contiguous.
        gradients: float16 of the same shape, contiguous.
        by: the hyper-parameters.
        pattern: of the compressed weights, along `length`; M at most `LARGEST_GROUP`.

    Returns:
        New weights and momenta, float32; the weights in float16; and these, compressed.

    Raises:
        InputError: a shape, a type or a pattern that does not fit.
    """
    for name, array, dtype in (
        ("weights", weights, torch.float32),
        ("momenta", momenta, torch.float32),
        ("gradients", gradients, torch.float16),
    ):
        if array.dtype != dtype or array.shape != weights.shape or not array.is_contiguous():
            raise InputError(
                f"{name} must be contiguous {dtype} {list(weights.shape)} like the weights, "
                f"not {array.dtype} {list(array.shape)}"
            )
    _check(weights, pattern)
    length, n = weights.shape
    halves = torch.empty_like(gradients)
    found = _empty(pattern, length, n, 1, torch.float16, weights.device)
    new: tuple[Any, Any] = (torch.empty_like(weights), torch.empty_like(momenta))

    def grid(blocks: dict[str, int]) -> tuple[int, int]:
        return (found.groups, triton.cdiv(n, blocks["BLOCK"]))

    _update[grid](
        weights,
        momenta,
        gradients,
        *new,
        halves,
        found.values,
        found.index,
        length,
        n,
        by.learning_rate,
        by.momentum,
        by.weight_decay,
        N=pattern.n,
        M=pattern.m,
        GROUP=triton.next_power_of_2(pattern.m),
        **launch_options(fuse=False),
    )
    return (*new, halves, found)


def _empty(
    pattern: Pattern, length: int, n: int, sharing: int, dtype: torch.dtype, device: torch.device
) -> Operand:
    """A form whose slots keep nothing yet."""
    groups, masks = pattern.groups(length), -(-n // sharing)
    values = torch.zeros((groups, pattern.n, n), dtype=dtype, device=device)
    slots = torch.arange(pattern.n, dtype=torch.uint8, device=device)
    index = slots[:, None].expand(groups, pattern.n, masks).contiguous()
    return Operand(values, index, pattern, length, sharing)


def _check(dense: Tensor, pattern: Pattern) -> None:
    if dense.ndim != 2 or 0 in dense.shape or dense.dtype not in (torch.float16, torch.float32):
        raise InputError(
            f"what is pruned must be float16 or float32 [length, n], "
            f"not {dense.dtype} {list(dense.shape)}"
        )
    if pattern.m > LARGEST_GROUP:
        raise InputError(f"GPU pruning takes M of at most {LARGEST_GROUP}, not {pattern.m}")
