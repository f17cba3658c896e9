"""Products of dense activations and N:M weights on a CPU, by vectors of the batch.

The rows of a tile share a mask, so each activation that they keep is loaded once and multiplied by
the weights of all of them. The accumulators of a tile stay in registers; activations are packed in
panels that stay in the first cache; indices are decoded into byte offsets once for each matrix
(`prepare`), outside every loop.

A result is the sum over blocks of the reduction, in ascending order, of the block's own sum, which
begins at the product of its first kept element and takes the others in ascending order, one fused
multiply-add each, in FP32. So no result is further from the exact one than gamma(q) sum |a| |w|,
gamma(q) = q u / (1 - q u), u = 2^-24, where q, `Prepared.roundings`, is what the largest block
keeps plus the number of blocks (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed.,
section 3.1), as long as nothing overflows; an underflow adds at most 2^-150. What is pruned is
never multiplied: infinity and NaN beside a pruned weight change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nofm.kernels.compressed import Compressed
from nofm.kernels.errors import InputError, positive
from nofm.kernels.lanes import HALVES, LANES
from nofm.kernels.spmm_tiles import LINE_BYTES, product
from nofm.kernels.threads import side_by_side

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Singles = np.ndarray[Any, np.dtype[np.float32]]

VECTORS = {4: 3, 2: 4, 1: 8}
"""Vectors of a tile by its rows: with them and the accumulators, sixteen registers are full."""

PANEL_BYTES = 24 << 10
"""Of activations at a time: less than the first cache of any processor of these days."""

TOGETHER = 2
"""Panels that are packed together, so that more than a cache line of a row is read."""

WEIGHT_BYTES = 192 << 10
"""Of weights that one panel after the other is multiplied by: they stay in the second cache."""


LAYOUTS = ("columns", "rows")

UNIT = 2.0**-24
"""Of FP32's roundings."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """N:M weights as the kernel takes them.

    Attributes:
        values: float32 or float16; for each block, tile and kept element those of the tile's rows.
        rows: int32; for each block, mask and kept element its row of the block.
        edges: int64 [blocks + 1], where blocks of the reduction begin.
        kept: int64 [blocks + 1], elements that a mask keeps before each.
        n, k: outputs, and length of the reduction.
        masks: of all outputs.
        tiles: of a mask.
        tile_rows: outputs of a tile.
    """

    values: Floats
    rows: np.ndarray[Any, np.dtype[np.int32]]
    edges: np.ndarray[Any, np.dtype[np.int64]]
    kept: np.ndarray[Any, np.dtype[np.int64]]
    n: int
    k: int
    masks: int
    tiles: int
    tile_rows: int

    @cached_property
    def longest(self) -> int:
        """Rows of the largest block."""
        return int(np.diff(self.edges).max())

    @cached_property
    def most(self) -> int:
        """Elements that a mask keeps of a block, at most."""
        return int(np.diff(self.kept).max())

    @property
    def roundings(self) -> int:
        """q of the error's bound."""
        return self.most + len(self.edges) - 1

    @property
    def bytes(self) -> int:
        """What is read for each panel."""
        return self.values.nbytes + self.rows.nbytes


