"""Products of dense activations and N:M weights, as Triton kernels.

Where at least 16 neighbouring columns share a mask, the weights' places choose *columns of the
activations*, the same for a whole tile: what is chosen is a dense product M/N times shorter, which
tensor cores run at full speed (`_shared`). Where fewer columns share one, a tile of weights is made
dense in registers (`_expanded`): this saves the weights' memory traffic and no multiplication, and
pays where the product is bound by reading weights, as with few rows. There an infinite activation
makes NaN of a dropped weight, as it does in a dense product; in `_shared` it does not meet it.

Both sum in FP32, tile after tile of the reduction; the order inside a tile is the tensor core's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nofm.kernels.errors import InputError
from nofm.kernels.gpu.operand import Operand
from nofm.kernels.gpu.triton import launch_options, tl, triton, tuned

SMALLEST_TILE = 16
"""What a tensor core takes at least, along each side."""


@tuned(
    [
        ({"BLOCK_M": 64, "BLOCK_K": 32}, 4, 3),
        ({"BLOCK_M": 128, "BLOCK_K": 32}, 4, 3),
        ({"BLOCK_M": 128, "BLOCK_K": 64}, 4, 4),
        ({"BLOCK_M": 256, "BLOCK_K": 32}, 8, 3),
        ({"BLOCK_M": 256, "BLOCK_K": 64}, 8, 3),
    ],
    key=["m", "n", "slots", "BLOCK_N", "N"],
)
@triton.jit
def _shared(
    x,
    values,
    index,
    out,
    m,
    n,
    length,
    slots,
    sharing,
    x_row,
    x_column,
    N: tl.constexpr,
    M: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """out [m, n] from x [m, length]; all columns of a tile share a mask."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    tiles = tl.cdiv(sharing, BLOCK_N)
    mask = tl.program_id(1) // tiles
    inside = tl.program_id(1) % tiles * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = mask * sharing + inside
    masks = tl.cdiv(n, sharing)
    used = (inside < sharing) & (columns < n)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, slots, BLOCK_K):
        slot = first + tl.arange(0, BLOCK_K)
        place = tl.load(index + slot * masks + mask, slot < slots, 0).to(tl.int32)
        chosen = slot // N * M + place
        # A slot of a ragged group that keeps nothing may point beyond the end.
        kept = (slot < slots) & (chosen < length)
        at = rows.to(tl.int64)[:, None] * x_row + chosen[None, :] * x_column
        left = tl.load(x + at, (rows < m)[:, None] & kept[None, :], 0)
        at = slot.to(tl.int64)[:, None] * n + columns[None, :]
        right = tl.load(values + at, kept[:, None] & used[None, :], 0)
        total = tl.dot(left, right, total, input_precision="ieee")
    at = rows.to(tl.int64)[:, None] * n + columns[None, :]
    tl.store(out + at, total, (rows < m)[:, None] & used[None, :])


