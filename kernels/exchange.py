"""Other libraries' forms of the same weights: torch's 2:4, XNNPACK's deltas, SciPy's CSR.

They hold one matrix with the outputs as rows, [n, length], so a column of `Compressed` is a row
here. Nothing of those libraries is imported: the arrays are what their functions take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.kernels.compressed import Compressed, Floats, decompress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

# For each type that torch compresses: its pattern, and the bits of an index in a nibble. A single
# is two halves, which are kept or dropped together.
_TORCH = {np.dtype(np.float16): Pattern(2, 4), np.dtype(np.float32): Pattern(1, 2)}
_NIBBLES = 4  # of an element of the metadata, whose columns CUTLASS stores in pairs
_ROWS = 32  # CUTLASS's order is one of so many rows
# The two places that torch names where at most one of four is not 0: by that one, and for none.
_NAMED = np.array([[0, 2], [1, 2], [2, 3], [2, 3], [2, 3]], np.uint8)


@dataclass(frozen=True, eq=False)
class SemiStructured:
    """What `torch.sparse._semi_structured_conversions` makes of a dense [n, length] matrix.

    Attributes:
        values: float [n, length / 2].
        meta: int16 [n, ...], four nibbles each, in CUTLASS's order.
    """

    values: Floats
    meta: np.ndarray[Any, np.dtype[np.int16]]

    @property
    def value_bytes(self) -> int:
        """Bytes of the values."""
        return self.values.nbytes

    @property
    def index_bytes(self) -> int:
        """Bytes of the metadata."""
        return self.meta.nbytes


def to_torch(compressed: Compressed) -> SemiStructured:
    """The arrays that torch's conversion from dense gives for this matrix, bit for bit.

    Raises:
        InputError: it is not float16 by 2:4 or float32 by 1:2, or its sizes are not torch's.
    """
    _require_matrix(compressed)
    n, length, dtype = compressed.n, compressed.length, compressed.values.dtype
    pattern = _TORCH.get(dtype)
    if compressed.pattern != pattern:
        raise InputError(
            f"torch's semi-structured form is float16 by 2:4 or float32 by 1:2, "
            f"not {dtype} by {compressed.pattern}"
        )
    by = 2 * _NIBBLES * pattern.m
    if n % _ROWS or length % by:
        raise InputError(
            f"torch's semi-structured form needs outputs by {_ROWS} and a reduction by {by}, "
            f"not {n} and {length}"
        )
    dense = decompress(compressed)[0].T.reshape(n, -1, pattern.m)
    index = np.moveaxis(compressed.unshared().index, -1, 0)
    found = dense != 0
    if pattern.n == 2:
        few = found.sum(axis=-1) < 2
        only = np.where(found.any(axis=-1), found.argmax(axis=-1), 4)
        index = np.where(few[..., np.newaxis], _NAMED[only], index)
        nibbles = index[..., 0] | index[..., 1] << 2
    else:
        # The first of a pair is chosen only where it is not 0.
        index = np.where(found[..., :1], 0, 1).astype(np.uint8)
        nibbles = np.where(index[..., 0] == 0, 0b0100, 0b1110)
    values = np.take_along_axis(dense, index.astype(np.intp), axis=-1)
    values = np.ascontiguousarray(values).reshape(n, -1)
    shifts = 4 * np.arange(_NIBBLES)
    words = (nibbles.reshape(n, -1, _NIBBLES).astype(np.uint16) << shifts).sum(axis=-1)
    meta = np.empty(words.size, np.int16)
    meta[_cutlass_order(*words.shape)] = words.astype(np.uint16).view(np.int16)
    return SemiStructured(values, meta.reshape(words.shape))


def from_torch(semi: SemiStructured) -> Compressed:
    """The matrix that torch's arrays hold.

    Raises:
        InputError: they are no such arrays.
    """
    pattern = _TORCH.get(semi.values.dtype)
    if pattern is None or semi.values.ndim != 2 or semi.meta.dtype != np.int16:
        raise InputError(
            "torch's semi-structured form has float16 or float32 values and int16 metadata, not "
            f"{semi.values.dtype} {list(semi.values.shape)} and {semi.meta.dtype}"
        )
    n, kept = semi.values.shape
    groups = kept // pattern.n
    if kept % (2 * _NIBBLES * pattern.n) or n % _ROWS:
        raise InputError(
            f"torch's semi-structured values must be [outputs by {_ROWS}, kept by "
            f"{2 * _NIBBLES * pattern.n}], not {[n, kept]}"
        )
    if semi.meta.shape != (n, groups // _NIBBLES):
        raise InputError(
            f"values {[n, kept]} need metadata {[n, groups // _NIBBLES]}, "
            f"not {list(semi.meta.shape)}"
        )
    words = semi.meta.reshape(-1)[_cutlass_order(*semi.meta.shape)].view(np.uint16)
    nibbles = (words[..., np.newaxis] >> 4 * np.arange(_NIBBLES)).astype(np.uint8) & 15
    nibbles = nibbles.reshape(n, groups)
    if pattern.n == 2:
        index = np.stack((nibbles & 3, nibbles >> 2), axis=-1)
    else:
        if not np.isin(nibbles, (0b0100, 0b1110)).all():
            raise InputError("a nibble of 1:2 metadata must be 4 or 14")
        index = (nibbles == 0b1110).astype(np.uint8)[..., np.newaxis]
    values = semi.values.reshape(n, groups, pattern.n)
    return _of_rows(values, index, pattern, groups * pattern.m)


def _cutlass_order(rows: int, columns: int) -> Any:
    """int64 [rows, columns]: where CUTLASS stores each element of the metadata.

    Of 32 rows those 8 apart come together; then the lowest bits of row and column change places;
    and pairs of columns are stored one after the other, each row by row.
    """
    row, column = np.indices((rows, columns))
    row = row // 32 * 32 + row % 8 * 4 + row % 32 // 8
    row, column = row & ~1 | column & 1, column & ~1 | row & 1
    return column // 2 * (2 * rows) + 2 * row + column % 2


@dataclass(frozen=True, eq=False)
class Deltas:
    """The weights of XNNPACK's sparse kernels (Elsen et al., *Fast Sparse ConvNets*, CVPR 2020).

    For each block of outputs that share a mask a kernel adds the activations of its inputs one
    after the other, moving its pointer by a delta after each; the last one leads back to the first.

    Attributes:
        values: float; for each block its biases and then, for each input that it keeps, the
            weights of its outputs.
        deltas: int32, one for each input that a block keeps, bytes to the next.
        counts: uint32 [blocks], inputs that each block keeps.
        first_bytes: where the first input lies.
        sharing: outputs of a block.
    """

    values: Floats
    deltas: np.ndarray[Any, np.dtype[np.int32]]
    counts: np.ndarray[Any, np.dtype[np.uint32]]
    first_bytes: int
    sharing: int

    @property
    def value_bytes(self) -> int:
        """Bytes of weights and biases."""
        return self.values.nbytes

    @property
    def index_bytes(self) -> int:
        """Bytes of deltas and counts."""
        return self.deltas.nbytes + self.counts.nbytes


def to_deltas(compressed: Compressed, row_bytes: int, bias: Floats | None = None) -> Deltas:
    """XNNPACK's form.

    Args:
        compressed: one matrix; outputs must be a multiple of those that share a mask.
        row_bytes: from one input's activations to the next one's: pixels times their size.
        bias: float [n] of the values' type, 0 when None.

    Raises:
        InputError: the matrix or the bias does not fit, or a delta does not fit in 32 bits.
    """
    _require_matrix(compressed)
    n, sharing = compressed.n, compressed.sharing
    if n % sharing:
        raise InputError(f"XNNPACK's form needs outputs by {sharing}, not {n}")
    if bias is None:
        bias = np.zeros(n, compressed.values.dtype)
    if bias.shape != (n,) or bias.dtype != compressed.values.dtype:
        raise InputError(
            f"the bias must be {compressed.values.dtype} [{n}], not {bias.dtype} {list(bias.shape)}"
        )
    rows = compressed.rows().T.astype(np.int64) * row_bytes
    deltas = np.roll(rows.reshape(-1), -1) - rows.reshape(-1)
    if row_bytes < 1 or np.abs(deltas).max() > np.iinfo(np.int32).max:
        raise InputError(f"row_bytes must be at least 1 and deltas below 2^31, not {row_bytes}")
    kept = compressed.values[compressed.kept].reshape(-1, n // sharing, sharing)
    blocks = np.concatenate((bias.reshape(1, n // sharing, sharing), kept)).swapaxes(0, 1)
    counts = np.full(n // sharing, len(kept), np.uint32)
    return Deltas(blocks.reshape(-1), deltas.astype(np.int32), counts, int(rows.flat[0]), sharing)


def from_deltas(given: Deltas, pattern: Pattern, length: int, row_bytes: int) -> Compressed:
    """The weights of XNNPACK's form, without the biases.

    Raises:
        InputError: it is no N:M matrix of that length.
    """
    blocks, kept = len(given.counts), pattern.kept(length)
    sizes = (blocks * (kept + 1) * given.sharing, blocks * kept)
    if np.any(given.counts != kept) or (given.values.size, given.deltas.size) != sizes:
        raise InputError(
            f"{pattern} of {length} keeps {kept} inputs of each block: that is {sizes[0]} values "
            f"and {sizes[1]} deltas, not {given.values.size} and {given.deltas.size}"
        )
    steps = np.concatenate(([given.first_bytes], given.deltas[:-1].astype(np.int64)))
    places = np.cumsum(steps)
    if np.any(places % row_bytes):
        raise InputError(f"deltas must be multiples of row_bytes = {row_bytes}")
    values = given.values.reshape(blocks, kept + 1, given.sharing)[:, 1:]
    rows = (places // row_bytes).reshape(blocks, kept).T
    return _of_places(values.swapaxes(0, 1).reshape(kept, -1), rows, pattern, length, given.sharing)


@dataclass(frozen=True, eq=False)
class Csr:
    """`scipy.sparse.csr_matrix((data, indices, indptr), shape)`.

    Attributes:
        data: float, the kept elements, zeros among them too.
        indices: int32, the input of each.
        indptr: int32 [n + 1], where each output's elements begin.
        shape: (n, length).
    """

    data: Floats
    indices: np.ndarray[Any, np.dtype[np.int32]]
    indptr: np.ndarray[Any, np.dtype[np.int32]]
    shape: tuple[int, int]

    @property
    def value_bytes(self) -> int:
        """Bytes of the elements."""
        return self.data.nbytes

    @property
    def index_bytes(self) -> int:
        """Bytes of indices and pointers."""
        return self.indices.nbytes + self.indptr.nbytes


def to_csr(compressed: Compressed) -> Csr:
    """SciPy's form.

    Raises:
        InputError: there are several matrices.
    """
    _require_matrix(compressed)
    one = compressed.unshared()
    rows = one.rows()
    pointers = np.arange(one.n + 1, dtype=np.int32) * len(rows)
    data = np.ascontiguousarray(one.values[one.kept].T).reshape(-1)
    return Csr(data, rows.T.astype(np.int32).reshape(-1), pointers, (one.n, one.length))


def from_csr(csr: Csr, pattern: Pattern) -> Compressed:
    """A CSR matrix whose every group holds as many elements as `pattern` keeps, in order.

    Raises:
        InputError: it is none.
    """
    n, length = csr.shape
    kept = pattern.kept(length)
    if csr.indptr.tolist() != list(range(0, n * kept + 1, kept)) or n < 1:
        raise InputError(f"{pattern} of {length} keeps {kept} elements of every row")
    return _of_places(csr.data.reshape(n, kept).T, csr.indices.reshape(n, kept).T, pattern, length)


def _require_matrix(compressed: Compressed) -> None:
    if compressed.values.ndim != 3 or compressed.taps != 1 or compressed.n == 0:
        raise InputError(
            f"one matrix of one tap is needed, not {list(compressed.values.shape[:-3])} of "
            f"{compressed.taps}"
        )


def _of_places(
    kept_values: Any, rows: Any, pattern: Pattern, length: int, sharing: int = 1
) -> Compressed:
    """A matrix from its kept elements [kept, n] and their inputs [kept, masks]."""
    n, masks = kept_values.shape[1], rows.shape[1]
    groups = pattern.groups(length)
    index = np.empty((groups, pattern.n, masks), np.uint8)
    index[:] = np.arange(pattern.n)[:, np.newaxis]
    values = np.zeros((groups, pattern.n, n), kept_values.dtype)
    form = Compressed(values, index, pattern, 1, length, sharing)
    first = np.repeat(pattern.m * np.arange(groups), form.kept.sum(axis=1))[:, np.newaxis]
    if np.any(rows < first) or np.any(rows >= first + pattern.m):
        raise InputError(f"every group of {pattern} must keep its own elements, in order")
    values[form.kept] = kept_values
    index[form.kept] = rows - first
    return Compressed(values, index, pattern, 1, length, sharing)


def _of_rows(values: Any, index: Any, pattern: Pattern, length: int) -> Compressed:
    """A matrix from [n, groups, N] arrays."""
    by_group = np.ascontiguousarray(np.moveaxis(values, 0, -1))
    places = np.ascontiguousarray(np.moveaxis(index, 0, -1))
    return Compressed(by_group, places, pattern, 1, length)