def prepare(
    weights: Compressed, vectors: Mapping[int, int] = VECTORS, lanes: int = LANES
) -> Prepared:
    """Decode a matrix's indices, and put its values in the order of the kernel.

    Args:
        weights: one matrix, float32 or float16, groups along the reduction. For BP that is the
            transposed matrix of FF, compressed along its own reduction.
        vectors: vectors of a tile by its rows, powers of two.
        lanes: singles of a vector.

    Raises:
        InputError: there are several matrices, or values of another type.
    """
    if weights.values.ndim != 3 or weights.values.dtype not in (np.float32, np.float16):
        raise InputError(
            f"weights must be one float32 or float16 matrix, not {weights.values.dtype} "
            f"{list(weights.values.shape)}"
        )
    sharing, masks, n = weights.sharing, weights.masks, weights.n
    tile_rows = math.gcd(sharing, max(vectors))
    tiles = sharing // tile_rows
    edges, kept = _blocks(weights, PANEL_BYTES // (4 * vectors[tile_rows] * lanes))
    rows = weights.rows()
    values = np.zeros((len(rows), masks * sharing), weights.values.dtype)
    values[:, :n] = weights.values[weights.kept]
    # A mask's columns stand together; the last mask's may be fewer than its tiles have rows.
    parts_v, parts_r = [], []
    for start, first, last in zip(edges[:-1], kept[:-1], kept[1:], strict=True):
        part = values[first:last].reshape(last - first, masks * tiles, tile_rows)
        parts_v.append(np.ascontiguousarray(part.swapaxes(0, 1)).reshape(-1))
        parts_r.append((rows[first:last] - start).T.astype(np.int32).reshape(-1))
    return Prepared(
        _aligned(np.concatenate(parts_v)),
        _aligned(np.concatenate(parts_r)),
        edges,
        kept,
        n,
        weights.taps * weights.length,
        masks,
        tiles,
        tile_rows,
    )


def _blocks(weights: Compressed, most: int) -> tuple[Any, Any]:
    """Edges of blocks of whole groups, and what a mask keeps before each."""
    sizes = weights.group_sizes()
    ends, kept = np.cumsum(sizes), np.cumsum(weights.kept.sum(axis=1))
    chosen, start = [], 0
    for group, end in enumerate(ends):
        if end - start > most and group and ends[group - 1] > start:
            chosen.append(group - 1)
            start = ends[group - 1]
    chosen.append(len(ends) - 1)
    zero = np.zeros(1, np.int64)
    return np.concatenate((zero, ends[chosen])), np.concatenate((zero, kept[chosen]))


def matmul(
    a: Floats,
    weights: Prepared | Compressed,
    *,
    layout: str = "rows",
    threads: int = 1,
    out: Singles | None = None,
) -> Singles:
    """Activations times N:M weights.

    Args:
        a: float32 or float16, [m, k] by rows, or [k, m] by columns.
        weights: of a reduction of k; `prepare` them once where they are used again.
        layout: "rows", a sample after the other, or "columns", where the samples of each channel
            lie side by side, as the pixels of an image do.
        threads: at most so many are used.
        out: where to; made when None. It must share no memory with what is read.

    Returns:
        float32 [m, n] by rows, or [n, m] by columns.

    Raises:
        InputError: an array does not fit.
    """
    if isinstance(weights, Compressed):
        weights = prepare(weights)
    positive("threads", threads, at_most=1024)
    check_activations(a, weights.k, layout)
    by_rows = layout == "rows"
    m, n = a.shape[int(not by_rows)], weights.n
    shape = (m, n) if by_rows else (n, m)
    given = out is not None
    if out is None:
        out = np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise InputError(
            f"out must be contiguous float32 {list(shape)}, not {out.dtype} {list(out.shape)}"
        )
    if given and (
        not out.flags.writeable
        or any(np.may_share_memory(out, one) for one in (a, weights.values, weights.rows))
    ):
        raise InputError("out must be writable and share no memory with what is read")
    if out.size:
        _run(np.ascontiguousarray(a), weights, by_rows, threads, out)
    return out


def error_bound(roundings: int) -> float:
    """gamma(q), what an error is at most of its sum of magnitudes (see the module)."""
    return roundings * UNIT / (1 - roundings * UNIT)


def check_activations(a: Floats, k: int, layout: str) -> None:
    """Refuse activations that no product with a reduction of k takes.

    Raises:
        InputError: `a` or `layout` is not as `matmul` says.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout must be rows or columns, not {layout!r}")
    by_rows = layout == "rows"
    rule = f"[m, {k}]" if by_rows else f"[{k}, m]"
    if a.ndim != 2 or a.shape[int(by_rows)] != k or a.dtype not in (np.float32, np.float16):
        raise InputError(
            f"activations must be float32 or float16 {rule}, not {a.dtype} {list(a.shape)}"
        )


def _run(a: Any, weights: Prepared, by_rows: bool, threads: int, out: Any) -> None:
    m = out.shape[int(not by_rows)]
    most = VECTORS[weights.tile_rows]
    vectors = most if m > LANES else 1
    values = weights.values
    if not HALVES or a.dtype != values.dtype:
        a, values = a.astype(np.float32), values.astype(np.float32)
    if a.dtype == np.float16:
        a, values = a.view(np.uint16), values.view(np.uint16)
    wide = vectors * LANES
    panels = -(-m // wide)
    # Threads share out panels, or where these are few, the weights.
    by_panels = min(threads, panels)
    parts = min(max(1, threads // by_panels), weights.masks)
    together = min(TOGETHER, panels // by_panels)
    # The last panels are shared out one by one: no thread waits long for the others.
    singles = min(panels, 2 * (by_panels - 1))
    singles += (panels - singles) % together
    sizes = _Sizes.of(weights, -(-weights.masks // parts), wide)
    shape = ((0,) * weights.tile_rows, (0,) * vectors, (0,) * LANES)
    turn = np.zeros(1, np.int64)

    def work(nth: int) -> None:
        with _room(together * (sizes.panel + sizes.results) + sizes.weights) as room:
            product(
                *shape,
                a,
                by_rows,
                values,
                weights.rows,
                weights.edges,
                weights.kept,
                weights.tiles,
                turn,
                panels,
                together,
                singles,
                parts,
                weights.masks,
                weights.n,
                sizes.stretch,
                sizes.panel,
                sizes.results,
                room,
                out,
            )

    side_by_side(work, by_panels * parts)


@dataclass(frozen=True)
class _Sizes:
    """Of a thread's buffers, in singles, each a whole number of cache lines.

    Attributes:
        stretch: masks whose weights are multiplied by one panel after the other.
        panel, results: a packed block of a panel, and its results.
        weights: a stretch, as singles.
    """

    stretch: int
    panel: int
    results: int
    weights: int

    @classmethod
    def of(cls, weights: Prepared, masks: int, wide: int) -> _Sizes:
        mask = weights.tiles * weights.tile_rows
        stretch = min(masks, max(1, WEIGHT_BYTES // (4 * mask * weights.most)))
        line = LINE_BYTES // 4

        def lines(singles: int) -> int:
            return -(-singles // line) * line

        # A line more than needed, so that panels do not fall into the same sets of a cache.
        rows = mask * (masks if len(weights.edges) > 2 else stretch)
        return cls(
            stretch,
            lines(weights.longest * wide) + line,
            lines(rows * wide) + line,
            lines(stretch * mask * weights.most),
        )


# Buffers that no thread uses now. The system hands out fresh memory a page fault at a time, which
# would take as long as a small product.
_rooms: list[Any] = []


@contextmanager
def _room(singles: int) -> Iterator[Any]:
    """float32 [at least `singles`] that begins at a cache line."""
    try:
        room = _rooms.pop()
    except IndexError:
        room = _aligned(np.zeros(0, np.float32))
    if room.size < singles:
        room = _aligned(np.zeros(singles, np.float32))
    yield room
    _rooms.append(room)


def _aligned(values: Any) -> Any:
    """A copy that begins at a cache line."""
    room = np.empty(values.nbytes + LINE_BYTES, np.uint8)
    first = -room.ctypes.data % LINE_BYTES
    copy = room[first : first + values.nbytes].view(values.dtype)
    copy[:] = values
    return copy
