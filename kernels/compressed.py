"""The compressed N:M form: which elements of every group are kept, their values and places.

The rule is that of SORE, the pruner: the N largest by magnitude are kept; of equal ones the lower
index; NaN counts as larger than everything, -0 and +0 as equal. Columns may share a mask: then the
magnitude of a place is the sum of the magnitudes that the columns have there.

In memory and in files indices are packed (`packing`): a mask after the other, each from its first
group to its last, `Pattern.index_bits` for a kept element, the lowest bit of a byte first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nofm.kernels import packing, selection
from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Indices = np.ndarray[Any, np.dtype[np.uint8]]

MAX_SHARING = 1024
"""Most columns that may share a mask."""


@dataclass(frozen=True, eq=False)
class Compressed:
    """Dense matrices of `taps` runs of `length` rows and `n` columns, N kept of every M rows.

    Groups lie inside a run, so run t has the groups from t * pattern.groups(length). A ragged
    group at the end of a run may keep fewer than N; its other slots, the last ones, hold value 0
    and their own number as index.

    Attributes:
        values: float [..., groups, N, n], the kept elements.
        index: uint8 [..., groups, N, masks], their places in the group, ascending along N.
        pattern, taps, length: how rows fall into groups.
        sharing: so many neighbouring columns share a mask, the last ones perhaps fewer.
    """

    values: Floats
    index: Indices
    pattern: Pattern
    taps: int
    length: int
    sharing: int = 1

    def __post_init__(self) -> None:
        positive("sharing", self.sharing, at_most=MAX_SHARING)
        groups = self.taps * self.pattern.groups(self.length)
        rule = f"[..., {groups}, {self.pattern.n}, n]"
        if self.values.ndim < 3 or self.values.shape[-3:-1] != (groups, self.pattern.n):
            raise InputError(f"compressed values must be {rule}, not {list(self.values.shape)}")
        shape = (*self.values.shape[:-1], self.masks)
        if self.index.shape != shape or self.index.dtype != np.uint8:
            like = "the values' shape" if self.sharing == 1 else f"{self.sharing} columns a mask,"
            raise InputError(
                f"compressed index must be uint8 of {like} {list(shape)}, "
                f"not {self.index.dtype} {list(self.index.shape)}"
            )
        if np.any(self.index >= self.pattern.m) or np.any(
            self.index[..., 1:, :] <= self.index[..., :-1, :]
        ):
            raise InputError(
                f"compressed index must ascend within each group and stay below M = "
                f"{self.pattern.m}"
            )
        sizes, empty = self.group_sizes()[:, np.newaxis, np.newaxis], ~self.kept
        if np.any((self.index >= sizes)[..., self.kept, :]):
            raise InputError("compressed index must stay inside a ragged group")
        slots = np.arange(self.pattern.n)[:, np.newaxis]
        if np.any(self.values[..., empty, :] != 0) or np.any((self.index != slots)[..., empty, :]):
            raise InputError("slots that keep nothing must hold value 0 and their own number")

    @property
    def n(self) -> int:
        """Columns."""
        return int(self.values.shape[-1])

    @property
    def masks(self) -> int:
        """Masks of a group: one for each `sharing` columns."""
        return -(-self.n // self.sharing)

    @property
    def groups(self) -> int:
        """Groups over all taps."""
        return int(self.values.shape[-3])

    @property
    def kept(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """bool [groups, N]: slots that hold an element; False only in a ragged group."""
        return np.arange(self.pattern.n) < self.group_sizes()[:, np.newaxis]

    @property
    def value_bytes(self) -> int:
        """Bytes of the kept elements; slots that keep nothing are not stored."""
        return self._lead() * int(self.kept.sum()) * self.n * self.values.dtype.itemsize

    @property
    def index_bytes(self) -> int:
        """Bytes of the packed indices, all masks in one run of bits."""
        return packing.size_bytes(self._indices(), self.pattern.index_bits)

    def packed_index(self) -> Indices:
        """uint8 [index_bytes]: the indices of kept elements, packed (see the module)."""
        by_mask = np.moveaxis(self.index[..., self.kept, :], -1, -2)
        return packing.pack(by_mask.reshape(-1), self.pattern.index_bits)

    def rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int64 [kept, masks]: the rows of all taps that each mask keeps, ascending."""
        sizes = self.group_sizes()
        first = (np.cumsum(sizes) - sizes)[:, np.newaxis, np.newaxis]
        return (first + self.index)[self.kept]

    def unshared(self) -> Compressed:
        """The same matrices with a mask for each column."""
        if self.sharing == 1:
            return self
        index = np.repeat(self.index, self.sharing, axis=-1)[..., : self.n]
        return replace(self, index=np.ascontiguousarray(index), sharing=1)

    def _lead(self) -> int:
        return int(np.prod(self.values.shape[:-3], dtype=np.int64))

    def _indices(self) -> int:
        return self._lead() * int(self.kept.sum()) * self.masks

    def group_sizes(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int64 [groups]: elements in each group, kept or not."""
        first = self.pattern.m * np.arange(self.pattern.groups(self.length))
        return np.tile(np.minimum(self.pattern.m, self.length - first), self.taps)


def from_packed(
    values: Floats, packed: Indices, pattern: Pattern, taps: int, length: int, sharing: int = 1
) -> Compressed:
    """The form whose indices are packed.

    Args:
        values: float [..., groups, N, n], as `Compressed.values`.
        packed: uint8 [index_bytes], as `Compressed.packed_index` gives it.
        pattern, taps, length, sharing: as in `Compressed`.

    Raises:
        InputError: `packed` has another size, or what is read is no such form.
    """
    masks = -(-values.shape[-1] // positive("sharing", sharing, at_most=MAX_SHARING))
    slots = np.arange(pattern.n, dtype=np.uint8)[:, np.newaxis]
    index = np.broadcast_to(slots, (*values.shape[:-1], masks)).copy()
    # An index of slot numbers is a good form of its own, which knows what a group keeps.
    form = Compressed(values, index, pattern, taps, length, sharing)
    lead, count = values.shape[:-3], form._indices()
    by_mask = packing.unpack(packed, pattern.index_bits, count).reshape(*lead, masks, -1)
    if pattern.dense:  # no index is stored where everything is kept
        return form
    index[..., form.kept, :] = np.moveaxis(by_mask, -2, -1)
    return Compressed(values, index, pattern, taps, length, sharing)


def compress(dense: Floats, pattern: Pattern, sharing: int = 1, threads: int = 1) -> Compressed:
    """Prune and compress along the second last axis.

    Args:
        dense: float [..., taps, length, n].
        pattern: N:M, groups along `length`; N = M keeps everything.
        sharing: so many neighbouring columns share a mask; their magnitudes are added in FP64, in
            ascending order.
        threads: at most so many are used.

    Raises:
        InputError: `dense` is not floating point, lacks an axis, or one of its axes is empty.
    """
    if dense.ndim < 3 or 0 in dense.shape[-3:]:
        raise InputError(f"dense must be [..., taps, length, n], not {list(dense.shape)}")
    if not np.issubdtype(dense.dtype, np.floating) or dense.dtype.itemsize > 8:
        raise InputError(f"N:M pruning needs float16, float32 or float64, not {dense.dtype}")
    positive("sharing", sharing, at_most=MAX_SHARING)
    *lead, taps, length, n = dense.shape
    runs = np.ascontiguousarray(dense).reshape(-1, length, n)
    if sharing == 1:
        bits, infinity = as_bits(runs)
        kept, index = selection.compress(bits, infinity, pattern, threads)
        values = kept.view(dense.dtype)
    else:
        bits, infinity = as_bits(_block_magnitude(runs, sharing))
        _, index = selection.compress(bits, infinity, pattern, threads)
        spread = np.repeat(index, sharing, axis=-1)[..., :n].astype(np.intp)
        padded = _padded(runs, pattern)
        values = np.take_along_axis(padded, spread, axis=2)
    groups = (*lead, taps * pattern.groups(length), pattern.n)
    return Compressed(
        values.reshape(*groups, n), index.reshape(*groups, -1), pattern, taps, length, sharing
    )


def decompress(compressed: Compressed) -> Floats:
    """The pruned matrices, float [..., taps, length, n], +0 where nothing was kept."""
    c = compressed.unshared()
    lead, per_run = c.values.shape[:-3], c.pattern.groups(c.length)
    padded = np.zeros((*lead, c.groups, c.pattern.m, c.n), c.values.dtype)
    np.put_along_axis(padded, c.index.astype(np.intp), c.values, axis=-2)
    runs = padded.reshape(*lead, c.taps, per_run * c.pattern.m, c.n)
    return runs[..., : c.length, :]


def prune(dense: Floats, pattern: Pattern, axis: int, sharing: int = 1) -> Floats:
    """A copy of `dense` with +0 in place of what SORE drops.

    Args:
        dense: float array of any shape.
        pattern: N:M.
        axis: along which groups lie; the whole axis is one run.
        sharing: so many neighbours of the other axes, taken as one in their order, share a mask.

    Raises:
        InputError: `dense` is not floating point, has no such axis, or is empty.
    """
    if not -dense.ndim <= axis < dense.ndim or dense.size == 0:
        raise InputError(f"prune needs elements along axis {axis}, not shape {list(dense.shape)}")
    front = np.moveaxis(dense, axis, 0)
    flat = front.reshape(1, front.shape[0], -1)
    pruned = decompress(compress(flat, pattern, sharing)).reshape(front.shape)
    return np.ascontiguousarray(np.moveaxis(pruned, 0, axis))


def compressed_bits(
    pattern: Pattern, taps: int, length: int, n: int, value_bits: int, sharing: int = 1
) -> int:
    """Bits of the compressed form of [taps, length, n]: a value for each kept element, and an
    index for each that a mask keeps."""
    kept = taps * pattern.kept(length)
    return kept * (n * value_bits + -(-n // sharing) * pattern.index_bits)


def as_bits(values: Floats) -> tuple[Any, int]:
    """`values` as signed integers of their size, contiguous, and the bits of infinity: without
    their sign, bit patterns order like magnitudes, with every NaN above infinity."""
    signed = np.dtype(f"i{values.dtype.itemsize}")
    infinity = int(np.array(np.inf, values.dtype).view(signed))
    return np.ascontiguousarray(values).view(signed), infinity


def _block_magnitude(runs: Floats, sharing: int) -> Any:
    """float64 [runs, length, masks]: sums of the magnitudes of the columns of each mask."""
    count, length, n = runs.shape
    total = np.zeros((count, length, -(-n // sharing)))
    for column in range(min(sharing, n)):
        part = runs[..., column::sharing]
        with np.errstate(over="ignore"):
            total[..., : part.shape[-1]] += np.abs(part, dtype=np.float64)
    return total


def _padded(runs: Floats, pattern: Pattern) -> Floats:
    """[runs, groups, M, n]: `runs` [runs, length, n] by groups, 0 past the end."""
    count, length, n = runs.shape
    groups = pattern.groups(length)
    if length == groups * pattern.m:
        return runs.reshape(count, groups, pattern.m, n)
    padded = np.zeros((count, groups * pattern.m, n), runs.dtype)
    padded[:, :length] = runs
    return padded.reshape(count, groups, pattern.m, n)