@triton.jit
def _dense_tile(
    values,
    index,
    rows,
    columns,
    length,
    n,
    masks,
    sharing,
    N: tl.constexpr,
    M: tl.constexpr,
):
    """A tile of the dense matrix, +0 where nothing is kept or outside."""
    group, place = rows // M, rows % M
    there = (rows < length)[:, None] & (columns < n)[None, :]
    tile = tl.zeros((rows.shape[0], columns.shape[0]), values.dtype.element_ty)
    for slot in tl.static_range(N):
        line = (group * N + slot).to(tl.int64)[:, None]
        found = tl.load(index + line * masks + (columns // sharing)[None, :], there, 0)
        value = tl.load(values + line * n + columns[None, :], there, 0)
        tile = tl.where(found.to(tl.int32) == place[:, None], value, tile)
    return tile


@tuned(
    [
        ({"BLOCK_M": 32, "BLOCK_N": 32, "BLOCK_K": 32}, 4, 2),
        ({"BLOCK_M": 16, "BLOCK_N": 64, "BLOCK_K": 64}, 4, 3),
        ({"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32}, 4, 3),
        ({"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_K": 32}, 4, 3),
        ({"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32}, 8, 3),
    ],
    key=["m", "n", "length", "N", "TRANSPOSED"],
)
@triton.jit
def _expanded(
    x,
    values,
    index,
    out,
    m,
    n,
    length,
    masks,
    sharing,
    x_row,
    x_column,
    N: tl.constexpr,
    M: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """out [m, n] from x [m, length]; or, transposed, out [m, length] from x [m, n]."""
    reduced, width = (n, length) if TRANSPOSED else (length, n)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, reduced, BLOCK_K):
        along = first + tl.arange(0, BLOCK_K)
        at = rows.to(tl.int64)[:, None] * x_row + along[None, :] * x_column
        left = tl.load(x + at, (rows < m)[:, None] & (along < reduced)[None, :], 0)
        if TRANSPOSED:
            tile = _dense_tile(values, index, columns, along, length, n, masks, sharing, N, M)
            right = tl.trans(tile)
        else:
            right = _dense_tile(values, index, along, columns, length, n, masks, sharing, N, M)
        total = tl.dot(left, right, total, input_precision="ieee")
    at = rows.to(tl.int64)[:, None] * width + columns[None, :]
    tl.store(out + at, total, (rows < m)[:, None] & (columns < width)[None, :])


def matmul(x: Tensor, w: Operand) -> Tensor:
    """Products of activations and N:M weights: FF, or BP with weights compressed for it.

    Args:
        x: [m, length] of the weights' type and device, with any strides.
        w: [length, n], N kept of every M along `length`.

    Returns:
        float32 [m, n].

    Raises:
        InputError: shapes, types or devices that do not fit.
    """
    _check(x, w, w.length)
    m, n = x.shape[0], w.n
    out = torch.empty((m, n), dtype=torch.float32, device=w.device)
    if w.sharing < SMALLEST_TILE and w.masks > 1:
        _run_expanded(x, w, out, transposed=False)
        return out
    # Narrow matrices with one mask are a tile of their own.
    block = min(128, max(SMALLEST_TILE, triton.next_power_of_2(min(w.sharing, n))))
    tiles = triton.cdiv(w.sharing, block) * (w.masks - 1)
    tiles += triton.cdiv(n - w.sharing * (w.masks - 1), block)

    def grid(blocks: dict[str, int]) -> tuple[int, int]:
        return (triton.cdiv(m, blocks["BLOCK_M"]), tiles)

    slots = w.groups * w.pattern.n
    _shared[grid](
        x,
        w.values,
        w.index,
        out,
        m,
        n,
        w.length,
        slots,
        w.sharing,
        x.stride(0),
        x.stride(1),
        N=w.pattern.n,
        M=w.pattern.m,
        BLOCK_N=block,
        **launch_options(),
    )
    return out


def matmul_transposed(x: Tensor, w: Operand) -> Tensor:
    """Products of output gradients and the transposed N:M weights of FF.

    Args:
        x: [m, n] of the weights' type and device, with any strides.
        w: [length, n], N kept of every M along `length`.

    Returns:
        float32 [m, length].

    Raises:
        InputError: shapes, types or devices that do not fit.
    """
    _check(x, w, w.n)
    out = torch.empty((x.shape[0], w.length), dtype=torch.float32, device=w.device)
    _run_expanded(x, w, out, transposed=True)
    return out


def _run_expanded(x: Tensor, w: Operand, out: Tensor, *, transposed: bool) -> None:
    def grid(blocks: dict[str, int]) -> tuple[int, int]:
        rows, columns = out.shape
        return (triton.cdiv(rows, blocks["BLOCK_M"]), triton.cdiv(columns, blocks["BLOCK_N"]))

    given: dict[str, Any] = {"N": w.pattern.n, "M": w.pattern.m, "TRANSPOSED": transposed}
    _expanded[grid](
        x,
        w.values,
        w.index,
        out,
        x.shape[0],
        w.n,
        w.length,
        w.masks,
        w.sharing,
        x.stride(0),
        x.stride(1),
        **given,
        **launch_options(),
    )


def _check(x: Tensor, w: Operand, reduced: int) -> None:
    if x.ndim != 2 or x.shape[1] != reduced or x.shape[0] == 0:
        raise InputError(f"x must be [m, {reduced}] with m of at least 1, not {list(x.shape)}")
    if x.dtype != w.values.dtype or x.device != w.device:
        raise InputError(
            f"x must be {w.values.dtype} on {w.device} like the weights, "
            f"not {x.dtype} on {x.device}"
        )
